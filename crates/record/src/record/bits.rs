//! Numbers as their bits: text that is read back by another way may be off in the last one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One number.
pub fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    value.to_bits().serialize(to)
}

/// One number.
pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    u64::deserialize(from).map(f64::from_bits)
}

/// One number or none.
pub mod or_none {
    use super::*;

    /// One number or none.
    pub fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        value.map(f64::to_bits).serialize(to)
    }

    /// One number or none.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(f64::from_bits))
    }
}

/// Pairs of numbers.
pub mod pairs {
    use super::*;

    /// Pairs of numbers.
    pub fn serialize<S: Serializer>(values: &[(f64, f64)], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|(a, b)| (a.to_bits(), b.to_bits())))
    }

    /// Pairs of numbers.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(f64, f64)>, D::Error> {
        let pairs = Vec::<(u64, u64)>::deserialize(from)?;
        Ok(pairs.into_iter().map(|(a, b)| (f64::from_bits(a), f64::from_bits(b))).collect())
    }
}
