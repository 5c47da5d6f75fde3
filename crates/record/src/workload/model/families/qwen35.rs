//! Qwen 3.5 without experts: the layers of Qwen3-Next with a plain feed-forward part. It is sized, not run.

use super::{llama, qwen3next};
use crate::workload::model::family::{Config, DecoderRules, Family, Task};
use crate::workload::model::names;

pub(super) const FAMILY: Family = Family {
    name: "qwen35",
    model_types: &["qwen3_5_text", "qwen3_5"],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(DecoderRules { more: qwen3next::with_linear_layers, ..qwen3next::RULES }),
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 1.0,
    parts: qwen3next::parts,
};
