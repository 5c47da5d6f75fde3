//! Traces of real traffic: when each request came and how long it was, as JSON lines or CSV.
//!
//! Read are our own columns (`timestamp_s`, `prompt_tokens`, `gen_tokens`) and the public ones of Azure
//! (`TIMESTAMP,ContextTokens,GeneratedTokens`), BurstGPT (`Timestamp,..,Request tokens,Response tokens`) and Mooncake
//! (`timestamp` in milliseconds, `input_length`, `output_length`); `timestamp` beside other names is in seconds.

use crate::data_file::bounded;
use jiff::civil::DateTime;
use serde_json::Value;
use std::path::Path;

/// A request of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TraceRequest {
    /// Seconds from the first request.
    pub at_s: f64,
    /// Tokens of its prompt.
    pub prompt_tokens: usize,
    /// Tokens of its answer.
    pub gen_tokens: usize,
}

/// Requests in the order of their time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// At least one.
    pub requests: Vec<TraceRequest>,
    /// Rows without tokens to ask or to answer: logs have them, and nothing can be sent for them.
    pub left_out: usize,
}

/// Names of columns and what a unit of their time is in seconds.
const TIMES: [(&str, f64); 5] =
    [("timestamp_s", 1.0), ("timestamp_ms", 1e-3), ("arrival_s", 1.0), ("Timestamp", 1.0), ("TIMESTAMP", 1.0)];
const PROMPTS: [&str; 6] =
    ["prompt_tokens", "input_length", "ContextTokens", "Request tokens", "input_tokens", "num_prefill_tokens"];
const ANSWERS: [&str; 6] =
    ["gen_tokens", "output_length", "GeneratedTokens", "Response tokens", "output_tokens", "num_decode_tokens"];

impl Trace {
    /// Reads a file; the error names file, line and what is wrong.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let text = bounded::text(path, bounded::MOST_TEXT).map_err(|e| format!("{name}: {e}"))?;
        let rows = match text.trim_start().starts_with('{') {
            true => json_lines(&text),
            false => csv_rows(&text),
        };
        let mut rows = rows.map_err(|(line, why)| format!("{name}:{line}: {why}"))?;
        let all = rows.len();
        rows.retain(|row| row.prompt_tokens > 0 && row.gen_tokens > 0);
        let left_out = all - rows.len();
        // A log is often written as requests end rather than as they come.
        rows.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let Some(first) = rows.first().map(|row| row.at_s) else { return Err(format!("{name}: no request in it")) };
        rows.iter_mut().for_each(|row| row.at_s -= first);
        Ok(Self { requests: rows, left_out })
    }

    /// Seconds from the first request to the last.
    pub fn seconds(&self) -> f64 {
        self.requests.last().map_or(0.0, |last| last.at_s)
    }
}

type Rows = Result<Vec<TraceRequest>, (usize, String)>;

fn tokens(text: &str, what: &str) -> Result<usize, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if value >= 0.0 && value <= super::lengths::LONGEST as f64 && value.fract() == 0.0 => {
            Ok(value as usize)
        }
        _ => Err(format!("`{text}` under {what} is not a number of tokens")),
    }
}

/// Seconds since some fixed moment: a number, or a date with a time of day.
fn moment(text: &str, unit: f64) -> Result<f64, String> {
    let text = text.trim();
    let seconds = match text.parse::<f64>() {
        Ok(value) => value * unit,
        Err(_) => {
            // A trace in one zone throughout: what the zone is does not matter.
            let plain = text.trim_end_matches('Z').split('+').next().unwrap_or(text).trim();
            let when: DateTime =
                plain.parse().map_err(|_| format!("`{text}` is neither a number nor a date and time"))?;
            let whole = jiff::tz::TimeZone::UTC.to_timestamp(when).map_err(|e| e.to_string())?;
            whole.as_nanosecond() as f64 / 1e9
        }
    };
    match seconds.is_finite() && seconds.abs() < 1e15 {
        true => Ok(seconds),
        false => Err(format!("`{text}` is not a time")),
    }
}

fn csv_rows(text: &str) -> Rows {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| (1, e.to_string()))?.clone();
    let column = |name: &str| headers.iter().position(|header| header.trim() == name);
    let any = |names: &[&str]| names.iter().find_map(|name| column(name));
    let missing = |what: &str, names: &[&str]| {
        let columns: Vec<&str> = headers.iter().collect();
        (1, format!("no column for {what} ({}); there are {}", names.join(", "), columns.join(", ")))
    };
    let time_names: Vec<&str> = TIMES.iter().map(|(name, _)| *name).collect();
    let time = TIMES.iter().find_map(|(name, unit)| Some((column(name)?, *unit)));
    let (time, unit) = time.ok_or_else(|| missing("the time", &time_names))?;
    let prompt = any(&PROMPTS).ok_or_else(|| missing("the prompt's tokens", &PROMPTS))?;
    let answer = any(&ANSWERS).ok_or_else(|| missing("the answer's tokens", &ANSWERS))?;
    let mut rows = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let line = index + 2;
        let at = |why: String| (line, why);
        let record = record.map_err(|e| at(e.to_string()))?;
        let field = |column: usize| record.get(column).ok_or_else(|| at("the line is cut short".to_string()));
        rows.push(TraceRequest {
            at_s: moment(field(time)?, unit).map_err(at)?,
            prompt_tokens: tokens(field(prompt)?, &headers[prompt]).map_err(at)?,
            gen_tokens: tokens(field(answer)?, &headers[answer]).map_err(at)?,
        });
    }
    Ok(rows)
}

fn json_lines(text: &str) -> Rows {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |why: String| (index + 1, why);
        let value: Value = serde_json::from_str(line).map_err(|e| at(e.to_string()))?;
        let plain = |name: &str| match value.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        // Mooncake's `timestamp`, beside an `input_length`, counts milliseconds.
        let unit = if value.get("input_length").is_some() { 1e-3 } else { 1.0 };
        let time = TIMES.iter().chain(&[("timestamp", unit)]).find_map(|(name, unit)| Some((plain(name)?, *unit)));
        let (time, unit) = time.ok_or_else(|| at("no timestamp_s".to_string()))?;
        let count = |names: &[&str], what: &str| {
            let found = names.iter().find_map(|name| Some((*name, plain(name)?)));
            let (name, text) = found.ok_or_else(|| at(format!("no {what}: one of {}", names.join(", "))))?;
            tokens(&text, name).map_err(at)
        };
        rows.push(TraceRequest {
            at_s: moment(&time, unit).map_err(at)?,
            prompt_tokens: count(&PROMPTS, "tokens of the prompt")?,
            gen_tokens: count(&ANSWERS, "tokens of the answer")?,
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trace, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        std::fs::write(&path, text).unwrap();
        Trace::read(&path)
    }

    fn rows(text: &str) -> Vec<(f64, usize, usize)> {
        let trace = read(text).unwrap();
        trace.requests.iter().map(|r| ((r.at_s * 1e3).round() / 1e3, r.prompt_tokens, r.gen_tokens)).collect()
    }

    #[test]
    fn the_public_formats_are_read() {
        let expected = [(0.0, 374, 44), (1.5, 396, 109)];
        assert_eq!(rows("timestamp_s,prompt_tokens,gen_tokens\n10,374,44\n11.5,396,109\n"), expected);
        let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n\
                     2023-11-16 18:15:48.1805900,396,109\n";
        assert_eq!(rows(azure), expected);
        let burst = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,374,44,418,API log\n\
                     6.5,GPT-4,396,109,505,API log\n";
        assert_eq!(rows(burst), expected);
        let mooncake = "{\"timestamp\": 27482, \"input_length\": 374, \"output_length\": 44, \"hash_ids\": [1]}\n\
                        {\"timestamp\": 28982, \"input_length\": 396, \"output_length\": 109, \"hash_ids\": []}\n";
        assert_eq!(rows(mooncake), expected);
    }

    #[test]
    fn order_is_made_and_rows_without_tokens_are_counted() {
        let trace = read("timestamp_s,prompt_tokens,gen_tokens\n3,1,1\n1,2,2\n2,5,0\n").unwrap();
        assert_eq!(trace.requests.iter().map(|r| r.prompt_tokens).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((trace.left_out, trace.seconds()), (1, 2.0));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, why) in [
            ("", "no column for the time"),
            ("when,prompt_tokens,gen_tokens\n1,2,3\n", "no column for the time"),
            ("timestamp_s,prompt_tokens\n1,2\n", "no column for the answer's tokens"),
            ("timestamp_s,prompt_tokens,gen_tokens\n1,2\n", ":2: the line is cut short"),
            ("timestamp_s,prompt_tokens,gen_tokens\n1,2,3\nsoon,2,3\n", ":3: `soon` is neither"),
            ("timestamp_s,prompt_tokens,gen_tokens\n1,-2,3\n", ":2: `-2` under prompt_tokens"),
            ("timestamp_s,prompt_tokens,gen_tokens\n1,1e30,3\n", ":2: `1e30` under prompt_tokens"),
            ("timestamp_s,prompt_tokens,gen_tokens\nNaN,1,3\n", ":2: `NaN` is not a time"),
            ("timestamp_s,prompt_tokens,gen_tokens\n1,0,0\n", "no request in it"),
            ("{\"timestamp\": 1, \"input_length\": 3}\n", ":1: no tokens of the answer"),
            ("{\"timestamp\": 1, \"input_length\": 3, \"output_length\": 2}\n{oops\n", ":2: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
