//! A model on candle's tensors: its cache, and passes of tokens, pieces of sequences and images.

use super::images::{patch_grid, patches};
use super::ragged::{RaggedBatch, Segment};
use super::{Model, rope};
use crate::engine::backend::Selected;
use crate::engine::backend::ops::{self, Compute, Kernels};
use crate::engine::backend::tensors::{Pass, RotaryTables};
use crate::workload::CacheType;
use crate::workload::model::parts::Rotary;
use candle_core::{Result, Tensor, bail};

/// Which positions of a forward pass get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// The last one: `(batch, vocab)`.
    Last,
    /// Every one: `(batch, seq, vocab)`.
    All,
}

/// How the positions of the cache turn, by each way that blocks have, and how many positions there are.
#[derive(Default)]
pub struct CachedPositions {
    rotary_tables: Vec<(Rotary, RotaryTables)>,
    /// Positions that the cache holds.
    filled: usize,
    capacity: usize,
}

impl CachedPositions {
    /// The tables of all turns, cut to the positions of a pass.
    fn turned(&self, cut: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Vec<(Rotary, RotaryTables)>> {
        self.rotary_tables.iter().map(|(rotary, (cos, sin))| Ok((*rotary, (cut(cos)?, cut(sin)?)))).collect()
    }
}

impl Model<Compute> {
    /// Makes room for `batch` sequences of up to `capacity` positions, kept in `kind`, and empties the cache.
    pub fn allocate(&mut self, batch: usize, capacity: usize, kind: CacheType) -> Result<()> {
        for block in &mut self.blocks {
            block.cache = None;
        }
        self.positions = CachedPositions { capacity, ..CachedPositions::default() };
        let tables = &mut self.positions.rotary_tables;
        for block in &mut self.blocks {
            let attention = &block.parts.attention;
            block.cache = Some(self.backend.cache(attention, batch, capacity, kind)?);
            if let Some(rotary) = attention.rotary.filter(|rotary| tables.iter().all(|(known, _)| known != rotary)) {
                let (cos, sin) = rope::tables(&rotary, attention.head_dim, self.rope_divisors.as_deref(), capacity)?;
                tables.push((rotary, (self.backend.tensor(&cos)?, self.backend.tensor(&sin)?)));
            }
        }
        Ok(())
    }

    /// Forgets the sequences but keeps the room.
    pub fn reset(&mut self) {
        self.positions.filled = 0;
    }

    /// Runs `tokens: (batch, seq)` behind what the cache holds.
    pub fn forward(&mut self, tokens: &Tensor, logits: Logits) -> Result<Tensor> {
        let mut stream = self.run_tokens(tokens)?;
        match logits {
            Logits::Last => self.logits(&self.finish(&mut stream, Selected::Last)?)?.squeeze(1),
            Logits::All => self.logits(&self.finish(&mut stream, Selected::All)?),
        }
    }

    /// What the last block leaves of `tokens: (batch, seq)`, normed where the model norms it: `(batch, seq, hidden)`.
    pub fn hidden(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let mut stream = self.run_tokens(tokens)?;
        self.finish(&mut stream, Selected::All)
    }

    /// Logits `(batch, classes)` of `pixels: (batch, channels, height, width)`, by the first position.
    pub fn classify(&mut self, pixels: &Tensor) -> Result<Tensor> {
        let Some((images, backend)) = self.patches_mut() else { bail!("the model takes texts, not images") };
        let grid = patch_grid(&images.shape, pixels.dims4()?)?;
        images.set_grid(backend, grid)?;
        let rows = patches(pixels, &images.shape, grid)?;
        let mut stream = self.run(&rows, &Pass::default())?;
        self.logits(&self.finish(&mut stream, Selected::First)?)?.squeeze(1)
    }

    /// What the blocks make of `tokens: (batch, seq)`.
    fn run_tokens(&mut self, tokens: &Tensor) -> Result<Tensor> {
        if self.shape.image.is_some() {
            bail!("the model takes images, not texts");
        }
        let (_, seq) = tokens.dims2()?;
        if self.shape.is_encoder() {
            // Every position sees every other, and nothing is kept.
            return self.run(tokens, &Pass::default());
        }
        let pass = self.pass(seq)?;
        let stream = self.run(tokens, &pass)?;
        self.positions.filled += seq;
        Ok(stream)
    }

    /// Runs pieces of sequences of different lengths in one pass, each behind what its row of the cache holds. Gives the
    /// logits `(pieces that are sampled, vocab)` behind the last token of those.
    pub fn forward_segments(&mut self, segments: &[Segment<'_>]) -> Result<Tensor> {
        let flat: Vec<u32> = segments.iter().flat_map(|segment| segment.tokens.iter().copied()).collect();
        let count = flat.len();
        let device = &self.backend.device;
        let input = Tensor::from_vec(flat, (1, count), device)?;
        let ragged = RaggedBatch::new(segments, self.positions.capacity)?;
        let positions = Tensor::from_vec(ragged.positions(), ragged.tokens(), device)?;
        let ends = Tensor::from_vec(ragged.sampled_ends(), ragged.sampled(), device)?;
        let rotary_tables = self.positions.turned(|table| table.index_select(&positions, 0))?;
        let pass = Pass { rotary_tables, ragged: Some(ragged), ..Pass::default() };
        let stream = self.run(&input, &pass)?;
        let mut stream = stream.squeeze(0)?.index_select(&ends, 0)?.unsqueeze(0)?;
        self.logits(&self.finish(&mut stream, Selected::All)?)?.squeeze(0)
    }

    /// What the next `seq` positions share.
    pub(super) fn pass(&self, seq: usize) -> Result<Pass> {
        let CachedPositions { filled: past, capacity, .. } = self.positions;
        if past + seq > capacity {
            bail!("{} positions do not fit a cache of {capacity}", past + seq);
        }
        let mut masks: Vec<(Option<usize>, Option<Tensor>)> = Vec::new();
        if self.backend.kernels == Kernels::Candle {
            for window in self.blocks.iter().map(|block| block.parts.attention.mask.window()) {
                if masks.iter().all(|(known, _)| *known != window) {
                    masks.push((window, ops::mask(seq, past, window, &self.backend.device)?));
                }
            }
        }
        let rotary_tables = self.positions.turned(|table| table.narrow(0, past, seq))?;
        Ok(Pass { past, rotary_tables, masks, ragged: None })
    }
}
