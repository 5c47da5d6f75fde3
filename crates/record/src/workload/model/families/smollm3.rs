//! SmolLM3: Llama without positions in every fourth layer. It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::layers_without_positions;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::kinds::LayerKind;
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "smollm3",
    model_types: &["smollm3"],
    config: Config::Decoder(DecoderRules {
        max_context: 32_768,
        tied: true,
        follows: &["no_rope_layers", "no_rope_layer_interval"],
        more,
        ..LIKE_LLAMA
    }),
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    shape.layer_kinds = Some(layers_without_positions(keys, shape.layers, LayerKind::Full)?);
    Ok(())
}
