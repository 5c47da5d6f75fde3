//! llama-bench of llama.cpp, as JSON, as one JSON object a line, or as CSV.
//!
//! A record with `n_gen` 0 is a prefill, one with `n_prompt` 0 decoding behind `n_depth` tokens; one with both is a
//! prompt and its answer, of which only the time in all is known. Sampling and tokenizing are not in its times, and
//! `n_batch` is the length of a chunk of a prompt, not a number of requests: there is always one sequence.

use super::observed::{Observed, bytes, quant_of, rate, time_of};
use super::source::Source;
use super::{EvidenceError, Found, Importer, value};
use crate::record::{HostRecord, Metrics};
use serde::Deserialize;

/// The format.
pub struct LlamaBench;

/// What the numbers are.
pub const DEFINITIONS: &str =
    "llama-bench: mean over repetitions of whole prefills and of decode steps, without sampling";

#[derive(Debug, Deserialize)]
struct Record {
    build_commit: Option<serde_json::Value>,
    build_number: Option<serde_json::Value>,
    cpu_info: String,
    #[serde(default)]
    gpu_info: Option<String>,
    #[serde(alias = "backend")]
    backends: Option<String>,
    model_filename: String,
    model_type: String,
    model_size: f64,
    model_n_params: f64,
    n_threads: Option<usize>,
    n_gpu_layers: Option<i64>,
    flash_attn: Option<serde_json::Value>,
    n_prompt: usize,
    n_gen: usize,
    #[serde(default)]
    n_depth: Option<usize>,
    avg_ts: f64,
    stddev_ts: Option<f64>,
    #[serde(default)]
    samples_ts: Vec<f64>,
}

impl Record {
    /// The commit that it was built from, else the number of the build. A commit of digits alone is a number in CSV.
    fn build(&self) -> Option<String> {
        let text = |value: &serde_json::Value| value.as_str().map_or(value.to_string(), str::to_string);
        self.build_commit.as_ref().or(self.build_number.as_ref()).filter(|value| !value.is_null()).map(text)
    }
}

/// Repetitions that llama-bench makes where it does not list them.
const REPETITIONS: usize = 5;

impl Importer for LlamaBench {
    fn name(&self) -> &'static str {
        "llama-bench"
    }

    fn tool(&self) -> &'static str {
        "llama-bench"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.has(&["model_n_params", "n_gpu_layers", "avg_ts"])
            || source.has(&["build_commit", "model_n_params", "n_prompt"])
    }

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found::default();
        for record in value::parse_each::<Record>(source, &mut found)? {
            found.tool_version = record.build().or(found.tool_version);
            match observed(&record) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
        }
        Ok(found)
    }
}

/// Where the layers were: all on the accelerator, none, or some.
pub fn device_of(backend: &str, layers_on_device: Option<i64>, layers: Option<usize>) -> &'static str {
    let accelerated = ["CUDA", "ROCm", "Vulkan", "Metal", "SYCL"].iter().any(|name| backend.contains(name));
    match (accelerated, layers_on_device) {
        (false, _) => "cpu",
        // Products of long prompts run on the card all the same.
        (true, Some(0)) => "mixed",
        (true, None | Some(99 | 999 | -1)) => "cuda",
        (true, Some(n)) if layers.is_some_and(|all| n >= all as i64) => "cuda",
        (true, Some(_)) => "mixed",
    }
}

fn observed(record: &Record) -> Result<Observed, &'static str> {
    let repetitions = if record.samples_ts.is_empty() { REPETITIONS } else { record.samples_ts.len() };
    let speed = rate(record.avg_ts, record.stddev_ts, repetitions).ok_or("whose rate is not above 0")?;
    let model = super::model::record(&record.model_filename, Some(record.model_n_params), None);
    let layers = model.as_ref().map(|model| model.shape.layers);
    let device = device_of(record.backends.as_deref().unwrap_or(""), record.n_gpu_layers, layers);
    let cards: Vec<&str> =
        record.gpu_info.as_deref().unwrap_or("").split([',', '/']).map(str::trim).filter(|n| !n.is_empty()).collect();
    let depth = record.n_depth.unwrap_or(0);
    let mut metrics = Metrics { weights: bytes(Some(record.model_size)), ..Metrics::default() };
    match (record.n_prompt, record.n_gen) {
        (0, 0) => return Err("that ran nothing"),
        (_, 0) if depth > 0 => return Err("of a prefill behind other tokens, which is not a whole prompt"),
        (prompt, 0) => {
            metrics.prefill_tokens_per_s = Some(speed);
            metrics.ttft = Some(time_of(prompt as f64, speed));
        }
        (0, _) => {
            metrics.decode_tokens_per_s = Some(speed);
            metrics.tpot = Some(time_of(1.0, speed));
        }
        (prompt, generated) => metrics.e2e = Some(time_of((prompt + generated) as f64, speed)),
    }
    let attention = match &record.flash_attn {
        Some(serde_json::Value::Bool(true)) => "flash attention",
        Some(value) if value.as_i64() == Some(1) => "flash attention",
        _ => "",
    };
    Ok(Observed {
        engine: "llama.cpp".to_string(),
        engine_version: record.build().unwrap_or_default(),
        device,
        hardware: (device != "cpu").then(|| cards.first().map(|name| name.to_string())).flatten(),
        kernels: attention.to_string(),
        host: HostRecord {
            cpu: Some(record.cpu_info.clone()).filter(|cpu| !cpu.is_empty()),
            threads: record.n_threads,
            accelerators: if device == "cpu" { 0 } else { cards.len().max(1) },
            ..HostRecord::default()
        },
        model: file_name(&record.model_filename),
        parameters: Some(record.model_n_params),
        quant: quant_of(&record.model_type),
        batch: 1,
        prompt_tokens: record.n_prompt + depth,
        gen_tokens: record.n_gen,
        arrival: "closed_batch".to_string(),
        definitions: DEFINITIONS,
        samples: repetitions,
        metrics,
        absent: vec![("itl_s".to_string(), "llama-bench times whole runs".to_string())],
        ..Observed::default()
    })
}

fn file_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or(path).to_string()
}
