//! EfficientNet: inverted blocks whose channels and depths grow together (arXiv 1905.11946). It is sized, not run.

use crate::workload::model::config::convolutional::{self, classes};
use crate::workload::model::config::keys::Keys;
use crate::workload::model::convolutional::{ConvolutionalShape, Stage, StageKind};
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "efficientnet",
    model_types: &["efficientnet"],
    task: Task::ClassifyImage,
    config: Config::Encoder(config),
    parts: convolutional::parts,
    ..super::SIZED_ENCODER
};

/// Channels of the first convolution and of the last, before they grow.
const STEM: usize = 32;

/// Channels times `factor`, to a multiple of `divisor`, and no more than a tenth below (section 3.2 of the reference code's
/// description).
fn widened(channels: usize, factor: f64, divisor: usize) -> usize {
    let wanted = channels as f64 * factor;
    let rounded = (((wanted + divisor as f64 / 2.0) / divisor as f64) as usize * divisor).max(divisor);
    if (rounded as f64) < 0.9 * wanted { rounded + divisor } else { rounded }
}

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let positive = |key: &str, default: f64| match keys.optional_number(key)?.unwrap_or(default) {
        value if value > 0.0 && value < 100.0 => Ok(value),
        value => Err(format!("`{key}` is {value}; it must be above 0 and below 100")),
    };
    let (width, depth) = (positive("width_coefficient", 1.0)?, positive("depth_coefficient", 1.0)?);
    let divisor = keys.size_within("depth_divisor", Some(8), 1 << 10)?;
    let squeeze = (1.0 / positive("squeeze_expansion_ratio", 0.25)?).round() as usize;
    let lists = ["out_channels", "kernel_sizes", "strides", "num_block_repeats", "expand_ratios"].map(|key| keys.sizes(key));
    let [channels, kernels, strides, repeats, expansions] = lists;
    let (channels, kernels, strides, repeats, expansions) = (channels?, kernels?, strides?, repeats?, expansions?);
    let count = channels.len();
    if [&kernels, &strides, &repeats, &expansions].iter().any(|list| list.len() != count) {
        return Err(format!("`out_channels` has {count} stages, and another list more or fewer"));
    }
    let stage = |index: usize| Stage {
        expansion: expansions[index],
        squeeze,
        ..Stage::new(
            StageKind::Inverted,
            (depth * repeats[index] as f64).ceil() as usize,
            strides[index],
            kernels[index],
            widened(channels[index], width, divisor),
        )
    };
    let shape = ConvolutionalShape {
        stem: widened(STEM, width, divisor),
        stem_kernel: 3,
        pooled_stem: false,
        stages: (0..count).map(stage).collect(),
        head: Some(keys.size("hidden_dim", None)?),
        head_pooled: false,
    };
    convolutional::shape(Architecture::EfficientNet, shape, keys.size("image_size", Some(224))?, classes(keys)?)
}
