//! SpareCores sc-inspector-data (CC-BY-SA-4.0), as tables of one row a measurement: llama-bench and vLLM (driven by
//! GuideLLM) on cloud instances.

use super::in_flight::Load;
use super::llama_bench;
use super::llama_device::{DeviceFields, RunDevice, place};
use super::observed::{Observed, bytes, estimate, milliseconds, rate, time_of};
use super::settings::{BACKEND, Settings};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, device, guidellm, level};
use crate::record::{HostRecord, Metrics};
use crate::units::{RequestsPerSecond, TokensPerSecond};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Terms of the collection.
const LICENCE: &str = "CC-BY-SA-4.0 (SpareCores sc-inspector-data)";

/// The table of llama-bench.
pub(crate) struct Llama;

/// The table of vLLM.
pub(crate) struct Vllm;

#[derive(Debug, Deserialize)]
struct LlamaRow {
    vendor: String,
    instance: String,
    cpu: Option<String>,
    gpu_model: Option<String>,
    n_gpu: Option<usize>,
    backend: String,
    n_threads: Option<usize>,
    ngl: Option<i64>,
    model: String,
    model_type: String,
    model_bytes: f64,
    n_params: f64,
    test: String,
    tokens_per_s: f64,
    stddev: Option<f64>,
    samples: Option<usize>,
}

/// Gives each row to `each`; what is wrong with those that are none comes back.
fn rows<T: DeserializeOwned>(source: &Source, mut each: impl FnMut(T)) -> Result<Vec<String>, EvidenceError> {
    let mut reader = csv::Reader::from_reader(source.text.as_bytes());
    let mut broken: Vec<String> = Vec::new();
    for row in reader.deserialize() {
        match row {
            Ok(row) => each(row),
            // A row that is not one is left out; a table that cannot be read on ends.
            Err(why)
                if matches!(why.kind(), csv::ErrorKind::Deserialize { .. } | csv::ErrorKind::UnequalLengths { .. }) =>
            {
                broken.push(words(&why));
            }
            Err(why) => return Err(source.error(None, why)),
        }
    }
    Ok(broken)
}

/// What is wrong with a row, without its place: rows of one fault are counted together.
fn words(why: &csv::Error) -> String {
    match why.kind() {
        csv::ErrorKind::Deserialize { err, .. } => format!("that cannot be read: {}", err.kind()),
        _ => "of another number of columns".to_string(),
    }
}

impl Importer for Llama {
    fn name(&self) -> &'static str {
        "sparecores-llama"
    }

    fn tool(&self) -> &'static str {
        "llama-bench"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.has(&["vendor,instance,", "gpu_model", "tokens_per_s", "test"])
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile { licence: Some(LICENCE.to_string()), ..ImportedFile::default() };
        let broken = rows(source, |row: LlamaRow| match llama(&row) {
            Ok(observed) => found.observed.push(observed),
            Err(why) => found.skip(why),
        })?;
        broken.into_iter().for_each(|why| found.skip(why));
        Ok(found)
    }
}

/// Where the layers were.
fn placed(row: &LlamaRow) -> Result<RunDevice, String> {
    let card = row.gpu_model.as_deref().map(str::trim).filter(|name| !name.is_empty());
    place(&DeviceFields {
        backends: Some(&row.backend),
        // The table names one of them.
        cards: card.unwrap_or(""),
        has_cards: row.n_gpu.is_some_and(|cards| cards > 0),
        layers_on_device: row.ngl.map(|layers| layers as f64),
        offloads_products: true,
        ..DeviceFields::default()
    })
}

fn llama(row: &LlamaRow) -> Result<Observed, String> {
    let samples = row.samples.unwrap_or(1);
    let speed = rate(row.tokens_per_s, row.stddev, samples).ok_or("whose rate cannot be")?;
    let tokens = |kind: &str| row.test.strip_prefix(kind).and_then(|n| n.parse::<usize>().ok());
    let mut metrics = Metrics { weights: bytes(Some(row.model_bytes)), ..Metrics::default() };
    let (prompt_tokens, gen_tokens) = match (tokens("pp"), tokens("tg")) {
        (Some(prompt), _) => {
            metrics.prefill_tokens_per_s = Some(speed);
            metrics.ttft = Some(time_of(prompt as f64, speed));
            (prompt, 0)
        }
        (_, Some(generated)) => {
            metrics.decode_tokens_per_s = Some(speed);
            metrics.tpot = Some(time_of(1.0, speed));
            (0, generated)
        }
        _ => return Err("of a test that is neither pp nor tg".to_string()),
    };
    let placed = placed(row)?;
    let device = placed.device;
    let mut settings = Settings::default();
    settings.put(BACKEND, placed.backend.filter(|name| name != "CUDA"));
    let (quant, remark) = level::borne_out(
        level::of_gguf(&row.model, &row.model_type, level::bits_of(row.model_bytes, row.n_params)),
        row.model_bytes,
        row.n_params,
    );
    Ok(Observed {
        engine: "llama.cpp".to_string(),
        device,
        hardware: placed.name,
        settings: settings.into_map(),
        host: HostRecord {
            provider: Some(row.vendor.clone()),
            instance_type: Some(row.instance.clone()),
            cpu: row.cpu.clone(),
            threads: row.n_threads,
            accelerators: if device == "cpu" { 0 } else { row.n_gpu.unwrap_or(0).max(1) },
        },
        model: row.model.clone(),
        parameters: Some(row.n_params),
        quant,
        batch: 1,
        prompt_tokens,
        gen_tokens,
        arrival: "closed_batch".to_string(),
        definitions: llama_bench::DEFINITIONS,
        samples,
        metrics,
        notes: remark.into_iter().chain(placed.remark).collect(),
        ..Observed::default()
    })
}

#[derive(Debug, Deserialize)]
struct VllmRow {
    vendor: String,
    instance: String,
    mode: String,
    gpu: Option<String>,
    n_gpu: f64,
    tp: f64,
    model: String,
    dtype: String,
    prompt_tokens: Option<f64>,
    output_tokens: Option<f64>,
    strategy: String,
    concurrency: Option<f64>,
    vllm: String,
    e2el_p50: Option<f64>,
    itl_p50: Option<f64>,
    output_throughput: Option<f64>,
    request_throughput: Option<f64>,
    ttft_p50: Option<f64>,
}

impl Importer for Vllm {
    fn name(&self) -> &'static str {
        "sparecores-vllm"
    }

    fn tool(&self) -> &'static str {
        "GuideLLM"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.has(&["vendor,instance,", "max_num_seqs", "itl_p50", "ttft_p50"])
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile { licence: Some(LICENCE.to_string()), ..ImportedFile::default() };
        let broken = rows(source, |row: VllmRow| match (row.prompt_tokens, row.output_tokens) {
            (Some(prompt), Some(generated)) if !(prompt >= 1.0 && generated >= 1.0) => {
                found.skip("of a batch and lengths that cannot be");
            }
            (Some(prompt), Some(generated)) => match vllm(&row, prompt as usize, generated as usize) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            },
            _ => found.skip("of a workload of mixed lengths"),
        })?;
        broken.into_iter().for_each(|why| found.skip(why));
        Ok(found)
    }
}

fn vllm(row: &VllmRow, prompt_tokens: usize, gen_tokens: usize) -> Result<Observed, &'static str> {
    let on_cpu = row.mode == "cpu";
    // The mean over time, as GuideLLM counts it.
    let load = Load {
        users: (row.strategy == "synchronous").then_some(1.0),
        counted: row.concurrency,
        requests_per_s: row.request_throughput,
        gen_tokens: Some(gen_tokens as f64),
        ..Load::default()
    };
    let batch = load.batch().ok_or("whose requests in flight cannot be told")?;
    Ok(Observed {
        engine: "vllm".to_string(),
        engine_version: row.vllm.clone(),
        device: if on_cpu { "cpu" } else { row.gpu.as_deref().map_or("cuda", device::of_card) },
        hardware: row.gpu.clone().filter(|_| !on_cpu),
        host: HostRecord {
            provider: Some(row.vendor.clone()),
            instance_type: Some(row.instance.clone()),
            accelerators: if on_cpu { 0 } else { row.tp.max(1.0) as usize },
            ..HostRecord::default()
        },
        model: row.model.clone(),
        quant: level::within(&row.model).or_else(|| level::within(&row.dtype)),
        batch,
        prompt_tokens,
        gen_tokens,
        arrival: guidellm::arrival(&row.strategy, row.concurrency.unwrap_or(batch as f64)),
        definitions: guidellm::DEFINITIONS,
        metrics: Metrics {
            ttft: milliseconds(row.ttft_p50, None, None),
            // One value a request, `(last - first) / (n - 1)`: TPOT in the project's words.
            tpot: milliseconds(row.itl_p50, None, None),
            e2e: milliseconds(row.e2el_p50, None, None),
            decode_tokens_per_s: estimate(row.output_throughput, TokensPerSecond),
            requests_per_s: estimate(row.request_throughput, RequestsPerSecond),
            ..Metrics::default()
        },
        notes: (row.n_gpu > row.tp).then(|| format!("{} of {} cards", row.tp, row.n_gpu)).into_iter().collect(),
        ..Observed::default()
    })
}
