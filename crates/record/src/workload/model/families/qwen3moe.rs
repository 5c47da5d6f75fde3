//! Qwen 3 with experts: Qwen 3 with a mixture in place of the feed-forward part.

use super::llama;
use crate::workload::model::config::sublayers::experts_of_qwen;
use crate::workload::model::family::{Config, DecoderRules, Family, GgufRules, LIKE_LLAMA, WindowRule};

pub(super) const FAMILY: Family = Family {
    name: "qwen3moe",
    model_types: &["qwen3_moe", "qwen3_vl_moe_text", "qwen3_vl_moe"],
    config: Config::Decoder(DecoderRules {
        head_dim: Some(128),
        qk_norm: true,
        window: WindowRule::Switched,
        max_context: 32_768,
        all_kv_heads: false,
        follows: &["num_experts"],
        more: |keys, shape| {
            shape.experts = experts_of_qwen(keys)?;
            Ok(())
        },
        ..LIKE_LLAMA
    }),
    gguf: Some(GgufRules { more: |shape| shape.qk_norm = true, ..llama::GGUF }),
    ..super::SIZED_DECODER
};
