//! The parts that the pass goes through, of the parts that models are described by.

use crate::workload::ModelShape;
use crate::workload::model::parts::{
    Attention, AttentionMask, BlockParts, Embedding, FeedForward, FeedForwardBias, Head, NormKind, NormPlace, Parts,
    PatchEmbedding, QkNorm, QkvBias,
};

/// A block that is computed: attention and a feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComputedBlock {
    /// Where its norms stand.
    pub norms: NormPlace,
    /// How positions see each other.
    pub attention: Attention,
    /// What each position becomes by itself.
    pub feed_forward: FeedForward,
}

impl ComputedBlock {
    /// The block, or what of it is not computed.
    fn of(block: &BlockParts, head_norm: NormKind) -> Result<Self, &'static str> {
        let attention = *block.attention().ok_or("layers without attention to kept keys and values")?;
        let feed_forward = block.feed_forward.ok_or("layers without a feed-forward part")?;
        let lacking = [
            (feed_forward.experts.is_some(), "experts"),
            (feed_forward.gated && feed_forward.bias != FeedForwardBias::None, "biases of a gated feed-forward part"),
            (block.cross.is_some(), "attention to an encoder"),
            (attention.qkv_bias == QkvBias::NotKey, "keys without a bias beside queries with one"),
            (
                matches!(block.norms, NormPlace::BehindParts | NormPlace::BeforeBoth | NormPlace::BeforeFeedForward),
                "where its norms stand",
            ),
            (head_norm == NormKind::LayerUnbiased, "layer norms without a bias"),
            (attention.qk_norm == QkNorm::Width, "norms over all heads"),
            (attention.sinks, "scores that are no position's"),
            (attention.output_gate, "gated attention"),
            (attention.shares_cache || attention.values_are_keys, "keys and values of another layer"),
            (block.per_layer > 0, "inputs of each layer"),
            (
                matches!(attention.mask, AttentionMask::Chunk(_) | AttentionMask::Around(_)),
                "attention within chunks or to both sides of a window",
            ),
            (attention.rotary.is_none() && attention.mask.keeps(), "layers without positions"),
            (
                attention.rotary.is_some_and(|rotary| rotary.dims != attention.head_dim || rotary.interleaved),
                "positions that turn a part of a head",
            ),
        ];
        match lacking.iter().find(|(is_there, _)| *is_there) {
            Some((_, what)) => Err(what),
            None => Ok(Self { norms: block.norms, attention, feed_forward }),
        }
    }
}

/// What is said of inputs that no pass begins with.
pub(super) const OTHER_INPUT: &str = "the engine computes models of tokens and of patches of images";

/// What is not computed before the first block and behind the last.
fn lacking_of_ends(parts: &Parts) -> Option<&'static str> {
    let embedding = match parts.embedding {
        Embedding::Audio(_) | Embedding::Convolutions(_) => Some("recordings or convolutions of images"),
        Embedding::Tokens { learned: Some(learned), .. } if learned.positions == 0 || !learned.norm => {
            Some("an embedding without positions or without a norm")
        }
        Embedding::Patches(PatchEmbedding { image, frames, bias, positions, norm })
            if !image.class_token || frames != 1 || !bias || positions == 0 || norm =>
        {
            Some("patches embedded in such a way")
        }
        Embedding::Tokens { .. } | Embedding::Patches(_) => None,
    };
    let head = match parts.head {
        Head::Scores { .. } => Some("scores of pairs"),
        Head::AttentionPooled(_) | Head::Projection(_) => Some("projected embeddings of images"),
        Head::Tokens | Head::TiedTokens | Head::Pooled | Head::Classes(_) => None,
    };
    let towers = (!parts.towers.is_empty()).then_some("an encoder of images beside text");
    embedding.or(head).or(towers)
}

/// The blocks of a model, one behind the other; an error names what is not computed.
pub fn blocks(shape: &ModelShape) -> Result<Vec<ComputedBlock>, String> {
    let parts = shape.parts();
    let refused = |what| format!("the engine does not compute {what}, as `{}` has them", shape.architecture);
    if let Some(what) = lacking_of_ends(&parts) {
        return Err(refused(what));
    }
    let counted = parts.blocks.iter().flat_map(|(block, count)| std::iter::repeat_n(block, *count));
    counted.map(|block| ComputedBlock::of(block, parts.norm).map_err(refused)).collect()
}

/// Those of `parts` that are computed: all of a model that was loaded.
pub fn blocks_of(parts: &Parts) -> Vec<ComputedBlock> {
    let counted = parts.blocks.iter().flat_map(|(block, count)| std::iter::repeat_n(block, *count));
    counted.filter_map(|block| ComputedBlock::of(block, parts.norm).ok()).collect()
}
