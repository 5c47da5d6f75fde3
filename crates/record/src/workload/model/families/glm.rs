//! GLM-4 of 2024: what of GLM-4 is before 0414, with a norm before attention and feed-forward alone. It is sized, not run.

use super::glm4;
use crate::workload::model::family::{Config, Family};

pub(super) const FAMILY: Family = Family {
    name: "glm",
    model_types: &["glm"],
    config: Config::Decoder(glm4::RULES),
    gguf: None,
    parts: glm4::parts,
    ..super::SIZED_DECODER
};
