//! Llama 1 to 3, and what is built like it.

use crate::workload::model::family::{Config, DecoderRules, Family, GgufRules, LIKE_LLAMA, Task};
use crate::workload::model::{decoder, names};

pub(super) const FAMILY: Family = Family {
    name: "llama",
    model_types: &["llama"],
    vision_types: &[],
    task: Task::Generate,
    runs: true,
    config: Config::Decoder(DecoderRules { ..LIKE_LLAMA }),
    gguf: Some(GgufRules { paired_rows: true, ..GGUF }),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: decoder::parts,
};

/// GGUF files whose metadata says all there is.
pub(super) const GGUF: GgufRules = GgufRules { name: names::gguf, paired_rows: false, more: |_| (), follows: &[] };
