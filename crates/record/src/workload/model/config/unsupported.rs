//! Keys of a config.json that change what a network computes and that the engine does not follow: the one list of them. A key
//! with the value that changes nothing passes; any other is refused by its name, as a wrong network is worse than none.

use super::keys::Keys;
use crate::workload::model::family::DecoderRules;
use crate::workload::{Architecture, ModelShape};
use serde_json::Value;

/// Keys that must be absent, false, 0 or empty.
const MUST_BE_NOTHING: [&str; 34] = [
    // Biases that the decoder does not add, and norms that it does not have.
    "mlp_bias",
    "attention_out_bias",
    "qk_layernorm",
    "use_qk_norm",
    "use_post_norm",
    // Logits and activations held within bounds.
    "final_logit_softcapping",
    "attn_logit_softcapping",
    "final_logit_softcap",
    "attn_logit_softcap",
    "clip_qkv",
    "qkv_clip",
    "swiglu_limit",
    // Other positions, and attention that sees other things.
    "alibi",
    "use_alibi",
    "use_logn_attn",
    "use_dynamic_ntk",
    "rope_scaling_type",
    "rope_interleaved",
    "rope_interleave",
    "attn_temperature_tuning",
    "attention_chunk_size",
    "no_rope_layer_interval",
    "use_bidirectional_attention",
    "pruned_heads",
    // Other ways through a block, and between blocks.
    "parallel_attn",
    "use_parallel_residual",
    "scale_depth",
    "add_cross_attention",
    "is_encoder_decoder",
    "num_kv_shared_layers",
    "block_configs",
    "layer_head_mask",
    "attention_sink",
    "use_attention_sinks",
];

/// Keys of models whose matrices are others than a shape counts.
const OTHER_MATRICES: [&str; 10] = [
    "moe_latent_size",
    "draft_vocab_size",
    "num_experts",
    "num_local_experts",
    "n_routed_experts",
    "moe_num_experts",
    "kv_lora_rank",
    "q_lora_rank",
    "num_kv_shared_layers",
    "block_configs",
];

/// Refuses what the engine would compute otherwise than the file asks.
pub(super) fn check(keys: &Keys<'_>, shape: &ModelShape, rules: &DecoderRules) -> Result<(), String> {
    for key in ["hidden_act", "hidden_activation", "activation_function", "mlp_hidden_act"] {
        if let Some(value) = keys.get(key)
            && !value.as_str().is_some_and(|name| rules.activations.contains(&name))
        {
            let supported = rules.activations.first().copied().unwrap_or_default();
            return Err(format!("`{key}` {value} is not supported; supported is \"{supported}\""));
        }
    }
    let refused_keys = MUST_BE_NOTHING.into_iter().chain(OTHER_MATRICES);
    for key in refused_keys.filter(|key| !rules.follows.contains(key)) {
        if let Some(value) = keys.get(key).filter(|value| !is_nothing(value)) {
            return Err(refused(key, value));
        }
    }
    numbers(keys, shape, rules.follows)?;
    if let Some(value) = keys.get("is_causal").filter(|value| value.as_bool() == Some(false)) {
        return Err(refused("is_causal", value));
    }
    let rotary = |value: &Value| value.as_str().is_some_and(|text| text.starts_with("ro"));
    if let Some(value) = keys.get("position_embedding_type").filter(|value| !rotary(value)) {
        return Err(refused("position_embedding_type", value));
    }
    // 1 where a layer turns positions, 0 where it does not.
    let turned = |value: &Value| match value.as_array() {
        Some(layers) => layers.iter().all(|layer| layer.as_u64() == Some(1) || layer.as_bool() == Some(true)),
        None => is_nothing(value),
    };
    match keys.get("no_rope_layers").filter(|value| !turned(value)) {
        Some(value) => Err(refused("no_rope_layers", value)),
        None => Ok(()),
    }
}

/// Refuses what makes the matrices of a model others than its sizes say.
pub(super) fn check_sizes(keys: &Keys<'_>, architecture: Architecture, rules: &DecoderRules) -> Result<(), String> {
    let mut refused = OTHER_MATRICES.into_iter().filter(|key| !rules.follows.contains(key));
    match refused.find(|key| keys.get(key).is_some_and(|value| !is_nothing(value))) {
        None => Ok(()),
        Some(key) => {
            Err(format!("`{key}`: the matrices of such a model of `{architecture}` do not follow from its sizes"))
        }
    }
}

fn refused(key: &str, value: &Value) -> String {
    format!("`{key}` {value} is not supported: the engine would run another network than the file describes")
}

/// A value that asks for nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
    }
}

/// Numbers that the engine takes to be what they are in a model of the Llama family.
fn numbers(keys: &Keys<'_>, shape: &ModelShape, follows: &[&str]) -> Result<(), String> {
    let head = shape.head_dim as f64;
    let expected = [
        ("partial_rotary_factor", 1.0),
        ("rotary_pct", 1.0),
        ("rope_pct", 1.0),
        ("rope_ratio", 1.0),
        ("rope_scaling_factor", 1.0),
        ("rotary_dim", head),
        ("rotary_emb_base", shape.rope_theta),
        ("v_head_dim", head),
        ("attention_multiplier", head.sqrt().recip()),
        ("query_pre_attn_scalar", head),
        ("residual_multiplier", 1.0),
        ("embedding_multiplier", 1.0),
        ("scale_emb", 1.0),
        ("logits_scaling", 1.0),
        ("logit_scale", 1.0),
        ("lm_head_multiplier", 1.0),
        ("key_multiplier", 1.0),
        ("attention_in_multiplier", 1.0),
        ("attention_out_multiplier", 1.0),
        ("dim_model_base", shape.hidden_size as f64),
        ("cla_share_factor", 1.0),
    ];
    for (key, expected) in expected.into_iter().filter(|(key, _)| !follows.contains(key)) {
        // Written with few digits, a number is still the one that it means.
        let Some(value) = keys.optional_number(key)? else { continue };
        if (value - expected).abs() > 1e-4 * expected {
            return Err(format!(
                "`{key}` {value} is not supported: the engine would run another network than the file describes (with \
                 {expected} it is the same)"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::parse;

    fn read(more: &str) -> Result<(), String> {
        let text = format!(
            r#"{{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
            "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":128,{more}}}"#
        );
        parse(&text).map(|_| ())
    }

    #[test]
    fn keys_that_change_the_network_are_refused_by_name() {
        for more in [
            r#""hidden_act":"gelu""#,
            r#""hidden_activation":"gelu_pytorch_tanh""#,
            r#""mlp_bias":true"#,
            r#""partial_rotary_factor":0.5"#,
            r#""attention_multiplier":0.5"#,
            r#""residual_multiplier":0.22"#,
            r#""logits_scaling":8.0"#,
            r#""embedding_multiplier":12"#,
            r#""query_pre_attn_scalar":256"#,
            r#""final_logit_softcapping":30.0"#,
            r#""attn_logit_softcapping":50.0"#,
            r#""no_rope_layers":[1,0]"#,
            r#""num_local_experts":8"#,
            r#""is_causal":false"#,
            r#""pruned_heads":{"0":[1]}"#,
            r#""position_embedding_type":"alibi""#,
        ] {
            let key = more.split('"').nth(1).unwrap();
            let message = read(more).unwrap_err();
            assert!(message.contains(&format!("`{key}`")), "{more}: {message}");
        }
    }

    #[test]
    fn values_that_change_nothing_pass() {
        for more in [
            r#""hidden_act":"silu""#,
            r#""mlp_bias":false"#,
            r#""partial_rotary_factor":1.0"#,
            r#""attention_multiplier":0.25"#,
            r#""query_pre_attn_scalar":16"#,
            r#""logits_scaling":1,"embedding_multiplier":1.0,"residual_multiplier":1.0"#,
            r#""final_logit_softcapping":null,"attn_logit_softcapping":null"#,
            r#""no_rope_layers":[1,1],"no_rope_layer_interval":null"#,
            r#""num_experts":0,"pruned_heads":{},"is_causal":true"#,
        ] {
            assert_eq!(read(more), Ok(()), "{more}");
        }
    }
}
