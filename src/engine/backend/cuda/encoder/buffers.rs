//! Buffers for a batch of texts or images on a card. Keys and values are those of one block: the next has no need of them.

use super::super::buffers::times;
use super::super::products::{MOST_GEMV_ROWS, Workspace};
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::workload::ModelShape;

/// Bytes of each buffer.
struct Sizes {
    /// Tokens, or the numbers of patches.
    ids: usize,
    patches: usize,
    residual: usize,
    hidden: usize,
    qkv: usize,
    up: usize,
    logits: usize,
    places: usize,
    columns: usize,
    widened: usize,
}

impl Sizes {
    fn new(shape: &ModelShape, (batch, seq): (usize, usize), widest: usize) -> Self {
        let rows = times(&[batch, seq]);
        let (hidden, ff) = (shape.hidden_size, shape.intermediate_size);
        let patch = shape.image.as_ref().map_or(0, |image| image.channels * image.patch * image.patch);
        Self {
            ids: if patch == 0 { times(&[rows, 4]) } else { 0 },
            patches: times(&[rows, patch, 2]),
            residual: times(&[rows, hidden, 4]),
            hidden: times(&[rows, hidden, 2]),
            qkv: times(&[rows, hidden, 6]),
            up: times(&[rows, ff, 2]),
            logits: if patch == 0 { 0 } else { times(&[batch, shape.vocab_size, 4]) },
            places: times(&[batch, 8]),
            columns: hidden.max(ff).max(patch),
            widened: if rows > MOST_GEMV_ROWS { widest } else { 0 },
        }
    }
}

/// Buffers for a batch.
pub(super) struct EncoderBuffers {
    pub ids: Buffer,
    pub patches: Buffer,
    pub residual: Buffer,
    pub normed: Buffer,
    pub qkv: Buffer,
    pub keys: Buffer,
    pub values: Buffer,
    pub attended: Buffer,
    pub delta: Buffer,
    pub up: Buffer,
    pub logits: Buffer,
    /// The row of the cache of each input, and no positions before it.
    pub places: Buffer,
    pub workspace: Workspace,
    pub batch: usize,
    pub seq: usize,
}

impl EncoderBuffers {
    /// What it takes for `batch` inputs of `seq` rows; `widest` numbers of a matrix are widened.
    pub fn bytes(shape: &ModelShape, size: (usize, usize), widest: usize) -> usize {
        let sizes = Sizes::new(shape, size, widest);
        let hidden = times(&[5, sizes.hidden]);
        let workspace = Workspace::bytes(MOST_GEMV_ROWS, sizes.columns, sizes.widened);
        let parts = [sizes.ids, sizes.patches, sizes.residual, hidden, sizes.qkv, sizes.up, sizes.logits, sizes.places];
        parts.into_iter().chain([workspace]).fold(0, usize::saturating_add)
    }

    /// Takes it from `card`.
    pub fn new(
        card: &Card,
        shape: &ModelShape,
        (batch, seq): (usize, usize),
        widest: usize,
    ) -> Result<Self, CudaError> {
        if times(&[batch, seq]) > u32::MAX as usize {
            return Err(CudaError::Unsupported(format!("{batch} x {seq} rows are more than the kernels count")));
        }
        let sizes = Sizes::new(shape, (batch, seq), widest);
        let places: Vec<u32> = (0..batch as u32).flat_map(|row| [row, 0]).collect();
        Ok(Self {
            ids: card.alloc(sizes.ids)?,
            patches: card.alloc(sizes.patches)?,
            residual: card.alloc(sizes.residual)?,
            normed: card.alloc(sizes.hidden)?,
            qkv: card.alloc(sizes.qkv)?,
            keys: card.alloc(sizes.hidden)?,
            values: card.alloc(sizes.hidden)?,
            attended: card.alloc(sizes.hidden)?,
            delta: card.alloc(sizes.hidden)?,
            up: card.alloc(sizes.up)?,
            logits: card.alloc(sizes.logits)?,
            places: card.with(&places)?,
            workspace: Workspace::new(card, MOST_GEMV_ROWS, sizes.columns, sizes.widened)?,
            batch,
            seq,
        })
    }

    /// Rows of all inputs.
    pub fn rows(&self) -> usize {
        self.batch * self.seq
    }
}
