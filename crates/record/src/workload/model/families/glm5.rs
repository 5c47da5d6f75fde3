//! GLM-5: the layers of DeepSeek-V3.2, with keys of its own for the dense ones. It is sized, not run.

use super::{deepseek2, llama};
use crate::workload::model::family::{Config, Family, Task};
use crate::workload::model::names;

pub(super) const FAMILY: Family = Family {
    name: "glm-dsa",
    model_types: &["glm_moe_dsa"],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(deepseek2::RULES),
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: deepseek2::parts,
};
