//! Granite 4: state-space layers (Mamba 2) with a few of attention between them, and a shared feed-forward part in each, beside
//! experts in the larger ones. It is sized, not run.

use super::granite;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{MIXTRAL, experts, layer_kinds, state_space_of_granite};
use crate::workload::model::family::{Config, DecoderRules, Family, WindowRule};
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::sublayers::ExpertsShape;

pub(super) const FAMILY: Family = Family {
    name: "granitehybrid",
    model_types: &["granitemoehybrid"],
    config: Config::Decoder(DecoderRules {
        window: WindowRule::Pattern,
        follows: &[
            "embedding_multiplier",
            "attention_multiplier",
            "residual_multiplier",
            "logits_scaling",
            "num_local_experts",
        ],
        more,
        ..granite::RULES
    }),
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    let shared_width = keys.size("shared_intermediate_size", None)?;
    shape.experts = experts(keys, &MIXTRAL)?.map(|experts| ExpertsShape { shared_width, ..experts });
    // Without experts the shared part is the feed-forward part.
    shape.intermediate_size = shared_width;
    let kinds = layer_kinds(keys, shape.layers)?.ok_or("`layer_types` is missing")?;
    if kinds.has(LayerKind::StateSpace) {
        shape.state_space = Some(state_space_of_granite(keys)?);
    }
    let is_nope = keys.optional_text("position_embedding_type")? == Some("nope");
    let of = |index| match kinds.at(index) {
        LayerKind::Full if is_nope => LayerKind::NoPositions,
        kind => kind,
    };
    shape.layer_kinds = Some(LayerKinds::of((0..shape.layers).map(of).collect())?);
    Ok(())
}
