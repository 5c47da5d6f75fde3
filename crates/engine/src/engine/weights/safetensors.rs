//! The tensors of safetensors files, one or several shards.

use super::build::Target;
use super::folder::hugging_face;
use super::inventory::{self, RequiredTensor};
use super::shards::{Bytes, Shard};
use super::shards::{open_shard, shard_files};
use super::{ModelError, build};
use crate::engine::backend::linear::{Layout, Linear};
use crate::engine::model::rope;
use crate::workload::model::config;
use crate::workload::model::names::is_qkv_bias;
use crate::workload::model::parts::Rotary;
use crate::workload::model::tensors::TensorName;
use crate::workload::{Encoding, ModelShape, Quant};
use ::safetensors::tensor::{Dtype, TensorInfo};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A tensor and the shard that holds it.
struct Entry {
    shard: usize,
    info: TensorInfo,
}

/// The tensors of the files of a model, by name.
pub(in crate::engine) struct Tensors {
    folder: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, Entry>,
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
    /// Opens the safetensors files of `folder` and checks each tensor against its file, and all of them against the index
    /// where there is one; the paths of the files too. A tensor that is in two files is an error: which of them is meant?
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<PathBuf>), ModelError> {
        let found = shard_files(folder)?;
        let mut tensors = Self { folder: folder.to_path_buf(), shards: Vec::new(), entries: HashMap::new() };
        for path in &found.files {
            let file = File::open(path).map_err(|e| ModelError::new(path, e))?;
            let (shard, infos) = open_shard(path, Bytes::File(file))?;
            for (name, info) in infos {
                let entry = Entry { shard: tensors.shards.len(), info };
                if let Some(other) = tensors.entries.insert(name.clone(), entry) {
                    let other = tensors.shards[other.shard].path.display().to_string();
                    return Err(ModelError::new(
                        path,
                        format!("tensor `{name}` is in {other} too: remove one of the files"),
                    ));
                }
            }
            tensors.shards.push(shard);
        }
        let file_of = |name: &str| tensors.entries.get(name).map(|entry| tensors.shards[entry.shard].path.as_path());
        found.check_index(tensors.entries.keys().map(String::as_str), &file_of)?;
        Ok((tensors, found.files))
    }

    /// The shape of a decoder by its config and its tensors: biases and output matrix are what the files have, and where the
    /// config says otherwise, the error says so.
    pub(crate) fn shape_of_decoder(&self, config: config::Config) -> Result<ModelShape, String> {
        let mut shape = config.shape;
        let bias = self.entries.keys().find(|name| is_qkv_bias(name));
        match (config.attention_bias, bias) {
            (Some(false), Some(name)) if !shape.architecture.has_qkv_bias() => {
                return Err(format!("`attention_bias` is false, but the files hold `{name}`: one of them is wrong"));
            }
            _ => shape.qkv_bias |= bias.is_some(),
        }
        // Some checkpoints keep a copy of a tied output matrix, and some say nothing of one that they lack.
        let output = hugging_face(shape.architecture, TensorName::Output);
        match (config.tied, self.entries.contains_key(&output)) {
            // It is missed with the other tensors.
            (Some(false), false) => Ok(shape),
            (_, false) => Ok(ModelShape { tied_embeddings: true, ..shape }),
            (Some(true), true)
                if !self.are_alike(&output, &hugging_face(shape.architecture, TensorName::TokenEmbedding)) =>
            {
                Err(format!(
                    "`tie_word_embeddings` is true, but tensor `{output}` is not the token embedding: one of them is wrong"
                ))
            }
            _ => Ok(shape),
        }
    }

    /// Whether two matrices hold the same bytes: all of them, or rows throughout where they are large.
    fn are_alike(&self, one: &str, other: &str) -> bool {
        const ROWS: usize = 4096;
        let (Some(a), Some(b)) = (self.entries.get(one), self.entries.get(other)) else { return false };
        let (size, rows) = (a.info.data_offsets.1 - a.info.data_offsets.0, a.info.shape.first().copied().unwrap_or(0));
        if (&a.info.shape, a.info.dtype) != (&b.info.shape, b.info.dtype) || rows == 0 {
            return false;
        }
        let row_bytes = size / rows;
        let (mut left, mut right) = (vec![0; row_bytes], vec![0; row_bytes]);
        (0..rows).step_by(rows.div_ceil(ROWS)).chain([rows - 1]).all(|row| {
            let at = row * row_bytes;
            self.read(one, a, at, &mut left).is_ok() && self.read(other, b, at, &mut right).is_ok() && left == right
        })
    }

    /// Holds the tensors against those that a decoder of `shape` needs.
    pub(crate) fn check_decoder(&self, shape: &ModelShape) -> Result<(), ModelError> {
        let needed = inventory::needed(shape, &|name| hugging_face(shape.architecture, name));
        let output = hugging_face(shape.architecture, TensorName::Output);
        let checked = self.check(&needed, inventory::BESIDE_DECODERS, &mut |name| {
            // That it is a copy has been seen.
            (shape.tied_embeddings && name == output)
                || name.ends_with("rotary_emb.inv_freq") && self.are_frequencies(name, shape)
        });
        let lacks_output = !shape.tied_embeddings && !self.entries.contains_key(&output);
        checked.map_err(|error| {
            if lacks_output {
                ModelError {
                    message: format!(
                        "{}; if it is the token embedding, `tie_word_embeddings` in config.json must be true",
                        error.message
                    ),
                    ..error
                }
            } else {
                error
            }
        })
    }

    /// Holds the tensors against those that a model needs; `changes_nothing` is asked of one that is not used, as is whether it
    /// is a bias of zeros. The error names the tensor.
    pub(crate) fn check(
        &self,
        needed: &[RequiredTensor],
        beside: &[&str],
        changes_nothing: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), ModelError> {
        let found = self.entries.iter().map(|(name, entry)| (name.as_str(), entry.info.shape.as_slice())).collect();
        inventory::check(needed, &found, beside, &mut |name| changes_nothing(name) || self.is_zero_bias(name))
            .map_err(|message| ModelError::new(&self.folder, message))?;
        for (name, _) in needed {
            let entry = self.entry(name)?;
            if !matches!(entry.info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
                return Err(ModelError::new(&self.shards[entry.shard].path, unreadable(name, entry.info.dtype)));
            }
        }
        Ok(())
    }

    /// The numbers of a tensor that is small, where it is.
    fn small(&self, name: &str) -> Option<Vec<f32>> {
        const MOST: usize = 1 << 20;
        let dims = self.shape(name)?.to_vec();
        (dims.iter().product::<usize>() <= MOST)
            .then(|| self.floats(name, &dims).ok()?.flatten_all().ok()?.to_vec1().ok())?
    }

    /// Whether a tensor is a bias that adds nothing.
    fn is_zero_bias(&self, name: &str) -> bool {
        name.ends_with(".bias") && self.small(name).is_some_and(|values| values.iter().all(|value| *value == 0.0))
    }

    /// Whether a tensor holds the rotary frequencies that `shape` gives anyway, as checkpoints of old versions of the Python
    /// tools do.
    fn are_frequencies(&self, name: &str, shape: &ModelShape) -> bool {
        // In half precision the lowest are no more than a few steps above 0.
        let near = |(has, frequency): (&f32, f64)| (*has as f64 - frequency).abs() <= 1e-2 * frequency + 1e-6;
        let is_scaled = [false, true];
        self.small(name).is_some_and(|values| {
            let all_near = |scaled| {
                values.iter().zip(rope::frequencies(&Rotary::of(shape), shape.head_dim, None, scaled)).all(near)
            };
            values.len() == shape.head_dim / 2 && is_scaled.into_iter().any(all_near)
        })
    }

    /// The tensors of one file that the program carries, called `name` in messages.
    pub(crate) fn embedded(name: &Path, bytes: &'static [u8]) -> Result<Self, ModelError> {
        let (shard, infos) = open_shard(name, Bytes::Embedded(bytes))?;
        let entries = infos.into_iter().map(|(name, info)| (name, Entry { shard: 0, info })).collect();
        Ok(Self { folder: name.to_path_buf(), shards: vec![shard], entries })
    }

    /// The precision that a tensor is stored in, as a level: that of the token embedding stands for a checkpoint.
    pub(crate) fn precision(&self, name: &str) -> Result<Quant, ModelError> {
        match self.entry(name)?.info.dtype {
            Dtype::F32 => Ok(Quant::F32),
            Dtype::F16 => Ok(Quant::F16),
            Dtype::BF16 => Ok(Quant::Bf16),
            other => Err(ModelError::new(&self.folder, unreadable(name, other))),
        }
    }

    /// The shape of a tensor, where it is there.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
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
    pub(crate) fn floats(&self, name: &str, dims: &[usize]) -> Result<Tensor, ModelError> {
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
    pub(crate) fn matrix(
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
        let built = if stored == encoding {
            build::encoded(target, |range, bytes| self.read(name, entry, range.start * row_bytes, bytes))?
        } else {
            build::matrix(target, |range, values| {
                let mut bytes = vec![0; range.len() * row_bytes];
                self.read(name, entry, range.start * row_bytes, &mut bytes)?;
                widen(dtype, &bytes, values);
                Ok(())
            })?
        };
        Ok((built.map_err(|e| ModelError::new(&self.folder, e))?, encoding))
    }
}
