//! ModernBERT: norms before its parts and gated feed-forward parts, positions that turn queries and keys; of three layers the
//! first sees everything, the others a window (arXiv 2412.13663). It is sized, not run.

use super::bert;
use crate::workload::model::config::encoder;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::parts::{
    Attention, AttentionMask, BlockParts, Embedding, FeedForward, FeedForwardBias, Head, LearnedEmbeddings, NormKind,
    NormPlace, Parts, Rotary,
};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "modern-bert",
    model_types: &["modernbert"],
    task: Task::Embed,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let every = keys.size_within("global_attn_every_n_layers", Some(3), 1 << 10)?;
    let kind = |index| if index == 0 { LayerKind::Full } else { LayerKind::Window };
    Ok(ModelShape {
        vocab_size: keys.size("vocab_size", None)?,
        max_context: keys.size("max_position_embeddings", None)?,
        norm_eps: keys.optional_number("norm_eps")?.unwrap_or(1e-5),
        qkv_bias: keys.flag("attention_bias", false)?,
        sliding_window: Some(keys.size_within("local_attention", Some(128), 1 << 27)?),
        layer_kinds: Some(LayerKinds::of((0..every).map(kind).collect())?),
        rope_theta: keys.optional_number("global_rope_theta")?.unwrap_or(160_000.0),
        local_rope_theta: keys.optional_number("local_rope_theta")?,
        labels: encoder::labels(keys)?,
        ..encoder::sizes_of(keys, Architecture::ModernBert)?
    })
}

fn parts(shape: &ModelShape) -> Parts {
    let learned = Some(LearnedEmbeddings { positions: 0, types: 0, norm: true });
    let parts = bert::parts(shape).with_blocks(|index, block| {
        let is_local = shape.layer_kinds.as_ref().is_some_and(|kinds| kinds.at(index) == LayerKind::Window);
        // Half of the window is before a position, and half behind.
        let reach = shape.sliding_window.filter(|_| is_local).map(|window| window / 2);
        let theta = shape.local_rope_theta.filter(|_| is_local).unwrap_or(shape.rope_theta);
        let block = block
            .with_attention(|attention| Attention {
                mask: reach.map_or(AttentionMask::All, AttentionMask::Around),
                rotary: Some(Rotary { theta, ..Rotary::of(shape) }),
                output_bias: shape.qkv_bias,
                ..attention
            })
            .with_feed_forward(|part| FeedForward { gated: true, bias: FeedForwardBias::None, ..part });
        // The embedding is normed already.
        let norms = if index == 0 { NormPlace::BeforeFeedForward } else { NormPlace::Before };
        BlockParts { norms, ..block }
    });
    Parts {
        norm: NormKind::LayerUnbiased,
        embedding: Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned },
        final_norm: true,
        head: shape.labels.map_or(Head::Pooled, |labels| Head::Scores { labels, norm: true }),
        ..parts
    }
}
