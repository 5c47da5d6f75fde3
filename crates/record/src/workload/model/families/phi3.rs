//! Phi 3 and 4: Llama with query, key and value in one matrix, gate and up in another. It is sized, not run.

use super::llama;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, Task};
use crate::workload::model::names;

pub(super) const FAMILY: Family = Family {
    name: "phi3",
    model_types: &["phi3"],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(DecoderRules { max_context: 4096, ..LIKE_LLAMA }),
    gguf: None,
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: llama::parts,
};
