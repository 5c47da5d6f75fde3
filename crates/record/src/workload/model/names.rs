//! The names of tensors that most families share: those of Llama in GGUF files and in checkpoints, and those of encoders.

use super::tensors::{BlockTensor, TensorName};

/// The name of a tensor of one block in a GGUF file and in a checkpoint, for a decoder like Llama.
fn block_of_llama(tensor: BlockTensor) -> Option<(&'static str, &'static str)> {
    Some(match tensor {
        BlockTensor::AttentionNorm => ("attn_norm.weight", "input_layernorm.weight"),
        BlockTensor::Query => ("attn_q.weight", "self_attn.q_proj.weight"),
        BlockTensor::Key => ("attn_k.weight", "self_attn.k_proj.weight"),
        BlockTensor::Value => ("attn_v.weight", "self_attn.v_proj.weight"),
        BlockTensor::AttentionOutput => ("attn_output.weight", "self_attn.o_proj.weight"),
        BlockTensor::QueryBias => ("attn_q.bias", "self_attn.q_proj.bias"),
        BlockTensor::KeyBias => ("attn_k.bias", "self_attn.k_proj.bias"),
        BlockTensor::ValueBias => ("attn_v.bias", "self_attn.v_proj.bias"),
        BlockTensor::QueryNorm => ("attn_q_norm.weight", "self_attn.q_norm.weight"),
        BlockTensor::KeyNorm => ("attn_k_norm.weight", "self_attn.k_norm.weight"),
        BlockTensor::FeedForwardNorm => ("ffn_norm.weight", "post_attention_layernorm.weight"),
        BlockTensor::Gate => ("ffn_gate.weight", "mlp.gate_proj.weight"),
        BlockTensor::Up => ("ffn_up.weight", "mlp.up_proj.weight"),
        BlockTensor::Down => ("ffn_down.weight", "mlp.down_proj.weight"),
        _ => return None,
    })
}

/// The name in a GGUF file of a decoder like Llama.
pub fn gguf(tensor: TensorName) -> Option<String> {
    Some(match tensor {
        TensorName::TokenEmbedding => "token_embd.weight".to_string(),
        TensorName::OutputNorm => "output_norm.weight".to_string(),
        TensorName::Output => "output.weight".to_string(),
        TensorName::Block(index, tensor) => format!("blk.{index}.{}", block_of_llama(tensor)?.0),
        _ => return None,
    })
}

/// The name in a checkpoint of a decoder like Llama.
pub fn hugging_face(tensor: TensorName) -> Option<String> {
    Some(match tensor {
        TensorName::TokenEmbedding => "model.embed_tokens.weight".to_string(),
        TensorName::OutputNorm => "model.norm.weight".to_string(),
        TensorName::Output => "lm_head.weight".to_string(),
        TensorName::Block(index, tensor) => format!("model.layers.{index}.{}", block_of_llama(tensor)?.1),
        _ => return None,
    })
}

/// Whether `name`, as GGUF files or checkpoints have it, is that of the bias of a query, key or value: a model that has one has
/// them all.
pub fn is_qkv_bias(name: &str) -> bool {
    let biases = [BlockTensor::QueryBias, BlockTensor::KeyBias, BlockTensor::ValueBias];
    let ends = |end: &str| name.strip_suffix(end).is_some_and(|block| block.ends_with('.'));
    biases.into_iter().filter_map(block_of_llama).any(|(gguf, hugging_face)| ends(gguf) || ends(hugging_face))
}

/// The name of a tensor of an encoder's block, where BERT and ViT agree; the norms of BERT stand behind what they are named
/// after, those of ViT before it.
pub fn block_of_encoder(tensor: BlockTensor) -> Option<&'static str> {
    Some(match tensor {
        BlockTensor::Query => "attention.self.query.weight",
        BlockTensor::QueryBias => "attention.self.query.bias",
        BlockTensor::Key => "attention.self.key.weight",
        BlockTensor::KeyBias => "attention.self.key.bias",
        BlockTensor::Value => "attention.self.value.weight",
        BlockTensor::ValueBias => "attention.self.value.bias",
        BlockTensor::AttentionOutput => "attention.output.dense.weight",
        BlockTensor::AttentionOutputBias => "attention.output.dense.bias",
        BlockTensor::AttentionNorm => "attention.output.LayerNorm.weight",
        BlockTensor::AttentionNormBias => "attention.output.LayerNorm.bias",
        BlockTensor::Up => "intermediate.dense.weight",
        BlockTensor::UpBias => "intermediate.dense.bias",
        BlockTensor::Down => "output.dense.weight",
        BlockTensor::DownBias => "output.dense.bias",
        BlockTensor::FeedForwardNorm => "output.LayerNorm.weight",
        BlockTensor::FeedForwardNormBias => "output.LayerNorm.bias",
        _ => return None,
    })
}
