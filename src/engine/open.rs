//! Which engine runs a model: the one place that chooses.

use super::backend::cuda::CudaEngine;
use super::backend::ops::Kernels;
use super::model::reference;
use super::session::candle::CandleEngine;
use super::session::encoder::EncoderEngine;
use super::weights::{OpenedModel, Origin};
use super::{Engine, EngineError};
use crate::device::cuda::Card;
use crate::workload::ModelShape;
use std::sync::Arc;

/// What a record says of a model.
pub struct About<'a> {
    /// What the user called it.
    pub name: &'a str,
    /// `preset`, `gguf`, `safetensors` or `hub`.
    pub kind: &'static str,
    /// The file, folder or hub id.
    pub location: Option<&'a str>,
    /// The sizes.
    pub shape: &'a ModelShape,
    /// Weights are random.
    pub synthetic: bool,
    /// What the weights are made of.
    pub origin: &'a Origin,
}

impl<'a> About<'a> {
    /// What a record says of a decoder.
    pub fn of(model: &'a OpenedModel) -> Self {
        Self {
            name: &model.name,
            kind: model.kind,
            location: model.location.as_deref(),
            shape: &model.shape,
            synthetic: model.synthetic,
            origin: &model.origin,
        }
    }
}

impl OpenedModel {
    /// The engine that runs it: on `card`, or on the CPU.
    pub fn engine(self, card: Option<Arc<Card>>, kernels: Kernels) -> Result<Box<dyn Engine>, EngineError> {
        Ok(match (self.shape.is_encoder(), card, kernels) {
            (false, Some(card), Kernels::Own) => Box::new(CudaEngine::new(card, self)),
            (false, Some(card), Kernels::Candle) => Box::new(CandleEngine::on_card(self, card)?),
            (false, None, kernels) => Box::new(CandleEngine::new(self, kernels)),
            (true, None, kernels) => {
                if kernels == Kernels::Candle {
                    reference::check().map_err(EngineError::Unsupported)?;
                }
                Box::new(EncoderEngine::new(self, kernels))
            }
            (true, Some(card), Kernels::Own) => Box::new(EncoderEngine::on_card(self, card)),
            (true, Some(_), Kernels::Candle) => {
                return Err(EngineError::Unsupported(format!(
                    "models of the architecture `{}` run on cards by the project's own kernels only",
                    self.shape.architecture
                )));
            }
        })
    }
}
