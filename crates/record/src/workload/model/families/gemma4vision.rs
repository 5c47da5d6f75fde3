//! Gemma 4's encoder of images: blocks with norms around their parts and on each head, turned by the places of patches. It is
//! sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::image_encoder::{self, ImageKeys, USUAL};
use crate::workload::model::parts::{
    Activation, Attention, BlockParts, FeedForward, FeedForwardBias, NormKind, NormPlace, Parts, PatchEmbedding, QkNorm,
};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "gemma4-vision",
    vision_types: &["gemma4_vision"],
    task: Task::EmbedImage,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

const KEYS: ImageKeys = ImageKeys { eps: "rms_norm_eps", ..USUAL };

/// The side of images, which it takes in any size, for what is told of one.
const SIDE: usize = 768;

/// Rows of the table of positions, where the file does not say it: for each of two directions.
const POSITIONS: usize = 10_240;

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let shape = image_encoder::sizes(keys, Architecture::Gemma4Vision, &KEYS, false, Some(SIDE))?;
    let max_context = keys.size("position_embedding_size", Some(POSITIONS))?;
    Ok(ModelShape { max_context, qkv_bias: false, qk_norm: true, ..shape })
}

fn parts(shape: &ModelShape) -> Parts {
    let parts = image_encoder::parts(shape, Activation::GeluTanh);
    let parts = image_encoder::with_patches(parts, |patches| {
        PatchEmbedding { bias: false, positions: 2 * shape.max_context, ..patches }
    });
    let parts = parts.with_blocks(|_, block| {
        let block = block
            .with_attention(|attention| Attention { output_bias: false, qk_norm: QkNorm::Heads, ..attention })
            .with_feed_forward(|part| FeedForward { gated: true, bias: FeedForwardBias::None, ..part });
        BlockParts { norms: NormPlace::Around, ..block }
    });
    Parts { norm: NormKind::Rms, final_norm: false, ..parts }
}
