//! GLM-4 of 2024: what of GLM-4 is before 0414, with a norm before attention and feed-forward alone. It is sized, not run.

use super::glm4;
use crate::workload::model::family::{Config, Family, Task};
use crate::workload::model::names;

pub(super) const FAMILY: Family = Family {
    name: "glm",
    model_types: &["glm"],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(glm4::RULES),
    gguf: None,
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: glm4::parts,
};
