//! Nemotron-H and Nemotron 3 Nano: layers that are each a state-space layer, attention without positions, a feed-forward part or
//! a mixture of experts alone, with one norm (arXiv 2504.03624). It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{experts_of_deepseek, state_space_of_nemotron};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, WindowRule};
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::parts::{Activation, BlockParts, FeedForward, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::sublayers::ExpertsShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "nemotron_h",
    model_types: &["nemotron_h"],
    config: Config::Decoder(DecoderRules {
        head_dim: Some(128),
        window: WindowRule::Pattern,
        activations: &["relu2"],
        follows: &["n_routed_experts"],
        more,
        ..LIKE_LLAMA
    }),
    parts,
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    // Files of before call it so.
    shape.head_dim = keys.size("attention_head_dim", Some(shape.head_dim))?;
    let pattern = keys.optional_text("hybrid_override_pattern")?.ok_or("`hybrid_override_pattern` is missing")?;
    let kind = |letter: char| match letter {
        'M' => Ok(LayerKind::StateSpace),
        '*' => Ok(LayerKind::NoPositions),
        '-' => Ok(LayerKind::FeedForward),
        'E' => Ok(LayerKind::Experts),
        _ => Err(format!("`hybrid_override_pattern`: `{letter}` is not a kind of layer that is known")),
    };
    let kinds = pattern.chars().map(kind).collect::<Result<Vec<_>, _>>()?;
    if kinds.len() != shape.layers {
        return Err(format!(
            "`hybrid_override_pattern` names {} layers, but `num_hidden_layers` is {}",
            kinds.len(),
            shape.layers
        ));
    }
    if kinds.contains(&LayerKind::StateSpace) {
        shape.state_space = Some(state_space_of_nemotron(keys)?);
    }
    if kinds.contains(&LayerKind::Experts) {
        let shared_width = keys.size("moe_shared_expert_intermediate_size", Some(0))?;
        shape.experts = experts_of_deepseek(keys)?
            .map(|experts| ExpertsShape { shared_width, dense_layers: 0, ..experts });
    }
    shape.layer_kinds = Some(LayerKinds::of(kinds)?);
    Ok(())
}

fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape).with_blocks(|_, block| {
        let feed_forward = block.feed_forward.filter(|_| block.mixer.is_none()).map(|part| FeedForward {
            activation: Activation::SquaredRelu,
            gated: false,
            ..part
        });
        BlockParts { feed_forward, ..block }.with_router_bias()
    })
}
