//! nomic-embed-text: BERT with gated feed-forward parts, without biases of products, and with positions that turn queries and
//! keys (arXiv 2402.01613). It is sized, not run.

use super::bert;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::encoder;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::parts::{
    Activation, Attention, Embedding, FeedForward, FeedForwardBias, LearnedEmbeddings, Parts, Rotary,
};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "nomic-bert",
    model_types: &["nomic_bert"],
    task: Task::Embed,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    if keys.optional_size("num_experts")?.is_some_and(|experts| experts > 0) {
        return Err("`num_experts` is not supported: an encoder of this family with experts is not known".to_string());
    }
    let (hidden_size, heads) = (keys.size("n_embd", None)?, keys.size("n_head", None)?);
    let head_dim = hidden_size.checked_div(heads).ok_or("`n_head` is 0")?;
    if !hidden_size.is_multiple_of(heads) {
        return Err(format!("the width {hidden_size} is not a multiple of `n_head` {heads}"));
    }
    let widened = hidden_size.checked_mul(4);
    Ok(ModelShape {
        hidden_size,
        intermediate_size: keys.size("n_inner", widened)?,
        layers: keys.size("n_layer", None)?,
        heads,
        kv_heads: heads,
        head_dim,
        vocab_size: keys.size("vocab_size", None)?,
        max_context: keys.size("n_positions", None)?,
        norm_eps: keys.optional_number("layer_norm_epsilon")?.unwrap_or(1e-12),
        rope_theta: keys.optional_number("rotary_emb_base")?.unwrap_or(10_000.0),
        tied_embeddings: true,
        qkv_bias: keys.flag("qkv_proj_bias", false)?,
        token_types: keys.size_within("type_vocab_size", Some(2), encoder::MOST_TYPES)?,
        ..ModelShape::of(Architecture::NomicBert)
    })
}

fn parts(shape: &ModelShape) -> Parts {
    let learned = Some(LearnedEmbeddings { positions: 0, types: shape.token_types, norm: true });
    let parts = bert::parts(shape).with_blocks(|_, block| {
        block
            .with_attention(|attention| Attention {
                rotary: Some(Rotary::of(shape)),
                output_bias: shape.qkv_bias,
                ..attention
            })
            .with_feed_forward(|part| FeedForward {
                gated: true,
                bias: FeedForwardBias::None,
                activation: Activation::Silu,
                ..part
            })
    });
    Parts { embedding: Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned }, ..parts }
}
