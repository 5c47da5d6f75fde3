//! Traces of real traffic: when each request came and how long it was, as JSON lines, a JSON array or CSV.
//!
//! Read are our own columns (`timestamp_s`, `prompt_tokens`, `gen_tokens`) and the public ones of Azure
//! (`TIMESTAMP,ContextTokens,GeneratedTokens`), BurstGPT (`Timestamp,..,Request tokens,Response tokens`), Vidur
//! (`arrived_at,num_prefill_tokens,num_decode_tokens`), Mooncake (`timestamp` in milliseconds, `input_length`,
//! `output_length`, `hash_ids`) and Bailian (the same with `chat_id`, and `timestamp` in seconds).

use super::trace_time::{Signs, TIMES, TimeUnit, TraceTimestamp, understood};
use crate::data_file::bounded;
use crate::units::{Seconds, digits};
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
    /// Rows that stood behind a later one.
    pub out_of_order: usize,
    /// What its times were taken for.
    pub times: String,
}

const PROMPTS: [&str; 6] =
    ["prompt_tokens", "input_length", "ContextTokens", "Request tokens", "input_tokens", "num_prefill_tokens"];
const ANSWERS: [&str; 6] =
    ["gen_tokens", "output_length", "GeneratedTokens", "Response tokens", "output_tokens", "num_decode_tokens"];

impl Trace {
    /// Reads a file, its times in `unit` where that is given; the error names file, line and what is wrong.
    pub fn read(path: &Path, unit: Option<TimeUnit>) -> Result<Self, String> {
        let name = path.display();
        let text = bounded::text(path, bounded::MOST_TEXT).map_err(|e| format!("{name}: {e}"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let at = |(line, why): (usize, String)| match line {
            0 => format!("{name}: {why}"),
            line => format!("{name}:{line}: {why}"),
        };
        let (rows, signs) = match text.trim_start().chars().next() {
            Some('{') => json_lines(text),
            Some('[') => json_array(text),
            _ => csv_rows(text),
        }
        .map_err(at)?;
        let moments: Vec<(usize, TraceTimestamp)> = rows.iter().map(|row| (row.line, row.when)).collect();
        let (seconds, times) = understood(&moments, &signs, unit).map_err(at)?;
        let all = rows.len();
        let mut requests: Vec<TraceRequest> = rows
            .iter()
            .zip(seconds)
            .filter(|(row, _)| row.prompt_tokens > 0 && row.gen_tokens > 0)
            .map(|(row, at_s)| TraceRequest { at_s, prompt_tokens: row.prompt_tokens, gen_tokens: row.gen_tokens })
            .collect();
        let left_out = all - requests.len();
        let out_of_order = requests.windows(2).filter(|pair| pair[1].at_s < pair[0].at_s).count();
        // A log is often written as requests end rather than as they come.
        requests.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
        let Some(first) = requests.first().map(|row| row.at_s) else { return Err(format!("{name}: no request in it")) };
        requests.iter_mut().for_each(|row| row.at_s -= first);
        Ok(Self { requests, left_out, out_of_order, times })
    }

    /// Seconds from the first request to the last.
    pub fn seconds(&self) -> f64 {
        self.requests.last().map_or(0.0, |last| last.at_s)
    }

    /// How it was understood, in a sentence: what a wrong unit would show in.
    pub fn summary(&self, speed: f64) -> String {
        let (count, seconds) = (self.requests.len(), self.seconds() / speed);
        let played = if speed == 1.0 { String::new() } else { format!(" at {speed} times its speed") };
        let rate = if seconds > 0.0 {
            format!("{} requests a second over {}", digits(count as f64 / seconds), Seconds(seconds))
        } else {
            "all at once".to_string()
        };
        let gap = self.requests.windows(2).map(|pair| (pair[1].at_s - pair[0].at_s) / speed).fold(0.0, f64::max);
        let mut parts = vec![format!("the trace has {count} requests, {rate}{played}"), self.times.clone()];
        parts.push(format!("the longest gap is {}", Seconds(gap)));
        if self.out_of_order > 0 {
            parts.push(format!("{} stood behind a later one and were put in order", self.out_of_order));
        }
        if self.left_out > 0 {
            parts.push(format!("{} rows without tokens to ask or to answer are left out", self.left_out));
        }
        parts.join("; ")
    }
}

/// A line of a file.
struct Row {
    line: usize,
    when: TraceTimestamp,
    prompt_tokens: usize,
    gen_tokens: usize,
}

type TraceRows = Result<(Vec<Row>, Signs), (usize, String)>;

fn tokens(text: &str, what: &str) -> Result<usize, String> {
    match text.trim() {
        // Logs leave out what a failed request has not.
        "" | "null" => Ok(0),
        text => match text.parse::<f64>() {
            Ok(value) if value >= 0.0 && value <= super::lengths::LONGEST as f64 && value.fract() == 0.0 => {
                Ok(value as usize)
            }
            _ => Err(format!("`{text}` under {what} is not a number of tokens")),
        },
    }
}

/// What the names of a file say of its times.
fn signs(column: &str, named: Option<TimeUnit>, has: impl Fn(&str) -> bool) -> Signs {
    Signs {
        column: column.to_string(),
        named,
        input_length: has("input_length"),
        hash_ids: has("hash_ids"),
        chat_id: has("chat_id"),
        request_tokens: has("Request tokens"),
        num_prefill_tokens: has("num_prefill_tokens"),
    }
}

fn csv_rows(text: &str) -> TraceRows {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| (1, e.to_string()))?.clone();
    let column = |name: &str| headers.iter().position(|header| header.trim() == name);
    let any = |names: &[&str]| names.iter().find_map(|name| column(name));
    let missing = |what: &str, names: &[&str]| {
        let columns: Vec<&str> = headers.iter().collect();
        let hint = match columns.as_slice() {
            [one] if one.contains([';', '\t']) => "; fields are to be separated by commas",
            _ => "",
        };
        (1, format!("no column for {what} ({}); there are {}{hint}", names.join(", "), columns.join(", ")))
    };
    let time_names = TIMES.map(|(name, _)| name);
    let time = TIMES.iter().find_map(|(name, unit)| Some((column(name)?, *name, *unit)));
    let (time, time_name, unit) = time.ok_or_else(|| missing("the time", &time_names))?;
    let prompt = any(&PROMPTS).ok_or_else(|| missing("the prompt's tokens", &PROMPTS))?;
    let answer = any(&ANSWERS).ok_or_else(|| missing("the answer's tokens", &ANSWERS))?;
    let mut rows = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|e| (index + 2, e.to_string()))?;
        let line = record.position().map_or(index + 2, |position| position.line() as usize);
        let at = |why: String| (line, why);
        let field = |column: usize| record.get(column).ok_or_else(|| at("the line is cut short".to_string()));
        rows.push(Row {
            line,
            when: TraceTimestamp::read(field(time)?).map_err(at)?,
            prompt_tokens: tokens(field(prompt)?, &headers[prompt]).map_err(at)?,
            gen_tokens: tokens(field(answer)?, &headers[answer]).map_err(at)?,
        });
    }
    Ok((rows, signs(time_name, unit, |name| column(name).is_some())))
}

fn json_lines(text: &str) -> TraceRows {
    let mut values = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value: Value = serde_json::from_str(line).map_err(|e| (index + 1, e.to_string()))?;
        values.push((index + 1, value));
    }
    json_rows(&values)
}

/// A list of requests; errors count its entries, as their lines are not known.
fn json_array(text: &str) -> TraceRows {
    let list: Vec<Value> = serde_json::from_str(text).map_err(|e| (e.line(), e.to_string()))?;
    let values: Vec<(usize, Value)> = list.into_iter().enumerate().map(|(index, value)| (index + 1, value)).collect();
    json_rows(&values).map_err(|(entry, why)| (0, format!("entry {entry}: {why}")))
}

fn json_rows(values: &[(usize, Value)]) -> TraceRows {
    let Some((first_line, first)) = values.first() else { return Ok((Vec::new(), Signs::default())) };
    let time = TIMES.iter().find(|(name, _)| first.get(name).is_some_and(|value| !value.is_null()));
    let (time, unit) = time.ok_or_else(|| (*first_line, "no timestamp_s".to_string()))?;
    let mut rows = Vec::new();
    for (line, value) in values {
        let at = |why: String| (*line, why);
        let plain = |name: &str| match value.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(Value::Null) => Some(String::new()),
            _ => None,
        };
        let count = |names: &[&str], what: &str| {
            let found = names.iter().find_map(|name| Some((*name, plain(name)?)));
            let (name, text) = found.ok_or_else(|| at(format!("no {what}: one of {}", names.join(", "))))?;
            tokens(&text, name).map_err(at)
        };
        rows.push(Row {
            line: *line,
            when: TraceTimestamp::read(&plain(time).ok_or_else(|| at(format!("no {time}")))?).map_err(at)?,
            prompt_tokens: count(&PROMPTS, "tokens of the prompt")?,
            gen_tokens: count(&ANSWERS, "tokens of the answer")?,
        });
    }
    Ok((rows, signs(time, *unit, |name| first.get(name).is_some())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Trace, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        std::fs::write(&path, text).unwrap();
        Trace::read(&path, None)
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
        let bailian = "{\"chat_id\": 1, \"timestamp\": 61.25, \"input_length\": 374, \"output_length\": 44}\n\
                       {\"chat_id\": 2, \"timestamp\": 62.75, \"input_length\": 396, \"output_length\": 109}\n";
        assert_eq!(rows(bailian), expected);
        let vidur = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,374,44\n2,396,109\n";
        assert_eq!(rows(vidur), expected);
        let array = "\u{feff}[{\"timestamp_ms\": 5, \"prompt_tokens\": 374, \"gen_tokens\": 44},\n\
                     {\"timestamp_ms\": 1505, \"prompt_tokens\": 396, \"gen_tokens\": 109}]";
        assert_eq!(rows(array), expected);
    }

    #[test]
    fn order_is_made_and_rows_without_tokens_are_counted() {
        let trace = read("timestamp_s,prompt_tokens,gen_tokens\n3,1,1\n1,2,2\n2,5,0\n").unwrap();
        assert_eq!(trace.requests.iter().map(|r| r.prompt_tokens).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((trace.left_out, trace.out_of_order, trace.seconds()), (1, 1, 2.0));
        assert_eq!(
            trace.summary(1.0),
            "the trace has 2 requests, 1.00 requests a second over 2.00 s; `timestamp_s` counts seconds (as its name \
             says); the longest gap is 2.00 s; 1 stood behind a later one and were put in order; 1 rows without tokens to \
             ask or to answer are left out"
        );
        // Failed requests of a log have none.
        let log = read(
            "{\"timestamp_s\": 0, \"input_tokens\": 3, \"output_tokens\": null}\n\
                        {\"timestamp_s\": 1, \"input_tokens\": 3, \"output_tokens\": 4}\n",
        );
        assert_eq!(log.map(|log| (log.left_out, log.requests.len())), Ok((1, 1)));
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
            ("when;prompt_tokens\n1;2\n", "separated by commas"),
            ("[{\"timestamp_s\": 1, \"prompt_tokens\": 3}]", ": entry 1: no tokens of the answer"),
            ("{\"timestamp\": 1, \"input_length\": 3, \"output_length\": 2}\n{oops\n", ":2: "),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
