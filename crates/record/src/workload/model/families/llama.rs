//! Llama 1 to 3, and what is built like it.

use crate::workload::model::family::{Config, DecoderRules, Family, GgufRules, LIKE_LLAMA, Task};
use crate::workload::model::names;
use crate::workload::model::parts::{
    Activation, Attention, BlockParts, Embedding, FeedForward, Head, NormKind, NormPlace, Parts, Rotary, AttentionMask,
};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "llama",
    model_types: &["llama"],
    task: Task::Generate,
    runs: true,
    config: Config::Decoder(DecoderRules { ..LIKE_LLAMA }),
    gguf: Some(GgufRules { paired_rows: true, ..GGUF }),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts,
};

/// GGUF files whose metadata says all there is.
pub(super) const GGUF: GgufRules = GgufRules { name: names::gguf, paired_rows: false, more: |_| (), follows: &[] };

/// Attention over what came before and a gated feed-forward part, an RMS norm before each.
pub(super) fn parts(shape: &ModelShape) -> Parts {
    let attention = Attention {
        heads: shape.heads,
        kv_heads: shape.kv_heads,
        head_dim: shape.head_dim,
        mask: AttentionMask::Before { window: shape.sliding_window },
        rotary: Some(Rotary::of(shape)),
        qk_norm: shape.qk_norm,
        qkv_bias: shape.qkv_bias,
        output_bias: false,
        scale: shape.attention_scale,
    };
    let feed_forward = FeedForward {
        width: shape.intermediate_size,
        activation: Activation::Silu,
        gated: true,
        bias: false,
        experts: None,
    };
    Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Rms,
        embedding: Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned: None },
        blocks: vec![(BlockParts { norms: NormPlace::Before, attention, feed_forward }, shape.layers)],
        final_norm: true,
        head: if shape.tied_embeddings { Head::TiedTokens } else { Head::Tokens },
    }
}
