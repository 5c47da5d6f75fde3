//! HF optimum-benchmark: a report with the phases `prefill`, `decode` and `per_token`. Its energy is in kWh.

use super::observed::{Observed, quant_of};
use super::source::Source;
use super::{EvidenceError, Found, Importer, value};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{Bytes, Joules, Seconds, TokensPerSecond};
use serde_json::Value;

/// The format.
pub struct Optimum;

impl Importer for Optimum {
    fn name(&self) -> &'static str {
        "optimum-benchmark"
    }

    fn tool(&self) -> &'static str {
        "optimum-benchmark"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.text.contains("\"prefill\"")
            && source.text.contains("\"latency\"")
            && source.text.contains("\"throughput\"")
    }

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found::default();
        value::read_each(source, &mut found, |record: Value, found| {
            let version = record["config"]["environment"]["optimum_benchmark_version"].as_str();
            found.tool_version = version.map(str::to_string).or(found.tool_version.take());
            found.observed.push(observed(&record)?);
            Ok(())
        })?;
        Ok(found)
    }
}

fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// The latencies of a phase; p50 where it is given, else the mean.
fn times(phase: &Value) -> Result<Option<Distribution<Seconds>>, String> {
    let Some(latency) = at(phase, &["latency"]) else { return Ok(None) };
    match latency.get("unit").and_then(Value::as_str) {
        Some("s") => {}
        other => return Err(format!("`latency.unit` is `{}`; it must be s", other.unwrap_or("missing"))),
    }
    let number = |key: &str| latency.get(key).and_then(Value::as_f64).filter(|v| *v > 0.0).map(Seconds);
    let Some(median) = number("p50").or(number("mean")) else { return Ok(None) };
    Ok(Some(Distribution { median, lo: None, hi: None, p90: number("p90"), p99: number("p99") }))
}

fn observed(record: &Value) -> Result<Observed, String> {
    let report = record.get("report").unwrap_or(record);
    let config = record.get("config").unwrap_or(&Value::Null);
    let prefill = report.get("prefill").ok_or("`prefill` is missing")?;
    let words = |path: &[&str]| at(config, path).and_then(Value::as_str).map(str::to_string);
    let whole = |path: &[&str]| at(config, path).and_then(Value::as_u64).map(|n| n as usize);
    let model = words(&["backend", "model"]).ok_or("`config.backend.model` is missing")?;
    let shapes = ["scenario", "benchmark"].into_iter().find(|key| at(config, &[key, "input_shapes"]).is_some());
    let shapes = shapes.ok_or("`config.scenario.input_shapes` is missing")?;
    let batch = whole(&[shapes, "input_shapes", "batch_size"]).ok_or("`input_shapes.batch_size` is missing")?;
    let prompt = whole(&[shapes, "input_shapes", "sequence_length"]).unwrap_or(0);
    let generated = whole(&[shapes, "generate_kwargs", "max_new_tokens"]).unwrap_or(0);
    let ttft = times(prefill)?;
    // `per_token` is one decode step; `decode` is all of them.
    let steps = (generated as f64 - 1.0).max(1.0);
    let each =
        |all: Distribution<Seconds>| Distribution { median: Seconds(all.median.0 / steps), ..Distribution::default() };
    let per_token = report.get("per_token").map(times).transpose()?.flatten();
    let decode = report.get("decode").map(times).transpose()?.flatten();
    let tpot = per_token.or(decode.map(each));
    let rate = |phase: &str| {
        at(report, &[phase, "throughput", "value"]).and_then(Value::as_f64).map(|value| Estimate {
            value: TokensPerSecond(value),
            lo: None,
            hi: None,
        })
    };
    let gpu = at(config, &["environment", "gpu"]).map(|gpu| match gpu {
        Value::Array(names) => (names.first().and_then(Value::as_str).unwrap_or("").to_string(), names.len()),
        other => (other.as_str().unwrap_or("").to_string(), 1),
    });
    let device = words(&["backend", "device"]).unwrap_or("cuda".to_string());
    let on_cpu = device.starts_with("cpu");
    let joules = |phase: &str| -> Result<Option<f64>, String> {
        let Some(total) = at(report, &[phase, "energy", "total"]).and_then(Value::as_f64) else { return Ok(None) };
        match at(report, &[phase, "energy", "unit"]).and_then(Value::as_str) {
            Some("kWh") => Ok(Some(total * 3.6e6)),
            Some("J") => Ok(Some(total)),
            other => Err(format!("`{phase}.energy.unit` is `{}`; it must be kWh", other.unwrap_or("missing"))),
        }
    };
    let energy = joules("prefill")?.zip(joules("decode")?).map(|(a, b)| Joules(a + b));
    let memory = ["max_global_vram", "max_process_vram", "max_ram"]
        .into_iter()
        .find_map(|key| at(report, &["decode", "memory", key]).or(at(prefill, &["memory", key])))
        .and_then(Value::as_f64);
    Ok(Observed {
        engine: words(&["backend", "name"]).unwrap_or("unknown".to_string()),
        engine_version: words(&["backend", "version"]).unwrap_or_default(),
        device: if on_cpu { "cpu" } else { "cuda" },
        hardware: gpu.as_ref().map(|(name, _)| name.clone()).filter(|name| !on_cpu && !name.is_empty()),
        host: HostRecord {
            cpu: words(&["environment", "cpu"]),
            accelerators: if on_cpu { 0 } else { gpu.map_or(1, |(_, count)| count) },
            ..HostRecord::default()
        },
        model,
        quant: words(&["backend", "torch_dtype"]).and_then(|name| quant_of(&name)),
        batch,
        prompt_tokens: prompt,
        gen_tokens: generated,
        arrival: "closed_batch".to_string(),
        definitions: "optimum-benchmark: prefill without sampling, decode steps",
        samples: at(prefill, &["latency", "count"]).and_then(Value::as_u64).unwrap_or(0) as usize,
        metrics: Metrics {
            ttft,
            tpot,
            prefill_tokens_per_s: rate("prefill"),
            decode_tokens_per_s: rate("decode"),
            energy: energy.map(|value| Estimate { value, lo: None, hi: None }),
            peak_device: memory.map(|mb| Bytes(mb * 1e6)),
            ..Metrics::default()
        },
        ..Observed::default()
    })
}
