//! GuideLLM: `benchmarks.json`. Its `time_per_output_token_ms` has the first token's time in it and is not taken for TPOT;
//! its `inter_token_latency_ms` is `(last - first) / (n - 1)`, which is, but weighted by tokens where it is summed up.

use super::in_flight::Load;
use super::observed::{Assumed, NO_PROMPT, Observed, estimate, finite, milliseconds, whole};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, level, value};
use crate::record::{Distribution, HostRecord, Metrics};
use crate::units::{RequestsPerSecond, Seconds, TokensPerSecond};
use serde_json::Value;

/// The format.
pub(crate) struct Guidellm;

/// What the numbers are.
pub(crate) const DEFINITIONS: &str =
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

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |report: Value, found| {
            let version = report["metadata"]["guidellm_version"].as_str().or(report["metadata"]["version"].as_str());
            found.tool_version = version.map(str::to_string).or(found.tool_version.take());
            let benchmarks = report.get("benchmarks").and_then(Value::as_array).ok_or("`benchmarks` is missing")?;
            for benchmark in benchmarks {
                found.add(observed(&report, benchmark));
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The first of several places where a text may stand.
fn text(places: &[Option<&Value>]) -> Option<String> {
    places.iter().flatten().find_map(|value| value.as_str()).map(str::to_string)
}

fn number(metric: &Value, key: &str) -> Option<f64> {
    finite(metric.get(key).and_then(Value::as_f64))
}

/// The numbers of one benchmark, of the requests that were completed.
struct Numbers<'a>(&'a Value);

impl Numbers<'_> {
    fn of(&self, tag: &str) -> Option<&Value> {
        self.0.get(tag).map(|metric| metric.get("successful").unwrap_or(metric)).filter(|metric| !metric.is_null())
    }

    fn mean(&self, tag: &str) -> Option<f64> {
        number(self.of(tag)?, "mean")
    }

    fn times(&self, tag: &str, factor: f64) -> Result<Option<Distribution<Seconds>>, String> {
        let metric = self.of(tag).ok_or(format!("without `metrics.{tag}`"))?;
        let percentile = |key: &str| metric.get("percentiles").and_then(|percentiles| number(percentiles, key));
        let ms = |value: Option<f64>| value.map(|v| v * factor);
        let median = number(metric, "median").or(percentile("p50"));
        Ok(milliseconds(ms(median), ms(percentile("p90")), ms(percentile("p99"))))
    }
}

/// How many requests ended in each way.
#[derive(Default)]
struct Totals {
    completed: usize,
    errored: usize,
    incomplete: usize,
}

impl Totals {
    /// In the places of the releases: the metrics, or (up to 0.3) what was counted of the run.
    fn of(benchmark: &Value, numbers: &Numbers<'_>) -> Self {
        let places = [
            benchmark.pointer("/metrics/request_totals"),
            benchmark.pointer("/run_stats/requests_made"),
            benchmark.get("request_totals"),
        ];
        let totals = places.into_iter().flatten().next();
        let state = benchmark.get("scheduler_state");
        let at =
            |place: Option<&Value>, key: &str| whole(place.and_then(|place| place.get(key)).and_then(Value::as_f64));
        let counted = |key: &str, old: &str| at(totals, key).or(at(state, old));
        // Of each metric, how many requests it is of.
        let by_metric = |group: &str| whole(numbers.0.pointer(&format!("/request_latency/{group}/count"))?.as_f64());
        Self {
            completed: by_metric("successful").or(counted("successful", "successful_requests")).unwrap_or(0),
            errored: counted("errored", "errored_requests").or(by_metric("errored")).unwrap_or(0),
            incomplete: counted("incomplete", "cancelled_requests").or(by_metric("incomplete")).unwrap_or(0),
        }
    }

    /// Requests that are missing from the numbers. Those that the end of the time cut off are usual, as many as were in
    /// flight; where they outnumber the completed ones, the numbers are of the quick ones.
    fn failed(&self) -> usize {
        let cut = if self.incomplete > self.completed { self.incomplete } else { 0 };
        self.errored + cut
    }
}

/// What was asked of one benchmark: its strategy, where the releases have it.
fn strategy(benchmark: &Value) -> &Value {
    let places = ["/config/strategy", "/args/strategy", "/scheduler/strategy", "/config/profile", "/args/profile"];
    places.iter().find_map(|place| benchmark.pointer(place).filter(|value| !value.is_null())).unwrap_or(&Value::Null)
}

/// The model, in the places of the releases.
fn model(report: &Value, benchmark: &Value) -> Option<String> {
    let in_benchmark =
        ["/config/backend/model", "/config/model", "/worker/backend_model", "/worker/backend_info/model"];
    let in_report = ["/config/backend/model", "/config/model", "/args/model", "/args/backend/model"];
    let places: Vec<Option<&Value>> = in_benchmark
        .iter()
        .map(|place| benchmark.pointer(place))
        .chain(in_report.iter().map(|place| report.pointer(place)))
        .collect();
    text(&places).filter(|name| !name.is_empty())
}

/// Times, lengths and rates of one benchmark.
fn metrics(numbers: &Numbers<'_>, gen_tokens: usize) -> Result<Metrics, String> {
    let e2e = numbers.times("request_latency", 1e3)?;
    if e2e.is_none() {
        return Err("in which no request was completed".to_string());
    }
    let ttft = numbers.times("time_to_first_token_ms", 1.0)?;
    let tpot = numbers.times("inter_token_latency_ms", 1.0)?;
    match (ttft, tpot, gen_tokens) {
        (None, ..) => return Err("without a time to the first token above 0".to_string()),
        (_, None, 2..) => return Err("without an inter-token latency above 0".to_string()),
        _ => {}
    }
    Ok(Metrics {
        ttft,
        tpot: tpot.filter(|_| gen_tokens > 1),
        e2e,
        decode_tokens_per_s: estimate(numbers.mean("output_tokens_per_second"), TokensPerSecond),
        requests_per_s: estimate(numbers.mean("requests_per_second"), RequestsPerSecond),
        ..Metrics::default()
    })
}

fn observed(report: &Value, benchmark: &Value) -> Result<Observed, String> {
    let numbers = Numbers(benchmark.get("metrics").ok_or("without `metrics`")?);
    let tokens = |tag: &str| whole(numbers.mean(tag)).filter(|tokens| *tokens > 0);
    let prompt_tokens = tokens("prompt_token_count");
    let model = model(report, benchmark)
        .ok_or("whose model is not named (`config.backend.model` or `worker.backend_model`)")?;
    let strategy = strategy(benchmark);
    let kind = text(&[strategy.get("type_"), strategy.get("type"), Some(strategy)]).unwrap_or("unknown".to_string());
    let gen_tokens = tokens("output_token_count").unwrap_or(0);
    let metrics = metrics(&numbers, gen_tokens)?;
    let totals = Totals::of(benchmark, &numbers);
    let (failed, sent) = (totals.failed(), totals.completed + totals.errored + totals.incomplete);
    let users = match kind.as_str() {
        "synchronous" => Some(1.0),
        "concurrent" => ["streams", "concurrency"].iter().find_map(|key| number(strategy, key)),
        _ => None,
    };
    let load = Load {
        users,
        cap: number(strategy, "max_concurrency"),
        sent: (sent > 0).then_some(sent as f64),
        counted: numbers.mean("request_concurrency"),
        requests_per_s: numbers.mean("requests_per_second"),
        e2e_s: numbers.mean("request_latency"),
        ttft_s: numbers.mean("time_to_first_token_ms").map(|ms| ms * 1e-3),
        tpot_s: numbers.mean("inter_token_latency_ms").map(|ms| ms * 1e-3),
        gen_tokens: Some(gen_tokens as f64),
    };
    let batch = load.batch().ok_or("whose requests in flight cannot be told")?;
    let cut = totals.incomplete.saturating_sub(failed.saturating_sub(totals.errored));
    let cut = (cut > 0).then(|| format!("{cut} requests were cut off by the end of the time"));
    Ok(Observed {
        engine: "unknown".to_string(),
        device: "cuda",
        assumed: Assumed { prompt: prompt_tokens.is_none(), answer: gen_tokens == 0, ..Assumed::ENDPOINT },
        host: HostRecord { accelerators: 1, ..HostRecord::default() },
        quant: level::within(&model),
        model,
        batch,
        prompt_tokens: prompt_tokens.unwrap_or(0),
        gen_tokens,
        arrival: arrival(&kind, users.unwrap_or(batch as f64)),
        definitions: DEFINITIONS,
        samples: totals.completed,
        metrics,
        absent: vec![("itl_s".to_string(), "GuideLLM does not keep gaps apart".to_string())],
        notes: cut.into_iter().chain(prompt_tokens.is_none().then(|| NO_PROMPT.to_string())).collect(),
        failed,
        ..Observed::default()
    })
}

/// The project's word for one of its strategies.
pub(crate) fn arrival(strategy: &str, users: f64) -> String {
    match strategy {
        "synchronous" => "closed_1".to_string(),
        "concurrent" => format!("closed_{}", users.round()),
        "throughput" => "offline".to_string(),
        "constant" | "async" => "open_constant".to_string(),
        "poisson" => "open_poisson".to_string(),
        other => other.to_string(),
    }
}
