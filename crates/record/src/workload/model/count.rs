//! What a model holds, reads and computes, counted from its parts: the one counter, which the engine, ceilings, fit in memory,
//! projection, plots and messages ask.

use super::parts::{BlockParts, Embedding, Experts, Head, Parts, PatchEmbedding, Tower};
use super::shape::ModelShape;
use super::tensors::{self, BlockTensor, TensorKind, TensorName, TensorSpec};
use crate::units::Bytes;
use crate::workload::Quant;
use std::cell::RefCell;
use std::rc::Rc;

/// A tensor as it counts: rows, numbers of a row, how many of it the model holds, whether it is a matrix, and of a mixture
/// the experts that it is of.
struct Counted {
    name: TensorName,
    rows: usize,
    cols: usize,
    copies: f64,
    is_matrix: bool,
    experts: Option<Experts>,
    /// The model has experts.
    has_experts_beside: bool,
}

impl Counted {
    fn numbers(&self) -> f64 {
        self.rows as f64 * self.cols as f64 * self.copies * self.experts.map_or(1.0, |experts| experts.count as f64)
    }

    /// Bytes of one expert's share, or of the whole where there are none, in all copies.
    fn bytes_of_one(&self, quant: Quant) -> f64 {
        self.copies
            * if self.is_matrix && self.stays_in_16_bits(quant) {
                2.0 * self.rows as f64 * self.cols as f64
            } else if self.is_matrix {
                quant.matrix_bytes(self.rows, self.cols).0
            } else {
                4.0 * self.rows as f64 * self.cols as f64
            }
    }

    /// Whether checkpoints of a level leave the matrix as it was.
    fn stays_in_16_bits(&self, quant: Quant) -> bool {
        let Quant::Named(level) = quant else { return false };
        let is_router = matches!(self.name, TensorName::Block(_, BlockTensor::Router | BlockTensor::SharedWeight));
        (level.leaves_ends() && (!self.is_of_block() || is_router))
            || (level.is_of_experts() && self.has_experts_beside && self.experts.is_none())
    }

    fn bytes(&self, quant: Quant) -> f64 {
        self.bytes_of_one(quant) * self.experts.map_or(1.0, |experts| experts.count as f64)
    }

    /// Bytes that a step of `tokens` reads.
    fn read(&self, quant: Quant, tokens: usize) -> f64 {
        self.bytes_of_one(quant) * self.experts.map_or(1.0, |experts| experts.read(tokens))
    }

    /// Numbers that a token is multiplied with.
    fn multiplied(&self) -> f64 {
        self.rows as f64 * self.cols as f64 * self.copies * self.experts.map_or(1.0, |experts| experts.active as f64)
    }

    fn is_of_block(&self) -> bool {
        matches!(self.name, TensorName::Block(..))
    }
}

thread_local! {
    /// The tensors of the model that was counted last.
    static LAST: RefCell<Option<(Parts, Rc<[Counted]>)>> = const { RefCell::new(None) };
}

/// All tensors; those of equal blocks once, with their number. A ranking asks of one model for each of 100,000 offers, which
/// listing its tensors anew would take half of the time of.
fn counted(parts: &Parts) -> Rc<[Counted]> {
    LAST.with_borrow_mut(|last| match last {
        Some((known, counted)) if known == parts => counted.clone(),
        _ => {
            let counted: Rc<[Counted]> = tensors_of(parts).into();
            *last = Some((parts.clone(), counted.clone()));
            counted
        }
    })
}

fn tensors_of(parts: &Parts) -> Vec<Counted> {
    let has_experts = |(block, _): &(BlockParts, usize)| block.feed_forward.is_some_and(|part| part.experts.is_some());
    let has_experts_beside = parts.blocks.iter().any(has_experts);
    let ends = tensors::ends(parts).into_iter().map(|spec| {
        let (rows, cols) = spec.rows_and_cols();
        Counted {
            name: spec.name,
            rows,
            cols,
            copies: 1.0,
            is_matrix: spec.kind == TensorKind::Matrix,
            experts: None,
            has_experts_beside,
        }
    });
    let blocks = parts.blocks.iter().flat_map(|(block, count)| {
        let of_block = tensors::block_tensors(block, parts.hidden, parts.norm).into_iter();
        of_block.map(|(tensor, dims)| {
            let is_matrix = tensor.kind() == TensorKind::Matrix;
            let (rows, cols) = match dims.as_slice() {
                // Of experts, a matrix or bias is that of each.
                [_, rows, cols] | [rows, cols] if is_matrix => (*rows, *cols),
                [_, len] if tensor.is_of_experts() => (1, *len),
                dims => (1, dims.iter().product()),
            };
            let experts = block.feed_forward.and_then(|part| part.experts).filter(|_| tensor.is_of_experts());
            Counted {
                name: TensorName::Block(0, tensor),
                rows,
                cols,
                copies: *count as f64,
                is_matrix,
                experts,
                has_experts_beside,
            }
        })
    });
    ends.chain(blocks).collect()
}

/// Whether a step looks up single rows of a tensor instead of reading it.
fn is_looked_up(name: TensorName, parts: &Parts) -> bool {
    match (name, parts.head) {
        (TensorName::TokenEmbedding, Head::TiedTokens) => false,
        (TensorName::TokenEmbedding, _) | (TensorName::LayerEmbedding, _) => true,
        // Read for the first position only, once for all of its tokens.
        (TensorName::Output, Head::Classes(_) | Head::Scores { .. }) => true,
        _ => false,
    }
}

impl Parts {
    /// All parameters, a tied output matrix counted once.
    pub fn parameters(&self) -> f64 {
        counted(self).iter().map(Counted::numbers).sum::<f64>() + self.tower_parameters()
    }

    /// Parameters that a token goes through: of a mixture, the experts that it chooses. The table of tokens is counted whole,
    /// as publishers do it; towers are not, as no generated token goes through them.
    pub fn active_parameters(&self) -> f64 {
        counted(self).iter().map(Counted::multiplied).sum()
    }

    /// Parameters of the encoders before it, and of what is between.
    pub fn tower_parameters(&self) -> f64 {
        self.towers.iter().map(Tower::parameters).fold(self.beside, |sum, one| sum + one)
    }

    /// Bytes that the weights take in memory at `quant` (vectors are kept in `f32`), those of towers in 16 bits or more.
    pub fn weight_bytes(&self, quant: Quant) -> Bytes {
        let towers = self.tower_parameters() * if quant == Quant::F32 { 4.0 } else { 2.0 };
        Bytes(counted(self).iter().map(|tensor| tensor.bytes(quant)).sum::<f64>() + towers)
    }

    /// Bytes of weights that a step of `tokens` positions (of all sequences of its batch together) reads: all of them but what
    /// it only looks rows up in, and of a mixture the experts that the tokens choose.
    pub fn step_weight_bytes(&self, quant: Quant, tokens: usize) -> Bytes {
        let counted = counted(self);
        let read = counted.iter().filter(|tensor| !is_looked_up(tensor.name, self));
        Bytes(read.map(|tensor| tensor.read(quant, tokens)).sum())
    }

    /// Whether keys and values of a step are kept for the next.
    pub fn has_cache(&self) -> bool {
        matches!(self.head, Head::Tokens | Head::TiedTokens)
    }

    /// Numbers of the matrices of all blocks that a token is multiplied with.
    fn block_weights(&self) -> f64 {
        counted(self).iter().filter(|tensor| tensor.is_matrix && tensor.is_of_block()).map(Counted::multiplied).sum()
    }

    /// Numbers of the output matrix.
    fn head_weights(&self) -> f64 {
        match (self.head, self.embedding) {
            (Head::Tokens | Head::TiedTokens, Embedding::Tokens { vocabulary, .. }) => {
                vocabulary as f64 * self.hidden as f64
            }
            (Head::Scores { labels, .. }, _) => ((self.hidden + labels) * self.hidden) as f64,
            (Head::Classes(width) | Head::Projection(width), _) => width as f64 * self.hidden as f64,
            _ => 0.0,
        }
    }

    /// Operations of a prefill of `batch` prompts of `prompt` tokens, logits taken at the last position only:
    /// `2 x weights` for each token, and `4 x query width x positions seen` for attention. Of a model that sees both ways, those
    /// of its one pass; embedding a token is a look into a table.
    pub fn prefill_ops(&self, batch: usize, prompt: usize) -> f64 {
        let p = prompt as f64;
        let ends = match self.embedding {
            Embedding::Patches(PatchEmbedding { image, frames, .. }) => {
                let patch = (image.channels * frames * image.patch.pow(2)) as f64 * self.hidden as f64;
                let patches = (p - f64::from(u8::from(image.class_token))).max(0.0);
                2.0 * patch * patches + 2.0 * self.head_weights()
            }
            Embedding::Convolutions(PatchEmbedding { image, .. }) => {
                let side = (p.max(0.0).sqrt() * image.patch as f64).round() as usize;
                self.operations_of_image(side)
            }
            Embedding::Audio(audio) => {
                // Of the first, twice as many steps as of the second.
                let taps = 3.0 * self.hidden as f64;
                2.0 * taps * (2.0 * audio.bands as f64 + self.hidden as f64) * p
            }
            Embedding::Tokens { .. } => 2.0 * self.head_weights(),
        };
        batch as f64 * (2.0 * self.block_weights() * p + self.prefill_attention_ops(p) + ends)
    }

    /// Operations of an image of `side` pixels in a network of convolutions: two of each weight at each place that it goes over.
    pub fn operations_of_image(&self, side: usize) -> f64 {
        let each = self.convolutions.iter().map(|of| 2.0 * of.weights() * of.places(side));
        each.fold(2.0 * self.head_weights(), |sum, one| sum + one)
    }

    /// Operations of one decode step of `batch` sequences that each see `context` positions.
    pub fn decode_ops(&self, batch: usize, context: usize) -> f64 {
        let attention = self.decode_attention_ops(context as f64);
        batch as f64 * (self.block_ops() + attention + self.head_ops())
    }

    /// Of both, those of the products of all blocks with one token.
    pub fn block_ops(&self) -> f64 {
        2.0 * self.block_weights()
    }

    /// Of both, those of the output matrix for one sequence.
    pub fn head_ops(&self) -> f64 {
        2.0 * self.head_weights()
    }

    /// Bytes of activations of a token in `f32`, as they pass between the products of all blocks.
    pub fn activation_bytes(&self) -> f64 {
        let between = |block: &BlockParts| {
            block.feed_forward.map_or(0, |part| {
                let copies = part.experts.map_or(1, |experts| experts.active);
                part.width * copies + part.experts.map_or(0, |experts| experts.shared_width)
            })
        };
        let numbers = |(block, count): &(BlockParts, usize)| (*count * (6 * self.hidden + 3 * between(block))) as f64;
        4.0 * self.blocks.iter().map(numbers).sum::<f64>()
    }
}

impl Tower {
    /// Its parameters, with those between it and the model.
    pub fn parameters(&self) -> f64 {
        self.parts.parameters() + self.projector
    }
}

impl ModelShape {
    /// See [`Parts::active_parameters`].
    pub fn active_parameters(&self) -> f64 {
        self.parts().active_parameters()
    }

    /// See [`Parts::parameters`].
    pub fn parameters(&self) -> f64 {
        self.parts().parameters()
    }

    /// See [`Parts::weight_bytes`].
    pub fn weight_bytes(&self, quant: Quant) -> Bytes {
        self.parts().weight_bytes(quant)
    }

    /// See [`Parts::step_weight_bytes`].
    pub fn step_weight_bytes(&self, quant: Quant, tokens: usize) -> Bytes {
        self.parts().step_weight_bytes(quant, tokens)
    }

    /// See [`Parts::prefill_ops`].
    pub fn prefill_ops(&self, batch: usize, prompt: usize) -> f64 {
        self.parts().prefill_ops(batch, prompt)
    }

    /// See [`Parts::decode_ops`].
    pub fn decode_ops(&self, batch: usize, context: usize) -> f64 {
        self.parts().decode_ops(batch, context)
    }

    /// Every tensor that it has.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        tensors::tensors(&self.parts())
    }

    /// All distinct matrices as rows, columns and how many of them, for what is stored in which encoding.
    pub fn matrices(&self) -> Vec<(usize, usize, usize)> {
        let counted = counted(&self.parts());
        let matrices = counted.iter().filter(|tensor| tensor.is_matrix);
        let experts = |tensor: &Counted| tensor.experts.map_or(1, |experts| experts.count);
        matrices.map(|tensor| (tensor.rows, tensor.cols, tensor.copies as usize * experts(tensor))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::FeedForward;
    use super::*;
    use crate::workload::{CacheType, Preset};

    fn of(name: &str) -> Parts {
        Preset::named(name).unwrap().shape.parts()
    }

    #[test]
    fn a_mixture_reads_the_experts_that_its_tokens_choose() {
        // Mixtral 8x7B: 46.7 G parameters, of which a token goes through 12.9 G (arXiv 2401.04088).
        let experts = Experts { count: 8, active: 2, shared_width: 0, shared_gate: false, router_bias: false };
        let shape = ModelShape { vocab_size: 32_000, ..Preset::named("mistral-7b").unwrap().shape };
        let mixtral = shape
            .parts()
            .with_blocks(|_, block| block.with_feed_forward(|part| FeedForward { experts: Some(experts), ..part }));
        assert_eq!((mixtral.parameters() / 1e8).round(), 467.0);
        let read = |tokens| mixtral.step_weight_bytes(Quant::F16, tokens).0 / 2e8;
        // The token embedding, of 0.13 G, is looked up.
        assert!((read(1) - 127.5).abs() < 0.5, "{}", read(1));
        assert!(read(2) > read(1) && read(4) > read(2) && (read(64).round() - 466.0).abs() <= 1.0, "{}", read(64));
        assert!((mixtral.decode_ops(1, 0) / 2e8 - 127.5).abs() < 1.5);
        assert_eq!(experts.read(1), 2.0);
        assert_eq!(experts.read(2), 3.5);
    }

    #[test]
    fn checkpoints_of_other_engines_leave_what_their_tools_leave() {
        let gib = |name: &str, level: &str| of(name).weight_bytes(level.parse().unwrap()).0 / 1024f64.powi(3);
        // Sizes of the published files: openai/gpt-oss-20b 12.8 GiB, -120b 60.8 GiB (arXiv 2508.10925, table 1).
        assert!((gib("gpt-oss-20b", "mxfp4") - 12.8).abs() < 0.1, "{}", gib("gpt-oss-20b", "mxfp4"));
        assert!((gib("gpt-oss-120b", "mxfp4") - 60.8).abs() < 0.2, "{}", gib("gpt-oss-120b", "mxfp4"));
        // Llama 3.1 8B: 1.05 G numbers of embedding and output at 16 bits, 6.98 G at 8.
        assert!((gib("llama-3.1-8b", "fp8") * 1.073_741_824 - 9.08).abs() < 0.02, "{}", gib("llama-3.1-8b", "fp8"));
        // ggml's levels quantize the ends too.
        let plain = of("llama-3.1-8b").parameters() * 4.25 / 8.0 / 1024f64.powi(3);
        assert!((gib("llama-3.1-8b", "iq4_xs") / plain - 1.0).abs() < 1e-3);
    }

    #[test]
    fn an_encoder_looks_its_tokens_up_and_keeps_nothing() {
        let bert = of("bert-base-uncased");
        let words = 30_522.0 * 768.0 * 2.0;
        assert_eq!(bert.weight_bytes(Quant::F16).0 - bert.step_weight_bytes(Quant::F16, 7).0, words);
        assert_eq!(bert.cache_bytes(8, 512, CacheType::F16), Bytes(0.0));
    }

    #[test]
    fn layers_with_a_window_have_the_matrices_of_all_and_see_less() {
        let gemma = Preset::named("gemma-3-1b").unwrap().shape;
        let plain = ModelShape { sliding_window: None, layer_kinds: None, local_rope_theta: None, ..gemma.clone() };
        assert_eq!(gemma.parts().blocks.iter().map(|(_, count)| count).sum::<usize>(), gemma.layers);
        assert!(gemma.parts().blocks.len() > 1);
        assert_eq!(gemma.parameters(), plain.parameters());
        assert_eq!(gemma.encodings(Quant::Int4), plain.encodings(Quant::Int4));
        assert_eq!(gemma.decode_ops(2, 9), plain.decode_ops(2, 9));
        // 22 of 26 layers keep 512 positions.
        let kept = |tokens| gemma.cache_bytes(1, tokens, CacheType::F16).0 / plain.cache_bytes(1, 1, CacheType::F16).0;
        assert_eq!(kept(512), 512.0);
        assert!((kept(8192) - (4.0 * 8192.0 + 22.0 * 512.0) / 26.0).abs() < 1e-6);
        assert_eq!(gemma.whole_cache_bytes(1, 8192, CacheType::F16), plain.cache_bytes(1, 8192, CacheType::F16));
        assert!(gemma.prefill_ops(1, 4096) < plain.prefill_ops(1, 4096));
    }
}
