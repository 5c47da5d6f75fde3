//! Models in a folder of config.json and safetensors files, one or several shards.

use super::build::Target;
use super::names::TensorName;
use super::{ModelError, OpenedModel, WeightSource, build, hf_config, read_tokenizer};
use crate::engine::candle::linear::{Layout, Linear};
use crate::workload::{Encoding, Quant};
use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use include_dir::Dir;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of JSON that a header may have; the format itself allows 100 MB.
const MAX_HEADER: u64 = 100 << 20;

/// What holds the bytes of a shard.
enum Bytes {
    File(File),
    Embedded(&'static [u8]),
}

impl Bytes {
    fn len(&self) -> std::io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Embedded(bytes) => Ok(bytes.len() as u64),
        }
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(out, offset),
            Self::Embedded(bytes) => match bytes.get(offset as usize..offset as usize + out.len()) {
                Some(found) => {
                    out.copy_from_slice(found);
                    Ok(())
                }
                None => Err(std::io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}

/// One file and where its data begins.
struct Shard {
    path: PathBuf,
    file: Bytes,
    data_start: u64,
}

/// A tensor and the shard that holds it.
struct Entry {
    shard: usize,
    info: TensorInfo,
}

/// The tensors of the files of a model, by name.
pub(in crate::engine::candle) struct Tensors {
    folder: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, Entry>,
}

struct SafetensorsWeights {
    tensors: Tensors,
    native: Quant,
}

/// The index of a sharded checkpoint.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Opens and checks a folder. `kind` is what the record calls the source.
pub fn open(folder: &Path, kind: &'static str) -> Result<OpenedModel, ModelError> {
    let config = folder.join("config.json");
    let text = std::fs::read_to_string(&config)
        .map_err(|e| ModelError::new(&config, format!("{e}; a model folder holds config.json and *.safetensors")))?;
    let mut shape = hf_config::parse(&text).map_err(|message| ModelError::new(&config, message))?;
    let (tensors, files) = Tensors::open(folder)?;
    // Some checkpoints keep a copy of a tied output matrix, and some say nothing of one that they lack.
    if tensors.shape(&TensorName::Output.hugging_face()).is_none() {
        shape.tied_embeddings = true;
    }
    let native = native_quant(&tensors)?;
    let mut hashed = vec![config];
    hashed.extend(files);
    let tokenizer_file = folder.join("tokenizer.json");
    let tokenizer = match tokenizer_file.is_file() {
        true => Some(read_tokenizer(&tokenizer_file)?),
        false => None,
    };
    let name = folder.canonicalize().ok().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
    Ok(OpenedModel {
        name: name.unwrap_or("model".to_string()),
        kind,
        location: Some(super::location(folder)),
        shape,
        synthetic: false,
        origin: super::Origin::Files(hashed),
        tokenizer,
        weights: Box::new(SafetensorsWeights { tensors, native }),
    })
}

/// Opens a model that the program carries: config.json, tokenizer.json and one file of weights.
pub fn open_embedded(name: &str, files: &'static Dir<'static>) -> Result<OpenedModel, ModelError> {
    let bytes = |file: &str| {
        let path = files.path().join(file);
        files.get_file(&path).map(|file| file.contents()).ok_or_else(|| ModelError::new(&path, "is not in the program"))
    };
    let fail = |message: String| ModelError::new(name, message);
    let (config, tokenizer, weights) = (bytes("config.json")?, bytes("tokenizer.json")?, bytes("model.safetensors")?);
    let shape = hf_config::parse(&String::from_utf8_lossy(config)).map_err(fail)?;
    let path = Path::new(name);
    let (shard, infos) = open_shard(path, Bytes::Embedded(weights))?;
    let entries = infos.into_iter().map(|(name, info)| (name, Entry { shard: 0, info })).collect();
    let tensors = Tensors { folder: path.to_path_buf(), shards: vec![shard], entries };
    let native = native_quant(&tensors)?;
    let tokenizer = tokenizers::Tokenizer::from_bytes(tokenizer).map_err(|e| fail(e.to_string()))?;
    Ok(OpenedModel {
        name: name.to_string(),
        kind: "embedded",
        location: None,
        shape,
        synthetic: false,
        origin: super::Origin::Embedded(vec![config, weights]),
        tokenizer: Some(tokenizer),
        weights: Box::new(SafetensorsWeights { tensors, native }),
    })
}

/// The files that the index names, or every safetensors file of the folder.
fn shard_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let index = folder.join("model.safetensors.index.json");
    if index.is_file() {
        let text = std::fs::read_to_string(&index).map_err(|e| ModelError::new(&index, e))?;
        let parsed: Index = serde_json::from_str(&text).map_err(|e| ModelError::new(&index, e))?;
        let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
        return names
            .into_iter()
            .map(|name| match Path::new(&name).file_name() {
                Some(file) if file.to_str() == Some(&name) => Ok(folder.join(name)),
                _ => Err(ModelError::new(&index, format!("`{name}` is not the name of a file in the folder"))),
            })
            .collect();
    }
    let entries = std::fs::read_dir(folder).map_err(|e| ModelError::new(folder, e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    match files.is_empty() {
        true => Err(ModelError::new(folder, "holds no *.safetensors file")),
        false => Ok(files),
    }
}

/// Reads the header of one file and checks each tensor against the file.
fn open_shard(path: &Path, file: Bytes) -> Result<(Shard, Vec<(String, TensorInfo)>), ModelError> {
    let fail = |message: String| ModelError::new(path, message);
    let len = file.len().map_err(|e| fail(e.to_string()))?;
    let mut prefix = [0; 8];
    file.read_exact_at(&mut prefix, 0).map_err(|_| fail("the file is truncated: it has no header".to_string()))?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER || header_len + 8 > len {
        return Err(fail(format!("not a safetensors file, or truncated: a header of {header_len} bytes in {len}")));
    }
    let mut header = vec![0; header_len as usize];
    file.read_exact_at(&mut header, 8).map_err(|e| fail(e.to_string()))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| fail(format!("the header cannot be read: {e}")))?;
    let data_start = 8 + header_len;
    let mut infos = Vec::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, dim| bits.checked_mul(*dim));
        if end.checked_sub(start).is_none() || bits.map(|bits| bits / 8) != Some(end - start) {
            return Err(fail(format!("tensor `{name}`: {start}..{end} is not the size of {:?}", info.shape)));
        }
        if end as u64 > len - data_start {
            return Err(fail(format!("the file is truncated: tensor `{name}` ends beyond it")));
        }
        infos.push((name, info.clone()));
    }
    Ok((Shard { path: path.to_path_buf(), file, data_start }, infos))
}

/// The precision of the token embedding stands for the checkpoint.
fn native_quant(tensors: &Tensors) -> Result<Quant, ModelError> {
    let name = TensorName::TokenEmbedding.hugging_face();
    match tensors.entry(&name)?.info.dtype {
        Dtype::F32 => Ok(Quant::F32),
        Dtype::F16 => Ok(Quant::F16),
        Dtype::BF16 => Ok(Quant::Bf16),
        other => Err(ModelError::new(&tensors.folder, unreadable(&name, other))),
    }
}

fn unreadable(name: &str, dtype: Dtype) -> String {
    format!("tensor `{name}` is {dtype:?}; F32, F16 and BF16 can be read")
}

/// Widens little-endian numbers to `f32`.
fn widen(dtype: Dtype, bytes: &[u8], values: &mut [f32]) {
    match dtype {
        Dtype::F32 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Dtype::F16 => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
        _ => {
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks().0) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
    }
}

impl Tensors {
    /// Opens the safetensors files of `folder` and checks each tensor against its file; the paths of the files too.
    pub fn open(folder: &Path) -> Result<(Self, Vec<PathBuf>), ModelError> {
        let files = shard_files(folder)?;
        let mut shards = Vec::new();
        let mut entries = HashMap::new();
        for path in &files {
            let file = File::open(path).map_err(|e| ModelError::new(path, e))?;
            let (shard, infos) = open_shard(path, Bytes::File(file))?;
            entries.extend(infos.into_iter().map(|(name, info)| (name, Entry { shard: shards.len(), info })));
            shards.push(shard);
        }
        Ok((Self { folder: folder.to_path_buf(), shards, entries }, files))
    }

    /// The shape of a tensor, where it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|entry| entry.info.shape.as_slice())
    }

    fn entry(&self, name: &str) -> Result<&Entry, ModelError> {
        let missing = || ModelError::new(&self.folder, format!("tensor `{name}` is missing"));
        self.entries.get(name).ok_or_else(missing)
    }

    /// A tensor that must have this shape.
    fn checked(&self, name: &str, dims: &[usize]) -> Result<&Entry, ModelError> {
        let entry = self.entry(name)?;
        let fail = |message: String| ModelError::new(&self.shards[entry.shard].path, message);
        if entry.info.shape != dims {
            return Err(fail(format!(
                "tensor `{name}` has the shape {:?}, but the model needs {dims:?}",
                entry.info.shape
            )));
        }
        match entry.info.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(entry),
            other => Err(fail(unreadable(name, other))),
        }
    }

    /// Bytes of a tensor from `offset` on.
    fn read(&self, name: &str, entry: &Entry, offset: usize, bytes: &mut [u8]) -> Result<(), ModelError> {
        let shard = &self.shards[entry.shard];
        let start = shard.data_start + (entry.info.data_offsets.0 + offset) as u64;
        let read = shard.file.read_exact_at(bytes, start);
        read.map_err(|e| ModelError::new(&shard.path, format!("tensor `{name}` cannot be read: {e}")))
    }

    /// A tensor that must have this shape, as `f32`.
    pub fn floats(&self, name: &str, dims: &[usize]) -> Result<Tensor, ModelError> {
        let entry = self.checked(name, dims)?;
        let (start, end) = entry.info.data_offsets;
        let mut bytes = vec![0; end - start];
        self.read(name, entry, 0, &mut bytes)?;
        let mut values = vec![0f32; dims.iter().product()];
        widen(entry.info.dtype, &bytes, &mut values);
        Tensor::from_vec(values, dims, &Device::Cpu).map_err(|e| ModelError::new(&self.folder, e))
    }

    /// A tensor that must have this shape as a matrix at `quant`, a row for each index of its first dimension, and the
    /// encoding that it got.
    pub fn matrix(
        &self,
        name: &str,
        dims: &[usize],
        (quant, layout): (Quant, Layout),
    ) -> Result<(Linear, Encoding), ModelError> {
        let entry = self.checked(name, dims)?;
        let (rows, cols) = (dims[0], dims[1..].iter().product::<usize>());
        let dtype = entry.info.dtype;
        let row_bytes = dtype.bitsize() / 8 * cols;
        let encoding = quant.encoding(cols);
        let target = Target { rows, cols, encoding, layout };
        let stored = match dtype {
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::Bf16,
            _ => Encoding::F32,
        };
        let built = match stored == encoding {
            true => build::encoded(target, |range, bytes| self.read(name, entry, range.start * row_bytes, bytes))?,
            false => build::matrix(target, |range, values| {
                let mut bytes = vec![0; range.len() * row_bytes];
                self.read(name, entry, range.start * row_bytes, &mut bytes)?;
                widen(dtype, &bytes, values);
                Ok(())
            })?,
        };
        Ok((built.map_err(|e| ModelError::new(&self.folder, e))?, encoding))
    }
}

impl WeightSource for SafetensorsWeights {
    fn vector(&mut self, name: TensorName, len: usize) -> Result<Tensor, ModelError> {
        self.tensors.floats(&name.hugging_face(), &[len])
    }

    fn matrix(
        &mut self,
        name: TensorName,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> Result<(Linear, Encoding), ModelError> {
        self.tensors.matrix(&name.hugging_face(), &[rows, cols], quant)
    }

    fn check_quant(&self, _: Quant) -> Result<(), String> {
        Ok(())
    }

    fn native_quant(&self) -> Option<Quant> {
        Some(self.native)
    }
}
