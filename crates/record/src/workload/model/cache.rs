//! Precision of a key-value cache.

use crate::workload::quant::Quant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How keys and values are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// Bytes with a scale for each position and head.
    Int8,
}

impl CacheType {
    /// All, the largest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// What the command line and records call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// What engines keep where nobody names one: 16 bits, and 32 beside weights in 32.
    pub fn usual(quant: Quant) -> Self {
        if quant == Quant::F32 { Self::F32 } else { Self::F16 }
    }

    /// Bytes of one number, scales not counted.
    pub fn element_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Int8 => 1,
        }
    }

    /// Bytes of the scales beside each key or value of a position and head.
    pub fn scale_bytes(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 0,
            Self::Int8 => 4,
        }
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CacheType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text.trim().to_lowercase())
            .ok_or_else(|| format!("`{text}` is not a precision of a key-value cache; there are f32, f16 and int8"))
    }
}
