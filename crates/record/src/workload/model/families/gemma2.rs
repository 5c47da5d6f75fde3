//! Gemma 2: Gemma with norms around attention and feed-forward, bounds on scores and logits,
//! and a window in every other layer. It is sized, not run.

use super::gemma;
use crate::workload::model::config::sublayers::window_in_some;
use crate::workload::model::family::{Config, DecoderRules, Family, WindowRule};
use crate::workload::model::kinds::LayerKind;
use crate::workload::model::parts::{BlockParts, NormPlace, Parts};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "gemma2",
    model_types: &["gemma2"],
    config: Config::Decoder(DecoderRules {
        window: WindowRule::Pattern,
        more: |keys, shape| {
            (shape.sliding_window, shape.layer_kinds) = window_in_some(keys, shape.layers, 2, LayerKind::Full)?;
            Ok(())
        },
        ..gemma::RULES
    }),
    norm_offset: 1.0,
    parts,
    ..super::SIZED_DECODER
};

fn parts(shape: &ModelShape) -> Parts {
    gemma::parts(shape).with_blocks(|_, block| BlockParts { norms: NormPlace::Around, ..block })
}
