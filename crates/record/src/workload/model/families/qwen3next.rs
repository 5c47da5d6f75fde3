//! Qwen3-Next: of four layers three have linear attention with a gated delta rule, the last attention whose output is gated;
//! a mixture of experts beside a shared one in each. It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{experts_of_qwen, layer_kinds, linear, rotary_dim};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, WindowRule};
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::parts::{Attention, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "qwen3next",
    model_types: &["qwen3_next"],
    config: Config::Decoder(DecoderRules {
        follows: &["num_experts", "partial_rotary_factor"],
        more: |keys, shape| {
            shape.experts = experts_of_qwen(keys)?;
            with_linear_layers(keys, shape)
        },
        ..RULES
    }),
    norm_offset: 1.0,
    parts,
    ..super::SIZED_DECODER
};

/// What it shares with Qwen 3.5.
pub(super) const RULES: DecoderRules = DecoderRules {
    head_dim: Some(256),
    qk_norm: true,
    window: WindowRule::Pattern,
    max_context: 32_768,
    all_kv_heads: false,
    follows: &["partial_rotary_factor"],
    ..LIKE_LLAMA
};

/// The share of a head that positions turn, where the file does not say it.
const ROTARY: f64 = 0.25;

/// Of so many layers the last has attention, where the file does not list them.
const FULL_EVERY: usize = 4;

pub(super) fn with_linear_layers(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    shape.linear = Some(linear(keys)?);
    shape.rotary_dim = rotary_dim(keys, shape.head_dim, ROTARY)?;
    let every = keys.size("full_attention_interval", Some(FULL_EVERY))?;
    let kinds = layer_kinds(keys, shape.layers)?;
    let repeated = || LayerKinds::last_of(every, LayerKind::Linear, LayerKind::Full);
    shape.layer_kinds = Some(kinds.map_or_else(repeated, Ok)?);
    Ok(())
}

pub(super) fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape).with_blocks(|_, block| {
        block.with_attention(|attention| Attention { output_gate: true, ..attention })
    })
}
