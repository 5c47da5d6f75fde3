//! GuideLLM: `benchmarks.json`. Its `time_per_output_token_ms` has the first token's time in it and is not taken for TPOT;
//! its `inter_token_latency_ms` is `(last - first) / (n - 1)`, which is, but weighted by tokens where it is summed up.

use super::observed::{Observed, milliseconds};
use super::source::Source;
use super::{EvidenceError, Found, Importer, value};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{RequestsPerSecond, Seconds, TokensPerSecond};
use serde_json::Value;

/// The format.
pub struct Guidellm;

/// What the numbers are.
pub const DEFINITIONS: &str =
    "guidellm: TPOT from its inter-token latency, weighted by tokens; its own TPOT includes TTFT";

impl Importer for Guidellm {
    fn name(&self) -> &'static str {
        "guidellm"
    }

    fn tool(&self) -> &'static str {
        "GuideLLM"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.text.contains("\"benchmarks\"") && source.text.contains("\"time_per_output_token_ms\"")
    }

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found::default();
        value::read_each(source, &mut found, |report: Value, found| {
            let version = report["metadata"]["guidellm_version"].as_str().or(report["metadata"]["version"].as_str());
            found.tool_version = version.map(str::to_string).or(found.tool_version.take());
            let benchmarks = report.get("benchmarks").and_then(Value::as_array).ok_or("`benchmarks` is missing")?;
            let (before, mut first) = (found.observed.len(), None);
            for (index, benchmark) in benchmarks.iter().enumerate() {
                match observed(&report, benchmark) {
                    Ok(Some(observed)) => found.observed.push(observed),
                    Ok(None) => found.skip("in which no request was completed"),
                    Err(why) => {
                        found.skip(format!("that cannot be read: {why}"));
                        first.get_or_insert(format!("benchmark {}: {why}", index + 1));
                    }
                }
            }
            match first {
                Some(why) if found.observed.len() == before => Err(why),
                _ => Ok(()),
            }
        })?;
        Ok(found)
    }
}

/// The first of several places where a text may stand.
fn text(places: &[Option<&Value>]) -> Option<String> {
    places.iter().flatten().find_map(|value| value.as_str()).map(str::to_string)
}

fn observed(report: &Value, benchmark: &Value) -> Result<Option<Observed>, String> {
    let metrics = benchmark.get("metrics").ok_or("`metrics` is missing")?;
    let of = |tag: &str| metrics.get(tag).and_then(|metric| metric.get("successful").or(Some(metric)));
    let needed = |tag: &str| of(tag).ok_or(format!("`metrics.{tag}` is missing"));
    let number = |metric: &Value, key: &str| metric.get(key).and_then(Value::as_f64);
    let mean = |tag: &str| of(tag).and_then(|metric| number(metric, "mean"));
    let times = |tag: &str, factor: f64| -> Result<Option<Distribution<Seconds>>, String> {
        let metric = needed(tag)?;
        let percentile = |key: &str| metric.get("percentiles").and_then(|p| p.get(key)).and_then(Value::as_f64);
        let median = number(metric, "median").or(percentile("p50"));
        let ms = |value: Option<f64>| value.map(|v| v * factor);
        Ok(milliseconds(ms(median), ms(percentile("p90")), ms(percentile("p99"))))
    };
    let ttft = times("time_to_first_token_ms", 1.0)?;
    let e2e = times("request_latency", 1e3)?;
    let Some(_) = e2e else { return Ok(None) };
    let config = benchmark.get("config").unwrap_or(&Value::Null);
    let backend = config.get("backend").or(report.get("config").and_then(|c| c.get("backend"))).unwrap_or(&Value::Null);
    let model = text(&[
        backend.get("model"),
        config.get("model"),
        report.get("config").and_then(|c| c.get("model")),
        report.get("args").and_then(|args| args.get("model")),
    ]);
    let model = model.ok_or("the model is not named (`config.backend.model`)")?;
    let strategy = config.get("strategy").or(config.get("profile")).unwrap_or(&Value::Null);
    let kind = text(&[strategy.get("type_"), strategy.get("type"), Some(strategy)]).unwrap_or("unknown".to_string());
    let in_flight = mean("request_concurrency").unwrap_or(1.0);
    let count = of("request_latency").and_then(|metric| number(metric, "count")).unwrap_or(0.0) as usize;
    let tokens = |tag: &str| mean(tag).map_or(0, |tokens| tokens.round() as usize);
    Ok(Some(Observed {
        engine: "unknown".to_string(),
        device: "cuda",
        host: HostRecord { accelerators: 1, ..HostRecord::default() },
        model,
        batch: in_flight.round().max(1.0) as usize,
        prompt_tokens: tokens("prompt_token_count"),
        gen_tokens: tokens("output_token_count"),
        arrival: arrival(&kind, in_flight),
        definitions: DEFINITIONS,
        samples: count,
        metrics: Metrics {
            ttft,
            tpot: times("inter_token_latency_ms", 1.0)?,
            e2e,
            decode_tokens_per_s: mean("output_tokens_per_second").map(|value| Estimate {
                value: TokensPerSecond(value),
                lo: None,
                hi: None,
            }),
            requests_per_s: mean("requests_per_second").map(|value| Estimate {
                value: RequestsPerSecond(value),
                lo: None,
                hi: None,
            }),
            ..Metrics::default()
        },
        absent: vec![("itl_s".to_string(), "GuideLLM does not keep gaps apart".to_string())],
        ..Observed::default()
    }))
}

/// The project's word for one of its strategies.
pub fn arrival(strategy: &str, in_flight: f64) -> String {
    match strategy {
        "synchronous" => "closed_1".to_string(),
        "concurrent" => format!("closed_{}", in_flight.round()),
        "throughput" => "offline".to_string(),
        "constant" => "open_constant".to_string(),
        "poisson" => "open_poisson".to_string(),
        other => other.to_string(),
    }
}
