//! SGLang's `bench_serving`, one JSON object a line. It grew out of vLLM's and has its keys and definitions but for the
//! times of whole requests, for gaps (one of k tokens counts k times) and for the model, which only newer ones name, among
//! what the server says of itself.

use super::served::{at, text};
use super::source::Source;
use super::vllm_serve::VllmServe;
use super::{EvidenceError, ImportedFile, Importer, value};
use serde_json::{Map, Value};

/// The format.
pub(crate) struct Sglang;

impl Importer for Sglang {
    fn name(&self) -> &'static str {
        "sglang-serve"
    }

    fn tool(&self) -> &'static str {
        "SGLang bench_serving"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"request_throughput\"", "_e2e_latency_ms\"", "_ttft_ms\"", "\"total_output_tokens\""];
        keys.iter().all(|key| source.text.contains(key))
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        let mut records = Vec::new();
        value::read_each(source, &mut found, |mut record: Map<String, Value>, found| {
            // The lists of single requests are not needed.
            record.retain(|_, value| !value.is_array());
            let server = record.get("server_info").cloned().unwrap_or(Value::Null);
            found.tool_version = text(&server, &["version"]).or(found.tool_version.take());
            records.push(in_vllm_s_words(record, &server));
            Ok(())
        })?;
        let mut read = VllmServe.read(&source.derived(&records))?;
        for observed in &mut read.observed {
            observed.engine_version = found.tool_version.clone().unwrap_or_default();
            let why = "SGLang counts a gap once for each of its tokens";
            observed.absent.push(("itl_s".to_string(), why.to_string()));
        }
        found.take(read);
        Ok(found)
    }
}

/// What the server says of itself, by the names that vLLM's users give to `--metadata`.
const OF_THE_SERVER: [(&str, &str); 9] = [
    ("tp_size", "tensor_parallel_size"),
    ("pp_size", "pipeline_parallel_size"),
    ("dp_size", "data_parallel_size"),
    ("ep_size", "expert_parallel_size"),
    ("quantization", "quantization"),
    ("dtype", "dtype"),
    ("kv_cache_dtype", "kv_cache_dtype"),
    ("speculative_algorithm", "speculative_method"),
    ("speculative_draft_model_path", "speculative_model"),
];

fn in_vllm_s_words(mut record: Map<String, Value>, server: &Value) -> Value {
    for of in ["mean", "median", "p90", "p99"] {
        if let Some(time) = record.remove(&format!("{of}_e2e_latency_ms")) {
            record.insert(format!("{of}_e2el_ms"), time);
        }
        record.remove(&format!("{of}_itl_ms"));
    }
    // Infinity is no number of JSON and was left out.
    if record.get("request_rate").is_none_or(Value::is_null) {
        record.insert("request_rate".into(), "inf".into());
    }
    let named = ["model_id", "model"].iter().find_map(|key| record.get(*key)?.as_str().map(str::to_string));
    let named = named.or_else(|| text(server, &["model_path"])).or_else(|| text(server, &["served_model_name"]));
    record.insert("model_id".into(), named.unwrap_or_default().into());
    for (theirs, ours) in OF_THE_SERVER {
        if let Some(said) = at(server, &[theirs]).filter(|said| *said != "auto") {
            record.entry(ours).or_insert(said.clone());
        }
    }
    let backend = record.get("backend").and_then(Value::as_str).unwrap_or("sglang");
    let engine = if backend.starts_with("sglang") { "sglang" } else { backend };
    record.insert("backend".into(), engine.into());
    Value::Object(record)
}
