//! Small random encoders, and how near two answers are.

use candle_core::{Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use sizewell::engine::candle::encoder::EncoderEngine;
use sizewell::engine::candle::encoder::model::Encoder;
use sizewell::engine::candle::encoder::source::{LayerPart, OpenedEncoder, names, open_folder};
use sizewell::engine::candle::ops::Kernels;
use sizewell::workload::shape::ImageShape;
use sizewell::workload::{Architecture, ModelShape, Quant};
use std::collections::HashMap;
use std::path::Path;

/// The largest error against candle-transformers in `f32`, relative to the largest number.
pub const TOLERANCE: f32 = 1e-4;

/// The least cosine between an embedding at a level and in `f32`: of random weights in three blocks of 96.
pub const LEAST_COSINE: [(Quant, f32); 4] =
    [(Quant::F16, 0.9999), (Quant::Bf16, 0.9995), (Quant::Int8, 0.999), (Quant::Int4, 0.97)];

pub fn shape(architecture: Architecture) -> ModelShape {
    let is_image = architecture == Architecture::Vit;
    ModelShape {
        architecture,
        hidden_size: 96,
        intermediate_size: 160,
        layers: 3,
        heads: 6,
        kv_heads: 6,
        head_dim: 16,
        vocab_size: if is_image { 11 } else { 131 },
        max_context: if is_image { 17 } else { 64 },
        norm_eps: 1e-12,
        rope_theta: 0.0,
        rope_scaling: None,
        tied_embeddings: true,
        qkv_bias: true,
        qk_norm: false,
        sliding_window: None,
        token_types: if is_image { 0 } else { 2 },
        image: is_image.then_some(ImageShape { patch: 8, size: 32, channels: 3 }),
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

    pub fn projection(&mut self, name: &str, dims: &[usize]) {
        let inputs: usize = dims[1..].iter().product();
        self.put(&format!("{name}.weight"), dims, 0.0, 1.0 / (inputs as f32).sqrt());
        self.put(&format!("{name}.bias"), &dims[..1], 0.0, 0.5);
    }

    pub fn norm(&mut self, name: &str, width: usize) {
        self.put(&format!("{name}.weight"), &[width], 1.0, 0.2);
        self.put(&format!("{name}.bias"), &[width], 0.0, 0.5);
    }
}

/// Every tensor of a model (norms around one, biases that matter), under the names of candle-transformers.
pub fn tensors(shape: &ModelShape) -> HashMap<String, Tensor> {
    let mut random = Random { rng: Xoshiro256PlusPlus::seed_from_u64(42), tensors: HashMap::new() };
    let (hidden, ff) = (shape.hidden_size, shape.intermediate_size);
    let prefix = if shape.image.is_some() { "vit." } else { "" };
    let at = |name: &str| format!("{prefix}{name}");
    match &shape.image {
        Some(image) => {
            random.projection(&at(names::PATCHES), &[hidden, image.channels, image.patch, image.patch]);
            random.put(&at(names::CLASS_TOKEN), &[1, 1, hidden], 0.0, 1.0);
            random.put(&at(names::PATCH_POSITIONS), &[1, shape.max_context, hidden], 0.0, 0.5);
            random.norm(&at(names::FINAL_NORM), hidden);
            random.projection(names::CLASSIFIER, &[shape.vocab_size, hidden]);
        }
        None => {
            random.put(names::WORDS, &[shape.vocab_size, hidden], 0.0, 1.0);
            random.put(names::POSITIONS, &[shape.max_context, hidden], 0.0, 0.5);
            random.put(names::TYPES, &[shape.token_types, hidden], 0.0, 0.5);
            random.norm(names::EMBEDDING_NORM, hidden);
        }
    }
    for layer in 0..shape.layers {
        let name = |part: LayerPart| at(&part.name(shape.architecture, layer));
        for part in [LayerPart::Query, LayerPart::Key, LayerPart::Value, LayerPart::AttentionOutput] {
            random.projection(&name(part), &[hidden, hidden]);
        }
        random.projection(&name(LayerPart::Up), &[ff, hidden]);
        random.projection(&name(LayerPart::Down), &[hidden, ff]);
        random.norm(&name(LayerPart::AttentionNorm), hidden);
        random.norm(&name(LayerPart::FeedForwardNorm), hidden);
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

pub fn open(folder: &Path) -> OpenedEncoder {
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

pub fn load(model: &mut OpenedEncoder, quant: Quant) -> Encoder {
    Encoder::load(&model.shape, model.weights.as_mut(), quant, &mut |_, _| ()).unwrap()
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
