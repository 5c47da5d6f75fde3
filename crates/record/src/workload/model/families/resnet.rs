//! ResNet: convolutions around which the image goes by (arXiv 1512.03385), with the stride in the wide ones. It is sized, not
//! run.

use crate::workload::model::config::convolutional::{self, classes};
use crate::workload::model::config::keys::Keys;
use crate::workload::model::convolutional::{ConvolutionalShape, Stage, StageKind};
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "resnet",
    model_types: &["resnet"],
    task: Task::ClassifyImage,
    config: Config::Encoder(config),
    parts: convolutional::parts,
    ..super::SIZED_ENCODER
};

/// The side of images that such models are published with, which the file does not say.
const SIDE: usize = 224;

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let kind = match keys.optional_text("layer_type")?.unwrap_or("bottleneck") {
        "bottleneck" => StageKind::Bottleneck,
        "basic" => StageKind::Basic,
        other => return Err(format!("`layer_type` \"{other}\" is not known; \"bottleneck\" and \"basic\" are")),
    };
    for key in ["downsample_in_first_stage", "downsample_in_bottleneck"] {
        if keys.flag(key, false)? {
            return Err(format!("`{key}` true is not supported"));
        }
    }
    let (depths, widths) = (keys.sizes("depths")?, keys.sizes("hidden_sizes")?);
    if depths.len() != widths.len() {
        return Err(format!("`depths` has {} stages, but `hidden_sizes` {}", depths.len(), widths.len()));
    }
    let stage = |(index, (depth, width)): (usize, (&usize, &usize))| {
        Stage::new(kind, *depth, if index == 0 { 1 } else { 2 }, 3, *width)
    };
    let shape = ConvolutionalShape {
        stem: keys.size("embedding_size", Some(64))?,
        stem_kernel: 7,
        pooled_stem: true,
        stages: depths.iter().zip(&widths).enumerate().map(stage).collect(),
        head: None,
        head_pooled: false,
    };
    convolutional::shape(Architecture::ResNet, shape, SIDE, classes(keys)?)
}
