//! The schema of run.json that ships, against the types and against a real run.

use serde_json::Value;
use sizewell::record::schema::json_schema;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// `SIZEWELL_UPDATE_SCHEMA=1 cargo test --test runs schema` writes the file anew after a change of the types.
#[test]
fn the_shipped_schema_is_that_of_the_types() {
    let path = file("schema/run.schema.json");
    if std::env::var_os("SIZEWELL_UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, json_schema()).unwrap();
    }
    let shipped = std::fs::read_to_string(path).unwrap();
    assert!(shipped == json_schema(), "run it again with SIZEWELL_UPDATE_SCHEMA=1, and look at the difference");
}

#[test]
fn a_real_run_keeps_the_schema() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let text = std::fs::read_to_string(file("results/example/run.json")).unwrap();
    let mut run: Value = serde_json::from_str(&text).unwrap();
    let errors: Vec<String> = validator.iter_errors(&run).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}");
    run["model"]["parameters"] = "many".into();
    assert!(!validator.is_valid(&run), "a schema that lets anything pass checks nothing");
}
