//! `config.json` of a Hugging Face checkpoint as a model shape.

pub mod convolutional;
pub mod encoder;
pub mod keys;
mod multimodal;
pub mod rope;
pub mod sublayers;
mod unsupported;
mod window;

use super::family::{Config as Keyed, DecoderRules, WindowRule};
use super::kinds::LayerKind;
use crate::workload::{Architecture, ModelShape};
use keys::{Keys, refuse_quantized};
use rope::Rope;
use serde_json::Value;
use window::window;

/// The most layers that a file may name; kinds of layers are listed one by one before all sizes are checked.
const MOST_LAYERS: usize = 1 << 10;

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

/// Reads the text of the config.json of a decoder that is to run. The error names the key that is missing, wrong, or asks for
/// what the engine does not do, without the file's name.
pub fn read(text: &str) -> Result<Config, String> {
    // The architecture first: the keys of another family's config would only confuse.
    let value = json(text)?;
    let keys = Keys::new(&value);
    let architecture = Architecture::from_name(model_type(&keys)?)?;
    if let Some(key) = ["text_config", "vision_config"].into_iter().find(|key| keys.get(key).is_some()) {
        return Err(format!(
            "`{key}`: the engine runs models of text alone; give a checkpoint of the text part (`models show` and sizing take \
             the whole)"
        ));
    }
    refuse_quantized(&keys)?;
    let mut shape = sizes_of(&keys, architecture)?;
    let Rope { theta, scaling } = rope::rope(&keys)?;
    (shape.rope_theta, shape.rope_scaling) = (theta, scaling);
    shape.validate()?;
    let rules = rules(architecture)?;
    unsupported::check(&keys, &shape, rules)?;
    if rules.window != WindowRule::Pattern {
        shape.sliding_window = window(&keys, &shape, rules.window)?;
    }
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
/// engine does not know are left out; what has other matrices than the shape counts is refused. Of a model that takes images too,
/// the part that generates text is sized, with its encoder of images beside it.
pub fn sizes(text: &str) -> Result<ModelShape, String> {
    let value = json(text)?;
    if encoder::encoder(text).is_some() {
        return encoder::sizes(text);
    }
    let whole = Keys::new(&value);
    let of_text = multimodal::text_part(&whole);
    let keys = of_text.as_ref().map_or(whole, |text| Keys::at(text, multimodal::TEXT));
    let name = model_type(&keys)?;
    let Some(architecture) = Architecture::of_model_type(name) else {
        return Err(Architecture::unknown(name));
    };
    let rules = rules(architecture)?;
    unsupported::check_sizes(&keys, architecture, rules)?;
    multimodal::check_parts(&whole)?;
    let mut shape = sizes_of(&keys, architecture)?;
    multimodal::check_head(&whole, shape.tied_embeddings)?;
    shape.rope_theta = rope::base(&keys);
    shape.rope_scaling = rope::rope(&keys).map_or(None, |rope| rope.scaling);
    // What changes no matrix is left out where it is not known, but not where it is no number.
    keys.optional_number("rope_theta")?;
    keys.optional_size("sliding_window")?;
    if rules.window != WindowRule::Pattern {
        with_windows(&keys, &mut shape, rules.window)?;
    }
    shape.vision = multimodal::vision(&whole)?.map(Box::new);
    shape.beside = multimodal::speech(&whole, shape.hidden_size)?;
    shape.validate()?;
    Ok(shape)
}

/// How a file says that its checkpoint is quantized already, where it does.
pub fn quantization(text: &str) -> Option<String> {
    keys::quantization(&Keys::new(&json(text).ok()?))
}

/// Windows of a model that need not run: of some layers where the file lists their kinds, else as the family has them.
fn with_windows(keys: &Keys<'_>, shape: &mut ModelShape, rule: WindowRule) -> Result<(), String> {
    let kinds = sublayers::layer_kinds(keys, shape.layers)?;
    let Some(kinds) = kinds.filter(|kinds| kinds.to_string() != "f") else {
        shape.sliding_window = window(keys, shape, rule).unwrap_or_default();
        return Ok(());
    };
    if kinds.to_string().chars().any(|letter| !matches!(letter, 'f' | 'w')) {
        return Err(format!("`layer_types`: layers of the kinds {kinds} are not known of `{}`", shape.architecture));
    }
    let size = keys.optional_size("sliding_window")?;
    shape.sliding_window = Some(size.ok_or("`layer_types` names sliding_attention, but `sliding_window` is missing")?);
    shape.layer_kinds = kinds.has(LayerKind::Full).then_some(kinds);
    Ok(())
}

fn json(text: &str) -> Result<Value, String> {
    let text = text.trim_start_matches('\u{feff}');
    let value: Value = serde_json::from_str(text).or_else(|error| {
        // Python writes numbers that JSON has no word for.
        serde_json::from_str(&without_words_of_python(text)).map_err(|_| format!("not JSON: {error}"))
    })?;
    if value.is_object() { Ok(value) } else { Err("not an object of JSON, as a config.json is".to_string()) }
}

/// A text of JSON with null for `NaN` and `Infinity`, which stand for no number, where they are not within a string.
fn without_words_of_python(text: &str) -> String {
    let pieces = text.split('"');
    let (mut is_string, mut made) = (false, Vec::new());
    for piece in pieces {
        if is_string {
            made.push(piece.to_string());
        } else {
            let infinite = piece.replace("-Infinity", "null").replace("Infinity", "null");
            made.push(infinite.replace("NaN", "null"));
        }
        // A quote behind an odd number of backslashes is one of the string.
        let backslashes = piece.bytes().rev().take_while(|byte| *byte == b'\\').count();
        is_string = if is_string { !backslashes.is_multiple_of(2) } else { true };
    }
    made.join("\"")
}

fn model_type<'a>(keys: &Keys<'a>) -> Result<&'a str, String> {
    keys.optional_text("model_type")?.ok_or_else(|| "`model_type` is missing".to_string())
}

/// The rules of a family of decoders.
fn rules(architecture: Architecture) -> Result<&'static DecoderRules, String> {
    match &architecture.family().config {
        Keyed::Decoder(rules) => Ok(rules),
        Keyed::Encoder(_) => Err(format!("`model_type` `{architecture}` is an encoder's")),
    }
}

/// The sizes, positions left as they are by default and attention to everything before.
fn sizes_of(keys: &Keys<'_>, architecture: Architecture) -> Result<ModelShape, String> {
    let rules = rules(architecture)?;
    let size = |key: &str| {
        let known = rules.defaults.iter().find(|(name, _)| *name == key).map(|(_, size)| *size);
        keys.size(key, known)
    };
    let (hidden_size, heads) = (size("hidden_size")?, size("num_attention_heads")?);
    let heads_wide = hidden_size.checked_div(heads).ok_or("`num_attention_heads` is 0")?;
    if keys.get("head_dim").is_none() && rules.head_dim.is_none() && !hidden_size.is_multiple_of(heads) {
        return Err(format!(
            "`hidden_size` {hidden_size} is not a multiple of `num_attention_heads` {heads}, and `head_dim` is missing"
        ));
    }
    // Families whose Python default is not one head of keys for each of queries must say how many there are, or null.
    let kv_heads = (rules.all_kv_heads || keys.is_null("num_key_value_heads")).then_some(heads);
    let attention_bias = keys.flag("attention_bias", false)?;
    let mut shape = ModelShape {
        hidden_size,
        intermediate_size: if rules.no_dense_width { 0 } else { size("intermediate_size")? },
        layers: match size("num_hidden_layers")? {
            layers if layers <= MOST_LAYERS => layers,
            layers => return Err(format!("`num_hidden_layers` is {layers}; it must be at most {MOST_LAYERS}")),
        },
        heads,
        kv_heads: kv_heads
            .map_or_else(|| size("num_key_value_heads"), |heads| keys.size("num_key_value_heads", Some(heads)))?,
        head_dim: keys.size("head_dim", Some(rules.head_dim.unwrap_or(heads_wide)))?,
        vocab_size: size("vocab_size")?,
        max_context: keys.size("max_position_embeddings", Some(rules.max_context))?,
        norm_eps: keys.optional_number("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta: rope::DEFAULT_THETA,
        tied_embeddings: keys.flag("tie_word_embeddings", rules.tied)?,
        qkv_bias: rules.qkv_bias || attention_bias,
        qk_norm: rules.qk_norm,
        ..ModelShape::of(architecture)
    };
    (rules.more)(keys, &mut shape)?;
    if rules.no_dense_width {
        // No layer is as wide; the sizes are checked and printed with that of an expert.
        shape.intermediate_size = shape.experts.map_or(0, |experts| experts.width);
    }
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
        let message = sizes(&LLAMA.replace("\"model_type\":\"llama\"", "\"model_type\":\"lama\"")).unwrap_err();
        assert!(message.contains("`lama` is not known; did you mean `llama`?"), "{message}");
    }
}
