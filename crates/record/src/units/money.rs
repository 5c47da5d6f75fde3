//! Money with the range that it is in.

use crate::units::Usd;
use crate::units::interval::Interval;
use rust_decimal::Decimal;

/// Each an exact decimal.
pub type CostInterval = Interval<Usd>;

impl CostInterval {
    /// Nothing.
    pub const ZERO: Self = Self::exact(Usd(Decimal::ZERO));

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
