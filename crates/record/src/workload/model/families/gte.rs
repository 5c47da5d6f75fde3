//! GTE v1.5 and gte-multilingual ("new"): BERT with feed-forward parts gated by GELU and positions that turn queries and keys
//! (arXiv 2407.19669). It is sized, not run.

use super::bert;
use crate::workload::model::config::encoder;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::parts::{
    Attention, Embedding, FeedForward, FeedForwardBias, LearnedEmbeddings, Parts, Rotary,
};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "gte",
    model_types: &["new", "gte"],
    task: Task::Embed,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    if let Some(kind) = keys.optional_text("position_embedding_type")?.filter(|kind| *kind != "rope") {
        return Err(format!("`position_embedding_type` \"{kind}\" is not supported; \"rope\" is"));
    }
    Ok(ModelShape {
        vocab_size: keys.size("vocab_size", None)?,
        max_context: keys.size("max_position_embeddings", None)?,
        rope_theta: keys.optional_number("rope_theta")?.unwrap_or(10_000.0),
        token_types: keys.size("type_vocab_size", Some(0))?,
        labels: encoder::labels(keys)?,
        ..encoder::sizes_of(keys, Architecture::Gte)?
    })
}

fn parts(shape: &ModelShape) -> Parts {
    let learned = Some(LearnedEmbeddings { positions: 0, types: shape.token_types, norm: true });
    let parts = bert::parts(shape).with_blocks(|_, block| {
        block
            .with_attention(|attention| Attention { rotary: Some(Rotary::of(shape)), ..attention })
            .with_feed_forward(|part| FeedForward { gated: true, bias: FeedForwardBias::Down, ..part })
    });
    Parts { embedding: Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned }, ..parts }
}
