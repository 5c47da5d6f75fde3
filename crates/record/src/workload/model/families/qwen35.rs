//! Qwen 3.5 without experts: the layers of Qwen3-Next with a plain feed-forward part. It is sized, not run.

use super::qwen3next;
use crate::workload::model::family::{Config, DecoderRules, Family};

pub(super) const FAMILY: Family = Family {
    name: "qwen35",
    model_types: &["qwen3_5_text", "qwen3_5"],
    config: Config::Decoder(DecoderRules { more: qwen3next::with_linear_layers, ..qwen3next::RULES }),
    norm_offset: 1.0,
    parts: qwen3next::parts,
    ..super::SIZED_DECODER
};
