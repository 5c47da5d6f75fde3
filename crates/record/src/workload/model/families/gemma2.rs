//! Gemma 2: Gemma with norms around attention and feed-forward, and bounds on scores and logits. It is sized, not run.

use super::gemma;
use crate::workload::model::family::{Config, Family, Task};
use crate::workload::model::names;
use crate::workload::model::parts::{BlockParts, NormPlace, Parts};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "gemma2",
    model_types: &["gemma2"],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(gemma::RULES),
    gguf: None,
    hugging_face: names::hugging_face,
    norm_offset: 1.0,
    parts,
};

fn parts(shape: &ModelShape) -> Parts {
    gemma::parts(shape).with_blocks(|_, block| BlockParts { norms: NormPlace::Around, ..block })
}
