//! GLM-5: the layers of DeepSeek-V3.2, with keys of its own for the dense ones. It is sized, not run.

use super::deepseek2;
use crate::workload::model::family::{Config, Family};

pub(super) const FAMILY: Family = Family {
    name: "glm-dsa",
    model_types: &["glm_moe_dsa"],
    config: Config::Decoder(deepseek2::RULES),
    parts: deepseek2::parts,
    ..super::SIZED_DECODER
};
