//! Models as they were published: what their config.json says of sizes, restated, against counts that this project did not make.
//!
//! `parameters` is what transformers 5.24 builds of the file, counted on its meta device and equal to the number of the published
//! weights but for what they hold beside (layers of multi-token prediction, scales, buffers). `active` is the sum of the same
//! tensors with the experts that a token chooses, the table of tokens whole.

use serde::Deserialize;
use serde_json::Value;
use sizewell::workload::model::config;
use sizewell::workload::{CacheType, ModelShape, Preset, Quant};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Published {
    config: Value,
    parameters: f64,
    active: Option<f64>,
}

fn published() -> BTreeMap<String, Published> {
    serde_json::from_str(include_str!("cases/published-models.json")).unwrap()
}

fn shape(name: &str) -> ModelShape {
    config::sizes(&published()[name].config.to_string()).unwrap()
}

/// What of a model nothing that it is used for goes through, and which no shape counts: poolers of embedders, heads of
/// pre-training, the bias of one output matrix.
fn is_within(counted: f64, published: f64) -> bool {
    (counted / published - 1.0).abs() <= 0.005
}

#[test]
fn a_config_gives_the_parameters_that_were_published() {
    let all = published();
    assert!(all.len() > 100);
    for (name, model) in &all {
        let shape = config::sizes(&model.config.to_string()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let counted = shape.parameters();
        assert!(is_within(counted, model.parameters), "{name}: {counted}, published {}", model.parameters);
        if let Some(active) = model.active {
            let counted = shape.active_parameters();
            assert!(is_within(counted, active), "{name}: {counted} active, published {active}");
        }
        assert_eq!(Preset::named(name).unwrap().shape, shape, "{name}");
    }
}

/// What cards and papers say a token goes through, in billions: some leave the table of tokens out.
#[test]
fn active_parameters_are_those_of_the_cards() {
    for (name, card, unit, has_table) in [
        ("mixtral-8x7b", 12.9, 0.1, true),
        ("mixtral-8x22b", 39.0, 1.0, true),
        ("gpt-oss-20b", 3.6, 0.1, false),
        ("gpt-oss-120b", 5.1, 0.1, false),
        ("qwen3-235b-a22b", 22.0, 1.0, true),
        ("deepseek-v3", 37.0, 1.0, true),
        ("deepseek-v2-lite", 2.4, 0.1, false),
        ("kimi-k2", 32.0, 1.0, true),
        ("llama-4-scout", 17.0, 1.0, true),
        ("glm-4.5", 32.0, 1.0, false),
        ("glm-4.5-air", 12.0, 1.0, false),
        ("minimax-m2", 10.0, 1.0, false),
        ("nemotron-3-nano-30b-a3b", 3.5, 0.1, true),
    ] {
        let shape = shape(name);
        let table = if has_table { 0.0 } else { (shape.vocab_size * shape.hidden_size) as f64 };
        let active = (shape.active_parameters() - table) / 1e9;
        // Some are cut off, some are rounded.
        assert!(active > card - unit / 2.0 && active < card + unit, "{name}: {active}, by its card {card}");
    }
}

/// Bytes of a token in a cache of 16 bits, as the models' papers and cards have them.
#[test]
fn caches_are_those_of_the_papers() {
    let of = |name: &str, tokens| shape(name).cache_bytes(1, tokens, CacheType::F16).0;
    // 61 layers of 512 + 64 numbers (arXiv 2412.19437, table 1), whatever the number of heads.
    assert_eq!(of("deepseek-v3", 1), 61.0 * 576.0 * 2.0);
    assert_eq!(of("kimi-k2", 1), 61.0 * 576.0 * 2.0);
    // 48 layers, 8 heads of 128 each for keys and values; of four layers three within chunks of 8,192.
    assert_eq!(of("llama-4-scout", 8192), 48.0 * 4096.0 * 8192.0);
    assert_eq!(of("llama-4-scout", 65_536), 4096.0 * (12.0 * 65_536.0 + 36.0 * 8192.0));
    // 10 of 62 layers see everything, the others 1,024.
    assert_eq!(of("gemma-3-27b", 131_072), 8192.0 * (10.0 * 131_072.0 + 52.0 * 1024.0));
    // Of 35 layers the last 20 keep nothing; of the others 3 see everything, with one head of 512.
    assert_eq!(of("gemma-4-e2b", 8192), 2.0 * 2.0 * (3.0 * 512.0 * 8192.0 + 12.0 * 256.0 * 512.0));
    // 12 of 24 layers see 128 positions.
    assert_eq!(of("gpt-oss-20b", 131_072), 2048.0 * 12.0 * (131_072.0 + 128.0));
    // 12 of 48 layers keep keys and values, and the others 32 matrices of 128 x 128 in 32 bits, with what waits for their
    // convolutions.
    let states = 36.0 * (32.0 * 128.0 * 128.0 * 4.0 + 8192.0 * 3.0 * 2.0);
    assert_eq!(of("qwen3-next-80b-a3b", 1000), 12.0 * 2.0 * 512.0 * 2.0 * 1000.0 + states);
    assert_eq!(shape("qwen3-next-80b-a3b").state_bytes(1).0, states);
    // 4 of 52 layers have attention.
    let attention = 4.0 * 2.0 * 1024.0 * 2.0;
    let nemotron = shape("nemotron-h-8b");
    assert_eq!(of("nemotron-h-8b", 4096) - nemotron.state_bytes(1).0, attention * 4096.0);
}

/// Operations and bytes of steps.
#[test]
fn steps_read_and_compute_what_their_tokens_choose() {
    let mixtral = shape("mixtral-8x7b");
    let read = |tokens| mixtral.step_weight_bytes(Quant::F16, tokens).0 / mixtral.weight_bytes(Quant::F16).0;
    assert!(read(1) < 0.28 && read(64) > 0.99, "{} {}", read(1), read(64));
    let deepseek = shape("deepseek-v3");
    // Two operations of each parameter that a token goes through but for the table, beside attention.
    let products = deepseek.decode_ops(1, 0) / 2.0;
    let active = deepseek.active_parameters() - (deepseek.vocab_size * deepseek.hidden_size) as f64;
    assert!((products / active - 1.0).abs() < 1e-3, "{products} {active}");
    // A window bounds what is read and computed, however long the context.
    let gemma = shape("gemma-3-27b");
    let step = |context| gemma.read_cache_bytes(1, context, CacheType::F16).0;
    assert_eq!(step(200_000.0) - step(100_000.0), 10.0 * 8192.0 * 100_000.0);
    assert!(gemma.decode_ops(1, 100_000) < 2.0 * gemma.decode_ops(1, 1));
}

/// Multiply-adds of a published image size, by torchvision's metadata of its weights (timm's of MobileNetV4).
#[test]
fn networks_of_convolutions_compute_what_was_published() {
    for (name, side, billions) in [
        ("resnet-18", 224, 1.814),
        ("resnet-50", 224, 4.089),
        ("resnet-152", 224, 11.514),
        ("efficientnet-b0", 224, 0.386),
        ("efficientnet-b4", 380, 4.394),
        ("mobilenetv4-conv-small", 224, 0.186),
        ("mobilenetv4-conv-large", 256, 2.835),
    ] {
        let shape = shape(name);
        let tokens = shape.image.unwrap().tokens(side);
        let exact = shape.parts().operations_of_image(side) / 2e9;
        assert!((exact / billions - 1.0).abs() < 2e-3, "{name}: {exact}, published {billions}");
        assert!(tokens > 0 && shape.prefill_ops(1, tokens) > 0.0);
    }
}

#[test]
fn traps_of_published_files_are_read_as_they_mean() {
    // A head is not the width by the number of heads.
    let qwen = shape("qwen3-32b");
    assert_eq!((qwen.head_dim, qwen.hidden_size / qwen.heads), (128, 80));
    assert_eq!((shape("mistral-nemo").head_dim, shape("mistral-small-24b").head_dim), (128, 128));
    // Two heads of keys, fewer than the cards of a server.
    assert_eq!(shape("glm-4-9b").kv_heads, 2);
    // The output matrix is the table, or is not, by the size of the model.
    assert!(shape("smollm3-3b").tied_embeddings && !shape("qwen2.5-7b").tied_embeddings);
    assert!(shape("command-r7b").tied_embeddings && shape("gemma-2-9b").tied_embeddings);
    // A table with more rows than the tokenizer has words.
    assert_eq!(shape("gemma-3-4b").vocab_size, 262_208);
    // An expert is narrower than the layers without any.
    let deepseek = shape("deepseek-v3");
    assert_eq!((deepseek.intermediate_size, deepseek.experts.unwrap().width), (18_432, 2048));
    let maverick = shape("llama-4-maverick").experts.unwrap();
    assert_eq!((maverick.every, maverick.is_at(0), maverick.is_at(1)), (2, false, true));
    // Layers of several kinds.
    let kinds = |name: &str| shape(name).layer_kinds.map(|kinds| kinds.to_string());
    for (name, pattern) in [
        ("gemma-2-9b", "wf"),
        ("gemma-3-4b", "wwwwwf"),
        ("gemma-4-e2b", "wwwwf"),
        ("gpt-oss-120b", "wf"),
        ("llama-4-scout", "cccn"),
        ("command-r7b", "wwwn"),
        ("smollm3-3b", "fffn"),
        ("olmo-3-7b", "wwwf"),
        ("qwen3.5-27b", "lllf"),
        ("modernbert-base", "fww"),
    ] {
        assert_eq!(kinds(name).as_deref(), Some(pattern), "{name}");
    }
    // Files that stretch positions in ways that the engine does not compute have sizes all the same.
    for name in ["deepseek-v3", "gpt-oss-20b", "phi-3.5-mini", "qwen2.5-vl-7b", "llama-4-scout"] {
        assert!(shape(name).max_context >= 131_072 || name == "qwen2.5-vl-7b", "{name}");
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    for (text, words) in [
        (r#"{"model_type":"mixtrall"}"#, "`mixtrall` is not known; did you mean `mixtral`?"),
        (r#"{"model_type":"qwen3_moee"}"#, "did you mean `qwen3_moe`?"),
        (r#"{"model_type":"mamba"}"#, "architecture `mamba` is not known"),
    ] {
        let message = config::sizes(text).unwrap_err();
        assert!(message.contains(words), "{message}");
    }
    let with = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut config = published().remove(name).unwrap().config;
        change(&mut config);
        config::sizes(&config.to_string())
    };
    let message = with("llama-3.1-405b", &|config| config["num_local_experts"] = 8.into()).unwrap_err();
    assert!(message.contains("`num_local_experts`"), "{message}");
    let message = with("glm-4.5", &|config| config["moe_layer_freq"] = 2.into()).unwrap_err();
    assert!(message.contains("`moe_layer_freq` is 2"), "{message}");
    let message =
        with("mistral-small-3.1-24b", &|config| config["vision_config"]["model_type"] = "vjepa".into()).unwrap_err();
    assert!(message.contains("`vision_config.model_type` `vjepa`"), "{message}");
    let message = with("gemma-3-4b", &|config| config["text_config"]["hidden_size"] = Value::Null).unwrap_err();
    assert!(message.contains("`text_config.hidden_size` is missing"), "{message}");
    let message = with("nemotron-h-8b", &|config| config["hybrid_override_pattern"] = "M-Q".into()).unwrap_err();
    assert!(message.contains("hybrid_override_pattern"), "{message}");
    let message = with("gpt-oss-20b", &|config| config["num_experts_per_tok"] = 99.into()).unwrap_err();
    assert!(message.contains("experts.active is 99"), "{message}");
}

/// What a file may hold that no model has: each is refused by its key, and none ends the program.
#[test]
fn hostile_sizes_are_named() {
    let huge = Value::from(1_000_000_000_000_000_000_u64);
    for (name, key, value, words) in [
        ("mistral-nemo", "num_hidden_layers", huge.clone(), "`num_hidden_layers` is 1000000000000000000"),
        ("qwen2.5-7b", "num_hidden_layers", u64::MAX.into(), "`num_hidden_layers`"),
        ("command-r7b", "num_hidden_layers", 2000.into(), "`num_hidden_layers` is 2000; it must be at most 1024"),
        ("deepseek-v3", "qk_nope_head_dim", u64::MAX.into(), "`qk_nope_head_dim`"),
        ("deepseek-v3", "n_shared_experts", huge.clone(), "`n_shared_experts`"),
        ("deepseek-v3", "first_k_dense_replace", 100.into(), "none of the 61 layers has experts"),
        ("qwen3-30b-a3b", "mlp_only_layers", "[]".into(), "`mlp_only_layers` is \"[]\", not a list"),
        ("qwen3-30b-a3b", "num_experts_per_tok", 129.into(), "experts.active is 129"),
        ("qwen2.5-7b", "num_attention_heads", 30.into(), "is not a multiple of `num_attention_heads` 30"),
        ("llama-3.1-405b", "rope_theta", "1e6".into(), "`rope_theta` is \"1e6\", not a number"),
        ("llama-3.1-405b", "layer_types", vec!["mamba"; 126].into(), "layers of the kinds m are not known of `llama`"),
        ("llama-3.1-405b", "layer_types", vec!["full_attention"; 3].into(), "names 3 layers"),
        ("llama-3.1-405b", "layer_types", "full_attention".into(), "not a list"),
        ("llama-3.1-405b", "hidden_size", (-1).into(), "`hidden_size` is -1"),
        ("llama-3.1-405b", "vocab_size", Value::from(128.5), "`vocab_size` is 128.5"),
        ("mistral-nemo", "sliding_window", (-1).into(), "`sliding_window` is -1"),
        ("llama-3.1-405b", "sliding_window", "4096".into(), "`sliding_window` is \"4096\""),
        ("llama-3.1-405b", "hidden_size", Value::from(1e20), "no model is as large"),
        ("modernbert-base", "local_attention", 0.into(), "`local_attention` is 0"),
        ("whisper-tiny", "encoder_attention_heads", 7.into(), "not a multiple of `encoder_attention_heads` 7"),
        ("whisper-tiny", "decoder_attention_heads", 7.into(), "not a multiple of `decoder_attention_heads` 7"),
        ("resnet-50", "depths", vec![3, 4].into(), "`depths` has 2 stages"),
        ("efficientnet-b0", "width_coefficient", 0.into(), "`width_coefficient` is 0"),
        ("granite-4.0-h-tiny", "layer_types", vec!["mamba"; 3].into(), "`layer_types` names 3 layers"),
    ] {
        let mut config = published().remove(name).unwrap().config;
        config[key] = value;
        let message = config::sizes(&config.to_string()).unwrap_err();
        assert!(message.contains(words), "{name} {key}: {message}");
    }
    for (text, words) in
        [("[]", "not an object"), ("3", "not an object"), ("", "not JSON"), ("{}", "`model_type` is missing")]
    {
        assert!(config::sizes(text).unwrap_err().contains(words), "{text}");
    }
}

/// Files of the names of known families whose matrices are others: refused by what tells them apart.
#[test]
fn relatives_with_other_matrices_are_refused() {
    let changed = |name: &str, key: &str, value: Value| {
        let mut config = published().remove(name).unwrap().config;
        config[key] = value;
        config::sizes(&config.to_string())
    };
    for (name, key, value, words) in [
        // Nemotron 3 Super: experts work on a narrower vector.
        ("nemotron-3-nano-30b-a3b", "moe_latent_size", Value::from(1024), "`moe_latent_size`"),
        // Drafts of EAGLE 3, reward models, embedders without an output matrix.
        ("llama-3.1-405b", "architectures", vec!["LlamaForCausalLMEagle3"].into(), "LlamaForCausalLMEagle3"),
        ("qwen2.5-7b", "architectures", vec!["Qwen2ForProcessRewardModel"].into(), "Qwen2ForProcessRewardModel"),
        ("mistral-nemo", "architectures", vec!["MistralModel"].into(), "MistralModel"),
        ("mistral-nemo", "architectures", vec!["EagleMistralForCausalLM"].into(), "EagleMistralForCausalLM"),
        ("mistral-nemo", "architectures", "MistralForCausalLM".into(), "not a list"),
        (
            "whisper-tiny",
            "architectures",
            vec!["WhisperForAudioClassification"].into(),
            "WhisperForAudioClassification",
        ),
        // Jina v2 and v3, MosaicBERT.
        ("ms-marco-minilm-l6-v2", "position_embedding_type", "alibi".into(), "\"alibi\" is not described"),
        ("ms-marco-minilm-l6-v2", "alibi_starting_size", 512.into(), "`alibi_starting_size`"),
        ("bge-m3", "position_embedding_type", "rotary".into(), "\"rotary\" is not described"),
        // A speech encoder before Granite, and a projector of another making behind SigLIP (Aya Vision).
        ("granite-3.3-8b", "encoder_config", serde_json::json!({"hidden_dim": 1024}), "`encoder_config`"),
        ("gemma-3-4b", "model_type", "aya_vision".into(), "`aya_vision`"),
    ] {
        let message = changed(name, key, value).unwrap_err();
        assert!(message.contains(words), "{name} {key}: {message}");
    }
    // Without its output matrix a model whose matrix is the table of tokens lacks nothing.
    assert_eq!(changed("gemma-2-9b", "architectures", vec!["Gemma2Model"].into()), Ok(shape("gemma-2-9b")));
    let mut scout = published().remove("llama-4-scout").unwrap().config;
    scout["text_config"]["moe_layers"] = vec![0, 5, 9].into();
    assert!(config::sizes(&scout.to_string()).unwrap_err().contains("`moe_layers` [0,5,9]"));
    let mut qwen = published().remove("qwen2.5-vl-7b").unwrap().config;
    qwen["vision_config"]["spatial_merge_size"] = 4.into();
    assert!(config::sizes(&qwen.to_string()).unwrap_err().contains("`vision_config.spatial_merge_size` is 4"));
    let quantized = changed("qwen3-30b-a3b", "quantization_config", serde_json::json!({"quant_method": "awq"}));
    assert_eq!(quantized, Ok(shape("qwen3-30b-a3b")));
    assert_eq!(
        config::quantization(r#"{"quantization_config":{"quant_method":"awq"}}"#).as_deref(),
        Some("`quantization_config`: awq")
    );
}

/// A list of kinds of layers is followed where the family can have them.
#[test]
fn windows_of_some_layers_are_those_that_the_file_lists() {
    let mut config = published().remove("ministral-8b").unwrap().config;
    let kinds: Vec<&str> =
        (0..36).map(|index| if index % 4 == 0 { "full_attention" } else { "sliding_attention" }).collect();
    config["layer_types"] = kinds.into();
    config["max_position_embeddings"] = 131_072.into();
    let shape = config::sizes(&config.to_string()).unwrap();
    assert_eq!(
        (shape.layer_kinds.as_ref().unwrap().to_string().as_str(), shape.sliding_window),
        ("fwww", Some(32_768))
    );
    let bytes = shape.cache_bytes(1, 131_072, CacheType::F16).0;
    assert_eq!(bytes, 4096.0 * (9.0 * 131_072.0 + 27.0 * 32_768.0));
}

/// Python writes numbers that JSON has no word for, and Nemotron's files hold one.
#[test]
fn words_of_python_are_read() {
    let mut text = published()["nemotron-h-8b"].config.to_string();
    text.insert_str(1, r#""time_step_limit":[0.0,Infinity],"note":"Infinity \" NaN","other":-Infinity,"#);
    assert_eq!(config::sizes(&text), Ok(shape("nemotron-h-8b")));
    assert!(config::sizes("{Infinite}").unwrap_err().starts_with("not JSON"));
}
