//! Qwen 3: Llama with a norm on each query and key head.

use super::llama;
use crate::workload::model::family::{Config, DecoderRules, Family, GgufRules, LIKE_LLAMA, Task, WindowRule};
use crate::workload::model::{decoder, names};

pub(super) const FAMILY: Family = Family {
    name: "qwen3",
    model_types: &["qwen3", "qwen3_vl_text", "qwen3_vl"],
    vision_types: &[],
    task: Task::Generate,
    runs: true,
    config: Config::Decoder(DecoderRules { head_dim: Some(128), qk_norm: true, window: WindowRule::Switched, max_context: 32_768, all_kv_heads: false, ..LIKE_LLAMA }),
    gguf: Some(GgufRules { more: |shape| shape.qk_norm = true, ..llama::GGUF }),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: decoder::parts,
};
