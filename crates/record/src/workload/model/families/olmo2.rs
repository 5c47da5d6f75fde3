//! OLMo 2: norms behind attention and feed-forward before they are added, and over all heads of queries and of keys
//! (arXiv 2501.00656). It is sized, not run.

use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::parts::{Attention, BlockParts, NormPlace, Parts, QkNorm};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "olmo2",
    model_types: &["olmo2"],
    config: Config::Decoder(RULES),
    parts,
    ..super::SIZED_DECODER
};

pub(super) const RULES: DecoderRules = DecoderRules { qk_norm: true, ..LIKE_LLAMA };

pub(super) fn parts(shape: &ModelShape) -> Parts {
    decoder::parts(shape).with_blocks(|_, block| {
        let block = block.with_attention(|attention| Attention { qk_norm: QkNorm::Width, ..attention });
        BlockParts { norms: NormPlace::BehindParts, ..block }
    })
}
