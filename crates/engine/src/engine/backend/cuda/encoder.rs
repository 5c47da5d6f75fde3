//! Encoders on a card: every position sees every other, and hidden states or logits come back in `f32`.

use super::backend::{CardPass, CardStream};
use super::buffers::{Extent, Sizes, widest};
use super::{CudaModel, fitting};
use crate::device::cuda::{Card, CudaError};
use crate::engine::EngineError;
use crate::engine::backend::Selected;
use crate::engine::model::images::{patch_grid, patches};
use crate::engine::session::encoder::Forward;
use crate::units::Bytes;
use crate::workload::{Encoding, ModelShape, Quant};
use candle_core::{Device, Result, Tensor, bail};

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
    let extent = Extent::of_encoder(batch, seq, widest(shape, quant));
    let buffers = Sizes::new(&shape.parts(), card.facts.multiprocessors, extent).bytes();
    (shape.weight_bytes(quant) + Bytes(buffers as f64) + fitting::margin(total), free + card.held())
}

fn failed(error: CudaError) -> candle_core::Error {
    candle_core::Error::Msg(error.to_string())
}

impl CudaModel {
    /// Room for `batch` inputs of `seq` rows, unless it is there; every kernel of a pass is loaded.
    fn allocate_encoder(&mut self, batch: usize, seq: usize) -> std::result::Result<(), CudaError> {
        let extent = Extent::of_encoder(batch, seq, self.widest());
        if self.buffers().is_ok_and(|buffers| buffers.extent == extent) {
            return Ok(());
        }
        self.allocate_for(extent)?;
        let is_image = self.shape().image.is_some();
        self.rehearse_all(|model| if is_image { model.classify() } else { model.encode().map(|_| ()) })
    }

    /// All blocks over the tokens or pixels that are in the buffers; the residual is what they leave.
    fn encode(&mut self) -> std::result::Result<CardStream, CudaError> {
        let Extent { sequences, capacity: seq, rows, .. } = self.buffers()?.extent;
        self.model.run(&rows, &CardPass::of_batch(sequences, seq))
    }

    /// The logits of each image, by its first row.
    fn classify(&mut self) -> std::result::Result<(), CudaError> {
        let mut stream = self.encode()?;
        let class = self.model.finish(&mut stream, Selected::First)?;
        self.model.logits(&class).map(|_| ())
    }

    /// The numbers of the patches of `pixels`, into the buffers, and the positions of their grid, onto the card.
    fn send_image(&mut self, pixels: &Tensor) -> Result<()> {
        let compute = self.compute();
        let Some((images, backend)) = self.model.patches_mut() else { bail!("the model takes texts, not images") };
        let grid = patch_grid(&images.shape, pixels.dims4()?)?;
        let bits = compute.bits(&patches(pixels, &images.shape, grid)?)?;
        images.set_grid(backend, grid).map_err(failed)?;
        self.allocate_encoder(pixels.dim(0)?, 1 + grid.0 * grid.1).map_err(failed)?;
        self.buffers_mut().and_then(|buffers| buffers.pixels.upload(&bits)).map_err(failed)
    }
}

impl Forward for CudaModel {
    fn hidden(&mut self, ids: &Tensor) -> Result<Tensor> {
        let (batch, seq) = ids.dims2()?;
        let &ModelShape { max_context, vocab_size, hidden_size, image, .. } = self.shape();
        if image.is_some() {
            bail!("the model takes images, not texts");
        }
        if seq > max_context {
            bail!("{seq} tokens exceed the model's {max_context} positions");
        }
        let ids = ids.flatten_all()?.to_vec1::<u32>()?;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab_size) {
            bail!("there is no token {id} in a vocabulary of {vocab_size}");
        }
        let mut run = || {
            self.allocate_encoder(batch, seq)?;
            self.set_ids(&ids)?;
            self.encode()?;
            self.buffers()?.residual.download::<f32>(batch * seq * hidden_size)
        };
        Tensor::from_vec(run().map_err(failed)?, (batch, seq, hidden_size), &Device::Cpu)
    }

    fn logits(&mut self, pixels: &Tensor) -> Result<Tensor> {
        self.send_image(pixels)?;
        let (batch, classes) = (pixels.dim(0)?, self.shape().vocab_size);
        let mut run = || {
            self.classify()?;
            self.buffers()?.logits.download::<f32>(batch * classes)
        };
        Tensor::from_vec(run().map_err(failed)?, (batch, classes), &Device::Cpu)
    }

    fn prepare(&mut self, batch: usize, seq: usize) -> std::result::Result<(), EngineError> {
        Ok(self.allocate_encoder(batch, seq)?)
    }

    fn remarks(&self) -> Vec<String> {
        vec![super::products_by(self.card())]
    }

    fn matrix_bytes(&self) -> Bytes {
        self.model.matrix_bytes()
    }

    fn encodings(&self) -> &[(Encoding, usize)] {
        &self.model.encodings
    }
}
