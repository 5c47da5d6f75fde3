//! GLM-4.5 to 4.7: a mixture of experts beside a shared one behind a few dense layers; half of a head is turned by positions. It
//! is sized, not run.

use super::glm4;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{experts_of_deepseek, rotary_dim};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::parts::Parts;
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "glm4moe",
    model_types: &["glm4_moe"],
    config: Config::Decoder(DecoderRules {
        max_context: 131_072,
        all_kv_heads: false,
        follows: &["n_routed_experts", "partial_rotary_factor", "use_qk_norm"],
        more,
        ..LIKE_LLAMA
    }),
    parts,
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    shape.rotary_dim = rotary_dim(keys, shape.head_dim, glm4::ROTARY)?;
    shape.qk_norm = keys.flag("use_qk_norm", false)?;
    shape.experts = experts_of_deepseek(keys)?;
    Ok(())
}

fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape).with_blocks(|_, block| {
        block.with_router_bias()
    })
}
