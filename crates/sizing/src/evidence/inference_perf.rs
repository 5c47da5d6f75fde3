//! inference-perf of Kubernetes SIGs: `stage_N_lifecycle_metrics.json`, times in seconds. A stage is one load; the summary
//! puts all stages into one, which is no load that anything was under. The files do not name the model: the user does.

use super::in_flight::Load;
use super::served::{ServedRun, Times, at, number};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, value};
use serde_json::Value;

/// The format.
pub(crate) struct InferencePerf;

const NAMES: [&str; 4] = ["mean", "median", "p90", "p99"];

impl Importer for InferencePerf {
    fn name(&self) -> &'static str {
        "inference-perf"
    }

    fn tool(&self) -> &'static str {
        "inference-perf"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"load_summary\"", "\"successes\"", "\"request_latency\""];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |report: Value, found| {
            match served(&report).and_then(ServedRun::observed) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn served(report: &Value) -> Result<ServedRun, String> {
    let load = |key: &str| number(report, &["load_summary", key]);
    let users = load("concurrency_level").or(load("concurrency"));
    let arrival = match (load("requested_rate"), users) {
        (_, Some(users)) => format!("closed_{users}"),
        (Some(_), None) => "open_unknown".to_string(),
        (None, None) => {
            return Err("that puts all stages into one (give stage_0_lifecycle_metrics.json and so on)".to_string());
        }
    };
    let of = |path: &[&str]| at(report, &[&["successes"], path].concat());
    let times = |what: &str| Times::of(of(&["latency", what]), NAMES, 1.0);
    let mean = |names: [&str; 2]| names.iter().find_map(|name| of(&[name, "mean"])?.as_f64());
    let rate = |what: &str| of(&["throughput", what]).and_then(Value::as_f64);
    Ok(ServedRun {
        arrival,
        load: Load { users, ..Load::default() },
        prompt_tokens: mean(["prompt_len", "prompt_tokens"]),
        gen_tokens: mean(["output_len", "output_tokens"]),
        completed: of(&["count"]).and_then(Value::as_f64),
        failed: number(report, &["failures", "count"]),
        ttft: times("time_to_first_token"),
        tpot: times("time_per_output_token"),
        e2e: times("request_latency"),
        tokens_per_s: rate("output_tokens_per_sec"),
        requests_per_s: rate("requests_per_sec"),
        definitions: "vllm",
        absent: vec![("itl_s".to_string(), "not taken over from inference-perf".to_string())],
        ..ServedRun::default()
    })
}
