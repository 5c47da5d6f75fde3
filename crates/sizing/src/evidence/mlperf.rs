//! MLPerf Inference: `mlperf_log_summary.txt` of LoadGen. The file names neither model nor hardware: the user does.

use super::in_flight::Load;
use super::observed::{Assumed, NO_PROMPT, Observed, estimate, finite, whole};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer};
use crate::record::{Distribution, HostRecord, Metrics};
use crate::units::{RequestsPerSecond, Seconds, TokensPerSecond};
use std::collections::HashMap;

/// The format.
pub(crate) struct Mlperf;

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

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let lines: Lines<'_> = source
            .text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let needed =
            |key: &str| lines.get(key).copied().ok_or_else(|| source.error(None, format!("`{key}` is missing")));
        let mut found = ImportedFile::default();
        if needed("Mode")? != "PerformanceOnly" {
            found.skip("of a mode that does not measure speed");
            return Ok(found);
        }
        let scenario = needed("Scenario")?;
        if needed("Result is")? != "VALID" {
            found.skip("that LoadGen calls invalid");
            return Ok(found);
        }
        match observed(&lines, scenario) {
            Ok(observed) => found.observed.push(observed),
            Err(why) => found.skip(why),
        }
        Ok(found)
    }
}

/// The lines of a summary by what stands before their colon.
type Lines<'a> = HashMap<&'a str, &'a str>;

fn number(lines: &Lines<'_>, keys: &[&str]) -> Option<f64> {
    keys.iter().find_map(|key| finite(lines.get(key)?.parse().ok()))
}

fn seconds(lines: &Lines<'_>, key: &str) -> Option<Seconds> {
    number(lines, &[key]).filter(|ns| *ns > 0.0).map(|ns| Seconds(ns * 1e-9))
}

fn times(lines: &Lines<'_>, what: &str) -> Option<Distribution<Seconds>> {
    let at = |percent: &str| seconds(lines, &format!("{percent} percentile {what} (ns)"));
    Some(Distribution { median: at("50.00")?, lo: None, hi: None, p90: at("90.00"), p99: at("99.00") })
}

fn observed(lines: &Lines<'_>, scenario: &str) -> Result<Observed, String> {
    let samples = [
        "Samples per second",
        "Completed samples per second",
        "Samples per second (inferred)",
        "Scheduled samples per second",
    ];
    let tokens = ["Tokens per second", "Completed tokens per second", "Tokens per second (inferred)"];
    let (samples, tokens) = (number(lines, &samples), number(lines, &tokens));
    let metrics = Metrics {
        ttft: times(lines, "first token latency"),
        tpot: times(lines, "time to output token"),
        e2e: times(lines, "latency"),
        decode_tokens_per_s: estimate(tokens, TokensPerSecond),
        requests_per_s: estimate(samples, RequestsPerSecond),
        ..Metrics::default()
    };
    if metrics == Metrics::default() {
        return Err("with neither a rate nor a latency".to_string());
    }
    // What a sample generates in the mean; LoadGen does not know how long the prompts are.
    let generated = tokens.zip(samples).map(|(tokens, samples)| tokens / samples);
    let mean_s = |key: &str| seconds(lines, key).map(|time| time.0);
    let load = Load {
        users: (scenario == "SingleStream").then_some(1.0),
        requests_per_s: samples,
        e2e_s: mean_s("Mean latency (ns)"),
        ttft_s: mean_s("Mean First Token latency (ns)").or(metrics.ttft.map(|ttft| ttft.median.0)),
        tpot_s: mean_s("Mean Time to Output Token (ns)").or(metrics.tpot.map(|tpot| tpot.median.0)),
        gen_tokens: generated,
        sent: number(lines, &["min_query_count"]).filter(|_| scenario == "Offline"),
        ..Load::default()
    };
    let each = number(lines, &["samples_per_query"]).filter(|_| scenario == "MultiStream");
    let arrival = match scenario {
        "Server" | "Interactive" => "open_poisson",
        "Offline" => "offline",
        "SingleStream" => "closed_1",
        _ => "multi_stream",
    };
    Ok(Observed {
        engine: "unknown".to_string(),
        device: "cuda",
        assumed: Assumed { prompt: true, answer: generated.is_none(), ..Assumed::ENDPOINT },
        host: HostRecord { accelerators: 1, ..HostRecord::default() },
        model: lines.get("SUT name").map_or("unknown", |name| name).to_string(),
        batch: whole(each).or(load.batch()).unwrap_or(1).max(1),
        gen_tokens: whole(generated).unwrap_or(0),
        arrival: arrival.to_string(),
        definitions: "mlperf: percentiles are order statistics",
        metrics,
        notes: vec![NO_PROMPT.to_string()],
        ..Observed::default()
    })
}
