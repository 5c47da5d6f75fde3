//! Command R7B and Command A: Command R, of four layers three with a window and the last without positions. It is sized, not
//! run.

use super::cohere;
use crate::workload::model::config::keys::Keys;
use crate::workload::model::config::sublayers::window_in_some;
use crate::workload::model::family::{Config, DecoderRules, Family, WindowRule};
use crate::workload::model::kinds::{LayerKind, LayerKinds};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "cohere2",
    model_types: &["cohere2"],
    config: Config::Decoder(DecoderRules { window: WindowRule::Pattern, more, ..cohere::RULES }),
    parts: cohere::parts,
    ..super::SIZED_DECODER
};

fn more(keys: &Keys<'_>, shape: &mut ModelShape) -> Result<(), String> {
    let (window, kinds) = window_in_some(keys, shape.layers, 4, LayerKind::NoPositions)?;
    shape.sliding_window = window;
    // Layers that see everything have no positions, whichever way the file names them.
    let without = |kind| if kind == LayerKind::Full { LayerKind::NoPositions } else { kind };
    let each = |kinds: LayerKinds| LayerKinds::of((0..shape.layers).map(|index| without(kinds.at(index))).collect());
    shape.layer_kinds = kinds.map(each).transpose()?;
    Ok(())
}
