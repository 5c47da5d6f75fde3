//! CLIP: an encoder of images cut into patches and one of texts, brought to one width (arXiv 2103.00020). It is sized, not run.

use crate::workload::model::config::encoder;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::image_encoder::{self, USUAL};
use crate::workload::model::parts::{Activation, Parts, Tower};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "clip",
    model_types: &["clip", "clip_vision_model"],
    vision_types: &["clip_vision_model"],
    task: Task::EmbedImage,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let Some(vision) = keys.within("vision_config", "vision_config.")? else { return of_images(keys) };
    let text = keys.within("text_config", "text_config.")?.ok_or("`text_config` is missing")?;
    let projection = Some(keys.size("projection_dim", Some(512))?);
    let text = ModelShape { projection, ..encoder::text_tower(&text, Architecture::Clip)? };
    Ok(ModelShape { projection, text: Some(Box::new(text)), ..of_images(&vision)? })
}

fn of_images(keys: &Keys<'_>) -> Result<ModelShape, String> {
    image_encoder::sizes(keys, Architecture::Clip, &USUAL, true, None)
}

fn parts(shape: &ModelShape) -> Parts {
    let parts = image_encoder::parts(shape, Activation::QuickGelu);
    // A norm before the first block, and no bias of the patches.
    let parts = image_encoder::with_patches(parts, |patches| {
        crate::workload::model::parts::PatchEmbedding { bias: false, norm: true, ..patches }
    });
    let of_text = |text: &ModelShape| {
        let projection = text.projection.map_or(0.0, |width| (width * text.hidden_size) as f64);
        // With the scale of the scores.
        Tower { parts: encoder::text_tower_parts(text), projector: projection + 1.0 }
    };
    Parts { towers: shape.text.as_deref().map(of_text).into_iter().collect(), ..parts }
}
