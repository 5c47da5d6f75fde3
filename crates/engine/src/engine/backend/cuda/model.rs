//! A model whose weights are on a card. A decode step does nothing that depends on the host, so that it can be recorded once
//! and replayed.

use super::backend::{CardBackend, CardPass, CardRows};
use super::buffers::{Buffers, CacheBuffers, Extent, Sizes};
use super::products::{ProductPath, Products};
use super::stack::Stack;
use super::weights::Compute;
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::backend::Selected;
use crate::engine::model::Model;
use crate::engine::weights::{ModelError, WeightSource};
use crate::units::Bytes;
use crate::workload::{Encoding, ModelShape, Quant};
use std::sync::Arc;

/// Why weights could not be put on the card.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// They could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The card refused.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// A model whose weights are on a card.
pub struct CudaModel {
    pub(super) model: Model<CardBackend>,
    not_finite: Buffer,
    /// The rows that the last block left, where they are asked for.
    pub(super) finished: Option<CardRows>,
}

impl CudaModel {
    /// Loads all weights at `quant` onto `card`. `progress(done, blocks)` is told after each block.
    pub fn load(
        card: Arc<Card>,
        shape: &ModelShape,
        weights: &mut dyn WeightSource,
        quant: Quant,
        rope_divisors: Option<Vec<f32>>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, LoadError> {
        let not_finite = card.zeros(4)?;
        let backend = CardBackend::new(card, quant);
        let model = Model::load(shape, weights, quant, rope_divisors, backend, progress)?;
        Ok(Self { model, not_finite, finished: None })
    }

    /// The card.
    pub fn card(&self) -> &Arc<Card> {
        self.model.backend.card()
    }

    pub(super) fn shape(&self) -> &ModelShape {
        &self.model.shape
    }

    /// Makes room for `batch` sequences of up to `capacity` positions, prompts of `prompt` tokens among them.
    pub fn allocate(&mut self, batch: usize, capacity: usize, prompt: usize) -> Result<(), CudaError> {
        self.allocate_for(Extent::of_batch(batch, capacity, prompt, self.widest()))
    }

    /// Makes room for what `extent` says.
    pub(super) fn allocate_for(&mut self, extent: Extent) -> Result<(), CudaError> {
        self.free();
        let Extent { rows, capacity, .. } = extent;
        if rows.max(capacity) > u32::MAX as usize {
            return Err(CudaError::Unsupported(format!("{rows} rows at once are more than the kernels count")));
        }
        let (card, parts) = (self.card().clone(), self.shape().parts());
        let sizes = Sizes::new(&parts, card.facts.multiprocessors, extent);
        // First what grows with the context: what does not fit the card is refused before the host computes its tables.
        let mut caches = CacheBuffers::of_blocks(&card, &sizes)?.into_iter();
        let divisors = self.model.rope_divisors.as_deref();
        self.model.backend.buffers = Some(Buffers::new(&card, &parts, &sizes, extent, divisors)?);
        for block in self.model.blocks.iter_mut().filter(|block| block.parts.attention.mask.keeps()) {
            block.cache = caches.next();
        }
        self.reset()
    }

    fn free(&mut self) {
        (self.model.backend.buffers, self.finished) = (None, None);
        self.model.blocks.iter_mut().for_each(|block| block.cache = None);
    }

    /// Numbers of the largest matrix that all rows go through and that is stored in blocks of integers, as it was loaded.
    pub(super) fn widest(&self) -> usize {
        self.model.inner_matrices().map(Stack::widest).max().unwrap_or(0)
    }

    /// Loads every kernel of a prefill of `seq` tokens and, where some are `decoded`, of a step behind it, in the buffers
    /// that was allocated. Nothing is launched.
    pub fn rehearse(&mut self, seq: usize, decoded: bool) -> Result<(), CudaError> {
        self.rehearse_all(|model| {
            model.step(seq)?;
            if decoded { model.step(1) } else { Ok(()) }
        })
    }

    /// Loads every kernel that `work` would launch.
    pub(super) fn rehearse_all(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let launcher = self.model.backend.ops.launcher.clone();
        launcher.rehearse(|| work(self))
    }

    /// How the matrices are multiplied with `rows` rows, of which the output sees `last`; each way once.
    pub(super) fn product_paths(&self, rows: usize, last: usize) -> Result<Vec<ProductPath>, CudaError> {
        let products = self.products()?;
        let of_blocks = self.model.blocks.iter().flat_map(|block| block.matrices.each());
        let ways = of_blocks.map(|stack| products.way(rows, false, stack.is_quantized()));
        let head = self.model.logits_matrices().is_some_and(Stack::is_quantized);
        let mut product_paths = Vec::new();
        for way in ways.chain([products.way(last, head, head)]) {
            if !product_paths.contains(&way) {
                product_paths.push(way);
            }
        }
        Ok(product_paths)
    }

    /// Whether many rows go through a matrix product.
    pub(super) fn has_gemm(&self) -> Result<bool, CudaError> {
        Ok(self.products()?.has_gemm())
    }

    fn products(&self) -> Result<Products<'_>, CudaError> {
        Ok(self.model.backend.ops.products(&self.buffers()?.workspace))
    }

    /// Forgets the sequences but keeps the buffers.
    pub fn reset(&mut self) -> Result<(), CudaError> {
        if let Some(buffers) = &mut self.model.backend.buffers {
            let empty: Vec<u32> = (0..buffers.extent.sequences as u32).flat_map(|row| [row, 0]).collect();
            buffers.places.upload(&empty)?;
        }
        self.not_finite.fill(0)
    }

    /// Whether a logit was infinite or not a number since the last reset.
    pub fn was_finite(&self) -> Result<bool, CudaError> {
        Ok(self.not_finite.download::<u32>(1)? == [0])
    }

    pub(super) fn buffers(&self) -> Result<&Buffers, CudaError> {
        self.model.backend.buffers()
    }

    pub(super) fn buffers_mut(&mut self) -> Result<&mut Buffers, CudaError> {
        self.model.backend.buffers_mut()
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
        buffers.logits.download(buffers.extent.sequences * self.shape().vocab_size)
    }

    /// The format of activations.
    pub fn compute(&self) -> Compute {
        self.model.backend.ops.compute
    }

    /// Runs the tokens of [`Self::ids`], `(batch, seq)`, behind what the cache holds, chooses the next ones and leaves
    /// them there. Only launches: nothing is waited for.
    pub fn step(&mut self, seq: usize) -> Result<(), CudaError> {
        let batch = self.buffers()?.extent.sequences;
        let mut stream = self.model.run(&(batch * seq), &CardPass::of_batch(batch, seq))?;
        let rows = self.model.finish(&mut stream, Selected::Last)?;
        self.pick(&rows)?;
        // SAFETY: there is a place for each sequence of the batch.
        unsafe { self.model.backend.ops.advance(&self.buffers()?.places, batch, seq) }
    }

    /// Logits of normed rows, and the largest of each, as the next tokens.
    pub(super) fn pick(&self, rows: &CardRows) -> Result<(), CudaError> {
        let buffers = self.buffers()?;
        self.model.logits(rows)?;
        let sizes = (rows.rows, self.shape().vocab_size);
        // SAFETY: the logits are (rows, vocab), and there is an id for each row.
        unsafe { self.model.backend.ops.argmax(&buffers.logits, sizes, &buffers.ids, &self.not_finite) }
    }

    /// Bytes of the matrices as stored.
    pub fn matrix_bytes(&self) -> Bytes {
        self.model.matrix_bytes()
    }

    /// Bytes of the matrices that one decode step reads.
    pub fn decode_matrix_bytes(&self) -> Bytes {
        self.model.decode_matrix_bytes()
    }

    /// How many matrices got each encoding.
    pub fn encodings(&self) -> &[(Encoding, usize)] {
        &self.model.encodings
    }
}
