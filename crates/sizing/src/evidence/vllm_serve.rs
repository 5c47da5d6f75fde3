//! `vllm bench serve`: times of requests to a server. Their definitions are the project's own.

use super::in_flight::Load;
use super::observed::{Assumed, Observed, estimate, finite, milliseconds, whole};
use super::settings::{self, Settings};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, level, value};
use crate::record::{HostRecord, Metrics};
use crate::units::{RequestsPerSecond, TokensPerSecond};
use crate::workload::Quant;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The format.
pub(crate) struct VllmServe;

#[derive(Debug, Deserialize)]
struct Record {
    model_id: String,
    backend: Option<String>,
    endpoint_type: Option<String>,
    request_rate: Option<Value>,
    burstiness: Option<f64>,
    max_concurrency: Option<f64>,
    num_prompts: Option<f64>,
    duration: f64,
    completed: f64,
    failed: Option<f64>,
    total_input_tokens: Option<f64>,
    total_output_tokens: Option<f64>,
    request_throughput: Option<f64>,
    output_throughput: Option<f64>,
    mean_ttft_ms: Option<f64>,
    mean_tpot_ms: Option<f64>,
    mean_e2el_ms: Option<f64>,
    median_ttft_ms: Option<f64>,
    median_tpot_ms: Option<f64>,
    median_itl_ms: Option<f64>,
    median_e2el_ms: Option<f64>,
    p90_ttft_ms: Option<f64>,
    p90_tpot_ms: Option<f64>,
    p90_itl_ms: Option<f64>,
    p90_e2el_ms: Option<f64>,
    p99_ttft_ms: Option<f64>,
    p99_tpot_ms: Option<f64>,
    p99_itl_ms: Option<f64>,
    p99_e2el_ms: Option<f64>,
    /// Counters of guessed tokens, and what the user said of the server (`--metadata`).
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl Importer for VllmServe {
    fn name(&self) -> &'static str {
        "vllm-serve"
    }

    fn tool(&self) -> &'static str {
        "vllm bench serve"
    }

    fn recognises(&self, source: &Source) -> bool {
        let keys = ["\"request_rate\"", "\"request_throughput\"", "\"model_id\""];
        keys.iter().all(|key| source.text.contains(key)) && source.text.contains("_ttft_ms\"")
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        for record in value::parse_each::<Record>(source, &mut found)? {
            found.add(observed(&record));
        }
        Ok(found)
    }
}

impl Record {
    /// Requests a second; `None` where all were sent at once.
    fn rate(&self) -> Option<f64> {
        let rate = self.request_rate.as_ref()?;
        let number = rate.as_f64().or_else(|| rate.as_str()?.parse().ok());
        finite(number).filter(|rate| *rate > 0.0)
    }

    /// `open_poisson`, `open_gamma`, or a closed loop where all are sent at once and a limit holds them back.
    fn arrival(&self) -> String {
        match (self.rate(), self.max_concurrency, self.burstiness) {
            (Some(_), _, Some(burstiness)) if burstiness != 1.0 => "open_gamma".to_string(),
            (Some(_), _, _) => "open_poisson".to_string(),
            (None, Some(users), _) => format!("closed_{users}"),
            (None, None, _) => "offline".to_string(),
        }
    }

    /// What stands under one of several names, as a word.
    fn said(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| match self.rest.get(*name)? {
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty() && text != "None"),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(is_so) => is_so.then(|| "yes".to_string()),
            _ => None,
        })
    }

    fn count(&self, names: &[&str]) -> Option<usize> {
        self.said(names)?.parse().ok().filter(|count| (1..=1 << 20).contains(count))
    }

    /// The level as the user named it, as the model's name has it, or the type of the numbers.
    fn quant(&self) -> Option<Quant> {
        let said = self.said(&["quantization", "quant"]).and_then(|name| Quant::of_file(&name, None));
        said.or_else(|| level::within(&self.model_id))
            .or_else(|| level::within(&self.said(&["dtype", "torch_dtype", "precision"])?))
    }

    /// Requests that were sent: early releases do not count those that failed.
    fn sent(&self) -> usize {
        let ended = self.completed as usize + whole(self.failed).unwrap_or(0);
        whole(self.num_prompts).unwrap_or(0).max(ended)
    }

    /// How requests were sent and what they took, for the number in flight. Every release writes the means; where one is
    /// broken, the median is nearest to it.
    fn load(&self, sent: usize, gen_tokens: Option<f64>) -> Load {
        let seconds = |mean: Option<f64>, median: Option<f64>| {
            finite(mean).filter(|ms| *ms > 0.0).or(finite(median)).map(|ms| ms * 1e-3)
        };
        Load {
            users: self.max_concurrency.filter(|_| self.rate().is_none()),
            cap: self.max_concurrency,
            sent: Some(sent as f64),
            counted: None,
            requests_per_s: finite(self.request_throughput).or(Some(self.completed / self.duration)),
            e2e_s: finite(self.mean_e2el_ms).map(|ms| ms * 1e-3),
            ttft_s: seconds(self.mean_ttft_ms, self.median_ttft_ms),
            tpot_s: seconds(self.mean_tpot_ms, self.median_tpot_ms),
            gen_tokens,
        }
    }

    /// What the user said of the server, where that changes its speed, and whether it guesses tokens.
    fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        let guesses = self.rest.iter().any(|(key, value)| key.starts_with("spec_decode") && !value.is_null());
        let method = self.said(&["speculative_method", "spec_method", "speculative_config"]);
        settings.put(settings::SPECULATION, method.or(guesses.then(|| "yes".to_string())));
        settings.put(settings::DRAFT_MODEL, self.said(&["speculative_model", "draft_model"]));
        settings.put(settings::DRAFT_TOKENS, self.said(&["num_speculative_tokens", "spec_decode_num_spec_tokens"]));
        settings.above_one(settings::DATA_PARALLEL, self.count(&DATA_PARALLEL));
        settings.above_one(settings::PIPELINE_PARALLEL, self.count(&PIPELINE_PARALLEL));
        let experts = self.said(&["enable_expert_parallel", "expert_parallel_size", "ep"]);
        settings.put(
            settings::EXPERT_PARALLEL,
            experts.filter(|value| value != "1" && !value.eq_ignore_ascii_case("false")),
        );
        let cache = self.said(&["kv_cache_dtype"]).filter(|kind| kind != "auto");
        settings.put(settings::CACHE, cache);
        settings.put(settings::MAX_SEQUENCES, self.said(&["max_num_seqs"]));
        settings.put(settings::MAX_BATCHED_TOKENS, self.said(&["max_num_batched_tokens"]));
        settings.put(settings::ATTENTION, self.said(&["attention_backend"]));
        settings.flag(settings::EAGER, self.said(&["enforce_eager"]).is_some_and(|v| !v.eq_ignore_ascii_case("false")));
        settings
    }
}

const TENSOR_PARALLEL: [&str; 4] = ["tensor_parallel_size", "tensor_parallel", "tp_size", "tp"];
const PIPELINE_PARALLEL: [&str; 3] = ["pipeline_parallel_size", "pp_size", "pp"];
const DATA_PARALLEL: [&str; 3] = ["data_parallel_size", "dp_size", "dp"];

/// The middle of a chunk of tokens is no gap between tokens: this many times the time of a token says that they come in
/// chunks.
const CHUNKED: f64 = 1.5;

fn metrics(record: &Record) -> Metrics {
    Metrics {
        ttft: milliseconds(record.median_ttft_ms, record.p90_ttft_ms, record.p99_ttft_ms),
        tpot: milliseconds(record.median_tpot_ms, record.p90_tpot_ms, record.p99_tpot_ms),
        itl: milliseconds(record.median_itl_ms, record.p90_itl_ms, record.p99_itl_ms),
        e2e: milliseconds(record.median_e2el_ms, record.p90_e2el_ms, record.p99_e2el_ms),
        decode_tokens_per_s: estimate(record.output_throughput, TokensPerSecond),
        requests_per_s: estimate(record.request_throughput, RequestsPerSecond),
        ..Metrics::default()
    }
}

/// What is to be said where tokens came several at a time.
fn chunks(metrics: &Metrics) -> Option<String> {
    let (gap, token) = (metrics.itl?.median.0, metrics.tpot?.median.0);
    let tokens = gap / token;
    (tokens > CHUNKED).then(|| format!("about {tokens:.1} tokens came at once: the gaps are between chunks"))
}

fn observed(record: &Record) -> Result<Observed, &'static str> {
    if !(record.completed >= 1.0 && record.duration > 0.0) {
        return Err("in which no request was completed");
    }
    let each = |tokens: Option<f64>| finite(tokens).map(|tokens| tokens / record.completed);
    let (prompt, generated) = (each(record.total_input_tokens), each(record.total_output_tokens));
    let (Some(prompt_tokens), Some(gen_tokens)) = (whole(prompt), whole(generated)) else {
        return Err("whose lengths are not given");
    };
    let mut metrics = metrics(record);
    match (metrics.ttft, metrics.tpot, gen_tokens) {
        (_, _, 0) => return Err("in which nothing was generated"),
        (None, ..) => return Err("without a median time to the first token above 0"),
        // The first token is the prefill's: there is no further one that could take time.
        (_, _, 1) => (metrics.tpot, metrics.itl) = (None, None),
        (_, None, _) => return Err("without a median time per output token above 0"),
        _ => {}
    }
    let (completed, sent) = (record.completed as usize, record.sent());
    let batch = record.load(sent, generated).batch().ok_or("whose requests in flight cannot be told")?;
    let engine = record.backend.clone().or(record.endpoint_type.clone()).filter(|name| !name.starts_with("openai"));
    let cards = [&TENSOR_PARALLEL[..], &PIPELINE_PARALLEL, &DATA_PARALLEL].map(|names| record.count(names));
    Ok(Observed {
        assumed: Assumed {
            engine: engine.as_deref().is_none_or(|name| name == "vllm"),
            accelerators: cards.iter().all(Option::is_none),
            ..Assumed::ENDPOINT
        },
        engine: engine.unwrap_or("vllm".to_string()),
        device: "cuda",
        host: HostRecord {
            accelerators: cards.into_iter().flatten().fold(1, usize::saturating_mul),
            ..HostRecord::default()
        },
        settings: record.settings().into_map(),
        model: record.model_id.clone(),
        quant: record.quant(),
        batch,
        prompt_tokens,
        gen_tokens,
        arrival: record.arrival(),
        definitions: "vllm",
        samples: completed,
        notes: chunks(&metrics).into_iter().collect(),
        metrics,
        failed: sent - completed,
        ..Observed::default()
    })
}
