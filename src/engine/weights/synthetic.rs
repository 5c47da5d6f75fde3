//! Seeded random weights for a preset: normal, scaled like an initialiser (standard deviation `1 / sqrt(inputs)`),
//! so that activations and logits stay finite whatever the depth.

use super::build::{self, Target};
use super::names::TensorName;
use super::{ModelError, OpenedModel, WeightSource};
use crate::engine::backend::linear::{Layout, Linear};
use crate::workload::{Encoding, Preset, Quant};
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_distr::{Distribution, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::convert::Infallible;

/// Random weights of a model.
struct Synthetic {
    name: String,
    seed: u64,
}

/// The preset as a model whose weights are drawn from `seed`: the same seed gives the same weights on any
/// machine and any number of threads.
pub fn open(preset: &Preset, seed: u64) -> OpenedModel {
    let identity = format!("synthetic {} {:?} seed {seed}", preset.name, preset.shape);
    OpenedModel {
        name: preset.name.clone(),
        kind: "preset",
        location: None,
        shape: preset.shape.clone(),
        synthetic: true,
        origin: super::Origin::Seed(identity),
        tokenizer: None,
        weights: Box::new(Synthetic { name: preset.name.clone(), seed }),
    }
}

impl Synthetic {
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
    /// Norms are ones and biases zeros, as an initialiser leaves them.
    fn vector(&mut self, name: TensorName, len: usize) -> Result<Tensor, ModelError> {
        let value = if name.gguf().ends_with(".bias") { 0f32 } else { 1f32 };
        Tensor::full(value, len, &Device::Cpu).and_then(|t| t.to_dtype(DType::F32)).map_err(|e| self.error(e))
    }

    fn matrix(
        &mut self,
        name: TensorName,
        rows: usize,
        cols: usize,
        quant: (Quant, Layout),
    ) -> Result<(Linear, Encoding), ModelError> {
        random_matrix(self.seed, &name.gguf(), (rows, cols), quant).map_err(|e| self.error(e))
    }

    fn check_quant(&self, _: Quant) -> Result<(), String> {
        Ok(())
    }

    fn native_quant(&self) -> Option<Quant> {
        None
    }
}
