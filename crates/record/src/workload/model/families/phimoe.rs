//! Phi-3.5-MoE: a mixture of experts, norms that take the mean away and biases on attention and output. It is sized, not run.

use crate::workload::model::config::sublayers::{MIXTRAL, experts};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, WindowRule};
use crate::workload::model::parts::{Attention, NormKind, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "phimoe",
    model_types: &["phimoe"],
    config: Config::Decoder(DecoderRules {
        max_context: 131_072,
        window: WindowRule::All,
        follows: &["num_local_experts"],
        more: |keys, shape| {
            shape.experts = experts(keys, &MIXTRAL)?;
            Ok(())
        },
        ..LIKE_LLAMA
    }),
    parts,
    ..super::SIZED_DECODER
};

fn parts(shape: &ModelShape) -> Parts {
    let parts = Parts { norm: NormKind::Layer, ..decoder::parts(shape) };
    parts.with_blocks(|_, block| {
        block.with_attention(|attention| Attention { output_bias: shape.qkv_bias, ..attention })
    })
}
