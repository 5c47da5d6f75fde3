//! `config.json` of a BERT or ViT checkpoint as a model shape, and what sentence-transformers writes beside it.

use crate::workload::shape::ImageShape;
use crate::workload::{Architecture, ModelShape};
use serde_json::Value;

/// The encoders that run, in the order that messages list them.
pub const SUPPORTED: [Architecture; 2] = [Architecture::Bert, Architecture::Vit];

/// The most pixels that a side of an image or patch may have: far above any model's, and so small that no product of
/// sizes overflows.
pub const MOST_SIDE: usize = 1 << 14;

/// The most channels of an image, as above.
const MOST_CHANNELS: usize = 1 << 10;

/// The most types of tokens, as above.
const MOST_TYPES: usize = 1 << 20;

/// How the hidden states of a text become its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// Their mean over the tokens, as all-MiniLM does it.
    #[default]
    Mean,
    /// That of the first token, as BGE does it.
    Cls,
}

/// The encoder that the text of a config.json is of; `None` where it is of another kind of model, or none.
pub fn encoder(text: &str) -> Option<Architecture> {
    let value: Value = serde_json::from_str(text).ok()?;
    let name = value.get("model_type")?.as_str()?;
    SUPPORTED.into_iter().find(|architecture| architecture.name() == name)
}

/// Reads the text of a config.json. The error names the key that is missing, out of range or not supported, without the
/// file's name.
pub fn parse(text: &str) -> Result<ModelShape, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let model_type = value.get("model_type").and_then(Value::as_str).ok_or("`model_type` is missing")?;
    let found = SUPPORTED.into_iter().find(|architecture| architecture.name() == model_type);
    let architecture = found.ok_or_else(|| {
        let known = SUPPORTED.map(Architecture::name).join(", ");
        format!("`model_type` `{model_type}` is not an encoder that is supported; supported are {known}")
    })?;
    let keys = Keys(&value);
    keys.refuse_unsupported()?;
    let shape = match architecture {
        Architecture::Vit => keys.vit()?,
        _ => keys.bert()?,
    };
    shape.validate()?;
    Ok(shape)
}

/// A config.json, to be asked for one key after the other.
struct Keys<'a>(&'a Value);

impl Keys<'_> {
    /// The value of `key`; null is as good as none, as in the Python tools.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    /// A whole number that must be there, or the default.
    fn size(&self, key: &str, default: Option<usize>) -> Result<usize, String> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(format!("`{key}` is missing")),
            (Some(value), _) => {
                value.as_u64().map(|number| number as usize).ok_or(format!("`{key}` is {value}, not a whole number"))
            }
        }
    }

    /// The same, at least 1 and at most `most`.
    fn size_within(&self, key: &str, default: Option<usize>, most: usize) -> Result<usize, String> {
        match self.size(key, default)? {
            size if (1..=most).contains(&size) => Ok(size),
            size => Err(format!("`{key}` is {size}; it must be between 1 and {most}")),
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, String> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or(format!("`{key}` is {value}, not a number")),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.get(key) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or(format!("`{key}` is {value}, neither true nor false")),
        }
    }

    /// What the engine would compute wrongly, by name.
    fn refuse_unsupported(&self) -> Result<(), String> {
        for (key, supported) in [("hidden_act", "gelu"), ("position_embedding_type", "absolute")] {
            if let Some(value) = self.get(key)
                && value.as_str() != Some(supported)
            {
                return Err(format!("`{key}` {value} is not supported; supported is \"{supported}\""));
            }
        }
        for key in ["is_decoder", "add_cross_attention"] {
            if self.flag(key, false)? {
                return Err(format!("`{key}` is not supported: the model is run as an encoder"));
            }
        }
        match self.get("quantization_config") {
            None => Ok(()),
            Some(_) => {
                Err("the checkpoint is quantized already (`quantization_config`); give the full-precision one, \
                            and it will be quantized on load"
                    .to_string())
            }
        }
    }

    fn bert(&self) -> Result<ModelShape, String> {
        Ok(ModelShape {
            vocab_size: self.size("vocab_size", None)?,
            max_context: self.size("max_position_embeddings", None)?,
            token_types: self.size_within("type_vocab_size", Some(2), MOST_TYPES)?,
            ..self.encoder(Architecture::Bert)?
        })
    }

    fn vit(&self) -> Result<ModelShape, String> {
        let image = ImageShape {
            patch: self.size_within("patch_size", None, MOST_SIDE)?,
            size: self.size_within("image_size", None, MOST_SIDE)?,
            channels: self.size_within("num_channels", Some(3), MOST_CHANNELS)?,
        };
        if !image.size.is_multiple_of(image.patch) {
            return Err(format!("`image_size` {} is not a multiple of `patch_size` {}", image.size, image.patch));
        }
        Ok(ModelShape {
            vocab_size: self.classes()?,
            max_context: (image.size / image.patch).pow(2) + 1,
            qkv_bias: self.flag("qkv_bias", true)?,
            image: Some(image),
            ..self.encoder(Architecture::Vit)?
        })
    }

    /// Classes of an image classifier: as many as have a name.
    fn classes(&self) -> Result<usize, String> {
        match self.get("id2label").and_then(Value::as_object) {
            Some(labels) if !labels.is_empty() => Ok(labels.len()),
            _ => self.size("num_labels", None).map_err(|message| {
                format!("{message}, and so is `id2label`: only image classifiers are supported, and none is described")
            }),
        }
    }

    /// What both have, and nothing of what they do not share.
    fn encoder(&self, architecture: Architecture) -> Result<ModelShape, String> {
        let (hidden_size, heads) = (self.size("hidden_size", None)?, self.size("num_attention_heads", None)?);
        if heads == 0 || !hidden_size.is_multiple_of(heads) {
            return Err(format!("`hidden_size` {hidden_size} is not a multiple of `num_attention_heads` {heads}"));
        }
        Ok(ModelShape {
            architecture,
            hidden_size,
            intermediate_size: self.size("intermediate_size", None)?,
            layers: self.size("num_hidden_layers", None)?,
            heads,
            kv_heads: heads,
            head_dim: hidden_size / heads,
            vocab_size: 0,
            max_context: 0,
            norm_eps: self.number("layer_norm_eps", 1e-12)?,
            rope_theta: 0.0,
            rope_scaling: None,
            tied_embeddings: true,
            qkv_bias: true,
            qk_norm: false,
            sliding_window: None,
            image: None,
            token_types: 0,
        })
    }
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
        refused("\"gelu\"", "\"relu\"", &["`hidden_act`", "relu", "gelu"]);
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
