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

/// Parameters of Gemma 4's encoder of speech, a conformer (arXiv 2005.08100), and of the matrix that brings what it makes to the
/// width of the residual stream.
pub(super) fn speech(whole: &Keys<'_>, hidden: usize) -> Result<Option<u64>, String> {
    let Some(keys) = whole.within("audio_config", "audio_config.")? else { return Ok(None) };
    match keys.optional_text("model_type")? {
        Some("gemma4_audio") => {}
        name => {
            let name = name.unwrap_or_default();
            return Err(format!("`audio_config.model_type` `{name}` is an encoder of speech that is not known"));
        }
    }
    let h = keys.size_within("hidden_size", None, 1 << 14)? as u64;
    let layers = keys.size_within("num_hidden_layers", None, 1 << 10)? as u64;
    let heads = keys.size_within("num_attention_heads", None, 1 << 10)? as u64;
    let kernel = keys.size_within("conv_kernel_size", Some(5), 1 << 10)? as u64;
    let outputs = keys.size_within("output_proj_dims", Some(1536), 1 << 14)? as u64;
    let channels = keys.sizes("subsampling_conv_channels")?;
    let &[first, second] = channels.as_slice() else {
        return Err("`audio_config.subsampling_conv_channels` are not two".to_string());
    };
    let (first, second) = (first as u64, second as u64);
    // Two feed-forward parts four times as wide with norms around, attention with relative places, a convolution of each channel
    // between two matrices, and three norms more.
    let feed_forward = 2 * (8 * h * h + 2 * h);
    let attention = 5 * h * h + h / heads;
    let convolution = 3 * h * h + (kernel + 2) * h;
    let block = feed_forward + attention + convolution + 3 * h;
    // A quarter of 128 bands is left behind the two convolutions of nine taps.
    let ends = 9 * first + first + 9 * first * second + second + 32 * second * h + outputs * h + outputs;
    Ok(Some(layers * block + ends + outputs * hidden as u64))
}

/// Models whose encoder of images, and what is between it and the text, are described: the names of the whole.
const WITH_IMAGES: [&str; 11] = [
    "gemma3",
    "gemma4",
    "mistral3",
    "llama4",
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_vl_moe",
    "qwen3_5",
    "qwen3_5_moe",
    "clip",
    "siglip",
];

/// Parts of a file that are told elsewhere, or that change no size.
const KNOWN_PARTS: [&str; 6] =
    ["text_config", "vision_config", "audio_config", "quantization_config", "compression_config", "generation_config"];

/// Refuses a file with parts that nobody counts.
pub(super) fn check_parts(whole: &Keys<'_>) -> Result<(), String> {
    let unknown = whole.names().find(|name| {
        name.ends_with("_config") && !KNOWN_PARTS.contains(name) && whole.get(name).is_some_and(Value::is_object)
    });
    match unknown {
        Some(name) => Err(format!("`{name}` is a part of the model that is not described")),
        None => Ok(()),
    }
}

/// Refuses what is no generator of text with its output matrix: drafts, reward models, embedders without one. Where the matrix is
/// the table of tokens, nothing is missing without it.
pub(super) fn check_head(whole: &Keys<'_>, tied: bool) -> Result<(), String> {
    let Some(value) = whole.get("architectures") else { return Ok(()) };
    let names = value.as_array().ok_or_else(|| format!("`architectures` is {value}, not a list"))?;
    let endings = ["ForCausalLM", "ForConditionalGeneration", "LMHeadModel"];
    let is_draft = |name: &str| name.starts_with("Eagle") || name.contains("Medusa") || name.contains("NextN");
    let is_known = |name: &str| {
        let generates = endings.iter().any(|ending| name.ends_with(ending));
        !is_draft(name) && (generates || (tied && name.ends_with("Model")))
    };
    match names.first().and_then(Value::as_str) {
        Some(name) if !is_known(name) => {
            Err(format!("`architectures` {name} is not described: its head is another than that of a model of text"))
        }
        _ => Ok(()),
    }
}

/// The encoder of images, where the file has one. The error names its kind where that is not known.
pub(super) fn vision(whole: &Keys<'_>) -> Result<Option<ModelShape>, String> {
    let Some(keys) = whole.within("vision_config", "vision_config.")? else { return Ok(None) };
    let of_whole = whole.optional_text("model_type")?.unwrap_or_default();
    if !WITH_IMAGES.contains(&of_whole) {
        return Err(format!(
            "`model_type` `{of_whole}`: what is between its encoder of images and its text is not described; give the \
             `text_config` by itself"
        ));
    }
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
