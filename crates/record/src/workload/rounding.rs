//! How levels of other engines round weights and activations, so that what that costs in answers can be seen without owning a
//! card that computes in them: the quality of a level is that of its rounded numbers, computed exactly.

use super::Quant;

/// What a number is rounded to, with the scale of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberFormat {
    /// 8-bit floats with 4 bits of exponent, without infinity: up to 448 (OCP OFP8).
    E4M3,
    /// 8-bit integers, -127 to 127.
    Int8,
    /// 4-bit integers, -8 to 7.
    Int4,
    /// 4-bit integers from the least of a group to its greatest.
    Int4WithZero,
    /// The 16 quantiles of a normal distribution (QLoRA, arXiv 2305.14314).
    Nf4,
    /// 4-bit floats with a power of two as their scale (OCP MX).
    Mxfp4,
    /// 4-bit floats with a scale in E4M3, and one for all of them.
    Nvfp4,
}

/// Which numbers share a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScaleGroup {
    /// All of the tensor.
    Tensor,
    /// A row: an output of a matrix, or a position of activations.
    Row,
    /// So many beside each other in a row.
    Numbers(usize),
    /// Squares of so many rows and columns of a matrix.
    Square(usize),
}

/// A rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rounding {
    /// What numbers become.
    pub format: NumberFormat,
    /// Which share a scale.
    pub group: ScaleGroup,
}

/// What a level does to the products of a model's blocks. Embeddings, norms and the output matrix stay as they are, as the
/// tools that make such checkpoints leave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    /// Of weights.
    pub weights: Rounding,
    /// Of what is multiplied with them; `None` where that stays in 16 bits or more.
    pub activations: Option<Rounding>,
}

/// Numbers of a group of GPTQ, AWQ and compressed-tensors.
const GROUP: usize = 128;

/// Levels and their schemes. Activations are scaled as they come ("dynamic"); checkpoints of GPTQ and AWQ choose weights by
/// calibration, which loses less than the nearest that is taken here.
const SCHEMES: [(&str, Scheme); 12] = [
    ("fp8", scheme((NumberFormat::E4M3, ScaleGroup::Row), Some((NumberFormat::E4M3, ScaleGroup::Row)))),
    ("fp8_tensor", scheme((NumberFormat::E4M3, ScaleGroup::Tensor), Some((NumberFormat::E4M3, ScaleGroup::Tensor)))),
    (
        "fp8_block",
        scheme((NumberFormat::E4M3, ScaleGroup::Square(GROUP)), Some((NumberFormat::E4M3, ScaleGroup::Numbers(GROUP)))),
    ),
    ("w8a8", scheme((NumberFormat::Int8, ScaleGroup::Row), Some((NumberFormat::Int8, ScaleGroup::Row)))),
    ("w8a16", scheme((NumberFormat::Int8, ScaleGroup::Numbers(GROUP)), None)),
    ("w4a16", scheme((NumberFormat::Int4, ScaleGroup::Numbers(GROUP)), None)),
    ("awq", scheme((NumberFormat::Int4WithZero, ScaleGroup::Numbers(GROUP)), None)),
    ("gptq", scheme((NumberFormat::Int4WithZero, ScaleGroup::Numbers(GROUP)), None)),
    ("bnb-nf4", scheme((NumberFormat::Nf4, ScaleGroup::Numbers(64)), None)),
    ("mxfp4", scheme((NumberFormat::Mxfp4, ScaleGroup::Numbers(32)), None)),
    ("nvfp4a16", scheme((NumberFormat::Nvfp4, ScaleGroup::Numbers(16)), None)),
    (
        "nvfp4",
        scheme((NumberFormat::Nvfp4, ScaleGroup::Numbers(16)), Some((NumberFormat::Nvfp4, ScaleGroup::Numbers(16)))),
    ),
];

const fn scheme(weights: (NumberFormat, ScaleGroup), activations: Option<(NumberFormat, ScaleGroup)>) -> Scheme {
    let activations = match activations {
        Some((format, group)) => Some(Rounding { format, group }),
        None => None,
    };
    Scheme { weights: Rounding { format: weights.0, group: weights.1 }, activations }
}

impl Quant {
    /// How the level rounds, where it is one of another engine whose rounding is known.
    pub fn scheme(self) -> Option<Scheme> {
        SCHEMES.iter().find(|(name, _)| *name == self.name()).map(|(_, scheme)| *scheme)
    }

    /// The levels whose rounding is known.
    pub fn simulated() -> impl Iterator<Item = &'static str> {
        SCHEMES.iter().map(|(name, _)| *name)
    }

    /// Reads a level whose answers can be had here: one that runs, or one that rounds in a known way.
    pub fn parse_answering(text: &str) -> Result<Self, String> {
        let quant: Self = text.parse()?;
        if quant.scheme().is_some() {
            return Ok(quant);
        }
        quant.runnable().map_err(|why| {
            let simulated: Vec<&str> = Self::simulated().collect();
            format!("{why}; the answers of {} are had by rounding as they do", simulated.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scheme_is_of_a_level() {
        for name in Quant::simulated() {
            let quant: Quant = name.parse().unwrap();
            assert_eq!(quant.name(), name);
            assert!(quant.scheme().is_some() && !quant.is_runnable() && Quant::parse_answering(name) == Ok(quant));
        }
        assert_eq!(Quant::parse_answering("int8"), Ok(Quant::Int8));
        assert!(Quant::Int8.scheme().is_none());
        let message = Quant::parse_answering("iq2_xs").unwrap_err();
        assert!(message.contains("not run") && message.contains("nvfp4"), "{message}");
    }
}
