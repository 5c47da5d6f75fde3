//! The shape of a model that was measured elsewhere: a preset's, that of a config.json or a GGUF file, or counts.

use crate::engine::weights::model_shape;
use crate::workload::ModelShape;
use crate::workload::model::config;
use serde_json::{Map, Value};
use std::path::Path;

/// Reads what `--model` names; the error says what it may be.
pub(crate) fn read(model: &str, show_progress: bool) -> Result<ModelShape, String> {
    let exists = Path::new(model).exists();
    if !exists && model.contains('=') {
        return counts(model);
    }
    model_shape(model, show_progress).map(|known| known.shape).map_err(|why| if exists {
why.to_string()
} else {
format!(
            "{why}; --model also takes a folder with config.json, the file itself, a GGUF file, or counts such as \
             hidden_size=4096,intermediate_size=14336,num_hidden_layers=32,num_attention_heads=32,num_key_value_heads=8,\
             vocab_size=128256"
        )
})
}

/// The shape by its counts, in the words of config.json.
fn counts(text: &str) -> Result<ModelShape, String> {
    let mut object = Map::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or(format!("`{part}` is not a count such as hidden_size=4096"))?;
        let value: Value =
            value.trim().parse().map_err(|_| format!("`{part}`: the value is neither a number nor true"))?;
        object.insert(key.trim().to_string(), value);
    }
    let usual = [
        ("model_type", Value::from("llama")),
        ("rms_norm_eps", Value::from(1e-5)),
        ("rope_theta", Value::from(10_000.0)),
        ("max_position_embeddings", Value::from(1 << 20)),
        ("tie_word_embeddings", Value::from(false)),
    ];
    for (key, value) in usual {
        object.entry(key).or_insert(value);
    }
    config::sizes(&Value::Object(object).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTS: &str = "hidden_size=4096,intermediate_size=14336,num_hidden_layers=32,num_attention_heads=32,\
        num_key_value_heads=8,vocab_size=128256";

    #[test]
    fn a_shape_comes_from_a_preset_a_config_or_counts() {
        let preset = read("llama-3.1-8b", false).unwrap();
        let counted = read(COUNTS, false).unwrap();
        assert_eq!(counted.parameters(), preset.parameters());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let text = format!(
            r#"{{"model_type":"llama","quantization_config":{{"quant_method":"fp8"}},"rms_norm_eps":1e-5,"rope_theta":500000.0,
            "max_position_embeddings":8192,{}}}"#,
            COUNTS
                .split(',')
                .map(|part| part.replacen('=', "\":", 1))
                .map(|part| format!("\"{part}"))
                .collect::<Vec<_>>()
                .join(",")
        );
        std::fs::write(&file, text).unwrap();
        for place in [folder.path(), &file] {
            assert_eq!(read(place.to_str().unwrap(), false).unwrap().parameters(), 8_030_261_248.0);
        }
        for bad in ["no-such-model", "hidden_size=", "layers=3"] {
            assert!(!read(bad, false).unwrap_err().is_empty(), "{bad}");
        }
        assert!(read("no-such-model", false).unwrap_err().contains("config.json"));
    }
}
