//! Granite 3 and what of Granite 4 is dense: Llama with factors on embedding, scores, residual stream and logits. It is sized,
//! not run.

use super::llama;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, Task};
use crate::workload::model::{decoder, names};

pub(super) const FAMILY: Family = Family {
    name: "granite",
    model_types: &["granite"],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(RULES),
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: decoder::parts,
};

pub(super) const RULES: DecoderRules = DecoderRules {
    follows: &["embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"],
    ..LIKE_LLAMA
};
