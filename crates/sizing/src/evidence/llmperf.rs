//! Ray's llmperf: `*_summary.json` of its load test.
//!
//! Its inter-token latency is the time of a whole request over all its tokens, the first one's wait included: TPOT here is
//! what is left of the mean request without its mean first token. It counts tokens with a tokenizer of its own, Llama's.

use super::in_flight::Load;
use super::served::{ServedRun, Times, number, text};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, value};
use serde_json::Value;

/// The format.
pub(crate) struct Llmperf;

impl Importer for Llmperf {
    fn name(&self) -> &'static str {
        "llmperf"
    }

    fn tool(&self) -> &'static str {
        "llmperf"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"num_concurrent_requests\"", "\"results_ttft_s_", "\"results_end_to_end_latency_s_"];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |summary: Value, found| {
            match served(&summary).and_then(ServedRun::observed) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn served(summary: &Value) -> Result<ServedRun, String> {
    let at = |key: &str| number(summary, &[key]);
    let times = |what: &str| {
        let names = ["mean", "quantiles_p50", "quantiles_p90", "quantiles_p99"];
        let names = names.map(|name| format!("results_{what}_s_{name}"));
        Times::of(Some(summary), [&names[0], &names[1], &names[2], &names[3]], 1.0)
    };
    let (ttft, e2e) = (times("ttft"), times("end_to_end_latency"));
    let generated = at("results_number_output_tokens_mean").or(at("mean_output_tokens"));
    let tpot = generated.zip(e2e.mean.zip(ttft.mean)).and_then(|(tokens, (whole, first))| {
        Some((whole - first) / (tokens - 1.0)).filter(|time| time.is_finite() && *time > 0.0)
    });
    let users = at("num_concurrent_requests").ok_or("without `num_concurrent_requests`")?;
    Ok(ServedRun {
        model: text(summary, &["model"]).unwrap_or_default(),
        arrival: format!("closed_{users}"),
        load: Load { users: Some(users), ..Load::default() },
        prompt_tokens: at("results_number_input_tokens_mean").or(at("mean_input_tokens")),
        gen_tokens: generated,
        completed: at("results_num_completed_requests"),
        failed: at("results_number_errors"),
        ttft,
        tpot: Times { mean: tpot, median: tpot, ..Times::default() },
        e2e,
        tokens_per_s: at("results_mean_output_throughput_token_per_s"),
        requests_per_s: at("results_num_completed_requests_per_min").map(|rate| rate / 60.0),
        definitions: "llmperf: TPOT from the means of whole requests and of first tokens; tokens as Llama's tokenizer counts",
        absent: vec![("itl_s".to_string(), "llmperf's inter-token latency holds the first token's wait".to_string())],
        ..ServedRun::default()
    })
}
