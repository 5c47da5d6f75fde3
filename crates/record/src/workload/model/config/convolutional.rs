//! Networks of convolutions as a config.json has them.

use super::keys::Keys;
use crate::workload::model::convolutional::ConvolutionalShape;
use crate::workload::model::family::Architecture;
use crate::workload::model::parts::{Embedding, Head, NormKind, Parts, PatchEmbedding};
use crate::workload::model::shape::{ImageShape, ModelShape};
use serde_json::Value;

/// Classes of a network, where the file says nothing: those of ImageNet.
const CLASSES: usize = 1000;

/// Classes: as many as have a name, or as are counted.
pub fn classes(keys: &Keys<'_>) -> Result<usize, String> {
    match keys.get("id2label").and_then(Value::as_object) {
        Some(labels) if !labels.is_empty() => Ok(labels.len()),
        _ => {
            let counted = keys.optional_size("num_labels")?.or(keys.optional_size("num_classes")?);
            Ok(counted.unwrap_or(CLASSES))
        }
    }
}

/// A model of such a network that is published for images of `side`.
pub fn shape(
    architecture: Architecture,
    convolutional: ConvolutionalShape,
    side: usize,
    classes: usize,
) -> Result<ModelShape, String> {
    convolutional.validate()?;
    let image = ImageShape { patch: convolutional.divisor(), size: side, channels: 3, class_token: false };
    Ok(ModelShape {
        hidden_size: convolutional.width(),
        layers: convolutional.convolutions().len(),
        vocab_size: classes,
        max_context: image.tokens(side).max(1),
        image: Some(image),
        convolutional: Some(convolutional),
        ..ModelShape::of(architecture)
    })
}

/// What it is made of: convolutions, and a matrix on the mean of what they make.
pub fn parts(shape: &ModelShape) -> Parts {
    // A shape without its image is refused before it gets here.
    let image = shape.image.unwrap_or(ImageShape { patch: 1, size: 1, channels: 3, class_token: false });
    Parts {
        hidden: shape.hidden_size,
        norm: NormKind::Layer,
        embedding: Embedding::Convolutions(PatchEmbedding { image, frames: 1, bias: false, positions: 0, norm: false }),
        convolutions: shape.convolutional.as_ref().map_or(Vec::new(), ConvolutionalShape::convolutions),
        blocks: Vec::new(),
        final_norm: false,
        head: Head::Classes(shape.vocab_size),
        beside: 0.0,
        towers: Vec::new(),
    }
}
