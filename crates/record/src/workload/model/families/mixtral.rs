//! Mixtral: Mistral with a mixture of experts in every layer (arXiv 2401.04088).

use super::llama;
use crate::workload::model::config::sublayers::{MIXTRAL, experts};
use crate::workload::model::family::{Config, DecoderRules, Family, GgufRules, LIKE_LLAMA, WindowRule};

pub(super) const FAMILY: Family = Family {
    name: "mixtral",
    model_types: &["mixtral"],
    config: Config::Decoder(DecoderRules {
        max_context: 131_072,
        all_kv_heads: false,
        window: WindowRule::All,
        follows: &["num_local_experts"],
        more: |keys, shape| {
            shape.experts = experts(keys, &MIXTRAL)?;
            Ok(())
        },
        ..LIKE_LLAMA
    }),
    gguf: Some(GgufRules { paired_rows: true, ..llama::GGUF }),
    ..super::SIZED_DECODER
};
