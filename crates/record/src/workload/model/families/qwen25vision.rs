//! Qwen2.5-VL's encoder of images: blocks like Llama's with biases, patches of two frames, turned by their places. It is sized,
//! not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::image_encoder::{self, ImageKeys};
use crate::workload::model::parts::{Activation, FeedForward, NormKind, Parts, PatchEmbedding};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "qwen25vl-vision",
    vision_types: &["qwen2_5_vl", "qwen2_5_vl_vision"],
    task: Task::EmbedImage,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

const KEYS: ImageKeys = ImageKeys { layers: "depth", heads: "num_heads", channels: "in_chans", eps: "rms_norm_eps" };

/// The side of images, which it takes in any size, for what is told of one.
const SIDE: usize = 448;

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    image_encoder::check_merging(keys)?;
    image_encoder::sizes(keys, Architecture::Qwen25Vision, &KEYS, false, Some(SIDE))
}

fn parts(shape: &ModelShape) -> Parts {
    let parts = image_encoder::parts(shape, Activation::Silu);
    let parts = image_encoder::with_patches(parts, |patches| {
        PatchEmbedding { frames: 2, bias: false, positions: 0, ..patches }
    });
    let parts = parts.with_blocks(|_, block| block.with_feed_forward(|part| FeedForward { gated: true, ..part }));
    Parts { norm: NormKind::Rms, final_norm: false, ..parts }
}
