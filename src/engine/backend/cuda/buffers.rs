//! Buffers for a batch and its context on a card: how much that is, which is known before anything is loaded, and the memory
//! itself.

use super::products::{MOST_GEMV_ROWS, Width, Workspace};
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::model::rope;
use crate::workload::model::parts::Rotary;
use crate::workload::{Encoding, ModelShape, Quant};

/// Most parts that the keys of a sequence are split into.
const MOST_SPLITS: usize = 64;

/// What buffers have to hold.
#[derive(Debug, Clone, Copy)]
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
    pub fn of_batch(batch: usize, capacity: usize, prompt: usize, widest: usize) -> Self {
        let rows = times(&[batch, prompt.max(1)]);
        Self { sequences: batch, capacity, rows, logits: (batch, Width::Half), gathers: false, widest }
    }
}

/// Bytes of each buffer.
pub(super) struct Sizes {
    /// Keys, or values, of one layer.
    cache: usize,
    layers: usize,
    table: usize,
    places: usize,
    ids: usize,
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

/// A product of sizes; what no memory holds stays at the end of the numbers.
pub(super) fn times(factors: &[usize]) -> usize {
    factors.iter().fold(1, |product: usize, factor| product.saturating_mul(*factor))
}

impl Sizes {
    /// What `extent` takes of a model of `shape` on a card of so many multiprocessors.
    pub fn new(shape: &ModelShape, multiprocessors: u32, extent: Extent) -> Self {
        let Extent { sequences: batch, capacity, rows, logits: (of_logits, width), gathers, widest } = extent;
        let (q, kv, ff) = (shape.q_width(), shape.kv_width(), shape.intermediate_size);
        let groups = times(&[batch, shape.kv_heads]).max(1);
        let wanted = (4 * multiprocessors as usize).div_ceil(groups);
        let splits = wanted.clamp(1, MOST_SPLITS).min(capacity.div_ceil(64)).max(1);
        Self {
            cache: times(&[batch, kv, capacity, 2]),
            layers: shape.layers,
            table: times(&[capacity, shape.head_dim / 2, 4]),
            places: times(&[batch, 8]),
            ids: times(&[rows, 4]),
            residual: times(&[rows, shape.hidden_size, 4]),
            hidden: times(&[rows, shape.hidden_size, 2]),
            qkv: times(&[rows, q + 2 * kv, 2]),
            attended: times(&[rows, q, 2]),
            partial: times(&[batch, shape.heads, splits, shape.head_dim + 2, 4]),
            gate_up: times(&[rows, 2 * ff, 2]),
            gated: times(&[rows, ff, 2]),
            logits: times(&[of_logits, shape.vocab_size, width.bytes()]),
            picked: if gathers { (times(&[of_logits, 4]), times(&[of_logits, shape.hidden_size, 2])) } else { (0, 0) },
            columns: q.max(ff).max(shape.hidden_size),
            widened: if rows > MOST_GEMV_ROWS { widest } else { 0 },
            splits,
        }
    }

    /// All of it.
    pub fn bytes(&self) -> usize {
        let parts = [
            times(&[2, self.layers, self.cache]),
            times(&[2, self.table]),
            self.places.max(16),
            self.ids,
            self.residual,
            times(&[2, self.hidden]),
            self.qkv,
            self.attended,
            self.partial,
            self.gate_up,
            self.gated,
            self.logits,
            self.picked.0,
            self.picked.1,
            Workspace::bytes(MOST_GEMV_ROWS, self.columns, self.widened),
        ];
        parts.into_iter().fold(0, usize::saturating_add)
    }
}

/// Numbers of the largest stack of matrices that `quant` stores in blocks: the most that is widened at once. Of weights that
/// are not loaded yet: those of a file may be stored otherwise here and there.
pub(super) fn widest(shape: &ModelShape, quant: Quant) -> usize {
    let (hidden, q, kv, ff) = (shape.hidden_size, shape.q_width(), shape.kv_width(), shape.intermediate_size);
    let stacks = [(q + 2 * kv, hidden), (hidden, q), (2 * ff, hidden), (hidden, ff)];
    let in_blocks = |cols| !matches!(quant.encoding(cols), Encoding::F32 | Encoding::F16 | Encoding::Bf16);
    stacks.iter().filter(|(_, cols)| in_blocks(*cols)).map(|(rows, cols)| rows * cols).max().unwrap_or(0)
}

/// Buffers for a batch and its context.
pub(super) struct DecoderBuffers {
    pub keys: Vec<Buffer>,
    pub values: Vec<Buffer>,
    pub cos: Buffer,
    pub sin: Buffer,
    /// Row of the cache and positions that it holds, of each sequence of a pass.
    pub places: Buffer,
    pub ids: Buffer,
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
    /// Sequences.
    pub batch: usize,
    /// Tokens of the largest pass.
    pub rows: usize,
    /// Rows that get logits at once.
    pub of_logits: usize,
    pub capacity: usize,
    pub splits: usize,
}

impl DecoderBuffers {
    /// Takes it from `card`.
    pub fn new(
        card: &Card,
        shape: &ModelShape,
        extent: Extent,
        rope_divisors: Option<&[f32]>,
    ) -> Result<Self, CudaError> {
        let Extent { sequences: batch, capacity, rows, logits: (of_logits, _), .. } = extent;
        if rows.max(capacity) > u32::MAX as usize {
            return Err(CudaError::Unsupported(format!("{rows} tokens at once are more than the kernels count")));
        }
        let sizes = Sizes::new(shape, card.facts.multiprocessors, extent);
        let cache = || (0..sizes.layers).map(|_| card.zeros(sizes.cache)).collect::<Result<Vec<Buffer>, CudaError>>();
        // First what grows with the context: what does not fit the card is refused before the host computes its tables.
        let (keys, values) = (cache()?, cache()?);
        let (cos, sin) = rope::tables(&Rotary::of(shape), shape.head_dim, rope_divisors, capacity)
            .and_then(|(cos, sin)| Ok((cos.flatten_all()?.to_vec1::<f32>()?, sin.flatten_all()?.to_vec1::<f32>()?)))
            .map_err(|e| CudaError::Unsupported(format!("rotary tables: {e}")))?;
        Ok(Self {
            keys,
            values,
            cos: card.with(&cos)?,
            sin: card.with(&sin)?,
            places: card.alloc(sizes.places)?,
            ids: card.alloc(sizes.ids)?,
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
            batch,
            rows,
            of_logits,
            capacity,
            splits: sizes.splits,
        })
    }

    /// Where the place of sequence `index` of a pass is.
    pub fn place(&self, index: usize) -> u64 {
        self.places.at() + 8 * index as u64
    }
}
