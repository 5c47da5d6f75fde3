//! Pixtral's encoder of images, as Mistral Small 3.1 has it: blocks like Llama's that see all patches, turned by their places.
//! It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::image_encoder::{self, USUAL};
use crate::workload::model::parts::{Activation, Attention, FeedForward, FeedForwardBias, NormKind, Parts, PatchEmbedding};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "pixtral",
    vision_types: &["pixtral"],
    task: Task::EmbedImage,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let shape = image_encoder::sizes(keys, Architecture::Pixtral, &USUAL, false, None)?;
    Ok(ModelShape { qkv_bias: false, ..shape })
}

fn parts(shape: &ModelShape) -> Parts {
    let parts = image_encoder::parts(shape, Activation::Silu);
    let parts = image_encoder::with_patches(parts, |patches| {
        PatchEmbedding { bias: false, positions: 0, norm: true, ..patches }
    });
    let parts = parts.with_blocks(|_, block| {
        block
            .with_attention(|attention| Attention { output_bias: false, ..attention })
            .with_feed_forward(|part| FeedForward { gated: true, bias: FeedForwardBias::None, ..part })
    });
    Parts { norm: NormKind::Rms, final_norm: false, ..parts }
}
