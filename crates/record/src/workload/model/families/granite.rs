//! Granite 3 and what of Granite 4 is dense: Llama with factors on embedding, scores, residual stream and logits. It is sized,
//! not run.

use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};

pub(super) const FAMILY: Family = Family {
    name: "granite",
    model_types: &["granite"],
    config: Config::Decoder(RULES),
    ..super::SIZED_DECODER
};

pub(super) const RULES: DecoderRules = DecoderRules {
    follows: &["embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"],
    ..LIKE_LLAMA
};
