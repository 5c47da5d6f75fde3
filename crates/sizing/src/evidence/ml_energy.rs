//! The ML.ENERGY benchmark: `results.json`, with the times of every request and the energy of the cards in the steady part.
//! Its rows for the leaderboard have no times to the first token and are recognised by name alone.

use super::in_flight::Load;
use super::served::{ServedRun, Times, number, text};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, level, value};
use serde_json::Value;
use std::collections::BTreeMap;

/// The format.
pub(crate) struct MlEnergy;

impl Importer for MlEnergy {
    fn name(&self) -> &'static str {
        "ml-energy"
    }

    fn tool(&self) -> &'static str {
        "ML.ENERGY benchmark"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"steady_state_energy\"", "\"max_num_seqs\"", "\"results\""];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |run: Value, found| {
            match served(&run).and_then(ServedRun::observed) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn served(run: &Value) -> Result<ServedRun, String> {
    let requests = run.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    let good: Vec<&Value> =
        requests.iter().filter(|one| one.get("success").and_then(Value::as_bool) == Some(true)).collect();
    if good.is_empty() {
        return Err("in which no request was completed".to_string());
    }
    let all = |of: &dyn Fn(&Value) -> Option<f64>| good.iter().filter_map(|one| of(one)).collect::<Vec<f64>>();
    let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
    let per_token = |one: &Value| {
        let tokens = number(one, &["output_len"]).filter(|tokens| *tokens > 1.0)?;
        Some((number(one, &["latency"])? - number(one, &["ttft"])?) / (tokens - 1.0))
    };
    let completed = good.len() as f64;
    let duration = number(run, &["duration"]).filter(|duration| *duration > 0.0);
    let most = number(run, &["max_num_seqs"]);
    let users = number(run, &["max_concurrency"]);
    let arrival = match (number(run, &["request_rate"]), users) {
        (Some(_), _) => "open_poisson".to_string(),
        (None, Some(users)) => format!("closed_{users}"),
        (None, None) => "offline".to_string(),
    };
    let model = text(run, &["model_id"]).unwrap_or_default();
    Ok(ServedRun {
        engine: Some("vllm".to_string()),
        hardware: text(run, &["gpu_model"]),
        cards: number(run, &["num_gpus"]).map(|cards| cards as usize),
        quant: text(run, &["weight_precision"]).and_then(|name| level::within(&name)),
        settings: most
            .map(|most| BTreeMap::from([("max_sequences".to_string(), most.to_string())]))
            .unwrap_or_default(),
        load: Load { users: users.filter(|_| arrival.starts_with("closed")), cap: most, ..Load::default() },
        arrival,
        prompt_tokens: Some(mean(all(&|one| number(one, &["input_len"])))),
        gen_tokens: Some(mean(all(&|one| number(one, &["output_len"])))),
        completed: Some(completed),
        failed: Some(requests.len() as f64 - completed),
        ttft: Times::of_values(all(&|one| number(one, &["ttft"]))),
        tpot: Times::of_values(all(&per_token)),
        e2e: Times::of_values(all(&|one| number(one, &["latency"]))),
        tokens_per_s: number(run, &["output_throughput"]),
        requests_per_s: duration.map(|duration| completed / duration),
        joules_per_token: number(run, &["steady_state_energy_per_token"]),
        model,
        definitions: "vllm",
        absent: vec![("itl_s".to_string(), "gaps are between chunks, which may hold several tokens".to_string())],
        ..ServedRun::default()
    })
}
