//! Records of JSON and CSV files as the same kind of value, and what is wrong with one.

use super::EvidenceError;
use super::source::Source;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A text of a CSV file as the number, the truth value or the text that it is; an empty one is nothing.
fn typed(text: &str) -> Value {
    match text {
        "" => Value::Null,
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Value::from(whole),
            (_, Ok(number)) if number.is_finite() => Value::from(number),
            _ => Value::from(text),
        },
    }
}

/// The records of a text that is JSON or CSV.
pub fn records(source: &Source) -> Result<Vec<Value>, EvidenceError> {
    let is_json = source.text.trim_start().starts_with(['[', '{']);
    if is_json { json_records(source) } else { csv_rows(source) }
}

/// The rows of a CSV text as objects.
fn csv_rows(source: &Source) -> Result<Vec<Value>, EvidenceError> {
    let mut reader = csv::Reader::from_reader(source.text.as_bytes());
    let header = reader.headers().map_err(|e| source.error(None, e))?.clone();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| source.error(None, e))?;
        let row: Map<String, Value> =
            header.iter().zip(&record).map(|(key, text)| (key.to_string(), typed(text))).collect();
        rows.push(Value::Object(row));
    }
    Ok(rows)
}

/// A JSON array, a single JSON object, or one object a line.
pub fn json_records(source: &Source) -> Result<Vec<Value>, EvidenceError> {
    let fail = |e: serde_json::Error| source.error(Some(format!("line {}", e.line())), e);
    match serde_json::from_str::<Value>(&source.text) {
        Ok(Value::Array(records)) => Ok(records),
        Ok(record @ Value::Object(_)) => Ok(vec![record]),
        Ok(_) => Err(source.error(None, "it is neither an object nor an array of objects")),
        // One object a line is the usual form of a log of results; an error then names its line.
        Err(whole) if source.text.lines().filter(|line| line.trim_start().starts_with('{')).count() < 2 => {
            Err(fail(whole))
        }
        Err(_) => {
            let lines = source.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            let parsed = lines.map(|(index, line)| {
                serde_json::from_str(line).map_err(|e| source.error(Some(format!("line {}", index + 1)), e))
            });
            parsed.collect()
        }
    }
}

/// A record as what it should be; an error names the record and the key.
pub fn parse<T: DeserializeOwned>(source: &Source, what: &str, index: usize, value: Value) -> Result<T, EvidenceError> {
    serde_json::from_value(value).map_err(|e| source.error(Some(format!("{what} {}", index + 1)), e))
}
