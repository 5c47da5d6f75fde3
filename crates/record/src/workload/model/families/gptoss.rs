//! gpt-oss: experts with biases in every layer, attention with a learned score beside those of the positions, and a window in
//! every other layer (arXiv 2508.10925).

use super::llama;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{MIXTRAL, experts, window_in_some};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, Task, WindowRule};
use crate::workload::model::kinds::LayerKind;
use crate::workload::model::parts::{Activation, Attention, Experts, FeedForward, FeedForwardBias, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::{decoder, names};

pub(super) const FAMILY: Family = Family {
    name: "gpt-oss",
    model_types: &["gpt_oss"],
    vision_types: &[],
    task: Task::Generate,
    runs: false,
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
    gguf: Some(llama::GGUF),
    hugging_face: names::hugging_face,
    norm_offset: 0.0,
    parts,
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
            .with_feed_forward(|part| FeedForward {
                activation: Activation::ClampedSwiglu,
                bias: FeedForwardBias::All,
                experts: part.experts.map(|experts| Experts { router_bias: true, ..experts }),
                ..part
            })
    })
}
