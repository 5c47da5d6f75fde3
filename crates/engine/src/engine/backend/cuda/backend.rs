//! The operations of models on an NVIDIA card: 16-bit activations and a residual stream of `f32`, in buffers that are taken
//! before a pass, by the kernels of `kernels/`. Nothing here waits for the card or depends on the host, so that a pass can be
//! recorded once and replayed.

use super::LoadError;
use super::buffers::{Buffers, CacheBuffers};
use super::ops::{Cache, Heads, KernelMask, Ops, QueryKeyPreparation, Sequences, Strided};
use super::products::Width;
use super::segments::Group;
use super::stack::Stack;
use super::weights::Compute;
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::backend::linear::{Layout, Linear};
use crate::engine::backend::tensors::scale_of;
use crate::engine::backend::{Backend, HeldMatrix, Norm, ProductInput, Selected};
use crate::workload::Quant;
use crate::workload::model::parts::{Activation, Attention, AttentionMask, NormKind};
use crate::workload::model::tensors::TensorName;
use candle_core::Tensor;
use std::sync::Arc;

/// One card, in the 16-bit format of a level.
pub struct CardBackend {
    pub(super) ops: Ops,
    pub(super) buffers: Option<Buffers>,
}

/// The residual stream in its buffer.
#[derive(Debug, Clone, Copy)]
pub struct CardStream {
    rows: usize,
    /// Numbers of each row.
    hidden: usize,
    /// Where what the last part made lies, which the next norm adds; or 0.
    pending: u64,
    /// The normed rows are the stream in 16 bits.
    is_normed: bool,
}

/// Rows of 16-bit numbers in a buffer.
#[derive(Debug, Clone, Copy)]
pub struct CardRows {
    pub(super) place: Strided,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl CardRows {
    fn at(at: u64, rows: usize, cols: usize) -> Self {
        Self { place: Strided { at, stride: cols }, rows, cols }
    }
}

/// The sequences of a pass.
pub struct CardPass {
    /// Those of one length that lie side by side.
    pub(super) groups: Vec<Group>,
}

impl CardPass {
    /// Of a whole batch of sequences of one length.
    pub(super) fn of_batch(sequences: usize, seq: usize) -> Self {
        Self { groups: vec![Group::of_batch(sequences, seq)] }
    }
}

fn unsupported<T>(what: &str) -> Result<T, CudaError> {
    Err(CudaError::Unsupported(format!("the CUDA kernels have no {what}")))
}

impl CardBackend {
    /// On `card`, in the format of `quant`.
    pub fn new(card: Arc<Card>, quant: Quant) -> Self {
        Self { ops: Ops::new(card, Compute::of(quant)), buffers: None }
    }

    /// The card.
    pub fn card(&self) -> &Arc<Card> {
        self.ops.card()
    }

    pub(super) fn buffers(&self) -> Result<&Buffers, CudaError> {
        self.buffers.as_ref().ok_or_else(no_room)
    }

    pub(super) fn buffers_mut(&mut self) -> Result<&mut Buffers, CudaError> {
        self.buffers.as_mut().ok_or_else(no_room)
    }

    /// Adds what lies at `delta` (an address, or 0) to `rows` rows of the residual from `residual` on and norms them into
    /// `out`; where it `keeps`, the residual becomes that too.
    fn norm_at(
        &self,
        (rows, hidden): (usize, usize),
        stream: (u64, u64),
        norm: &Norm<Buffer>,
        (out, keeps): (u64, bool),
    ) -> Result<(), CudaError> {
        // SAFETY: the rows are the buffers', and the weights those of a norm of the residual.
        unsafe {
            match (norm.kind, &norm.bias, keeps) {
                (NormKind::Rms, _, false) => self.ops.rms_norm((rows, hidden), stream, (&norm.weight, norm.eps), out),
                (NormKind::Layer, Some(bias), keeps) => {
                    self.ops.layer_norm((rows, hidden), stream, (&norm.weight, bias, norm.eps), out, keeps)
                }
                (NormKind::Rms, _, true) => unsupported("RMS norm behind a block"),
                (NormKind::Layer | NormKind::LayerUnbiased, _, _) => unsupported("layer norm without a bias"),
            }
        }
    }

    /// The norm of some rows of the stream, from `first` on and each `step` further, one behind the other.
    fn norm_each(
        &self,
        stream: &CardStream,
        (first, step, count): (usize, usize, usize),
        norm: &Norm<Buffer>,
    ) -> Result<CardRows, CudaError> {
        let (buffers, hidden) = (self.buffers()?, stream.hidden);
        let normed = buffers.normed.at();
        for index in 0..count {
            let row = ((first + index * step) * hidden) as u64;
            let pending = if stream.pending == 0 { 0 } else { stream.pending + 2 * row };
            let out = normed + 2 * (index * hidden) as u64;
            self.norm_at((1, hidden), (buffers.residual.at() + 4 * row, pending), norm, (out, false))?;
        }
        Ok(CardRows::at(normed, count, hidden))
    }

    /// Turns queries and keys of a group, files keys and values, and attends.
    fn attend_group(
        &self,
        attention: &Attention,
        parts: [CardRows; 3],
        preparation: &QueryKeyPreparation,
        cache: Cache<'_>,
        group: &Group,
    ) -> Result<(), CudaError> {
        let buffers = self.buffers()?;
        let parts = parts.map(|part| part.place.at_row(group.row));
        let sequences = Sequences { places: buffers.place(group.first), count: group.sequences, seq: group.seq };
        let out = buffers.attended.at() + 2 * (group.row * attention.q_width()) as u64;
        let heads = Heads {
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            dim: attention.head_dim,
            scale: scale_of(attention),
        };
        let window = attention.mask.window().unwrap_or(0);
        // SAFETY: places and sizes are those of the buffers.
        unsafe {
            self.ops.file(parts, preparation, sequences, heads, cache)?;
            match (attention.mask, group.seq) {
                (AttentionMask::All, _) => {
                    self.ops.attend_many(parts[0], sequences, heads, cache, KernelMask::All, out)
                }
                (AttentionMask::Before { .. }, 1) => {
                    let splits = (buffers.splits, &buffers.partial, out);
                    self.ops.attend_one(parts[0], sequences, heads, cache, window, splits)
                }
                (AttentionMask::Before { .. }, _) => {
                    self.ops.attend_many(parts[0], sequences, heads, cache, KernelMask::Before { window }, out)
                }
                (AttentionMask::Chunk(_) | AttentionMask::Around(_), _) => {
                    unsupported("attention within chunks or to both sides")
                }
            }
        }
    }

    /// How queries and keys are made ready.
    fn preparation(
        &self,
        attention: &Attention,
        norms: [Option<&Norm<Buffer>>; 2],
    ) -> Result<QueryKeyPreparation, CudaError> {
        let [query_norm, key_norm] = norms.map(|norm| norm.map_or(0, |norm| norm.weight.at()));
        let eps = norms.into_iter().flatten().next().map_or(0.0, |norm| norm.eps);
        let (cos, sin) = match attention.rotary {
            None => (0, 0),
            Some(rotary) => match self.buffers()?.rotary.iter().find(|known| known.rotary == rotary) {
                Some(tables) => (tables.cos.at(), tables.sin.at()),
                None => return unsupported("table of such a rotation"),
            },
        };
        Ok(QueryKeyPreparation { query_norm, key_norm, eps, cos, sin })
    }
}

fn no_room() -> CudaError {
    CudaError::Unsupported("no room has been allocated".to_string())
}

impl Backend for CardBackend {
    type Error = CudaError;
    type LoadError = LoadError;
    type Matrices = Stack;
    type Vector = Buffer;
    /// How many rows: the tokens or pixels of each are in the buffers.
    type Input = usize;
    type Stream = CardStream;
    type Rows = CardRows;
    type Cache = CacheBuffers;
    type Pass = CardPass;
    type Positions = ();

    fn layout(&self) -> Layout {
        Layout::Rows
    }

    fn matrices(&self, loaded: Vec<(Linear, Option<Tensor>)>) -> Result<Stack, CudaError> {
        Stack::new(self.card(), self.ops.compute, loaded)
    }

    fn vector(&self, values: &Tensor) -> Result<Buffer, CudaError> {
        self.card().with(&values.flatten_all()?.to_vec1::<f32>()?)
    }

    fn load_error(_name: TensorName, error: CudaError) -> LoadError {
        LoadError::Cuda(error)
    }

    fn held(&self, matrices: &Stack) -> Vec<HeldMatrix> {
        matrices.held(self.ops.compute)
    }

    fn embed(&self, table: &Stack, rows: &usize) -> Result<CardStream, CudaError> {
        let [table] = table.matrices() else { return unsupported("table of tokens in pieces") };
        let buffers = self.buffers()?;
        // SAFETY: tokens are below the vocabulary's size, which whoever sent them has checked, and the residual holds that many
        // rows.
        unsafe { self.ops.embed(buffers.residual.at(), table, buffers.ids.at(), *rows)? };
        Ok(CardStream { rows: *rows, hidden: table.cols, pending: 0, is_normed: false })
    }

    fn scale(&self, _stream: &mut CardStream, _factor: f32) -> Result<(), CudaError> {
        unsupported("scaled embedding")
    }

    fn add_positions(&self, stream: &mut CardStream, table: &Buffer) -> Result<(), CudaError> {
        let buffers = self.buffers()?;
        // SAFETY: there is a position for each row of a sequence, which whoever sent the tokens has checked.
        unsafe {
            let sizes = (stream.rows, stream.hidden);
            self.ops.add_positions(buffers.residual.at(), table, sizes, buffers.extent.capacity)
        }
    }

    fn pixels(&self, rows: &usize) -> Result<CardRows, CudaError> {
        let buffers = self.buffers()?;
        let patches = rows - buffers.extent.sequences;
        Ok(CardRows::at(buffers.pixels.at(), patches, 0))
    }

    fn patches(&self, patches: CardRows, class_token: &Buffer, positions: &Buffer) -> Result<CardStream, CudaError> {
        let buffers = self.buffers()?;
        let (hidden, seq) = (patches.cols, buffers.extent.capacity);
        let rows = patches.rows + buffers.extent.sequences;
        let tables = (class_token, positions);
        // SAFETY: there is a patch for each row but the first of an image, and a position for each.
        unsafe { self.ops.set_patches(buffers.residual.at(), patches.place.at, tables, (rows, hidden), seq)? };
        Ok(CardStream { rows, hidden, pending: 0, is_normed: false })
    }

    fn add(&self, stream: &mut CardStream, made: CardRows) -> Result<(), CudaError> {
        (stream.pending, stream.is_normed) = (made.place.at, false);
        Ok(())
    }

    fn norm(&self, stream: &mut CardStream, norm: &Norm<Buffer>) -> Result<CardRows, CudaError> {
        let (buffers, sizes) = (self.buffers()?, (stream.rows, stream.hidden));
        let out = buffers.normed.at();
        self.norm_at(sizes, (buffers.residual.at(), stream.pending), norm, (out, false))?;
        stream.pending = 0;
        Ok(CardRows::at(out, stream.rows, stream.hidden))
    }

    fn norm_stream(&self, stream: &mut CardStream, norm: &Norm<Buffer>) -> Result<(), CudaError> {
        let (buffers, sizes) = (self.buffers()?, (stream.rows, stream.hidden));
        self.norm_at(sizes, (buffers.residual.at(), stream.pending), norm, (buffers.normed.at(), true))?;
        (stream.pending, stream.is_normed) = (0, true);
        Ok(())
    }

    fn rows(&self, stream: &CardStream) -> Result<CardRows, CudaError> {
        if stream.is_normed {
            Ok(CardRows::at(self.buffers()?.normed.at(), stream.rows, stream.hidden))
        } else {
            unsupported("products of a stream that is not normed")
        }
    }

    fn norm_selected(
        &self,
        stream: &mut CardStream,
        selected: Selected,
        norm: &Norm<Buffer>,
    ) -> Result<CardRows, CudaError> {
        let sequences = self.buffers()?.extent.sequences;
        let seq = stream.rows / sequences.max(1);
        match selected {
            Selected::First if seq > 1 => self.norm_each(stream, (0, seq, sequences), norm),
            Selected::Last if seq > 1 => self.norm_each(stream, (seq - 1, seq, sequences), norm),
            _ => self.norm(stream, norm),
        }
    }

    fn norm_rows(&self, _rows: CardRows, _norm: &Norm<Buffer>) -> Result<CardRows, CudaError> {
        unsupported("norm behind attention or feed-forward")
    }

    fn products(&self, reads: ProductInput, stack: &Stack, x: &CardRows) -> Result<Vec<CardRows>, CudaError> {
        let buffers = self.buffers()?;
        let (out, width) = match reads {
            ProductInput::AttentionNorm => (&buffers.qkv, Width::Half),
            ProductInput::Attention | ProductInput::Gated | ProductInput::Patches => (&buffers.delta, Width::Half),
            ProductInput::FeedForwardNorm => (&buffers.gate_up, Width::Half),
            ProductInput::Head => (&buffers.logits, buffers.extent.logits.1),
        };
        // A table of tokens is too large to be widened, and a classifier's bias goes along with the kernels for few rows.
        let few = reads == ProductInput::Head && (stack.has_bias() || stack.is_quantized());
        let products = stack.products(out.at(), x.rows, width);
        self.ops.products(&buffers.workspace).run(x.rows, x.place.at, stack.cols(), few, &products)?;
        let places = stack.places(out.at(), x.rows);
        Ok(places.into_iter().map(|(place, cols)| CardRows { place, rows: x.rows, cols }).collect())
    }

    fn attend(
        &self,
        attention: &Attention,
        query_key_value: [CardRows; 3],
        norms: [Option<&Norm<Buffer>>; 2],
        cache: Option<&mut CacheBuffers>,
        pass: &CardPass,
    ) -> Result<CardRows, CudaError> {
        let buffers = self.buffers()?;
        let of_block = match (cache.as_deref(), attention.mask) {
            (Some(cache), _) => cache,
            (None, AttentionMask::All) => &buffers.passing,
            (None, AttentionMask::Before { .. } | AttentionMask::Chunk(_) | AttentionMask::Around(_)) => {
                return Err(no_room());
            }
        };
        let cache = Cache { keys: &of_block.keys, values: &of_block.values, capacity: buffers.extent.capacity };
        let preparation = self.preparation(attention, norms)?;
        for group in &pass.groups {
            self.attend_group(attention, query_key_value, &preparation, cache, group)?;
        }
        Ok(CardRows::at(buffers.attended.at(), query_key_value[0].rows, attention.q_width()))
    }

    fn activate(&self, activation: Activation, gate: Option<CardRows>, x: CardRows) -> Result<CardRows, CudaError> {
        let buffers = self.buffers()?;
        let CardRows { rows, cols, .. } = x;
        // SAFETY: the places hold `rows` rows of `cols` numbers, and so does the result.
        unsafe {
            match (activation, gate) {
                (Activation::Silu, Some(gate)) => {
                    self.ops.silu_mul((rows, cols), gate.place, x.place, buffers.gated.at())?;
                    Ok(CardRows::at(buffers.gated.at(), rows, cols))
                }
                (Activation::GeluErf, None) => {
                    self.ops.gelu(x.place.at, rows * cols)?;
                    Ok(x)
                }
                _ => unsupported("such an activation"),
            }
        }
    }
}
