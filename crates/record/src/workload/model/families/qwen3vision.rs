//! The encoder of images of Qwen3-VL and Qwen 3.5: patches of two frames with learned places, some of whose layers are given to
//! the model of text too. It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::image_encoder::{self, ImageKeys};
use crate::workload::model::parts::{Activation, Parts, PatchEmbedding};
use crate::workload::model::shape::{ImageShape, ModelShape};
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    name: "qwen3vl-vision",
    vision_types: &["qwen3_vl", "qwen3_vl_moe", "qwen3_5", "qwen3_5_moe", "qwen3_vl_vision", "qwen3_5_vision"],
    task: Task::EmbedImage,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

const KEYS: ImageKeys = ImageKeys { layers: "depth", heads: "num_heads", channels: "in_channels", eps: "layer_norm_eps" };

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    image_encoder::check_merging(keys)?;
    // The places that it has learned are those of a square.
    let side = keys.size("num_position_embeddings", Some(2304))?.isqrt();
    let patch = keys.size("patch_size", None)?;
    let shape = image_encoder::sizes(keys, Architecture::Qwen3Vision, &KEYS, false, Some(side.saturating_mul(patch)))?;
    let image = shape.image.map(|image: ImageShape| ImageShape { size: side.saturating_mul(image.patch), ..image });
    let deepstack = keys.get("deepstack_visual_indexes").and_then(Value::as_array).map_or(0, Vec::len);
    Ok(ModelShape { image, deepstack, ..shape })
}

fn parts(shape: &ModelShape) -> Parts {
    let parts = image_encoder::parts(shape, Activation::GeluTanh);
    let parts = image_encoder::with_patches(parts, |patches| PatchEmbedding { frames: 2, ..patches });
    Parts { final_norm: false, ..parts }
}
