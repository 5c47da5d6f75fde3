//! GLM-4: Llama with a bias on query, key and value, half of a head turned by positions; from 0414 on with norms behind
//! attention and feed-forward too. It is sized, not run.

use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::rotary_dim;
use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::parts::{BlockParts, NormPlace, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "glm4",
    model_types: &["glm4"],
    config: Config::Decoder(RULES),
    parts: |shape| {
        parts(shape).with_blocks(|_, block| BlockParts { norms: NormPlace::Around, ..block })
    },
    ..super::SIZED_DECODER
};

pub(super) const RULES: DecoderRules = DecoderRules {
    max_context: 131_072,
    all_kv_heads: false,
    follows: &["partial_rotary_factor"],
    more,
    ..LIKE_LLAMA
};

/// The share of a head that positions turn, where the file does not say it.
pub(super) const ROTARY: f64 = 0.5;

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    shape.rotary_dim = rotary_dim(keys, shape.head_dim, ROTARY)?;
    Ok(())
}

pub(super) fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape)
}
