//! What load generators report of one run, whatever they call it, as a measurement.

use super::in_flight::Load;
use super::observed::{Assumed, Observed, estimate, whole};
use super::{device, level};
use crate::record::{Distribution, HostRecord, Metrics};
use crate::units::{JoulesPerToken, RequestsPerSecond, Seconds, TokensPerSecond};
use crate::workload::Quant;
use serde_json::Value;
use std::collections::BTreeMap;

/// Times of requests in seconds, as far as a tool gives them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    pub mean: Option<f64>,
    pub median: Option<f64>,
    pub p90: Option<f64>,
    pub p99: Option<f64>,
}

impl Times {
    /// The times in an object, by its names for mean, median, 90th and 99th percentile, each times `factor`.
    pub(crate) fn of(value: Option<&Value>, names: [&str; 4], factor: f64) -> Self {
        let at = |name: &str| {
            let number = value?.get(name)?.as_f64()?;
            Some(number * factor).filter(|time| time.is_finite() && *time > 0.0)
        };
        let [mean, median, p90, p99] = names.map(at);
        Self { mean, median, p90, p99 }
    }

    /// Of values that are all there; an empty list has none.
    pub(crate) fn of_values(mut values: Vec<f64>) -> Self {
        values.retain(|value| value.is_finite() && *value > 0.0);
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            // Straight between two values, as numpy does.
            let place = share * values.len().checked_sub(1)? as f64;
            let (low, high) = (place.floor() as usize, place.ceil() as usize);
            Some(values[low] + (values[high] - values[low]) * (place - place.floor()))
        };
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        Self { mean, median: at(0.5), p90: at(0.9), p99: at(0.99) }
    }

    /// The mean takes the place of a median that is not given.
    fn distribution(&self) -> Option<Distribution<Seconds>> {
        let median = Seconds(self.median.or(self.mean)?);
        Some(Distribution { median, p90: self.p90.map(Seconds), p99: self.p99.map(Seconds), lo: None, hi: None })
    }
}

/// One run of a load generator against a server.
#[derive(Debug, Default)]
pub(crate) struct ServedRun {
    /// The model as the tool names it; empty where it does not.
    pub model: String,
    pub engine: Option<String>,
    pub engine_version: Option<String>,
    pub hardware: Option<String>,
    /// Accelerators that the model was spread over, where the file says.
    pub cards: Option<usize>,
    pub quant: Option<Quant>,
    pub settings: BTreeMap<String, String>,
    pub arrival: String,
    /// Users, cap and counts; what this struct says too is filled in.
    pub load: Load,
    pub prompt_tokens: Option<f64>,
    pub gen_tokens: Option<f64>,
    pub completed: Option<f64>,
    pub failed: Option<f64>,
    pub ttft: Times,
    pub tpot: Times,
    pub e2e: Times,
    pub tokens_per_s: Option<f64>,
    pub requests_per_s: Option<f64>,
    pub joules_per_token: Option<f64>,
    pub definitions: &'static str,
    pub absent: Vec<(String, String)>,
    pub notes: Vec<String>,
}

impl ServedRun {
    /// Tokens of a request and of its answer, or why there is no measurement in it.
    fn lengths(&self) -> Result<(usize, usize), String> {
        let (Some(prompt), Some(generated)) = (whole(self.prompt_tokens), whole(self.gen_tokens)) else {
            return Err(match self.completed {
                Some(0.0) => "in which no request was completed".to_string(),
                _ => "whose lengths are not given".to_string(),
            });
        };
        if self.completed.is_some_and(|completed| completed < 1.0) {
            return Err("in which no request was completed".to_string());
        }
        if generated == 0 {
            return Err("in which nothing was generated".to_string());
        }
        Ok((prompt, generated))
    }

    /// The measurement, or why there is none in it.
    pub(crate) fn observed(mut self) -> Result<Observed, String> {
        let (prompt, generated) = self.lengths()?;
        let ttft = self.ttft.distribution().ok_or("without a time to the first token above 0")?;
        // The first token is the prefill's: there is no further one that could take time.
        let tpot = self.tpot.distribution().filter(|_| generated > 1);
        if tpot.is_none() && generated > 1 {
            return Err("without a time per output token above 0".to_string());
        }
        if [&self.ttft, &self.tpot].iter().any(|times| times.median.is_none() && times.mean.is_some()) {
            self.notes.push("times are means where the file has no medians".to_string());
        }
        let (completed, failed) = (whole(self.completed).unwrap_or(0), whole(self.failed).unwrap_or(0));
        let load = Load {
            sent: self.load.sent.or(Some((completed + failed) as f64).filter(|_| self.completed.is_some())),
            requests_per_s: self.requests_per_s,
            e2e_s: self.e2e.mean,
            ttft_s: self.ttft.mean.or(self.ttft.median),
            tpot_s: self.tpot.mean.or(self.tpot.median),
            gen_tokens: self.gen_tokens,
            ..self.load
        };
        let batch = load.batch().ok_or("whose requests in flight cannot be told")?;
        if failed > 0 {
            self.notes.insert(0, format!("{failed} of {} requests failed", completed + failed));
        }
        Ok(Observed {
            assumed: Assumed {
                engine: self.engine.is_none(),
                accelerators: self.cards.is_none(),
                device: self.hardware.is_none(),
                ..Assumed::ENDPOINT
            },
            engine: self.engine.unwrap_or("unknown".to_string()),
            engine_version: self.engine_version.unwrap_or_default(),
            device: self.hardware.as_deref().map_or("cuda", device::of_card),
            hardware: self.hardware,
            host: HostRecord { accelerators: self.cards.unwrap_or(1).max(1), ..HostRecord::default() },
            quant: self.quant.or_else(|| level::within(&self.model)),
            model: self.model,
            settings: self.settings,
            batch,
            prompt_tokens: prompt,
            gen_tokens: generated,
            arrival: self.arrival,
            definitions: self.definitions,
            samples: completed,
            failed,
            metrics: Metrics {
                ttft: Some(ttft),
                tpot,
                e2e: self.e2e.distribution(),
                decode_tokens_per_s: estimate(self.tokens_per_s, TokensPerSecond),
                requests_per_s: estimate(self.requests_per_s, RequestsPerSecond),
                energy_per_token: estimate(self.joules_per_token, JoulesPerToken),
                ..Metrics::default()
            },
            absent: self.absent,
            notes: self.notes,
            ..Observed::default()
        })
    }
}

/// A value further down in another.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// A number further down.
pub(crate) fn number(value: &Value, path: &[&str]) -> Option<f64> {
    at(value, path)?.as_f64()
}

/// A text further down; an empty one is none.
pub(crate) fn text(value: &Value, path: &[&str]) -> Option<String> {
    at(value, path)?.as_str().filter(|text| !text.is_empty()).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_straight_between_values() {
        let times = Times::of_values(vec![3.0, 1.0, f64::NAN, 2.0, 0.0, 4.0]);
        assert_eq!((times.mean, times.median), (Some(2.5), Some(2.5)));
        assert!((times.p90.unwrap() - 3.7).abs() < 1e-12);
        assert!(Times::of_values(Vec::new()).median.is_none());
    }

    #[test]
    fn a_run_without_what_it_takes_is_named() {
        let times = Times { mean: Some(1.0), ..Times::default() };
        let run = || ServedRun {
            prompt_tokens: Some(10.0),
            gen_tokens: Some(5.0),
            ttft: times,
            tpot: times,
            requests_per_s: Some(2.0),
            ..ServedRun::default()
        };
        let observed = run().observed().unwrap();
        assert_eq!(observed.batch, 10, "2 requests/s of 1 + 4 x 1 s");
        assert_eq!(observed.notes, ["times are means where the file has no medians"]);
        let why = |run: ServedRun| run.observed().unwrap_err();
        assert_eq!(why(ServedRun { completed: Some(0.0), ..run() }), "in which no request was completed");
        assert_eq!(why(ServedRun { gen_tokens: None, ..run() }), "whose lengths are not given");
        assert_eq!(why(ServedRun { tpot: Times::default(), ..run() }), "without a time per output token above 0");
        let one = ServedRun { gen_tokens: Some(1.0), tpot: Times::default(), ..run() }.observed().unwrap();
        assert!(one.metrics.tpot.is_none() && one.batch == 2);
    }
}
