//! Gemma 4: Gemma 3 with wider heads, and fewer of keys, in the layers that see everything; in E2B and E4B a table of inputs for
//! each layer, and layers that use the keys and values of one before. It is sized, not run.

use super::{gemma, gemma3};
use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::window_in_some;
use crate::workload::model::family::{Config, DecoderRules, Family, WindowRule};
use crate::workload::model::kinds::LayerKind;
use crate::workload::model::parts::{Attention, BlockParts, FeedForward, NormPlace, Parts};
use crate::workload::model::shape::ModelShape;
use crate::workload::model::sublayers::{FullLayersShape, PerLayerShape};

pub(super) const FAMILY: Family = Family {
    name: "gemma4",
    model_types: &["gemma4_text", "gemma4"],
    config: Config::Decoder(DecoderRules {
        max_context: 131_072,
        qk_norm: true,
        window: WindowRule::Pattern,
        follows: &["final_logit_softcapping", "num_kv_shared_layers"],
        more,
        ..gemma::RULES
    }),
    gguf: None,
    hugging_face: gemma3::FAMILY.hugging_face,
    parts,
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    if keys.flag("enable_moe_block", false)? {
        return Err("`enable_moe_block` true is not described: experts beside the feed-forward part of Gemma 4".to_string());
    }
    (shape.sliding_window, shape.layer_kinds) = window_in_some(keys, shape.layers, 6, LayerKind::Full)?;
    shape.full_layers = Some(FullLayersShape {
        kv_heads: keys.size("num_global_key_value_heads", Some(shape.kv_heads))?,
        head_dim: keys.size("global_head_dim", Some(512))?,
        values_are_keys: keys.flag("attention_k_eq_v", false)?,
    });
    let shared_widening = if keys.flag("use_double_wide_mlp", false)? { 2 } else { 1 };
    shape.per_layer = Some(PerLayerShape {
        width: keys.size("hidden_size_per_layer_input", Some(0))?,
        shared_cache_layers: keys.size("num_kv_shared_layers", Some(0))?,
        shared_widening,
    });
    Ok(())
}

fn parts(shape: &ModelShape) -> Parts {
    let per_layer = shape.per_layer.unwrap_or(PerLayerShape { width: 0, shared_cache_layers: 0, shared_widening: 1 });
    let own_layers = shape.layers.saturating_sub(per_layer.shared_cache_layers);
    gemma::parts(shape).with_blocks(|index, block| {
        let is_full = shape.layer_kinds.as_ref().is_none_or(|kinds| kinds.at(index) == LayerKind::Full);
        let shares_cache = index >= own_layers;
        let widened = if shares_cache { per_layer.shared_widening } else { 1 };
        let block = block
            .with_attention(|attention| {
                let attention = Attention { shares_cache, ..attention };
                match shape.full_layers.filter(|_| is_full) {
                    Some(full) => Attention {
                        kv_heads: full.kv_heads,
                        head_dim: full.head_dim,
                        values_are_keys: full.values_are_keys,
                        ..attention
                    },
                    None => attention,
                }
            })
            .with_feed_forward(|part| FeedForward { width: part.width * widened, ..part });
        BlockParts { norms: NormPlace::Around, per_layer: per_layer.width, ..block }
    })
}
