//! llama.cpp's `llama-batched-bench` as one JSON object a line: `pl` sequences that begin together, their prefill and their
//! decoding timed apart. It names neither model nor device: the user does.

use super::observed::{Assumed, Observed};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, settings, value};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{RequestsPerSecond, Seconds, TokensPerSecond};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The format.
pub(crate) struct BatchedBench;

#[derive(Debug, Deserialize)]
struct Record {
    pp: usize,
    tg: usize,
    pl: usize,
    t_pp: f64,
    t_tg: f64,
    #[serde(default)]
    n_ubatch: Option<usize>,
    #[serde(default)]
    n_threads: Option<usize>,
    #[serde(default)]
    flash_attn: Option<serde_json::Value>,
    #[serde(default)]
    is_pp_shared: Option<serde_json::Value>,
}

impl Importer for BatchedBench {
    fn name(&self) -> &'static str {
        "llama-batched-bench"
    }

    fn tool(&self) -> &'static str {
        "llama-batched-bench"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.has(&["\"n_kv_max\"", "\"pl\"", "\"t_pp\"", "\"speed_tg\""])
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        for record in value::parse_each::<Record>(source, &mut found)? {
            match observed(&record) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
        }
        Ok(found)
    }
}

fn is_so(value: &Option<serde_json::Value>) -> bool {
    value.as_ref().is_some_and(|value| value.as_bool() == Some(true) || value.as_i64().is_some_and(|n| n > 0))
}

fn observed(record: &Record) -> Result<Observed, &'static str> {
    if is_so(&record.is_pp_shared) && record.pl > 1 {
        return Err("whose sequences share one prompt, which is prefilled once");
    }
    let time = |seconds: f64| Some(seconds).filter(|seconds| seconds.is_finite() && *seconds > 0.0).map(Seconds);
    let rate = |tokens: usize, time: Option<Seconds>| {
        let rate = (tokens * record.pl) as f64 / time.filter(|_| tokens > 0)?.0;
        Some(Estimate { value: TokensPerSecond(rate), lo: None, hi: None })
    };
    let median = |median: Seconds| Distribution { median, lo: None, hi: None, p90: None, p99: None };
    let (prefill, decode) = (time(record.t_pp).filter(|_| record.pp > 0), time(record.t_tg).filter(|_| record.tg > 0));
    let whole = prefill.zip(decode).map(|(prefill, decode)| Seconds(prefill.0 + decode.0));
    if prefill.is_none() && decode.is_none() {
        return Err("that ran nothing");
    }
    Ok(Observed {
        engine: "llama.cpp".to_string(),
        kernels: if is_so(&record.flash_attn) { "flash attention".to_string() } else { String::new() },
        settings: record
            .n_ubatch
            .filter(|chunk| *chunk != 512)
            .map(|chunk| BTreeMap::from([(settings::CHUNK.to_string(), chunk.to_string())]))
            .unwrap_or_default(),
        // Layers on a card that is not there are named all the same: the user says what it ran on.
        device: "",
        assumed: Assumed { engine: false, ..Assumed::ENDPOINT },
        host: HostRecord { threads: record.n_threads, accelerators: 1, ..HostRecord::default() },
        batch: record.pl,
        prompt_tokens: record.pp,
        gen_tokens: record.tg,
        arrival: "closed_batch".to_string(),
        definitions: "llama-batched-bench: one run of a batch that begins together, without sampling",
        samples: 1,
        metrics: Metrics {
            ttft: prefill.map(median),
            tpot: decode.map(|decode| median(Seconds(decode.0 / record.tg as f64))),
            e2e: whole.map(median),
            prefill_tokens_per_s: rate(record.pp, prefill),
            decode_tokens_per_s: rate(record.tg, decode),
            requests_per_s: whole.map(|whole| Estimate {
                value: RequestsPerSecond(record.pl as f64 / whole.0),
                lo: None,
                hi: None,
            }),
            ..Metrics::default()
        },
        absent: vec![("itl_s".to_string(), "llama-batched-bench times whole runs".to_string())],
        ..Observed::default()
    })
}
