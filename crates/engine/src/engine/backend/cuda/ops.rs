//! The operations that models are made of, as launches of the kernels of `kernels/`: what each takes is said there. All of
//! them are asynchronous, and none depends on the host, so that a step of them can be recorded.

use super::launcher::Launcher;
use super::products::{Products, Workspace};
use super::weights::{Compute, Kind, Matrix};
use crate::device::cuda::{Arg, Buffer, Card, CudaError};
use std::sync::Arc;

const THREADS: u32 = 256;
/// Threads of the attention and rotation kernels.
const ATTENTION_THREADS: u32 = 128;
/// Query rows of a block of the prefill kernels.
const PREFILL_TILE: usize = 64;

/// The operations of one card in one 16-bit format.
pub(super) struct Ops {
    pub launcher: Launcher,
    pub compute: Compute,
}

/// Rows of 16-bit numbers in a buffer: where the first begins, and how many numbers further on the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Strided {
    pub at: u64,
    pub stride: usize,
}

impl Strided {
    /// The rows from number `row` on.
    pub(crate) fn at_row(self, row: usize) -> Self {
        Self { at: self.at + 2 * (row * self.stride) as u64, ..self }
    }
}

/// Heads of an attention, their width, and what products of queries and keys are multiplied by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
    pub scale: f32,
}

/// Keys and values of one block: `(rows of the cache, kv_heads, capacity, dim)` each.
#[derive(Clone, Copy)]
pub(super) struct Cache<'a> {
    pub keys: &'a Buffer,
    pub values: &'a Buffer,
    pub capacity: usize,
}

/// Sequences of one length: where the pairs of cache row and past positions of each are, how many they are, and tokens of
/// each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sequences {
    pub places: u64,
    pub count: usize,
    pub seq: usize,
}

/// How queries and keys are prepared for attention: the norm of each head, and the tables of the rotation; addresses, or 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryKeyPreparation {
    pub query_norm: u64,
    pub key_norm: u64,
    pub eps: f32,
    pub cos: u64,
    pub sin: u64,
}

/// Which positions of its sequence a token attends to, as the kernels take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KernelMask {
    /// What is before it, so many tokens at most; 0 for all.
    Before { window: usize },
    /// All of it.
    All,
}

impl Ops {
    /// Of `card`.
    pub(crate) fn new(card: Arc<Card>, compute: Compute) -> Self {
        Self { launcher: Launcher::new(card), compute }
    }

    /// The card.
    pub(crate) fn card(&self) -> &Arc<Card> {
        self.launcher.card()
    }

    /// Products that work in `workspace`.
    pub(crate) fn products<'a>(&'a self, workspace: &'a Workspace) -> Products<'a> {
        Products { launcher: &self.launcher, compute: self.compute, workspace }
    }

    /// Launches kernel `name` with the ending of the format.
    ///
    /// # Safety
    /// As [`crate::device::cuda::Kernel::launch`].
    unsafe fn launch(
        &self,
        source: &'static str,
        name: &str,
        blocks: (usize, usize, usize),
        threads: u32,
        args: &[Arg],
    ) -> Result<(), CudaError> {
        let name = format!("{name}_{}", self.compute.name());
        // SAFETY: as the caller promises.
        unsafe { self.launcher.launch((source, &name), blocks, threads, 0, args) }
    }

    /// Rows of `table` by the numbers at `ids`, as the residual stream.
    ///
    /// # Safety
    /// The numbers are below the table's rows, and the residual holds `rows` rows.
    pub(crate) unsafe fn embed(&self, residual: u64, table: &Matrix, ids: u64, rows: usize) -> Result<(), CudaError> {
        let (residual, ids, hidden) = (Arg::U64(residual), Arg::U64(ids), table.cols);
        let blocks = (rows, 1, 1);
        // SAFETY: as the caller promises.
        unsafe {
            match table.kind {
                Kind::Dense => {
                    let args = [residual, (&table.quants).into(), ids, hidden.into()];
                    self.launch("embed", "embed", blocks, THREADS, &args)
                }
                kind => {
                    let name = format!("embed_{}", kind.name());
                    let args = [residual, (&table.quants).into(), table.scales_at().into(), ids, hidden.into()];
                    self.launcher.launch(("embed", &name), blocks, THREADS, 0, &args)
                }
            }
        }
    }

    /// Rows of 16-bit numbers by the numbers at `ids`, one behind the other.
    ///
    /// # Safety
    /// `out` holds `rows` rows of `cols` numbers, and `table` those of the numbers.
    pub(crate) unsafe fn gather(
        &self,
        out: u64,
        table: u64,
        ids: u64,
        (rows, cols): (usize, usize),
    ) -> Result<(), CudaError> {
        let args = [out.into(), table.into(), ids.into(), cols.into()];
        // SAFETY: as the caller promises.
        unsafe { self.launcher.launch(("embed", "gather_rows"), (rows, 1, 1), THREADS, 0, &args) }
    }

    /// Adds `delta` (an address, or 0) to `rows` rows of the residual and takes their RMS norm.
    ///
    /// # Safety
    /// All hold `rows` rows of `hidden` numbers, and the weight has `hidden`.
    pub(crate) unsafe fn rms_norm(
        &self,
        (rows, hidden): (usize, usize),
        (residual, delta): (u64, u64),
        (weight, eps): (&Buffer, f32),
        out: u64,
    ) -> Result<(), CudaError> {
        let args = [residual.into(), delta.into(), weight.into(), out.into(), hidden.into(), eps.into()];
        // SAFETY: as the caller promises.
        unsafe { self.launch("norm", "add_rms_norm", (rows, 1, 1), norm_threads(hidden), &args) }
    }

    /// Adds `delta` (an address, or 0) to `rows` rows of the residual and takes their layer norm; where it `keeps`, the
    /// residual becomes that too.
    ///
    /// # Safety
    /// All hold `rows` rows of `hidden` numbers, and weight and bias have `hidden`.
    pub(crate) unsafe fn layer_norm(
        &self,
        (rows, hidden): (usize, usize),
        (residual, delta): (u64, u64),
        (weight, bias, eps): (&Buffer, &Buffer, f32),
        out: u64,
        keeps: bool,
    ) -> Result<(), CudaError> {
        let keeps = Arg::U32(keeps.into());
        let weights = [Arg::from(weight), Arg::from(bias)];
        let [weight, bias] = weights;
        let args = [residual.into(), delta.into(), weight, bias, out.into(), hidden.into(), eps.into(), keeps];
        // SAFETY: as the caller promises.
        unsafe { self.launch("encoder", "add_layer_norm", (rows, 1, 1), norm_threads(hidden), &args) }
    }

    /// Makes queries and keys ready, and files keys and values.
    ///
    /// # Safety
    /// The parts hold the rows of the sequences, and the places name rows of the cache; positions beyond its capacity are
    /// skipped.
    pub(crate) unsafe fn file(
        &self,
        [q, k, v]: [Strided; 3],
        preparation: &QueryKeyPreparation,
        sequences: Sequences,
        shape: Heads,
        cache: Cache<'_>,
    ) -> Result<(), CudaError> {
        let Heads { heads, kv_heads, dim, .. } = shape;
        let args = [
            q.at.into(),
            k.at.into(),
            v.at.into(),
            q.stride.into(),
            k.stride.into(),
            v.stride.into(),
            preparation.query_norm.into(),
            preparation.key_norm.into(),
            preparation.eps.into(),
            preparation.cos.into(),
            preparation.sin.into(),
            sequences.places.into(),
            sequences.seq.into(),
            heads.into(),
            kv_heads.into(),
            dim.into(),
            cache.capacity.into(),
            cache.keys.into(),
            cache.values.into(),
        ];
        let rows = sequences.count * sequences.seq;
        let blocks = (rows, (heads + kv_heads).div_ceil(4), 1);
        // SAFETY: as the caller promises.
        unsafe { self.launch("rope", "rope_cache", blocks, ATTENTION_THREADS, &args) }
    }

    /// Attention of the only token of each sequence, the keys of which are shared out over `splits` blocks.
    ///
    /// # Safety
    /// As [`Ops::file`]; `partial` has room for all splits, and `out` for the rows.
    pub(crate) unsafe fn attend_one(
        &self,
        q: Strided,
        sequences: Sequences,
        shape: Heads,
        cache: Cache<'_>,
        window: usize,
        (splits, partial, out): (usize, &Buffer, u64),
    ) -> Result<(), CudaError> {
        let Heads { heads, kv_heads, dim, scale } = shape;
        let args = [
            q.at.into(),
            q.stride.into(),
            cache.keys.into(),
            cache.values.into(),
            sequences.places.into(),
            heads.into(),
            kv_heads.into(),
            dim.into(),
            cache.capacity.into(),
            window.into(),
            Arg::F32(scale),
            splits.into(),
            partial.into(),
        ];
        let blocks = (sequences.count * kv_heads, splits, 1);
        let combine = [partial.into(), out.into(), heads.into(), dim.into(), splits.into()];
        // SAFETY: as the caller promises.
        unsafe {
            self.launch("attention", "attention_decode", blocks, ATTENTION_THREADS, &args)?;
            let all = (sequences.count * heads, 1, 1);
            self.launch("attention", "attention_combine", all, ATTENTION_THREADS, &combine)
        }
    }

    /// Attention of several tokens of each sequence.
    ///
    /// # Safety
    /// As [`Ops::file`]; `out` has room for the rows.
    pub(crate) unsafe fn attend_many(
        &self,
        q: Strided,
        sequences: Sequences,
        shape: Heads,
        cache: Cache<'_>,
        mask: KernelMask,
        out: u64,
    ) -> Result<(), CudaError> {
        let Heads { heads, kv_heads, dim, scale } = shape;
        let Sequences { places, count, seq } = sequences;
        let (window, both_ways) = match mask {
            KernelMask::Before { window } => (window, 0),
            KernelMask::All => (0, 1),
        };
        let args = [
            q.at.into(),
            q.stride.into(),
            cache.keys.into(),
            cache.values.into(),
            places.into(),
            seq.into(),
            heads.into(),
            kv_heads.into(),
            dim.into(),
            cache.capacity.into(),
            window.into(),
            Arg::U32(both_ways),
            Arg::F32(scale),
            out.into(),
        ];
        let is_tiled = matches!(dim, 64 | 128) && self.card().facts.capability >= (8, 0);
        // SAFETY: as the caller promises.
        unsafe {
            if is_tiled {
                let name = format!("attention_prefill{dim}_{}", self.compute.name());
                let blocks = (seq.div_ceil(PREFILL_TILE), heads, count);
                let shared = (512 * (dim + 8)) as u32;
                self.launcher.launch(("attention", &name), blocks, ATTENTION_THREADS, shared, &args)
            } else {
                let blocks = (seq.div_ceil(4), heads, count);
                self.launch("attention", "attention_any", blocks, ATTENTION_THREADS, &args)
            }
        }
    }

    /// `silu(gate) * up` of `rows` rows of `ff` numbers.
    ///
    /// # Safety
    /// Both hold that many, and so does `out`.
    pub(crate) unsafe fn silu_mul(
        &self,
        (rows, ff): (usize, usize),
        gate: Strided,
        up: Strided,
        out: u64,
    ) -> Result<(), CudaError> {
        let args = [gate.at.into(), up.at.into(), gate.stride.into(), up.stride.into(), out.into(), ff.into()];
        // SAFETY: as the caller promises.
        unsafe { self.launch("gate", "silu_mul", (rows, ff.div_ceil(2048), 1), THREADS, &args) }
    }

    /// The GELU of `count` numbers, in place.
    ///
    /// # Safety
    /// There are that many at `x`, a multiple of 8.
    pub(crate) unsafe fn gelu(&self, x: u64, count: usize) -> Result<(), CudaError> {
        let args = [x.into(), Arg::U64(count as u64)];
        // SAFETY: as the caller promises.
        unsafe { self.launch("encoder", "gelu", (count.div_ceil(2048), 1, 1), THREADS, &args) }
    }

    /// Adds the row of its position, `row % seq`, to each of `rows` rows of the residual.
    ///
    /// # Safety
    /// The residual holds `rows` rows of `cols` numbers, and the table `seq`.
    pub(crate) unsafe fn add_positions(
        &self,
        residual: u64,
        positions: &Buffer,
        (rows, cols): (usize, usize),
        seq: usize,
    ) -> Result<(), CudaError> {
        let args = [residual.into(), positions.into(), seq.into(), cols.into()];
        // SAFETY: as the caller promises.
        unsafe { self.launcher.launch(("encoder", "add_positions"), (rows, 1, 1), THREADS, 0, &args) }
    }

    /// The residual of `rows` rows of images: the class token and the patches of each, with their positions.
    ///
    /// # Safety
    /// The residual holds `rows` rows of `cols` numbers, `seq` of each image, the table `seq`, and there is a patch for each
    /// row but the first of an image.
    pub(crate) unsafe fn set_patches(
        &self,
        residual: u64,
        patches: u64,
        (class_token, positions): (&Buffer, &Buffer),
        (rows, cols): (usize, usize),
        seq: usize,
    ) -> Result<(), CudaError> {
        let args = [residual.into(), patches.into(), class_token.into(), positions.into(), seq.into(), cols.into()];
        // SAFETY: as the caller promises.
        unsafe { self.launch("encoder", "set_patches", (rows, 1, 1), THREADS, &args) }
    }

    /// The index of the largest of each of `rows` rows of logits, and whether all were finite.
    ///
    /// # Safety
    /// The logits are `(rows, vocab)`, and there is an id for each row.
    pub(crate) unsafe fn argmax(
        &self,
        logits: &Buffer,
        (rows, vocab): (usize, usize),
        ids: &Buffer,
        not_finite: &Buffer,
    ) -> Result<(), CudaError> {
        let args = [logits.into(), vocab.into(), ids.into(), not_finite.into()];
        // SAFETY: as the caller promises.
        unsafe { self.launch("argmax", "argmax", (rows, 1, 1), 1024, &args) }
    }

    /// Counts `by` positions more of each of `sequences` sequences.
    ///
    /// # Safety
    /// There is a place for each.
    pub(crate) unsafe fn advance(&self, places: &Buffer, sequences: usize, by: usize) -> Result<(), CudaError> {
        let args = [places.into(), sequences.into(), by.into()];
        // SAFETY: as the caller promises.
        unsafe { self.launcher.launch(("argmax", "advance"), (1, 1, 1), 32, 0, &args) }
    }
}

/// Threads of a norm over rows of `hidden` numbers.
fn norm_threads(hidden: usize) -> u32 {
    (hidden.div_ceil(8).next_multiple_of(32)).min(1024) as u32
}
