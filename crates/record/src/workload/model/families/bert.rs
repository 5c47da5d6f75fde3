//! BERT and what is built like it: an encoder of texts, with learned positions and norms behind its parts.

use crate::workload::model::config::encoder;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::names::block_of_encoder;
use crate::workload::model::parts::{
    Activation, Attention, BlockParts, Embedding, FeedForward, FeedForwardBias, Head, LearnedEmbeddings, NormKind, NormPlace, Parts, AttentionMask, Mixer, QkNorm, QkvBias,
};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::tensors::TensorName;

pub(super) const FAMILY: Family = Family {
    name: "bert",
    model_types: &["bert"],
    vision_types: &[],
    task: Task::Embed,
    runs: true,
    config: Config::Encoder(config),
    gguf: None,
    hugging_face,
    norm_offset: 0.0,
    parts,
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    encoder::check_plain(keys)?;
    Ok(ModelShape {
        vocab_size: keys.size("vocab_size", None)?,
        max_context: keys.size("max_position_embeddings", None)?,
        token_types: keys.size_within("type_vocab_size", Some(2), encoder::MOST_TYPES)?,
        labels: encoder::labels(keys)?,
        ..encoder::sizes_of(keys, Architecture::Bert)?
    })
}

fn hugging_face(tensor: TensorName) -> Option<String> {
    Some(match tensor {
        TensorName::TokenEmbedding => "embeddings.word_embeddings.weight".to_string(),
        TensorName::Positions => "embeddings.position_embeddings.weight".to_string(),
        TensorName::TokenTypes => "embeddings.token_type_embeddings.weight".to_string(),
        TensorName::EmbeddingNorm => "embeddings.LayerNorm.weight".to_string(),
        TensorName::EmbeddingNormBias => "embeddings.LayerNorm.bias".to_string(),
        TensorName::Block(layer, tensor) => format!("encoder.layer.{layer}.{}", block_of_encoder(tensor)?),
        _ => return None,
    })
}

pub(super) fn parts(shape: &ModelShape) -> Parts {
    let learned = LearnedEmbeddings { positions: shape.max_context, types: shape.token_types, norm: true };
    Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Layer,
        embedding: Embedding::Tokens { vocabulary: shape.vocab_size, scale: None, learned: Some(learned) },
        convolutions: Vec::new(),
        blocks: vec![(block(shape, NormPlace::Behind), shape.layers)],
        final_norm: false,
        head: shape.labels.map_or(Head::Pooled, |labels| Head::Scores { labels, norm: false }),
        beside: 0.0,
        towers: Vec::new(),
    }
}

/// Attention both ways and a feed-forward part of two matrices, with biases.
pub(super) fn block(shape: &ModelShape, norms: NormPlace) -> BlockParts {
    BlockParts {
        norms,
        mixer: Some(Mixer::Attention(Attention {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            head_dim: shape.head_dim,
            mask: AttentionMask::All,
            rotary: None,
            qk_norm: QkNorm::None,
            qkv_bias: QkvBias::of_all(shape.qkv_bias),
            output_bias: true,
            scale: None,
            sinks: false,
            output_gate: false,
            shares_cache: false,
 values_are_keys: false,
        })),
        cross: None,
        feed_forward: Some(FeedForward {
            width: shape.intermediate_size,
            activation: Activation::GeluErf,
            gated: false,
            bias: FeedForwardBias::All,
            experts: None,
        }),
        per_layer: 0,
    }
}
