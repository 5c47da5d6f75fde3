//! Models in GGUF files.

use super::build::Target;
use super::gguf_header::TensorEntry;
use super::gguf_metadata::Metadata;
use super::gguf_parts::{self, Parts};
use super::{ModelError, OpenedModel, WeightSource, build, inventory, tokenizer};
use crate::engine::backend::linear::{Layout, Linear};
use crate::workload::model::config::encoder::Pooling;
use crate::workload::model::tensors::{BlockTensor, TensorName};
use crate::workload::{Architecture, Encoding, ModelShape, Quant};
use candle_core::quantized::gguf_file::Value;
use candle_core::{Device, Tensor};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The tensors of an open file.
struct GgufWeights {
    architecture: Architecture,
    /// One, or the parts of a split model.
    files: Vec<(PathBuf, File)>,
    tensors: HashMap<String, TensorEntry>,
    /// Width of a head, where query and key rows are stored in pairs (see [`GgufWeights::source_row`]).
    paired_head: Option<usize>,
    native: Quant,
}

/// Opens and checks a GGUF file, or all parts of a split one.
pub fn open(path: &Path) -> Result<OpenedModel, ModelError> {
    let Parts { name, files, tensors, content } = gguf_parts::open(path)?;
    let first = files.first().map_or(path, |(path, _)| path).to_path_buf();
    let fail = |message: String| ModelError::new(&first, message);
    let native = dominant_quant(&tensors).map_err(fail)?;
    let shape = Metadata { values: &content.metadata, tensors: &tensors }.shape().map_err(fail)?;
    let synthetic = matches!(content.metadata.get(SYNTHETIC_KEY), Some(Value::Bool(true)));
    let tokenizer = tokenizer::of_gguf(content).map_err(fail)?;
    let paired = shape.architecture.family().gguf.as_ref().is_some_and(|rules| rules.paired_rows);
    let paths = files.iter().map(|(path, _)| path.clone()).collect();
    let architecture = shape.architecture;
    let weights = GgufWeights { architecture, paired_head: paired.then_some(shape.head_dim), files, tensors, native };
    weights.check(&shape).map_err(fail)?;
    Ok(OpenedModel {
        name,
        kind: "gguf",
        location: Some(super::location(path)),
        synthetic,
        origin: super::Origin::Files(paths),
        tokenizer,
        pooling: Pooling::default(),
        weights: Box::new(weights),
        shape,
    })
}

/// The shape of the model in a GGUF file, whether or not the engine runs it.
pub(super) fn shape(path: &Path) -> Result<ModelShape, ModelError> {
    let Parts { files, tensors, content, .. } = gguf_parts::open(path)?;
    let metadata = Metadata { values: &content.metadata, tensors: &tensors };
    let shape = if metadata.is_of_one_that_runs() { metadata.shape() } else { metadata.described() };
    shape.map_err(|message| ModelError::new(files.first().map_or(path, |(path, _)| path), message))
}

/// The name of a tensor in GGUF files of a family.
pub(super) fn gguf_name(architecture: Architecture, tensor: TensorName) -> String {
    let name = architecture.family().gguf.as_ref().and_then(|rules| (rules.name)(tensor));
    name.unwrap_or_else(|| format!("{tensor:?}"))
}

/// The metadata key of files whose weights are random numbers, as `models synth` writes them.
pub const SYNTHETIC_KEY: &str = "sizewell.synthetic";

/// The tensor of divisors of the rotary frequencies, by which converted models of Llama 3.1 and later stretch positions.
const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Numbers of a bias that are read to see whether all are 0.
const LONGEST_BIAS: usize = 1 << 20;

/// The level that most bytes of the matrices are in.
fn dominant_quant(tensors: &HashMap<String, TensorEntry>) -> Result<Quant, String> {
    let mut bytes: HashMap<Quant, usize> = HashMap::new();
    for (name, entry) in tensors.iter().filter(|(_, entry)| entry.dims.len() == 2) {
        match entry.encoding {
            Ok(encoding) => *bytes.entry(encoding.quant()).or_default() += entry.bytes,
            Err(number) => return Err(unreadable_type(name, number)),
        }
    }
    bytes
        .into_iter()
        .max_by_key(|(quant, bytes)| (*bytes, *quant))
        .map(|(quant, _)| quant)
        .ok_or_else(|| "the file holds no matrix".to_string())
}

fn unreadable_type(name: &str, number: u32) -> String {
    format!(
        "tensor `{name}` has GGML type {number}, which candle cannot read; convert the file to one of F32, F16, \
         BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, Q3_K, Q2_K"
    )
}

impl GgufWeights {
    /// An error about the file that holds `entry`.
    fn error(&self, entry: Option<&TensorEntry>, message: impl std::fmt::Display) -> ModelError {
        let part = self.files.get(entry.map_or(0, |entry| entry.part));
        ModelError::new(part.map_or(Path::new("model"), |(path, _)| path), message)
    }

    /// Bytes of the file that holds `entry`, from `offset` on.
    fn read_at(&self, entry: &TensorEntry, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        match self.files.get(entry.part) {
            Some((_, file)) => file.read_exact_at(bytes, offset),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    /// Holds the tensors of the files against those that a model of `shape` needs.
    fn check(&self, shape: &ModelShape) -> Result<(), String> {
        let mut needed = inventory::needed(shape, &|name| gguf_name(shape.architecture, name));
        if self.tensors.contains_key(ROPE_DIVISORS) {
            needed.push((ROPE_DIVISORS.to_string(), Some(vec![shape.head_dim / 2])));
        }
        let found = self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.dims.as_slice())).collect();
        inventory::check(&needed, &found, inventory::BESIDE_DECODERS, &mut |name| self.is_zero_bias(name))
    }

    /// Whether a tensor is a bias that adds nothing.
    fn is_zero_bias(&self, name: &str) -> bool {
        let Some(entry) = self.tensors.get(name).filter(|_| name.ends_with(".bias")) else { return false };
        let len = entry.dims.iter().product::<usize>();
        let mut values = vec![0f32; if len > LONGEST_BIAS { return false } else { len }];
        let (Ok(encoding), Ok(bytes)) = (entry.encoding, self.read(name, entry)) else { return false };
        decode_row(encoding, &bytes, &mut values).is_ok() && values.iter().all(|value| *value == 0.0)
    }

    fn entry(&self, name: TensorName, dims: &[usize]) -> Result<(String, TensorEntry, Encoding), ModelError> {
        let name = gguf_name(self.architecture, name);
        let entry = self.tensors.get(&name);
        let fail = |message: String| self.error(entry, message);
        let entry = entry.ok_or_else(|| fail(format!("tensor `{name}` is missing")))?;
        if entry.dims != dims {
            return Err(fail(format!("tensor `{name}` has the shape {:?}, but the model needs {dims:?}", entry.dims)));
        }
        let encoding = entry.encoding.map_err(|number| fail(unreadable_type(&name, number)))?;
        Ok((name, entry.clone(), encoding))
    }

    fn read(&self, name: &str, entry: &TensorEntry) -> Result<Vec<u8>, ModelError> {
        let mut bytes = vec![0; entry.bytes];
        self.read_at(entry, entry.start, &mut bytes)
            .map_err(|e| self.error(Some(entry), format!("tensor `{name}` cannot be read: {e}")))?;
        Ok(bytes)
    }

    /// The bytes of rows `range` of a matrix, straight from the file.
    fn read_rows(
        &self,
        id: TensorName,
        name: &str,
        entry: &TensorEntry,
        range: Range<usize>,
        bytes: &mut [u8],
    ) -> Result<(), ModelError> {
        let row_bytes = bytes.len() / range.len().max(1);
        let read = |bytes: &mut [u8], row: usize| {
            self.read_at(entry, entry.start + (row * row_bytes) as u64, bytes)
                .map_err(|e| self.error(Some(entry), format!("tensor `{name}` cannot be read: {e}")))
        };
        if range.clone().all(|row| self.source_row(id, row) == row) {
            return read(bytes, range.start);
        }
        range.zip(bytes.chunks_exact_mut(row_bytes)).try_for_each(|(row, bytes)| read(bytes, self.source_row(id, row)))
    }

    /// The row of the file that holds row `row` of a query or key matrix, or number `row` of its bias. Files of the Llama
    /// family store the two halves of a rotary pair next to each other; the decoder wants them half a head apart.
    fn source_row(&self, name: TensorName, row: usize) -> usize {
        use BlockTensor::{Key, KeyBias, Query, QueryBias};
        match (self.paired_head, name) {
            (Some(width), TensorName::Block(_, Query | Key | QueryBias | KeyBias)) => {
                let (head, within) = (row / width, row % width);
                head * width + 2 * (within % (width / 2)) + within / (width / 2)
            }
            _ => row,
        }
    }
}

/// The `f32` values of one row of `encoding`.
fn decode_row(encoding: Encoding, bytes: &[u8], values: &mut [f32]) -> Result<(), candle_core::Error> {
    let dtype = build::ggml_dtype(encoding);
    match dtype.from_data(Cow::Borrowed(bytes)).dequantize(values.len())? {
        candle_core::CpuStorage::F32(row) => values.copy_from_slice(&row),
        _ => candle_core::bail!("a row did not decode to f32"),
    }
    Ok(())
}

impl WeightSource for GgufWeights {
    fn tensor(&mut self, id: TensorName, dims: &[usize]) -> Result<Tensor, ModelError> {
        let len = dims.iter().product();
        let (name, entry, encoding) = self.entry(id, dims)?;
        let bytes = self.read(&name, &entry)?;
        let mut stored = vec![0f32; len];
        decode_row(encoding, &bytes, &mut stored)
            .and_then(|()| {
                let values: Vec<f32> = (0..len).map(|row| stored[self.source_row(id, row)]).collect();
                Tensor::from_vec(values, dims, &Device::Cpu)
            })
            .map_err(|e| self.error(Some(&entry), format!("tensor `{name}`: {e}")))
    }

    fn matrix(
        &mut self,
        id: TensorName,
        rows: usize,
        cols: usize,
        (quant, layout): (Quant, Layout),
    ) -> Result<(Linear, Encoding), ModelError> {
        let (name, entry, stored) = self.entry(id, &[rows, cols])?;
        let row_bytes = entry.bytes / rows;
        let target = quant.encoding(cols);
        let keep = quant == self.native || stored.bits_per_weight() <= target.bits_per_weight();
        let encoding = if keep && (quant == self.native || stored.block().0 > 1) { stored } else { target };
        let fail = |e: candle_core::Error| self.error(Some(&entry), format!("tensor `{name}`: {e}"));
        let target = Target { rows, cols, encoding, layout };
        let linear = if encoding == stored {
            build::encoded(target, |range, bytes| self.read_rows(id, &name, &entry, range, bytes))?
        } else {
            build::matrix(target, |range, values| {
                let mut bytes = vec![0; range.len() * row_bytes];
                self.read_rows(id, &name, &entry, range, &mut bytes)?;
                for (bytes, values) in bytes.chunks_exact(row_bytes).zip(values.chunks_exact_mut(cols)) {
                    decode_row(stored, bytes, values).map_err(fail)?;
                }
                Ok(())
            })?
        };
        Ok((linear.map_err(fail)?, encoding))
    }

    fn rope_divisors(&mut self) -> Result<Option<Vec<f32>>, ModelError> {
        let Some(entry) = self.tensors.get(ROPE_DIVISORS).cloned() else { return Ok(None) };
        let fail = |message: String| self.error(Some(&entry), format!("tensor `{ROPE_DIVISORS}`: {message}"));
        let encoding = entry.encoding.map_err(|number| fail(format!("GGML type {number}")))?;
        let mut values = vec![0f32; entry.dims.iter().product()];
        let bytes = self.read(ROPE_DIVISORS, &entry)?;
        decode_row(encoding, &bytes, &mut values).map_err(|e| fail(e.to_string()))?;
        if values.iter().any(|v| !(v.is_finite() && *v > 0.0)) {
            return Err(fail("a divisor is not above 0".to_string()));
        }
        Ok(Some(values))
    }

    fn check_quant(&self, quant: Quant) -> Result<(), String> {
        let (has, wants) = (self.native.nominal_encoding(), quant.nominal_encoding());
        if has.block().0 > 1 && wants.bits_per_weight() > has.bits_per_weight() {
            return Err(format!(
                "the file holds {} weights: {quant} would be made from lower precision; give a file in f16 or higher",
                self.native
            ));
        }
        Ok(())
    }

    fn native_quant(&self) -> Option<Quant> {
        Some(self.native)
    }
}
