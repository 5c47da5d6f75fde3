//! Gemma 1: a feed-forward part gated by GELU, embeddings multiplied by the root of their width, and norms whose checkpoints
//! hold the difference from 1. It is sized, not run.

use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::decoder;
use crate::workload::model::parts::{Activation, Embedding, FeedForward, Parts};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "gemma",
    model_types: &["gemma"],
    config: Config::Decoder(RULES),
    norm_offset: 1.0,
    parts,
    ..super::SIZED_DECODER
};

pub(super) const RULES: DecoderRules = DecoderRules {
    head_dim: Some(256),
    max_context: 8192,
    all_kv_heads: false,
    tied: true,
    activations: &["gelu_pytorch_tanh"],
    ..LIKE_LLAMA
};

pub(super) fn parts(shape: &ModelShape) -> Parts {
    let scale = Some((shape.hidden_size as f32).sqrt());
    let embedding = Embedding::Tokens { vocabulary: shape.vocab_size, scale, learned: None };
    let parts = Parts { embedding, ..decoder::parts(shape) };
    parts.with_blocks(|_, block| {
        block.with_feed_forward(|part| FeedForward { activation: Activation::GeluTanh, ..part })
    })
}
