//! Money with the range that it is in.

use crate::units::Usd;
use crate::units::interval::Interval;
use rust_decimal::Decimal;
use serde::Serialize;

/// `lo <= value <= hi`, each an exact decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CostInterval {
    /// The point.
    pub value: Usd,
    /// Lower end.
    pub lo: Usd,
    /// Upper end.
    pub hi: Usd,
}

impl CostInterval {
    /// Nothing.
    pub const ZERO: Self = Self::exact(Usd(Decimal::ZERO));

    /// An amount that is known.
    pub const fn exact(value: Usd) -> Self {
        Self { value, lo: value, hi: value }
    }

    /// Ends are put in order and made to hold the value.
    pub fn new(value: Usd, one: Usd, other: Usd) -> Self {
        Self { value, lo: one.min(other).min(value), hi: one.max(other).max(value) }
    }

    /// Whether the two have a value in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }

    /// The sum of two amounts whose errors go together; `None` beyond what a decimal holds.
    pub fn plus(self, other: Self) -> Option<Self> {
        let sum = |a: Usd, b: Usd| a.0.checked_add(b.0).map(Usd);
        Some(Self { value: sum(self.value, other.value)?, lo: sum(self.lo, other.lo)?, hi: sum(self.hi, other.hi)? })
    }

    /// The amount times a factor of 0 or more that is known.
    pub fn times(self, factor: f64) -> Option<Self> {
        let factor = factor.max(0.0);
        Some(Self { value: self.value.times(factor)?, lo: self.lo.times(factor)?, hi: self.hi.times(factor)? })
    }

    /// The amount times a factor that is in a range.
    pub fn times_interval(self, factor: Interval) -> Option<Self> {
        Some(Self {
            value: self.value.times(factor.value)?,
            lo: self.lo.times(factor.lo)?,
            hi: self.hi.times(factor.hi)?,
        })
    }
}
