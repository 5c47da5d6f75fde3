//! Networks of convolutions: their shape as a list of stages, and the convolutions that follow from it.

use super::sublayers::within;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// A network of convolutions that classifies images.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvolutionalShape {
    /// Channels behind the first convolution, which halves the sides.
    pub stem: usize,
    /// Reach of the first convolution.
    pub stem_kernel: usize,
    /// The sides are halved once more behind it, without weights (ResNet).
    #[serde(default, skip_serializing_if = "super::sublayers::is_false")]
    pub pooled_stem: bool,
    /// What is between, one behind the other.
    pub stages: Vec<Stage>,
    /// Channels that a last convolution makes, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<usize>,
    /// That convolution goes over the mean of the image, not over its places.
    #[serde(default, skip_serializing_if = "super::sublayers::is_false")]
    pub head_pooled: bool,
}

/// What a block of a stage is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageKind {
    /// One convolution.
    Plain,
    /// Two (ResNet-18 and -34).
    Basic,
    /// Three, of which the one between has a quarter of the channels (ResNet-50 and up).
    Bottleneck,
    /// Channels are widened, each goes through a convolution of its own, and they are brought back (EfficientNet, MobileNet).
    Inverted,
    /// The same with one convolution in place of the first two.
    Edge,
}

const KINDS: [(StageKind, &str); 5] = [
    (StageKind::Plain, "conv"),
    (StageKind::Basic, "basic"),
    (StageKind::Bottleneck, "bottleneck"),
    (StageKind::Inverted, "inverted"),
    (StageKind::Edge, "edge"),
];

/// Blocks of one making. It is written `inverted_r2_s2_k3_a0_e6_q4_c24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// What a block is made of.
    pub kind: StageKind,
    /// How many blocks (`r`).
    pub repeats: usize,
    /// What the sides are divided by in the first (`s`).
    pub stride: usize,
    /// Reach of its convolution (`k`); of inverted ones, of that of each channel, 0 without one.
    pub kernel: usize,
    /// Reach of a convolution of each channel before the widening (`a`), 0 without one.
    pub start: usize,
    /// How many times the channels are widened (`e`).
    pub expansion: usize,
    /// Channels are weighed by what a matrix of so many times fewer numbers makes of their means (`q`), 0 without.
    pub squeeze: usize,
    /// Channels that come out (`c`).
    pub channels: usize,
}

impl Stage {
    /// Of a kind, nothing of what it need not have.
    pub fn new(kind: StageKind, repeats: usize, stride: usize, kernel: usize, channels: usize) -> Self {
        Self { kind, repeats, stride, kernel, start: 0, expansion: 1, squeeze: 0, channels }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or("", |(_, name)| name);
        let Self { repeats, stride, kernel, start, expansion, squeeze, channels, .. } = self;
        write!(f, "{name}_r{repeats}_s{stride}_k{kernel}_a{start}_e{expansion}_q{squeeze}_c{channels}")
    }
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is not a stage such as inverted_r2_s2_k3_a0_e6_q4_c24");
        let mut words = text.split('_');
        let name = words.next().unwrap_or_default();
        let kind = KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind).ok_or_else(refused)?;
        let mut number = |letter: char| {
            let value = words.next().and_then(|word| word.strip_prefix(letter)).and_then(|value| value.parse().ok());
            value.ok_or_else(refused)
        };
        let stage = Self {
            kind,
            repeats: number('r')?,
            stride: number('s')?,
            kernel: number('k')?,
            start: number('a')?,
            expansion: number('e')?,
            squeeze: number('q')?,
            channels: number('c')?,
        };
        if words.next().is_some() { Err(refused()) } else { Ok(stage) }
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Stage {
    fn schema_name() -> Cow<'static, str> {
        "Stage".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Blocks of one making: what a block is, how many (r), what the sides are divided by (s), reach of \
                its convolution (k) and of one before (a), how many times channels are widened (e), the squeeze (q), and \
                channels that come out (c).",
            "type": "string",
            "pattern": "^(conv|basic|bottleneck|inverted|edge)_r[0-9]+_s[0-9]+_k[0-9]+_a[0-9]+_e[0-9]+_q[0-9]+_c[0-9]+$"
        })
    }
}

/// One convolution of a network, a batch norm behind it unless it has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Channels that go in.
    pub inputs: usize,
    /// Channels that come out.
    pub outputs: usize,
    /// Reach, in both directions.
    pub kernel: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// It has a bias, and no norm.
    pub bias: bool,
    /// What the sides of the image are divided by where it comes out; `None` of one that goes over the mean of the image.
    pub divisor: Option<usize>,
}

impl Convolution {
    /// Numbers of its weights.
    pub fn weights(&self) -> f64 {
        (self.outputs * (self.inputs / self.groups.max(1)) * self.kernel.pow(2)) as f64
    }

    /// Places that it goes over in an image of `side`.
    pub fn places(&self, side: usize) -> f64 {
        self.divisor.map_or(1.0, |divisor| (side.div_ceil(divisor.max(1)) as f64).powi(2))
    }
}

impl ConvolutionalShape {
    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        within("convolutional.stem", self.stem, 1 << 14)?;
        within("convolutional.stem_kernel", self.stem_kernel, 64)?;
        within("convolutional.head", self.head.unwrap_or(1), 1 << 17)?;
        within("convolutional.stages", self.stages.len(), 1 << 8)?;
        for stage in &self.stages {
            within("convolutional.stages: r", stage.repeats, 1 << 8)?;
            within("convolutional.stages: s", stage.stride, 8)?;
            within("convolutional.stages: c", stage.channels, 1 << 14)?;
            within("convolutional.stages: e", stage.expansion, 64)?;
            within("convolutional.stages: k", stage.kernel.max(1), 64)?;
            within("convolutional.stages: a", stage.start.max(1), 64)?;
        }
        Ok(())
    }

    /// All convolutions, in the order of a pass.
    pub fn convolutions(&self) -> Vec<Convolution> {
        let mut made = Network { all: Vec::new(), divisor: Some(1), channels: 3 };
        made.put(self.stem, self.stem_kernel, 2);
        if self.pooled_stem {
            made.divisor = made.divisor.map(|divisor| divisor * 2);
        }
        for stage in &self.stages {
            for index in 0..stage.repeats {
                made.block(stage, if index == 0 { stage.stride } else { 1 });
            }
        }
        if let Some(head) = self.head {
            if self.head_pooled {
                made.divisor = None;
            }
            made.put(head, 1, 1);
        }
        made.all
    }

    /// Channels that the classifier sees.
    pub fn width(&self) -> usize {
        self.head.or(self.stages.last().map(|stage| stage.channels)).unwrap_or(self.stem)
    }

    /// What the sides of an image are divided by at the end.
    pub fn divisor(&self) -> usize {
        let pooled = if self.pooled_stem { 2 } else { 1 };
        self.stages.iter().map(|stage| stage.stride.max(1)).product::<usize>() * 2 * pooled
    }
}

/// A network as far as it is built.
struct Network {
    all: Vec<Convolution>,
    divisor: Option<usize>,
    channels: usize,
}

impl Network {
    fn put(&mut self, outputs: usize, kernel: usize, stride: usize) {
        self.grouped(outputs, kernel, stride, 1);
    }

    fn grouped(&mut self, outputs: usize, kernel: usize, stride: usize, groups: usize) {
        self.divisor = self.divisor.map(|divisor| divisor * stride.max(1));
        let inputs = std::mem::replace(&mut self.channels, outputs);
        self.all.push(Convolution { inputs, outputs, kernel, groups, bias: false, divisor: self.divisor });
    }

    /// A convolution of each channel.
    fn of_each(&mut self, kernel: usize, stride: usize) {
        if kernel > 0 {
            self.grouped(self.channels, kernel, stride, self.channels);
        }
    }

    /// What weighs channels by their means.
    fn squeeze(&mut self, inner: usize) {
        let wide = self.channels;
        for (inputs, outputs) in [(wide, inner), (inner, wide)] {
            self.all.push(Convolution { inputs, outputs, kernel: 1, groups: 1, bias: true, divisor: None });
        }
    }

    fn block(&mut self, stage: &Stage, stride: usize) {
        let inputs = self.channels;
        let before = self.divisor;
        match stage.kind {
            StageKind::Plain => self.put(stage.channels, stage.kernel, stride),
            StageKind::Basic => {
                self.put(stage.channels, stage.kernel, stride);
                self.put(stage.channels, stage.kernel, 1);
                self.shortcut(inputs, before, stage.channels, stride);
            }
            StageKind::Bottleneck => {
                let narrow = stage.channels / 4;
                self.put(narrow, 1, 1);
                self.put(narrow, stage.kernel, stride);
                self.put(stage.channels, 1, 1);
                self.shortcut(inputs, before, stage.channels, stride);
            }
            StageKind::Inverted => {
                // The sides shrink in the second convolution of each channel, or in the first where there is no second.
                self.of_each(stage.start, if stage.kernel == 0 { stride } else { 1 });
                if stage.expansion > 1 {
                    self.put(inputs * stage.expansion, 1, 1);
                }
                self.of_each(stage.kernel, stride);
                if let Some(inner) = inputs.checked_div(stage.squeeze) {
                    self.squeeze(inner.max(1));
                }
                self.put(stage.channels, 1, 1);
            }
            StageKind::Edge => {
                self.put(inputs * stage.expansion, stage.kernel, stride);
                self.put(stage.channels, 1, 1);
            }
        }
    }

    /// The convolution beside a block whose output differs from its input.
    fn shortcut(&mut self, inputs: usize, before: Option<usize>, outputs: usize, stride: usize) {
        if inputs != outputs || stride != 1 {
            let divisor = before.map(|divisor| divisor * stride.max(1));
            self.all.push(Convolution { inputs, outputs, kernel: 1, groups: 1, bias: false, divisor });
        }
    }
}
