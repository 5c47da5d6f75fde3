//! Sizes of what is not in every model: mixtures of experts, latent attention, and layers with a state in place of a cache.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A mixture of feed-forward parts, of which each token goes through some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertsShape {
    /// How many there are.
    pub count: usize,
    /// How many each token goes through.
    pub active: usize,
    /// Width of one.
    pub width: usize,
    /// Width of those that every token goes through, together; 0 without.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared_width: usize,
    /// What the shared ones make is weighed by a gate of the token.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared_gate: bool,
    /// So many layers from the first have a plain feed-forward part instead.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dense_layers: usize,
    /// Of so many layers only the last has experts; 1 is every layer.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub every: usize,
}

impl ExpertsShape {
    /// Whether the layer at `index` has experts.
    pub fn is_at(&self, index: usize) -> bool {
        index >= self.dense_layers && (index + 1).is_multiple_of(self.every.max(1))
    }

    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        within("experts.count", self.count, 1 << 16)?;
        within("experts.active", self.active, self.count)?;
        within("experts.width", self.width, 1 << 20)?;
        within("experts.every", self.every, 1 << 10)?;
        at_most("experts.shared_width", self.shared_width, 1 << 20)?;
        at_most("experts.dense_layers", self.dense_layers, 1 << 10)
    }
}

/// Latent attention: keys and values of all heads are made of one small vector of each position, which is what the cache holds
/// (DeepSeek-V2, arXiv 2405.04434).
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentShape {
    /// Width of what queries are made of; absent where they are made of the hidden state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_rank: Option<usize>,
    /// Width of what keys and values are made of.
    pub key_value_rank: usize,
    /// Width of a head's query and key that positions do not turn.
    pub plain_dim: usize,
    /// Width of a head's query, and of the one key of all heads, that positions turn.
    pub rotary_dim: usize,
    /// Width of a head's value.
    pub value_dim: usize,
    /// Chooses the positions that are attended to, where not all are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexShape>,
}

impl LatentShape {
    /// Width of a head's query.
    pub fn query_dim(&self) -> usize {
        self.plain_dim + self.rotary_dim
    }

    /// Numbers of a position in the cache.
    pub fn cached(&self) -> usize {
        self.key_value_rank + self.rotary_dim
    }

    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        within("latent.query_rank", self.query_rank.unwrap_or(1), 1 << 17)?;
        within("latent.key_value_rank", self.key_value_rank, 1 << 17)?;
        within("latent.plain_dim", self.plain_dim, 1 << 12)?;
        within("latent.rotary_dim", self.rotary_dim, 1 << 12)?;
        within("latent.value_dim", self.value_dim, 1 << 12)?;
        let Some(index) = self.index else { return Ok(()) };
        within("latent.index.heads", index.heads, 1 << 12)?;
        within("latent.index.head_dim", index.head_dim, 1 << 12)?;
        within("latent.index.positions", index.positions, 1 << 27)
    }
}

/// What chooses the positions that latent attention goes over (DeepSeek-V3.2): a small attention of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexShape {
    /// Its query heads; there is one key of all.
    pub heads: usize,
    /// Width of one.
    pub head_dim: usize,
    /// How many positions it chooses.
    pub positions: usize,
}

/// Linear attention with a gated delta rule (Qwen3-Next; arXiv 2412.06464): each value head keeps a matrix of
/// `key_dim x value_dim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearShape {
    /// Heads of queries and keys.
    pub key_heads: usize,
    /// Heads of values.
    pub value_heads: usize,
    /// Width of a head of keys.
    pub key_dim: usize,
    /// Width of a head of values.
    pub value_dim: usize,
    /// Positions that the convolution before it reaches over.
    pub convolution: usize,
}

impl LinearShape {
    /// Width of all queries, or of all keys.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.key_dim
    }

    /// Width of all values.
    pub fn value_width(&self) -> usize {
        self.value_heads * self.value_dim
    }

    /// Channels of the convolution: queries, keys and values.
    pub fn channels(&self) -> usize {
        2 * self.key_width() + self.value_width()
    }

    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        within("linear.key_heads", self.key_heads, 1 << 12)?;
        within("linear.value_heads", self.value_heads, 1 << 12)?;
        within("linear.key_dim", self.key_dim, 1 << 12)?;
        within("linear.value_dim", self.value_dim, 1 << 12)?;
        within("linear.convolution", self.convolution, 64)
    }
}

/// A state-space layer (Mamba 2, arXiv 2405.21060): each head keeps a matrix of `head_dim x state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpaceShape {
    /// Heads.
    pub heads: usize,
    /// Width of one.
    pub head_dim: usize,
    /// Groups of heads that share what goes into the state and what reads it.
    pub groups: usize,
    /// Numbers of the state for each of a head.
    pub state: usize,
    /// Positions that the convolution before it reaches over.
    pub convolution: usize,
}

impl StateSpaceShape {
    /// Width of all heads.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels of the convolution.
    pub fn channels(&self) -> usize {
        self.width() + 2 * self.groups * self.state
    }

    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        within("state_space.heads", self.heads, 1 << 14)?;
        within("state_space.head_dim", self.head_dim, 1 << 12)?;
        within("state_space.groups", self.groups, self.heads)?;
        within("state_space.state", self.state, 1 << 12)?;
        within("state_space.convolution", self.convolution, 64)
    }
}

/// Layers that see everything, where they are wider than those with a window (Gemma 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullLayersShape {
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Values are the keys: there is no matrix for them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub values_are_keys: bool,
}

impl FullLayersShape {
    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        within("full_layers.kv_heads", self.kv_heads, 1 << 12)?;
        within("full_layers.head_dim", self.head_dim, 1 << 12)
    }
}

/// What makes a model smaller in memory than its parameters: a table of inputs for each layer, and layers that use the keys and
/// values of one before (Gemma 3n, Gemma 4 E2B and E4B).
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerLayerShape {
    /// Numbers that each layer looks up for a token; 0 without.
    pub width: usize,
    /// So many of the last layers have no keys and values of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared_cache_layers: usize,
    /// Feed-forward parts of those layers are so many times as wide.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub shared_widening: usize,
}

impl PerLayerShape {
    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self, layers: usize) -> Result<(), String> {
        at_most("per_layer.width", self.width, 1 << 14)?;
        at_most("per_layer.shared_cache_layers", self.shared_cache_layers, layers)?;
        within("per_layer.shared_widening", self.shared_widening, 16)
    }
}

/// An encoder of speech.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudioShape {
    /// Blocks.
    pub layers: usize,
    /// Heads.
    pub heads: usize,
    /// Width of its feed-forward part.
    pub width: usize,
    /// Bands of frequency of a recording.
    pub bands: usize,
    /// Positions of a recording of full length.
    pub positions: usize,
}

impl AudioShape {
    /// Checks what a file may have said. The error names the field.
    pub fn validate(&self) -> Result<(), String> {
        within("audio.layers", self.layers, 1 << 10)?;
        within("audio.heads", self.heads, 1 << 12)?;
        within("audio.width", self.width, 1 << 20)?;
        within("audio.bands", self.bands, 1 << 12)?;
        within("audio.positions", self.positions, 1 << 20)
    }
}

/// That a size is between 1 and `most`.
pub(super) fn within(name: &str, value: usize, most: usize) -> Result<(), String> {
    if (1..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{name} is {value}; it must be between 1 and {most}"))
    }
}

/// That a size is no larger than `most`.
fn at_most(name: &str, value: usize, most: usize) -> Result<(), String> {
    if value <= most { Ok(()) } else { Err(format!("{name} is {value}; it must be at most {most}")) }
}

pub(super) fn is_zero(value: &usize) -> bool {
    *value == 0
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}

fn one() -> usize {
    1
}

fn is_one(value: &usize) -> bool {
    *value == 1
}
