//! Gemma 3 (text): Gemma with norms around attention and feed-forward and on each query and key head. Of six layers, five
//! attend to a window, with a base of their rotary positions of its own (arXiv 2503.19786).

use super::{gemma, llama};
use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::window_in_some;
use crate::workload::model::family::{Config, DecoderRules, Family, GgufRules, Task, WindowRule};
use crate::workload::model::names;
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::parts::{BlockParts, NormPlace, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::tensors::{BlockTensor, TensorName};

/// Of so many layers the last attends to everything.
const FULL_EVERY: usize = 6;
/// The base of the rotary frequencies of the others.
const LOCAL_THETA: f64 = 10_000.0;
/// Layers of the 27B, whose scores are multiplied by another factor than those of the others; its GGUF files do not say so.
const LAYERS_OF_27B: usize = 62;

pub(super) const FAMILY: Family = Family {
    name: "gemma3",
    model_types: &["gemma3_text", "gemma3"],
    vision_types: &[],
    task: Task::Generate,
    runs: true,
    config: Config::Decoder(DecoderRules {
        max_context: 131_072,
        // The file of a model that takes images too leaves out what the Python tools know.
        defaults: &[("vocab_size", 262_208), ("num_attention_heads", 8), ("num_key_value_heads", 4)],
        qk_norm: true,
        window: WindowRule::Pattern,
        follows: &["query_pre_attn_scalar"],
        more,
        ..gemma::RULES
    }),
    gguf: Some(GgufRules {
        name: gguf,
        more: |shape| {
            shape.qk_norm = true;
            with_local_layers(shape);
            if shape.layers == LAYERS_OF_27B {
                shape.attention_scale = Some((shape.hidden_size as f64 / shape.heads.max(1) as f64).sqrt().recip());
            }
        },
        follows: &["rope.freq_base_swa"],
        ..llama::GGUF
    }),
    hugging_face,
    norm_offset: 1.0,
    parts,
};

/// What files leave to the reader.
fn with_local_layers(shape: &mut ModelShape) {
    if shape.sliding_window.is_some() {
        let kinds = || LayerKinds::last_of(FULL_EVERY, LayerKind::Window, LayerKind::Full).ok();
        shape.layer_kinds = shape.layer_kinds.take().or_else(kinds);
        shape.local_rope_theta.get_or_insert(LOCAL_THETA);
    }
}

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    (shape.sliding_window, shape.layer_kinds) = window_in_some(keys, shape.layers, FULL_EVERY, LayerKind::Full)?;
    shape.local_rope_theta = shape.sliding_window.and(keys.optional_number("rope_local_base_freq")?);
    with_local_layers(shape);
    let scalar = keys.optional_number("query_pre_attn_scalar")?.filter(|scalar| *scalar != shape.head_dim as f64);
    shape.attention_scale = scalar.map(|scalar| scalar.sqrt().recip());
    Ok(())
}

fn gguf(tensor: TensorName) -> Option<String> {
    match tensor {
        TensorName::Block(index, BlockTensor::AttentionPostNorm) => {
            Some(format!("blk.{index}.post_attention_norm.weight"))
        }
        TensorName::Block(index, BlockTensor::FeedForwardPostNorm) => Some(format!("blk.{index}.post_ffw_norm.weight")),
        other => names::gguf(other),
    }
}

fn hugging_face(tensor: TensorName) -> Option<String> {
    let norm = match tensor {
        TensorName::Block(_, BlockTensor::AttentionPostNorm) => "post_attention_layernorm",
        TensorName::Block(_, BlockTensor::FeedForwardNorm) => "pre_feedforward_layernorm",
        TensorName::Block(_, BlockTensor::FeedForwardPostNorm) => "post_feedforward_layernorm",
        other => return names::hugging_face(other),
    };
    match tensor {
        TensorName::Block(index, _) => Some(format!("model.layers.{index}.{norm}.weight")),
        _ => None,
    }
}

fn parts(shape: &ModelShape) -> Parts {
    gemma::parts(shape).with_blocks(|_, block| BlockParts { norms: NormPlace::Around, ..block })
}

#[cfg(test)]
mod tests {
    use crate::workload::Preset;
    use crate::workload::model::config::parse;

    /// The sizes as published with the instruction-tuned 1B, and keys that are beside them there.
    const PUBLISHED: &str = r#"{"architectures":["Gemma3ForCausalLM"],"attention_bias":false,"attention_dropout":0.0,
        "attn_logit_softcapping":null,"bos_token_id":2,"cache_implementation":"hybrid","eos_token_id":[1,106],
        "final_logit_softcapping":null,"head_dim":256,"hidden_activation":"gelu_pytorch_tanh","hidden_size":1152,
        "initializer_range":0.02,"intermediate_size":6912,"max_position_embeddings":32768,"model_type":"gemma3_text",
        "num_attention_heads":4,"num_hidden_layers":26,"num_key_value_heads":1,"pad_token_id":0,
        "query_pre_attn_scalar":256,"rms_norm_eps":1e-06,"rope_local_base_freq":10000,"rope_scaling":null,
        "rope_theta":1000000,"sliding_window":512,"sliding_window_pattern":6,"torch_dtype":"bfloat16",
        "transformers_version":"4.52.4","use_cache":true,"vocab_size":262144}"#;

    #[test]
    fn a_published_config_is_the_preset() {
        let preset = Preset::named("gemma-3-1b").unwrap().shape;
        assert_eq!(parse(PUBLISHED), Ok(preset.clone()));
        // Newer files list the layers instead of their pattern.
        let kinds: Vec<&str> =
            (0..26).map(|index| if index % 6 == 5 { "full_attention" } else { "sliding_attention" }).collect();
        let listed = format!("\"layer_types\":{}", serde_json::to_string(&kinds).unwrap());
        assert_eq!(parse(&PUBLISHED.replace("\"sliding_window_pattern\":6", &listed)), Ok(preset));
    }

    #[test]
    fn another_pattern_factor_or_part_is_told() {
        let scaled = parse(&PUBLISHED.replace("\"query_pre_attn_scalar\":256", "\"query_pre_attn_scalar\":168")).unwrap();
        assert_eq!(scaled.attention_scale, Some(168f64.sqrt().recip()));
        for (from, to, words) in [
            ("\"sliding_window_pattern\":6", "\"layer_types\":[\"full_attention\"]", "`layer_types`"),
            ("\"final_logit_softcapping\":null", "\"final_logit_softcapping\":30.0", "`final_logit_softcapping`"),
            ("\"gelu_pytorch_tanh\"", "\"silu\"", "supported is \"gelu_pytorch_tanh\""),
            ("\"hidden_size\":1152,", "\"text_config\":{\"hidden_size\":1152},", "`text_config`"),
            ("\"rope_scaling\":null", "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1e6}}", "full_attention"),
        ] {
            assert!(PUBLISHED.contains(from), "{from}");
            let message = parse(&PUBLISHED.replace(from, to)).unwrap_err();
            assert!(message.contains(words), "{to}: {message}");
        }
    }
}
