//! Qwen 1.5 and 2 with experts: Qwen 2 with a mixture beside a shared part that a gate weighs. It is sized, not run.

use crate::workload::model::config::sublayers::experts_of_qwen;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, WindowRule};

pub(super) const FAMILY: Family = Family {
    name: "qwen2moe",
    model_types: &["qwen2_moe"],
    config: Config::Decoder(DecoderRules {
        qkv_bias: true,
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
    ..super::SIZED_DECODER
};
