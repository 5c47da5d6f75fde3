//! Granite 3 with experts: Granite with a mixture in place of the feed-forward part. It is sized, not run.

use super::granite;
use crate::workload::model::config::sublayers::{MIXTRAL, experts};
use crate::workload::model::family::{Config, DecoderRules, Family};
use crate::workload::model::sublayers::ExpertsShape;

pub(super) const FAMILY: Family = Family {
    name: "granitemoe",
    model_types: &["granitemoe", "granitemoeshared"],
    config: Config::Decoder(DecoderRules {
        follows: &[
            "embedding_multiplier",
            "attention_multiplier",
            "residual_multiplier",
            "logits_scaling",
            "num_local_experts",
        ],
        more: |keys, shape| {
            let shared_width = keys.size("shared_intermediate_size", Some(0))?;
            shape.experts = experts(keys, &MIXTRAL)?.map(|experts| ExpertsShape { shared_width, ..experts });
            Ok(())
        },
        ..granite::RULES
    }),
    ..super::SIZED_DECODER
};
