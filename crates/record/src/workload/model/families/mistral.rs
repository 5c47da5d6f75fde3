//! Mistral 7B: Llama with an optional window of attention, the same in all layers.

use super::llama;
use crate::workload::model::family::{Config, DecoderRules, Family, GgufRules, LIKE_LLAMA, Task, WindowRule};
use crate::workload::model::{decoder, names};

pub(super) const FAMILY: Family = Family {
    name: "mistral",
    model_types: &["mistral", "mistral3", "ministral"],
    vision_types: &[],
    task: Task::Generate,
    runs: true,
    config: Config::Decoder(DecoderRules { window: WindowRule::All, max_context: 131_072, all_kv_heads: false, ..LIKE_LLAMA }),
    gguf: Some(GgufRules { paired_rows: true, ..llama::GGUF }),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: decoder::parts,
};
