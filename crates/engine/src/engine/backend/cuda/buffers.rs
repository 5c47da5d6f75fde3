//! Buffers for a batch and its context on a card: how much that is, which is known before anything is loaded, and the memory
//! itself.

use super::products::{MOST_GEMV_ROWS, Width, Workspace};
use crate::device::cuda::{Buffer, Card, CudaError, LEAST_BYTES};
use crate::engine::model::computed::{ComputedBlock, blocks_of};
use crate::engine::model::rope;
use crate::workload::model::parts::{Embedding, Head, Parts, PatchEmbedding, Rotary};
use crate::workload::{Encoding, ModelShape, Quant};

/// Most parts that the keys of a sequence are split into.
const MOST_SPLITS: usize = 64;

/// What buffers have to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Sequences that the cache has places for.
    pub sequences: usize,
    /// Positions of each.
    pub capacity: usize,
    /// Tokens of the largest pass.
    pub rows: usize,
    /// Rows that get logits at once, and what those are stored in.
    pub logits: (usize, Width),
    /// Those rows lie anywhere in a pass.
    pub gathers: bool,
    /// Numbers of the largest matrix that many rows need widened to 16 bits.
    pub widest: usize,
}

impl Extent {
    /// That of a batch of prompts of one length, all of which generate.
    pub(crate) fn of_batch(batch: usize, capacity: usize, prompt: usize, widest: usize) -> Self {
        let rows = times(&[batch, prompt.max(1)]);
        Self { sequences: batch, capacity, rows, logits: (batch, Width::Half), gathers: false, widest }
    }

    /// That of a batch of texts or images of `seq` positions each, all of which see each other.
    pub(crate) fn of_encoder(batch: usize, seq: usize, widest: usize) -> Self {
        let (rows, logits) = (times(&[batch, seq]), (batch, Width::Single));
        Self { sequences: batch, capacity: seq, rows, logits, gathers: false, widest }
    }
}

/// A product of sizes; what no memory holds stays at the end of the numbers.
pub(super) fn times(factors: &[usize]) -> usize {
    factors.iter().fold(1, |product: usize, factor| product.saturating_mul(*factor))
}

/// Every way that blocks turn queries and keys.
fn rotaries(parts: &Parts) -> Vec<(Rotary, usize)> {
    let mut rotaries: Vec<(Rotary, usize)> = Vec::new();
    for block in blocks_of(parts) {
        let rotary = block.attention.rotary.map(|rotary| (rotary, block.attention.head_dim));
        rotaries.extend(rotary.filter(|rotary| !rotaries.contains(rotary)));
    }
    rotaries
}

/// Bytes of each buffer.
pub(super) struct Sizes {
    /// Keys, or values, of each block that keeps them.
    cache: Vec<usize>,
    /// Keys, or values, of a block that keeps none: the next has no need of them.
    passing: usize,
    /// Cosines, or sines, of each way to turn.
    tables: Vec<usize>,
    places: usize,
    ids: usize,
    pixels: usize,
    residual: usize,
    hidden: usize,
    qkv: usize,
    attended: usize,
    partial: usize,
    gate_up: usize,
    gated: usize,
    logits: usize,
    /// Rows that get logits, where they lie anywhere: their numbers, and they themselves.
    picked: (usize, usize),
    /// Columns of the weight-only kernels' workspace, and numbers of the widened matrix.
    columns: usize,
    widened: usize,
    splits: usize,
}

impl Sizes {
    /// What `extent` takes of a model of `parts` on a card of so many multiprocessors.
    pub(crate) fn new(parts: &Parts, multiprocessors: u32, extent: Extent) -> Self {
        let Extent { sequences: batch, capacity, rows, logits: (of_logits, width), gathers, widest } = extent;
        let blocks = blocks_of(parts);
        let most = |of: fn(&ComputedBlock) -> usize| blocks.iter().map(of).max().unwrap_or(0);
        let kv = most(|block| block.attention.kv_width());
        let (q, ff) = (most(|block| block.attention.q_width()), most(|block| block.feed_forward.width));
        let gated = most(|block| if block.feed_forward.gated { block.feed_forward.width } else { 0 });
        let keeps = |block: &&ComputedBlock| block.attention.mask.keeps();
        let patch = match &parts.embedding {
            Embedding::Patches(PatchEmbedding { image, .. }) => image.channels * image.patch * image.patch,
            Embedding::Tokens { .. } | Embedding::Audio(_) | Embedding::Convolutions(_) => 0,
        };
        let classes = match (parts.head, &parts.embedding) {
            (Head::Classes(classes), _) => classes,
            (Head::Tokens | Head::TiedTokens, Embedding::Tokens { vocabulary, .. }) => *vocabulary,
            _ => 0,
        };
        let groups = times(&[batch, most(|block| block.attention.kv_heads)]).max(1);
        let wanted = (4 * multiprocessors as usize).div_ceil(groups);
        let splits = wanted.clamp(1, MOST_SPLITS).min(capacity.div_ceil(64)).max(1);
        let splits_of = |block: &ComputedBlock| {
            let attention = &block.attention;
            times(&[batch, attention.heads, splits, attention.head_dim + 2, 4])
        };
        let hidden = parts.hidden;
        Self {
            cache: blocks
                .iter()
                .filter(keeps)
                .map(|block| times(&[batch, block.attention.kv_width(), capacity, 2]))
                .collect(),
            passing: if blocks.iter().all(|block| keeps(&block)) { 0 } else { times(&[rows, kv, 2]) },
            tables: rotaries(parts).iter().map(|(_, head_dim)| times(&[capacity, head_dim / 2, 4])).collect(),
            places: times(&[batch, 8]),
            ids: if patch == 0 { times(&[rows, 4]) } else { 0 },
            pixels: times(&[rows, patch, 2]),
            residual: times(&[rows, hidden, 4]),
            hidden: times(&[rows, hidden, 2]),
            qkv: times(&[rows, q + 2 * kv, 2]),
            attended: times(&[rows, q, 2]),
            partial: blocks.iter().filter(keeps).map(splits_of).max().unwrap_or(0),
            gate_up: times(&[rows, ff + gated, 2]),
            gated: times(&[rows, gated, 2]),
            logits: times(&[of_logits, classes, width.bytes()]),
            picked: if gathers { (times(&[of_logits, 4]), times(&[of_logits, hidden, 2])) } else { (0, 0) },
            columns: q.max(ff).max(hidden).max(patch),
            widened: if rows > MOST_GEMV_ROWS { widest } else { 0 },
            splits,
        }
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> usize {
        let caches = self.cache.iter().chain(&self.tables).fold(0, |sum: usize, bytes| sum.saturating_add(*bytes));
        // Where nothing is kept the card still gives a few bytes.
        let taken = [
            self.passing,
            self.passing,
            self.places,
            self.ids,
            self.pixels,
            self.residual,
            self.hidden,
            self.hidden,
            self.qkv,
            self.attended,
            self.partial,
            self.gate_up,
            self.gated,
            self.logits,
        ];
        let taken = taken.into_iter().map(|bytes| bytes.max(LEAST_BYTES));
        let workspace = Workspace::bytes(MOST_GEMV_ROWS, self.columns, self.widened);
        let others = [times(&[2, caches]), self.picked.0, self.picked.1, workspace];
        taken.chain(others).fold(0, usize::saturating_add)
    }
}

/// Numbers of the largest stack of matrices that `quant` stores in blocks: the most that is widened at once. Of weights that
/// are not loaded yet: those of a file may be stored otherwise here and there.
pub(super) fn widest(shape: &ModelShape, quant: Quant) -> usize {
    let parts = shape.parts();
    let stacks = blocks_of(&parts).into_iter().flat_map(|ComputedBlock { attention, feed_forward, .. }| {
        let (hidden, q, kv, ff) = (parts.hidden, attention.q_width(), attention.kv_width(), feed_forward.width);
        let gate_up = if feed_forward.gated { 2 * ff } else { ff };
        [(q + 2 * kv, hidden), (hidden, q), (gate_up, hidden), (hidden, ff)]
    });
    let in_blocks = |cols| !matches!(quant.encoding(cols), Encoding::F32 | Encoding::F16 | Encoding::Bf16);
    stacks.filter(|(_, cols)| in_blocks(*cols)).map(|(rows, cols)| rows * cols).max().unwrap_or(0)
}

/// Cosines and sines of positions: `(positions, head_dim / 2)` each.
pub(super) struct RotaryBuffers {
    pub rotary: Rotary,
    pub cos: Buffer,
    pub sin: Buffer,
}

/// Keys and values of one block: `(sequences, kv_heads, capacity, head_dim)` each.
pub struct CacheBuffers {
    /// Keys.
    pub keys: Buffer,
    /// Values.
    pub values: Buffer,
}

impl CacheBuffers {
    fn new(card: &Card, bytes: usize) -> Result<Self, CudaError> {
        Ok(Self { keys: card.zeros(bytes)?, values: card.zeros(bytes)? })
    }

    /// One for each block that keeps keys and values.
    pub(super) fn of_blocks(card: &Card, sizes: &Sizes) -> Result<Vec<Self>, CudaError> {
        sizes.cache.iter().map(|bytes| Self::new(card, *bytes)).collect()
    }
}

/// Buffers for a batch and its context, beside the caches of the blocks.
pub(super) struct Buffers {
    /// Keys and values of a block that keeps none.
    pub passing: CacheBuffers,
    pub rotary: Vec<RotaryBuffers>,
    /// Row of the cache and positions that it holds, of each sequence of a pass.
    pub places: Buffer,
    pub ids: Buffer,
    pub pixels: Buffer,
    pub residual: Buffer,
    pub normed: Buffer,
    pub qkv: Buffer,
    pub attended: Buffer,
    pub partial: Buffer,
    pub gate_up: Buffer,
    pub gated: Buffer,
    pub delta: Buffer,
    pub logits: Buffer,
    /// Numbers of the rows that get logits, and those rows, where they lie anywhere.
    pub picked: Option<(Buffer, Buffer)>,
    pub workspace: Workspace,
    pub extent: Extent,
    pub splits: usize,
}

impl Buffers {
    /// Takes it from `card`.
    pub(crate) fn new(
        card: &Card,
        parts: &Parts,
        sizes: &Sizes,
        extent: Extent,
        rope_divisors: Option<&[f32]>,
    ) -> Result<Self, CudaError> {
        let mut rotary = Vec::new();
        for (turns, head_dim) in rotaries(parts) {
            let (cos, sin) = rope::tables(&turns, head_dim, rope_divisors, extent.capacity)?;
            let table = |table: candle_core::Tensor| card.with(&table.flatten_all()?.to_vec1::<f32>()?);
            rotary.push(RotaryBuffers { rotary: turns, cos: table(cos)?, sin: table(sin)? });
        }
        Ok(Self {
            passing: CacheBuffers { keys: card.alloc(sizes.passing)?, values: card.alloc(sizes.passing)? },
            rotary,
            places: card.alloc(sizes.places)?,
            ids: card.alloc(sizes.ids)?,
            pixels: card.alloc(sizes.pixels)?,
            residual: card.alloc(sizes.residual)?,
            normed: card.alloc(sizes.hidden)?,
            qkv: card.alloc(sizes.qkv)?,
            attended: card.alloc(sizes.attended)?,
            partial: card.alloc(sizes.partial)?,
            gate_up: card.alloc(sizes.gate_up)?,
            gated: card.alloc(sizes.gated)?,
            delta: card.alloc(sizes.hidden)?,
            logits: card.alloc(sizes.logits)?,
            picked: match sizes.picked {
                (0, 0) => None,
                (ids, rows) => Some((card.alloc(ids)?, card.alloc(rows)?)),
            },
            workspace: Workspace::new(card, MOST_GEMV_ROWS, sizes.columns, sizes.widened)?,
            extent,
            splits: sizes.splits,
        })
    }

    /// Where the place of sequence `index` of a pass is.
    pub(crate) fn place(&self, index: usize) -> u64 {
        self.places.at() + 8 * index as u64
    }
}
