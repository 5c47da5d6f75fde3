//! gpt-oss: experts with biases in every layer, attention with a learned score beside those of the positions, and a window in
//! every other layer (arXiv 2508.10925).

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{MIXTRAL, experts, window_in_some};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, WindowRule};
use crate::workload::model::kinds::LayerKind;
use crate::workload::model::parts::{Activation, Attention, FeedForward, FeedForwardBias, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "gpt-oss",
    model_types: &["gpt_oss"],
    config: Config::Decoder(DecoderRules {
        head_dim: Some(64),
        max_context: 131_072,
        all_kv_heads: false,
        qkv_bias: true,
        window: WindowRule::Pattern,
        follows: &["num_local_experts", "swiglu_limit"],
        more,
        ..LIKE_LLAMA
    }),
    parts,
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    shape.experts = experts(keys, &MIXTRAL)?;
    (shape.sliding_window, shape.layer_kinds) = window_in_some(keys, shape.layers, 2, LayerKind::Full)?;
    Ok(())
}

fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape).with_blocks(|_, block| {
        block
            .with_attention(|attention| Attention { sinks: true, output_bias: true, ..attention })
            .with_router_bias()
            .with_feed_forward(|part| FeedForward {
                activation: Activation::ClampedSwiglu,
                bias: FeedForwardBias::All,
                ..part
            })
    })
}
