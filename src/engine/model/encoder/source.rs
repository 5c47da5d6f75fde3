//! Where the weights of an encoder come from: a folder of config.json and safetensors files, or a preset with random
//! weights. Tensors are asked for by the names of Hugging Face checkpoints, without the prefix that some of those have.

use crate::engine::backend::linear::{Layout, Linear};
use crate::engine::weights::inventory::{self, Needed};
use crate::engine::weights::safetensors::Tensors;
use crate::engine::weights::synthetic::random_matrix;
use crate::engine::weights::{ModelError, Origin, location, read_tokenizer};
use crate::workload::model::config::encoder::{self as config, Pooling};
use crate::workload::{Architecture, Encoding, ModelShape, Preset, Quant};
use candle_core::{DType, Device, Result, Tensor};
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// A matrix or norm of one block of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LayerPart {
    Query,
    Key,
    Value,
    AttentionOutput,
    AttentionNorm,
    Up,
    Down,
    FeedForwardNorm,
}

impl LayerPart {
    /// The name in a checkpoint, to which `.weight` or `.bias` is added. The norms of BERT are behind what they are
    /// named after here, those of ViT before it.
    pub fn name(self, architecture: Architecture, layer: usize) -> String {
        let name = match (architecture, self) {
            (Architecture::Vit, Self::Query) => "attention.attention.query",
            (Architecture::Vit, Self::Key) => "attention.attention.key",
            (Architecture::Vit, Self::Value) => "attention.attention.value",
            (Architecture::Vit, Self::AttentionNorm) => "layernorm_before",
            (Architecture::Vit, Self::FeedForwardNorm) => "layernorm_after",
            (_, Self::Query) => "attention.self.query",
            (_, Self::Key) => "attention.self.key",
            (_, Self::Value) => "attention.self.value",
            (_, Self::AttentionOutput) => "attention.output.dense",
            (_, Self::AttentionNorm) => "attention.output.LayerNorm",
            (_, Self::Up) => "intermediate.dense",
            (_, Self::Down) => "output.dense",
            (_, Self::FeedForwardNorm) => "output.LayerNorm",
        };
        format!("encoder.layer.{layer}.{name}")
    }
}

/// Names of the tensors outside the blocks.
pub mod names {
    /// The table that tokens are looked up in: `(vocabulary, hidden)`.
    pub const WORDS: &str = "embeddings.word_embeddings.weight";
    /// The positions of texts: `(positions, hidden)`.
    pub const POSITIONS: &str = "embeddings.position_embeddings.weight";
    /// What is added to all tokens of a type: `(types, hidden)`.
    pub const TYPES: &str = "embeddings.token_type_embeddings.weight";
    /// The norm of the sum of the three, without `.weight`.
    pub const EMBEDDING_NORM: &str = "embeddings.LayerNorm";
    /// The matrix that patches are multiplied with, without `.weight`: `(hidden, channels, patch, patch)` in files.
    pub const PATCHES: &str = "embeddings.patch_embeddings.projection";
    /// What stands before the patches: `(1, 1, hidden)`.
    pub const CLASS_TOKEN: &str = "embeddings.cls_token";
    /// The positions of the class token and of the patches: `(1, patches + 1, hidden)`.
    pub const PATCH_POSITIONS: &str = "embeddings.position_embeddings";
    /// The norm before the classifier, without `.weight`.
    pub const FINAL_NORM: &str = "layernorm";
    /// The classifier, without `.weight`: `(classes, hidden)`.
    pub const CLASSIFIER: &str = "classifier";
}

/// Reads or makes the tensors of one encoder.
pub trait EncoderWeights: Send {
    /// A tensor of the shape `dims`, as `f32` on the CPU. The error names the tensor, what it is and what it should be.
    fn tensor(&mut self, name: &str, dims: &[usize]) -> std::result::Result<Tensor, ModelError>;

    /// A `(rows, cols)` matrix at a level and in a layout, and the encoding that it got. A file may have the columns in several
    /// dimensions, as it has those of patches.
    fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> std::result::Result<(Linear, Encoding), ModelError>;

    /// Whether weights at `quant` can be had.
    fn check_quant(&self, quant: Quant) -> std::result::Result<(), String>;
}

/// An encoder that is ready to load weights from.
pub struct OpenedEncoder {
    /// What the user called it.
    pub name: String,
    /// `preset`, `safetensors` or `hub`.
    pub kind: &'static str,
    /// The folder or hub id, where there is one.
    pub location: Option<String>,
    /// The sizes.
    pub shape: ModelShape,
    /// Weights are random.
    pub synthetic: bool,
    /// What the weights are made of.
    pub origin: Origin,
    /// Turns text into tokens, where the model has a vocabulary; it neither pads nor cuts.
    pub tokenizer: Option<Tokenizer>,
    /// How hidden states become an embedding.
    pub pooling: Pooling,
    /// The weights.
    pub weights: Box<dyn EncoderWeights>,
}

/// Opens and checks a folder with `config.json` and safetensors files, and with `tokenizer.json`, `modules.json` and
/// `1_Pooling/config.json` where they are there. `kind` is what the record calls the source.
pub fn open_folder(folder: &Path, kind: &'static str) -> std::result::Result<OpenedEncoder, ModelError> {
    let config = folder.join("config.json");
    let text = std::fs::read_to_string(&config)
        .map_err(|e| ModelError::new(&config, format!("{e}; a model folder holds config.json and *.safetensors")))?;
    let shape = config::parse(&text).map_err(|message| ModelError::new(&config, message))?;
    let mut hashed = vec![config];
    read_optional(&folder.join("modules.json"), config::check_modules, &mut hashed)?;
    let pooling = read_optional(&folder.join("1_Pooling").join("config.json"), config::pooling, &mut hashed)?;
    let (tensors, files) = Tensors::open(folder)?;
    hashed.extend(files);
    let weights = FolderWeights { architecture: shape.architecture, tensors };
    weights.check(&shape)?;
    let tokenizer_file = folder.join("tokenizer.json");
    let tokenizer = match tokenizer_file.is_file() {
        true => Some(unpadded(read_tokenizer(&tokenizer_file)?).map_err(|e| ModelError::new(&tokenizer_file, e))?),
        false => None,
    };
    let name = folder.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    Ok(OpenedEncoder {
        name: name.unwrap_or("model".to_string()),
        kind,
        location: Some(location(folder)),
        synthetic: false,
        origin: Origin::Files(hashed),
        tokenizer,
        pooling: pooling.unwrap_or_default(),
        weights: Box::new(weights),
        shape,
    })
}

/// What `read` makes of a file that need not be there; a file that is there is one that the model follows from.
fn read_optional<T>(
    path: &Path,
    read: impl Fn(&str) -> std::result::Result<T, String>,
    files: &mut Vec<PathBuf>,
) -> std::result::Result<Option<T>, ModelError> {
    if !path.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|e| ModelError::new(path, e))?;
    files.push(path.to_path_buf());
    read(&text).map(Some).map_err(|message| ModelError::new(path, message))
}

/// Sentence encoders are published with a tokenizer that fills up and cuts every text to 128 tokens: padding would be
/// pooled into the embedding, and what is cut would be missing without a word.
fn unpadded(mut tokenizer: Tokenizer) -> tokenizers::Result<Tokenizer> {
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None)?;
    Ok(tokenizer)
}

/// The preset as an encoder whose weights are drawn from `seed`: the same seed gives the same weights on any machine.
pub fn synthetic(preset: &Preset, seed: u64) -> OpenedEncoder {
    OpenedEncoder {
        name: preset.name.clone(),
        kind: "preset",
        location: None,
        shape: preset.shape.clone(),
        synthetic: true,
        origin: Origin::Seed(format!("synthetic {} {:?} seed {seed}", preset.name, preset.shape)),
        tokenizer: None,
        pooling: Pooling::default(),
        weights: Box::new(Synthetic { name: preset.name.clone(), seed }),
    }
}

/// A checkpoint of Hugging Face.
struct FolderWeights {
    architecture: Architecture,
    tensors: Tensors,
}

impl FolderWeights {
    /// The name that the file has for `name`: behind `bert.` or `vit.` where a task's head stands beside the encoder,
    /// and with the older names of a norm's weights. Without any of them, `name` itself, for the error.
    fn name(&self, name: &str) -> String {
        let older = match name.strip_suffix("LayerNorm.weight") {
            Some(stem) => format!("{stem}LayerNorm.gamma"),
            None => name.replace("LayerNorm.bias", "LayerNorm.beta"),
        };
        let prefix = self.architecture.name();
        let names = [name.to_string(), format!("{prefix}.{name}"), older.clone(), format!("{prefix}.{older}")];
        names.into_iter().find(|name| self.tensors.shape(name).is_some()).unwrap_or(name.to_string())
    }
}

impl FolderWeights {
    /// Holds the tensors of the files against those that an encoder of `shape` needs; sizes are checked on loading.
    fn check(&self, shape: &ModelShape) -> std::result::Result<(), ModelError> {
        let needed: Vec<Needed> = needed(shape).iter().map(|name| (self.name(name), None)).collect();
        self.tensors.check(&needed, inventory::BESIDE_ENCODERS, &mut |_| false)
    }
}

/// The names of all tensors of an encoder.
fn needed(shape: &ModelShape) -> Vec<String> {
    let both = |name: &str| [format!("{name}.weight"), format!("{name}.bias")];
    let mut all: Vec<String> = match shape.image {
        None => [names::WORDS, names::POSITIONS, names::TYPES].map(String::from).to_vec(),
        Some(_) => [names::CLASS_TOKEN, names::PATCH_POSITIONS].map(String::from).to_vec(),
    };
    all.extend(match shape.image {
        None => both(names::EMBEDDING_NORM).to_vec(),
        Some(_) => [names::PATCHES, names::FINAL_NORM, names::CLASSIFIER].iter().flat_map(|name| both(name)).collect(),
    });
    let inputs = [LayerPart::Query, LayerPart::Key, LayerPart::Value];
    let others = [
        LayerPart::AttentionOutput,
        LayerPart::AttentionNorm,
        LayerPart::Up,
        LayerPart::Down,
        LayerPart::FeedForwardNorm,
    ];
    for layer in 0..shape.layers {
        let name = |part: &LayerPart| part.name(shape.architecture, layer);
        match shape.qkv_bias {
            true => all.extend(inputs.iter().flat_map(|part| both(&name(part)))),
            false => all.extend(inputs.iter().map(|part| format!("{}.weight", name(part)))),
        }
        all.extend(others.iter().flat_map(|part| both(&name(part))));
    }
    all
}

impl EncoderWeights for FolderWeights {
    fn tensor(&mut self, name: &str, dims: &[usize]) -> std::result::Result<Tensor, ModelError> {
        self.tensors.floats(&self.name(name), dims)
    }

    fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> std::result::Result<(Linear, Encoding), ModelError> {
        let name = self.name(name);
        let fits = |dims: &&[usize]| dims.len() > 2 && dims[0] == rows && dims[1..].iter().product::<usize>() == cols;
        match self.tensors.shape(&name).filter(fits).map(<[usize]>::to_vec) {
            Some(dims) => self.tensors.matrix(&name, &dims, quant),
            None => self.tensors.matrix(&name, &[rows, cols], quant),
        }
    }

    fn check_quant(&self, _: Quant) -> std::result::Result<(), String> {
        Ok(())
    }
}

/// Random weights: matrices with a standard deviation of `1 / sqrt(inputs)`, so that activations stay finite whatever
/// the depth; norms are ones and biases zeros, as an initialiser leaves them, and tables of positions small.
struct Synthetic {
    name: String,
    seed: u64,
}

impl Synthetic {
    /// Positions and types are rows of `hidden` small numbers.
    fn small(&self, name: &str, dims: &[usize]) -> Result<Tensor> {
        let width = *dims.last().unwrap_or(&1);
        let rows = dims.iter().product::<usize>() / width.max(1);
        let (matrix, _) = random_matrix(self.seed, name, (rows, width), (Quant::F32, Layout::Rows))?;
        matrix.to_f32()?.reshape(dims)
    }
}

impl EncoderWeights for Synthetic {
    fn tensor(&mut self, name: &str, dims: &[usize]) -> std::result::Result<Tensor, ModelError> {
        let is_norm = name.to_lowercase().contains("layernorm");
        let made = match name.ends_with(".bias") {
            true => Tensor::zeros(dims, DType::F32, &Device::Cpu),
            false if is_norm => Tensor::ones(dims, DType::F32, &Device::Cpu),
            false => self.small(name, dims),
        };
        made.map_err(|e| ModelError::new(&self.name, e))
    }

    fn matrix(
        &mut self,
        name: &str,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> std::result::Result<(Linear, Encoding), ModelError> {
        random_matrix(self.seed, name, (rows, cols), quant).map_err(|e| ModelError::new(&self.name, e))
    }

    fn check_quant(&self, _: Quant) -> std::result::Result<(), String> {
        Ok(())
    }
}
