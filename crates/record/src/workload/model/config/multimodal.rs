//! The parts of a config.json of a model that takes images beside text: `text_config` and `vision_config`.

use super::keys::Keys;
use crate::workload::ModelShape;
use crate::workload::model::family::{Architecture, Config};
use serde_json::Value;

/// The path of the keys of the text part, for messages.
pub(super) const TEXT: &str = "text_config.";

/// The keys of the part that generates text, where the file keeps them apart: with those of the whole that it leaves to it.
pub(super) fn text_part(whole: &Keys<'_>) -> Option<Value> {
    // A file that has both is flat, as Qwen2.5-VL's are.
    if whole.get("hidden_size").is_some() {
        return None;
    }
    let mut text = whole.get("text_config")?.as_object()?.clone();
    for key in ["model_type", "tie_word_embeddings", "vocab_size"] {
        if let Some(value) = whole.get(key)
            && text.get(key).is_none_or(Value::is_null)
        {
            text.insert(key.to_string(), value.clone());
        }
    }
    Some(Value::Object(text))
}

/// The encoder of images, where the file has one. The error names its kind where that is not known.
pub(super) fn vision(whole: &Keys<'_>) -> Result<Option<ModelShape>, String> {
    let Some(keys) = whole.within("vision_config", "vision_config.")? else { return Ok(None) };
    let name = match keys.optional_text("model_type")? {
        Some(name) => name,
        // Files of before leave it to what the whole is.
        None => whole.optional_text("model_type")?.unwrap_or_default(),
    };
    let config = Architecture::of_vision_config(name).map(|architecture| &architecture.family().config);
    match config {
        Some(Config::Encoder(sizes)) => sizes(&keys).map(Some),
        _ => Err(format!("`vision_config.model_type` `{name}` is an encoder of images that is not known")),
    }
}
