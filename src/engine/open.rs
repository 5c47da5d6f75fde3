//! A model that is ready to be measured, whatever its task.

use super::backend::cuda::CudaEngine;
use super::backend::ops::Kernels;
use super::model::encoder::EncoderEngine;
use super::model::encoder::source::{self as encoders, OpenedEncoder};
use super::session::candle::CandleEngine;
use super::weights::{self as source, ModelError, OpenedModel, Origin, hub};
use crate::device::cuda::Card;
use crate::engine::{Engine, EngineError};
use crate::workload::model::config::encoder as config;
use crate::workload::{ModelShape, Preset, Quant};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

/// A model of one of the kinds that the engine runs.
pub enum Opened {
    /// It generates text.
    Decoder(Box<OpenedModel>),
    /// It embeds texts or classifies images.
    Encoder(Box<OpenedEncoder>),
}

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

/// Whether a folder is that of an encoder.
fn is_encoder(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("config.json")).is_ok_and(|text| config::encoder(&text).is_some())
}

impl Opened {
    /// Opens what `--model` names: an existing file or folder first, then a preset, then a hub id.
    pub fn open(model: impl AsRef<OsStr>, seed: u64, show_progress: bool) -> Result<Self, ModelError> {
        let path = Path::new(model.as_ref());
        let encoder = |opened| Ok(Self::Encoder(Box::new(opened)));
        if path.is_dir() && is_encoder(path) {
            return encoder(encoders::open_folder(path, "safetensors")?);
        }
        let name = path.to_str().filter(|_| !path.exists());
        if let Some(name) = name
            && let Ok(preset) = Preset::named(name)
            && preset.shape.is_encoder()
        {
            return encoder(encoders::synthetic(&preset, seed));
        }
        if path.is_file()
            && path.extension().is_some_and(|e| e == "toml")
            && let Ok(preset) = source::read_preset(path)
            && preset.shape.is_encoder()
        {
            let opened = encoders::synthetic(&preset, seed);
            return encoder(OpenedEncoder { location: Some(source::location(path)), ..opened });
        }
        if let Some(name) = name
            && Preset::named(name).is_err()
            && !source::names_file(name)
            && hub::is_hub_id(name)
            && let hub::Fetched::Folder(folder) = hub::fetch(name, show_progress)?
            && is_encoder(&folder)
        {
            let opened = encoders::open_folder(&folder, "hub")?;
            return encoder(OpenedEncoder { name: hub::name(name), location: Some(name.to_string()), ..opened });
        }
        source::open(path, seed, show_progress).map(|opened| Self::Decoder(Box::new(opened)))
    }

    /// What a record says of it.
    pub fn about(&self) -> About<'_> {
        match self {
            Self::Decoder(model) => About::of(model),
            Self::Encoder(m) => About {
                name: &m.name,
                kind: m.kind,
                location: m.location.as_deref(),
                shape: &m.shape,
                synthetic: m.synthetic,
                origin: &m.origin,
            },
        }
    }

    /// The quantization that its file has, where it is of a decoder.
    pub fn native_quant(&self) -> Option<Quant> {
        match self {
            Self::Decoder(model) => model.weights.native_quant(),
            Self::Encoder(_) => None,
        }
    }

    /// Whether weights at `quant` can be had.
    pub fn check_quant(&self, quant: Quant) -> Result<(), String> {
        match self {
            Self::Decoder(model) => model.weights.check_quant(quant),
            Self::Encoder(model) => model.weights.check_quant(quant),
        }
    }

    /// The engine that runs it: on `card`, or on the CPU.
    pub fn engine(self, card: Option<Arc<Card>>, kernels: Kernels) -> Result<Box<dyn Engine>, EngineError> {
        Ok(match (self, card, kernels) {
            (Self::Decoder(model), Some(card), Kernels::Own) => Box::new(CudaEngine::new(card, *model)),
            (Self::Decoder(model), Some(card), Kernels::Candle) => Box::new(CandleEngine::on_card(*model, card)?),
            (Self::Decoder(model), None, kernels) => Box::new(CandleEngine::new(*model, kernels)),
            (Self::Encoder(model), None, kernels) => Box::new(EncoderEngine::new(*model, kernels)),
            (Self::Encoder(model), Some(_), _) => {
                return Err(EngineError::Unsupported(format!(
                    "models of the architecture `{}` run on the CPU only",
                    model.shape.architecture
                )));
            }
        })
    }
}
