//! SmolLM3: Llama without positions in every fourth layer. It is sized, not run.

use super::llama;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, Task};
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::{decoder, names};
use serde_json::Value;

pub(super) const FAMILY: Family = Family {
    name: "smollm3",
    model_types: &["smollm3"],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
    config: Config::Decoder(DecoderRules {
        max_context: 32_768,
        tied: true,
        follows: &["no_rope_layers", "no_rope_layer_interval"],
        more,
        ..LIKE_LLAMA
    }),
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts: decoder::parts,
};

/// Of so many layers the last has no positions, where the file does not list them.
const NO_POSITIONS_EVERY: usize = 4;

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    let kinds = match keys.get("no_rope_layers").and_then(Value::as_array) {
        Some(layers) if layers.len() == shape.layers => {
            let kind = |layer: &Value| {
                if layer.as_u64() == Some(0) { LayerKind::NoPositions } else { LayerKind::Full }
            };
            LayerKinds::of(layers.iter().map(kind).collect())?
        }
        Some(layers) => {
            return Err(format!("`no_rope_layers` names {} layers, but there are {}", layers.len(), shape.layers));
        }
        None => {
            let every = keys.size("no_rope_layer_interval", Some(NO_POSITIONS_EVERY))?;
            LayerKinds::last_of(every, LayerKind::Full, LayerKind::NoPositions)?
        }
    };
    shape.layer_kinds = Some(kinds);
    Ok(())
}
