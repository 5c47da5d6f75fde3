//! Models in GGUF files.

use super::build::Target;
use super::gguf_header::{self, TensorEntry};
use super::names::TensorName;
use super::{ModelError, OpenedModel, WeightSource, build, spm};
use crate::engine::candle::linear::{Layout, Linear};
use crate::workload::{Architecture, Encoding, ModelShape, Quant, RopeScaling};
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use candle_core::{Device, Tensor};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// The tensors of an open file.
struct GgufWeights {
    path: PathBuf,
    file: File,
    tensors: HashMap<String, TensorEntry>,
    /// Width of a head, where query and key rows are stored in pairs (see [`GgufWeights::source_row`]).
    paired_head: Option<usize>,
    native: Quant,
}

/// Opens and checks a GGUF file.
pub fn open(path: &Path) -> Result<OpenedModel, ModelError> {
    let fail = |message: String| ModelError::new(path, message);
    let file = File::open(path).map_err(|e| fail(e.to_string()))?;
    let mut reader = BufReader::new(&file);
    let tensors = gguf_header::check(&mut reader).map_err(fail)?;
    let mut reader = BufReader::new(&file);
    std::io::Seek::rewind(&mut reader).map_err(|e| fail(e.to_string()))?;
    let native = dominant_quant(&tensors).map_err(fail)?;
    let content = Content::read(&mut reader).map_err(|e| fail(first_line(&e)))?;
    let metadata = Metadata { values: &content.metadata, tensors: &tensors };
    let shape = metadata.shape().map_err(fail)?;
    shape.validate().map_err(fail)?;
    let tokenizer = tokenizer(&content).map_err(fail)?;
    let name = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
    let paired = shape.architecture == Architecture::Llama || shape.architecture == Architecture::Mistral;
    let synthetic = matches!(content.metadata.get(SYNTHETIC_KEY), Some(Value::Bool(true)));
    Ok(OpenedModel {
        name,
        kind: "gguf",
        location: Some(super::location(path)),
        synthetic,
        origin: super::Origin::Files(vec![path.to_path_buf()]),
        tokenizer,
        weights: Box::new(GgufWeights {
            path: path.to_path_buf(),
            paired_head: paired.then_some(shape.head_dim),
            file,
            tensors,
            native,
        }),
        shape,
    })
}

/// The metadata key of files whose weights are random numbers, as `models synth` writes them.
pub const SYNTHETIC_KEY: &str = "sizewell.synthetic";

/// What an error of candle says, without the stack trace that it may carry.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_string()
}

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

/// The vocabulary of the file, where there is one of a kind that we know.
fn tokenizer(content: &Content) -> Result<Option<Tokenizer>, String> {
    match content.metadata.get("tokenizer.ggml.model").map(|kind| kind.to_string()) {
        Some(Ok(kind)) if kind == "gpt2" => {
            Tokenizer::from_gguf(content).map(Some).map_err(|e| format!("the vocabulary cannot be used: {e}"))
        }
        Some(Ok(kind)) if kind == "llama" => spm::tokenizer(&content.metadata).map(Some),
        _ => Ok(None),
    }
}

/// The metadata as a model shape.
struct Metadata<'a> {
    values: &'a HashMap<String, Value>,
    tensors: &'a HashMap<String, TensorEntry>,
}

impl Metadata<'_> {
    fn number(&self, key: &str) -> Result<Option<f64>, String> {
        use Value::*;
        Ok(Some(match self.values.get(key) {
            None => return Ok(None),
            Some(U8(v)) => *v as f64,
            Some(I8(v)) => *v as f64,
            Some(U16(v)) => *v as f64,
            Some(I16(v)) => *v as f64,
            Some(U32(v)) => *v as f64,
            Some(I32(v)) => *v as f64,
            Some(U64(v)) => *v as f64,
            Some(I64(v)) => *v as f64,
            Some(F32(v)) => *v as f64,
            Some(F64(v)) => *v,
            Some(_) => return Err(format!("metadata `{key}` is not a number")),
        }))
    }

    fn size(&self, key: &str) -> Result<Option<usize>, String> {
        match self.number(key)? {
            None => Ok(None),
            Some(v) if v >= 0.0 && v.fract() == 0.0 && v < 1e15 => Ok(Some(v as usize)),
            Some(v) => Err(format!("metadata `{key}` is {v}, which is not a size")),
        }
    }

    fn required(&self, key: &str) -> Result<usize, String> {
        self.size(key)?.ok_or_else(|| format!("metadata `{key}` is missing"))
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(|v| v.to_string().ok()).map(String::as_str)
    }

    fn has(&self, name: TensorName) -> bool {
        self.tensors.contains_key(&name.gguf())
    }

    fn shape(&self) -> Result<ModelShape, String> {
        use super::names::BlockTensor::{QueryBias, QueryNorm};
        let arch = self.text("general.architecture").ok_or("metadata `general.architecture` is missing")?;
        let architecture = Architecture::from_name(arch)?;
        let key = |name: &str| format!("{arch}.{name}");
        if self.size(&key("expert_count"))?.unwrap_or(0) > 0 {
            return Err("mixtures of experts are not supported".to_string());
        }
        let hidden_size = self.required(&key("embedding_length"))?;
        let heads = self.required(&key("attention.head_count"))?;
        let head_dim = match self.size(&key("attention.key_length"))? {
            Some(dim) => dim,
            None => hidden_size.checked_div(heads).ok_or("attention.head_count is 0")?,
        };
        let rotary = self.size(&key("rope.dimension_count"))?.unwrap_or(head_dim);
        if rotary != head_dim {
            return Err(format!(
                "{rotary} of {head_dim} dimensions of a head are rotary; only all of them are supported"
            ));
        }
        let embedding = TensorName::TokenEmbedding.gguf();
        let vocab_size = match self.tensors.get(&embedding).map(|entry| entry.dims.as_slice()) {
            Some([vocab, _]) => *vocab,
            Some(dims) => return Err(format!("tensor `{embedding}` has the shape {dims:?}, not a matrix")),
            None => return Err(format!("tensor `{embedding}` is missing")),
        };
        Ok(ModelShape {
            architecture,
            hidden_size,
            intermediate_size: self.required(&key("feed_forward_length"))?,
            layers: self.required(&key("block_count"))?,
            heads,
            kv_heads: self.size(&key("attention.head_count_kv"))?.unwrap_or(heads),
            head_dim,
            vocab_size,
            max_context: self.size(&key("context_length"))?.unwrap_or(2048),
            norm_eps: self.number(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-5),
            rope_theta: self.number(&key("rope.freq_base"))?.unwrap_or(10000.0),
            rope_scaling: self.rope_scaling(&key)?,
            tied_embeddings: !self.has(TensorName::Output),
            qkv_bias: self.has(TensorName::Block(0, QueryBias)),
            qk_norm: self.has(TensorName::Block(0, QueryNorm)),
            sliding_window: self.size(&key("attention.sliding_window"))?.filter(|w| *w > 0),
            token_types: 0,
            image: None,
        })
    }

    fn rope_scaling(&self, key: &dyn Fn(&str) -> String) -> Result<Option<RopeScaling>, String> {
        let factor = match self.number(&key("rope.scaling.factor"))? {
            Some(factor) => Some(factor),
            None => self.number(&key("rope.scale_linear"))?,
        };
        match (self.text(&key("rope.scaling.type")), factor) {
            (None | Some("none"), None) => Ok(None),
            (Some("none"), _) => Ok(None),
            (None | Some("linear"), Some(factor)) => Ok(Some(RopeScaling::Linear { factor })),
            (Some("linear"), None) => Err(format!("metadata `{}` is missing", key("rope.scaling.factor"))),
            (Some(other), _) => Err(format!("rope scaling `{other}` is not supported; `linear` and Llama 3's are")),
        }
    }
}

impl GgufWeights {
    fn entry(&self, name: TensorName, dims: &[usize]) -> Result<(String, TensorEntry, Encoding), ModelError> {
        let name = name.gguf();
        let fail = |message: String| ModelError::new(&self.path, message);
        let entry = self.tensors.get(&name).ok_or_else(|| fail(format!("tensor `{name}` is missing")))?;
        if entry.dims != dims {
            return Err(fail(format!("tensor `{name}` has the shape {:?}, but the model needs {dims:?}", entry.dims)));
        }
        let encoding = entry.encoding.map_err(|number| fail(unreadable_type(&name, number)))?;
        Ok((name, entry.clone(), encoding))
    }

    fn read(&self, name: &str, entry: &TensorEntry) -> Result<Vec<u8>, ModelError> {
        let mut bytes = vec![0; entry.bytes];
        self.file
            .read_exact_at(&mut bytes, entry.start)
            .map_err(|e| ModelError::new(&self.path, format!("tensor `{name}` cannot be read: {e}")))?;
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
            self.file
                .read_exact_at(bytes, entry.start + (row * row_bytes) as u64)
                .map_err(|e| ModelError::new(&self.path, format!("tensor `{name}` cannot be read: {e}")))
        };
        if range.clone().all(|row| self.source_row(id, row) == row) {
            return read(bytes, range.start);
        }
        range.zip(bytes.chunks_exact_mut(row_bytes)).try_for_each(|(row, bytes)| read(bytes, self.source_row(id, row)))
    }

    /// The row of the file that holds row `row` of a query or key matrix. Files of the Llama family store the
    /// two halves of a rotary pair next to each other; the decoder wants them half a head apart.
    fn source_row(&self, name: TensorName, row: usize) -> usize {
        use super::names::BlockTensor::{Key, Query};
        match (self.paired_head, name) {
            (Some(width), TensorName::Block(_, Query | Key)) => {
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
    fn vector(&mut self, name: TensorName, len: usize) -> Result<Tensor, ModelError> {
        let (name, entry, encoding) = self.entry(name, &[len])?;
        let bytes = self.read(&name, &entry)?;
        let mut values = vec![0f32; len];
        decode_row(encoding, &bytes, &mut values)
            .and_then(|()| Tensor::from_vec(values, len, &Device::Cpu))
            .map_err(|e| ModelError::new(&self.path, format!("tensor `{name}`: {e}")))
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
        let fail = |e: candle_core::Error| ModelError::new(&self.path, format!("tensor `{name}`: {e}"));
        let target = Target { rows, cols, encoding, layout };
        let linear = match encoding == stored {
            true => build::encoded(target, |range, bytes| self.read_rows(id, &name, &entry, range, bytes))?,
            false => build::matrix(target, |range, values| {
                let mut bytes = vec![0; range.len() * row_bytes];
                self.read_rows(id, &name, &entry, range, &mut bytes)?;
                for (bytes, values) in bytes.chunks_exact(row_bytes).zip(values.chunks_exact_mut(cols)) {
                    decode_row(stored, bytes, values).map_err(fail)?;
                }
                Ok(())
            })?,
        };
        Ok((linear.map_err(fail)?, encoding))
    }

    fn rope_divisors(&mut self) -> Result<Option<Vec<f32>>, ModelError> {
        const NAME: &str = "rope_freqs.weight";
        let Some(entry) = self.tensors.get(NAME).cloned() else { return Ok(None) };
        let fail = |message: String| ModelError::new(&self.path, format!("tensor `{NAME}`: {message}"));
        let encoding = entry.encoding.map_err(|number| fail(format!("GGML type {number}")))?;
        let mut values = vec![0f32; entry.dims.iter().product()];
        let bytes = self.read(NAME, &entry)?;
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
