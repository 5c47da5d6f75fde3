//! The decoder of `engine/model` on a card: the same mathematics in 16-bit activations with a residual
//! stream of `f32`, on the kernels of `kernels/`. One decode step does nothing that depends on the host, so that it can
//! be recorded once and replayed.

use super::buffers::{DecoderBuffers, Extent};
use super::load::{Block, LoadError, Loader, Stack};
use super::ops::{Cache, Heads, KernelMask, Ops, QueryKeyPreparation, Sequences};
use super::products::{Product, ProductPath, Products, Width};
use super::segments::Group;
use super::weights::{Compute, Matrix};
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::weights::WeightSource;
use crate::workload::model::tensors::TensorName;
use crate::workload::{Encoding, ModelShape, Quant};
use std::sync::Arc;

/// A decoder whose weights are on a card.
pub struct CudaDecoder {
    pub(super) ops: Ops,
    pub(super) shape: ModelShape,
    embedding: Matrix,
    blocks: Vec<Block>,
    output_norm: Buffer,
    output: Option<Matrix>,
    rope_divisors: Option<Vec<f32>>,
    pub(super) buffers: Option<DecoderBuffers>,
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
        let compute = Compute::of(quant);
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
        let not_finite = card.zeros(4)?;
        Ok(Self {
            ops: Ops::new(card, compute),
            shape: shape.clone(),
            embedding,
            blocks,
            output_norm,
            output,
            rope_divisors,
            buffers: None,
            not_finite,
            encodings,
        })
    }

    /// The card.
    pub fn card(&self) -> &Arc<Card> {
        self.ops.card()
    }

    /// Makes room for `batch` sequences of up to `capacity` positions, prompts of `prompt` tokens among them.
    pub fn allocate(&mut self, batch: usize, capacity: usize, prompt: usize) -> Result<(), CudaError> {
        self.allocate_for(Extent::of_batch(batch, capacity, prompt, self.widest()))
    }

    /// Makes room for what `extent` says.
    pub(super) fn allocate_for(&mut self, extent: Extent) -> Result<(), CudaError> {
        self.buffers = None;
        self.buffers = Some(DecoderBuffers::new(self.card(), &self.shape, extent, self.rope_divisors.as_deref())?);
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

    /// Loads every kernel of a prefill of `seq` tokens and, where some are `decoded`, of a step behind it, in the buffers
    /// that was allocated. Nothing is launched.
    pub fn rehearse(&self, seq: usize, decoded: bool) -> Result<(), CudaError> {
        self.ops.launcher.rehearse(|| {
            self.step(seq)?;
            if decoded { self.step(1) } else { Ok(()) }
        })
    }

    /// How the matrices are multiplied with `rows` rows, of which the output sees `last`; each way once.
    pub(super) fn product_paths(&self, rows: usize, last: usize) -> Result<Vec<ProductPath>, CudaError> {
        let products = self.products(self.buffers()?);
        let of_stack = |stack: &Stack| products.way(rows, false, stack.matrices.iter().any(Matrix::is_quantized));
        let output = self.head().is_quantized();
        let all = self.blocks.iter().flat_map(Block::stacks).map(of_stack).chain([products.way(last, output, output)]);
        let mut product_paths = Vec::new();
        for way in all {
            if !product_paths.contains(&way) {
                product_paths.push(way);
            }
        }
        Ok(product_paths)
    }

    /// Whether many rows go through a matrix product.
    pub(super) fn has_gemm(&self) -> Result<bool, CudaError> {
        Ok(self.products(self.buffers()?).has_gemm())
    }

    /// The matrix that makes logits.
    pub(super) fn head(&self) -> &Matrix {
        self.output.as_ref().unwrap_or(&self.embedding)
    }

    /// Forgets the sequences but keeps the buffers.
    pub fn reset(&mut self) -> Result<(), CudaError> {
        if let Some(buffers) = &mut self.buffers {
            let empty: Vec<u32> = (0..buffers.batch as u32).flat_map(|row| [row, 0]).collect();
            buffers.places.upload(&empty)?;
        }
        self.not_finite.fill(0)
    }

    /// Whether a logit was infinite or not a number since the last reset.
    pub fn was_finite(&self) -> Result<bool, CudaError> {
        Ok(self.not_finite.download::<u32>(1)? == [0])
    }

    pub(super) fn buffers(&self) -> Result<&DecoderBuffers, CudaError> {
        self.buffers.as_ref().ok_or_else(|| CudaError::Unsupported("no room has been allocated".to_string()))
    }

    pub(super) fn buffers_mut(&mut self) -> Result<&mut DecoderBuffers, CudaError> {
        self.buffers.as_mut().ok_or_else(|| CudaError::Unsupported("no room has been allocated".to_string()))
    }

    /// The tokens that the next step reads, and that the last one chose.
    pub fn ids(&self) -> Result<&Buffer, CudaError> {
        Ok(&self.buffers()?.ids)
    }

    /// Puts prompts where the next step reads them.
    pub fn set_ids(&mut self, ids: &[u32]) -> Result<(), CudaError> {
        self.buffers_mut()?.ids.upload(ids)
    }

    /// The logits of the last step, `(batch, vocab)`, in the bits of [`Self::compute`].
    pub fn logits(&self) -> Result<Vec<u16>, CudaError> {
        let buffers = self.buffers()?;
        buffers.logits.download(buffers.batch * self.shape.vocab_size)
    }

    /// The format of activations.
    pub fn compute(&self) -> Compute {
        self.ops.compute
    }

    /// Runs the tokens of [`Self::ids`], `(batch, seq)`, behind what the cache holds, chooses the next ones and leaves
    /// them there. Only launches: nothing is waited for.
    pub fn step(&self, seq: usize) -> Result<(), CudaError> {
        let buffers = self.buffers()?;
        self.through_blocks(buffers, buffers.batch * seq, &[Group::of_batch(buffers.batch, seq)])?;
        self.choose(buffers, seq)?;
        // SAFETY: there is a place for each sequence of the batch.
        unsafe { self.ops.advance(&buffers.places, buffers.batch, seq) }
    }

    pub(super) fn products<'a>(&'a self, buffers: &'a DecoderBuffers) -> Products<'a> {
        self.ops.products(&buffers.workspace)
    }

    /// The embedding of the first `rows` tokens, and all blocks. What the last leaves is not in the residual yet.
    pub(super) fn through_blocks(
        &self,
        buffers: &DecoderBuffers,
        rows: usize,
        groups: &[Group],
    ) -> Result<(), CudaError> {
        // SAFETY: tokens are below the vocabulary's size, and the residual holds that many rows.
        unsafe { self.ops.embed(buffers.residual.at(), &self.embedding, buffers.ids.at(), rows)? };
        let mut blocks = self.blocks.iter().enumerate();
        blocks.try_for_each(|(layer, block)| self.block(buffers, (layer, block), rows, groups))
    }

    /// Adds `delta` (an address, or 0) to `rows` rows of the residual and norms them.
    fn norm(&self, rows: usize, residual: u64, delta: u64, weight: &Buffer, out: u64) -> Result<(), CudaError> {
        let eps = self.shape.norm_eps as f32;
        // SAFETY: the rows are the buffers'.
        unsafe { self.ops.rms_norm((rows, self.shape.hidden_size), (residual, delta), (weight, eps), out) }
    }

    /// Adds what the last block left to `rows` rows of the residual, and norms them.
    pub(super) fn finish(&self, buffers: &DecoderBuffers, rows: usize) -> Result<(), CudaError> {
        self.norm(rows, buffers.residual.at(), buffers.delta.at(), &self.output_norm, buffers.normed.at())
    }

    fn block(
        &self,
        buffers: &DecoderBuffers,
        (layer, block): (usize, &Block),
        rows: usize,
        groups: &[Group],
    ) -> Result<(), CudaError> {
        let shape = &self.shape;
        let products = self.products(buffers);
        let (residual, normed, delta) = (buffers.residual.at(), buffers.normed.at(), buffers.delta.at());
        // What the block before left is added first.
        self.norm(rows, residual, if layer == 0 { 0 } else { delta }, &block.attention_norm, normed)?;
        products.run(rows, normed, shape.hidden_size, false, &block.qkv.products(buffers.qkv.at(), rows))?;
        groups.iter().try_for_each(|group| self.attend(buffers, (layer, block), rows, group))?;
        let output = block.attention_output.products(delta, rows);
        products.run(rows, buffers.attended.at(), shape.q_width(), false, &output)?;
        self.norm(rows, residual, delta, &block.feed_forward_norm, normed)?;
        products.run(rows, normed, shape.hidden_size, false, &block.gate_up.products(buffers.gate_up.at(), rows))?;
        let ff = shape.intermediate_size;
        let places = block.gate_up.places(buffers.gate_up.at(), rows, &[ff, ff]);
        // SAFETY: both places hold `rows` rows of `ff` numbers, and so does the result.
        unsafe { self.ops.silu_mul((rows, ff), places[0], places[1], buffers.gated.at())? };
        products.run(rows, buffers.gated.at(), ff, false, &block.down.products(delta, rows))
    }

    /// Rotates queries and keys of a group, writes keys and values into the cache, and attends.
    fn attend(
        &self,
        buffers: &DecoderBuffers,
        (layer, block): (usize, &Block),
        rows: usize,
        group: &Group,
    ) -> Result<(), CudaError> {
        let shape = &self.shape;
        let widths = [shape.q_width(), shape.kv_width(), shape.kv_width()];
        let places = block.qkv.places(buffers.qkv.at(), rows, &widths);
        let [q, k, v] = [0, 1, 2].map(|part| places[part].at_row(group.row));
        let weight = |norm: &Option<Buffer>| norm.as_ref().map_or(0, Buffer::at);
        let preparation = QueryKeyPreparation {
            query_norm: weight(&block.query_norm),
            key_norm: weight(&block.key_norm),
            eps: shape.norm_eps as f32,
            cos: buffers.cos.at(),
            sin: buffers.sin.at(),
        };
        let heads = Heads { heads: shape.heads, kv_heads: shape.kv_heads, dim: shape.head_dim };
        let cache = Cache { keys: &buffers.keys[layer], values: &buffers.values[layer], capacity: buffers.capacity };
        let sequences = Sequences { places: buffers.place(group.first), count: group.sequences, seq: group.seq };
        let window = shape.sliding_window.unwrap_or(0);
        let out = buffers.attended.at() + 2 * (group.row * shape.q_width()) as u64;
        let splits = (buffers.splits, &buffers.partial, out);
        // SAFETY: strides and sizes are those of the places; the partial sums and the result have the sizes of the buffers.
        unsafe {
            self.ops.file([q, k, v], &preparation, sequences, heads, cache)?;
            match group.seq {
                1 => self.ops.attend_one(q, sequences, heads, cache, window, splits),
                _ => self.ops.attend_many(q, sequences, heads, cache, KernelMask::Before { window }, out),
            }
        }
    }

    /// Logits of the last position of each sequence, and the largest of them.
    fn choose(&self, buffers: &DecoderBuffers, seq: usize) -> Result<(), CudaError> {
        let hidden = self.shape.hidden_size;
        let normed = buffers.normed.at();
        match seq {
            1 => self.finish(buffers, buffers.batch)?,
            _ => {
                for sequence in 0..buffers.batch {
                    let last = (sequence * seq + seq - 1) * hidden;
                    let residual = buffers.residual.at() + 4 * last as u64;
                    let delta = buffers.delta.at() + 2 * last as u64;
                    self.norm(1, residual, delta, &self.output_norm, normed + 2 * (sequence * hidden) as u64)?;
                }
            }
        }
        self.pick(buffers, normed, buffers.batch)
    }

    /// Logits of `rows` normed rows, and the largest of each.
    pub(super) fn pick(&self, buffers: &DecoderBuffers, normed: u64, rows: usize) -> Result<(), CudaError> {
        self.head_product(buffers, normed, rows, Width::Half)?;
        // SAFETY: the logits are (rows, vocab), and there is an id for each row.
        unsafe { self.ops.argmax(&buffers.logits, (rows, self.shape.vocab_size), &buffers.ids, &self.not_finite) }
    }

    /// Logits of `rows` normed rows.
    pub(super) fn head_product(
        &self,
        buffers: &DecoderBuffers,
        normed: u64,
        rows: usize,
        width: Width,
    ) -> Result<(), CudaError> {
        let matrix = self.head();
        let product = Product { matrix, bias: None, y: buffers.logits.at(), width };
        self.products(buffers).run(rows, normed, self.shape.hidden_size, matrix.is_quantized(), &[product])
    }

    /// The matrices, those of blocks first.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let of_blocks = self.blocks.iter().flat_map(Block::stacks).flat_map(|stack| &stack.matrices);
        of_blocks.chain(&self.output).chain([&self.embedding])
    }

    /// Bytes of the matrices as stored.
    pub fn matrix_bytes(&self) -> usize {
        self.matrices().map(|matrix| matrix.bytes).sum()
    }

    /// How many weights of the matrices are stored in each encoding.
    pub(super) fn stored(&self) -> Vec<(Encoding, usize)> {
        let mut stored: Vec<(Encoding, usize)> = Vec::new();
        for matrix in self.matrices() {
            let (encoding, weights) = (matrix.kind.encoding(self.compute()), matrix.rows * matrix.cols);
            match stored.iter_mut().find(|(known, _)| *known == encoding) {
                Some((_, count)) => *count += weights,
                None => stored.push((encoding, weights)),
            }
        }
        stored
    }

    /// Bytes of the matrices that one decode step reads: all but an embedding that is not also the output.
    pub fn decode_matrix_bytes(&self) -> usize {
        self.matrix_bytes() - if self.output.is_some() { self.embedding.bytes } else { 0 }
    }
}
