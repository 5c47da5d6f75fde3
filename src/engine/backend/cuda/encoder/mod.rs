//! The encoder of `engine/model` on a card: the same mathematics in 16-bit activations with a residual
//! stream of `f32`. Every position sees every other; norms are behind attention and feed-forward (BERT) or before them (ViT).

mod buffers;
mod load;

use super::load::Stack;
use super::ops::{Cache, Heads, KernelMask, Ops, QueryKeyPreparation, Sequences};
use super::products::{Product, Width};
use super::weights::{Compute, Matrix};
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::EngineError;
use crate::engine::model::images::{interpolated, patch_grid, patches};
use crate::engine::session::encoder::Forward;
use crate::units::Bytes;
use crate::workload::ImageShape;
use crate::workload::{Encoding, ModelShape, Quant};
use buffers::EncoderBuffers;
use candle_core::{Device, Result, Tensor, bail};
use std::sync::Arc;

/// A layer norm.
pub(super) struct LayerNorm {
    weight: Buffer,
    bias: Buffer,
}

/// One block.
pub(super) struct Layer {
    /// Query, key and value.
    qkv: Stack,
    output: Stack,
    attention_norm: LayerNorm,
    up: Stack,
    down: Stack,
    feed_forward_norm: LayerNorm,
}

/// What texts become before the first block.
pub(super) struct Text {
    words: Matrix,
    /// Those of the first type of tokens: `(positions, hidden)`.
    positions: Buffer,
    norm: LayerNorm,
}

/// What images become before the first block, and what becomes of them behind the last.
pub(super) struct Image {
    shape: ImageShape,
    patches: Stack,
    class_token: Buffer,
    /// On the host: those of other resolutions are made of them.
    table: Tensor,
    /// Of the grid of the last images.
    positions: Option<((usize, usize), Buffer)>,
    norm: LayerNorm,
    classifier: Stack,
}

/// What differs between texts and images.
pub(super) enum Modality {
    Text(Box<Text>),
    Image(Box<Image>),
}

/// An encoder whose weights are on a card.
pub struct CudaEncoder {
    ops: Ops,
    shape: ModelShape,
    ends: Modality,
    layers: Vec<Layer>,
    encodings: Vec<(Encoding, usize)>,
    buffers: Option<EncoderBuffers>,
}

/// Why a model cannot be one for the kernels of cards, or a level not.
pub fn check(shape: &ModelShape, quant: Quant) -> std::result::Result<(), EngineError> {
    super::check_level(quant)?;
    super::check_shape(shape)?;
    match &shape.image {
        Some(image) if !(image.channels * image.patch * image.patch).is_multiple_of(8) => {
            Err(EngineError::Unsupported(format!(
                "the CUDA kernels cannot: patches of {} channels of {} pixels, which are no multiple of 8",
                image.channels,
                image.patch * image.patch
            )))
        }
        _ => Ok(()),
    }
}

/// What weights and buffers for `batch` inputs of `seq` rows take, with what is left to the driver, and what is free: what
/// is held by now makes way.
pub fn memory(card: &Card, shape: &ModelShape, quant: Quant, batch: usize, seq: usize) -> (Bytes, Bytes) {
    let (free, total) = card.memory().unwrap_or((Bytes(f64::INFINITY), Bytes(f64::INFINITY)));
    let buffers = EncoderBuffers::bytes(shape, (batch, seq), super::buffers::widest(shape, quant));
    (shape.weight_bytes(quant) + Bytes(buffers as f64) + super::fitting::margin(total), free + card.held())
}

fn failed(error: CudaError) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}

impl CudaEncoder {
    /// The card.
    pub fn card(&self) -> &Arc<Card> {
        self.ops.card()
    }

    /// Room for `batch` inputs of `seq` rows, unless it is there; every kernel of a pass is loaded.
    pub fn allocate(&mut self, batch: usize, seq: usize) -> std::result::Result<(), CudaError> {
        if self.buffers.as_ref().is_some_and(|buffers| (buffers.batch, buffers.seq) == (batch, seq)) {
            return Ok(());
        }
        self.buffers = None;
        let widest = self.stacks().flat_map(|stack| &stack.matrices).filter(|matrix| matrix.is_quantized());
        let widest = widest.map(|matrix| matrix.rows * matrix.cols).max().unwrap_or(0);
        let buffers = EncoderBuffers::new(self.ops.card(), &self.shape, (batch, seq), widest)?;
        self.ops.launcher.rehearse(|| match &self.ends {
            Modality::Text(text) => self.begin_text(&buffers, text).and_then(|()| self.run(&buffers)),
            // The positions are not looked at.
            Modality::Image(image) => {
                self.begin_image(&buffers, image, &buffers.residual)?;
                self.run(&buffers)?;
                self.classify(&buffers, image)
            }
        })?;
        self.buffers = Some(buffers);
        Ok(())
    }

    fn buffers(&self) -> std::result::Result<&EncoderBuffers, CudaError> {
        self.buffers.as_ref().ok_or_else(|| CudaError::Unsupported("no room has been allocated".to_string()))
    }

    /// All matrices but the table of words.
    fn stacks(&self) -> impl Iterator<Item = &Stack> {
        let of_layers = self.layers.iter().flat_map(|layer| [&layer.qkv, &layer.output, &layer.up, &layer.down]);
        let of_ends = match &self.ends {
            Modality::Text(_) => [None, None],
            Modality::Image(image) => [Some(&image.patches), Some(&image.classifier)],
        };
        of_layers.chain(of_ends.into_iter().flatten())
    }

    /// Adds a block's output (an address, or 0) to `rows` rows of the residual and norms them.
    fn norm(
        &self,
        rows: usize,
        stream: (u64, u64),
        norm: &LayerNorm,
        (out, keeps): (u64, bool),
    ) -> std::result::Result<(), CudaError> {
        let weights = (&norm.weight, &norm.bias, self.shape.norm_eps as f32);
        // SAFETY: the rows are the buffers'.
        unsafe { self.ops.layer_norm((rows, self.shape.hidden_size), stream, weights, out, keeps) }
    }

    /// The residual and the first normed rows of the tokens that are in the buffers.
    fn begin_text(&self, buffers: &EncoderBuffers, text: &Text) -> std::result::Result<(), CudaError> {
        let (rows, residual) = (buffers.rows(), buffers.residual.at());
        // SAFETY: tokens are below the vocabulary's size, which was checked, and there is a position for each.
        unsafe {
            self.ops.embed(residual, &text.words, buffers.ids.at(), rows)?;
            self.ops.add_positions(residual, &text.positions, (rows, self.shape.hidden_size), buffers.seq)?;
        }
        self.norm(rows, (residual, 0), &text.norm, (buffers.normed.at(), true))
    }

    /// The residual of the patches that are in the buffers.
    fn begin_image(
        &self,
        buffers: &EncoderBuffers,
        image: &Image,
        positions: &Buffer,
    ) -> std::result::Result<(), CudaError> {
        let patches = buffers.batch * (buffers.seq - 1);
        let made = buffers.delta.at();
        let cols = image.shape.channels * image.shape.patch * image.shape.patch;
        let products = self.ops.products(&buffers.workspace);
        products.run(patches, buffers.patches.at(), cols, false, &image.patches.products(made, patches))?;
        let sizes = (buffers.rows(), self.shape.hidden_size);
        // SAFETY: there is a patch for each row but the first of an image, and a position for each.
        unsafe {
            self.ops.set_patches(buffers.residual.at(), made, (&image.class_token, positions), sizes, buffers.seq)
        }
    }

    /// All blocks. Where norms are behind them the residual is what they leave, else the last output is not in it yet.
    fn run(&self, buffers: &EncoderBuffers) -> std::result::Result<(), CudaError> {
        let is_post = matches!(self.ends, Modality::Text(_));
        let (rows, normed) = (buffers.rows(), (buffers.normed.at(), is_post));
        let (residual, delta) = (buffers.residual.at(), buffers.delta.at());
        for (index, layer) in self.layers.iter().enumerate() {
            if !is_post {
                let before = if index == 0 { 0 } else { delta };
                self.norm(rows, (residual, before), &layer.attention_norm, normed)?;
            }
            self.attend(buffers, layer)?;
            let between = if is_post { &layer.attention_norm } else { &layer.feed_forward_norm };
            self.norm(rows, (residual, delta), between, normed)?;
            self.feed_forward(buffers, layer)?;
            if is_post {
                self.norm(rows, (residual, delta), &layer.feed_forward_norm, normed)?;
            }
        }
        Ok(())
    }

    /// Attention of the normed rows, as a block's output.
    fn attend(&self, buffers: &EncoderBuffers, layer: &Layer) -> std::result::Result<(), CudaError> {
        let (rows, hidden) = (buffers.rows(), self.shape.hidden_size);
        let products = self.ops.products(&buffers.workspace);
        products.run(rows, buffers.normed.at(), hidden, false, &layer.qkv.products(buffers.qkv.at(), rows))?;
        let places = layer.qkv.places(buffers.qkv.at(), rows, &[hidden; 3]);
        let sequences = Sequences { places: buffers.places.at(), count: buffers.batch, seq: buffers.seq };
        let heads = Heads { heads: self.shape.heads, kv_heads: self.shape.heads, dim: self.shape.head_dim };
        let cache = Cache { keys: &buffers.keys, values: &buffers.values, capacity: buffers.seq };
        let still = QueryKeyPreparation { query_norm: 0, key_norm: 0, eps: 0.0, cos: 0, sin: 0 };
        // SAFETY: places and sizes are those of the buffers.
        unsafe {
            self.ops.file([places[0], places[1], places[2]], &still, sequences, heads, cache)?;
            self.ops.attend_many(places[0], sequences, heads, cache, KernelMask::All, buffers.attended.at())?;
        }
        products.run(rows, buffers.attended.at(), hidden, false, &layer.output.products(buffers.delta.at(), rows))
    }

    /// The feed-forward network on the normed rows, as a block's output.
    fn feed_forward(&self, buffers: &EncoderBuffers, layer: &Layer) -> std::result::Result<(), CudaError> {
        let (rows, ff) = (buffers.rows(), self.shape.intermediate_size);
        let products = self.ops.products(&buffers.workspace);
        let up = layer.up.products(buffers.up.at(), rows);
        products.run(rows, buffers.normed.at(), self.shape.hidden_size, false, &up)?;
        // SAFETY: there are `rows` rows of `ff` numbers.
        unsafe { self.ops.gelu(buffers.up.at(), rows * ff)? };
        products.run(rows, buffers.up.at(), ff, false, &layer.down.products(buffers.delta.at(), rows))
    }

    /// The logits of each image, by its first row.
    fn classify(&self, buffers: &EncoderBuffers, image: &Image) -> std::result::Result<(), CudaError> {
        let hidden = self.shape.hidden_size;
        for index in 0..buffers.batch {
            let row = (index * buffers.seq * hidden) as u64;
            let stream = (buffers.residual.at() + 4 * row, buffers.delta.at() + 2 * row);
            self.norm(1, stream, &image.norm, (buffers.normed.at() + 2 * (index * hidden) as u64, false))?;
        }
        // In f32, by the kernels that take a bias along.
        let product = |product: Product<'_>| -> std::result::Result<(), CudaError> {
            let product = Product { width: Width::Single, ..product };
            self.ops.products(&buffers.workspace).run(buffers.batch, buffers.normed.at(), hidden, true, &[product])
        };
        image.classifier.products(buffers.logits.at(), buffers.batch).into_iter().try_for_each(product)
    }

    /// The numbers of the patches of `pixels`, into the buffers, and the positions of their grid, onto the card.
    fn send_image(&mut self, pixels: &Tensor) -> Result<()> {
        let Modality::Image(image) = &mut self.ends else { bail!("the model takes texts, not images") };
        let grid = patch_grid(&image.shape, pixels.dims4()?)?;
        let bits = self.ops.compute.bits(&patches(pixels, &image.shape, grid)?)?;
        if image.positions.as_ref().is_none_or(|(known, _)| *known != grid) {
            let side = image.shape.size / image.shape.patch;
            let table = interpolated(&image.table, side, grid)?.flatten_all()?.to_vec1::<f32>()?;
            image.positions = Some((grid, self.ops.card().with(&table).map_err(failed)?));
        }
        let batch = pixels.dim(0)?;
        self.allocate(batch, 1 + grid.0 * grid.1).map_err(failed)?;
        match &mut self.buffers {
            Some(buffers) => buffers.patches.upload(&bits).map_err(failed),
            None => bail!("no room has been allocated"),
        }
    }
}

impl Forward for CudaEncoder {
    fn hidden(&mut self, ids: &Tensor) -> Result<Tensor> {
        let (batch, seq) = ids.dims2()?;
        if matches!(self.ends, Modality::Image(_)) {
            bail!("the model takes images, not texts");
        }
        if seq > self.shape.max_context {
            bail!("{seq} tokens exceed the model's {} positions", self.shape.max_context);
        }
        let ids = ids.flatten_all()?.to_vec1::<u32>()?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= self.shape.vocab_size) {
            bail!("there is no token {id} in a vocabulary of {}", self.shape.vocab_size);
        }
        self.allocate(batch, seq).map_err(failed)?;
        if let Some(buffers) = &mut self.buffers {
            buffers.ids.upload(&ids).map_err(failed)?;
        }
        let Modality::Text(text) = &self.ends else { bail!("the model takes images, not texts") };
        let hidden = self.shape.hidden_size;
        let run = || {
            let buffers = self.buffers()?;
            self.begin_text(buffers, text)?;
            self.run(buffers)?;
            buffers.residual.download::<f32>(batch * seq * hidden)
        };
        Tensor::from_vec(run().map_err(failed)?, (batch, seq, hidden), &Device::Cpu)
    }

    fn logits(&mut self, pixels: &Tensor) -> Result<Tensor> {
        self.send_image(pixels)?;
        let Modality::Image(image) = &self.ends else { bail!("the model takes texts, not images") };
        let (batch, classes) = (pixels.dim(0)?, self.shape.vocab_size);
        let run = || {
            let buffers = self.buffers()?;
            if let Some((_, positions)) = &image.positions {
                self.begin_image(buffers, image, positions)?;
            }
            self.run(buffers)?;
            self.classify(buffers, image)?;
            buffers.logits.download::<f32>(batch * classes)
        };
        Tensor::from_vec(run().map_err(failed)?, (batch, classes), &Device::Cpu)
    }

    fn prepare(&mut self, batch: usize, seq: usize) -> std::result::Result<(), EngineError> {
        Ok(self.allocate(batch, seq)?)
    }

    fn remarks(&self) -> Vec<String> {
        vec![super::products_by(self.card())]
    }

    fn matrix_bytes(&self) -> Bytes {
        let words = match &self.ends {
            Modality::Text(text) => text.words.bytes,
            Modality::Image(_) => 0,
        };
        let others: usize = self.stacks().flat_map(|stack| &stack.matrices).map(|matrix| matrix.bytes).sum();
        Bytes((words + others) as f64)
    }

    fn encodings(&self) -> &[(Encoding, usize)] {
        &self.encodings
    }
}
