//! llm-d's benchmark report as JSON, of schema 0.1 and 0.2: what its load generator measured of a stack of servers. Stacks of
//! several servers, and of servers apart for prefills and decoding, are left out: no card of theirs has a speed of its own.

use super::in_flight::Load;
use super::served::{ServedRun, Times, at, number, text};
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, value};
use serde_json::Value;

/// The format.
pub(crate) struct LlmD;

impl Importer for LlmD {
    fn name(&self) -> &'static str {
        "llm-d"
    }

    fn tool(&self) -> &'static str {
        "llm-d benchmark report"
    }

    fn recognises(&self, source: &Source) -> bool {
        let text = &source.text;
        let new = text.contains("\"request_performance\"") && text.contains("\"aggregate\"");
        let old =
            text.contains("\"metrics\"") && text.contains("\"platform\"") && text.contains("\"time_to_first_token\"");
        source.is_json() && text.contains("\"scenario\"") && (new || old)
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        value::read_each(source, &mut found, |report: Value, found| {
            let served = match at(&report, &["results", "request_performance", "aggregate"]) {
                Some(aggregate) => stack(&report).and_then(|server| served(&report, &server, aggregate)),
                None => match at(&report, &["metrics"]) {
                    Some(metrics) => host(&report).and_then(|server| served(&report, &server, metrics)),
                    None => Err("without results".to_string()),
                },
            };
            match served.and_then(ServedRun::observed) {
                Ok(observed) => found.observed.push(observed),
                Err(why) => found.skip(why),
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// The one server of a report.
struct Server {
    model: String,
    engine: Option<String>,
    version: Option<String>,
    card: Option<String>,
    cards: Option<f64>,
}

const SEVERAL: &str = "of several servers, or of ones apart for prefills and decoding";

/// Of schema 0.2.
fn stack(report: &Value) -> Result<Server, String> {
    let parts = at(report, &["scenario", "stack"]).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    let parts: Vec<&Value> = parts.iter().map(|part| at(part, &["standardized"]).unwrap_or(part)).collect();
    let servers: Vec<&Value> = parts.into_iter().filter(|part| at(part, &["accelerator"]).is_some()).collect();
    let replicas = |part: &&Value| number(part, &["replicas"]).unwrap_or(1.0);
    let apart = |part: &&Value| matches!(text(part, &["role"]).as_deref(), Some("prefill" | "decode"));
    match servers.as_slice() {
        [server] if replicas(server) == 1.0 && !apart(server) => Ok(Server {
            model: text(server, &["model", "name"]).unwrap_or_default(),
            engine: text(server, &["tool"]),
            version: text(server, &["tool_version"]),
            card: text(server, &["accelerator", "model"]),
            cards: number(server, &["accelerator", "count"]),
        }),
        [] => Err("that names no server with an accelerator".to_string()),
        _ => Err(SEVERAL.to_string()),
    }
}

/// Of schema 0.1.
fn host(report: &Value) -> Result<Server, String> {
    let list = |path: &[&str]| at(report, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or(&[]);
    let kinds = list(&["scenario", "host", "type"]);
    let apart = kinds.iter().any(|kind| matches!(kind.as_str(), Some("prefill" | "decode")));
    let (cards, engines) = (list(&["scenario", "host", "accelerator"]), list(&["scenario", "platform", "engine"]));
    if cards.len() > 1 || kinds.len() > 1 || apart {
        return Err(SEVERAL.to_string());
    }
    let of = |list: &[Value], key: &str| text(list.first()?, &[key]);
    Ok(Server {
        model: text(report, &["scenario", "model", "name"]).unwrap_or_default(),
        engine: of(engines, "name"),
        version: of(engines, "version"),
        card: of(cards, "model"),
        cards: cards.first().and_then(|card| number(card, &["count"])),
    })
}

/// Times in an object that names its unit.
fn times(metrics: &Value, what: &str) -> Result<Times, String> {
    let Some(times) = at(metrics, &["latency", what]) else { return Ok(Times::default()) };
    let unit = ["units", "unit"].iter().find_map(|key| text(times, &[key]));
    let factor = match unit.as_deref() {
        Some("s" | "s/token") => 1.0,
        Some("ms" | "ms/token") => 1e-3,
        unit => return Err(format!("whose `{what}` is in `{}`, which is not known", unit.unwrap_or("no unit"))),
    };
    Ok(Times::of(Some(times), ["mean", "p50", "p90", "p99"], factor))
}

fn served(report: &Value, server: &Server, metrics: &Value) -> Result<ServedRun, String> {
    let load = |key: &str| number(report, &["scenario", "load", "standardized", key]);
    let arrival = match (load("concurrency"), load("rate_qps")) {
        (Some(users), None) => format!("closed_{users}"),
        (None, Some(_)) => "open_unknown".to_string(),
        _ => "unknown".to_string(),
    };
    let users = load("concurrency").filter(|_| load("rate_qps").is_none());
    let rate =
        |new: &str, old: &str| number(metrics, &["throughput", new, "mean"]).or(number(metrics, &["throughput", old]));
    let total = number(metrics, &["requests", "total"]);
    let failed = number(metrics, &["requests", "failures"]).unwrap_or(0.0);
    Ok(ServedRun {
        model: server.model.clone(),
        engine: server.engine.as_ref().map(|engine| engine.to_lowercase()),
        engine_version: server.version.clone(),
        hardware: server.card.clone(),
        cards: server.cards.map(|cards| cards as usize),
        arrival,
        load: Load { users, ..Load::default() },
        prompt_tokens: number(metrics, &["requests", "input_length", "mean"]),
        gen_tokens: number(metrics, &["requests", "output_length", "mean"]),
        completed: total.map(|total| total - failed),
        failed: Some(failed),
        ttft: times(metrics, "time_to_first_token")?,
        tpot: times(metrics, "time_per_output_token")?,
        e2e: times(metrics, "request_latency")?,
        tokens_per_s: rate("output_token_rate", "output_tokens_per_sec"),
        requests_per_s: rate("request_rate", "requests_per_sec"),
        definitions: "llm-d: those of the load generator that it ran",
        absent: vec![("itl_s".to_string(), "not taken over from llm-d's report".to_string())],
        ..ServedRun::default()
    })
}
