//! What a step has to do, whatever it does it on.

use crate::sizing::speed::fit::cache_of;
use crate::workload::{CacheType, Case, ModelShape, Quant};

/// Counts of one decode step or one prefill of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Work {
    /// Sequences.
    pub batch: f64,
    /// Tokens of a prompt, or the positions that a decode step attends to.
    pub tokens: f64,
    /// Transformer blocks.
    pub layers: f64,
    /// Tokens of the vocabulary.
    pub vocabulary: f64,
    /// Bytes of weights that are read once.
    pub weight_bytes: f64,
    /// Bytes of key-value cache that are read.
    pub cache_bytes: f64,
    /// Operations of the matrix products of the blocks.
    pub ops: f64,
    /// Operations of attention.
    pub attention_ops: f64,
    /// Bytes of activations between the products.
    pub activation_bytes: f64,
    /// Operations of the output matrix.
    pub head_ops: f64,
    /// The model has parts of a kind that no law was learnt on: experts, latent or linear attention, states.
    pub is_of_unlearnt_kind: bool,
}

/// Whether the laws, which were learnt on dense models with attention in every layer, were learnt on no such model.
fn is_of_unlearnt_kind(shape: &ModelShape) -> bool {
    shape.experts.is_some() || shape.latent.is_some() || shape.linear.is_some() || shape.state_space.is_some()
}

impl Work {
    /// A decode step of `batch` sequences of `context` tokens kept in `cache`, with weights of `weight_bytes` read.
    pub fn decode(shape: &ModelShape, weight_bytes: f64, batch: usize, context: f64, cache: CacheType) -> Self {
        let (parts, b) = (shape.parts(), batch as f64);
        Self {
            batch: b,
            tokens: context,
            layers: shape.layers as f64,
            vocabulary: shape.vocab_size as f64,
            weight_bytes,
            cache_bytes: parts.read_cache_bytes(batch, context, cache).0,
            ops: b * parts.block_ops(),
            attention_ops: b * parts.decode_attention_ops(context),
            activation_bytes: b * parts.activation_bytes(),
            head_ops: b * parts.head_ops(),
            is_of_unlearnt_kind: is_of_unlearnt_kind(shape),
        }
    }

    /// A prefill of `batch` prompts of `prompt` tokens.
    pub fn prefill(shape: &ModelShape, weight_bytes: f64, batch: usize, prompt: f64) -> Self {
        let (parts, b) = (shape.parts(), batch as f64);
        let activation_bytes = b * prompt * parts.activation_bytes();
        if !shape.task().generates() {
            let ops = shape.prefill_ops(batch, prompt as usize);
            return Self::pass(b, prompt, shape.layers as f64, ops, weight_bytes, activation_bytes);
        }
        Self {
            batch: b,
            tokens: prompt,
            layers: shape.layers as f64,
            vocabulary: shape.vocab_size as f64,
            weight_bytes,
            cache_bytes: 0.0,
            ops: b * parts.block_ops() * prompt,
            attention_ops: b * parts.prefill_attention_ops(prompt),
            activation_bytes,
            head_ops: b * parts.head_ops(),
            is_of_unlearnt_kind: is_of_unlearnt_kind(shape),
        }
    }

    /// One pass of anything else (an encoder, an image classifier): its operations and bytes as counted by whoever knows
    /// the model, at `batch` inputs of `tokens`.
    pub fn pass(batch: f64, tokens: f64, layers: f64, ops: f64, weight_bytes: f64, activation_bytes: f64) -> Self {
        Self { batch, tokens, layers, ops, weight_bytes, activation_bytes, ..Self::default() }
    }

    /// The same where an operation of a product with weights costs this many of 16-bit floats: attention stays in those.
    pub fn costing(self, operation: f64) -> Self {
        Self { ops: self.ops * operation, ..self }
    }

    /// The decode step in the middle of a case.
    pub fn decode_of(shape: &ModelShape, case: &Case) -> Self {
        Self::decode(
            shape,
            shape.step_weight_bytes(case.quant, case.batch).0,
            case.batch,
            case.middle(),
            cache_of(case),
        )
    }

    /// The prefill of a case.
    pub fn prefill_of(shape: &ModelShape, case: &Case) -> Self {
        Self::prefill(
            shape,
            shape.step_weight_bytes(case.quant, case.batch * case.prompt_tokens()).0,
            case.batch,
            case.prompt_tokens() as f64,
        )
    }
}

/// Of weights that take `stored` bytes, those that a decode step reads: all but an untied token embedding.
pub fn read_bytes(shape: &ModelShape, quant: Quant, stored: f64) -> f64 {
    stored * shape.step_weight_bytes(quant, 1).0 / shape.weight_bytes(quant).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Preset;

    #[test]
    fn kinds_that_no_law_was_learnt_on_are_told() {
        let of = |name: &str| Work::decode_of(&Preset::named(name).unwrap().shape, &Case::new(Quant::F16, 1, 64, 64));
        for name in ["mixtral-8x7b", "deepseek-v3", "qwen3.5-27b", "granite-4.0-h-tiny"] {
            assert!(of(name).is_of_unlearnt_kind, "{name}");
        }
        assert!(!of("llama-3.1-8b").is_of_unlearnt_kind && !of("gemma-3-27b").is_of_unlearnt_kind);
        // A step of one token reads the experts that it chooses.
        let shape = Preset::named("mixtral-8x7b").unwrap().shape;
        assert!(of("mixtral-8x7b").weight_bytes < 0.3 * shape.weight_bytes(Quant::F16).0);
    }

    #[test]
    fn counts_are_those_of_the_shape() {
        let shape = Preset::named("llama-3.1-8b").unwrap().shape;
        let case = Case::new(Quant::F16, 2, 512, 128);
        let prefill = Work::prefill_of(&shape, &case);
        let sum = prefill.ops + prefill.attention_ops + prefill.head_ops;
        assert!((sum / shape.prefill_ops(2, 512) - 1.0).abs() < 1e-12);
        let decode = Work::decode_of(&shape, &case);
        let sum = decode.ops + decode.attention_ops + decode.head_ops;
        assert!((sum / shape.decode_ops(2, 576) - 1.0).abs() < 1e-12);
        // 16.06 GB without the embedding of 1.05 GB.
        assert!((decode.weight_bytes / 15.01e9 - 1.0).abs() < 1e-3, "{}", decode.weight_bytes);
        assert_eq!(read_bytes(&shape, Quant::F16, shape.weight_bytes(Quant::F16).0), decode.weight_bytes);
    }
}
