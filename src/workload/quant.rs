//! Quantization levels and the block encodings that they are stored in.

use crate::units::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The precision that the weights of a model are held in.
///
/// The first five are the levels that sweeps use; the `q*_k` kinds are there because GGUF files come in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quant {
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats (8 exponent bits).
    Bf16,
    /// 16-bit IEEE floats.
    F16,
    /// 8-bit integers with one 16-bit scale for 32 weights (`Q8_0`).
    Int8,
    /// 6-bit integers in blocks of 256 (`Q6_K`).
    #[serde(rename = "q6_k")]
    Q6K,
    /// 5-bit integers in blocks of 256 (`Q5_K`).
    #[serde(rename = "q5_k")]
    Q5K,
    /// 4-bit integers: `Q4_K` where a row is a multiple of 256 long, `Q4_0` where it is a multiple of 32.
    Int4,
    /// 4-bit integers with one 16-bit scale for 32 weights (`Q4_0`), whatever the rows.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 3-bit integers in blocks of 256 (`Q3_K`).
    #[serde(rename = "q3_k")]
    Q3K,
    /// 2-bit integers in blocks of 256 (`Q2_K`).
    #[serde(rename = "q2_k")]
    Q2K,
}

impl Quant {
    /// All levels, from the highest precision to the lowest.
    pub const ALL: [Quant; 10] = [
        Self::F32,
        Self::Bf16,
        Self::F16,
        Self::Int8,
        Self::Q6K,
        Self::Q5K,
        Self::Int4,
        Self::Q4_0,
        Self::Q3K,
        Self::Q2K,
    ];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Q6K => "q6_k",
            Self::Q5K => "q5_k",
            Self::Int4 => "int4",
            Self::Q4_0 => "q4_0",
            Self::Q3K => "q3_k",
            Self::Q2K => "q2_k",
        }
    }

    /// How a matrix whose rows hold `row_len` weights is stored at this level. A row that the blocks of the level
    /// do not divide gets the next larger kind in blocks of 32 (as llama.cpp's quantizer does), and `f16` where
    /// not even those divide it.
    pub fn encoding(self, row_len: usize) -> Encoding {
        let by_256 = row_len.is_multiple_of(256);
        let (large, small) = match self {
            Self::F32 => return Encoding::F32,
            Self::Bf16 => return Encoding::Bf16,
            Self::F16 => return Encoding::F16,
            Self::Int8 => (Encoding::Q8_0, Encoding::Q8_0),
            Self::Q6K => (Encoding::Q6K, Encoding::Q8_0),
            Self::Q5K => (Encoding::Q5K, Encoding::Q5_1),
            Self::Int4 => (Encoding::Q4K, Encoding::Q4_0),
            Self::Q4_0 => (Encoding::Q4_0, Encoding::Q4_0),
            Self::Q3K => (Encoding::Q3K, Encoding::Q4_0),
            Self::Q2K => (Encoding::Q2K, Encoding::Q4_0),
        };
        match row_len.is_multiple_of(32) {
            true if by_256 => large,
            true => small,
            false => Encoding::F16,
        }
    }

    /// The encoding that this level is named after, which every row of a multiple of 256 gets.
    pub fn nominal_encoding(self) -> Encoding {
        self.encoding(256)
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Quant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = match text.trim().to_lowercase().as_str() {
            // What GGUF calls the encodings that these levels are.
            "q8_0" => "int8".to_string(),
            "q4_k" => "int4".to_string(),
            other => other.to_string(),
        };
        Self::ALL.into_iter().find(|q| q.name() == lower).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|q| q.name()).collect();
            format!("`{text}` is not a quantization level; the levels are {}", known.join(", "))
        })
    }
}

/// A storage format for a row of weights: `block_bytes` bytes hold `block_len` weights.
///
/// Source of the block sizes: the GGUF specification (ggml `block_q8_0`, `block_q4_0`, `block_q4_K` and so on).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Encoding {
    F32,
    Bf16,
    F16,
    #[serde(rename = "Q8_0")]
    Q8_0,
    #[serde(rename = "Q6_K")]
    Q6K,
    #[serde(rename = "Q5_K")]
    Q5K,
    #[serde(rename = "Q5_1")]
    Q5_1,
    #[serde(rename = "Q5_0")]
    Q5_0,
    #[serde(rename = "Q4_K")]
    Q4K,
    #[serde(rename = "Q4_1")]
    Q4_1,
    #[serde(rename = "Q4_0")]
    Q4_0,
    #[serde(rename = "Q3_K")]
    Q3K,
    #[serde(rename = "Q2_K")]
    Q2K,
}

impl Encoding {
    /// `(weights in a block, bytes of a block)`.
    pub fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::Bf16 | Self::F16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q6K => (256, 210),
            Self::Q5K => (256, 176),
            Self::Q5_1 => (32, 24),
            Self::Q5_0 => (32, 22),
            Self::Q4K => (256, 144),
            Self::Q4_1 => (32, 20),
            Self::Q4_0 => (32, 18),
            Self::Q3K => (256, 110),
            Self::Q2K => (256, 84),
        }
    }

    /// Bytes of a matrix of `rows` rows of `row_len` weights; a last block that is not full counts whole.
    pub fn matrix_bytes(self, rows: usize, row_len: usize) -> Bytes {
        let (len, bytes) = self.block();
        Bytes(rows as f64 * (row_len.div_ceil(len) * bytes) as f64)
    }

    /// Bits that one weight takes, the scales of its block included.
    pub fn bits_per_weight(self) -> f64 {
        let (len, bytes) = self.block();
        bytes as f64 * 8.0 / len as f64
    }

    /// The quantization level that weights stored like this belong to.
    pub fn quant(self) -> Quant {
        match self {
            Self::F32 => Quant::F32,
            Self::Bf16 => Quant::Bf16,
            Self::F16 => Quant::F16,
            Self::Q8_0 => Quant::Int8,
            Self::Q6K => Quant::Q6K,
            Self::Q5K | Self::Q5_0 | Self::Q5_1 => Quant::Q5K,
            Self::Q4K | Self::Q4_0 | Self::Q4_1 => Quant::Int4,
            Self::Q3K => Quant::Q3K,
            Self::Q2K => Quant::Q2K,
        }
    }

    /// The name that GGUF gives the type.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
            Self::Q6K => "Q6_K",
            Self::Q5K => "Q5_K",
            Self::Q5_1 => "Q5_1",
            Self::Q5_0 => "Q5_0",
            Self::Q4K => "Q4_K",
            Self::Q4_1 => "Q4_1",
            Self::Q4_0 => "Q4_0",
            Self::Q3K => "Q3_K",
            Self::Q2K => "Q2_K",
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for quant in Quant::ALL {
            assert_eq!(quant.name().parse::<Quant>(), Ok(quant));
        }
        assert!("int3".parse::<Quant>().unwrap_err().contains("int8"));
    }

    #[test]
    fn rows_that_no_block_divides_stay_in_f16() {
        assert_eq!(Quant::Int4.encoding(4096), Encoding::Q4K);
        assert_eq!(Quant::Int4.encoding(576), Encoding::Q4_0);
        assert_eq!(Quant::Int4.encoding(172), Encoding::F16);
        assert_eq!(Quant::Int8.encoding(576), Encoding::Q8_0);
    }

    #[test]
    fn four_bits_cost_four_and_a_half() {
        assert_eq!(Encoding::Q4K.bits_per_weight(), 4.5);
        assert_eq!(Encoding::Q4_0.bits_per_weight(), 4.5);
        assert_eq!(Encoding::Q8_0.matrix_bytes(2, 64), Bytes(136.0));
    }
}
