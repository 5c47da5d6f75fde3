//! OLMo 3: OLMo 2, of four layers three with a window. It is sized, not run.

use super::olmo2;
use crate::workload::model::config::sublayers::window_in_some;
use crate::workload::model::family::{Config, DecoderRules, Family, WindowRule};
use crate::workload::model::kinds::LayerKind;

pub(super) const FAMILY: Family = Family {
    name: "olmo3",
    model_types: &["olmo3"],
    config: Config::Decoder(DecoderRules {
        window: WindowRule::Pattern,
        more: |keys, shape| {
            (shape.sliding_window, shape.layer_kinds) = window_in_some(keys, shape.layers, 4, LayerKind::Full)?;
            Ok(())
        },
        ..olmo2::RULES
    }),
    parts: olmo2::parts,
    ..super::SIZED_DECODER
};
