//! What a decoder is made of as its shape says it, before a family changes what is its own.

use super::kinds::LayerKind;
use super::parts::{
    Activation, Attention, AttentionMask, BlockParts, Embedding, Experts, FeedForward, FeedForwardBias, Head,
    LatentAttention, Mixer, NormKind, NormPlace, Parts, QkNorm, QkvBias, Rotary,
};
use super::shape::ModelShape;
use super::towers;

/// Attention over what came before and a gated feed-forward part, an RMS norm before each; layers of other kinds where the shape
/// names them.
pub fn parts(shape: &ModelShape) -> Parts {
    let block = |index: usize| {
        let kind = shape.layer_kinds.as_ref().map(|kinds| kinds.at(index));
        BlockParts {
            norms: NormPlace::Before,
            mixer: mixer(shape, kind),
            cross: None,
            feed_forward: feed_forward(shape, kind, index),
            per_layer: 0,
        }
    };
    let parts = Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Rms,
        embedding: Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned: None },
        convolutions: Vec::new(),
        blocks: vec![(block(0), shape.layers)],
        final_norm: true,
        head: if shape.tied_embeddings { Head::TiedTokens } else { Head::Tokens },
        beside: shape.beside.map_or(0.0, |count| count as f64),
        towers: shape.vision.iter().map(|vision| towers::before(vision, shape.hidden_size)).collect(),
    };
    // Where all layers are alike, they are not made one by one: a ranking asks for the parts of a model for each offer.
    let is_alike = shape.experts.is_none_or(|experts| experts.dense_layers == 0 && experts.every == 1);
    if shape.layer_kinds.is_none() && is_alike { parts } else { parts.with_blocks(|index, _| block(index)) }
}

/// How the positions of a layer come to know of each other.
fn mixer(shape: &ModelShape, kind: Option<LayerKind>) -> Option<Mixer> {
    let mask = match kind {
        // Where all layers are alike, a window is of all.
        None | Some(LayerKind::Window) => AttentionMask::Before { window: shape.sliding_window },
        Some(LayerKind::Chunk) => {
            shape.sliding_window.map_or(AttentionMask::Before { window: None }, AttentionMask::Chunk)
        }
        Some(LayerKind::Full | LayerKind::NoPositions) => AttentionMask::Before { window: None },
        Some(LayerKind::Linear) => return shape.linear.map(Mixer::Linear),
        Some(LayerKind::StateSpace) => return shape.state_space.map(Mixer::StateSpace),
        Some(LayerKind::FeedForward | LayerKind::Experts) => return None,
    };
    let rotary = match (kind, shape.local_rope_theta) {
        (Some(LayerKind::NoPositions), _) => None,
        (Some(LayerKind::Window), Some(theta)) => Some(Rotary { theta, scaling: None, ..Rotary::of(shape) }),
        _ => Some(Rotary::of(shape)),
    };
    Some(match (shape.latent, rotary) {
        (Some(latent), Some(rotary)) => {
            let rotary = Rotary { dims: latent.rotary_dim, interleaved: true, ..rotary };
            Mixer::Latent(LatentAttention { heads: shape.heads, shape: latent, rotary })
        }
        _ => Mixer::Attention(Attention {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            mask,
            rotary,
            qk_norm: QkNorm::of_heads(shape.qk_norm),
            qkv_bias: QkvBias::of_all(shape.qkv_bias),
            output_bias: false,
            scale: shape.attention_scale,
            sinks: false,
            output_gate: false,
            shares_cache: false,
            values_are_keys: false,
        }),
    })
}

/// What each position of a layer becomes by itself.
fn feed_forward(shape: &ModelShape, kind: Option<LayerKind>, index: usize) -> Option<FeedForward> {
    let experts = match kind {
        Some(LayerKind::FeedForward) => None,
        Some(LayerKind::Experts) => shape.experts,
        _ => shape.experts.filter(|experts| experts.is_at(index)),
    };
    Some(FeedForward {
        width: experts.map_or(shape.intermediate_size, |experts| experts.width),
        activation: Activation::Silu,
        gated: true,
        bias: FeedForwardBias::None,
        experts: experts.as_ref().map(Experts::of),
    })
}
