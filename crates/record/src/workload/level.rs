//! Quantization levels of other engines: imported and ranked under their own names, with the bits that a weight of theirs
//! takes, and not run here.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

/// What a level's products are computed in, for the rate of a card that bounds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// 32-bit floats.
    F32,
    /// 16-bit brain floats.
    Bf16,
    /// 16-bit floats; weights of fewer bits are widened to them.
    F16,
    /// 8-bit floats.
    Fp8,
    /// 4-bit floats with a scale for a few of them.
    Fp4,
    /// 8-bit integers, activations too.
    Int8,
    /// Something that catalogs have no rate of.
    Unknown,
}

/// A level that has a name and a size, and no kernels here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level {
    /// As it is written; one text for each level, so that levels can be copied.
    name: &'static str,
    /// Millionths of a bit that a weight takes, its share of scales included; 0 where that is not known.
    micro_bits: u32,
}

/// A level of the table: its name, bits of a weight with its share of scales, what it computes in, other names.
type KnownLevel = (&'static str, f64, Arithmetic, &'static [&'static str]);

/// The levels that are known by name.
///
/// Bits of `iq*`, `tq*` and `q*`: bytes of ggml's blocks over their weights (ggml-common.h), and for `iq2_m`, `iq3_xs` and
/// `iq3_m`, which are mixtures, what llama.cpp's quantizer states of them. Of the others, the bits of a number and its share
/// of the scales as the formats are defined: OCP MX has one 8-bit scale for 32 numbers, NVFP4 one for 16; AWQ and GPTQ a
/// 16-bit scale and a zero of the number's size for 128, compressed-tensors' W4A16 the scale alone; bitsandbytes one 32-bit
/// scale for 64. Scales of FP8 and W8A8 (a tensor, a channel, or a block of 128 x 128) add less than 0.02 bits and are not
/// counted. `fp4` without a word more is NVFP4 or MXFP4: the larger of the two.
static KNOWN: [KnownLevel; 38] = [
    (
        "fp8",
        8.0,
        Arithmetic::Fp8,
        &[
            "float8",
            "f8",
            "e4m3",
            "e5m2",
            "fp8-e4m3",
            "fp8-e5m2",
            "f8-e4m3",
            "float8-e4m3fn",
            "float8-e5m2",
            "fp8-dynamic",
            "fp8-w8a8",
            "w8a8-fp8",
            "modelopt-fp8",
            "fbgemm-fp8",
            "ptpc-fp8",
        ],
    ),
    // One scale for the whole matrix, and one for each square of 128 x 128.
    ("fp8_tensor", 8.0, Arithmetic::Fp8, &["fp8-static", "fp8-per-tensor"]),
    ("fp8_block", 8.0, Arithmetic::Fp8, &["fp8-128x128", "fp8-blockwise"]),
    ("mxfp8", 8.25, Arithmetic::Fp8, &[]),
    ("mxfp6", 6.25, Arithmetic::Unknown, &[]),
    ("nvfp4", 4.5, Arithmetic::Fp4, &["modelopt-fp4"]),
    // Weights alone: activations stay in 16 bits.
    ("nvfp4a16", 4.5, Arithmetic::F16, &["nvfp4-w4a16", "w4a16-nvfp4"]),
    ("mxfp4", 4.25, Arithmetic::Fp4, &["mxfp4-moe"]),
    ("fp4", 4.5, Arithmetic::Fp4, &["float4", "f4", "e2m1", "fp4-e2m1"]),
    ("w8a8", 8.0, Arithmetic::Int8, &["int8-w8a8", "w8a8-int8", "smoothquant"]),
    ("w4a8", 4.125, Arithmetic::Unknown, &["w4afp8", "int4-fp8", "qqq"]),
    (
        "w8a16",
        8.125,
        Arithmetic::F16,
        &["int8-w8a16", "w8a16-int8", "gptq-int8", "gptq-8bit", "gptq-w8a16", "awq-int8"],
    ),
    ("w4a16", 4.125, Arithmetic::F16, &["int4-w4a16", "w4a16-int4", "w4a16-g128"]),
    (
        "awq",
        4.15625,
        Arithmetic::F16,
        &["awq-int4", "int4-awq", "awq-4bit", "4bit-awq", "awq-marlin", "awq-w4a16", "w4a16-awq"],
    ),
    (
        "gptq",
        4.15625,
        Arithmetic::F16,
        &["gptq-int4", "int4-gptq", "gptq-4bit", "4bit-gptq", "gptq-marlin", "gptq-w4a16", "w4a16-gptq"],
    ),
    ("gptq-int3", 3.148_437_5, Arithmetic::F16, &["gptq-3bit"]),
    ("gptq-int2", 2.140_625, Arithmetic::F16, &["gptq-2bit"]),
    (
        "bnb-nf4",
        4.5,
        Arithmetic::F16,
        &["nf4", "bnb-4bit", "bnb-int4", "bitsandbytes", "bitsandbytes-4bit", "bitsandbytes-nf4"],
    ),
    ("bnb-fp4", 4.5, Arithmetic::F16, &["bitsandbytes-fp4"]),
    ("bnb-int8", 8.0, Arithmetic::Unknown, &["llm-int8", "bnb-8bit", "bitsandbytes-8bit", "bitsandbytes-int8"]),
    ("q5_1", 6.0, Arithmetic::F16, &[]),
    ("q5_0", 5.5, Arithmetic::F16, &[]),
    ("q4_1", 5.0, Arithmetic::F16, &[]),
    ("iq4_nl", 4.5, Arithmetic::F16, &[]),
    ("iq4_xs", 4.25, Arithmetic::F16, &[]),
    ("iq3_m", 3.66, Arithmetic::F16, &["iq3-s-mix"]),
    ("iq3_s", 3.4375, Arithmetic::F16, &[]),
    ("iq3_xs", 3.3, Arithmetic::F16, &[]),
    ("iq3_xxs", 3.0625, Arithmetic::F16, &[]),
    ("iq2_m", 2.7, Arithmetic::F16, &[]),
    ("iq2_s", 2.5625, Arithmetic::F16, &[]),
    ("iq2_xs", 2.3125, Arithmetic::F16, &[]),
    ("iq2_xxs", 2.0625, Arithmetic::F16, &[]),
    ("tq2_0", 2.0625, Arithmetic::F16, &[]),
    ("iq1_m", 1.75, Arithmetic::F16, &[]),
    ("tq1_0", 1.6875, Arithmetic::F16, &[]),
    ("iq1_s", 1.5625, Arithmetic::F16, &[]),
    ("q1_0", 1.125, Arithmetic::F16, &[]),
];

/// What stands behind the `@` where a file does not say how large its weights are.
const UNKNOWN: &str = "unknown";
/// The longest name of a level that a file may bring.
const LONGEST: usize = 40;
/// The most names that files may bring to one process: they are kept for as long as it runs.
const MOST_NAMES: usize = 4096;
/// The most bits of a weight.
const MOST_BITS: f64 = 64.0;

/// A name in lower case with one kind of dash: files write `FP8_E4M3`, `fp8-e4m3`, `Q4_K - Medium`.
pub(super) fn dashed(name: &str) -> String {
    let lower = name.trim().to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    words.join("-")
}

fn micro(bits: f64) -> u32 {
    // Bits are at most 64 here.
    (bits * 1e6).round() as u32
}

impl Level {
    /// A level that the table has, by one of its names.
    pub fn known(name: &str) -> Option<Self> {
        let dashed = dashed(name);
        let found = KNOWN
            .iter()
            .find(|(name, .., aliases)| name.replace('_', "-") == dashed || aliases.contains(&dashed.as_str()))?;
        Some(Self { name: found.0, micro_bits: micro(found.1) })
    }

    /// A level that no table has, of so many bits a weight where a file says that; `None` where its name could not be
    /// written into a column. It is written `name@4.31`, or `name@unknown`, and reads back as the same.
    pub fn of(name: &str, bits: Option<f64>) -> Option<Self> {
        let lower = name.trim().to_lowercase().replace([' ', '/'], "-");
        let stem = lower.split('@').next().unwrap_or("");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '+');
        let begins = stem.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || stem.len() > LONGEST || !stem.chars().all(plain) {
            return None;
        }
        let bits = bits.filter(|bits| bits.is_finite() && (0.01..=MOST_BITS).contains(bits));
        // As it will be read back.
        let hundredths = bits.map(|bits| (bits * 100.0).round() as u32);
        let size = hundredths.map_or(UNKNOWN.to_string(), |n| format!("{}.{:02}", n / 100, n % 100));
        Some(Self { name: kept(format!("{stem}@{size}"))?, micro_bits: hundredths.map_or(0, |n| n * 10_000) })
    }

    /// Reads what a level is written as; `None` where it is neither in the table nor `name@bits`.
    pub fn read(text: &str) -> Option<Self> {
        match text.rsplit_once('@') {
            None => Self::known(text),
            Some((stem, UNKNOWN)) => Self::of(stem, None),
            Some((stem, bits)) => {
                let bits =
                    bits.parse().ok().filter(|bits: &f64| bits.is_finite() && (0.01..=MOST_BITS).contains(bits))?;
                Self::of(stem, Some(bits))
            }
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Bits that a weight takes, scales included; `None` where no file said.
    pub fn bits_per_weight(self) -> Option<f64> {
        (self.micro_bits > 0).then(|| f64::from(self.micro_bits) / 1e6)
    }

    /// What its products are computed in. What no table has may be anything.
    pub fn arithmetic(self) -> Arithmetic {
        KNOWN
            .iter()
            .find(|(name, ..)| *name == self.name)
            .map_or(Arithmetic::Unknown, |(_, _, arithmetic, _)| *arithmetic)
    }

    /// Whether its checkpoints leave the table of tokens, the output matrix and the scores of experts in 16 bits, as the tools
    /// of vLLM, TensorRT-LLM, GPTQ, AWQ and bitsandbytes do; ggml's quantize them too, and of what no table has nothing is
    /// known.
    pub fn leaves_ends(self) -> bool {
        let is_known = KNOWN.iter().any(|(name, ..)| *name == self.name);
        is_known && !["iq", "tq", "q"].iter().any(|of_ggml| self.name.starts_with(of_ggml))
    }

    /// Whether its checkpoints quantize nothing but experts, where a model has some (gpt-oss's model card).
    pub fn is_of_experts(self) -> bool {
        self.name == "mxfp4"
    }

    /// The names of the table.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().map(|(name, ..)| *name)
    }
}

/// The one copy of a name that is kept for as long as the program runs.
fn kept(name: String) -> Option<&'static str> {
    static NAMES: OnceLock<Mutex<BTreeSet<&'static str>>> = OnceLock::new();
    let names = NAMES.get_or_init(Mutex::default);
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name.as_str()) {
        return Some(known);
    }
    if names.len() >= MOST_NAMES {
        return None;
    }
    let name: &'static str = Box::leak(name.into_boxed_str());
    names.insert(name);
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_known_by_all_their_names() {
        for (text, name, bits) in [
            ("FP8_E4M3", "fp8", 8.0),
            ("fp8-dynamic", "fp8", 8.0),
            ("NVFP4", "nvfp4", 4.5),
            ("MXFP4 MoE", "mxfp4", 4.25),
            ("GPTQ-Int4", "gptq", 4.15625),
            ("awq_marlin", "awq", 4.15625),
            ("bnb-4bit", "bnb-nf4", 4.5),
            ("IQ2_XXS", "iq2_xxs", 2.0625),
            ("iq1-s", "iq1_s", 1.5625),
            ("Q4_1", "q4_1", 5.0),
            ("TQ1_0", "tq1_0", 1.6875),
        ] {
            let level = Level::known(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((level.name(), level.bits_per_weight()), (name, Some(bits)), "{text}");
            assert_eq!(Level::read(level.name()), Some(level));
        }
        assert_eq!(Level::known("int3"), None);
    }

    #[test]
    fn no_name_of_the_table_is_taken_twice() {
        let mut seen = BTreeSet::new();
        for (name, bits, _, aliases) in &KNOWN {
            assert!(seen.insert(name.replace('_', "-")), "{name}");
            assert!(*bits > 0.0 && *bits < 16.0);
            for alias in *aliases {
                assert_eq!(dashed(alias), **alias, "an alias is written with dashes");
                assert!(seen.insert(alias.to_string()), "{alias}");
            }
        }
    }

    #[test]
    fn what_no_table_has_reads_back_as_it_was() {
        for level in [Level::of("UD-Q4_K_XL", Some(4.637)), Level::of("exl2", None), Level::of("x y", Some(0.5))] {
            let level = level.unwrap();
            assert_eq!(Level::read(level.name()), Some(level), "{}", level.name());
        }
        let level = Level::of("UD-Q4_K_XL", Some(4.637)).unwrap();
        assert_eq!((level.name(), level.bits_per_weight()), ("ud-q4_k_xl@4.64", Some(4.64)));
        assert_eq!(Level::of("exl2", None).unwrap().name(), "exl2@unknown");
        assert_eq!(Level::of("exl2", Some(f64::NAN)).unwrap().bits_per_weight(), None);
        for bad in ["", "@4", "\u{1b}[31mred", "a,b", "x".repeat(41).as_str()] {
            assert_eq!(Level::of(bad, None), None, "{bad:?}");
        }
        for bad in ["a@", "a@0", "a@-1", "a@1e9", "a@NaN"] {
            assert_eq!(Level::read(bad), None, "{bad}");
        }
    }
}
