//! Qwen 3.5 with experts: the layers of Qwen3-Next. It is sized, not run.

use super::{llama, qwen3next};
use crate::workload::model::config::sublayers::experts_of_qwen;
use crate::workload::model::family::{Config, DecoderRules, Family, Task};
use crate::workload::model::names;

pub(super) const FAMILY: Family = Family {
    name: "qwen35moe",
    model_types: &["qwen3_5_moe_text", "qwen3_5_moe"],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
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
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 1.0,
    parts: qwen3next::parts,
};
