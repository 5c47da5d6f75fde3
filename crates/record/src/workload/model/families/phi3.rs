//! Phi 3 and 4: Llama with query, key and value in one matrix, gate and up in another. It is sized, not run.

use crate::workload::model::config::sublayers::rotary_dim;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA, WindowRule};

pub(super) const FAMILY: Family = Family {
    name: "phi3",
    model_types: &["phi3"],
    config: Config::Decoder(DecoderRules {
        max_context: 4096,
        window: WindowRule::All,
        follows: &["partial_rotary_factor"],
        more: |keys, shape| {
            shape.rotary_dim = rotary_dim(keys, shape.head_dim, 1.0)?;
            Ok(())
        },
        ..LIKE_LLAMA
    }),
    ..super::SIZED_DECODER
};
