//! DeepSeek V2, V3 and R1, and Kimi K2: latent attention, and a mixture of experts beside shared ones behind a few dense layers
//! (arXiv 2405.04434, 2412.19437). V3.2 and GLM-5 choose the positions that they attend to.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{experts_of_deepseek, latent};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::parts::Parts;
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "deepseek2",
    model_types: &["deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2"],
    config: Config::Decoder(RULES),
    parts,
    ..super::SIZED_DECODER
};

pub(super) const RULES: DecoderRules = DecoderRules {
    max_context: 2048,
    follows: &["n_routed_experts", "kv_lora_rank", "q_lora_rank", "v_head_dim", "rope_interleave"],
    more,
    ..LIKE_LLAMA
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    let widths = latent(keys)?;
    shape.latent = Some(widths);
    shape.head_dim = widths.query_dim();
    // Every head has keys of its own, which are made of what the cache holds.
    shape.kv_heads = shape.heads;
    shape.experts = experts_of_deepseek(keys)?;
    Ok(())
}

pub(super) fn parts(shape: &ModelShape) -> Parts {
    // From V3 on, a bias evens out how often experts are chosen; V2 has none, and is told by its smaller numbers of experts.
    let router_bias = shape.experts.is_some_and(|experts| experts.count >= EXPERTS_OF_V3);
    decoder::parts(shape).with_blocks(|_, block| if router_bias { block.with_router_bias() } else { block })
}

/// V2 has 160.
const EXPERTS_OF_V3: usize = 256;
