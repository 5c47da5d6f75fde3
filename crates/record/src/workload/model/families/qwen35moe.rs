//! Qwen 3.5 with experts: the layers of Qwen3-Next. It is sized, not run.

use super::qwen3next;
use crate::workload::model::config::sublayers::experts_of_qwen;
use crate::workload::model::family::{Config, DecoderRules, Family};

pub(super) const FAMILY: Family = Family {
    name: "qwen35moe",
    model_types: &["qwen3_5_moe_text", "qwen3_5_moe"],
    config: Config::Decoder(DecoderRules {
        follows: &["num_experts", "partial_rotary_factor"],
        // The file has no width of a feed-forward part where all layers have experts.
        no_dense_width: true,
        more: |keys, shape| {
            shape.experts = experts_of_qwen(keys)?;
            qwen3next::with_linear_layers(keys, shape)
        },
        ..qwen3next::RULES
    }),
    norm_offset: 1.0,
    parts: qwen3next::parts,
    ..super::SIZED_DECODER
};
