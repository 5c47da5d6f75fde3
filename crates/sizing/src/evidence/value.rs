//! Records of JSON and CSV files as the same kind of value. A record that cannot be read never costs its file: it is left
//! out, counted, and named by what is wrong with it and where the first such one stands.

use super::json::{Item, RecordScanner};
use super::json_value;
use super::source::Source;
use super::{EvidenceError, ImportedFile};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Most records of a file; all that is published of any format is less.
const MOST_RECORDS: usize = 500_000;
/// Most bytes of memory that the records of a file take together.
const MOST_OF_A_FILE: usize = 1 << 30;

/// A text of a CSV file as the number, the truth value or the text that it is; an empty one is nothing, and so is a number
/// that is none.
pub(crate) fn typed(text: &str) -> Value {
    match text {
        "" | "NaN" | "nan" | "inf" | "-inf" | "Infinity" | "-Infinity" => Value::Null,
        "true" | "True" => Value::Bool(true),
        "false" | "False" => Value::Bool(false),
        _ => match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(whole), _) => Value::from(whole),
            (_, Ok(number)) if number.is_finite() => Value::from(number),
            _ => Value::from(text),
        },
    }
}

/// Most reasons that are told apart.
const MOST_REASONS: usize = 20;
/// Most characters of a file that are repeated in a message.
const MOST_SAID: usize = 160;

/// Counts of what could not be read of a file, by reason.
#[derive(Default)]
struct SkipCounts {
    records: usize,
    good: usize,
    /// How many, and where the first one stands.
    bad: BTreeMap<String, (usize, String)>,
    /// The first text that is no record, and why.
    first: Option<(String, String)>,
    prose: usize,
    first_prose: String,
}

impl SkipCounts {
    /// A text that is no record at all.
    fn broken(&mut self, line: usize, why: &str) {
        let place = format!("line {line}");
        self.first.get_or_insert_with(|| (place.clone(), shown(why)));
        self.bad(place, why);
    }

    fn bad(&mut self, place: String, why: &str) {
        let why = shown(why);
        let why = if self.bad.len() >= MOST_REASONS && !self.bad.contains_key(&why) {
            "another reason".to_string()
        } else {
            why
        };
        self.bad.entry(why).or_insert((0, place)).0 += 1;
    }

    fn prose(&mut self, line: &str) {
        if self.prose == 0 {
            self.first_prose = shown(line);
        }
        self.prose += 1;
    }

    /// Says what was left out, or that nothing could be read.
    fn close(self, source: &Source, found: &mut ImportedFile) -> Result<(), EvidenceError> {
        match self.first {
            Some((place, why)) if self.good == 0 => return Err(source.error(Some(place), why)),
            None if self.records == 0 && self.prose > 0 => {
                let hint = if self.first_prose.starts_with("{'") { ", and Python's own print is not JSON" } else { "" };
                let message = format!("there is no JSON record in it, its first line is `{}`{hint}", self.first_prose);
                return Err(source.error(None, message));
            }
            _ => {}
        }
        for (why, (count, place)) in self.bad {
            found.skip_many(format!("that cannot be read: {why} (the first: {place})"), count);
        }
        if self.prose > 0 {
            found.skip_many(format!("lines that are not JSON, such as `{}`", self.first_prose), self.prose);
        }
        Ok(())
    }
}

/// A text of a file as a message may repeat it.
fn shown(text: &str) -> String {
    let shown: String = text.chars().take(MOST_SAID).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < text.len() { format!("{shown}...") } else { shown }
}

/// Hands each record of a JSON or CSV file on, as what it should be. One that is not, and one of which the receiver says
/// what is wrong, is left out, counted and named in `found`; an error where no record is left, or the file is broken.
pub(crate) fn read_each<T: DeserializeOwned>(
    source: &Source,
    found: &mut ImportedFile,
    mut receive: impl FnMut(T, &mut ImportedFile) -> Result<(), String>,
) -> Result<(), EvidenceError> {
    let mut tally = SkipCounts::default();
    let mut each = |tally: &mut SkipCounts, value: Value| {
        let place = format!("record {}", tally.records);
        let read = serde_json::from_value(value).map_err(|e| e.to_string()).and_then(|record| receive(record, found));
        match read {
            Ok(()) => tally.good += 1,
            Err(why) => tally.bad(place, &why),
        }
    };
    if source.is_json() {
        json_records(source, &mut tally, &mut each)?
    } else {
        csv_rows(source, &mut tally, &mut each)?
    }
    tally.close(source, found)
}

/// The records of a JSON or CSV file as what they should be; those that are not are left out, counted and named in `found`.
pub(crate) fn parse_each<T: DeserializeOwned>(
    source: &Source,
    found: &mut ImportedFile,
) -> Result<Vec<T>, EvidenceError> {
    let mut records = Vec::new();
    read_each(source, found, |record, _| {
        records.push(record);
        Ok(())
    })?;
    Ok(records)
}

fn json_records(
    source: &Source,
    tally: &mut SkipCounts,
    each: &mut dyn FnMut(&mut SkipCounts, Value),
) -> Result<(), EvidenceError> {
    let mut taken = 0;
    let walked = RecordScanner::all(&source.text, |line, item| {
        match item {
            Item::Prose(text) => tally.prose(text),
            Item::Bad(why) => {
                tally.records += 1;
                tally.broken(line, &why);
            }
            Item::Record(text) => {
                tally.records += 1;
                match json_value::parse(&text) {
                    Ok((value, bytes)) => {
                        taken += bytes;
                        each(tally, value);
                    }
                    Err((within, why)) => tally.broken(line + within - 1, &why),
                }
            }
        }
        if tally.records > MOST_RECORDS || taken > MOST_OF_A_FILE { Err((line, too_many())) } else { Ok(()) }
    });
    walked.map_err(|(line, why)| source.error(Some(format!("line {line}")), why))
}

fn too_many() -> String {
    format!("there are more than {MOST_RECORDS} records in it, or more than fit into 1 GiB of memory: split it")
}

/// The character between the fields of a header.
fn delimiter(header: &str) -> u8 {
    let count = |wanted: char| header.chars().filter(|c| *c == wanted).count();
    [';', '\t'].into_iter().find(|c| count(*c) > count(',')).map_or(b',', |c| c as u8)
}

/// The rows of a CSV text as objects.
fn csv_rows(
    source: &Source,
    tally: &mut SkipCounts,
    each: &mut dyn FnMut(&mut SkipCounts, Value),
) -> Result<(), EvidenceError> {
    let text = source.records_text();
    source.text[..source.text.len() - text.len()].lines().filter(|l| !l.trim().is_empty()).for_each(|l| tally.prose(l));
    let delimiter = delimiter(text.lines().next().unwrap_or(""));
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| source.error(None, e))?.clone();
    for record in reader.records() {
        tally.records += 1;
        if tally.records > MOST_RECORDS {
            return Err(source.error(None, too_many()));
        }
        let place = format!("record {}", tally.records);
        match record {
            Err(error) => {
                let why = match error.kind() {
                    csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                        format!("{len} fields where the header has {expected_len}")
                    }
                    _ => error.to_string(),
                };
                tally.bad(place, &why);
            }
            Ok(record) if delimiter == b';' && record.iter().any(has_decimal_comma) => {
                tally.bad(place, "a number with a comma in it: write it with a decimal point");
            }
            Ok(record) => {
                let row: Map<String, Value> = header
                    .iter()
                    .zip(&record)
                    .map(|(key, text)| (key.trim().to_string(), typed(text.trim())))
                    .collect();
                each(tally, Value::Object(row));
            }
        }
    }
    Ok(())
}

/// `0,12`, which is no text and might be twelve hundredths or more.
fn has_decimal_comma(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let text = text.trim().trim_start_matches('-');
    text.split_once(',').is_some_and(|(whole, part)| digits(whole) && digits(part))
}
