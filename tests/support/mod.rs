//! Small random models on disk, in the formats that the engine reads.
#![allow(dead_code)]

pub mod fake_cuda;
pub mod fake_nvml;
pub mod http;
pub mod record;
pub mod recorded;
pub mod simulated;
pub mod spreadsheet;
pub mod tiny;

use candle_core::quantized::gguf_file::Value;
use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use sizewell::workload::model::kinds::LayerKinds;
use sizewell::workload::model::tensors::{BlockTensor, TensorKind, TensorName};
use sizewell::workload::{Architecture, ImageShape, ModelShape, Preset, RopeScaling};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A shape with nothing round about it: grouped heads, a feed-forward width that no block divides.
pub fn shape(architecture: Architecture) -> ModelShape {
    let is_gemma_3 = architecture == Architecture::Gemma3;
    ModelShape {
        sliding_window: is_gemma_3.then_some(9),
        layer_kinds: is_gemma_3.then(|| "wf".parse().unwrap()),
        local_rope_theta: is_gemma_3.then_some(500.0),
        hidden_size: 96,
        intermediate_size: 172,
        layers: 3,
        heads: 6,
        kv_heads: if is_gemma_3 { 1 } else { 2 },
        head_dim: if architecture == Architecture::Qwen3 { 32 } else { 16 },
        vocab_size: 131,
        max_context: 256,
        norm_eps: 1e-5,
        rope_theta: 10000.0,
        tied_embeddings: is_gemma_3 || architecture == Architecture::Qwen3,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: is_gemma_3 || architecture == Architecture::Qwen3,
        ..ModelShape::of(architecture)
    }
}

/// A small shape of an encoder of texts or images, whose rows have an even number of blocks.
pub fn encoder_shape(architecture: Architecture) -> ModelShape {
    let is_image = architecture == Architecture::Vit;
    ModelShape {
        hidden_size: 128,
        intermediate_size: 192,
        layers: 3,
        heads: 8,
        kv_heads: 8,
        head_dim: 16,
        vocab_size: if is_image { 11 } else { 131 },
        max_context: if is_image { 17 } else { 64 },
        norm_eps: 1e-12,
        tied_embeddings: true,
        qkv_bias: true,
        token_types: if is_image { 0 } else { 2 },
        image: is_image.then_some(ImageShape { patch: 8, size: 32, channels: 3, class_token: true }),
        ..ModelShape::of(architecture)
    }
}

/// A preset of a shape, for random weights.
pub fn preset(shape: ModelShape) -> Preset {
    Preset { name: "test".into(), about: "Test".into(), source: "https://example.org".into(), parameters: None, shape }
}

/// Every tensor of a model, with random values (norms around one, biases that matter).
pub fn tensors(shape: &ModelShape) -> HashMap<TensorName, Tensor> {
    use BlockTensor::*;
    let rng = std::cell::RefCell::new(Xoshiro256PlusPlus::seed_from_u64(42));
    let normal = |count: usize, scale: f32| -> Vec<f32> {
        let mut rng = rng.borrow_mut();
        (0..count).map(|_| scale * Distribution::<f32>::sample(&StandardNormal, &mut *rng)).collect()
    };
    let tensor = |values: Vec<f32>, shape: &[usize]| Tensor::from_vec(values, shape, &Device::Cpu).unwrap();
    let matrix = |rows, cols| tensor(normal(rows * cols, 1.0 / (cols as f32).sqrt()), &[rows, cols]);
    let norm = |len: usize| tensor(normal(len, 0.2).iter().map(|v| 1.0 + v).collect(), &[len]);
    let bias = |len: usize| tensor(normal(len, 0.5), &[len]);
    let (hidden, q, kv, ff) = (shape.hidden_size, shape.q_width(), shape.kv_width(), shape.intermediate_size);
    let mut all = HashMap::from([
        (TensorName::TokenEmbedding, matrix(shape.vocab_size, hidden)),
        (TensorName::OutputNorm, norm(hidden)),
    ]);
    if !shape.tied_embeddings {
        all.insert(TensorName::Output, matrix(shape.vocab_size, hidden));
    }
    for index in 0..shape.layers {
        let mut put = |name, tensor| all.insert(TensorName::Block(index, name), tensor);
        put(AttentionNorm, norm(hidden));
        put(FeedForwardNorm, norm(hidden));
        put(Query, matrix(q, hidden));
        put(Key, matrix(kv, hidden));
        put(Value, matrix(kv, hidden));
        put(AttentionOutput, matrix(hidden, q));
        put(Gate, matrix(ff, hidden));
        put(Up, matrix(ff, hidden));
        put(Down, matrix(hidden, ff));
        if shape.qkv_bias {
            put(QueryBias, bias(q));
            put(KeyBias, bias(kv));
            put(ValueBias, bias(kv));
        }
        if shape.qk_norm {
            put(QueryNorm, norm(shape.head_dim));
            put(KeyNorm, norm(shape.head_dim));
        }
    }
    // What a family has besides.
    for spec in shape.tensors() {
        all.entry(spec.name).or_insert_with(|| match spec.kind {
            TensorKind::Norm => norm(spec.dims[0]),
            _ => bias(spec.dims[0]),
        });
    }
    all
}

/// The config.json of a shape.
pub fn config_json(shape: &ModelShape) -> serde_json::Value {
    let mut config = serde_json::json!({
        "model_type": shape.architecture.name(),
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_context,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_theta,
        "tie_word_embeddings": shape.tied_embeddings,
        "sliding_window": shape.sliding_window,
    });
    if let Some(every) = shape.layer_kinds.as_ref().and_then(LayerKinds::last_differs) {
        config["sliding_window_pattern"] = every.into();
        config["rope_local_base_freq"] = shape.local_rope_theta.into();
        let scale = shape.attention_scale.unwrap_or(1.0 / (shape.head_dim as f64).sqrt());
        config["query_pre_attn_scalar"] = (scale.powi(-2).round() as u64).into();
    }
    if let Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) =
        shape.rope_scaling
    {
        config["rope_scaling"] = serde_json::json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original_context,
        });
    }
    config
}

/// Writes a Hugging Face folder, its tensors spread over `shards` files.
pub fn write_folder(
    folder: &Path,
    shape: &ModelShape,
    tensors: &HashMap<TensorName, Tensor>,
    dtype: DType,
    shards: usize,
) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config_json(shape).to_string()).unwrap();
    let mut parts: Vec<HashMap<String, Tensor>> = vec![HashMap::new(); shards];
    let mut names: Vec<_> = tensors.keys().copied().collect();
    let hugging_face = |name: TensorName| (shape.architecture.family().hugging_face)(name).unwrap();
    names.sort_by_key(|name| hugging_face(*name));
    let mut map = serde_json::Map::new();
    for (index, name) in names.into_iter().enumerate() {
        let tensor = tensors[&name].to_dtype(dtype).unwrap();
        map.insert(hugging_face(name), shard_name(index % shards, shards).into());
        parts[index % shards].insert(hugging_face(name), tensor);
    }
    for (index, part) in parts.iter().enumerate() {
        candle_core::safetensors::save(part, folder.join(shard_name(index, shards))).unwrap();
    }
    if shards > 1 {
        let index = serde_json::json!({ "metadata": {}, "weight_map": map });
        std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }
}

pub fn shard_name(index: usize, shards: usize) -> String {
    match shards {
        1 => "model.safetensors".to_string(),
        _ => format!("model-{:05}-of-{shards:05}.safetensors", index + 1),
    }
}

/// The metadata of a GGUF file of this shape.
pub fn gguf_metadata(shape: &ModelShape) -> Vec<(String, Value)> {
    let arch = shape.architecture.name();
    let number = |name: &str, value: usize| (format!("{arch}.{name}"), Value::U32(value as u32));
    let real = |name: &str, value: f64| (format!("{arch}.{name}"), Value::F32(value as f32));
    let mut all = vec![
        ("general.architecture".to_string(), Value::String(arch.to_string())),
        number("embedding_length", shape.hidden_size),
        number("feed_forward_length", shape.intermediate_size),
        number("block_count", shape.layers),
        number("context_length", shape.max_context),
        number("attention.head_count", shape.heads),
        number("attention.head_count_kv", shape.kv_heads),
        number("attention.key_length", shape.head_dim),
        number("rope.dimension_count", shape.head_dim),
        (format!("{arch}.attention.layer_norm_rms_epsilon"), Value::F32(shape.norm_eps as f32)),
        (format!("{arch}.rope.freq_base"), Value::F32(shape.rope_theta as f32)),
    ];
    if let Some(every) = shape.layer_kinds.as_ref().and_then(LayerKinds::last_differs) {
        all.extend(shape.sliding_window.map(|window| number("attention.sliding_window", window)));
        all.push(number("attention.sliding_window_pattern", every));
        all.extend(shape.local_rope_theta.map(|theta| real("rope.freq_base_swa", theta)));
    }
    all
}

/// The row order that llama.cpp's converter gives query and key matrices of the Llama family, and their biases: the two
/// halves of a rotary pair next to each other.
fn paired_rows(tensor: &Tensor, head_dim: usize) -> Tensor {
    let rows = tensor.dim(0).unwrap();
    let cols = tensor.elem_count() / rows;
    let heads = rows / head_dim;
    let halves = tensor.reshape((heads, 2, head_dim / 2, cols)).unwrap();
    halves.transpose(1, 2).unwrap().contiguous().unwrap().reshape(tensor.shape()).unwrap()
}

/// Tensors as a GGUF file has them, matrices in `dtype` where their rows allow it and in F16 otherwise.
pub fn gguf_tensors(
    shape: &ModelShape,
    tensors: &HashMap<TensorName, Tensor>,
    dtype: GgmlDType,
) -> Vec<(String, QTensor)> {
    use BlockTensor::{Key, KeyBias, Query, QueryBias};
    let family = shape.architecture.family();
    let rules = family.gguf.as_ref().unwrap();
    let mut entries: Vec<(String, QTensor)> = Vec::new();
    for (name, tensor) in tensors {
        let is_matrix = tensor.rank() == 2;
        let ordered = match name {
            TensorName::Block(_, Query | Key | QueryBias | KeyBias) if rules.paired_rows => {
                paired_rows(tensor, shape.head_dim)
            }
            // Converters add what the checkpoints of a family leave out.
            name if name.is_norm() => (tensor + family.norm_offset as f64).unwrap(),
            _ => tensor.clone(),
        };
        let fits = ordered.dims().last().unwrap().is_multiple_of(dtype.block_size());
        let dtype = match (is_matrix, fits) {
            (false, _) => GgmlDType::F32,
            (true, true) => dtype,
            (true, false) => GgmlDType::F16,
        };
        entries.push(((rules.name)(*name).unwrap(), QTensor::quantize(&ordered, dtype).unwrap()));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// Writes a GGUF file of exactly this.
pub fn save_gguf(path: &Path, metadata: &[(String, Value)], tensors: &[(String, QTensor)]) {
    let tensors: Vec<(&str, &QTensor)> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let mut file = std::fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}

/// Writes a GGUF file, matrices in `dtype` where their rows allow it and in F16 otherwise.
pub fn write_gguf(path: &Path, shape: &ModelShape, tensors: &HashMap<TensorName, Tensor>, dtype: GgmlDType) {
    save_gguf(path, &gguf_metadata(shape), &gguf_tensors(shape, tensors, dtype));
}

/// Writes a random model as two parts of a split GGUF file, `NAME-00001-of-00002.gguf` and the other; the first.
pub fn write_split_gguf(folder: &Path, name: &str, shape: &ModelShape) -> PathBuf {
    let all = gguf_tensors(shape, &tensors(shape), GgmlDType::Q8_0);
    let count = all.len();
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| !name.starts_with("blk.1."));
    for (index, tensors) in [first, second].iter().enumerate() {
        let mut metadata = if index == 0 { gguf_metadata(shape) } else { Vec::new() };
        metadata.push(("split.no".to_string(), Value::U16(index as u16)));
        metadata.push(("split.count".to_string(), Value::U16(2)));
        metadata.push(("split.tensors.count".to_string(), Value::I32(count as i32)));
        save_gguf(&folder.join(format!("{name}-{:05}-of-00002.gguf", index + 1)), &metadata, tensors);
    }
    folder.join(format!("{name}-00001-of-00002.gguf"))
}

/// The folder beside the project that holds evidence, where there is one.
pub fn shared() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    folder.is_dir().then_some(folder)
}

/// The largest difference between two tensors, relative to the largest value of the second.
pub fn relative_error(a: &Tensor, b: &Tensor) -> f32 {
    let most = |t: &Tensor| t.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    most(&(a - b).unwrap()) / most(b)
}
