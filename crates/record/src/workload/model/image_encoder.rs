//! Encoders of images that are transformers over patches: what their files and parts have in common.

use super::config::encoder::{MOST_CHANNELS, MOST_SIDE};
use super::config::keys::Keys;
use super::family::Architecture;
use super::parts::{
    Activation, Attention, AttentionMask, BlockParts, Embedding, FeedForward, FeedForwardBias, Head, Mixer, NormKind,
    NormPlace, Parts, PatchEmbedding, QkNorm, QkvBias, Rotary,
};
use super::shape::{ImageShape, ModelShape};

/// The names of the keys, which differ between families.
pub struct ImageKeys {
    /// Blocks.
    pub layers: &'static str,
    /// Heads.
    pub heads: &'static str,
    /// Colours.
    pub channels: &'static str,
    /// Epsilon of the norms.
    pub eps: &'static str,
}

/// Those of most.
pub const USUAL: ImageKeys = ImageKeys {
    layers: "num_hidden_layers",
    heads: "num_attention_heads",
    channels: "num_channels",
    eps: "layer_norm_eps",
};

/// The sizes by keys with these names; images as the family cuts them. `size` is the side of images where the file has none.
pub fn sizes(
    keys: &Keys<'_>,
    architecture: Architecture,
    names: &ImageKeys,
    class_token: bool,
    size: Option<usize>,
) -> Result<ModelShape, String> {
    let (hidden_size, heads) = (keys.size("hidden_size", None)?, keys.size(names.heads, None)?);
    if heads == 0 || !hidden_size.is_multiple_of(heads) {
        return Err(format!(
            "`{}` {hidden_size} is not a multiple of `{}` {heads}",
            keys.name("hidden_size"),
            names.heads
        ));
    }
    let image = ImageShape {
        patch: keys.size_within("patch_size", None, MOST_SIDE)?,
        size: keys.size_within("image_size", size, MOST_SIDE)?,
        channels: keys.size_within(names.channels, Some(3), MOST_CHANNELS)?,
        class_token,
    };
    Ok(ModelShape {
        hidden_size,
        intermediate_size: keys.size("intermediate_size", None)?,
        layers: keys.size(names.layers, None)?,
        heads,
        kv_heads: heads,
        head_dim: hidden_size / heads,
        // A model of images has no vocabulary; sizes are at least 1.
        vocab_size: 1,
        max_context: image.tokens(image.size).max(1),
        norm_eps: keys.optional_number(names.eps)?.unwrap_or(1e-6),
        rope_theta: keys.optional_number("rope_theta")?.unwrap_or(0.0),
        tied_embeddings: true,
        qkv_bias: true,
        image: Some(image),
        ..ModelShape::of(architecture)
    })
}

/// That Qwen's encoders merge as is counted: frames by two, patches by squares of two.
pub fn check_merging(keys: &Keys<'_>) -> Result<(), String> {
    for key in ["temporal_patch_size", "spatial_merge_size"] {
        if let Some(size) = keys.optional_size(key)?.filter(|size| *size != 2) {
            return Err(format!("`{}` is {size}; 2 is described", keys.name(key)));
        }
    }
    Ok(())
}

/// The plain kind: norms with biases before attention and a feed-forward part of two matrices, a norm behind the last block,
/// learned positions.
pub fn parts(shape: &ModelShape, activation: Activation) -> Parts {
    let attention = Attention {
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        mask: AttentionMask::All,
        rotary: (shape.rope_theta > 0.0).then(|| Rotary::of(shape)),
        qk_norm: QkNorm::None,
        qkv_bias: QkvBias::of_all(shape.qkv_bias),
        output_bias: true,
        scale: None,
        sinks: false,
        output_gate: false,
        shares_cache: false,
        values_are_keys: false,
    };
    let feed_forward = FeedForward {
        width: shape.intermediate_size,
        activation,
        gated: false,
        bias: FeedForwardBias::All,
        experts: None,
    };
    let block = BlockParts {
        norms: NormPlace::Before,
        mixer: Some(Mixer::Attention(attention)),
        cross: None,
        feed_forward: Some(feed_forward),
        per_layer: 0,
    };
    // A shape without its image is refused before it gets here.
    let image = shape.image.unwrap_or(ImageShape { patch: 1, size: 1, channels: 1, class_token: true });
    Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Layer,
        embedding: Embedding::Patches(PatchEmbedding {
            image,
            frames: 1,
            bias: true,
            positions: image.tokens(image.size),
            norm: false,
        }),
        convolutions: Vec::new(),
        blocks: vec![(block, shape.layers)],
        final_norm: true,
        head: shape.projection.map_or(Head::Pooled, Head::Projection),
        beside: 0.0,
        towers: Vec::new(),
    }
}

/// The same with another embedding of patches.
pub fn with_patches(parts: Parts, change: impl FnOnce(PatchEmbedding) -> PatchEmbedding) -> Parts {
    match parts.embedding {
        Embedding::Patches(patches) => Parts { embedding: Embedding::Patches(change(patches)), ..parts },
        Embedding::Tokens { .. } | Embedding::Audio(_) | Embedding::Convolutions(_) => parts,
    }
}
