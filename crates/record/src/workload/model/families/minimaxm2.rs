//! MiniMax-M2 and M2.5: a mixture of many small experts, norms over all heads of queries and of keys, half of a head turned by
//! positions. It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::{MIXTRAL, experts};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::parts::{Attention, Parts, QkNorm};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "minimax-m2",
    model_types: &["minimax_m2"],
    config: Config::Decoder(DecoderRules {
        head_dim: Some(128),
        qk_norm: true,
        all_kv_heads: false,
        follows: &["num_local_experts", "use_qk_norm", "rotary_dim"],
        more,
        ..LIKE_LLAMA
    }),
    parts,
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    shape.experts = experts(keys, &MIXTRAL)?;
    shape.rotary_dim = keys.optional_size("rotary_dim")?.filter(|dims| *dims != shape.head_dim);
    shape.qk_norm = keys.flag("use_qk_norm", true)?;
    Ok(())
}

fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape).with_blocks(|_, block| {
        block
            .with_attention(|attention| Attention {
                qk_norm: if shape.qk_norm { QkNorm::Width } else { QkNorm::None },
                ..attention
            })
            .with_router_bias()
    })
}
