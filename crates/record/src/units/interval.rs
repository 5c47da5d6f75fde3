//! A value with the range that it is in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value in SI units, or a [quantity](super::Quantity) or money, with the ends of its range: `lo <= value <= hi`. An end
/// is of the same kind (`E = T`), or `Option<T>` where it may not be known ([`Estimate`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[schemars(
    rename = "Ranged",
    description = "A value with its 95 % interval; the interval is absent where there are too few requests for one."
)]
pub struct Interval<T = f64, E = T> {
    /// The value.
    pub value: T,
    /// Lower end.
    pub lo: E,
    /// Upper end.
    pub hi: E,
}

/// A value whose range may not be known.
pub type Estimate<T = f64> = Interval<T, Option<T>>;

/// The lesser of the two; what is no number is none of them, as `f64::min` has it.
fn least<T: PartialOrd>(a: T, b: T) -> T {
    if b < a || a.partial_cmp(&a).is_none() { b } else { a }
}

/// The greater of the two.
fn most<T: PartialOrd>(a: T, b: T) -> T {
    if b > a || a.partial_cmp(&a).is_none() { b } else { a }
}

impl<T: Copy> Interval<T> {
    /// A value that is known.
    pub const fn exact(value: T) -> Self {
        Self { value, lo: value, hi: value }
    }
}

impl<T: Copy + PartialOrd> Interval<T> {
    /// An interval whose ends are put in order and made to hold the value.
    pub fn new(value: T, lo: T, hi: T) -> Self {
        Self { value, lo: least(least(lo, hi), value), hi: most(most(hi, lo), value) }
    }

    /// Both ends and the value through an increasing function.
    pub fn map<U: Copy + PartialOrd>(self, f: impl Fn(T) -> U) -> Interval<U> {
        Interval::new(f(self.value), f(self.lo), f(self.hi))
    }

    /// Whether the two have a value in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }
}

impl Interval {
    /// The sum of two quantities whose errors go together.
    pub fn plus(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.lo + other.lo, self.hi + other.hi)
    }

    /// `amount / self`, for a self above 0.
    pub fn under(self, amount: f64) -> Self {
        Self::new(amount / self.value, amount / self.hi, amount / self.lo)
    }

    /// Half the width on a logarithmic scale: for narrow ones, as a share.
    pub fn half_width(&self) -> f64 {
        (self.hi / self.lo).ln() / 2.0
    }
}

impl<T: Copy> Estimate<T> {
    /// A value of which no range is known.
    pub const fn bare(value: T) -> Self {
        Self { value, lo: None, hi: None }
    }

    /// The interval, an end that is not known being the value itself.
    pub fn closed(self) -> Interval<T> {
        Interval { value: self.value, lo: self.lo.unwrap_or(self.value), hi: self.hi.unwrap_or(self.value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_number_is_passed_over_as_floats_do() {
        let odd = Interval::new(1.0, f64::NAN, 2.0);
        assert_eq!((odd.lo, odd.hi), (1.0, 2.0));
        assert_eq!(Estimate { value: 1.0, lo: None, hi: Some(3.0) }.closed(), Interval::new(1.0, 1.0, 3.0));
    }

    proptest! {
        #[test]
        fn no_operation_inverts_an_interval(value in 1e-3f64..1e3, down in 1.0f64..10.0, up in 1.0f64..10.0) {
            let interval = Interval::new(value, value / down, value * up);
            for result in [interval, interval.map(|v| v * 2.0), interval.under(7.0), interval.plus(interval)] {
                prop_assert!(result.lo <= result.value && result.value <= result.hi);
            }
            prop_assert!((interval.under(1.0).under(1.0).value / value - 1.0).abs() < 1e-12);
        }

        #[test]
        fn ends_are_those_of_floats(value in -1e3f64..1e3, one in -1e3f64..1e3, other in -1e3f64..1e3) {
            let interval = Interval::new(value, one, other);
            prop_assert_eq!(interval.lo, one.min(other).min(value));
            prop_assert_eq!(interval.hi, other.max(one).max(value));
        }
    }
}
