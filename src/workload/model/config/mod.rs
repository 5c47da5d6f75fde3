//! `config.json` of a Hugging Face checkpoint as a model shape.

pub mod encoder;
pub mod keys;
pub mod rope;
mod unsupported;
mod window;

use crate::workload::{Architecture, ModelShape};
use keys::{Keys, refuse_quantized};
use rope::Rope;
use serde_json::Value;
use window::window;

/// What a config.json says of a decoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The sizes.
    pub shape: ModelShape,
    /// Whether the output matrix is the token embedding, where the file says so itself.
    pub tied: Option<bool>,
    /// Whether query, key and value have a bias, where the file says so itself.
    pub attention_bias: Option<bool>,
}

/// Decoders whose sizes follow from a config.json: those that run, and those that are only sized.
const SIZED: [Architecture; 7] = [
    Architecture::Llama,
    Architecture::Mistral,
    Architecture::Qwen2,
    Architecture::Qwen3,
    Architecture::Gemma,
    Architecture::Gemma2,
    Architecture::Phi3,
];

/// Reads the text of the config.json of a decoder that is to run. The error names the key that is missing, wrong, or asks for
/// what the engine does not do, without the file's name.
pub fn read(text: &str) -> Result<Config, String> {
    // The architecture first: the keys of another family's config would only confuse.
    let value = json(text)?;
    let keys = Keys::new(&value);
    let architecture = Architecture::from_name(model_type(&keys)?)?;
    refuse_quantized(&keys)?;
    let mut shape = sizes_of(&keys, architecture)?;
    let Rope { theta, scaling } = rope::rope(&keys)?;
    (shape.rope_theta, shape.rope_scaling) = (theta, scaling);
    shape.validate()?;
    unsupported::check(&keys, &shape)?;
    shape.sliding_window = window(&keys, &shape)?;
    shape.validate()?;
    let tied = keys.optional_flag("tie_word_embeddings")?;
    Ok(Config { shape, tied, attention_bias: keys.optional_flag("attention_bias")? })
}

/// The shape of [`read`].
pub fn parse(text: &str) -> Result<ModelShape, String> {
    read(text).map(|config| config.shape)
}

/// The sizes that the text of a config.json gives, whether or not the engine runs such a model or its weights: what the
/// arithmetic of memory and of operations needs, and no more. Positions that are stretched and windows of attention that the
/// engine does not know are left out; what has other matrices than the shape counts is refused.
pub fn sizes(text: &str) -> Result<ModelShape, String> {
    let value = json(text)?;
    let keys = Keys::new(&value);
    let name = model_type(&keys)?;
    if encoder::encoder(text).is_some() {
        return encoder::sizes(text);
    }
    let Some(architecture) = SIZED.into_iter().find(|known| known.name() == name) else {
        let known: Vec<&str> = SIZED.iter().chain(&Architecture::ENCODERS).map(|a| a.name()).collect();
        return Err(format!("the sizes of architecture `{name}` are not known; known are {}", known.join(", ")));
    };
    unsupported::check_sizes(&keys, architecture)?;
    let mut shape = sizes_of(&keys, architecture)?;
    shape.rope_theta = rope::base(&keys);
    shape.rope_scaling = rope::rope(&keys).map_or(None, |rope| rope.scaling);
    shape.sliding_window = window(&keys, &shape).unwrap_or_default();
    shape.validate()?;
    Ok(shape)
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text.trim_start_matches('\u{feff}')).map_err(|e| format!("not JSON: {e}"))
}

fn model_type<'a>(keys: &Keys<'a>) -> Result<&'a str, String> {
    keys.optional_text("model_type")?.ok_or_else(|| "`model_type` is missing".to_string())
}

/// What the Python tools take where a config.json of a family says nothing: width of a head, and longest context.
fn defaults(architecture: Architecture, heads_wide: usize) -> (usize, usize) {
    match architecture {
        Architecture::Mistral => (heads_wide, 131_072),
        Architecture::Qwen2 => (heads_wide, 32_768),
        Architecture::Qwen3 => (128, 32_768),
        Architecture::Gemma | Architecture::Gemma2 => (256, 8192),
        Architecture::Phi3 => (heads_wide, 4096),
        _ => (heads_wide, 2048),
    }
}

/// The sizes, positions left as they are by default and attention to everything before.
fn sizes_of(keys: &Keys<'_>, architecture: Architecture) -> Result<ModelShape, String> {
    let (hidden_size, heads) = (keys.size("hidden_size", None)?, keys.size("num_attention_heads", None)?);
    let heads_wide = hidden_size.checked_div(heads).ok_or("`num_attention_heads` is 0")?;
    let (head_dim, max_context) = defaults(architecture, heads_wide);
    // Families whose Python default is not one head of keys for each of queries must say how many there are, or null.
    let all_heads = matches!(architecture, Architecture::Llama | Architecture::Phi3);
    let kv_heads = (all_heads || keys.is_null("num_key_value_heads")).then_some(heads);
    let tied = matches!(architecture, Architecture::Gemma | Architecture::Gemma2);
    let attention_bias = keys.flag("attention_bias", false)?;
    Ok(ModelShape {
        architecture,
        hidden_size,
        intermediate_size: keys.size("intermediate_size", None)?,
        layers: keys.size("num_hidden_layers", None)?,
        heads,
        kv_heads: keys.size("num_key_value_heads", kv_heads)?,
        head_dim: keys.size("head_dim", Some(head_dim))?,
        vocab_size: keys.size("vocab_size", None)?,
        max_context: keys.size("max_position_embeddings", Some(max_context))?,
        norm_eps: keys.optional_number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta: rope::DEFAULT_THETA,
        rope_scaling: None,
        tied_embeddings: keys.flag("tie_word_embeddings", tied)?,
        qkv_bias: architecture == Architecture::Qwen2 || attention_bias,
        qk_norm: architecture == Architecture::Qwen3,
        token_types: 0,
        image: None,
        sliding_window: None,
    })
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
        assert_eq!(sizes(LLAMA).unwrap(), preset.shape);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let message = parse(&LLAMA.replace("\"llama\"", "\"mamba\"")).unwrap_err();
        assert!(message.contains("`mamba` is not supported") && message.contains("qwen3"), "{message}");
        let message = parse(&LLAMA.replace("llama3", "yarn")).unwrap_err();
        assert!(message.contains("rope_scaling.rope_type` `yarn`"), "{message}");
        let message = parse(&LLAMA.replace("\"unknown_key\":1", "\"quantization_config\":{}")).unwrap_err();
        assert!(message.contains("quantized already"), "{message}");
        let message = parse(&LLAMA.replace("2048,", "-1,")).unwrap_err();
        assert!(message.contains("-1"), "{message}");
        let message = parse(&LLAMA.replace("\"num_attention_heads\":32", "\"num_attention_heads\":0")).unwrap_err();
        assert!(message.contains("num_attention_heads"), "{message}");
        assert!(parse("{").unwrap_err().starts_with("not JSON"));
    }

    #[test]
    fn a_quantized_checkpoint_is_refused_by_the_name_of_its_method_but_has_sizes() {
        let text = LLAMA.replace("\"unknown_key\":1", r#""quantization_config":{"quant_method":"awq","bits":4}"#);
        assert!(parse(&text).unwrap_err().contains("`quantization_config`: awq"));
        assert_eq!(sizes(&text), parse(LLAMA));
    }

    #[test]
    fn sizes_come_of_models_that_do_not_run_and_of_none_with_other_matrices() {
        let phi = LLAMA.replace("\"model_type\":\"llama\"", "\"model_type\":\"phi3\"").replace("llama3", "longrope");
        let shape = sizes(&phi).unwrap();
        assert_eq!((shape.architecture, shape.rope_scaling), (Architecture::Phi3, None));
        assert_eq!(shape.rope_theta, 500_000.0);
        assert!(parse(&phi).unwrap_err().contains("`phi3` is not supported"));
        for (key, value) in [("num_local_experts", "8"), ("kv_lora_rank", "512"), ("text_config", "{}")] {
            let message = sizes(&LLAMA.replace("\"unknown_key\":1", &format!("\"{key}\":{value}"))).err();
            assert_eq!(message.is_some_and(|m| m.contains(key)), key != "text_config", "{key}");
        }
        let message = sizes(&LLAMA.replace("\"model_type\":\"llama\"", "\"model_type\":\"mixtral\"")).unwrap_err();
        assert!(message.contains("`mixtral`") && message.contains("gemma2"), "{message}");
    }
}
