//! What the tensors of a decoder are called in GGUF files and in Hugging Face checkpoints.

/// A tensor of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorName {
    /// The table that tokens are looked up in.
    TokenEmbedding,
    /// The norm before the output matrix.
    OutputNorm,
    /// The output matrix.
    Output,
    /// A tensor of the block with this index.
    Block(usize, BlockTensor),
}

/// A tensor of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BlockTensor {
    AttentionNorm,
    Query,
    Key,
    Value,
    AttentionOutput,
    QueryBias,
    KeyBias,
    ValueBias,
    QueryNorm,
    KeyNorm,
    FeedForwardNorm,
    Gate,
    Up,
    Down,
}

impl BlockTensor {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::AttentionNorm => ("attn_norm.weight", "input_layernorm.weight"),
            Self::Query => ("attn_q.weight", "self_attn.q_proj.weight"),
            Self::Key => ("attn_k.weight", "self_attn.k_proj.weight"),
            Self::Value => ("attn_v.weight", "self_attn.v_proj.weight"),
            Self::AttentionOutput => ("attn_output.weight", "self_attn.o_proj.weight"),
            Self::QueryBias => ("attn_q.bias", "self_attn.q_proj.bias"),
            Self::KeyBias => ("attn_k.bias", "self_attn.k_proj.bias"),
            Self::ValueBias => ("attn_v.bias", "self_attn.v_proj.bias"),
            Self::QueryNorm => ("attn_q_norm.weight", "self_attn.q_norm.weight"),
            Self::KeyNorm => ("attn_k_norm.weight", "self_attn.k_norm.weight"),
            Self::FeedForwardNorm => ("ffn_norm.weight", "post_attention_layernorm.weight"),
            Self::Gate => ("ffn_gate.weight", "mlp.gate_proj.weight"),
            Self::Up => ("ffn_up.weight", "mlp.up_proj.weight"),
            Self::Down => ("ffn_down.weight", "mlp.down_proj.weight"),
        }
    }
}

/// Whether `name`, as GGUF files or Hugging Face checkpoints have it, is that of the bias of a query, key or value: a model
/// that has one has them all.
pub(super) fn is_qkv_bias(name: &str) -> bool {
    let biases = [BlockTensor::QueryBias, BlockTensor::KeyBias, BlockTensor::ValueBias];
    let ends = |end: &str| name.strip_suffix(end).is_some_and(|block| block.ends_with('.'));
    biases.into_iter().map(BlockTensor::names).any(|(gguf, hugging_face)| ends(gguf) || ends(hugging_face))
}

impl TensorName {
    /// The name in a GGUF file.
    pub fn gguf(self) -> String {
        match self {
            Self::TokenEmbedding => "token_embd.weight".to_string(),
            Self::OutputNorm => "output_norm.weight".to_string(),
            Self::Output => "output.weight".to_string(),
            Self::Block(index, tensor) => format!("blk.{index}.{}", tensor.names().0),
        }
    }

    /// The name in a Hugging Face checkpoint.
    pub fn hugging_face(self) -> String {
        match self {
            Self::TokenEmbedding => "model.embed_tokens.weight".to_string(),
            Self::OutputNorm => "model.norm.weight".to_string(),
            Self::Output => "lm_head.weight".to_string(),
            Self::Block(index, tensor) => format!("model.layers.{index}.{}", tensor.names().1),
        }
    }
}
