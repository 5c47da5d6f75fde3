//! The sizes of a model, as presets, records and files of sizes have them. What follows from them is counted in
//! [`super::count`], from the parts that the family makes of them.

use super::convolutional::ConvolutionalShape;
use super::family::{Architecture, Task};
use super::kinds::{LayerKind, LayerKinds};
use super::parts::Parts;
use super::sublayers::{
    AudioShape, ExpertsShape, FullLayersShape, LatentShape, LinearShape, PerLayerShape, StateSpaceShape, is_zero,
    within,
};
use crate::workload::quant::{Encoding, Quant};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest context, and window of attention, that a file may name.
const MOST_CONTEXT: usize = 1 << 27;

/// How rotary positions are stretched beyond the context that a model was first trained on.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor, above 0.
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, a ramp between (Llama 3.1, `rope_type: llama3`).
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are scaled whole.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context length of the first training.
        original_context: usize,
    },
}

/// The images that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// Pixels of a patch's side.
    pub patch: usize,
    /// Pixels of the side of the images that it was trained on; must be a multiple of `patch`.
    pub size: usize,
    /// Colours.
    pub channels: usize,
    /// A token that gathers the patches stands before them.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub class_token: bool,
}

fn yes() -> bool {
    true
}

fn is_true(value: &bool) -> bool {
    *value
}

impl ImageShape {
    /// Tokens of an image of `side` pixels: its patches, and one that gathers them where there is one.
    pub fn tokens(&self, side: usize) -> usize {
        (side / self.patch.max(1)).pow(2) + usize::from(self.class_token)
    }
}

/// The sizes of a transformer: a decoder of the Llama family, or an encoder of texts or images.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelShape {
    /// Which family, for what differs between them.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; fewer than `heads` is grouped-query attention.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Tokens in the vocabulary; of an image classifier, its classes.
    pub vocab_size: usize,
    /// The longest sequence (prompt and output) that the positions allow.
    pub max_context: usize,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Base of the rotary frequencies; 0 where positions are learned.
    pub rope_theta: f64,
    /// Stretching of the rotary positions, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// The output matrix is the token embedding.
    pub tied_embeddings: bool,
    /// Query, key and value have a bias.
    #[serde(default)]
    pub qkv_bias: bool,
    /// Each query and key head has its own RMS norm.
    #[serde(default)]
    pub qk_norm: bool,
    /// Attention reaches back only this many positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_window: Option<usize>,
    /// Which layers are of which kind, where they are not all alike.
    #[serde(default, alias = "full_attention_every", skip_serializing_if = "Option::is_none")]
    pub layer_kinds: Option<LayerKinds>,
    /// Base of the rotary frequencies of the layers with a window, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_rope_theta: Option<f64>,
    /// What products of queries and keys are multiplied by, where it is not one by the root of a head's width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_scale: Option<f64>,
    /// Dimensions of a head that positions turn, where not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotary_dim: Option<usize>,
    /// Feed-forward parts of which each token goes through some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertsShape>,
    /// Keys and values that are made of a small vector of each position.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent: Option<LatentShape>,
    /// Of layers with linear attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub linear: Option<LinearShape>,
    /// Of state-space layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_space: Option<StateSpaceShape>,
    /// Of layers that see everything, where others are narrower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_layers: Option<FullLayersShape>,
    /// Inputs of each layer, and layers that share a cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_layer: Option<PerLayerShape>,
    /// Parameters of encoders beside it that are not described part by part (speech of Gemma 4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<u64>,
    /// Kinds of tokens that the embedding tells apart (BERT), 0 elsewhere.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub token_types: usize,
    /// Images, of models that take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageShape>,
    /// The encoder of images before a model that takes images and tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vision: Option<Box<ModelShape>>,
    /// The encoder of texts beside one of images that shares its embeddings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Box<ModelShape>>,
    /// Width of an embedding, where a matrix behind the last block makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<usize>,
    /// Scores that a text, or a pair of texts, is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<usize>,
    /// The encoder of speech before a model that writes it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioShape>,
    /// The convolutions of a network of them, which has no transformer blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convolutional: Option<ConvolutionalShape>,
    /// Layers of an encoder of images that are given to the model of text beside its last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deepstack: usize,
}

impl ModelShape {
    /// A shape of `architecture` without sizes, and with nothing that a model need not have: what a reader fills in.
    pub fn of(architecture: Architecture) -> Self {
        Self {
            architecture,
            hidden_size: 0,
            intermediate_size: 0,
            layers: 0,
            heads: 0,
            kv_heads: 0,
            head_dim: 0,
            vocab_size: 0,
            max_context: 0,
            norm_eps: 0.0,
            rope_theta: 0.0,
            rope_scaling: None,
            tied_embeddings: false,
            qkv_bias: false,
            qk_norm: false,
            sliding_window: None,
            layer_kinds: None,
            local_rope_theta: None,
            attention_scale: None,
            rotary_dim: None,
            experts: None,
            latent: None,
            linear: None,
            state_space: None,
            full_layers: None,
            per_layer: None,
            beside: None,
            token_types: 0,
            image: None,
            vision: None,
            text: None,
            projection: None,
            labels: None,
            audio: None,
            convolutional: None,
            deepstack: 0,
        }
    }

    /// What it is made of.
    pub fn parts(&self) -> Parts {
        (self.architecture.family().parts)(self)
    }

    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Checks every size against what a real model can be, so that no later arithmetic or allocation can be
    /// driven beyond reason by a file. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        if let Some(convolutional) = &self.convolutional {
            within("vocab_size", self.vocab_size, 1 << 22)?;
            within("image.size", self.image.map_or(0, |image| image.size), 1 << 14)?;
            return convolutional.validate();
        }
        let sizes = [
            ("hidden_size", self.hidden_size, 1 << 17),
            ("intermediate_size", self.intermediate_size, 1 << 20),
            ("layers", self.layers, 1 << 10),
            ("heads", self.heads, 1 << 12),
            ("kv_heads", self.kv_heads, 1 << 12),
            ("head_dim", self.head_dim, 1 << 12),
            ("vocab_size", self.vocab_size, 1 << 22),
            ("max_context", self.max_context, MOST_CONTEXT),
        ];
        for (name, value, most) in sizes {
            if value == 0 || value > most {
                return Err(format!("{name} is {value}; it must be between 1 and {most}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("heads ({}) is not a multiple of kv_heads ({})", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(format!("head_dim is {}; rotary positions need an even width", self.head_dim));
        }
        if !(self.norm_eps > 0.0 && self.norm_eps < 1.0) {
            return Err(format!("norm_eps is {}; it must be between 0 and 1", self.norm_eps));
        }
        if self.is_encoder() {
            return self.validate_encoder();
        }
        if self.audio.is_none() && !(self.rope_theta.is_finite() && self.rope_theta > 1.0) {
            return Err(format!("rope_theta is {}; it must be above 1", self.rope_theta));
        }
        if let Some(window) = self.sliding_window
            && !(1..=MOST_CONTEXT).contains(&window)
        {
            return Err(format!(
                "sliding_window is {window}; it must be between 1 and {MOST_CONTEXT}, or left out for full attention"
            ));
        }
        self.validate_layers()?;
        self.validate_rope_scaling()
    }

    /// Layers that differ, and what only some models have.
    fn validate_layers(&self) -> Result<(), String> {
        if let Some(kinds) = &self.layer_kinds {
            let is_sized = [
                (LayerKind::Window, "sliding_window", self.sliding_window.is_some()),
                (LayerKind::Chunk, "sliding_window", self.sliding_window.is_some()),
                (LayerKind::Linear, "linear", self.linear.is_some()),
                (LayerKind::StateSpace, "state_space", self.state_space.is_some()),
                (LayerKind::Experts, "experts", self.experts.is_some()),
            ];
            if let Some((_, field, _)) = is_sized.iter().find(|(kind, _, is_sized)| kinds.has(*kind) && !is_sized) {
                return Err(format!("layer_kinds is {kinds}, but {field} is missing"));
            }
        }
        if let Some(experts) = &self.experts {
            experts.validate()?;
            if !(0..self.layers).any(|index| experts.is_at(index)) && self.layer_kinds.is_none() {
                return Err(format!(
                    "experts.dense_layers is {} and experts.every {}: none of the {} layers has experts",
                    experts.dense_layers, experts.every, self.layers
                ));
            }
        }
        self.latent.as_ref().map_or(Ok(()), LatentShape::validate)?;
        self.linear.as_ref().map_or(Ok(()), LinearShape::validate)?;
        self.state_space.as_ref().map_or(Ok(()), StateSpaceShape::validate)?;
        self.vision
            .as_ref()
            .map_or(Ok(()), |vision| vision.validate().map_err(|message| format!("vision.{message}")))?;
        self.full_layers.as_ref().map_or(Ok(()), FullLayersShape::validate)?;
        self.per_layer.as_ref().map_or(Ok(()), |per_layer| per_layer.validate(self.layers))?;
        self.audio.as_ref().map_or(Ok(()), AudioShape::validate)?;
        if let Some(rotary) = self.rotary_dim {
            within("rotary_dim", rotary, self.head_dim)?;
        }
        if let Some(theta) = self.local_rope_theta.filter(|theta| !(theta.is_finite() && *theta > 1.0)) {
            return Err(format!("local_rope_theta is {theta}; it must be above 1"));
        }
        match self.attention_scale.filter(|scale| !(scale.is_finite() && *scale > 0.0)) {
            None => Ok(()),
            Some(scale) => Err(format!("attention_scale is {scale}; it must be above 0")),
        }
    }

    /// What it is for.
    pub fn task(&self) -> Task {
        match self.labels {
            Some(_) => Task::Rerank,
            None => self.architecture.task(),
        }
    }

    /// Whether it turns a whole input into one result, without generating tokens.
    pub fn is_encoder(&self) -> bool {
        self.architecture.is_encoder()
    }

    fn validate_encoder(&self) -> Result<(), String> {
        let (hidden, width) = (self.hidden_size, self.q_width());
        if width != hidden || self.kv_heads != self.heads {
            return Err(format!("heads of an encoder are {width} wide together; they must be as wide as hidden_size"));
        }
        if let Some(text) = &self.text {
            text.validate().map_err(|message| format!("text.{message}"))?;
        }
        within("labels", self.labels.unwrap_or(1), 1 << 20)?;
        within("projection", self.projection.unwrap_or(1), 1 << 17)?;
        if self.token_types > 1 << 10 || self.deepstack > self.layers {
            return Err(format!("token_types is {}, deepstack {}; that is too many", self.token_types, self.deepstack));
        }
        let task = self.task();
        let Some(ImageShape { patch, size, channels, .. }) = self.image else {
            // The text beside an encoder of images is described by the same family.
            return if task == Task::ClassifyImage {
                Err("image is missing; an image classifier needs patch, size, channels".into())
            } else {
                Ok(())
            };
        };
        let most = 1 << 14;
        let is_whole = size.is_multiple_of(patch.max(1)) || task != Task::ClassifyImage;
        if !(1..=most).contains(&patch) || !(patch..=most).contains(&size) || !is_whole {
            return Err(format!("image.size is {size}; it must be a multiple of image.patch ({patch})"));
        }
        within("image.channels", channels, 64)
    }

    fn validate_rope_scaling(&self) -> Result<(), String> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(format!("rope_scaling.{name} is {value}; it must be above 0"))
            }
        };
        match self.rope_scaling {
            None => Ok(()),
            Some(RopeScaling::Linear { factor }) => positive("factor", factor),
            Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context }) => {
                positive("factor", factor)?;
                positive("low_freq_factor", low_freq_factor)?;
                positive("original_context", original_context as f64)?;
                // Llama 4 has both alike: nothing is between them.
                if high_freq_factor >= low_freq_factor {
                    Ok(())
                } else {
                    Err(format!(
                        "rope_scaling.high_freq_factor is {high_freq_factor}; it must not be below low_freq_factor \
                         ({low_freq_factor})"
                    ))
                }
            }
        }
    }

    /// What `quant` becomes in the matrices of this model: `(encoding, matrices)`, most frequent first.
    pub fn encodings(&self, quant: Quant) -> Vec<(Encoding, usize)> {
        let mut counts: Vec<(Encoding, usize)> = Vec::new();
        for (_, cols, number) in self.matrices() {
            let encoding = quant.encoding(cols);
            match counts.iter_mut().find(|(known, _)| *known == encoding) {
                Some((_, count)) => *count += number,
                None => counts.push((encoding, number)),
            }
        }
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;
    use crate::workload::CacheType;

    fn tiny() -> ModelShape {
        ModelShape {
            hidden_size: 64,
            intermediate_size: 172,
            layers: 5,
            heads: 8,
            kv_heads: 4,
            head_dim: 8,
            vocab_size: 512,
            max_context: 512,
            norm_eps: 1e-5,
            rope_theta: 10000.0,
            tied_embeddings: true,
            ..ModelShape::of(Architecture::Llama)
        }
    }

    #[test]
    fn counts_follow_from_the_shape() {
        let shape = tiny();
        // 5 x (64x64 + 2 x 32x64 + 64x64 + 3 x 172x64 + 2 x 64) + 512x64 + 64
        assert_eq!(shape.parameters(), 260_032.0);
        assert_eq!(shape.cache_bytes(2, 10, CacheType::F32), Bytes((2 * 5 * 32 * 4 * 2 * 10) as f64));
        assert_eq!(shape.weight_bytes(Quant::F32), Bytes(4.0 * 260_032.0));
        assert_eq!(shape.encodings(Quant::Int4), vec![(Encoding::Q4_0, 31), (Encoding::F16, 5)]);
    }

    #[test]
    fn a_prefill_costs_what_its_decode_steps_cost_but_for_the_logits() {
        let shape = tiny();
        let head = 2.0 * 512.0 * 64.0;
        let steps: f64 = (1..=16).map(|context| shape.decode_ops(1, context) - head).sum();
        assert_eq!(shape.prefill_ops(1, 16), steps + head);
    }

    #[test]
    fn absurd_sizes_are_named() {
        let mut shape = tiny();
        shape.hidden_size = 1 << 40;
        assert!(shape.validate().unwrap_err().starts_with("hidden_size"));
        let mut shape = tiny();
        shape.kv_heads = 3;
        assert!(shape.validate().unwrap_err().contains("multiple of kv_heads"));
        let mut shape = tiny();
        shape.rope_theta = f64::NAN;
        assert!(shape.validate().unwrap_err().starts_with("rope_theta"));
        for window in [0, 1 << 40] {
            let shape = ModelShape { sliding_window: Some(window), ..tiny() };
            assert!(shape.validate().unwrap_err().starts_with("sliding_window"));
        }
    }
}
