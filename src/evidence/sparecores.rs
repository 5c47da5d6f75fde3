//! SpareCores sc-inspector-data (CC-BY-SA-4.0), as tables of one row a measurement: llama-bench and vLLM (driven by
//! GuideLLM) on cloud instances.

use super::llama_bench::{self, device_of};
use super::observed::{Observed, bytes, milliseconds, quant_of, rate, time_of};
use super::source::Source;
use super::{EvidenceError, Found, Importer, guidellm};
use crate::record::{Estimate, HostRecord, Metrics};
use crate::units::{RequestsPerSecond, TokensPerSecond};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Terms of the collection.
const LICENCE: &str = "CC-BY-SA-4.0 (SpareCores sc-inspector-data)";

/// The table of llama-bench.
pub struct Llama;

/// The table of vLLM.
pub struct Vllm;

#[derive(Debug, Deserialize)]
struct LlamaRow {
    vendor: String,
    instance: String,
    cpu: Option<String>,
    gpu_model: Option<String>,
    n_gpu: usize,
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

fn rows<T: DeserializeOwned>(source: &Source, mut each: impl FnMut(T)) -> Result<(), EvidenceError> {
    let mut reader = csv::Reader::from_reader(source.text.as_bytes());
    for (index, row) in reader.deserialize().enumerate() {
        each(row.map_err(|e| source.error(Some(format!("line {}", index + 2)), e))?);
    }
    Ok(())
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

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found { licence: Some(LICENCE.to_string()), ..Found::default() };
        rows(source, |row: LlamaRow| match llama(&row) {
            Ok(observed) => found.observed.push(observed),
            Err(why) => found.skip(why),
        })?;
        Ok(found)
    }
}

fn llama(row: &LlamaRow) -> Result<Observed, &'static str> {
    let samples = row.samples.unwrap_or(1);
    let speed = rate(row.tokens_per_s, row.stddev, samples).ok_or("whose rate is not above 0")?;
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
        _ => return Err("of a test that is neither pp nor tg"),
    };
    let device = device_of(&row.backend, row.ngl, None);
    Ok(Observed {
        engine: "llama.cpp".to_string(),
        device,
        hardware: row.gpu_model.clone().filter(|_| device != "cpu"),
        host: HostRecord {
            provider: Some(row.vendor.clone()),
            instance_type: Some(row.instance.clone()),
            cpu: row.cpu.clone(),
            threads: row.n_threads,
            accelerators: if device == "cpu" { 0 } else { row.n_gpu },
        },
        model: row.model.clone(),
        parameters: Some(row.n_params),
        quant: quant_of(&row.model_type),
        batch: 1,
        prompt_tokens,
        gen_tokens,
        arrival: "closed_batch".to_string(),
        definitions: llama_bench::DEFINITIONS,
        samples,
        metrics,
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

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found { licence: Some(LICENCE.to_string()), ..Found::default() };
        rows(source, |row: VllmRow| match (row.prompt_tokens, row.output_tokens) {
            (Some(prompt), Some(generated)) if !(prompt >= 1.0 && generated >= 1.0) => {
                found.skip("of a batch and lengths that cannot be");
            }
            (Some(prompt), Some(generated)) => found.observed.push(vllm(&row, prompt as usize, generated as usize)),
            _ => found.skip("of a workload of mixed lengths"),
        })?;
        Ok(found)
    }
}

fn vllm(row: &VllmRow, prompt_tokens: usize, gen_tokens: usize) -> Observed {
    let on_cpu = row.mode == "cpu";
    let in_flight = row.concurrency.filter(|n| n.is_finite() && *n > 0.0).unwrap_or(1.0);
    let estimate = |value: Option<f64>| value.filter(|v| v.is_finite() && *v > 0.0);
    Observed {
        engine: "vllm".to_string(),
        engine_version: row.vllm.clone(),
        device: if on_cpu { "cpu" } else { "cuda" },
        hardware: row.gpu.clone().filter(|_| !on_cpu),
        host: HostRecord {
            provider: Some(row.vendor.clone()),
            instance_type: Some(row.instance.clone()),
            accelerators: if on_cpu { 0 } else { row.tp.max(1.0) as usize },
            ..HostRecord::default()
        },
        model: row.model.clone(),
        quant: quant_of(&row.dtype).filter(|_| !row.model.contains("4bit")),
        batch: in_flight.round().max(1.0) as usize,
        prompt_tokens,
        gen_tokens,
        arrival: guidellm::arrival(&row.strategy, in_flight),
        definitions: guidellm::DEFINITIONS,
        metrics: Metrics {
            ttft: milliseconds(row.ttft_p50, None, None),
            // One value a request, `(last - first) / (n - 1)`: TPOT in the project's words.
            tpot: milliseconds(row.itl_p50, None, None),
            e2e: milliseconds(row.e2el_p50, None, None),
            decode_tokens_per_s: estimate(row.output_throughput).map(|value| Estimate {
                value: TokensPerSecond(value),
                lo: None,
                hi: None,
            }),
            requests_per_s: estimate(row.request_throughput).map(|value| Estimate {
                value: RequestsPerSecond(value),
                lo: None,
                hi: None,
            }),
            ..Metrics::default()
        },
        notes: (row.n_gpu > row.tp).then(|| format!("{} of {} cards", row.tp, row.n_gpu)).into_iter().collect(),
        ..Observed::default()
    }
}
