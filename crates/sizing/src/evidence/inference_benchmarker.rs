//! Hugging Face's inference-benchmarker: steps of constant users or of a constant rate, times in milliseconds.

use super::in_flight::Load;
use super::served::{ServedRun, Times, at, number, text};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, value};
use serde_json::Value;

/// The format.
pub(crate) struct InferenceBenchmarker;

impl Importer for InferenceBenchmarker {
    fn name(&self) -> &'static str {
        "inference-benchmarker"
    }

    fn tool(&self) -> &'static str {
        "inference-benchmarker"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"executor_type\"", "\"token_throughput_secs\"", "\"time_to_first_token_ms\""];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |report: Value, found| {
            let config = at(&report, &["config"]).cloned().unwrap_or(Value::Null);
            let names = ["model_name", "model", "tokenizer", "tokenizer_name"];
            let model = names.iter().find_map(|name| text(&config, &[name])).unwrap_or_default();
            let steps = at(&report, &["results"]).and_then(Value::as_array).ok_or("`results` is missing")?;
            for step in steps {
                match served(step, &model).and_then(ServedRun::observed) {
                    Ok(observed) => found.observed.push(observed),
                    Err(why) => found.skip(why),
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn served(step: &Value, model: &str) -> Result<ServedRun, String> {
    if text(step, &["id"]).as_deref() == Some("warmup") {
        return Err("of a warm-up".to_string());
    }
    let at_step = |key: &str| number(step, &[key]);
    let times = |what: &str| Times::of(at(step, &[what]), ["avg", "p50", "p90", "p99"], 1e-3);
    let users = number(step, &["config", "max_vus"]);
    let (arrival, load) = match (number(step, &["config", "rate"]), users) {
        (Some(_), cap) => ("open_constant".to_string(), Load { cap, ..Load::default() }),
        (None, Some(users)) => (format!("closed_{users}"), Load { users: Some(users), ..Load::default() }),
        (None, None) => return Err("without users or a rate".to_string()),
    };
    let completed = at_step("successful_requests").or(at_step("total_requests"));
    let each =
        |total: Option<f64>| total.zip(completed.filter(|count| *count > 0.0)).map(|(total, count)| total / count);
    Ok(ServedRun {
        model: model.to_string(),
        arrival,
        load,
        prompt_tokens: each(at_step("total_tokens_sent")),
        gen_tokens: each(at_step("total_tokens")),
        completed,
        failed: at_step("failed_requests"),
        ttft: times("time_to_first_token_ms"),
        tpot: times("inter_token_latency_ms"),
        e2e: times("e2e_latency_ms"),
        tokens_per_s: at_step("token_throughput_secs"),
        requests_per_s: at_step("request_rate"),
        definitions: "inference-benchmarker: TPOT is the mean gap between chunks of a request",
        absent: vec![("itl_s".to_string(), "inference-benchmarker has one mean a request".to_string())],
        ..ServedRun::default()
    })
}
