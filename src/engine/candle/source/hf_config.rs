//! `config.json` of a Hugging Face checkpoint as a model shape.

use crate::workload::{Architecture, ModelShape, RopeScaling};
use serde::Deserialize;

/// The keys that we read; a checkpoint has many more.
#[derive(Debug, Deserialize)]
struct Config {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: usize,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    /// Where newer versions keep `rope_theta` and the scaling together.
    rope_parameters: Option<Rope>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    quantization_config: Option<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<usize>,
}

impl Rope {
    fn scaling(&self) -> Result<Option<RopeScaling>, String> {
        let need = |value: Option<f64>, name: &str| value.ok_or_else(|| format!("rope_scaling.{name} is missing"));
        match self.rope_type.as_deref() {
            None | Some("default") => Ok(None),
            Some("linear") => Ok(Some(RopeScaling::Linear { factor: need(self.factor, "factor")? })),
            Some("llama3") => Ok(Some(RopeScaling::Llama3 {
                factor: need(self.factor, "factor")?,
                low_freq_factor: need(self.low_freq_factor, "low_freq_factor")?,
                high_freq_factor: need(self.high_freq_factor, "high_freq_factor")?,
                original_context: self
                    .original_max_position_embeddings
                    .ok_or("rope_scaling.original_max_position_embeddings is missing")?,
            })),
            Some(other) => {
                Err(format!("rope scaling `{other}` is not supported; supported are default, linear and llama3"))
            }
        }
    }
}

/// Reads the text of a config.json. The error says what is wrong, without the file's name.
pub fn parse(text: &str) -> Result<ModelShape, String> {
    // The architecture first: the keys of another family's config would only confuse.
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
    let model_type = value.get("model_type").and_then(|v| v.as_str()).ok_or("`model_type` is missing")?;
    let architecture = Architecture::from_name(model_type)?;
    let config: Config = serde_json::from_value(value).map_err(|e| e.to_string())?;
    if config.quantization_config.is_some() {
        return Err(format!(
            "the checkpoint is quantized already (`quantization_config`); give the full-precision one, or a GGUF \
             file, and {} will be quantized on load",
            config.model_type
        ));
    }
    if config.mlp_bias == Some(true) {
        return Err("`mlp_bias` is not supported".to_string());
    }
    let attention_bias = config.attention_bias.unwrap_or(false);
    if attention_bias && architecture != Architecture::Qwen2 {
        return Err("`attention_bias` is not supported for this architecture".to_string());
    }
    let rope = config.rope_scaling.as_ref().or(config.rope_parameters.as_ref());
    let rope_scaling = rope.map_or(Ok(None), Rope::scaling)?;
    let theta_of = |rope: &Option<Rope>| rope.as_ref().and_then(|r| r.rope_theta);
    let uses_window = match architecture {
        Architecture::Mistral => true,
        _ => config.use_sliding_window.unwrap_or(false),
    };
    let head_dim = match config.head_dim {
        Some(dim) => dim,
        None => config.hidden_size.checked_div(config.num_attention_heads).ok_or("num_attention_heads is 0")?,
    };
    let shape = ModelShape {
        architecture,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        layers: config.num_hidden_layers,
        heads: config.num_attention_heads,
        kv_heads: config.num_key_value_heads.unwrap_or(config.num_attention_heads),
        head_dim,
        vocab_size: config.vocab_size,
        max_context: config.max_position_embeddings.unwrap_or(2048),
        norm_eps: config.rms_norm_eps.unwrap_or(1e-6),
        rope_theta: config.rope_theta.or(theta_of(&config.rope_parameters)).unwrap_or(10000.0),
        rope_scaling,
        tied_embeddings: config.tie_word_embeddings.unwrap_or(false),
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
        token_types: 0,
        image: None,
        sliding_window: config.sliding_window.filter(|_| uses_window),
    };
    shape.validate()?;
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":2048,
        "intermediate_size":8192,"num_hidden_layers":16,"num_attention_heads":32,"num_key_value_heads":8,
        "vocab_size":128256,"max_position_embeddings":131072,"rms_norm_eps":1e-05,"rope_theta":500000.0,
        "rope_scaling":{"factor":32.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
        "original_max_position_embeddings":8192,"rope_type":"llama3"},"tie_word_embeddings":true,"unknown_key":1}"#;

    #[test]
    fn a_published_config_is_the_preset() {
        let preset = crate::workload::Preset::named("llama-3.2-1b").unwrap();
        assert_eq!(parse(LLAMA).unwrap(), preset.shape);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let message = parse(&LLAMA.replace("\"llama\"", "\"mamba\"")).unwrap_err();
        assert!(message.contains("`mamba` is not supported") && message.contains("qwen3"), "{message}");
        let message = parse(&LLAMA.replace("llama3", "yarn")).unwrap_err();
        assert!(message.contains("rope scaling `yarn`"), "{message}");
        let message = parse(&LLAMA.replace("\"unknown_key\":1", "\"quantization_config\":{}")).unwrap_err();
        assert!(message.contains("quantized already"), "{message}");
        let message = parse(&LLAMA.replace("2048,", "-1,")).unwrap_err();
        assert!(message.contains("-1"), "{message}");
        let message = parse(&LLAMA.replace("\"num_attention_heads\":32", "\"num_attention_heads\":0")).unwrap_err();
        assert!(message.contains("num_attention_heads"), "{message}");
        assert!(parse("{").unwrap_err().starts_with("not JSON"));
    }
}
