//! SemiAnalysis InferenceX: aggregated rows, times in seconds, rates of one GPU. Its load is a closed loop.

use super::observed::{Observed, quant_of};
use super::source::Source;
use super::{EvidenceError, Found, Importer, value};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{JoulesPerToken, Seconds, TokensPerSecond, Watts};
use serde::Deserialize;

/// The format.
pub struct InferenceX;

#[derive(Debug, Deserialize)]
struct Record {
    hw: String,
    conc: f64,
    model: String,
    framework: String,
    precision: String,
    isl: usize,
    osl: usize,
    tp: Option<usize>,
    #[serde(default)]
    pp: Option<usize>,
    #[serde(default)]
    disagg: Option<bool>,
    #[serde(default)]
    prefill_tp: Option<serde_json::Value>,
    #[serde(default)]
    decode_tp: Option<serde_json::Value>,
    #[serde(default)]
    image: Option<String>,
    output_tput_per_gpu: Option<f64>,
    tput_per_gpu: f64,
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
    power_valid: Option<serde_json::Value>,
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

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let mut found = Found::default();
        for record in value::parse_each::<Record>(source, &mut found)? {
            let apart = record.prefill_tp.as_ref().or(record.decode_tp.as_ref()).is_some_and(|v| !v.is_null());
            match record.disagg.unwrap_or(false) || apart {
                true => found.skip("with prefill and decoding on different cards"),
                false => found.observed.push(observed(&record)),
            }
        }
        Ok(found)
    }
}

fn observed(record: &Record) -> Observed {
    let seconds = |value: Option<f64>| value.filter(|v| v.is_finite() && *v > 0.0).map(Seconds);
    let times = |median: Option<f64>, p90: Option<f64>, p99: Option<f64>| {
        let median = seconds(median)?;
        Some(Distribution { median, lo: None, hi: None, p90: seconds(p90), p99: seconds(p99) })
    };
    let cards = record.tp.unwrap_or(1).max(1) * record.pp.unwrap_or(1).max(1);
    let valid = record.power_valid.as_ref().is_some_and(|v| v.as_i64() == Some(1) || v.as_bool() == Some(true));
    let joules = record.joules_per_output_token.filter(|_| valid);
    Observed {
        engine: record.framework.to_lowercase(),
        engine_version: record.image.clone().unwrap_or_default(),
        device: "cuda",
        hardware: Some(record.hw.clone()),
        host: HostRecord { accelerators: cards, ..HostRecord::default() },
        model: record.model.clone(),
        quant: quant_of(&record.precision),
        batch: record.conc.round().max(1.0) as usize,
        prompt_tokens: record.isl,
        gen_tokens: record.osl,
        arrival: format!("closed_{}", record.conc),
        definitions: "vllm",
        metrics: Metrics {
            ttft: times(record.median_ttft, record.p90_ttft, record.p99_ttft),
            tpot: times(record.median_tpot, record.p90_tpot, record.p99_tpot),
            itl: times(record.median_itl, None, None),
            e2e: times(record.median_e2el.or(record.median_e2e), None, None),
            decode_tokens_per_s: record.output_tput_per_gpu.map(|rate| Estimate {
                value: TokensPerSecond(rate * cards as f64),
                lo: None,
                hi: None,
            }),
            // The first is of one GPU.
            power: record
                .avg_total_gpu_power_w
                .or(record.avg_power_w.map(|watts| watts * cards as f64))
                .filter(|_| valid)
                .map(|w| Estimate { value: Watts(w), lo: None, hi: None }),
            energy_per_token: joules.map(|j| Estimate { value: JoulesPerToken(j), lo: None, hi: None }),
            ..Metrics::default()
        },
        notes: vec![format!("{} tokens a second and GPU in all", record.tput_per_gpu)],
        ..Observed::default()
    }
}
