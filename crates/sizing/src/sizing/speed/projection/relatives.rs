//! What measured relatives took longer or shorter than the sum of terms, carried over to what was not measured.
//!
//! The logarithm of true over summed time is taken for a Gaussian process: two measurements have in common what the same
//! model, cards of a kind, the same host and the same engine add. Its posterior mean moves a projection, its posterior
//! deviation says how well relatives tell. The variances below were chosen once, on public measurements with one card model
//! left out at a time.

use super::card::Card;
use super::terms::Phase;
use crate::workload::Quant;
use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use std::sync::Arc;

/// Variances of what relatives have in common, of squared logarithms.
#[derive(Debug, Clone, Copy)]
struct Variances {
    model: f64,
    card: f64,
    host: f64,
    /// Two measurements of the same model on the same card.
    pair: f64,
    noise: f64,
}

const DECODE: Variances = Variances { model: 0.01, card: 0.03, host: 0.04, pair: 0.0015, noise: 0.0005 };
const PREFILL: Variances = Variances { model: 0.01, card: 0.04, host: 0.02, pair: 0.0015, noise: 0.0005 };

/// How far an engine can be from the one that the law was fitted to. Published pairs of candle and others lie at 1.6
/// (llama.cpp, Metal) and 2.5 (vLLM, A100 in 16 bits) times the time: another engine is expected to be slower.
pub const ENGINE_MEAN: f64 = 0.336;
const ENGINE_VARIANCE: f64 = 0.25;

/// What was measured, or is to be projected to: card, engine, model, precision and batch.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The card.
    pub card: Arc<Card>,
    /// The engine.
    pub engine: Arc<str>,
    /// The host's CPU, where it is known.
    pub host: Option<Arc<str>>,
    /// The model.
    pub model: Arc<str>,
    /// Precision.
    pub quant: Quant,
    /// Sequences.
    pub batch: f64,
    /// Logarithm of the bytes of weights.
    pub ln_bytes: f64,
    /// Share of launching in the sum.
    pub launch_share: f64,
    /// Variance of the measurement itself.
    pub variance: f64,
}

fn covariance(phase: Phase, reference: &str, a: &Configuration, b: &Configuration) -> f64 {
    let variances = if phase == Phase::Decode { DECODE } else { PREFILL };
    let distance = match phase {
        Phase::Decode => a.card.decode_distance(&b.card),
        _ => a.card.prefill_distance(&b.card),
    };
    let size = a.ln_bytes - b.ln_bytes;
    let same_model = a.model == b.model && a.quant == b.quant;
    let batches = (a.batch / b.batch).ln().abs();
    let mut sum = variances.card * (-distance).exp() * (-size * size / 2.0).exp();
    if same_model {
        sum += variances.model;
        if a.card.id == b.card.id && a.engine == b.engine {
            sum += variances.pair * (-batches).exp();
        }
    }
    if a.host.is_some() && a.host == b.host {
        sum += variances.host * a.launch_share * b.launch_share;
    }
    if a.engine == b.engine && *a.engine != *reference {
        let level = if a.quant == b.quant { 1.0 } else { 0.7 };
        sum += ENGINE_VARIANCE * level * (-batches / 3.0).exp();
    }
    sum
}

/// Measured places with their residuals, ready to be asked.
#[derive(Debug, Clone)]
pub struct Relatives {
    phase: Phase,
    reference: Arc<str>,
    places: Vec<Configuration>,
    solved: Option<(Cholesky<f64, Dyn>, DVector<f64>)>,
}

impl Relatives {
    /// From measured places and `ln(true / summed)` of each.
    pub fn new(phase: Phase, reference: Arc<str>, places: Vec<Configuration>, residuals: &[f64]) -> Self {
        let noise = if phase == Phase::Decode { DECODE.noise } else { PREFILL.noise };
        let n = places.len();
        let matrix = DMatrix::from_fn(n, n, |i, j| {
            covariance(phase, &reference, &places[i], &places[j])
                + if i == j { noise + places[i].variance } else { 0.0 }
        });
        let expected = |place: &Configuration| if *place.engine == *reference { 0.0 } else { ENGINE_MEAN };
        let values = DVector::from_iterator(n, places.iter().zip(residuals).map(|(place, r)| r - expected(place)));
        let solved = Cholesky::new(matrix).map(|cholesky| {
            let solution = cholesky.solve(&values);
            (cholesky, solution)
        });
        Self { phase, reference, places, solved }
    }

    /// The places.
    pub fn places(&self) -> &[Configuration] {
        &self.places
    }

    /// Expected `ln(true / summed)` of a place, and its standard deviation.
    pub fn at(&self, place: &Configuration) -> (f64, f64) {
        let expected = if *place.engine == *self.reference { 0.0 } else { ENGINE_MEAN };
        let variance = covariance(self.phase, &self.reference, place, place);
        let noise = if self.phase == Phase::Decode { DECODE.noise } else { PREFILL.noise };
        let Some((cholesky, solution)) = &self.solved else { return (expected, (variance + noise).sqrt()) };
        let common = DVector::from_iterator(
            self.places.len(),
            self.places.iter().map(|known| covariance(self.phase, &self.reference, known, place)),
        );
        let mean = expected + common.dot(solution);
        let known = common.dot(&cholesky.solve(&common));
        (mean, (variance - known).max(0.0).sqrt().hypot(noise.sqrt()))
    }
}
