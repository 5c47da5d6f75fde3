//! SigLIP: an encoder of images cut into patches, pooled by attention (arXiv 2303.15343). It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::encoder;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::image_encoder::{self, USUAL};
use crate::workload::model::parts::{Activation, Head, Parts, Tower};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "siglip",
    model_types: &["siglip", "siglip_vision_model"],
    vision_types: &["siglip_vision_model"],
    task: Task::EmbedImage,
    config: Config::Encoder(config),
    parts,
    ..super::SIZED_ENCODER
};

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let Some(vision) = keys.within("vision_config", "vision_config.")? else { return of_images(keys) };
    let text = keys.within("text_config", "text_config.")?.ok_or("`text_config` is missing")?;
    let text = encoder::text_tower(&text, Architecture::Siglip)?;
    Ok(ModelShape { text: Some(Box::new(text)), ..of_images(&vision)? })
}

fn of_images(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let shape = image_encoder::sizes(keys, Architecture::Siglip, &USUAL, false, None)?;
    let projection = keys.flag("vision_use_head", true)?.then_some(shape.hidden_size);
    Ok(ModelShape { projection, ..shape })
}

fn parts(shape: &ModelShape) -> Parts {
    let parts = image_encoder::parts(shape, Activation::GeluTanh);
    let head = shape.projection.map_or(Head::Pooled, |_| Head::AttentionPooled(shape.intermediate_size));
    let of_text = |text: &ModelShape| {
        let width = text.hidden_size as f64;
        // A matrix with a bias behind it; the scale and bias of the scores.
        Tower { parts: encoder::text_tower_parts(text), projector: width * width + width + 2.0 }
    };
    Parts { head, towers: shape.text.as_deref().map(of_text).into_iter().collect(), ..parts }
}
