//! The forward pass: the parts of a model one after the other, on whatever computes. There is one for all families.

use super::ragged::{RaggedBatch, Segment};
use super::{Block, InputEmbedding, Model, rope};
use crate::engine::backend::ops::{self, Compute, Kernels};
use crate::engine::backend::tensors::Pass;
use crate::engine::backend::{Backend, Norm};
use crate::workload::CacheType;
use crate::workload::model::parts::{NormPlace, Rotary};
use crate::workload::model::tensors::BlockTensor;
use candle_core::{Result, Tensor, bail};

/// Which positions of a forward pass get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// The last one: `(batch, vocab)`.
    Last,
    /// Every one: `(batch, seq, vocab)`.
    All,
}

/// An input of the matrix products of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductInput {
    /// Query, key and value.
    AttentionNorm,
    /// The output of attention.
    Attention,
    /// Gate and up.
    FeedForwardNorm,
    /// Down.
    Gated,
}

/// Is shown the inputs of products as they are computed.
pub type ActivationHook<'a, X> = &'a mut dyn FnMut(ProductInput, &X) -> Result<()>;

impl<B: Backend> Block<B> {
    /// A norm that a block of its parts has.
    fn norm(&self, tensor: BlockTensor) -> Result<&Norm<B::Vector>> {
        match self.norms.get(&tensor) {
            Some(norm) => Ok(norm),
            None => bail!("the block has no {tensor:?}"),
        }
    }

    /// `x`, or what a part adds to it, normed by `tensor`, where norms stand in one of `places`.
    fn normed(&self, backend: &B, x: B::Rows, tensor: BlockTensor, places: &[NormPlace]) -> Result<B::Rows> {
        match places.contains(&self.parts.norms) {
            true => backend.norm(&x, self.norm(tensor)?),
            false => Ok(x),
        }
    }
}

impl Block<Compute> {
    /// `(batch, seq, hidden)` to the same; `hook` is shown what each of the products reads.
    pub(super) fn forward(
        &mut self,
        backend: &Compute,
        x: &Tensor,
        pass: &Pass,
        hook: ActivationHook<'_, Tensor>,
    ) -> Result<Tensor> {
        use BlockTensor::*;
        use NormPlace::{Around, Before, Behind};
        let normed = self.normed(backend, x.clone(), AttentionNorm, &[Before, Around])?;
        hook(ProductInput::AttentionNorm, &normed)?;
        let attended = self.attend(backend, &normed, pass)?;
        hook(ProductInput::Attention, &attended)?;
        let added = backend.products(&[self.matrix(AttentionOutput)?], &attended)?.remove(0);
        let added = self.normed(backend, added, AttentionPostNorm, &[Around])?;
        let x = self.normed(backend, backend.add(x, &added)?, AttentionNorm, &[Behind])?;
        let normed = self.normed(backend, x.clone(), FeedForwardNorm, &[Before, Around])?;
        hook(ProductInput::FeedForwardNorm, &normed)?;
        let added = self.feed_forward(backend, &normed, hook)?;
        let added = self.normed(backend, added, FeedForwardPostNorm, &[Around])?;
        self.normed(backend, backend.add(&x, &added)?, FeedForwardNorm, &[Behind])
    }

    /// Attention before its output matrix.
    fn attend(&mut self, backend: &Compute, x: &Tensor, pass: &Pass) -> Result<Tensor> {
        use BlockTensor::{Key, KeyNorm, Query, QueryNorm, Value};
        let matrices = [self.matrix(Query)?, self.matrix(Key)?, self.matrix(Value)?];
        let made = backend.products(&matrices, x)?;
        let Ok(query_key_value) = <[Tensor; 3]>::try_from(made) else { bail!("a product is missing") };
        let norms = [self.norms.get(&QueryNorm), self.norms.get(&KeyNorm)];
        backend.attend(&self.parts.attention, query_key_value, norms, self.cache.as_mut(), pass)
    }

    /// What each position becomes by itself, a few hundred rows at a time where those kernels want it: many rows of what is
    /// between the products would leave the caches and, in the end, the allocator.
    fn feed_forward(&self, backend: &Compute, x: &Tensor, hook: ActivationHook<'_, Tensor>) -> Result<Tensor> {
        use BlockTensor::{Down, Gate, Up};
        let (batch, seq, hidden) = x.dims3()?;
        let rows = batch * seq;
        let feed_forward = self.parts.feed_forward;
        if let Some(most) = backend.rows_at_once().filter(|most| rows > *most && feed_forward.gated) {
            let flat = x.reshape((1, rows, hidden))?;
            let pieces = (0..rows).step_by(most).map(|first| {
                let piece = flat.narrow(1, first, most.min(rows - first))?;
                self.feed_forward(backend, &piece, &mut *hook)
            });
            return Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 1)?.reshape((batch, seq, hidden));
        }
        let matrices = match feed_forward.gated {
            true => vec![self.matrix(Gate)?, self.matrix(Up)?],
            false => vec![self.matrix(Up)?],
        };
        let mut made = backend.products(&matrices, x)?;
        let up = made.pop();
        let (gate, Some(up)) = (made.pop(), up) else { bail!("a product is missing") };
        let activated = backend.activate(feed_forward.activation, gate.as_ref(), &up)?;
        hook(ProductInput::Gated, &activated)?;
        Ok(backend.products(&[self.matrix(Down)?], &activated)?.remove(0))
    }
}

impl Model<Compute> {
    /// Makes room for `batch` sequences of up to `capacity` positions, kept in `kind`, and empties the cache.
    pub fn allocate(&mut self, batch: usize, capacity: usize, kind: CacheType) -> Result<()> {
        for block in &mut self.blocks {
            block.cache = None;
        }
        self.rotary_tables.clear();
        for block in &mut self.blocks {
            let attention = &block.parts.attention;
            block.cache = Some(self.backend.cache(attention, batch, capacity, kind)?);
            if let Some(rotary) =
                attention.rotary.filter(|rotary| self.rotary_tables.iter().all(|(known, _)| known != rotary))
            {
                let (cos, sin) = rope::tables(&rotary, attention.head_dim, self.rope_divisors.as_deref(), capacity)?;
                self.rotary_tables.push((rotary, (self.backend.tensor(&cos)?, self.backend.tensor(&sin)?)));
            }
        }
        self.capacity = capacity;
        self.filled = 0;
        Ok(())
    }

    /// Forgets the sequences but keeps the room.
    pub fn reset(&mut self) {
        self.filled = 0;
    }

    /// Runs `tokens: (batch, seq)` behind what the cache holds.
    pub fn forward(&mut self, tokens: &Tensor, logits: Logits) -> Result<Tensor> {
        let (_, seq) = tokens.dims2()?;
        let mut x = self.residual(tokens)?;
        if logits == Logits::Last && seq > 1 {
            x = x.narrow(1, seq - 1, 1)?.contiguous()?;
        }
        let y = self.head(&self.final_normed(x)?)?;
        match logits {
            Logits::Last => y.squeeze(1),
            Logits::All => Ok(y),
        }
    }

    /// What the last block leaves of `tokens: (batch, seq)`, normed where the model norms it: `(batch, seq, hidden)`.
    pub fn hidden(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let x = self.residual(tokens)?;
        self.final_normed(x)
    }

    /// The logits of normed hidden states: `(.., hidden)` to `(.., vocab)`.
    pub fn head(&self, x: &Tensor) -> Result<Tensor> {
        match (&self.output, self.table()) {
            (Some(output), _) => Ok(self.backend.products(&[output], x)?.remove(0)),
            (None, Some(table)) => table.forward(x),
            (None, None) => bail!("the model makes no logits"),
        }
    }

    /// Logits `(batch, classes)` of `pixels: (batch, channels, height, width)`, by the first position.
    pub fn classify(&mut self, pixels: &Tensor) -> Result<Tensor> {
        let x = match &mut self.begin {
            InputEmbedding::Patches(patches) => patches.embed(&self.backend, pixels)?,
            InputEmbedding::Tokens { .. } => bail!("the model takes texts, not images"),
        };
        let x = self.through_blocks(x, &Pass::default())?;
        let class = self.final_normed(x.narrow(1, 0, 1)?.contiguous()?)?;
        self.head(&class)?.squeeze(1)
    }

    fn final_normed(&self, x: Tensor) -> Result<Tensor> {
        match &self.final_norm {
            Some(norm) => self.backend.norm(&x, norm),
            None => Ok(x),
        }
    }

    /// What tokens become before the first block.
    pub(super) fn embed(&self, tokens: &Tensor) -> Result<Tensor> {
        let InputEmbedding::Tokens { table, scale, learned } = &self.begin else {
            bail!("the model takes images, not texts");
        };
        let mut x = self.backend.embed(table, tokens)?;
        if let Some(scale) = scale {
            x = self.backend.scale(&x, *scale)?;
        }
        let Some((positions, norm)) = learned else { return Ok(x) };
        let ((_, seq), most) = (tokens.dims2()?, positions.dim(0)?);
        if seq > most {
            bail!("{seq} tokens exceed the model's {most} positions");
        }
        self.backend.norm(&x.broadcast_add(&positions.narrow(0, 0, seq)?)?, norm)
    }

    fn through_blocks(&mut self, mut x: Tensor, pass: &Pass) -> Result<Tensor> {
        for block in &mut self.blocks {
            x = block.forward(&self.backend, &x, pass, &mut |_, _| Ok(()))?;
        }
        Ok(x)
    }

    /// The residual stream behind all blocks.
    fn residual(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let (_, seq) = tokens.dims2()?;
        if self.shape.is_encoder() {
            // Every position sees every other, and nothing is kept.
            let x = self.embed(tokens)?;
            return self.through_blocks(x, &Pass::default());
        }
        let pass = self.pass(seq)?;
        let x = self.embed(tokens)?;
        let x = self.through_blocks(x, &pass)?;
        self.filled += seq;
        Ok(x)
    }

    /// Runs pieces of sequences of different lengths in one pass, each behind what its row of the cache holds. Gives the
    /// logits `(pieces that are sampled, vocab)` behind the last token of those.
    pub fn forward_segments(&mut self, segments: &[Segment<'_>]) -> Result<Tensor> {
        let flat: Vec<u32> = segments.iter().flat_map(|segment| segment.tokens.iter().copied()).collect();
        let count = flat.len();
        let device = &self.backend.device;
        let input = Tensor::from_vec(flat, (1, count), device)?;
        let ragged = RaggedBatch::new(segments, self.capacity)?;
        let positions = Tensor::from_vec(ragged.positions(), ragged.tokens(), device)?;
        let ends = Tensor::from_vec(ragged.sampled_ends(), ragged.sampled(), device)?;
        let rotary_tables = self.turned(|table| table.index_select(&positions, 0))?;
        let pass = Pass { rotary_tables, ragged: Some(ragged), ..Pass::default() };
        let x = self.embed(&input)?;
        let x = self.through_blocks(x, &pass)?;
        let x = x.squeeze(0)?.index_select(&ends, 0)?.unsqueeze(0)?;
        self.head(&self.final_normed(x)?)?.squeeze(0)
    }

    /// The tables of all turns, cut to the positions of a pass.
    fn turned(&self, cut: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<(Rotary, (Tensor, Tensor))>> {
        self.rotary_tables.iter().map(|(rotary, (cos, sin))| Ok((*rotary, (cut(cos)?, cut(sin)?)))).collect()
    }

    /// What the next `seq` positions share.
    pub(super) fn pass(&self, seq: usize) -> Result<Pass> {
        let past = self.filled;
        if past + seq > self.capacity {
            bail!("{} positions do not fit a cache of {}", past + seq, self.capacity);
        }
        let mut masks: Vec<(Option<usize>, Option<Tensor>)> = Vec::new();
        if self.backend.kernels == Kernels::Candle {
            for window in self.blocks.iter().map(|block| block.parts.attention.mask.window()) {
                if masks.iter().all(|(known, _)| *known != window) {
                    masks.push((window, ops::mask(seq, past, window, &self.backend.device)?));
                }
            }
        }
        let rotary_tables = self.turned(|table| table.narrow(0, past, seq))?;
        Ok(Pass { past, rotary_tables, masks, ragged: None })
    }
}
