//! Rotary position tables.

use crate::workload::RopeScaling;
use crate::workload::model::parts::Rotary;
use candle_core::{Device, Result, Tensor};
use std::f64::consts::TAU;

/// Cosines and sines for positions `0..positions`, each `(positions, head_dim / 2)`, `f32`.
///
/// The frequency of pair `i` is `theta^(-2i / head_dim)` (RoFormer, arXiv 2104.09864), stretched as the model
/// asks; pairs are `(i, i + head_dim / 2)`, the order of Hugging Face checkpoints. `divisors`, where a GGUF file
/// brings them (`rope_freqs.weight`), divide the frequencies instead of Llama 3's scaling of the shape.
pub(crate) fn tables(
    rotary: &Rotary,
    head_dim: usize,
    divisors: Option<&[f32]>,
    positions: usize,
) -> Result<(Tensor, Tensor)> {
    let half = head_dim / 2;
    let frequencies = frequencies(rotary, head_dim, divisors, true);
    let table = |f: fn(f64) -> f64| -> Vec<f32> {
        (0..positions).flat_map(|p| frequencies.iter().map(move |w| f(p as f64 * w) as f32)).collect()
    };
    let cos = Tensor::from_vec(table(f64::cos), (positions, half), &Device::Cpu)?;
    let sin = Tensor::from_vec(table(f64::sin), (positions, half), &Device::Cpu)?;
    Ok((cos, sin))
}

/// How far a position turns each pair of a head, in radians: stretched as the model asks if `stretch`.
pub(in crate::engine) fn frequencies(
    rotary: &Rotary,
    head_dim: usize,
    divisors: Option<&[f32]>,
    stretch: bool,
) -> Vec<f64> {
    let one = |i: usize| {
        let frequency = rotary.theta.powf(-2.0 * i as f64 / head_dim as f64);
        match divisors.and_then(|d| d.get(i)) {
            // A file that brings divisors says by them what its scaling of Llama 3 is; a linear one it may have besides.
            Some(divisor) => match rotary.scaling {
                Some(RopeScaling::Linear { .. }) => stretched(frequency / *divisor as f64, rotary.scaling),
                _ => frequency / *divisor as f64,
            },
            None if stretch => stretched(frequency, rotary.scaling),
            None => frequency,
        }
    };
    (0..head_dim / 2).map(one).collect()
}

/// A frequency after scaling. `llama3` is the piecewise rule published with Llama 3.1: wavelengths beyond
/// `original_context / low_freq_factor` are divided by `factor`, those below `original_context /
/// high_freq_factor` are kept, and those between are interpolated.
fn stretched(frequency: f64, scaling: Option<RopeScaling>) -> f64 {
    match scaling {
        None => frequency,
        Some(RopeScaling::Linear { factor }) => frequency / factor,
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
            let turns = original_context as f64 * frequency / TAU;
            // Where both bounds are one (Llama 4), nothing is between them.
            let between = (high_freq_factor - low_freq_factor).max(f64::MIN_POSITIVE);
            let keep = ((turns - low_freq_factor) / between).clamp(0.0, 1.0);
            frequency * (keep + (1.0 - keep) / factor)
        }
    }
}
