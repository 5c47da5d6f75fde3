//! RoBERTa and XLM-RoBERTa (bge-m3, multilingual-e5, bge-reranker): BERT whose positions are counted from 2. It is sized, not
//! run.

use super::bert;
use crate::workload::model::config::encoder;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::parts::{Embedding, LearnedEmbeddings, Parts};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "xlm-roberta",
    model_types: &["xlm-roberta", "roberta", "camembert"],
    task: Task::Embed,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

/// Rows of the table of positions that no position of a text is.
const PADDING: usize = 2;

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    encoder::check_plain(keys)?;
    let positions = keys.size("max_position_embeddings", None)?;
    Ok(ModelShape {
        vocab_size: keys.size("vocab_size", None)?,
        max_context: positions.checked_sub(PADDING).ok_or("`max_position_embeddings` is below 2")?,
        token_types: keys.size_within("type_vocab_size", Some(1), encoder::MOST_TYPES)?,
        labels: encoder::labels(keys)?,
        ..encoder::sizes_of(keys, Architecture::XlmRoberta)?
    })
}

fn parts(shape: &ModelShape) -> Parts {
    let learned =
        Some(LearnedEmbeddings { positions: shape.max_context + PADDING, types: shape.token_types, norm: true });
    let embedding = Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned };
    Parts { embedding, ..bert::parts(shape) }
}
