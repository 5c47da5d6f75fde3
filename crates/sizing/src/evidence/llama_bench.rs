//! llama-bench of llama.cpp, as JSON, as one JSON object a line, or as CSV.
//!
//! A record with `n_gen` 0 is a prefill, one with `n_prompt` 0 decoding behind `n_depth` tokens; one with both is a
//! prompt and its answer, of which only the time in all is known. Sampling and tokenizing are not in its times, and
//! `n_batch` is the length of a chunk of a prompt, not a number of requests: there is always one sequence.

use super::llama_device::{DeviceFields, RunDevice, place};
use super::observed::{Observed, bytes, rate, time_of, whole};
use super::settings::{self, Settings};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, level, value};
use crate::record::{HostRecord, Metrics};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The format.
pub(crate) struct LlamaBench;

/// What its rates are.
pub(crate) const DEFINITIONS: &str = "llama-bench: rates of whole prefills and decodes, without sampling";

#[derive(Debug, Deserialize)]
struct Record {
    build_commit: Option<Value>,
    build_number: Option<Value>,
    cpu_info: Option<String>,
    /// Nothing where the record does not speak of cards at all, as a table on the screen.
    #[serde(default, deserialize_with = "said")]
    gpu_info: Option<Option<String>>,
    #[serde(alias = "backend")]
    backends: Option<String>,
    /// Until 2024 each backend was a yes or no of its own.
    cuda: Option<Value>,
    opencl: Option<Value>,
    vulkan: Option<Value>,
    kompute: Option<Value>,
    metal: Option<Value>,
    sycl: Option<Value>,
    model_filename: String,
    model_type: Option<String>,
    model_size: Option<f64>,
    model_n_params: Option<f64>,
    n_batch: Option<f64>,
    n_ubatch: Option<f64>,
    n_threads: Option<f64>,
    cpu_mask: Option<Value>,
    type_k: Option<String>,
    type_v: Option<String>,
    f16_kv: Option<Value>,
    n_gpu_layers: Option<f64>,
    n_cpu_moe: Option<f64>,
    split_mode: Option<String>,
    main_gpu: Option<f64>,
    no_kv_offload: Option<Value>,
    flash_attn: Option<Value>,
    devices: Option<Value>,
    tensor_split: Option<Value>,
    tensor_buft_overrides: Option<Value>,
    no_op_offload: Option<Value>,
    mul_mat_q: Option<Value>,
    n_prompt: f64,
    n_gen: f64,
    n_depth: Option<f64>,
    avg_ts: Option<f64>,
    stddev_ts: Option<f64>,
    samples_ts: Option<Vec<Value>>,
}

/// Whether something stands under a key, were it nothing.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A truth value as any of its builds writes it.
fn is_so(value: &Option<Value>) -> Option<bool> {
    match value.as_ref()? {
        Value::Bool(is_so) => Some(*is_so),
        Value::Number(number) => number.as_f64().map(|number| number > 0.0),
        Value::String(text) => Some(matches!(text.to_lowercase().as_str(), "1" | "true" | "on" | "yes")),
        _ => None,
    }
}

/// A text, or a number that a CSV file made of one.
fn text(value: &Option<Value>) -> Option<String> {
    match value.as_ref()? {
        Value::String(text) => Some(text.trim().to_string()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl Record {
    /// The commit that it was built from, else the number of the build. A commit of digits alone is a number in CSV.
    fn build(&self) -> Option<String> {
        text(&self.build_commit).or_else(|| text(&self.build_number))
    }

    /// The backends by name; those that were yes in the years of yes and no.
    fn backends(&self) -> Option<String> {
        if let Some(named) = self.backends.as_ref().filter(|names| !names.trim().is_empty()) {
            return Some(named.clone());
        }
        let old = [
            ("CUDA", &self.cuda),
            ("Metal", &self.metal),
            ("SYCL", &self.sycl),
            ("Vulkan", &self.vulkan),
            ("Kompute", &self.kompute),
            ("OpenCL", &self.opencl),
        ];
        let yes: Vec<&str> =
            old.iter().filter(|(_, value)| is_so(value) == Some(true)).map(|(name, _)| *name).collect();
        let known = old.iter().any(|(_, value)| value.is_some());
        known.then(|| if yes.is_empty() { "CPU".to_string() } else { yes.join(",") })
    }

    /// Where the layers were.
    fn placed(&self) -> Result<RunDevice, String> {
        let model = super::model::record(&self.model_filename, self.model_n_params, None);
        place(&DeviceFields {
            backends: self.backends().as_deref(),
            cards: self.gpu_info.as_ref().and_then(Option::as_deref).unwrap_or(""),
            cpu: self.cpu_info.as_deref().unwrap_or(""),
            is_old: self.backends.is_none()
                || text(&self.build_number).and_then(|n| n.parse::<f64>().ok()).is_some_and(|n| n < REGISTRY_BUILD),
            has_cards: self.gpu_info.is_none(),
            layers_on_device: self.n_gpu_layers,
            layers: model.map(|model| model.shape.layers),
            devices: text(&self.devices).as_deref(),
            split_mode: self.split_mode.as_deref(),
            main_gpu: whole(self.main_gpu).unwrap_or(0),
            tensor_split: text(&self.tensor_split).as_deref(),
            partly_on_cpu: whole(self.n_cpu_moe).is_some_and(|n| n > 0)
                || is_so(&self.no_kv_offload) == Some(true)
                || self.places().is_some_and(|places| places.to_uppercase().contains("CPU")),
            offloads_products: is_so(&self.no_op_offload) != Some(true),
        })
    }

    /// Which tensors were put where, if any were.
    fn places(&self) -> Option<String> {
        text(&self.tensor_buft_overrides).filter(|places| places != "none")
    }

    /// What tells this system from the next one.
    fn settings(&self, placed: &RunDevice) -> Settings {
        let mut all = Settings::default();
        all.put(settings::BACKEND, placed.backend.clone());
        let old_cache = (is_so(&self.f16_kv) == Some(false)).then(|| "f32".to_string());
        let cache = |kind: &Option<String>| kind.clone().or(old_cache.clone()).filter(|kind| kind != "f16");
        all.put(settings::CACHE_K, cache(&self.type_k));
        all.put(settings::CACHE_V, cache(&self.type_v));
        all.put(settings::GPU_LAYERS, whole(self.n_gpu_layers).filter(|_| placed.device == "mixed"));
        all.flag(settings::CACHE_ON_HOST, is_so(&self.no_kv_offload) == Some(true) && placed.device != "cpu");
        all.put(settings::CPU_MOE, whole(self.n_cpu_moe).filter(|n| *n > 0));
        all.put(settings::TENSOR_PLACES, self.places());
        all.flag(settings::NO_OFFLOAD, is_so(&self.no_op_offload) == Some(true) && placed.device != "cpu");
        if placed.cards > 1 {
            all.put(settings::SPLIT_MODE, self.split_mode.clone().filter(|mode| mode != "layer"));
            all.put(settings::TENSOR_SPLIT, text(&self.tensor_split).filter(|split| !no_split(split)));
        }
        let (chunk, part) = (whole(self.n_batch), whole(self.n_ubatch));
        let chunk = [chunk, part].into_iter().flatten().filter(|n| *n > 0).min();
        all.put(settings::CHUNK, chunk.filter(|chunk| *chunk != USUAL_CHUNK));
        let mask = text(&self.cpu_mask).filter(|mask| !matches!(mask.as_str(), "0x0" | "0"));
        all.put(settings::CPU_MASK, mask);
        all.put(settings::KERNELS, (is_so(&self.mul_mat_q) == Some(false)).then_some("without quantized products"));
        all
    }

    fn attention(&self) -> &'static str {
        match (is_so(&self.flash_attn), self.flash_attn.as_ref().and_then(Value::as_f64)) {
            (Some(true), _) => "flash attention",
            (_, Some(number)) if number < 0.0 => "flash attention where it can",
            _ => "",
        }
    }
}

/// Whether shares of cards say nothing: `0.00` is the default.
pub(super) fn no_split(split: &str) -> bool {
    split.split(['/', ',', ';']).all(|share| share.trim().parse::<f64>().is_ok_and(|share| share == 0.0))
}

/// Tokens of a prompt that llama.cpp computes at once if nobody asks for others.
const USUAL_CHUNK: usize = 512;

/// Repetitions that llama-bench makes where it does not list them.
const REPETITIONS: usize = 5;

/// From this build on, `gpu_info` lists the devices of every backend, and not those of CUDA alone.
const REGISTRY_BUILD: f64 = 4000.0;

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

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        for record in value::parse_each::<Record>(source, &mut found)? {
            found.tool_version = record.build().or(found.tool_version);
            found.add(observed(&record));
        }
        Ok(found)
    }
}

fn metrics(record: &Record, samples: usize) -> Result<(Metrics, usize, usize), String> {
    let speed = record.avg_ts.and_then(|mean| rate(mean, record.stddev_ts, samples));
    let speed = speed.ok_or("whose rate cannot be")?;
    let depth = whole(record.n_depth).unwrap_or(0);
    let (Some(prompt), Some(generated)) = (whole(Some(record.n_prompt)), whole(Some(record.n_gen))) else {
        return Err("whose lengths are not given".to_string());
    };
    let mut metrics = Metrics { weights: bytes(record.model_size), ..Metrics::default() };
    match (prompt, generated) {
        (0, 0) => return Err("that ran nothing".to_string()),
        (_, 0) if depth > 0 => {
            return Err("of a prefill behind other tokens, which is not a whole prompt".to_string());
        }
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
    Ok((metrics, prompt + depth, generated))
}

fn observed(record: &Record) -> Result<Observed, String> {
    let samples = record.samples_ts.as_ref().map_or(0, Vec::len);
    let repetitions = if samples == 0 { REPETITIONS } else { samples };
    let (metrics, prompt_tokens, gen_tokens) = metrics(record, repetitions)?;
    let placed = record.placed()?;
    let (size, parameters) = (record.model_size.unwrap_or(0.0), record.model_n_params.unwrap_or(0.0));
    let kind = record.model_type.as_deref().unwrap_or("");
    let named = level::of_gguf(&record.model_filename, kind, level::bits_of(size, parameters));
    let (quant, remark) = level::borne_out(named, size, parameters);
    Ok(Observed {
        engine: "llama.cpp".to_string(),
        engine_version: record.build().unwrap_or_default(),
        device: placed.device,
        hardware: placed.name.clone(),
        kernels: record.attention().to_string(),
        settings: record.settings(&placed).into_map(),
        host: HostRecord {
            cpu: record.cpu_info.clone().map(|cpu| cpu.trim().to_string()).filter(|cpu| !cpu.is_empty()),
            threads: whole(record.n_threads),
            accelerators: placed.cards,
            ..HostRecord::default()
        },
        model: file_name(&record.model_filename),
        parameters: record.model_n_params,
        quant,
        batch: 1,
        prompt_tokens,
        gen_tokens,
        arrival: "closed_batch".to_string(),
        definitions: DEFINITIONS,
        samples: repetitions,
        metrics,
        absent: vec![("itl_s".to_string(), "llama-bench times whole runs".to_string())],
        notes: remark.into_iter().chain(placed.remark).collect(),
        ..Observed::default()
    })
}

fn file_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or(path).to_string()
}
