//! Llama 4's encoder of images. It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::image_encoder::{self, ImageKeys, USUAL};
use crate::workload::model::parts::{Activation, Parts, PatchEmbedding};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "llama4-vision",
    vision_types: &["llama4_vision_model"],
    task: Task::EmbedImage,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

const KEYS: ImageKeys = ImageKeys { eps: "norm_eps", ..USUAL };

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let shape = image_encoder::sizes(keys, Architecture::Llama4Vision, &KEYS, true, None)?;
    Ok(ModelShape { projection: Some(keys.size("projector_output_dim", None)?), ..shape })
}

fn parts(shape: &ModelShape) -> Parts {
    let parts = image_encoder::parts(shape, Activation::GeluErf);
    image_encoder::with_patches(parts, |patches| PatchEmbedding { bias: false, norm: true, ..patches })
}
