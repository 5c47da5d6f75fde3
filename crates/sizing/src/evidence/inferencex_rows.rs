//! Rows of InferenceX's API: its aggregates with the cards of prefill and decoding apart and the times under `metrics`.
//! Turned into its own files' keys, and read as those.

use super::inferencex::InferenceX;
use super::source::Source;
use super::{EvidenceError, ImportedFile, Importer, value};
use serde_json::{Map, Value};

/// The format.
pub(crate) struct InferenceXRows;

impl Importer for InferenceXRows {
    fn name(&self) -> &'static str {
        "inferencex-api"
    }

    fn tool(&self) -> &'static str {
        "InferenceX"
    }

    fn recognises(&self, source: &Source) -> bool {
        source.has(&["\"hardware\"", "\"framework\"", "\"decode_tp\"", "\"conc\""])
    }

    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError> {
        let mut found = ImportedFile::default();
        let mut rows = Vec::new();
        value::read_each(source, &mut found, |record: Map<String, Value>, _| {
            match record.get("data").or(record.get("rows")).and_then(Value::as_array) {
                // The whole answer, with its rows inside.
                Some(inner) => {
                    rows.extend(inner.iter().filter_map(Value::as_object).cloned().map(in_their_files_words))
                }
                None => rows.push(in_their_files_words(record)),
            }
            Ok(())
        })?;
        found.take(InferenceX.read(&source.derived(&rows))?);
        Ok(found)
    }
}

/// Where one set of cards does both, those of decoding are all there are.
const RENAMED: [(&str, &str); 6] = [
    ("hardware", "hw"),
    ("spec_method", "spec_decoding"),
    ("decode_tp", "tp"),
    ("num_decode_gpu", "num_gpus"),
    ("decode_ep", "ep"),
    ("decode_dp_attention", "dp_attention"),
];

fn in_their_files_words(mut row: Map<String, Value>) -> Value {
    if let Some(Value::Object(metrics)) = row.remove("metrics") {
        for (key, value) in metrics {
            row.entry(key).or_insert(value);
        }
    }
    let apart = row.get("disagg").and_then(Value::as_bool) == Some(true);
    for (theirs, ours) in RENAMED.into_iter().filter(|(theirs, _)| !apart || *theirs == "hardware") {
        if let Some(value) = row.remove(theirs) {
            row.insert(ours.to_string(), value);
        }
    }
    if !apart {
        row.retain(|key, _| !key.starts_with("prefill_") && !key.starts_with("decode_"));
    }
    Value::Object(row)
}
