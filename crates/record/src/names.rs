//! Names of what can be one of few: each enum has one table of its names (by strum), and one sentence refuses all others.

use strum::VariantArray;

/// The names of all variants, in their order.
pub fn names<T: VariantArray + Copy + Into<&'static str>>() -> Vec<&'static str> {
    T::VARIANTS.iter().map(|variant| (*variant).into()).collect()
}

/// The error of a text that is the name of none.
pub fn none_of<T: VariantArray + Copy + Into<&'static str>>(text: &str) -> String {
    format!("`{text}` is none of {}", names::<T>().join(", "))
}
