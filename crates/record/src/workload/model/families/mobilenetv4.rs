//! MobileNetV4 of convolutions: inverted blocks with a convolution of each channel before, between, or both
//! (arXiv 2404.10518). Its files name the network alone. It is sized, not run.

use crate::workload::model::config::convolutional::{self, classes};
use crate::workload::model::config::keys::Keys;
use crate::workload::model::convolutional::ConvolutionalShape;
use crate::workload::model::family::{Architecture, Config, Family, Task};
use crate::workload::model::shape::ModelShape;

pub(super) const FAMILY: Family = Family {
    name: "mobilenetv4",
    model_types: &["mobilenetv4_conv_small", "mobilenetv4_conv_medium", "mobilenetv4_conv_large"],
    task: Task::ClassifyImage,
    config: Config::Encoder(config),
    parts: convolutional::parts,
    ..super::SIZED_ENCODER
};

/// The networks: their name, channels of the first convolution, side of images, and stages.
const NETWORKS: [(&str, usize, usize, &str); 3] = [
    (
        "mobilenetv4_conv_small",
        32,
        224,
        "conv_r1_s2_k3_a0_e1_q0_c32 conv_r1_s1_k1_a0_e1_q0_c32 conv_r1_s2_k3_a0_e1_q0_c96 conv_r1_s1_k1_a0_e1_q0_c64 \
         inverted_r1_s2_k5_a5_e3_q0_c96 inverted_r4_s1_k3_a0_e2_q0_c96 inverted_r1_s1_k0_a3_e4_q0_c96 \
         inverted_r1_s2_k3_a3_e6_q0_c128 inverted_r1_s1_k5_a5_e4_q0_c128 inverted_r1_s1_k5_a0_e4_q0_c128 \
         inverted_r1_s1_k5_a0_e3_q0_c128 inverted_r2_s1_k3_a0_e4_q0_c128 conv_r1_s1_k1_a0_e1_q0_c960",
    ),
    (
        "mobilenetv4_conv_medium",
        32,
        256,
        "edge_r1_s2_k3_a0_e4_q0_c48 inverted_r1_s2_k5_a3_e4_q0_c80 inverted_r1_s1_k3_a3_e2_q0_c80 \
         inverted_r1_s2_k5_a3_e6_q0_c160 inverted_r2_s1_k3_a3_e4_q0_c160 inverted_r1_s1_k5_a3_e4_q0_c160 \
         inverted_r1_s1_k3_a3_e4_q0_c160 inverted_r1_s1_k0_a3_e4_q0_c160 inverted_r1_s1_k0_a0_e2_q0_c160 \
         inverted_r1_s1_k0_a3_e4_q0_c160 inverted_r1_s2_k5_a5_e6_q0_c256 inverted_r1_s1_k5_a5_e4_q0_c256 \
         inverted_r2_s1_k5_a3_e4_q0_c256 inverted_r1_s1_k0_a0_e4_q0_c256 inverted_r1_s1_k0_a3_e4_q0_c256 \
         inverted_r1_s1_k5_a3_e2_q0_c256 inverted_r1_s1_k5_a5_e4_q0_c256 inverted_r2_s1_k0_a0_e4_q0_c256 \
         inverted_r1_s1_k0_a5_e2_q0_c256 conv_r1_s1_k1_a0_e1_q0_c960",
    ),
    (
        "mobilenetv4_conv_large",
        24,
        256,
        "edge_r1_s2_k3_a0_e4_q0_c48 inverted_r1_s2_k5_a3_e4_q0_c96 inverted_r1_s1_k3_a3_e4_q0_c96 \
         inverted_r1_s2_k5_a3_e4_q0_c192 inverted_r3_s1_k3_a3_e4_q0_c192 inverted_r1_s1_k5_a3_e4_q0_c192 \
         inverted_r5_s1_k3_a5_e4_q0_c192 inverted_r1_s1_k0_a3_e4_q0_c192 inverted_r1_s2_k5_a5_e4_q0_c512 \
         inverted_r3_s1_k5_a5_e4_q0_c512 inverted_r1_s1_k0_a5_e4_q0_c512 inverted_r1_s1_k3_a5_e4_q0_c512 \
         inverted_r2_s1_k0_a5_e4_q0_c512 inverted_r1_s1_k3_a5_e4_q0_c512 inverted_r1_s1_k5_a5_e4_q0_c512 \
         inverted_r3_s1_k0_a5_e4_q0_c512 conv_r1_s1_k1_a0_e1_q0_c960",
    ),
];

fn config(keys: &Keys<'_>) -> Result<ModelShape, String> {
    let named = keys.optional_text("model_type")?.or(keys.optional_text("architecture")?);
    let name = named.and_then(|name| name.split('.').next()).unwrap_or_default();
    let network = NETWORKS.iter().find(|(known, ..)| *known == name);
    let Some((_, stem, side, stages)) = network else {
        return Err(format!("`architecture` \"{name}\" is not a MobileNetV4 that is known"));
    };
    let shape = ConvolutionalShape {
        stem: *stem,
        stem_kernel: 3,
        pooled_stem: false,
        stages: stages.split_whitespace().map(str::parse).collect::<Result<_, _>>()?,
        head: Some(1280),
        head_pooled: true,
    };
    convolutional::shape(Architecture::MobileNetV4, shape, *side, classes(keys)?)
}
