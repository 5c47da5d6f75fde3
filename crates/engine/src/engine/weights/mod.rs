//! Where the weights of a model come from: a preset with random weights, a GGUF file, a folder with config.json
//! and safetensors, or a hub id that is fetched into such a folder.

pub mod build;
pub mod folder;
pub mod gguf;
mod gguf_described;
mod gguf_header;
mod gguf_metadata;
mod gguf_parts;
pub mod gguf_writer;
pub mod hub;
mod hub_download;
pub(super) mod inventory;
pub mod safetensors;
mod shape;
mod shards;
pub mod spm;
pub mod synthetic;
mod tokenizer;

use crate::engine::backend::linear::{Layout, Linear};
use crate::workload::model::config::encoder::Pooling;
use crate::workload::model::preset;
use crate::workload::model::tensors::TensorName;
use crate::workload::{Architecture, Encoding, ModelShape, Preset, Quant};
use candle_core::Tensor;
pub use shape::{KnownShape, model_shape};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use thiserror::Error;
pub use tokenizer::read_tokenizer;
use tokenizers::Tokenizer;

/// A model that could not be read; says which file and what is wrong with it.
#[derive(Debug, Error)]
#[error("{file}: {message}")]
pub struct ModelError {
    /// The file (or hub id, or preset) at fault.
    pub file: String,
    /// What is wrong, and what to do where that is known.
    pub message: String,
}

impl ModelError {
    /// An error about `file`.
    pub fn new(file: impl AsRef<Path>, message: impl std::fmt::Display) -> Self {
        Self { file: file.as_ref().display().to_string(), message: message.to_string() }
    }
}

/// Reads or makes the tensors of one model.
pub trait WeightSource: Send {
    /// A norm, bias or table of the shape `dims`, as `f32` on the CPU. The error names the tensor, what it is and what it should
    /// be.
    fn tensor(&mut self, name: TensorName, dims: &[usize]) -> Result<Tensor, ModelError>;

    /// The same of one dimension.
    fn vector(&mut self, name: TensorName, len: usize) -> Result<Tensor, ModelError> {
        self.tensor(name, &[len])
    }

    /// A `(rows, cols)` matrix at `quant` in `layout`, and the encoding that it got.
    fn matrix(
        &mut self,
        name: TensorName,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> Result<(Linear, Encoding), ModelError>;

    /// Divisors of the rotary frequencies (`head_dim / 2` of them) that came with the weights.
    fn rope_divisors(&mut self) -> Result<Option<Vec<f32>>, ModelError> {
        Ok(None)
    }

    /// Whether weights at `quant` can be had: from higher precision, or as the file has them.
    fn check_quant(&self, quant: Quant) -> Result<(), String>;

    /// The quantization that the file has, where it has one.
    fn native_quant(&self) -> Option<Quant>;
}

/// A model that is ready to load weights from.
pub struct OpenedModel {
    /// What the user called it.
    pub name: String,
    /// `preset`, `gguf`, `safetensors` or `hub`.
    pub kind: &'static str,
    /// The file, folder or hub id, where there is one.
    pub location: Option<String>,
    /// The sizes.
    pub shape: ModelShape,
    /// Weights are random.
    pub synthetic: bool,
    /// What the weights are made of.
    pub origin: Origin,
    /// Turns text into tokens, where the model has a vocabulary.
    pub tokenizer: Option<Tokenizer>,
    /// How hidden states become an embedding, of models that embed.
    pub pooling: Pooling,
    /// The weights.
    pub weights: Box<dyn WeightSource>,
}

/// What a record says of a model (name, files, sizes).
pub struct ModelDescription<'a> {
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

impl<'a> ModelDescription<'a> {
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

/// What weights are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Files, those that say the sizes included.
    Files(Vec<PathBuf>),
    /// Files that the program carries.
    Embedded(Vec<&'static [u8]>),
    /// Random numbers that follow from this text.
    Seed(String),
}

impl OpenedModel {
    /// What a record says of it.
    pub fn about(&self) -> ModelDescription<'_> {
        ModelDescription::of(self)
    }

    /// The quantization that its file has.
    pub fn native_quant(&self) -> Option<Quant> {
        self.weights.native_quant()
    }

    /// Whether weights at `quant` can be had.
    pub fn check_quant(&self, quant: Quant) -> Result<(), String> {
        self.weights.check_quant(quant)
    }

    /// BLAKE3 of the weight files, or of the preset and seed. Reads the files.
    pub fn hash(&self) -> Result<String, ModelError> {
        self.origin.hash()
    }
}

impl Origin {
    /// BLAKE3 of the files, or of the text. Reads the files.
    pub fn hash(&self) -> Result<String, ModelError> {
        match self {
            Origin::Files(files) => hash_files(files),
            Origin::Embedded(files) => {
                let mut hasher = blake3::Hasher::new();
                for bytes in files {
                    hasher.update(bytes);
                }
                Ok(hasher.finalize().to_hex().to_string())
            }
            Origin::Seed(text) => Ok(blake3::hash(text.as_bytes()).to_hex().to_string()),
        }
    }
}

/// The name of the small trained model that the program carries.
pub const REFERENCE: &str = "reference";

/// Endings of names that mean a file, never a repository.
const FILE_ENDINGS: [&str; 4] = [".gguf", ".safetensors", ".toml", ".json"];

/// Opens what `--model` names: an existing file or folder first, whatever bytes its name is of, then a preset, then a hub id.
pub fn open(model: impl AsRef<OsStr>, seed: u64, show_progress: bool) -> Result<OpenedModel, ModelError> {
    let path = Path::new(model.as_ref());
    if path.is_dir() {
        return folder::open(path, "safetensors");
    }
    if path.is_file() {
        return match path.extension().and_then(|e| e.to_str()) {
            Some("toml") => {
                let preset = read_preset(path)?;
                Ok(OpenedModel { location: Some(location(path)), ..synthetic(&preset, seed)? })
            }
            Some("safetensors" | "json") => Err(ModelError::new(
                path,
                "give the folder that holds config.json and the safetensors files, not one of them",
            )),
            _ => gguf::open(path),
        };
    }
    let Some(model) = path.to_str() else { return Err(ModelError::new(path, "no such file or folder")) };
    if model == REFERENCE
        && let Some(files) = preset::reference_files()
    {
        return folder::open_embedded(REFERENCE, files);
    }
    match Preset::named(model) {
        Ok(preset) => synthetic(&preset, seed),
        Err(_) if names_file(model) => Err(ModelError::new(path, "no such file")),
        Err(_) if hub::is_hub_id(model) => hub::open(model, show_progress),
        Err(message) => Err(ModelError { file: "--model".to_string(), message }),
    }
}

/// Opens what `--model` names, where it must generate text.
pub fn open_decoder(model: impl AsRef<OsStr>, seed: u64, show_progress: bool) -> Result<OpenedModel, ModelError> {
    let opened = open(model, seed, show_progress)?;
    match Architecture::from_name(opened.shape.architecture.name()) {
        Ok(_) => Ok(opened),
        Err(message) => Err(ModelError { file: opened.location.unwrap_or(opened.name), message }),
    }
}

/// The preset in a file.
pub(super) fn read_preset(path: &Path) -> Result<Preset, ModelError> {
    let text = std::fs::read_to_string(path).map_err(|e| ModelError::new(path, e))?;
    let name = path.display().to_string();
    Preset::parse(&name, &text).map_err(|e| ModelError::new(format!("{}:{}", e.file, e.line), e.message))
}

/// Whether a name that is neither a file nor a preset would be one of a file, by its ending.
pub(super) fn names_file(model: &str) -> bool {
    FILE_ENDINGS.iter().any(|ending| model.ends_with(ending)) && !model.contains(':')
}

/// A preset on random weights, where the engine runs its architecture.
fn synthetic(preset: &Preset, seed: u64) -> Result<OpenedModel, ModelError> {
    let architecture = preset.shape.architecture;
    if architecture.family().runs {
        return Ok(synthetic::open(preset, seed));
    }
    Err(ModelError {
        file: preset.name.clone(),
        message: format!(
            "{}; it is a shape for sizing and for imported measurements only",
            Architecture::not_supported(architecture.name())
        ),
    })
}

/// How a record names a file or folder, so that it is found again from anywhere.
pub(super) fn location(path: &Path) -> String {
    path.canonicalize().unwrap_or(path.to_path_buf()).display().to_string()
}

/// BLAKE3 over the contents of `files`, in order.
pub fn hash_files(files: &[PathBuf]) -> Result<String, ModelError> {
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let file = std::fs::File::open(path).map_err(|e| ModelError::new(path, e))?;
        hasher.update_reader(file).map_err(|e| ModelError::new(path, e))?;
    }
    Ok(hasher.finalize().to_hex().to_string())
}
