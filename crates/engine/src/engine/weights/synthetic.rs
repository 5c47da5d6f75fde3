//! Seeded random weights for a preset: normal, scaled like an initialiser (standard deviation `1 / sqrt(inputs)`),
//! so that activations and logits stay finite whatever the depth.

use super::build::{self, Target};
use super::folder::hugging_face;
use super::gguf::gguf_name;
use super::{ModelError, OpenedModel, WeightSource};
use crate::engine::backend::linear::{Layout, Linear};
use crate::workload::model::config::encoder::Pooling;
use crate::workload::model::tensors::{TensorKind, TensorName};
use crate::workload::{Architecture, Encoding, ModelShape, Preset, Quant};
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::convert::Infallible;

/// Random weights of a model.
struct Synthetic {
    architecture: Architecture,
    name: String,
    seed: u64,
}

/// The preset as a model whose weights are drawn from `seed`: the same seed gives the same weights on any
/// machine and any number of threads.
pub fn open(preset: &Preset, seed: u64) -> OpenedModel {
    // The part that generates text is what runs.
    let shape = ModelShape { vision: None, ..preset.shape.clone() };
    // As a file of the shape has it: what a later version knows of others does not change it.
    let written = serde_json::to_string(&shape).unwrap_or_default();
    let identity = format!("synthetic {} {written} seed {seed}", preset.name);
    OpenedModel {
        name: preset.name.clone(),
        kind: "preset",
        location: None,
        shape,
        synthetic: true,
        origin: super::Origin::Seed(identity),
        tokenizer: None,
        pooling: Pooling::default(),
        weights: Box::new(Synthetic { architecture: preset.shape.architecture, name: preset.name.clone(), seed }),
    }
}

impl Synthetic {
    /// What the draw of a tensor follows from, beside the seed: its name in GGUF files, or else in checkpoints.
    fn key(&self, tensor: TensorName) -> String {
        match self.architecture.family().gguf {
            Some(_) => gguf_name(self.architecture, tensor),
            None => hugging_face(self.architecture, tensor),
        }
    }

    fn error(&self, error: candle_core::Error) -> ModelError {
        ModelError::new(&self.name, error)
    }
}

/// A `(rows, cols)` matrix at `quant` that follows from `seed` and the name of the tensor, and its encoding: normal, with
/// a standard deviation of `1 / sqrt(cols)`.
pub(in crate::engine) fn random_matrix(
    seed: u64,
    name: &str,
    (rows, cols): (usize, usize),
    (quant, layout): (Quant, Layout),
) -> candle_core::Result<(Linear, Encoding)> {
    let encoding = quant.encoding(cols);
    let key = blake3::hash(format!("{seed} {name}").as_bytes());
    let tensor_seed = u64::from_le_bytes(key.as_bytes()[..8].try_into().unwrap_or_default());
    let scale = 1.0 / (cols as f32).sqrt();
    let built = build::matrix::<Infallible>(Target { rows, cols, encoding, layout }, |range, values| {
        for (row, values) in range.zip(values.chunks_exact_mut(cols)) {
            // Each row has its own generator, so that threads cannot change the draw.
            let mut rng =
                Xoshiro256PlusPlus::seed_from_u64(tensor_seed ^ (row as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            for value in values {
                let normal: f32 = StandardNormal.sample(&mut rng);
                *value = normal * scale;
            }
        }
        Ok(())
    });
    match built {
        Ok(linear) => Ok((linear?, encoding)),
        Err(never) => match never {},
    }
}

impl WeightSource for Synthetic {
    /// Norms are ones and biases zeros, as an initialiser leaves them, and tables of positions small.
    fn tensor(&mut self, name: TensorName, dims: &[usize]) -> Result<Tensor, ModelError> {
        let made = match name.kind() {
            TensorKind::Bias => Tensor::zeros(dims, DType::F32, &Device::Cpu),
            TensorKind::Norm => Tensor::ones(dims, DType::F32, &Device::Cpu),
            TensorKind::Matrix | TensorKind::Table => {
                let width = *dims.last().unwrap_or(&1);
                let rows = dims.iter().product::<usize>() / width.max(1);
                let drawn = random_matrix(self.seed, &self.key(name), (rows, width), (Quant::F32, Layout::Rows));
                drawn.and_then(|(matrix, _)| matrix.to_f32()?.reshape(dims))
            }
        };
        made.map_err(|e| self.error(e))
    }

    fn matrix(
        &mut self,
        name: TensorName,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> Result<(Linear, Encoding), ModelError> {
        random_matrix(self.seed, &self.key(name), (rows, cols), quant).map_err(|e| self.error(e))
    }

    fn check_quant(&self, _: Quant) -> Result<(), String> {
        Ok(())
    }

    fn native_quant(&self) -> Option<Quant> {
        None
    }
}
