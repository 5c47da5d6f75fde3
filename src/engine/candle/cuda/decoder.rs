//! The decoder of `engine/candle/decoder.rs` on a card: the same mathematics in 16-bit activations with a residual
//! stream of `f32`, on the kernels of `kernels/`. One decode step does nothing that depends on the host, so that it can
//! be recorded once and replayed.

use super::load::{Block, LoadError, Loader, Stack};
use super::products::{MOST_GEMV_ROWS, Product, Products, Workspace};
use super::weights::{Compute, Kind, Matrix};
use crate::device::cuda::{Arg, Buffer, Card, CudaError, blas};
use crate::engine::candle::rope;
use crate::engine::candle::source::WeightSource;
use crate::engine::candle::source::names::TensorName;
use crate::workload::{Encoding, ModelShape, Quant};
use std::sync::Arc;

const THREADS: u32 = 256;
/// Threads of the attention and rotation kernels.
const ATTENTION_THREADS: u32 = 128;
/// Most parts that the keys of a sequence are split into.
const MOST_SPLITS: usize = 64;
/// Query rows of a block of the prefill kernels.
const PREFILL_TILE: usize = 64;

/// Room for a batch and its context.
struct Room {
    keys: Vec<Buffer>,
    values: Vec<Buffer>,
    cos: Buffer,
    sin: Buffer,
    ids: Buffer,
    residual: Buffer,
    normed: Buffer,
    qkv: Buffer,
    attended: Buffer,
    partial: Buffer,
    gate_up: Buffer,
    gated: Buffer,
    delta: Buffer,
    logits: Buffer,
    workspace: Workspace,
    batch: usize,
    capacity: usize,
    splits: usize,
}

/// A decoder whose weights are on a card.
pub struct CudaDecoder {
    card: Arc<Card>,
    blas: Option<blas::Blas>,
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
            blas: blas::Blas::open(&card).ok(),
            card,
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
        &self.card
    }

    /// Makes room for `batch` sequences of up to `capacity` positions, prompts of `prompt` tokens among them.
    pub fn allocate(&mut self, batch: usize, capacity: usize, prompt: usize) -> Result<(), CudaError> {
        self.room = None;
        let shape = &self.shape;
        let card = &self.card;
        let rows = batch * prompt.max(1);
        if rows.max(capacity) > u32::MAX as usize {
            return Err(CudaError::Unsupported(format!("{rows} tokens at once are more than the kernels count")));
        }
        let (q, kv, ff) = (shape.q_width(), shape.kv_width(), shape.intermediate_size);
        let cache = || {
            let bytes = batch * kv * capacity * 2;
            (0..shape.layers).map(|_| card.zeros(bytes)).collect::<Result<Vec<Buffer>, CudaError>>()
        };
        // First what grows with the context: what does not fit the card is refused before the host computes its tables.
        let (keys, values) = (cache()?, cache()?);
        let (cos, sin) = rope::tables(shape, self.rope_divisors.as_deref(), capacity)
            .and_then(|(cos, sin)| Ok((cos.flatten_all()?.to_vec1::<f32>()?, sin.flatten_all()?.to_vec1::<f32>()?)))
            .map_err(|e| CudaError::Unsupported(format!("rotary tables: {e}")))?;
        let groups = (batch * shape.kv_heads).max(1);
        let wanted = (4 * card.facts.multiprocessors as usize).div_ceil(groups);
        let splits = wanted.clamp(1, MOST_SPLITS).min(capacity.div_ceil(64)).max(1);
        let widest = q.max(ff).max(shape.hidden_size);
        let quantized = |stack: &Stack| {
            let of = |matrix: &Matrix| if matrix.is_quantized() { matrix.rows * matrix.cols } else { 0 };
            stack.matrices.iter().map(of).max().unwrap_or(0)
        };
        let stacks = |block: &Block| {
            [&block.qkv, &block.attention_output, &block.gate_up, &block.down].map(quantized).into_iter().max()
        };
        let widened = self.blocks.iter().filter_map(stacks).max().unwrap_or(0);
        let few = if rows > MOST_GEMV_ROWS { widened } else { 0 };
        self.room = Some(Room {
            keys,
            values,
            cos: card.with(&cos)?,
            sin: card.with(&sin)?,
            ids: card.alloc(rows * 4)?,
            residual: card.alloc(rows * shape.hidden_size * 4)?,
            normed: card.alloc(rows * shape.hidden_size * 2)?,
            qkv: card.alloc(rows * (q + 2 * kv) * 2)?,
            attended: card.alloc(rows * q * 2)?,
            partial: card.alloc(batch * shape.heads * splits * (shape.head_dim + 2) * 4)?,
            gate_up: card.alloc(rows * 2 * ff * 2)?,
            gated: card.alloc(rows * ff * 2)?,
            delta: card.alloc(rows * shape.hidden_size * 2)?,
            logits: card.alloc(batch * shape.vocab_size * 2)?,
            workspace: Workspace::new(card, MOST_GEMV_ROWS, widest, few)?,
            batch,
            capacity,
            splits,
        });
        self.reset()
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
        let advance = self.card.kernel("argmax", "advance")?;
        // SAFETY: one number on the card.
        unsafe { advance.launch(&self.card, (1, 1, 1), 1, 0, &[(&self.past).into(), seq.into()]) }
    }

    fn products<'a>(&'a self, room: &'a Room) -> Products<'a> {
        Products { card: &self.card, compute: self.compute, blas: self.blas.as_ref(), workspace: &room.workspace }
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
        let kernel = self.card.kernel(source, &format!("{name}_{}", self.compute.name()))?;
        let blocks = (blocks.0 as u32, blocks.1 as u32, blocks.2 as u32);
        // SAFETY: as the caller promises.
        unsafe { kernel.launch(&self.card, blocks, threads, 0, args) }
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
                    let kernel = self.card.kernel("embed", &format!("embed_{}", kind.name()))?;
                    let args = [residual, (&table.quants).into(), table.scales_at().into(), ids, hidden.into()];
                    kernel.launch(&self.card, (rows as u32, 1, 1), THREADS, 0, &args)
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
        let tiled = match dim {
            64 | 128 if self.card.facts.capability >= (8, 0) => {
                Some(self.card.kernel("attention", &format!("attention_prefill{dim}_{}", self.compute.name()))?)
            }
            _ => None,
        };
        // SAFETY: as above.
        unsafe {
            match tiled {
                Some(kernel) => {
                    let shared = (512 * (dim + 8)) as u32;
                    kernel.allow_shared(shared)?;
                    let blocks = (seq.div_ceil(PREFILL_TILE) as u32, heads as u32, room.batch as u32);
                    kernel.launch(&self.card, blocks, ATTENTION_THREADS, shared, &args)
                }
                None => {
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
        let matrix = self.output.as_ref().unwrap_or(&self.embedding);
        let product = Product { matrix, bias: None, y: room.logits.at() };
        self.products(room).run(room.batch, normed, hidden, matrix.is_quantized(), &[product])?;
        let args = [(&room.logits).into(), vocab.into(), (&room.ids).into(), (&self.not_finite).into()];
        // SAFETY: the logits are (batch, vocab), and there is an id for each sequence.
        unsafe { self.launch("argmax", "argmax", (room.batch, 1, 1), 1024, &args) }
    }

    /// Bytes of the matrices as stored.
    pub fn matrix_bytes(&self) -> usize {
        let of = |block: &Block| {
            block.qkv.bytes() + block.attention_output.bytes() + block.gate_up.bytes() + block.down.bytes()
        };
        let output = self.output.as_ref().map_or(0, |matrix| matrix.bytes);
        self.blocks.iter().map(of).sum::<usize>() + output + self.embedding.bytes
    }

    /// Bytes of the matrices that one decode step reads: all but an embedding that is not also the output.
    pub fn decode_matrix_bytes(&self) -> usize {
        self.matrix_bytes() - if self.output.is_some() { self.embedding.bytes } else { 0 }
    }
}
