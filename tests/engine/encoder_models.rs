//! Small random encoders, and how near two answers are.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use sizewell::engine::backend::ops::{Compute, Kernels};
use sizewell::engine::model::Decoder;
use sizewell::engine::session::encoder::EncoderEngine;
use sizewell::engine::weights::OpenedModel;
use sizewell::engine::weights::folder::open as open_folder;
use sizewell::workload::model::shape::ImageShape;
use sizewell::workload::model::tensors::{TensorKind, TensorName};
use sizewell::workload::{Architecture, ModelShape, Quant};
use std::collections::HashMap;
use std::path::Path;

/// The largest error against candle-transformers in `f32`, relative to the largest number.
#[cfg(feature = "reference")]
pub const TOLERANCE: f32 = 1e-4;

/// The least cosine between an embedding at a level and in `f32`: of random weights in three blocks of 96.
pub const LEAST_COSINE: [(Quant, f32); 4] =
    [(Quant::F16, 0.9999), (Quant::Bf16, 0.9995), (Quant::Int8, 0.999), (Quant::Int4, 0.97)];

pub fn shape(architecture: Architecture) -> ModelShape {
    let is_image = architecture == Architecture::Vit;
    ModelShape {
        hidden_size: 96,
        intermediate_size: 160,
        layers: 3,
        heads: 6,
        kv_heads: 6,
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

/// Random tensors of one model, by name.
pub struct Random {
    pub rng: Xoshiro256PlusPlus,
    pub tensors: HashMap<String, Tensor>,
}

impl Random {
    pub fn put(&mut self, name: &str, dims: &[usize], mean: f32, deviation: f32) {
        let count: usize = dims.iter().product();
        let rng = &mut self.rng;
        let normal = |_| mean + deviation * Distribution::<f32>::sample(&StandardNormal, rng);
        let values: Vec<f32> = (0..count).map(normal).collect();
        self.tensors.insert(name.to_string(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
    }
}

/// Every tensor of a model (norms around one, biases that matter), under the names of candle-transformers.
pub fn tensors(shape: &ModelShape) -> HashMap<String, Tensor> {
    let mut random = Random { rng: Xoshiro256PlusPlus::seed_from_u64(42), tensors: HashMap::new() };
    for spec in shape.tensors() {
        let is_head = matches!(spec.name, TensorName::Output | TensorName::OutputBias);
        let prefix = if shape.image.is_some() && !is_head { "vit." } else { "" };
        let name = format!("{prefix}{}", (shape.architecture.family().hugging_face)(spec.name).unwrap());
        let (_, cols) = spec.rows_and_cols();
        let (mean, deviation) = match spec.kind {
            TensorKind::Matrix if spec.name == TensorName::TokenEmbedding => (0.0, 1.0),
            TensorKind::Matrix => (0.0, 1.0 / (cols as f32).sqrt()),
            TensorKind::Norm => (1.0, 0.2),
            TensorKind::Bias | TensorKind::Table => (0.0, 0.5),
        };
        random.put(&name, &spec.dims, mean, deviation);
    }
    random.tensors
}

/// The keys of both kinds of model: each reads its own.
pub fn config_json(shape: &ModelShape) -> serde_json::Value {
    let image = shape.image.as_ref();
    serde_json::json!({
        "model_type": shape.architecture.name(),
        "hidden_act": "gelu",
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "layer_norm_eps": shape.norm_eps,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.max_context,
        "type_vocab_size": shape.token_types,
        "patch_size": image.map(|image| image.patch),
        "image_size": image.map(|image| image.size),
        "num_channels": image.map(|image| image.channels),
        "num_labels": shape.vocab_size,
    })
}

pub fn write(folder: &Path, shape: &ModelShape, tensors: &HashMap<String, Tensor>) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), config_json(shape).to_string()).unwrap();
    candle_core::safetensors::save(tensors, folder.join("model.safetensors")).unwrap();
}

pub fn open(folder: &Path) -> OpenedModel {
    open_folder(folder, "safetensors").unwrap()
}

/// A random model of `architecture` in a folder that lasts as long as the first of the pair.
pub fn written(architecture: Architecture) -> (tempfile::TempDir, HashMap<String, Tensor>) {
    let folder = tempfile::tempdir().unwrap();
    let shape = shape(architecture);
    let tensors = tensors(&shape);
    write(folder.path(), &shape, &tensors);
    (folder, tensors)
}

pub fn engine(folder: &Path, kernels: Kernels) -> EncoderEngine {
    EncoderEngine::new(open(folder), kernels)
}

pub fn load(model: &mut OpenedModel, quant: Quant) -> Decoder {
    Decoder::load(&model.shape, model.weights.as_mut(), quant, None, Compute::own(), &mut |_, _| ()).unwrap()
}

pub fn text(length: usize, vocab: usize) -> Vec<u32> {
    (0..length).map(|index| ((index * 37 + length * 5 + 11) % vocab) as u32).collect()
}

pub fn pixels(batch: usize, side: usize) -> Tensor {
    let mut random = Random { rng: Xoshiro256PlusPlus::seed_from_u64(7), tensors: HashMap::new() };
    random.put("pixels", &[batch, 3, side, side], 0.0, 1.0);
    random.tensors.remove("pixels").unwrap()
}

pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(x, y)| *x as f64 * *y as f64).sum()
}

#[cfg(feature = "reference")]
pub fn length(vector: &[f32]) -> f32 {
    dot(vector, vector).sqrt() as f32
}

pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    (dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()) as f32
}

/// Texts of 21 tokens: `(5, 21)`.
pub fn ids(vocab: usize) -> Tensor {
    let texts: Vec<u32> = (0..5).flat_map(|index| text(21 + index, vocab)[..21].to_vec()).collect();
    Tensor::from_vec(texts, (5, 21), &Device::Cpu).unwrap()
}

/// What `run` gives at each level is near what it gives in `f32`, but not the same.
pub fn stays_close(mut run: impl FnMut(Quant) -> Vec<Vec<f32>>, least: [(Quant, f32); 4]) {
    let exact = run(Quant::F32);
    for (quant, least) in least {
        for (approximate, exact) in run(quant).iter().zip(&exact) {
            let cosine = cosine(approximate, exact);
            assert!(approximate != exact && cosine >= least, "{quant}: {cosine}");
        }
    }
}

/// What `result` failed with.
pub fn message<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => panic!("it went well"),
        Err(error) => error.to_string(),
    }
}
