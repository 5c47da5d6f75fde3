//! NVIDIA AIPerf: `profile_export_aiperf.json`. Its inter-token latency is one value a request, the project's TPOT.

use super::observed::{Observed, milliseconds};
use super::source::Source;
use super::{EvidenceError, Found, Importer, value};
use crate::record::{Estimate, HostRecord, Metrics};
use crate::units::{JoulesPerToken, RequestsPerSecond, TokensPerSecond};
use serde_json::Value;

/// The format.
pub struct Aiperf;

impl Importer for Aiperf {
    fn name(&self) -> &'static str {
        "aiperf"
    }

    fn tool(&self) -> &'static str {
        "AIPerf"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.text.contains("\"inter_token_latency\"") && source.text.contains("\"input_config\"")
    }

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found::default();
        value::read_each(source, &mut found, |record: Value, found| {
            found.tool_version = record["aiperf_version"].as_str().map(str::to_string).or(found.tool_version.take());
            found.observed.push(observed(&record)?);
            Ok(())
        })?;
        Ok(found)
    }
}

/// A metric in milliseconds, whatever its unit.
struct Metric<'a>(&'a Value);

impl Metric<'_> {
    fn number(&self, key: &str) -> Option<f64> {
        self.0.get(key)?.as_f64()
    }

    fn factor(&self) -> Result<f64, String> {
        match self.0.get("unit").and_then(Value::as_str) {
            Some("ms") => Ok(1.0),
            Some("s" | "sec" | "seconds") => Ok(1e3),
            Some("us") => Ok(1e-3),
            Some("ns") => Ok(1e-6),
            other => Err(format!("unit `{}` is not one of a time", other.unwrap_or("missing"))),
        }
    }
}

fn find<'a>(record: &'a Value, tag: &str) -> Option<&'a Value> {
    // Older builds wrap the metrics.
    record.get(tag).or_else(|| record.get("records")?.get(tag)).filter(|metric| metric.is_object())
}

fn time(
    record: &Value,
    tag: &str,
    needed: bool,
) -> Result<Option<crate::record::Distribution<crate::units::Seconds>>, String> {
    let Some(metric) = find(record, tag).map(Metric) else {
        return if needed { Err(format!("`{tag}` is missing")) } else { Ok(None) };
    };
    let factor = metric.factor().map_err(|why| format!("`{tag}`: {why}"))?;
    let at = |key: &str| metric.number(key).map(|value| value * factor);
    Ok(milliseconds(at("p50").or(at("avg")), at("p90"), at("p99")))
}

/// Energy of an output token, in the unit that the metric names.
fn energy(record: &Value) -> Result<Option<Estimate<JoulesPerToken>>, String> {
    const TAG: &str = "energy_per_output_token";
    let Some(value) = mean(record, TAG) else { return Ok(None) };
    let unit = find(record, TAG).and_then(|metric| metric.get("unit")).and_then(Value::as_str).unwrap_or("missing");
    let factor = match unit.split('/').next().unwrap_or("") {
        "mJ" => 1e-3,
        "J" => 1.0,
        _ => return Err(format!("`{TAG}`: unit `{unit}` is not one of an energy")),
    };
    Ok(Some(Estimate { value: JoulesPerToken(value * factor), lo: None, hi: None }))
}

fn mean(record: &Value, tag: &str) -> Option<f64> {
    find(record, tag)?.get("avg")?.as_f64()
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => items.first()?.as_str().map(str::to_string),
        _ => None,
    }
}

/// Closed where a concurrency was asked for, open where a rate was.
fn arrival(config: &Value) -> String {
    let load = config.get("loadgen").unwrap_or(config);
    let mode =
        load.get("arrival_pattern").or(load.get("request_rate_mode")).and_then(Value::as_str).unwrap_or("poisson");
    match (load.get("request_rate").and_then(Value::as_f64), load.get("concurrency").and_then(Value::as_f64)) {
        (Some(_), _) => format!("open_{mode}"),
        (None, Some(users)) => format!("closed_{users}"),
        (None, None) => "unknown".to_string(),
    }
}

fn observed(record: &Value) -> Result<Observed, String> {
    let config = record.get("input_config").ok_or("`input_config` is missing")?;
    let model =
        text(config, &["endpoint", "model_names"]).or(text(config, &["model_names"])).or(text(config, &["model"]));
    let model = model.ok_or("`input_config.endpoint.model_names` is missing")?;
    let gpu = record.get("telemetry_data").and_then(|data| data.get("endpoints")).and_then(|endpoints| {
        let endpoint = endpoints.as_object()?.values().next()?;
        let gpus = endpoint.get("gpus")?.as_object()?;
        Some((gpus.values().next()?.get("gpu_name")?.as_str()?.to_string(), gpus.len()))
    });
    let rate = |tag: &str| mean(record, tag);
    let users = config.get("loadgen").unwrap_or(config).get("concurrency").and_then(Value::as_f64);
    let e2e = time(record, "request_latency", true)?;
    let latency_s = e2e.map(|latency| latency.median.0);
    let in_flight = rate("request_throughput").zip(latency_s).map(|(rate, latency)| rate * latency);
    let tokens = |tag: &str| mean(record, tag).map_or(0, |tokens| tokens.round() as usize);
    let metrics = Metrics {
        ttft: time(record, "time_to_first_token", true)?,
        tpot: time(record, "inter_token_latency", true)?,
        e2e,
        decode_tokens_per_s: rate("output_token_throughput").map(|value| Estimate {
            value: TokensPerSecond(value),
            lo: None,
            hi: None,
        }),
        requests_per_s: rate("request_throughput").map(|value| Estimate {
            value: RequestsPerSecond(value),
            lo: None,
            hi: None,
        }),
        energy_per_token: energy(record)?,
        ..Metrics::default()
    };
    Ok(Observed {
        engine: "unknown".to_string(),
        device: "cuda",
        hardware: gpu.as_ref().map(|(name, _)| name.clone()),
        host: HostRecord { accelerators: gpu.map_or(1, |(_, count)| count), ..HostRecord::default() },
        model,
        batch: users.or(in_flight).unwrap_or(1.0).round().max(1.0) as usize,
        prompt_tokens: tokens("input_sequence_length"),
        gen_tokens: tokens("output_sequence_length"),
        arrival: arrival(config),
        definitions: "aiperf: its inter-token latency is TPOT here",
        samples: mean(record, "request_count").map_or(0, |count| count as usize),
        metrics,
        absent: vec![("itl_s".to_string(), "AIPerf's summary has one mean a request".to_string())],
        ..Observed::default()
    })
}
