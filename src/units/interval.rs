//! A value with the range that it is in.

use serde::Serialize;

/// `lo <= value <= hi`, in SI units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The point.
    pub value: f64,
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

impl Interval {
    /// An interval whose ends are put in order and made to hold the value.
    pub fn new(value: f64, lo: f64, hi: f64) -> Self {
        Self { value, lo: lo.min(hi).min(value), hi: hi.max(lo).max(value) }
    }

    /// A value that is known.
    pub fn exact(value: f64) -> Self {
        Self { value, lo: value, hi: value }
    }

    /// Both ends and the value through an increasing function.
    pub fn map(self, f: impl Fn(f64) -> f64) -> Self {
        Self::new(f(self.value), f(self.lo), f(self.hi))
    }

    /// The sum of two quantities whose errors go together.
    pub fn plus(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.lo + other.lo, self.hi + other.hi)
    }

    /// `amount / self`, for a self above 0.
    pub fn under(self, amount: f64) -> Self {
        Self::new(amount / self.value, amount / self.hi, amount / self.lo)
    }

    /// Whether the two have a value in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_operation_inverts_an_interval(value in 1e-3f64..1e3, down in 1.0f64..10.0, up in 1.0f64..10.0) {
            let interval = Interval::new(value, value / down, value * up);
            for result in [interval, interval.map(|v| v * 2.0), interval.under(7.0), interval.plus(interval)] {
                prop_assert!(result.lo <= result.value && result.value <= result.hi);
            }
            prop_assert!((interval.under(1.0).under(1.0).value / value - 1.0).abs() < 1e-12);
        }
    }
}
