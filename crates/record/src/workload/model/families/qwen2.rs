//! Qwen 2 and 2.5: Llama with a bias on query, key and value.

use super::llama;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, Task, WindowRule};
use crate::workload::model::{decoder, names};

pub(super) const FAMILY: Family = Family {
    name: "qwen2",
    model_types: &["qwen2", "qwen2_5_vl", "qwen2_5_vl_text", "qwen2_vl"],
    vision_types: &[],
    task: Task::Generate,
    runs: true,
    config: Config::Decoder(DecoderRules { qkv_bias: true, window: WindowRule::Switched, max_context: 32_768, all_kv_heads: false, ..LIKE_LLAMA }),
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: decoder::parts,
};
