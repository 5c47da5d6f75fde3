//! Llama 4: a mixture of experts beside one that every token goes through. Of four layers three attend within chunks, and the
//! last to everything without positions. It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{ExpertKeys, experts, layers_without_positions};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, WindowRule};
use crate::workload::model::kinds::LayerKind;
use crate::workload::model::shape::ModelShape;
use crate::workload::model::sublayers::ExpertsShape;
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    name: "llama4",
    model_types: &["llama4_text", "llama4"],
    config: Config::Decoder(DecoderRules {
        max_context: 131_072,
        window: WindowRule::Pattern,
        follows: &["num_local_experts", "attention_chunk_size", "no_rope_layers", "no_rope_layer_interval"],
        more,
        ..LIKE_LLAMA
    }),
    ..super::SIZED_DECODER
};

const KEYS: ExpertKeys =
    ExpertKeys { count: "num_local_experts", active: "num_experts_per_tok", width: "intermediate_size" };

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    let every = keys.size("interleave_moe_layer_step", Some(1))?;
    shape.experts = experts(keys, &KEYS)?.map(|experts| ExpertsShape { shared_width: experts.width, every, ..experts });
    if let Some(layers) = keys.get("moe_layers") {
        let listed: Option<Vec<u64>> = layers.as_array().and_then(|layers| layers.iter().map(Value::as_u64).collect());
        let expected = (0..shape.layers).filter(|index| shape.experts.is_some_and(|experts| experts.is_at(*index)));
        if listed != Some(expected.map(|index| index as u64).collect()) {
            return Err(format!("`moe_layers` {layers} is not supported: experts are in every {every}. layer"));
        }
    }
    shape.intermediate_size = keys.size("intermediate_size_mlp", Some(shape.intermediate_size))?;
    shape.sliding_window = keys.optional_size("attention_chunk_size")?;
    let turned = if shape.sliding_window.is_some() { LayerKind::Chunk } else { LayerKind::Full };
    shape.layer_kinds = Some(layers_without_positions(keys, shape.layers, turned)?);
    Ok(())
}
