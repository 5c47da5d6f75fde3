//! `vllm bench serve`: times of requests to a server. Their definitions are the project's own.

use super::observed::{Observed, milliseconds};
use super::source::Source;
use super::{EvidenceError, Found, Importer, value};
use crate::record::{Estimate, Metrics};
use crate::units::{RequestsPerSecond, TokensPerSecond};
use serde::Deserialize;
use serde_json::Value;

/// The format.
pub struct VllmServe;

#[derive(Debug, Deserialize)]
struct Record {
    model_id: String,
    backend: Option<String>,
    endpoint_type: Option<String>,
    request_rate: Value,
    burstiness: Option<f64>,
    max_concurrency: Option<f64>,
    max_concurrent_requests: Option<f64>,
    duration: f64,
    completed: usize,
    failed: Option<usize>,
    total_input_tokens: f64,
    total_output_tokens: f64,
    request_throughput: f64,
    output_throughput: f64,
    median_ttft_ms: Option<f64>,
    median_tpot_ms: Option<f64>,
    median_itl_ms: Option<f64>,
    median_e2el_ms: Option<f64>,
    p90_ttft_ms: Option<f64>,
    p90_tpot_ms: Option<f64>,
    p90_itl_ms: Option<f64>,
    p90_e2el_ms: Option<f64>,
    p99_ttft_ms: Option<f64>,
    p99_tpot_ms: Option<f64>,
    p99_itl_ms: Option<f64>,
    p99_e2el_ms: Option<f64>,
}

impl Importer for VllmServe {
    fn name(&self) -> &'static str {
        "vllm-serve"
    }

    fn tool(&self) -> &'static str {
        "vllm bench serve"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"request_rate\"", "\"request_throughput\"", "\"model_id\""];
        keys.iter().all(|key| source.text.contains(key)) && source.text.contains("_ttft_ms\"")
    }

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found::default();
        value::read_each(source, &mut found, |record: Record, found| {
            match observed(&record) {
                Some(observed) if observed.metrics.ttft.is_none() || observed.metrics.tpot.is_none() => {
                    return Err("`median_ttft_ms` or `median_tpot_ms` is missing or not above 0".to_string());
                }
                Some(observed) => found.observed.push(observed),
                None => found.skip("in which no request was completed"),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// `open_poisson`, `open_gamma`, or a closed loop where all are sent at once and a limit holds them back.
fn arrival(record: &Record) -> String {
    match (record.request_rate.as_f64(), record.max_concurrency, record.burstiness) {
        (Some(_), _, Some(burstiness)) if burstiness != 1.0 => "open_gamma".to_string(),
        (Some(_), _, _) => "open_poisson".to_string(),
        (None, Some(users), _) => format!("closed_{users}"),
        (None, None, _) => "offline".to_string(),
    }
}

fn observed(record: &Record) -> Option<Observed> {
    if record.completed == 0 || record.duration <= 0.0 {
        return None;
    }
    let each = |tokens: f64| (tokens / record.completed as f64).round() as usize;
    // Requests in flight in the mean, by Little's law, where the file does not count them.
    let in_flight = record.median_e2el_ms.map(|ms| record.request_throughput * ms * 1e-3);
    let batch = record.max_concurrency.or(in_flight).or(record.max_concurrent_requests).unwrap_or(1.0);
    let metrics = Metrics {
        ttft: milliseconds(record.median_ttft_ms, record.p90_ttft_ms, record.p99_ttft_ms),
        tpot: milliseconds(record.median_tpot_ms, record.p90_tpot_ms, record.p99_tpot_ms),
        itl: milliseconds(record.median_itl_ms, record.p90_itl_ms, record.p99_itl_ms),
        e2e: milliseconds(record.median_e2el_ms, record.p90_e2el_ms, record.p99_e2el_ms),
        decode_tokens_per_s: Some(Estimate { value: TokensPerSecond(record.output_throughput), lo: None, hi: None }),
        requests_per_s: Some(Estimate { value: RequestsPerSecond(record.request_throughput), lo: None, hi: None }),
        ..Metrics::default()
    };
    let failed = record.failed.filter(|failed| *failed > 0);
    Some(Observed {
        engine: record
            .backend
            .clone()
            .or(record.endpoint_type.clone())
            .filter(|name| !name.starts_with("openai"))
            .unwrap_or("vllm".to_string()),
        device: "cuda",
        host: crate::record::HostRecord { accelerators: 1, ..Default::default() },
        model: record.model_id.clone(),
        batch: batch.round().max(1.0) as usize,
        prompt_tokens: each(record.total_input_tokens),
        gen_tokens: each(record.total_output_tokens),
        arrival: arrival(record),
        definitions: "vllm",
        samples: record.completed,
        metrics,
        notes: failed.map(|failed| format!("{failed} requests failed")).into_iter().collect(),
        ..Observed::default()
    })
}
