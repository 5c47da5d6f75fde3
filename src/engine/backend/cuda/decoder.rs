//! The decoder of `engine/candle/decoder.rs` on a card: the same mathematics in 16-bit activations with a residual
//! stream of `f32`, on the kernels of `kernels/`. One decode step does nothing that depends on the host, so that it can
//! be recorded once and replayed.

use super::launcher::Launcher;
use super::load::{Block, LoadError, Loader, Stack};
use super::products::{Product, Products, Way};
use super::room::{Extent, Room};
use super::weights::{Compute, Kind, Matrix};
use crate::device::cuda::{Arg, Buffer, Card, CudaError};
use crate::engine::weights::WeightSource;
use crate::engine::weights::names::TensorName;
use crate::workload::{Encoding, ModelShape, Quant};
use std::sync::Arc;

const THREADS: u32 = 256;
/// Threads of the attention and rotation kernels.
const ATTENTION_THREADS: u32 = 128;
/// Query rows of a block of the prefill kernels.
const PREFILL_TILE: usize = 64;

/// A decoder whose weights are on a card.
pub struct CudaDecoder {
    launcher: Launcher,
    shape: ModelShape,
    compute: Compute,
    embedding: Matrix,
    blocks: Vec<Block>,
    output_norm: Buffer,
    output: Option<Matrix>,
    rope_divisors: Option<Vec<f32>>,
    room: Option<Room>,
    /// Positions that the cache holds; kernels read it.
    past: Buffer,
    not_finite: Buffer,
    /// How many matrices got each encoding.
    pub encodings: Vec<(Encoding, usize)>,
}

impl CudaDecoder {
    /// Loads all weights at `quant` onto `card`. `progress(done, blocks)` is told after each block.
    pub fn load(
        card: Arc<Card>,
        shape: &ModelShape,
        weights: &mut dyn WeightSource,
        quant: Quant,
        rope_divisors: Option<Vec<f32>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, LoadError> {
        let compute = if quant == Quant::Bf16 { Compute::Bf16 } else { Compute::F16 };
        let mut loader = Loader { card: &card, weights, quant, compute, encodings: Vec::new() };
        let (vocab, hidden) = (shape.vocab_size, shape.hidden_size);
        let embedding = loader.packed(TensorName::TokenEmbedding, vocab, hidden)?.upload(&card)?;
        let mut blocks = Vec::with_capacity(shape.layers);
        for index in 0..shape.layers {
            blocks.push(loader.block(shape, index)?);
            progress(index + 1, shape.layers);
        }
        let output_norm = loader.norm(TensorName::OutputNorm, hidden)?;
        let output = match shape.tied_embeddings {
            true => None,
            false => Some(loader.packed(TensorName::Output, vocab, hidden)?.upload(&card)?),
        };
        let encodings = loader.encodings;
        let (past, not_finite) = (card.zeros(4)?, card.zeros(4)?);
        Ok(Self {
            launcher: Launcher::new(card),
            shape: shape.clone(),
            compute,
            embedding,
            blocks,
            output_norm,
            output,
            rope_divisors,
            room: None,
            past,
            not_finite,
            encodings,
        })
    }

    /// The card.
    pub fn card(&self) -> &Arc<Card> {
        self.launcher.card()
    }

    /// Makes room for `batch` sequences of up to `capacity` positions, prompts of `prompt` tokens among them.
    pub fn allocate(&mut self, batch: usize, capacity: usize, prompt: usize) -> Result<(), CudaError> {
        self.room = None;
        let extent = Extent { batch, capacity, prompt, widest: self.widest() };
        self.room = Some(Room::new(self.card(), &self.shape, extent, self.rope_divisors.as_deref())?);
        self.reset()
    }

    /// Numbers of the largest matrix of a block that is stored in blocks of integers, as it was loaded.
    pub(super) fn widest(&self) -> usize {
        let quantized = |stack: &Stack| {
            let of = |matrix: &Matrix| if matrix.is_quantized() { matrix.rows * matrix.cols } else { 0 };
            stack.matrices.iter().map(of).max().unwrap_or(0)
        };
        let stacks = |block: &Block| block.stacks().map(quantized).into_iter().max();
        self.blocks.iter().filter_map(stacks).max().unwrap_or(0)
    }

    /// Loads every kernel of a prefill of `seq` tokens and, where some are `decoded`, of a step behind it, in the room that
    /// was allocated. Nothing is launched.
    pub fn rehearse(&self, seq: usize, decoded: bool) -> Result<(), CudaError> {
        self.launcher.rehearse(|| {
            self.step(seq)?;
            if decoded { self.step(1) } else { Ok(()) }
        })
    }

    /// How the matrices are multiplied with `rows` rows, of which the output sees `last`; each way once.
    pub(super) fn ways(&self, rows: usize, last: usize) -> Result<Vec<Way>, CudaError> {
        let products = self.products(self.room()?);
        let of_stack = |stack: &Stack| products.way(rows, false, stack.matrices.iter().any(Matrix::is_quantized));
        let output = self.head().is_quantized();
        let all = self.blocks.iter().flat_map(Block::stacks).map(of_stack).chain([products.way(last, output, output)]);
        let mut ways = Vec::new();
        for way in all {
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
        Ok(ways)
    }

    /// Whether many rows go through a matrix product.
    pub(super) fn has_gemm(&self) -> Result<bool, CudaError> {
        Ok(self.products(self.room()?).has_gemm())
    }

    /// The matrix that makes logits.
    fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Forgets the sequences but keeps the room.
    pub fn reset(&mut self) -> Result<(), CudaError> {
        self.past.fill(0)?;
        self.not_finite.fill(0)
    }

    /// Whether a logit was infinite or not a number since the last reset.
    pub fn was_finite(&self) -> Result<bool, CudaError> {
        Ok(self.not_finite.download::<u32>(1)? == [0])
    }

    fn room(&self) -> Result<&Room, CudaError> {
        self.room.as_ref().ok_or_else(|| CudaError::Unsupported("no room has been allocated".to_string()))
    }

    /// The tokens that the next step reads, and that the last one chose.
    pub fn ids(&self) -> Result<&Buffer, CudaError> {
        Ok(&self.room()?.ids)
    }

    /// Puts prompts where the next step reads them.
    pub fn set_ids(&mut self, ids: &[u32]) -> Result<(), CudaError> {
        let room =
            self.room.as_mut().ok_or_else(|| CudaError::Unsupported("no room has been allocated".to_string()))?;
        room.ids.upload(ids)
    }

    /// The logits of the last step, `(batch, vocab)`, in the bits of [`Self::compute`].
    pub fn logits(&self) -> Result<Vec<u16>, CudaError> {
        let room = self.room()?;
        room.logits.download(room.batch * self.shape.vocab_size)
    }

    /// The format of activations.
    pub fn compute(&self) -> Compute {
        self.compute
    }

    /// Runs the tokens of [`Self::ids`], `(batch, seq)`, behind what the cache holds, chooses the next ones and leaves
    /// them there. Only launches: nothing is waited for.
    pub fn step(&self, seq: usize) -> Result<(), CudaError> {
        let room = self.room()?;
        let rows = room.batch * seq;
        self.embed(room, rows)?;
        for (layer, block) in self.blocks.iter().enumerate() {
            self.block(room, layer, block, seq)?;
        }
        self.choose(room, seq)?;
        // SAFETY: one number on the card.
        unsafe { self.launcher.launch(("argmax", "advance"), (1, 1, 1), 1, 0, &[(&self.past).into(), seq.into()]) }
    }

    fn products<'a>(&'a self, room: &'a Room) -> Products<'a> {
        Products { launcher: &self.launcher, compute: self.compute, workspace: &room.workspace }
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

    fn embed(&self, room: &Room, rows: usize) -> Result<(), CudaError> {
        let hidden = self.shape.hidden_size;
        let table = &self.embedding;
        let (residual, ids) = (Arg::from(&room.residual), Arg::from(&room.ids));
        let blocks = (rows, 1, 1);
        // SAFETY: tokens are below the vocabulary's size, and the residual holds that many rows.
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

    /// Adds `delta` (an address, or 0) to `rows` rows of the residual and norms them.
    fn norm(&self, rows: usize, residual: u64, delta: u64, weight: &Buffer, out: u64) -> Result<(), CudaError> {
        let hidden = self.shape.hidden_size;
        let threads = (hidden.div_ceil(8).next_multiple_of(32)).min(1024) as u32;
        let eps = self.shape.norm_eps as f32;
        let args = [residual.into(), delta.into(), weight.into(), out.into(), hidden.into(), eps.into()];
        // SAFETY: the rows are the room's.
        unsafe { self.launch("norm", "add_rms_norm", (rows, 1, 1), threads, &args) }
    }

    fn block(&self, room: &Room, layer: usize, block: &Block, seq: usize) -> Result<(), CudaError> {
        let shape = &self.shape;
        let rows = room.batch * seq;
        let products = self.products(room);
        let (residual, normed, delta) = (room.residual.at(), room.normed.at(), room.delta.at());
        // What the block before left is added first.
        self.norm(rows, residual, if layer == 0 { 0 } else { delta }, &block.attention_norm, normed)?;
        products.run(rows, normed, shape.hidden_size, false, &block.qkv.products(room.qkv.at(), rows))?;
        self.attend(room, layer, block, seq)?;
        let output = block.attention_output.products(delta, rows);
        products.run(rows, room.attended.at(), shape.q_width(), false, &output)?;
        self.norm(rows, residual, delta, &block.feed_forward_norm, normed)?;
        products.run(rows, normed, shape.hidden_size, false, &block.gate_up.products(room.gate_up.at(), rows))?;
        let ff = shape.intermediate_size;
        let places = block.gate_up.places(room.gate_up.at(), rows, &[ff, ff]);
        let [(gate, gate_stride), (up, up_stride)] = [places[0], places[1]];
        let gated = Arg::from(&room.gated);
        let args = [gate.into(), up.into(), gate_stride.into(), up_stride.into(), gated, ff.into()];
        // SAFETY: both places hold `rows` rows of `ff` numbers, and so does the result.
        unsafe { self.launch("gate", "silu_mul", (rows, ff.div_ceil(2048), 1), THREADS, &args)? };
        products.run(rows, room.gated.at(), ff, false, &block.down.products(delta, rows))
    }

    /// Rotates queries and keys, writes keys and values into the cache, and attends.
    fn attend(&self, room: &Room, layer: usize, block: &Block, seq: usize) -> Result<(), CudaError> {
        let shape = &self.shape;
        let rows = room.batch * seq;
        let (heads, kv_heads, dim) = (shape.heads, shape.kv_heads, shape.head_dim);
        let places = block.qkv.places(room.qkv.at(), rows, &[shape.q_width(), shape.kv_width(), shape.kv_width()]);
        let [(q, q_stride), (k, k_stride), (v, v_stride)] = [places[0], places[1], places[2]];
        let (keys, values) = (&room.keys[layer], &room.values[layer]);
        let weight = |norm: &Option<Buffer>| Arg::U64(norm.as_ref().map_or(0, Buffer::at));
        let rope = [
            q.into(),
            k.into(),
            v.into(),
            q_stride.into(),
            k_stride.into(),
            v_stride.into(),
            weight(&block.query_norm),
            weight(&block.key_norm),
            (shape.norm_eps as f32).into(),
            (&room.cos).into(),
            (&room.sin).into(),
            (&self.past).into(),
            seq.into(),
            heads.into(),
            kv_heads.into(),
            dim.into(),
            room.capacity.into(),
            keys.into(),
            values.into(),
        ];
        let rotations = (rows, (heads + kv_heads).div_ceil(4), 1);
        // SAFETY: strides and sizes are those of the places; positions beyond the capacity are skipped.
        unsafe { self.launch("rope", "rope_cache", rotations, ATTENTION_THREADS, &rope)? };
        let window = Arg::from(shape.sliding_window.unwrap_or(0));
        let scale = Arg::F32(1.0 / (dim as f32).sqrt());
        let past = Arg::from(&self.past);
        let sizes = [heads.into(), kv_heads.into(), dim.into(), room.capacity.into()];
        let [heads_arg, kv_arg, dim_arg, capacity] = sizes;
        let (q, q_stride) = (Arg::U64(q), Arg::from(q_stride));
        if seq == 1 {
            let partial = Arg::from(&room.partial);
            let splits = Arg::from(room.splits);
            let args = [
                q,
                q_stride,
                keys.into(),
                values.into(),
                past,
                heads_arg,
                kv_arg,
                dim_arg,
                capacity,
                window,
                scale,
                splits,
                partial,
            ];
            let blocks = (room.batch * kv_heads, room.splits, 1);
            let combine = [partial, (&room.attended).into(), heads_arg, dim_arg, splits];
            // SAFETY: the partial sums and the result have the room's sizes.
            return unsafe {
                self.launch("attention", "attention_decode", blocks, ATTENTION_THREADS, &args)?;
                let all = (room.batch * heads, 1, 1);
                self.launch("attention", "attention_combine", all, ATTENTION_THREADS, &combine)
            };
        }
        let args = [
            q,
            q_stride,
            keys.into(),
            values.into(),
            past,
            seq.into(),
            heads_arg,
            kv_arg,
            dim_arg,
            capacity,
            window,
            scale,
            (&room.attended).into(),
        ];
        let is_tiled = matches!(dim, 64 | 128) && self.card().facts.capability >= (8, 0);
        // SAFETY: as above.
        unsafe {
            match is_tiled {
                true => {
                    let name = format!("attention_prefill{dim}_{}", self.compute.name());
                    let blocks = (seq.div_ceil(PREFILL_TILE), heads, room.batch);
                    let shared = (512 * (dim + 8)) as u32;
                    self.launcher.launch(("attention", &name), blocks, ATTENTION_THREADS, shared, &args)
                }
                false => {
                    let blocks = (seq.div_ceil(4), heads, room.batch);
                    self.launch("attention", "attention_any", blocks, ATTENTION_THREADS, &args)
                }
            }
        }
    }

    /// Logits of the last position of each sequence, and the largest of them.
    fn choose(&self, room: &Room, seq: usize) -> Result<(), CudaError> {
        let (hidden, vocab) = (self.shape.hidden_size, self.shape.vocab_size);
        let normed = room.normed.at();
        match seq {
            1 => self.norm(room.batch, room.residual.at(), room.delta.at(), &self.output_norm, normed)?,
            _ => {
                for sequence in 0..room.batch {
                    let last = (sequence * seq + seq - 1) * hidden;
                    let residual = room.residual.at() + 4 * last as u64;
                    let delta = room.delta.at() + 2 * last as u64;
                    self.norm(1, residual, delta, &self.output_norm, normed + 2 * (sequence * hidden) as u64)?;
                }
            }
        }
        let matrix = self.head();
        let product = Product { matrix, bias: None, y: room.logits.at() };
        self.products(room).run(room.batch, normed, hidden, matrix.is_quantized(), &[product])?;
        let args = [(&room.logits).into(), vocab.into(), (&room.ids).into(), (&self.not_finite).into()];
        // SAFETY: the logits are (batch, vocab), and there is an id for each sequence.
        unsafe { self.launch("argmax", "argmax", (room.batch, 1, 1), 1024, &args) }
    }

    /// Bytes of the matrices as stored.
    pub fn matrix_bytes(&self) -> usize {
        let of = |block: &Block| block.stacks().map(Stack::bytes).into_iter().sum::<usize>();
        let output = self.output.as_ref().map_or(0, |matrix| matrix.bytes);
        self.blocks.iter().map(of).sum::<usize>() + output + self.embedding.bytes
    }

    /// Bytes of the matrices that one decode step reads: all but an embedding that is not also the output.
    pub fn decode_matrix_bytes(&self) -> usize {
        self.matrix_bytes() - if self.output.is_some() { self.embedding.bytes } else { 0 }
    }
}
