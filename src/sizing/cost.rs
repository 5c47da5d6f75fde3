//! What a request costs on hardware that is paid by the hour and kept busy.

use super::interval::Interval;
use crate::units::Usd;
use serde::Serialize;

/// Money with the range that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CostInterval {
    /// The point.
    pub value: Usd,
    /// Lower end.
    pub lo: Usd,
    /// Upper end.
    pub hi: Usd,
}

impl CostInterval {
    /// Whether the two have a value in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lo <= other.hi && other.lo <= self.hi
    }
}

/// `price / 3600 x units / rate`: what `units` requests cost at `requests_per_s`, every paid second used.
/// `None` where the rate is not above 0.
pub fn of_requests(usd_per_h: Usd, requests_per_s: Interval, units: f64) -> Option<CostInterval> {
    if requests_per_s.lo.is_nan() || requests_per_s.lo <= 0.0 {
        return None;
    }
    let seconds = requests_per_s.under(units / 3600.0);
    Some(CostInterval {
        value: usd_per_h.times(seconds.value)?,
        lo: usd_per_h.times(seconds.lo)?,
        hi: usd_per_h.times(seconds.hi)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    #[test]
    fn an_hour_of_requests_costs_an_hour() {
        let cost = of_requests(Usd(Decimal::new(360, 2)), Interval::new(2.0, 1.0, 4.0), 1000.0).unwrap();
        assert_eq!(cost.value.0.round_dp(9), Decimal::new(5, 1));
        assert_eq!(cost.lo.0.round_dp(9), Decimal::new(25, 2));
        assert_eq!(cost.hi.0.round_dp(9), Decimal::ONE);
        assert_eq!(of_requests(Usd(Decimal::ONE), Interval::exact(0.0), 1.0), None);
    }

    proptest! {
        #[test]
        fn cost_falls_with_rate_and_rises_with_price(rate in 1e-3f64..1e4, cents in 1i64..100_000) {
            let cost = |cents: i64, rate: f64| {
                of_requests(Usd(Decimal::new(cents, 2)), Interval::new(rate, rate * 0.9, rate * 1.1), 1e6).unwrap()
            };
            prop_assert!(cost(cents, rate).value > cost(cents, rate * 1.01).value);
            prop_assert!(cost(cents, rate).value < cost(cents + 1, rate).value);
            let one = cost(cents, rate);
            prop_assert!(one.lo < one.value && one.value < one.hi);
        }
    }
}
