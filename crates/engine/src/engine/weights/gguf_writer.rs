//! Writing a model as a GGUF file.

use super::gguf::{SYNTHETIC_KEY, gguf_name};
use super::{ModelError, WeightSource, build};
use crate::engine::backend::linear::Layout;
use crate::workload::model::kinds::LayerKinds;
use crate::workload::model::tensors::{TensorKind, TensorSpec};
use crate::workload::{ModelShape, Quant, RopeScaling};
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Where [`write()`] puts the file until it is whole.
pub fn temporary(path: &Path) -> PathBuf {
    path.with_extension("gguf.new")
}

/// Writes `shape` with the weights of `weights` at `quant`. The file appears whole or not at all. Rows are written as
/// the source gives them, which is right for random weights; reordering the heads of real ones is not done here.
pub fn write(
    path: &Path,
    shape: &ModelShape,
    weights: &mut dyn WeightSource,
    quant: Quant,
    name: &str,
) -> Result<(), ModelError> {
    let fail = |e: candle_core::Error| ModelError::new(path, e);
    let mut tensors: Vec<(String, QTensor)> = Vec::new();
    let (matrices, vectors): (Vec<TensorSpec>, _) =
        shape.tensors().into_iter().partition(|spec| spec.kind == TensorKind::Matrix);
    for spec in matrices {
        let (rows, cols) = spec.rows_and_cols();
        let (linear, encoding) = weights.matrix(spec.name, rows, cols, (quant, Layout::Rows))?;
        let tensor = linear.to_qtensor(build::ggml_dtype(encoding)).map_err(fail)?;
        tensors.push((gguf_name(shape.architecture, spec.name), tensor));
    }
    for spec in vectors {
        let vector = weights.tensor(spec.name, &spec.dims)?;
        let tensor = QTensor::quantize(&vector, GgmlDType::F32).map_err(fail)?;
        tensors.push((gguf_name(shape.architecture, spec.name), tensor));
    }
    let metadata = metadata(shape, name);
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let temporary = temporary(path);
    let written = File::create(&temporary).map_err(|e| ModelError::new(path, e)).and_then(|file| {
        let mut out = BufWriter::new(file);
        gguf_file::write(&mut out, &metadata, &tensors).map_err(fail)?;
        let file = out.into_inner().map_err(|e| ModelError::new(path, e.into_error()))?;
        file.sync_all().map_err(|e| ModelError::new(path, e))?;
        std::fs::rename(&temporary, path).map_err(|e| ModelError::new(path, e))
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn metadata(shape: &ModelShape, name: &str) -> Vec<(String, Value)> {
    let arch = shape.architecture.name();
    let size = |key: &str, value: usize| (format!("{arch}.{key}"), Value::U32(value as u32));
    let real = |key: &str, value: f64| (format!("{arch}.{key}"), Value::F32(value as f32));
    let mut all = vec![
        (SYNTHETIC_KEY.to_string(), Value::Bool(true)),
        ("general.architecture".to_string(), Value::String(arch.to_string())),
        ("general.name".to_string(), Value::String(format!("{name} (random weights)"))),
        size("embedding_length", shape.hidden_size),
        size("feed_forward_length", shape.intermediate_size),
        size("block_count", shape.layers),
        size("context_length", shape.max_context),
        size("attention.head_count", shape.heads),
        size("attention.head_count_kv", shape.kv_heads),
        size("attention.key_length", shape.head_dim),
        size("attention.value_length", shape.head_dim),
        size("rope.dimension_count", shape.head_dim),
        real("attention.layer_norm_rms_epsilon", shape.norm_eps),
        real("rope.freq_base", shape.rope_theta),
        // llama.cpp opens a file without a vocabulary only if it says so.
        size("vocab_size", shape.vocab_size),
        ("tokenizer.ggml.model".to_string(), Value::String("no_vocab".to_string())),
    ];
    if let Some(RopeScaling::Linear { factor }) = shape.rope_scaling {
        all.push((format!("{arch}.rope.scaling.type"), Value::String("linear".to_string())));
        all.push(real("rope.scaling.factor", factor));
    }
    if let Some(window) = shape.sliding_window {
        all.push(size("attention.sliding_window", window));
        all.extend(
            shape
                .layer_kinds
                .as_ref()
                .and_then(LayerKinds::last_differs)
                .map(|every| size("attention.sliding_window_pattern", every)),
        );
        all.extend(shape.local_rope_theta.map(|theta| real("rope.freq_base_swa", theta)));
    }
    all
}
