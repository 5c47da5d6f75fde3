//! Command R: attention and feed-forward read the same norm and are added together; norms take the mean away and have no bias.
//! It is sized, not run.

use crate::workload::model::family::{Config, DecoderRules, Family, LIKE_LLAMA};
use crate::workload::model::parts::{Attention, BlockParts, NormKind, NormPlace, Parts, QkNorm};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::decoder;

pub(super) const FAMILY: Family = Family {
    name: "command-r",
    model_types: &["cohere"],
    config: Config::Decoder(DecoderRules {
        follows: &["logit_scale", "use_qk_norm"],
        more: |keys, shape| {
            shape.qk_norm = keys.flag("use_qk_norm", false)?;
            Ok(())
        },
        ..RULES
    }),
    parts,
    ..super::SIZED_DECODER
};

pub(super) const RULES: DecoderRules =
    DecoderRules { max_context: 8192, tied: true, follows: &["logit_scale"], ..LIKE_LLAMA };

pub(super) fn parts(shape: &ModelShape) -> Parts {
    let parts = Parts { norm: NormKind::LayerUnbiased, ..decoder::parts(shape) };
    parts.with_blocks(|_, block| {
        let block = block.with_attention(|attention| Attention {
            // Each head has weights of its own.
            qk_norm: if shape.qk_norm { QkNorm::Width } else { QkNorm::None },
            ..attention
        });
        BlockParts { norms: NormPlace::BeforeBoth, ..block }
    })
}
