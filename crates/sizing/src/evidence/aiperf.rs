//! NVIDIA AIPerf: `profile_export_aiperf.json`. Its inter-token latency is one value a request, the project's TPOT.

use super::in_flight::Load;
use super::observed::{Assumed, NO_PROMPT, Observed, estimate, finite, milliseconds, whole};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, device, level, value};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{JoulesPerToken, RequestsPerSecond, Seconds, TokensPerSecond};
use serde_json::Value;

/// The format.
pub(crate) struct Aiperf;

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

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |record: Value, found| {
            found.tool_version = record["aiperf_version"].as_str().map(str::to_string).or(found.tool_version.take());
            found.add(observed(&record));
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

/// A time; `None` where it is not a number above 0.
fn time(record: &Value, tag: &str) -> Result<Option<Distribution<Seconds>>, String> {
    let Some(metric) = find(record, tag).map(Metric) else { return Ok(None) };
    let factor = metric.factor().map_err(|why| format!("whose `{tag}` has a wrong unit: {why}"))?;
    let at = |key: &str| metric.number(key).map(|value| value * factor);
    Ok(milliseconds(at("p50").or(at("avg")), at("p90"), at("p99")))
}

/// The mean of a time in seconds.
fn mean_s(record: &Value, tag: &str) -> Option<f64> {
    let metric = Metric(find(record, tag)?);
    Some(metric.number("avg")? * metric.factor().ok()? * 1e-3)
}

/// Energy of an output token, in the unit that the metric names.
fn energy(record: &Value) -> Result<Option<Estimate<JoulesPerToken>>, String> {
    const TAG: &str = "energy_per_output_token";
    let Some(value) = mean(record, TAG) else { return Ok(None) };
    let unit = find(record, TAG).and_then(|metric| metric.get("unit")).and_then(Value::as_str).unwrap_or("missing");
    let factor = match unit.split('/').next().unwrap_or("") {
        "mJ" => 1e-3,
        "J" => 1.0,
        _ => return Err(format!("whose `{TAG}` has a unit `{unit}` that is not one of an energy")),
    };
    Ok(estimate(Some(value * factor), JoulesPerToken))
}

fn mean(record: &Value, tag: &str) -> Option<f64> {
    finite(find(record, tag)?.get("avg")?.as_f64())
}

fn text(value: &Value, path: &[&str]) -> Option<String> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    match found {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => match items.first()? {
            Value::String(text) => Some(text.clone()),
            item => text_of(item),
        },
        _ => None,
    }
}

/// The name of a model that has further settings.
fn text_of(item: &Value) -> Option<String> {
    ["name", "model", "model_name"].iter().find_map(|key| item.get(key)?.as_str()).map(str::to_string)
}

/// The model in the places that the schemas have had for it.
fn model(config: &Value) -> Option<String> {
    let places: [&[&str]; 6] = [
        &["endpoint", "model_names"],
        &["models", "items"],
        &["models"],
        &["model_names"],
        &["endpoint", "models"],
        &["model"],
    ];
    places.iter().find_map(|path| text(config, path))
}

/// How requests were sent.
struct Sending<'a> {
    /// The phase that was measured, or the load of earlier schemas.
    load: &'a Value,
}

impl<'a> Sending<'a> {
    /// Schema 1.3 has a list of phases, of which one is measured and others warm up; before, there was one load.
    fn of(config: &'a Value) -> Self {
        let phases = config.get("phases").and_then(Value::as_array);
        let profiling = phases.and_then(|phases| {
            let is = |phase: &&Value| phase.get("name").and_then(Value::as_str) == Some("profiling");
            phases.iter().find(is).or(phases.last())
        });
        Self { load: profiling.or(config.get("loadgen")).unwrap_or(config) }
    }

    fn number(&self, keys: &[&str]) -> Option<f64> {
        finite(keys.iter().find_map(|key| self.load.get(key)?.as_f64())).filter(|number| *number > 0.0)
    }

    /// The rate at which requests are sent, where they are sent by one.
    fn rate(&self) -> Option<f64> {
        self.number(&["request_rate", "rate"])
    }

    /// Requests that may be in flight: users where nothing else says when they are sent, a cap otherwise.
    fn concurrency(&self) -> Option<f64> {
        self.number(&["concurrency"])
    }

    /// Whether requests are sent at times of their own.
    fn is_open(&self) -> bool {
        let kind = self.load.get("type").and_then(Value::as_str).unwrap_or("");
        self.rate().is_some() || matches!(kind, "poisson" | "gamma" | "constant" | "fixed_schedule" | "user_centric")
    }

    /// Closed where a concurrency was asked for, open where a rate was.
    fn arrival(&self) -> String {
        let words = ["arrival_pattern", "request_rate_mode", "type"];
        let mode = words.iter().find_map(|key| self.load.get(key)?.as_str()).unwrap_or("poisson");
        match (self.is_open(), self.concurrency()) {
            (true, _) => format!("open_{}", mode.to_lowercase()),
            (false, Some(users)) => format!("closed_{users}"),
            (false, None) => "unknown".to_string(),
        }
    }
}

/// The card by its name in the telemetry, and how many there are.
fn cards(record: &Value) -> Option<(String, usize)> {
    let endpoints = record.get("telemetry_data")?.get("endpoints")?.as_object()?;
    let gpus = endpoints.values().find_map(|endpoint| endpoint.get("gpus")?.as_object())?;
    Some((gpus.values().next()?.get("gpu_name")?.as_str()?.to_string(), gpus.len()))
}

/// Requests that failed: as counted, or by kind of error.
fn failed(record: &Value) -> usize {
    let counted = whole(mean(record, "error_request_count"));
    let errors = record.get("error_summary").and_then(Value::as_array);
    let summed = errors.map_or(0, |errors| {
        errors.iter().filter_map(|error| error.get("count")?.as_u64()).fold(0, u64::saturating_add) as usize
    });
    counted.unwrap_or(0).max(summed)
}

fn metrics(record: &Value, gen_tokens: usize) -> Result<Metrics, String> {
    let needed =
        |tag: &str, time: Option<Distribution<Seconds>>| time.map(Some).ok_or(format!("without a `{tag}` above 0"));
    let ttft = needed("time_to_first_token", time(record, "time_to_first_token")?)?;
    let tpot = match (time(record, "inter_token_latency")?, gen_tokens) {
        // The first token is the prefill's: there is no further one.
        (_, 1) => None,
        (tpot, _) => needed("inter_token_latency", tpot)?,
    };
    Ok(Metrics {
        ttft,
        tpot,
        e2e: time(record, "request_latency")?,
        decode_tokens_per_s: estimate(mean(record, "output_token_throughput"), TokensPerSecond),
        requests_per_s: estimate(mean(record, "request_throughput"), RequestsPerSecond),
        energy_per_token: energy(record)?,
        ..Metrics::default()
    })
}

fn observed(record: &Value) -> Result<Observed, String> {
    let config = record.get("input_config").ok_or("without `input_config`")?;
    let model =
        model(config).ok_or("without a model (`input_config.endpoint.model_names` or `.models.items[0].name`)")?;
    let completed = whole(mean(record, "request_count"));
    if completed == Some(0) {
        return Err("in which no request was completed".to_string());
    }
    let (prompt, generated) = (mean(record, "input_sequence_length"), mean(record, "output_sequence_length"));
    let gen_tokens = whole(generated).ok_or("whose lengths are not given")?;
    let metrics = metrics(record, gen_tokens)?;
    let failed = failed(record);
    let sending = Sending::of(config);
    let sent = completed.map(|completed| completed + failed);
    let load = Load {
        users: sending.concurrency().filter(|_| !sending.is_open()),
        cap: sending.concurrency(),
        sent: sent.map(|sent| sent as f64),
        counted: None,
        requests_per_s: mean(record, "request_throughput"),
        e2e_s: mean_s(record, "request_latency"),
        ttft_s: mean_s(record, "time_to_first_token"),
        tpot_s: mean_s(record, "inter_token_latency"),
        gen_tokens: generated,
    };
    let cards = cards(record);
    let mut notes = Vec::new();
    if prompt.is_none() {
        notes.push(NO_PROMPT.to_string());
    }
    if record.get("was_cancelled").and_then(Value::as_bool) == Some(true) {
        notes.push("it was cancelled before its end".to_string());
    }
    Ok(Observed {
        engine: "unknown".to_string(),
        device: cards.as_ref().map_or("cuda", |(name, _)| device::of_card(name)),
        hardware: cards.as_ref().map(|(name, _)| name.clone()),
        assumed: Assumed { accelerators: cards.is_none(), prompt: prompt.is_none(), ..Assumed::ENDPOINT },
        host: HostRecord { accelerators: cards.map_or(1, |(_, count)| count), ..HostRecord::default() },
        quant: level::within(&model),
        model,
        batch: load.batch().ok_or("whose requests in flight cannot be told")?,
        prompt_tokens: whole(prompt).unwrap_or(0),
        gen_tokens,
        arrival: sending.arrival(),
        definitions: "aiperf: its inter-token latency is TPOT here",
        samples: completed.unwrap_or(0),
        metrics,
        absent: vec![("itl_s".to_string(), "AIPerf's summary has one mean a request".to_string())],
        notes,
        failed,
        ..Observed::default()
    })
}
