//! Quantization levels and the block encodings that they are stored in.

use super::level::{Arithmetic, Level, dashed};
use crate::units::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use strum::{Display, IntoStaticStr, VariantArray};

/// The precision that the weights of a model are held in.
///
/// The first five are the levels that sweeps use; the `q*_k` kinds are there because GGUF files come in them. The last is
/// every other level that people measure elsewhere: it can be imported, priced and ranked, and not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    Q6K,
    /// 5-bit integers in blocks of 256 (`Q5_K`).
    Q5K,
    /// 4-bit integers: `Q4_K` where a row is a multiple of 256 long, `Q4_0` where it is a multiple of 32.
    Int4,
    /// 4-bit integers with one 16-bit scale for 32 weights (`Q4_0`), whatever the rows.
    Q4_0,
    /// 3-bit integers in blocks of 256 (`Q3_K`).
    Q3K,
    /// 2-bit integers in blocks of 256 (`Q2_K`).
    Q2K,
    /// A level of another engine, by its name.
    Named(Level),
}

impl Quant {
    /// All levels that can be run here, from the highest precision to the lowest.
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
            Self::Named(level) => level.name(),
        }
    }

    /// Whether there are kernels for it here.
    pub fn is_runnable(self) -> bool {
        !matches!(self, Self::Named(_))
    }

    /// The level, if it can be run here; the error says what can be done with it instead.
    pub fn runnable(self) -> Result<Self, String> {
        if self.is_runnable() {
            return Ok(self);
        }
        let known: Vec<_> = Self::ALL.iter().map(|q| q.name()).collect();
        Err(format!(
            "{self} can be imported and ranked, not run: the engine has no kernels for it; it has those of {}",
            known.join(", ")
        ))
    }

    /// Reads a level that can be run here, for options and files that say what to run.
    pub fn parse_runnable(text: &str) -> Result<Self, String> {
        text.parse::<Self>()?.runnable()
    }

    /// The level that another tool's word for one stands for: a known one by any of its names, else one of that name and,
    /// where the file says them, so many bits a weight. `None` where the word could not be a name.
    pub fn of_file(name: &str, bits: Option<f64>) -> Option<Self> {
        name.parse().ok().or_else(|| Level::of(name, bits).map(Self::Named))
    }

    /// Bits that a weight takes in rows that the blocks of the level divide, scales included; `None` of a level whose file
    /// did not say.
    pub fn bits_per_weight(self) -> Option<f64> {
        match self {
            Self::Named(level) => level.bits_per_weight(),
            quant => Some(quant.nominal_encoding().bits_per_weight()),
        }
    }

    /// What its products are computed in at best. Blocks of integers are widened to 16 bits.
    pub fn arithmetic(self) -> Arithmetic {
        match self {
            Self::F32 => Arithmetic::F32,
            Self::Bf16 => Arithmetic::Bf16,
            Self::Named(level) => level.arithmetic(),
            _ => Arithmetic::F16,
        }
    }

    /// Bytes of a matrix of `rows` rows of `row_len` weights. Of a level whose size no file said, as many as 16 bits a
    /// weight take: no quantized one takes more.
    pub fn matrix_bytes(self, rows: usize, row_len: usize) -> Bytes {
        match self {
            Self::Named(level) => {
                let bits = level.bits_per_weight().unwrap_or(16.0);
                Bytes(rows as f64 * row_len as f64 * bits / 8.0)
            }
            quant => quant.encoding(row_len).matrix_bytes(rows, row_len),
        }
    }

    /// How a matrix whose rows hold `row_len` weights is stored at this level. A row that the blocks of the level
    /// do not divide gets the next larger kind in blocks of 32 (as llama.cpp's quantizer does), and `f16` where
    /// not even those divide it. Levels that are not run here are never stored here either: theirs is `f16`, as which
    /// nothing takes it, since no engine is asked for them ([`Self::runnable`]).
    pub fn encoding(self, row_len: usize) -> Encoding {
        let by_256 = row_len.is_multiple_of(256);
        let (large, small) = match self {
            Self::F32 => return Encoding::F32,
            Self::Bf16 => return Encoding::Bf16,
            Self::F16 | Self::Named(_) => return Encoding::F16,
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
        let dashed = dashed(text);
        let name = match dashed.as_str() {
            "fp32" | "float32" | "float" => "f32",
            "bfloat16" => "bf16",
            "fp16" | "float16" | "half" => "f16",
            // What GGUF calls the encodings that these levels are, and the mixtures that llama.cpp makes around them.
            "q8-0" => "int8",
            "q6-k" => "q6_k",
            "q5-k" | "q5-k-s" | "q5-k-m" | "q5-k-l" => "q5_k",
            "q4-k" | "q4-k-s" | "q4-k-m" | "q4-k-l" => "int4",
            "q4-0" => "q4_0",
            "q3-k" | "q3-k-s" | "q3-k-m" | "q3-k-l" => "q3_k",
            "q2-k" | "q2-k-s" | "q2-k-l" => "q2_k",
            other => other,
        };
        let own = Self::ALL.into_iter().find(|q| q.name() == name);
        own.or_else(|| Level::read(text.trim()).map(Self::Named)).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|q| q.name()).collect();
            let imported: Vec<_> = Level::names().collect();
            format!(
                "`{text}` is not a quantization level; the levels are {}, and of what is imported {}, or name@bits such as \
                 exl2@4.25",
                known.join(", "),
                imported.join(", ")
            )
        })
    }
}

impl Quant {
    /// From the highest precision to the lowest, those of unknown size last; of the same size, the order of the list and of
    /// names.
    fn order(self) -> (std::cmp::Reverse<u64>, usize, &'static str) {
        let bits = self.bits_per_weight().map_or(0, |bits| (bits * 1e6) as u64);
        let place = Self::ALL.iter().position(|quant| *quant == self).unwrap_or(Self::ALL.len());
        (std::cmp::Reverse(bits), place, self.name())
    }
}

impl PartialOrd for Quant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quant {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl Serialize for Quant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Quant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Quant {
    fn schema_name() -> Cow<'static, str> {
        "Quant".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let own: Vec<&str> = Self::ALL.iter().map(|quant| quant.name()).collect();
        let imported: Vec<&str> = Level::names().collect();
        json_schema!({
            "description": "The precision that the weights of a model are held in: a level that can be run, one that is \
                only imported, or the name of another one with its bits a weight behind an @ (`unknown` where no file \
                said them).",
            "anyOf": [
                { "type": "string", "enum": own },
                { "type": "string", "enum": imported },
                { "type": "string", "pattern": "^[a-z0-9][a-z0-9_.+-]*@([0-9]+[.][0-9][0-9]|unknown)$" }
            ]
        })
    }
}

/// A storage format for a row of weights: `block_bytes` bytes hold `block_len` weights.
///
/// Source of the block sizes: the GGUF specification (ggml `block_q8_0`, `block_q4_0`, `block_q4_K` and so on).
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    IntoStaticStr,
    VariantArray,
)]
#[allow(missing_docs)]
pub enum Encoding {
    F32,
    #[strum(serialize = "BF16")]
    Bf16,
    F16,
    #[serde(rename = "Q8_0")]
    Q8_0,
    #[serde(rename = "Q6_K")]
    #[strum(serialize = "Q6_K")]
    Q6K,
    #[serde(rename = "Q5_K")]
    #[strum(serialize = "Q5_K")]
    Q5K,
    #[serde(rename = "Q5_1")]
    Q5_1,
    #[serde(rename = "Q5_0")]
    Q5_0,
    #[serde(rename = "Q4_K")]
    #[strum(serialize = "Q4_K")]
    Q4K,
    #[serde(rename = "Q4_1")]
    Q4_1,
    #[serde(rename = "Q4_0")]
    Q4_0,
    #[serde(rename = "Q3_K")]
    #[strum(serialize = "Q3_K")]
    Q3K,
    #[serde(rename = "Q2_K")]
    #[strum(serialize = "Q2_K")]
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
        self.into()
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
    fn levels_of_others_have_a_size_and_no_kernels() {
        for (text, name, bits) in [
            ("FP8", "fp8", 8.0),
            ("Q4_K_M", "int4", 4.5),
            ("BFloat16", "bf16", 16.0),
            ("ud-q4_k_xl@4.64", "ud-q4_k_xl@4.64", 4.64),
        ] {
            let quant: Quant = text.parse().unwrap();
            assert_eq!((quant.name(), quant.bits_per_weight()), (name, Some(bits)));
            let json = serde_json::to_string(&quant).unwrap();
            assert_eq!(serde_json::from_str::<Quant>(&json).unwrap(), quant);
        }
        let fp8: Quant = "fp8".parse().unwrap();
        assert_eq!(fp8.matrix_bytes(2, 100), Bytes(200.0));
        assert!(fp8.runnable().unwrap_err().contains("imported and ranked, not run"));
        assert!(Quant::parse_runnable("nvfp4").is_err() && Quant::parse_runnable("int8") == Ok(Quant::Int8));
        let unknown = Quant::of_file("exl2", None).unwrap();
        assert_eq!((unknown.bits_per_weight(), unknown.matrix_bytes(1, 8)), (None, Bytes(16.0)));
    }

    #[test]
    fn levels_are_in_the_order_of_their_bits() {
        let mut sorted = Quant::ALL;
        sorted.sort();
        assert_eq!(sorted, Quant::ALL);
        let of = |text: &str| text.parse::<Quant>().unwrap();
        let mut mixed = [of("nvfp4"), of("x@unknown"), of("iq1_s"), of("fp8"), Quant::Int8, Quant::Bf16, Quant::Int4];
        mixed.sort();
        let names: Vec<&str> = mixed.iter().map(|quant| quant.name()).collect();
        assert_eq!(names, ["bf16", "int8", "fp8", "int4", "nvfp4", "iq1_s", "x@unknown"]);
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
