//! What one record of a result file comes to, in the project's words and units.

use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{Bytes, Seconds, TokensPerSecond};
use crate::workload::{Case, Quant};
use std::collections::BTreeMap;

/// What the user says where a file does not, or says it wrong.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Name of the accelerator.
    pub hardware: Option<String>,
    /// `(provider, instance type)`.
    pub instance: Option<(String, String)>,
    /// Precision of the weights.
    pub quant: Option<Quant>,
    /// Preset that has the model's shape.
    pub model: Option<String>,
    /// The engine behind an endpoint.
    pub engine: Option<String>,
    /// Accelerators that the model was spread over.
    pub accelerators: Option<usize>,
}

/// One measurement of another tool.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The engine, such as `llama.cpp`.
    pub engine: String,
    /// Its version or build.
    pub engine_version: String,
    /// `cuda`, `cpu`, or `mixed` where layers were on both.
    pub device: &'static str,
    /// Name of the accelerator.
    pub hardware: Option<String>,
    /// What is known of the kernels.
    pub kernels: String,
    /// Type of activations and cache.
    pub compute_type: String,
    /// Whatever else tells the system from another one: `backend`, `cache_k`, `draft_model`, `expert_parallel` and so on.
    pub settings: BTreeMap<String, String>,
    /// The host.
    pub host: HostRecord,
    /// The model as the file calls it.
    pub model: String,
    /// Its parameters, where the file counts them.
    pub parameters: Option<f64>,
    /// Precision of the weights.
    pub quant: Option<Quant>,
    /// Sequences that ran together.
    pub batch: usize,
    /// Tokens of each prompt; 0 where only decoding was measured.
    pub prompt_tokens: usize,
    /// Generated tokens of each sequence; 0 where only the prefill was measured.
    pub gen_tokens: usize,
    /// How requests arrived.
    pub arrival: String,
    /// Whose definitions the numbers follow.
    pub definitions: &'static str,
    /// Samples behind the numbers.
    pub samples: usize,
    /// Requests that failed and are not in the numbers.
    pub failed: usize,
    /// The numbers.
    pub metrics: Metrics,
    /// Metrics that are absent, and why.
    pub absent: Vec<(String, String)>,
    /// Remarks.
    pub notes: Vec<String>,
}

impl Observed {
    /// The case that was measured.
    pub fn case(&self) -> Case {
        Case::new(self.quant.unwrap_or(Quant::F16), self.batch, self.prompt_tokens, self.gen_tokens)
    }

    /// What the user says takes the place of what the file says.
    pub fn apply(&mut self, overrides: &Overrides) {
        if let Some(hardware) = &overrides.hardware {
            self.hardware = Some(hardware.clone()).filter(|name| name != "cpu");
            self.device = if hardware == "cpu" { "cpu" } else { "cuda" };
            self.host.accelerators = if hardware == "cpu" { 0 } else { self.host.accelerators.max(1) };
        }
        if let Some((provider, name)) = &overrides.instance {
            (self.host.provider, self.host.instance_type) = (Some(provider.clone()), Some(name.clone()));
        }
        if let Some(engine) = &overrides.engine {
            self.engine = engine.clone();
        }
        self.quant = overrides.quant.or(self.quant);
        self.host.accelerators = overrides.accelerators.unwrap_or(self.host.accelerators);
    }
}

/// A time in milliseconds with its percentiles.
pub fn milliseconds(median: Option<f64>, p90: Option<f64>, p99: Option<f64>) -> Option<Distribution<Seconds>> {
    let ms = |value: Option<f64>| value.filter(|v| v.is_finite() && *v > 0.0).map(|v| Seconds(v * 1e-3));
    Some(Distribution { median: ms(median)?, p90: ms(p90), p99: ms(p99), lo: None, hi: None })
}

/// A rate with the 95 % interval that a mean of `samples` with this standard deviation has; `None` where it is not above 0.
pub fn rate(mean: f64, deviation: Option<f64>, samples: usize) -> Option<Estimate<TokensPerSecond>> {
    if !(mean.is_finite() && mean > 0.0) {
        return None;
    }
    // Student's quantile at 97.5 %, for the few repetitions that benchmarks make.
    const T: [f64; 9] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];
    let half = deviation
        .filter(|_| samples > 1)
        .map(|deviation| T.get(samples - 2).copied().unwrap_or(2.0) * deviation / (samples as f64).sqrt());
    let end = |sign: f64| half.map(|half| TokensPerSecond((mean + sign * half).max(mean * 1e-3)));
    Some(Estimate { value: TokensPerSecond(mean), lo: end(-1.0), hi: end(1.0) })
}

/// The time that `tokens` take at a rate, with its interval.
pub fn time_of(tokens: f64, rate: Estimate<TokensPerSecond>) -> Distribution<Seconds> {
    let at = |rate: TokensPerSecond| Seconds(tokens / rate.0);
    Distribution { median: at(rate.value), lo: rate.hi.map(at), hi: rate.lo.map(at), p90: None, p99: None }
}

/// A number of bytes above 0.
pub fn bytes(value: Option<f64>) -> Option<Bytes> {
    value.filter(|v| v.is_finite() && *v > 0.0).map(Bytes)
}

/// The level that llama.cpp's name of a type stands for: `Q4_K - Medium`, `F16`.
pub fn quant_of(name: &str) -> Option<Quant> {
    let name = name.to_uppercase();
    let kinds = [
        ("BF16", Quant::Bf16),
        ("BFLOAT16", Quant::Bf16),
        ("FLOAT16", Quant::F16),
        ("FLOAT32", Quant::F32),
        ("F16", Quant::F16),
        ("F32", Quant::F32),
        ("Q8_0", Quant::Int8),
        ("Q6_K", Quant::Q6K),
        ("Q5_K", Quant::Q5K),
        ("Q4_K", Quant::Int4),
        ("Q4_0", Quant::Int4),
        ("Q3_K", Quant::Q3K),
        ("Q2_K", Quant::Q2K),
    ];
    kinds.into_iter().find(|(kind, _)| name.contains(kind)).map(|(_, quant)| quant)
}
