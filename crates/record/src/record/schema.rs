//! The JSON Schema of run.json, made from the types that write it, so that it cannot fall behind them.

use super::run::{RunRecord, SCHEMA_VERSION};

/// The schema as text, ending in a newline. `schema/run.schema.json` is a copy of it.
pub fn json_schema() -> String {
    let mut schema = schemars::schema_for!(RunRecord);
    schema.insert("title".to_string(), format!("run.json of sizewell, schema version {SCHEMA_VERSION}").into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
