//! genai-bench of the SGLang project: the file of one scenario and concurrency. The model stands in the file's name and in
//! `experiment_metadata.json`, not in it.

use super::in_flight::Load;
use super::served::{ServedRun, Times, at, number, text};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, value};
use serde_json::Value;

/// The format.
pub(crate) struct GenaiBench;

impl Importer for GenaiBench {
    fn name(&self) -> &'static str {
        "genai-bench"
    }

    fn tool(&self) -> &'static str {
        "genai-bench"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"aggregated_metrics\"", "\"num_completed_requests\"", "\"stats\"", "\"ttft\""];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        let model = named(&source.file.name).unwrap_or_default();
        value::read_each(source, &mut found, |report: Value, found| {
            match served(&report, &model).and_then(ServedRun::observed) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The model in `D100_100_text-to-text_owner_name_num_concurrency_1_time_120s.json`; its slash became an underscore.
fn named(file: &str) -> Option<String> {
    let (_, rest) = file.split_once("text-to-text")?;
    let end = ["_num_concurrency_", "_concurrency_", "_request_rate_"].iter().find_map(|word| rest.find(word))?;
    let name = rest[..end].strip_prefix('_')?;
    Some(name.replacen('_', "/", 1)).filter(|name| !name.is_empty())
}

fn served(report: &Value, model: &str) -> Result<ServedRun, String> {
    let metrics = at(report, &["aggregated_metrics"]).ok_or("without `aggregated_metrics`")?;
    let unit =
        ["_time_unit", "time_unit"].iter().find_map(|key| text(report, &[key]).or_else(|| text(metrics, &[key])));
    let factor = match unit.as_deref() {
        None | Some("s") => 1.0,
        Some("ms") => 1e-3,
        Some(unit) => return Err(format!("whose times are in `{unit}`, which is not known")),
    };
    let times = |what: &str| Times::of(at(metrics, &["stats", what]), ["mean", "p50", "p90", "p99"], factor);
    let mean = |what: &str| number(metrics, &["stats", what, "mean"]);
    let users = number(metrics, &["num_concurrency"]).ok_or("without `num_concurrency`")?;
    Ok(ServedRun {
        model: text(metrics, &["model"]).unwrap_or(model.to_string()),
        arrival: format!("closed_{users}"),
        load: Load { users: Some(users), ..Load::default() },
        prompt_tokens: mean("num_input_tokens"),
        gen_tokens: mean("num_output_tokens"),
        completed: number(metrics, &["num_completed_requests"]),
        failed: number(metrics, &["num_error_requests"]),
        ttft: times("ttft"),
        tpot: times("tpot"),
        e2e: times("e2e_latency"),
        tokens_per_s: number(metrics, &["mean_output_throughput_tokens_per_s"]),
        requests_per_s: number(metrics, &["requests_per_second"]),
        definitions: "vllm",
        absent: vec![("itl_s".to_string(), "genai-bench does not keep gaps".to_string())],
        ..ServedRun::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_stands_in_the_file_s_name() {
        let of = |file: &str| named(file).unwrap_or_default();
        assert_eq!(of("D100_100_text-to-text_zai-org_GLM-4.6_num_concurrency_1_time_300s.json"), "zai-org/GLM-4.6");
        assert_eq!(of("D100_100_text-to-text_num_concurrency_1_time_120s.json"), "");
    }
}
