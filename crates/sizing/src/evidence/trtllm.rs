//! TensorRT-LLM's `trtllm-bench ... --report_json`. Its time per output token is that of a request without its first token.

use super::in_flight::Load;
use super::served::{ServedRun, Times, at, number, text};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, level, value};
use serde_json::Value;
use std::collections::BTreeMap;

/// The format.
pub(crate) struct Trtllm;

const NAMES: [&str; 4] = ["average", "p50", "p90", "p99"];

impl Importer for Trtllm {
    fn name(&self) -> &'static str {
        "trtllm-bench"
    }

    fn tool(&self) -> &'static str {
        "trtllm-bench"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"world_info\"", "\"request_info\"", "\"performance\"", "\"request_throughput_req_s\""];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |report: Value, found| {
            found.tool_version = text(&report, &["engine", "version"]).or(found.tool_version.take());
            if at(&report, &["streaming_metrics"]).is_none() {
                found.skip("without times of tokens (trtllm-bench throughput takes --streaming)");
                return Ok(());
            }
            match served(&report).observed() {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn served(report: &Value) -> ServedRun {
    let world = |key: &str| number(report, &["world_info", key]);
    let times = |path: &[&str]| Times::of(at(report, path), NAMES, 1e-3);
    let quant = text(report, &["engine", "quantization"]).and_then(|name| level::within(&name));
    let dtype = text(report, &["engine", "dtype"]).filter(|_| at(report, &["engine", "quantization"]).is_none());
    let mut settings = BTreeMap::new();
    let mut above_one = |name: &str, count: Option<f64>| {
        if let Some(count) = count.filter(|count| *count > 1.0) {
            settings.insert(name.to_string(), count.to_string());
        }
    };
    above_one("expert_parallel", world("ep_size"));
    above_one("pipeline_parallel", world("pp_size"));
    above_one("max_sequences", world("max_batch_size"));
    for (name, path) in [("speculation", ["decoding_stats", "mode"]), ("cache", ["engine", "kv_cache_dtype"])] {
        if let Some(said) = text(report, &path).filter(|said| said != "auto") {
            settings.insert(name.to_string(), said);
        }
    }
    ServedRun {
        model: text(report, &["engine", "model"]).unwrap_or_default(),
        engine: Some("tensorrt-llm".to_string()),
        engine_version: text(report, &["engine", "version"]),
        hardware: text(report, &["machine", "name"]),
        cards: world("world_size")
            .or(world("tp_size").map(|tp| tp * world("pp_size").unwrap_or(1.0)))
            .map(|n| n as usize),
        quant: quant.or_else(|| level::within(&dtype?)),
        settings,
        // The report does not say whether a concurrency held requests back.
        arrival: "offline".to_string(),
        load: Load {
            cap: world("max_batch_size"),
            counted: number(report, &["request_info", "avg_num_concurrent_requests"]),
            ..Load::default()
        },
        prompt_tokens: number(report, &["request_info", "avg_input_length"]),
        gen_tokens: number(report, &["request_info", "avg_output_length"]),
        completed: number(report, &["request_info", "num_requests"]),
        ttft: times(&["streaming_metrics", "ttft_percentiles"]),
        tpot: times(&["streaming_metrics", "tpot_percentiles"]),
        e2e: times(&["performance", "request_latency_percentiles_ms"]),
        tokens_per_s: number(report, &["performance", "system_output_throughput_tok_s"]),
        requests_per_s: number(report, &["performance", "request_throughput_req_s"]),
        definitions: "vllm",
        absent: vec![("itl_s".to_string(), "trtllm-bench has one mean a request".to_string())],
        ..ServedRun::default()
    }
}
