//! `config.json` of a BERT or ViT checkpoint as a model shape, and what sentence-transformers writes beside it.

use super::keys::{Keys, refuse_quantized};
use crate::workload::model::family::Config;
use crate::workload::model::image_encoder;
use crate::workload::model::parts::{Activation, Embedding, Head, LearnedEmbeddings, Parts};
use crate::workload::{Architecture, ModelShape};
use serde_json::Value;

/// The most pixels that a side of an image or patch may have: far above any model's, and so small that no product of
/// sizes overflows.
pub const MOST_SIDE: usize = 1 << 14;

/// The most channels of an image, as above.
pub const MOST_CHANNELS: usize = 1 << 10;

/// The most types of tokens, as above.
pub const MOST_TYPES: usize = 1 << 20;

/// How the hidden states of a text become its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// Their mean over the tokens, as all-MiniLM does it.
    #[default]
    Mean,
    /// That of the first token, as BGE does it.
    Cls,
}

/// The family with keys of its own that the text of a config.json is of; `None` where it is of a decoder, or of none.
pub fn encoder(text: &str) -> Option<Architecture> {
    let value = super::json(text).ok()?;
    let name = family_name(&value)?;
    let has_keys_of_its_own = |of: &Architecture| matches!(of.family().config, Config::Encoder(_));
    Architecture::of_model_type(name).filter(has_keys_of_its_own)
}

/// What a file says that its model is: `model_type`, or of timm's files the name of the network without that of its weights.
fn family_name(value: &Value) -> Option<&str> {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    text("model_type").or_else(|| text("architecture")?.split('.').next())
}

/// Reads the text of a config.json of an encoder that is to run. The error names the key that is missing, out of range or
/// not supported, without the file's name.
pub fn parse(text: &str) -> Result<ModelShape, String> {
    read(text, true)
}

/// The sizes that the text of a config.json gives, whether or not the engine runs such a model or its weights.
pub fn sizes(text: &str) -> Result<ModelShape, String> {
    read(text, false)
}

fn read(text: &str, must_run: bool) -> Result<ModelShape, String> {
    let value = super::json(text)?;
    let model_type = family_name(&value).ok_or("`model_type` is missing")?;
    let config = Architecture::of_model_type(model_type).map(|architecture| &architecture.family().config);
    let Some(Config::Encoder(sizes)) = config else {
        let known = Architecture::runnable_encoders();
        return Err(format!("`model_type` `{model_type}` is not an encoder that is supported; supported are {known}"));
    };
    let keys = Keys::new(&value);
    if must_run {
        Architecture::of_model_type(model_type)
            .filter(|of| of.family().runs)
            .ok_or_else(|| Architecture::not_supported(model_type))?;
        refuse_unsupported(&keys)?;
    }
    let shape = sizes(&keys)?;
    shape.validate()?;
    Ok(shape)
}

/// What the engine would compute wrongly, by name.
fn refuse_unsupported(keys: &Keys<'_>) -> Result<(), String> {
    // `gelu_python` is the same function by another road; `gelu_new` and its like are not.
    let supported: [(&str, &[&str]); 2] =
        [("hidden_act", &["gelu", "gelu_python"]), ("position_embedding_type", &["absolute"])];
    for (key, supported) in supported {
        if let Some(value) = keys.get(key)
            && !value.as_str().is_some_and(|text| supported.contains(&text))
        {
            return Err(format!("`{key}` {value} is not supported; supported is \"{}\"", supported[0]));
        }
    }
    for key in ["is_decoder", "add_cross_attention"] {
        if keys.flag(key, false)? {
            return Err(format!("`{key}` is not supported: the model is run as an encoder"));
        }
    }
    if let Some(value) =
        keys.get("pruned_heads").filter(|value| value.as_object().is_none_or(|heads| !heads.is_empty()))
    {
        return Err(format!("`pruned_heads` {value} is not supported: every layer has all of its heads"));
    }
    refuse_quantized(keys)
}

/// The sizes that encoders share, and nothing of what they do not.
pub fn sizes_of(keys: &Keys<'_>, architecture: Architecture) -> Result<ModelShape, String> {
    let (hidden_size, heads) = (keys.size("hidden_size", None)?, keys.size("num_attention_heads", None)?);
    if heads == 0 || !hidden_size.is_multiple_of(heads) {
        return Err(format!("`hidden_size` {hidden_size} is not a multiple of `num_attention_heads` {heads}"));
    }
    Ok(ModelShape {
        hidden_size,
        intermediate_size: keys.size("intermediate_size", None)?,
        layers: keys.size("num_hidden_layers", None)?,
        heads,
        kv_heads: heads,
        head_dim: hidden_size / heads,
        norm_eps: keys.optional_number("layer_norm_eps")?.unwrap_or(1e-12),
        tied_embeddings: true,
        qkv_bias: true,
        ..ModelShape::of(architecture)
    })
}

/// Refuses what models of BERT's family with code of their own do otherwise: its matrices would be others.
pub fn check_plain(keys: &Keys<'_>) -> Result<(), String> {
    if let Some(kind) = keys.optional_text("position_embedding_type")?.filter(|kind| *kind != "absolute") {
        return Err(format!("`position_embedding_type` \"{kind}\" is not described; \"absolute\" is"));
    }
    match ["alibi_starting_size", "feed_forward_type", "num_experts"].into_iter().find(|key| keys.get(key).is_some()) {
        Some(key) => Err(format!("`{key}` is not described: the matrices of such a model are others")),
        None => Ok(()),
    }
}

/// How many scores a text is given, of a model that `architectures` says gives some.
pub fn labels(keys: &Keys<'_>) -> Result<Option<usize>, String> {
    let names = keys.get("architectures").and_then(Value::as_array);
    let gives = |name: &Value| name.as_str().is_some_and(|name| name.ends_with("ForSequenceClassification"));
    if !names.is_some_and(|names| names.iter().any(gives)) {
        return Ok(None);
    }
    match keys.get("id2label").and_then(Value::as_object) {
        Some(labels) if !labels.is_empty() => Ok(Some(labels.len())),
        // What the Python tools take where a file says nothing.
        _ => keys.size("num_labels", Some(2)).map(Some),
    }
}

/// The sizes of an encoder of texts beside one of images.
pub fn text_tower(keys: &Keys<'_>, architecture: Architecture) -> Result<ModelShape, String> {
    Ok(ModelShape {
        vocab_size: keys.size("vocab_size", None)?,
        max_context: keys.size("max_position_embeddings", None)?,
        ..sizes_of(keys, architecture)?
    })
}

/// What such an encoder is made of: learned positions, norms before its parts and behind the last block.
pub fn text_tower_parts(text: &ModelShape) -> Parts {
    let parts = image_encoder::parts(text, Activation::QuickGelu);
    let learned = Some(LearnedEmbeddings { positions: text.max_context, types: 0, norm: false });
    let embedding = Embedding::Tokens { vocabulary: text.vocab_size, scale: None, learned };
    Parts { embedding, head: Head::Pooled, ..parts }
}

/// Reads the text of `1_Pooling/config.json`. The error names a way of pooling that is not supported.
pub fn pooling(text: &str) -> Result<Pooling, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let keys = value.as_object().ok_or("not an object")?;
    let prefix = "pooling_mode_";
    let chosen = keys.iter().filter(|(_, value)| value.as_bool() == Some(true));
    let modes: Vec<&str> = chosen.filter_map(|(key, _)| key.strip_prefix(prefix)).collect();
    match modes.as_slice() {
        [] => Err(format!("no `{prefix}...` is true")),
        ["mean_tokens"] => Ok(Pooling::Mean),
        ["cls_token"] => Ok(Pooling::Cls),
        _ => Err(format!(
            "pooling by `{}` is not supported; supported are mean_tokens and cls_token",
            modes.join("` and `")
        )),
    }
}

/// Checks the text of `modules.json`: behind the pooling, embeddings are normalised and nothing else.
pub fn check_modules(text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let modules = value.as_array().ok_or("not an array")?;
    let mut kinds = modules.iter().filter_map(|module| module.get("type")?.as_str()?.rsplit('.').next());
    match kinds.find(|kind| !["Transformer", "Pooling", "Normalize"].contains(kind)) {
        None => Ok(()),
        Some(kind) => {
            Err(format!("module `{kind}` is not supported; supported are Transformer, Pooling and Normalize"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Preset;

    const MINILM: &str = r#"{"architectures":["BertModel"],"model_type":"bert","hidden_act":"gelu","hidden_size":384,
        "intermediate_size":1536,"layer_norm_eps":1e-12,"max_position_embeddings":512,"num_attention_heads":12,
        "num_hidden_layers":6,"position_embedding_type":"absolute","type_vocab_size":2,"vocab_size":30522}"#;

    fn vit() -> String {
        let labels: Vec<String> = (0..1000).map(|index| format!("\"{index}\":\"class {index}\"")).collect();
        format!(
            r#"{{"model_type":"vit","hidden_act":"gelu","hidden_size":768,"image_size":224,"intermediate_size":3072,
            "layer_norm_eps":1e-12,"num_attention_heads":12,"num_channels":3,"num_hidden_layers":12,"patch_size":16,
            "qkv_bias":true,"id2label":{{{}}}}}"#,
            labels.join(",")
        )
    }

    #[test]
    fn published_configs_are_the_presets() {
        assert_eq!(parse(MINILM).unwrap(), Preset::named("all-minilm-l6-v2").unwrap().shape);
        assert_eq!(parse(&vit()).unwrap(), Preset::named("vit-base-patch16-224").unwrap().shape);
        assert_eq!(parse(&MINILM.replace("\"gelu\"", "\"gelu_python\"")), parse(MINILM));
        assert_eq!(sizes(&MINILM.replace("\"gelu\"", "\"gelu_new\"")), parse(MINILM));
        assert_eq!(encoder(MINILM), Some(Architecture::Bert));
        assert_eq!(encoder(r#"{"model_type":"llama"}"#), None);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let refused = |from: &str, to: &str, words: &[&str]| {
            assert!(MINILM.contains(from), "{from}");
            let message = parse(&MINILM.replace(from, to)).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        };
        refused("\"bert\"", "\"distilbert\"", &["`distilbert`", "bert", "vit"]);
        for act in ["relu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "silu"] {
            refused("\"gelu\"", &format!("\"{act}\""), &["`hidden_act`", act, "supported is \"gelu\""]);
        }
        refused("\"vocab_size\"", "\"pruned_heads\":{\"0\":[1]},\"vocab_size\"", &["`pruned_heads`"]);
        refused("absolute", "relative_key", &["`position_embedding_type`", "relative_key"]);
        refused("\"vocab_size\":30522", "\"vocab_size\":-1", &["`vocab_size`", "-1"]);
        refused("\"hidden_size\":384,", "", &["`hidden_size` is missing"]);
        refused(":12,", ":7,", &["`hidden_size` 384", "`num_attention_heads` 7"]);
        refused("\"vocab_size\"", "\"is_decoder\":true,\"vocab_size\"", &["`is_decoder`"]);
        refused("\"vocab_size\"", "\"quantization_config\":{},\"vocab_size\"", &["quantized already"]);
        assert!(parse("{").unwrap_err().starts_with("not JSON"));
        let message = parse(&vit().replace("\"patch_size\":16", "\"patch_size\":15")).unwrap_err();
        assert!(message.contains("not a multiple of `patch_size` 15"), "{message}");
        let message = parse(&vit().replace("id2label", "other")).unwrap_err();
        assert!(message.contains("`num_labels` is missing"), "{message}");
    }

    #[test]
    fn pooling_is_by_mean_or_first_token() {
        let mean = r#"{"word_embedding_dimension":384,"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}"#;
        assert_eq!(pooling(mean), Ok(Pooling::Mean));
        assert_eq!(pooling(r#"{"pooling_mode_cls_token":true,"include_prompt":true}"#), Ok(Pooling::Cls));
        let message = pooling(r#"{"pooling_mode_max_tokens":true,"pooling_mode_mean_tokens":true}"#).unwrap_err();
        assert!(message.contains("max_tokens"), "{message}");
        assert!(pooling("{}").unwrap_err().contains("no `pooling_mode_"));
    }

    #[test]
    fn a_layer_behind_the_pooling_is_refused() {
        let modules =
            r#"[{"type":"sentence_transformers.models.Transformer"},{"type":"a.b.Pooling"},{"type":"x.Dense"}]"#;
        assert!(check_modules(modules).unwrap_err().contains("`Dense`"));
        assert_eq!(check_modules(&modules.replace("Dense", "Normalize")), Ok(()));
    }
}
