//! SemiAnalysis InferenceX: aggregated rows, times in seconds, rates of one GPU. Its load is a closed loop.

use super::observed::{Observed, estimate, finite, whole};
use super::settings::{self, Settings};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, device, level, value};
use crate::record::{Distribution, HostRecord, Metrics};
use crate::units::{JoulesPerToken, Seconds, TokensPerSecond, Watts};
use crate::workload::Quant;
use serde::Deserialize;
use serde_json::Value;

/// The format.
pub(crate) struct InferenceX;

#[derive(Debug, Deserialize)]
struct Record {
    hw: String,
    conc: f64,
    model: String,
    framework: String,
    precision: Option<String>,
    isl: Option<f64>,
    osl: Option<f64>,
    tp: Option<f64>,
    pp: Option<f64>,
    ep: Option<f64>,
    dcp_size: Option<f64>,
    pcp_size: Option<f64>,
    dp_attention: Option<Value>,
    spec_decoding: Option<Value>,
    is_multinode: Option<Value>,
    disagg: Option<Value>,
    offload_mode: Option<Value>,
    kv_offloading: Option<Value>,
    num_gpus: Option<f64>,
    prefill_tp: Option<Value>,
    decode_tp: Option<Value>,
    image: Option<String>,
    output_tput_per_gpu: Option<f64>,
    tput_per_gpu: Option<f64>,
    median_ttft: Option<f64>,
    median_tpot: Option<f64>,
    median_itl: Option<f64>,
    median_e2el: Option<f64>,
    median_e2e: Option<f64>,
    p90_ttft: Option<f64>,
    p90_tpot: Option<f64>,
    p99_ttft: Option<f64>,
    p99_tpot: Option<f64>,
    avg_power_w: Option<f64>,
    avg_total_gpu_power_w: Option<f64>,
    joules_per_output_token: Option<f64>,
    power_valid: Option<Value>,
}

impl Importer for InferenceX {
    fn name(&self) -> &'static str {
        "inferencex"
    }

    fn tool(&self) -> &'static str {
        "InferenceX"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.has(&["\"hw\"", "\"conc\"", "\"framework\"", "\"tput_per_gpu\""])
            || source.has(&["hw,", "conc,", "framework,", "tput_per_gpu"])
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        for record in value::parse_each::<Record>(source, &mut found)? {
            found.add(observed(&record));
        }
        Ok(found)
    }
}

/// A truth value: rows have it as one, as a word or as a number.
fn is_so(value: &Option<Value>) -> bool {
    match value {
        Some(Value::Bool(is_so)) => *is_so,
        Some(Value::Number(number)) => number.as_f64() == Some(1.0),
        Some(Value::String(text)) => matches!(text.to_lowercase().as_str(), "true" | "1" | "yes" | "on"),
        _ => false,
    }
}

/// A word that says something.
fn word(value: &Option<Value>) -> Option<String> {
    match value.as_ref()? {
        Value::String(text) => {
            Some(text.to_lowercase()).filter(|text| !matches!(text.as_str(), "" | "none" | "off" | "false"))
        }
        Value::Bool(true) => Some("yes".to_string()),
        Value::Number(number) => Some(number.to_string()).filter(|text| text != "0"),
        _ => None,
    }
}

impl Record {
    /// Cards that one copy is spread over: matrices, layers, and the context of prefills; the context of decoding and the
    /// experts are spread over the same ones.
    fn cards(&self) -> usize {
        let count = |value: Option<f64>| whole(value).unwrap_or(1).clamp(1, 1 << 20);
        let spread = count(self.tp) * count(self.pp) * count(self.pcp_size);
        whole(self.num_gpus).filter(|n| *n > 0).unwrap_or(spread.max(count(self.ep)))
    }

    /// The card, and the cluster that the rest of the name is of: `h200-dgxc`, `b200-nb`.
    fn hardware(&self) -> (String, Option<String>) {
        match self.hw.split_once('-') {
            Some((card, cluster)) if card.chars().any(|c| c.is_ascii_digit()) => {
                (card.to_string(), Some(cluster.to_string()))
            }
            _ => (self.hw.clone(), None),
        }
    }

    fn settings(&self) -> Settings {
        let mut all = Settings::default();
        all.above_one(settings::EXPERT_PARALLEL, whole(self.ep));
        all.flag(settings::DP_ATTENTION, is_so(&self.dp_attention));
        all.above_one(settings::DECODE_CONTEXT_PARALLEL, whole(self.dcp_size));
        all.above_one(settings::PREFILL_CONTEXT_PARALLEL, whole(self.pcp_size));
        all.above_one(settings::PIPELINE_PARALLEL, whole(self.pp));
        all.put(settings::SPECULATION, word(&self.spec_decoding));
        all.flag(settings::MULTINODE, is_so(&self.is_multinode));
        all.put(settings::CACHE_ON_HOST, word(&self.offload_mode).or(word(&self.kv_offloading)));
        all.put(settings::CLUSTER, self.hardware().1);
        all
    }

    fn metrics(&self, cards: usize) -> Metrics {
        let seconds = |value: Option<f64>| finite(value).filter(|v| *v > 0.0).map(Seconds);
        let times = |median: Option<f64>, p90: Option<f64>, p99: Option<f64>| {
            let median = seconds(median)?;
            Some(Distribution { median, lo: None, hi: None, p90: seconds(p90), p99: seconds(p99) })
        };
        let valid = is_so(&self.power_valid);
        let all = |of_one: Option<f64>| of_one.map(|value| value * cards as f64);
        Metrics {
            ttft: times(self.median_ttft, self.p90_ttft, self.p99_ttft),
            tpot: times(self.median_tpot, self.p90_tpot, self.p99_tpot),
            itl: times(self.median_itl, None, None),
            e2e: times(self.median_e2el.or(self.median_e2e), None, None),
            decode_tokens_per_s: estimate(all(self.output_tput_per_gpu), TokensPerSecond),
            // The second is of one GPU.
            power: estimate(self.avg_total_gpu_power_w.or(all(self.avg_power_w)).filter(|_| valid), Watts),
            energy_per_token: estimate(self.joules_per_output_token.filter(|_| valid), JoulesPerToken),
            ..Metrics::default()
        }
    }
}

fn observed(record: &Record) -> Result<Observed, &'static str> {
    let apart =
        [&record.prefill_tp, &record.decode_tp].into_iter().any(|part| part.as_ref().is_some_and(|v| !v.is_null()));
    if is_so(&record.disagg) || apart {
        return Err("with prefill and decoding on different cards");
    }
    let (Some(prompt_tokens), Some(gen_tokens)) = (whole(record.isl), whole(record.osl)) else {
        return Err("whose lengths are not given");
    };
    let cards = record.cards();
    let metrics = record.metrics(cards);
    if metrics == Metrics::default() && record.tput_per_gpu.is_none() {
        return Err("with neither a rate nor a median time above 0");
    }
    if !(record.conc.is_finite() && record.conc > 0.0) {
        return Err("whose number of users is not above 0");
    }
    let precision = record.precision.as_deref().unwrap_or("");
    Ok(Observed {
        engine: record.framework.to_lowercase(),
        engine_version: record.image.clone().unwrap_or_default(),
        device: device::of_card(&record.hw),
        hardware: Some(record.hardware().0),
        settings: record.settings().into_map(),
        host: HostRecord { accelerators: cards, ..HostRecord::default() },
        model: record.model.clone(),
        quant: level::within(precision).or_else(|| Quant::of_file(precision, None)),
        batch: record.conc.round().max(1.0) as usize,
        prompt_tokens,
        gen_tokens,
        arrival: format!("closed_{}", record.conc),
        definitions: "vllm",
        metrics,
        notes: record.tput_per_gpu.map(|rate| format!("{rate} tokens a second and GPU in all")).into_iter().collect(),
        ..Observed::default()
    })
}
