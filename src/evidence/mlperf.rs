//! MLPerf Inference: `mlperf_log_summary.txt` of LoadGen. The file names neither model nor hardware: the user does.

use super::observed::Observed;
use super::source::Source;
use super::{EvidenceError, Found, Importer};
use crate::record::{Distribution, Estimate, HostRecord, Metrics};
use crate::units::{RequestsPerSecond, Seconds, TokensPerSecond};
use std::collections::HashMap;

/// The format.
pub struct Mlperf;

impl Importer for Mlperf {
    fn name(&self) -> &'static str {
        "mlperf"
    }

    fn tool(&self) -> &'static str {
        "MLPerf LoadGen"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.has(&["SUT name", "Scenario", "Mode"])
    }

    fn read(&self, source: &Source) -> Result<Found, EvidenceError> {
        let lines: HashMap<&str, &str> = source
            .text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let needed =
            |key: &str| lines.get(key).copied().ok_or_else(|| source.error(None, format!("`{key}` is missing")));
        let number = |key: &str| lines.get(key).and_then(|text| text.parse::<f64>().ok());
        let mut found = Found::default();
        if needed("Mode")? != "PerformanceOnly" {
            found.skip("of a mode that does not measure speed");
            return Ok(found);
        }
        let scenario = needed("Scenario")?;
        if needed("Result is")? != "VALID" {
            found.skip("that LoadGen calls invalid");
            return Ok(found);
        }
        let nanoseconds = |key: &str| number(key).filter(|ns| *ns > 0.0).map(|ns| Seconds(ns * 1e-9));
        let times = |what: &str| {
            let at = |percent: &str| nanoseconds(&format!("{percent} percentile {what} (ns)"));
            let median = at("50.00")?;
            Some(Distribution { median, lo: None, hi: None, p90: at("90.00"), p99: at("99.00") })
        };
        let first = |keys: &[&str]| keys.iter().find_map(|key| number(key));
        let samples = first(&["Samples per second", "Completed samples per second", "Scheduled samples per second"]);
        let tokens = first(&["Tokens per second", "Completed tokens per second", "Tokens per second (inferred)"]);
        let metrics = Metrics {
            ttft: times("first token latency"),
            tpot: times("time to output token"),
            e2e: times("latency"),
            decode_tokens_per_s: tokens.map(|v| Estimate { value: TokensPerSecond(v), lo: None, hi: None }),
            requests_per_s: samples.map(|v| Estimate { value: RequestsPerSecond(v), lo: None, hi: None }),
            ..Metrics::default()
        };
        if metrics == Metrics::default() {
            return Err(source.error(None, "there is neither a rate nor a latency in it"));
        }
        let arrival = match scenario {
            "Server" => "open_poisson",
            "Offline" => "offline",
            "SingleStream" => "closed_1",
            _ => "multi_stream",
        };
        found.observed.push(Observed {
            engine: "unknown".to_string(),
            device: "cuda",
            host: HostRecord { accelerators: 1, ..HostRecord::default() },
            model: needed("SUT name")?.to_string(),
            batch: number("samples_per_query").map_or(1, |n| n.max(1.0) as usize),
            arrival: arrival.to_string(),
            definitions: "mlperf: percentiles are order statistics",
            metrics,
            ..Observed::default()
        });
        Ok(found)
    }
}
