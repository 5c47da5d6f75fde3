//! What one record of a result file comes to, in the project's words and units.

use super::{device, model};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::statistics::LEAST_SPREAD;
use crate::units::{Bytes, Seconds, TokensPerSecond};
use crate::workload::{Case, ModelShape, Quant};
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
    /// The shape itself, which outweighs a preset.
    pub shape: Option<ModelShape>,
    /// The engine behind an endpoint.
    pub engine: Option<String>,
    /// Accelerators that the model was spread over.
    pub accelerators: Option<usize>,
    /// Tokens of a prompt, of files that do not say how long theirs were.
    pub prompt_tokens: Option<usize>,
    /// Tokens of an answer, likewise.
    pub gen_tokens: Option<usize>,
}

/// One measurement of another tool.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    /// The engine, such as `llama.cpp`.
    pub engine: String,
    /// Its version or build.
    pub engine_version: String,
    /// `cuda`, `cpu`, `mixed` where layers were on both, or another kind of accelerator ([`crate::record::device`]).
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
    /// What the file does not say and is taken for granted, so that the user's word contradicts nothing.
    pub assumed: Assumed,
    /// The numbers.
    pub metrics: Metrics,
    /// Metrics that are absent, and why.
    pub absent: Vec<(String, String)>,
    /// Remarks.
    pub notes: Vec<String>,
}

/// What a file left open.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Assumed {
    /// The engine.
    pub engine: bool,
    /// The number of accelerators.
    pub accelerators: bool,
    /// That it ran on an accelerator.
    pub device: bool,
    /// How long the prompts were.
    pub prompt: bool,
    /// How long the answers were.
    pub answer: bool,
}

impl Assumed {
    /// A server behind an address: only its answers are known.
    pub(crate) const ENDPOINT: Self =
        Self { engine: true, accelerators: true, device: true, prompt: false, answer: false };
}

/// What is said of a file that has no lengths of prompts.
pub(crate) const NO_PROMPT: &str = "the file does not say how long the prompts were: `sizewell import --prompt N` does";

/// The word by which a remark says that the user contradicts a file.
pub(crate) const OUTWEIGHS: &str = "outweighs";

/// Whether two names of cards may be one: `H100` and `NVIDIA H100 80GB HBM3`.
fn may_be_one(a: &str, b: &str) -> bool {
    let bare = |name: &str| name.to_lowercase().replace("nvidia", "").replace([' ', '-', '_'], "");
    let (a, b) = (bare(a), bare(b));
    a.contains(&b) || b.contains(&a)
}

impl Observed {
    /// The case that was measured.
    pub(crate) fn case(&self) -> Case {
        Case::new(self.quant.unwrap_or(Quant::F16), self.batch, self.prompt_tokens, self.gen_tokens)
    }

    /// What the user says takes the place of what the file says; where the file says something else, a remark tells so.
    pub(crate) fn apply(&mut self, overrides: &Overrides) {
        let mut contradictions = Vec::new();
        let mut outweighs = |option: &str, said: &str, named: &str| {
            contradictions.push(format!("--{option} {said} {OUTWEIGHS} {named}, which the file names"));
        };
        if let Some(hardware) = &overrides.hardware {
            let named = match (self.device, &self.hardware) {
                ("cpu", _) if !self.assumed.device => Some("cpu".to_string()),
                (_, named) => named.clone(),
            };
            if let Some(named) = named.filter(|named| !may_be_one(named, hardware)) {
                outweighs("hardware", hardware, &named);
            }
            self.runs_on(hardware);
        }
        if let Some((provider, name)) = &overrides.instance {
            if let (Some(own), Some(kind)) = (&self.host.provider, &self.host.instance_type)
                && (own, kind) != (provider, name)
            {
                outweighs("as", &format!("{provider}:{name}"), &format!("{own}:{kind}"));
            }
            (self.host.provider, self.host.instance_type) = (Some(provider.clone()), Some(name.clone()));
        }
        if let Some(engine) = &overrides.engine {
            if !self.assumed.engine && !self.engine.eq_ignore_ascii_case(engine) {
                outweighs("engine", engine, &self.engine);
            }
            self.engine = engine.clone();
        }
        if let Some((asked, named)) = overrides.quant.zip(self.quant).filter(|(asked, named)| asked != named) {
            outweighs("quant", asked.name(), named.name());
        }
        self.quant = overrides.quant.or(self.quant);
        if let Some(count) = overrides.accelerators {
            if !self.assumed.accelerators && count != self.host.accelerators {
                outweighs("accelerators", &count.to_string(), &self.host.accelerators.to_string());
            }
            self.host.accelerators = count;
        }
        if let Some(tokens) = overrides.prompt_tokens.filter(|_| self.assumed.prompt) {
            self.prompt_tokens = tokens;
            self.notes.retain(|note| note != NO_PROMPT);
        }
        self.gen_tokens = overrides.gen_tokens.filter(|_| self.assumed.answer).unwrap_or(self.gen_tokens);
        self.keep_what_is_in_order();
        contradictions.extend(model::contradiction(&self.model, self.parameters, overrides));
        self.notes.extend(contradictions);
    }

    /// Leaves out percentiles that lie below the median, or the 99th below the 90th: whatever they are of, it is not the
    /// same requests. The median is what counts, and stays.
    fn keep_what_is_in_order(&mut self) {
        let metrics = &mut self.metrics;
        let times = [
            ("TTFT", &mut metrics.ttft),
            ("TPOT", &mut metrics.tpot),
            ("ITL", &mut metrics.itl),
            ("E2E", &mut metrics.e2e),
        ];
        for (name, time) in times {
            let Some(time) = time else { continue };
            for (percentile, at) in [("p90", 0), ("p99", 1)] {
                let least = if at == 0 { time.median } else { time.p90.unwrap_or(time.median) };
                let value = if at == 0 { &mut time.p90 } else { &mut time.p99 };
                if value.is_some_and(|value| value.0 < least.0) {
                    *value = None;
                    self.notes
                        .push(format!("{name}: its {percentile} lies below what it should lie above, and is left out"));
                }
            }
        }
    }

    /// Takes a name of the user's for the hardware: what drives it, and how many at least.
    fn runs_on(&mut self, hardware: &str) {
        if hardware == "cpu" {
            (self.hardware, self.device, self.host.accelerators) = (None, "cpu", 0);
            return;
        }
        // What a file says of the driver stays: Vulkan runs on any maker's card.
        if self.device == "cpu" || self.device == "cuda" {
            self.device = device::of_card(hardware);
        }
        self.hardware = Some(hardware.to_string());
        self.host.accelerators = self.host.accelerators.max(1);
    }
}

/// A number that may be anything else in a broken record.
pub(crate) fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// A count in the mean, as a whole number; `None` where it is none.
pub(crate) fn whole(value: Option<f64>) -> Option<usize> {
    // Beyond this the case is left out anyway.
    finite(value).filter(|value| *value >= 0.0).map(|value| value.round().min(1e15) as usize)
}

/// A rate above 0 without an interval.
pub(crate) fn estimate<U>(value: Option<f64>, unit: fn(f64) -> U) -> Option<Estimate<U>> {
    finite(value).filter(|value| *value > 0.0).map(|value| Estimate { value: unit(value), lo: None, hi: None })
}

/// What a time in milliseconds or a rate of tokens can be: neither an overflow nor what is left of an underflow.
const POSSIBLE: std::ops::RangeInclusive<f64> = 1e-9..=1e12;

/// A time in milliseconds with its percentiles.
pub(crate) fn milliseconds(median: Option<f64>, p90: Option<f64>, p99: Option<f64>) -> Option<Distribution<Seconds>> {
    let ms = |value: Option<f64>| value.filter(|v| POSSIBLE.contains(v)).map(|v| Seconds(v * 1e-3));
    Some(Distribution { median: ms(median)?, p90: ms(p90), p99: ms(p99), lo: None, hi: None })
}

/// A rate with the 95 % interval that a mean of `samples` with this standard deviation has; `None` where it is not above 0
/// or cannot be.
pub(crate) fn rate(mean: f64, deviation: Option<f64>, samples: usize) -> Option<Estimate<TokensPerSecond>> {
    if !POSSIBLE.contains(&mean) {
        return None;
    }
    // Student's quantile at 97.5 %, for the few repetitions that benchmarks make.
    const T: [f64; 9] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];
    // Equal samples say how finely they were written down, and not that the next would be the same.
    let half = deviation.filter(|_| samples > 1).map(|deviation| {
        let t = T.get(samples - 2).copied().unwrap_or(2.0);
        let spread = deviation.max(LEAST_SPREAD * mean);
        (t * spread / (samples as f64).sqrt()).max(last_digit(mean) / 2.0)
    });
    let end = |sign: f64| half.map(|half| TokensPerSecond((mean + sign * half).max(mean * 1e-3)));
    Some(Estimate { value: TokensPerSecond(mean), lo: end(-1.0), hi: end(1.0) })
}

/// What the last digit of a number stands for as it is written: 0.1 of 218.5, 1 of 230.
fn last_digit(value: f64) -> f64 {
    let decimals = value.to_string().split_once('.').map_or(0, |(_, decimals)| decimals.len());
    10f64.powi(-(decimals.min(300) as i32))
}

/// The time that `tokens` take at a rate, with its interval.
pub(crate) fn time_of(tokens: f64, rate: Estimate<TokensPerSecond>) -> Distribution<Seconds> {
    let at = |rate: TokensPerSecond| Seconds(tokens / rate.0);
    Distribution { median: at(rate.value), lo: rate.hi.map(at), hi: rate.lo.map(at), p90: None, p99: None }
}

/// A number of bytes above 0.
pub(crate) fn bytes(value: Option<f64>) -> Option<Bytes> {
    value.filter(|v| v.is_finite() && *v > 0.0).map(Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_samples_are_not_certain() {
        let interval = |mean: f64, deviation: f64, samples: usize| {
            let rate = rate(mean, Some(deviation), samples).unwrap();
            rate.lo.zip(rate.hi).map(|(lo, hi)| (lo.0, hi.0))
        };
        assert_eq!(interval(230.0, 0.0, 1), None, "one sample has no spread");
        // 4.30 x 0.0005 x 8000 / sqrt(3), and half of what the last digit of 23 is.
        let (lo, hi) = interval(8000.0, 0.0, 3).unwrap();
        assert!((hi - 8009.93).abs() < 0.01 && (lo - 7990.07).abs() < 0.01, "{lo} {hi}");
        assert_eq!(interval(23.0, 0.0, 5), Some((22.5, 23.5)));
        let (lo, hi) = interval(230.0, 10.0, 3).unwrap();
        assert!((hi - lo - 2.0 * 24.83).abs() < 0.02, "a spread is as it was: {lo} {hi}");
    }
}
