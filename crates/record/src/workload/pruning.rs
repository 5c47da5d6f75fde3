//! Which weights of a model are set to zero, and what a pruned matrix takes where its zeros are left out.

use super::quant::Encoding;
use crate::units::Bytes;
use std::fmt;
use std::str::FromStr;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// By what the weights to drop are chosen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "lowercase", ascii_case_insensitive)]
pub enum Method {
    /// The smallest of each matrix (Han et al., arXiv 1506.02626), or of each group of a pattern.
    Magnitude,
    /// The smallest products of weight and the norm of the activation that it multiplies, for each output by itself
    /// (Wanda; Sun et al., arXiv 2306.11695).
    Wanda,
}

/// How many weights are dropped, and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sparsity {
    /// This share, wherever they are.
    Share(f64),
    /// All but `keep` of every `of` neighbours in a row.
    Pattern {
        /// Weights that stay.
        keep: usize,
        /// Neighbours.
        of: usize,
    },
}

impl Sparsity {
    /// The share that is dropped.
    pub fn share(self) -> f64 {
        match self {
            Self::Share(share) => share,
            Self::Pattern { keep, of } => 1.0 - keep as f64 / of as f64,
        }
    }
}

/// A way to prune, written `wanda:0.5` or `magnitude:2:4`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pruning {
    /// By what.
    pub method: Method,
    /// How many.
    pub sparsity: Sparsity,
}

impl fmt::Display for Pruning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method;
        match self.sparsity {
            Sparsity::Share(share) => write!(f, "{method}:{share}"),
            Sparsity::Pattern { keep, of } => write!(f, "{method}:{keep}:{of}"),
        }
    }
}

impl FromStr for Pruning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("`{text}`: {what}; a pruning is METHOD:SHARE or METHOD:KEEP:OF, such as wanda:0.5 or magnitude:2:4")
        };
        let (method, sparsity) = text.trim().split_once(':').ok_or_else(|| wrong("there is no share"))?;
        let method: Method = method.parse().map_err(|_| wrong("the methods are magnitude and wanda"))?;
        let sparsity = match sparsity.split_once(':') {
            None => {
                let share = sparsity.parse().map_err(|_| wrong("the share is not a number"))?;
                if !(share > 0.0 && share < 1.0) {
                    return Err(wrong("the share is not between 0 and 1"));
                }
                Sparsity::Share(share)
            }
            Some((keep, of)) => {
                let number = |text: &str| text.parse::<usize>().map_err(|_| wrong("a pattern is of two whole numbers"));
                let (keep, of) = (number(keep)?, number(of)?);
                if keep == 0 || keep >= of || of > 64 {
                    return Err(wrong("a pattern keeps at least one, and fewer than all, of at most 64"));
                }
                Sparsity::Pattern { keep, of }
            }
        };
        Ok(Self { method, sparsity })
    }
}

/// Bytes of `weights` numbers of which `zeros` are zero, stored as those that are not and one bit for each (the form
/// that compressed-tensors calls sparse-bitmask; a 2:4 pattern takes the same, as two bits for each of two kept). Blocks
/// of quantized weights cannot leave zeros out.
pub fn stored_bytes(weights: f64, zeros: f64, encoding: Encoding) -> Bytes {
    let (block, bytes) = encoding.block();
    let each = bytes as f64 / block as f64;
    Bytes(if block > 1 { weights * each } else { ((weights - zeros) * each + weights / 8.0).min(weights * each) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pruning_reads_back_and_a_wrong_one_says_how_it_is_written() {
        for text in ["wanda:0.5", "magnitude:0.25", "wanda:2:4", "magnitude:4:8"] {
            assert_eq!(text.parse::<Pruning>().unwrap().to_string(), text);
        }
        for text in [
            "wanda",
            "wanda:1",
            "wanda:0",
            "wanda:x",
            "sparsegpt:0.5",
            "wanda:4:4",
            "wanda:0:4",
            "wanda:2:",
            "wanda:nan",
        ] {
            let error = text.parse::<Pruning>().unwrap_err();
            assert!(error.contains("magnitude:2:4"), "{error}");
        }
        assert_eq!("wanda:2:4".parse::<Pruning>().unwrap().sparsity.share(), 0.5);
    }

    #[test]
    fn half_of_16_bit_weights_takes_nine_sixteenths() {
        assert_eq!(stored_bytes(64.0, 32.0, Encoding::F16), Bytes(64.0 * 2.0 * 9.0 / 16.0));
        assert_eq!(stored_bytes(64.0, 0.0, Encoding::F16), Bytes(128.0));
        assert_eq!(stored_bytes(64.0, 32.0, Encoding::Q8_0), Bytes(68.0));
    }
}
