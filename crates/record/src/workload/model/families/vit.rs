//! ViT and DeiT: an encoder of images that are cut into patches, with norms before its parts and a classifier.

use super::bert;
use crate::workload::model::config::encoder::{self, MOST_CHANNELS, MOST_SIDE};
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::names::block_of_encoder;
use crate::workload::model::parts::{Embedding, Head, NormKind, NormPlace, Parts, PatchEmbedding};
use crate::workload::model::shape::{ImageShape, ModelShape};
use crate::workload::model::tensors::{BlockTensor, TensorName};
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    name: "vit",
    model_types: &["vit"],
    vision_types: &[],
    task: Task::ClassifyImage,
    runs: true,
    config: Config::Encoder(config),
    gguf: None,
    hugging_face,
    norm_offset: 0.0,
    parts,
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let image = ImageShape {
        patch: keys.size_within("patch_size", None, MOST_SIDE)?,
        size: keys.size_within("image_size", None, MOST_SIDE)?,
        channels: keys.size_within("num_channels", Some(3), MOST_CHANNELS)?,
        class_token: true,
    };
    if !image.size.is_multiple_of(image.patch) {
        return Err(format!("`image_size` {} is not a multiple of `patch_size` {}", image.size, image.patch));
    }
    Ok(ModelShape {
        vocab_size: classes(keys)?,
        max_context: image.tokens(image.size),
        qkv_bias: keys.flag("qkv_bias", true)?,
        image: Some(image),
        ..encoder::sizes_of(keys, Architecture::Vit)?
    })
}

/// Classes of an image classifier: as many as have a name.
fn classes(keys: &Keys<'_>) -> Result<usize, String> {
    match keys.get("id2label").and_then(Value::as_object) {
        Some(labels) if !labels.is_empty() => Ok(labels.len()),
        _ => keys.size("num_labels", None).map_err(|message| {
            format!("{message}, and so is `id2label`: only image classifiers are supported, and none is described")
        }),
    }
}

fn hugging_face(tensor: TensorName) -> Option<String> {
    Some(match tensor {
        TensorName::ClassToken => "embeddings.cls_token".to_string(),
        TensorName::PatchPositions => "embeddings.position_embeddings".to_string(),
        TensorName::Patches => "embeddings.patch_embeddings.projection.weight".to_string(),
        TensorName::PatchesBias => "embeddings.patch_embeddings.projection.bias".to_string(),
        TensorName::OutputNorm => "layernorm.weight".to_string(),
        TensorName::OutputNormBias => "layernorm.bias".to_string(),
        TensorName::Output => "classifier.weight".to_string(),
        TensorName::OutputBias => "classifier.bias".to_string(),
        TensorName::Block(layer, tensor) => format!("encoder.layer.{layer}.{}", of_block(tensor)?),
        _ => return None,
    })
}

fn of_block(tensor: BlockTensor) -> Option<&'static str> {
    Some(match tensor {
        BlockTensor::Query => "attention.attention.query.weight",
        BlockTensor::QueryBias => "attention.attention.query.bias",
        BlockTensor::Key => "attention.attention.key.weight",
        BlockTensor::KeyBias => "attention.attention.key.bias",
        BlockTensor::Value => "attention.attention.value.weight",
        BlockTensor::ValueBias => "attention.attention.value.bias",
        BlockTensor::AttentionNorm => "layernorm_before.weight",
        BlockTensor::AttentionNormBias => "layernorm_before.bias",
        BlockTensor::FeedForwardNorm => "layernorm_after.weight",
        BlockTensor::FeedForwardNormBias => "layernorm_after.bias",
        other => block_of_encoder(other)?,
    })
}

fn parts(shape: &ModelShape) -> Parts {
    // A shape without its image is refused before it gets here.
    let image = shape.image.unwrap_or(ImageShape { patch: 1, size: 1, channels: 1, class_token: true });
    Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Layer,
        embedding: Embedding::Patches(PatchEmbedding { image, frames: 1, bias: true, positions: image.tokens(image.size), norm: false }),
        convolutions: Vec::new(),
        blocks: vec![(bert::block(shape, NormPlace::Before), shape.layers)],
        final_norm: true,
        head: Head::Classes(shape.vocab_size),
        beside: 0.0,
        towers: Vec::new(),
    }
}
