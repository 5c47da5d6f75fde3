//! OLMoE: a mixture of 64 small experts, norms over all heads of queries and of keys (arXiv 2409.02060). It is sized, not run.

use crate::workload::model::config::sublayers::{ExpertKeys, experts};
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::parts::{Attention, Parts, QkNorm};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "olmoe",
    model_types: &["olmoe"],
    config: Config::Decoder(DecoderRules {
        qk_norm: true,
        follows: &["num_experts"],
        more: |keys, shape| {
            shape.experts = experts(keys, &KEYS)?;
            Ok(())
        },
        ..LIKE_LLAMA
    }),
    parts,
    ..super::SIZED_DECODER
};

const KEYS: ExpertKeys =
    ExpertKeys { count: "num_experts", active: "num_experts_per_tok", width: "intermediate_size" };

fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape).with_blocks(|_, block| {
        block.with_attention(|attention| Attention { qk_norm: QkNorm::Width, ..attention })
    })
}
