//! Models in a folder of config.json and safetensors files, or carried by the program: decoders, and encoders with what
//! sentence-transformers writes beside them.

use super::inventory::{self, RequiredTensor};
use super::safetensors::Tensors;
use super::{ModelError, OpenedModel, Origin, WeightSource, location, read_tokenizer, tokenizer};
use crate::engine::backend::linear::{Layout, Linear};
use crate::workload::model::config::{self, encoder};
use crate::workload::model::tensors::TensorName;
use crate::workload::{Architecture, Encoding, ModelShape, Quant};
use candle_core::Tensor;
use encoder::Pooling;
use include_dir::Dir;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// Opens and checks a folder. `kind` is what the record calls the source.
pub fn open(folder: &Path, kind: &'static str) -> Result<OpenedModel, ModelError> {
    let file = folder.join("config.json");
    let text = std::fs::read_to_string(&file)
        .map_err(|e| ModelError::new(&file, format!("{e}; a model folder holds config.json and *.safetensors")))?;
    let name = folder.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    let files = ModelFolder { folder, config: file, text };
    let opened = match encoder::encoder(&files.text) {
        Some(_) => files.encoder()?,
        None => files.decoder()?,
    };
    Ok(OpenedModel {
        name: name.unwrap_or("model".to_string()),
        kind,
        location: Some(location(folder)),
        synthetic: false,
        shape: opened.shape,
        origin: Origin::Files(opened.hashed),
        tokenizer: opened.tokenizer,
        pooling: opened.pooling,
        weights: Box::new(opened.weights),
    })
}

/// A folder and its config.json.
struct ModelFolder<'a> {
    folder: &'a Path,
    config: PathBuf,
    text: String,
}

/// What a model folder holds.
struct FolderContents {
    shape: ModelShape,
    /// The files that the model follows from, in the order that they are hashed in.
    hashed: Vec<PathBuf>,
    tokenizer: Option<Tokenizer>,
    pooling: Pooling,
    weights: FolderWeights,
}

impl ModelFolder<'_> {
    fn decoder(self) -> Result<FolderContents, ModelError> {
        let fail = |message: String| ModelError::new(&self.config, message);
        let config = config::read(&self.text).map_err(fail)?;
        let (tensors, files) = Tensors::open(self.folder)?;
        let native = tensors.precision(&hugging_face(config.shape.architecture, TensorName::TokenEmbedding))?;
        let shape = tensors.shape_of_decoder(config).map_err(fail)?;
        tensors.check_decoder(&shape)?;
        let mut hashed = vec![self.config.clone()];
        hashed.extend(files);
        Ok(FolderContents {
            weights: FolderWeights { architecture: shape.architecture, tensors, native: Some(native) },
            tokenizer: self.tokenizer()?,
            pooling: Pooling::default(),
            shape,
            hashed,
        })
    }

    fn encoder(self) -> Result<FolderContents, ModelError> {
        let shape = encoder::parse(&self.text).map_err(|message| ModelError::new(&self.config, message))?;
        let mut hashed = vec![self.config.clone()];
        read_optional(&self.folder.join("modules.json"), encoder::check_modules, &mut hashed)?;
        let pooling = self.folder.join("1_Pooling").join("config.json");
        let pooling = read_optional(&pooling, encoder::pooling, &mut hashed)?.unwrap_or_default();
        let (tensors, files) = Tensors::open(self.folder)?;
        hashed.extend(files);
        let weights = FolderWeights { architecture: shape.architecture, tensors, native: None };
        weights.check_encoder(&shape)?;
        let unpadded = |tokenizer| unpadded(tokenizer).map_err(|e| ModelError::new(self.tokenizer_file(), e));
        let tokenizer = self.tokenizer()?.map(unpadded).transpose()?;
        Ok(FolderContents { shape, hashed, tokenizer, pooling, weights })
    }

    fn tokenizer_file(&self) -> PathBuf {
        self.folder.join("tokenizer.json")
    }

    fn tokenizer(&self) -> Result<Option<Tokenizer>, ModelError> {
        let file = self.tokenizer_file();
        if file.is_file() { read_tokenizer(&file).map(Some) } else { Ok(None) }
    }
}

/// What `read` makes of a file that need not be there; a file that is there is one that the model follows from.
fn read_optional<T>(
    path: &Path,
    read: impl Fn(&str) -> Result<T, String>,
    files: &mut Vec<PathBuf>,
) -> Result<Option<T>, ModelError> {
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

/// Opens a model that the program carries: config.json, tokenizer.json and one file of weights.
pub fn open_embedded(name: &str, files: &'static Dir<'static>) -> Result<OpenedModel, ModelError> {
    let bytes = |file: &str| {
        let path = files.path().join(file);
        files.get_file(&path).map(|file| file.contents()).ok_or_else(|| ModelError::new(&path, "is not in the program"))
    };
    let fail = |message: String| ModelError::new(name, message);
    let (config, vocabulary, weights) = (bytes("config.json")?, bytes("tokenizer.json")?, bytes("model.safetensors")?);
    let shape = config::parse(&String::from_utf8_lossy(config)).map_err(fail)?;
    let tensors = Tensors::embedded(Path::new(name), weights)?;
    tensors.check_decoder(&shape)?;
    let native = tensors.precision(&hugging_face(shape.architecture, TensorName::TokenEmbedding))?;
    Ok(OpenedModel {
        name: name.to_string(),
        kind: "embedded",
        location: None,
        synthetic: false,
        origin: Origin::Embedded(vec![config, weights]),
        tokenizer: Some(tokenizer::from_bytes(vocabulary).map_err(fail)?),
        pooling: Pooling::default(),
        weights: Box::new(FolderWeights { architecture: shape.architecture, tensors, native: Some(native) }),
        shape,
    })
}

/// The name of a tensor in checkpoints of a family.
pub(in crate::engine) fn hugging_face(architecture: Architecture, tensor: TensorName) -> String {
    (architecture.family().hugging_face)(tensor).unwrap_or_else(|| format!("{tensor:?}"))
}

/// The tensors of the files of a model.
struct FolderWeights {
    architecture: Architecture,
    tensors: Tensors,
    /// The precision of the checkpoint, where it stands for a level.
    native: Option<Quant>,
}

impl FolderWeights {
    /// The name that the file has for a tensor. Those of encoders stand behind `bert.` or `vit.` where a task's head is beside
    /// the encoder, and weights of their norms may have older names. Without any of them, its own name, for the error.
    fn name(&self, tensor: TensorName) -> String {
        let name = hugging_face(self.architecture, tensor);
        if !self.architecture.is_encoder() {
            return name;
        }
        let older = match name.strip_suffix("LayerNorm.weight") {
            Some(stem) => format!("{stem}LayerNorm.gamma"),
            None => name.replace("LayerNorm.bias", "LayerNorm.beta"),
        };
        let prefix = self.architecture.name();
        let names = [name.clone(), format!("{prefix}.{name}"), older.clone(), format!("{prefix}.{older}")];
        names.into_iter().find(|name| self.tensors.shape(name).is_some()).unwrap_or(name)
    }

    /// Holds the tensors of the files against those that an encoder of `shape` needs; sizes are checked on loading.
    fn check_encoder(&self, shape: &ModelShape) -> Result<(), ModelError> {
        let specs = shape.tensors();
        let needed: Vec<RequiredTensor> = specs.iter().map(|spec| (self.name(spec.name), None)).collect();
        self.tensors.check(&needed, inventory::BESIDE_ENCODERS, &mut |_| false)
    }
}

impl WeightSource for FolderWeights {
    fn tensor(&mut self, name: TensorName, dims: &[usize]) -> Result<Tensor, ModelError> {
        let file_name = self.name(name);
        let tensor = self.tensors.floats(&file_name, dims)?;
        match (name.is_norm(), self.architecture.family().norm_offset) {
            (true, offset) if offset != 0.0 => (tensor + offset as f64).map_err(|e| ModelError::new(file_name, e)),
            _ => Ok(tensor),
        }
    }

    fn matrix(
        &mut self,
        name: TensorName,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> Result<(Linear, Encoding), ModelError> {
        let name = self.name(name);
        // A file may have the columns in several dimensions, as it has those of patches.
        let fits = |dims: &&[usize]| dims.len() > 2 && dims[0] == rows && dims[1..].iter().product::<usize>() == cols;
        match self.tensors.shape(&name).filter(fits).map(<[usize]>::to_vec) {
            Some(dims) => self.tensors.matrix(&name, &dims, quant),
            None => self.tensors.matrix(&name, &[rows, cols], quant),
        }
    }

    fn check_quant(&self, _: Quant) -> Result<(), String> {
        Ok(())
    }

    fn native_quant(&self) -> Option<Quant> {
        self.native
    }
}
