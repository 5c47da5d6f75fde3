//! Hardware that is paid by the hour, used or not.
//!
//! `C = P_h / 3600 / (T u)`: price of an hour, sustained requests a second of an instance, and the share of the paid
//! capacity that is used. `u = 1` is the bound that no service reaches; with a demand, `u` follows from whole instances.

use super::component::{Breakdown, Component};
use crate::sizing::formulas;
use crate::sizing::price::demand::Usage;
use crate::units::Usd;
use crate::units::interval::Interval;
use crate::units::money::CostInterval;

/// The time of an hourly instance that one request takes, in hours: while it works, and with its share of waiting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hours {
    /// `1 / (3600 T)`.
    pub busy: f64,
    /// `(1/u - 1) / (3600 T)`.
    pub idle: f64,
}

/// Hours of an instance a request at a rate of `requests_per_s`, of requests that take `e2e_s`. `None` where the rate
/// is not above 0 or the demand cannot be met.
pub fn hours(requests_per_s: f64, e2e_s: f64, usage: &Usage) -> Option<Hours> {
    let fleet = usage.fleet(requests_per_s, e2e_s)?;
    let [busy, idle] = formulas::hours(requests_per_s, fleet.utilisation);
    Some(Hours { busy, idle })
}

/// Hours at a rate and at both ends of its range, the longest request with the lowest rate.
pub fn hours_interval(rate: Interval, e2e: Interval, usage: &Usage) -> Option<[Hours; 3]> {
    Some([hours(rate.value, e2e.value, usage)?, hours(rate.hi, e2e.lo, usage)?, hours(rate.lo, e2e.hi, usage)?])
}

/// What a request costs in compute and idle time on instances of `usd_per_h`.
pub fn cost(usd_per_h: CostInterval, hours: [Hours; 3]) -> Option<Breakdown> {
    let mut breakdown = Breakdown::default();
    let prices: [Usd; 3] = [usd_per_h.value, usd_per_h.lo, usd_per_h.hi];
    for (component, part) in
        [(Component::Compute, (|h: &Hours| h.busy) as fn(&Hours) -> f64), (Component::Idle, |h: &Hours| h.idle)]
    {
        let mut of = [Usd::default(); 3];
        for index in 0..3 {
            of[index] = prices[index].times(part(&hours[index]))?;
        }
        breakdown.add(component, CostInterval::new(of[0], of[1], of[2]))?;
    }
    Some(breakdown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    fn of(cents: i64, rate: Interval, usage: &Usage) -> Breakdown {
        let price = CostInterval::exact(Usd(Decimal::new(cents, 2)));
        cost(price, hours_interval(rate, Interval::exact(1.0), usage).unwrap()).unwrap()
    }

    #[test]
    fn an_hour_of_requests_costs_an_hour() {
        let rate = Interval::new(2.0, 1.0, 4.0);
        let cost = of(360, rate, &Usage::Share(1.0)).total().unwrap().times(1000.0).unwrap();
        assert_eq!(cost.value.0.round_dp(9), Decimal::new(5, 1));
        assert_eq!(cost.lo.0.round_dp(9), Decimal::new(25, 2));
        assert_eq!(cost.hi.0.round_dp(9), Decimal::ONE);
        assert!(hours(0.0, 1.0, &Usage::Share(1.0)).is_none());
        let half = of(360, rate, &Usage::Share(0.5));
        assert_eq!(half.of(Component::Idle).value.0.round_dp(12), half.of(Component::Compute).value.0.round_dp(12));
    }

    proptest! {
        #[test]
        fn cost_falls_with_rate_and_rises_with_price(rate in 1e-3f64..1e4, cents in 1i64..100_000, share in 0.05f64..1.0) {
            let usage = Usage::Share(share);
            let at = |cents: i64, rate: f64| {
                of(cents, Interval::new(rate, rate * 0.9, rate * 1.1), &usage).total().unwrap().times(1e6).unwrap()
            };
            prop_assert!(at(cents, rate).value > at(cents, rate * 1.01).value);
            prop_assert!(at(cents, rate).value < at(cents + 1, rate).value);
            let one = at(cents, rate);
            prop_assert!(one.lo < one.value && one.value < one.hi);
        }

        #[test]
        fn whole_instances_never_cost_less_than_full_use(
            rate in 1e-2f64..1e3, mean in 1e-2f64..1e4, burst in 1.0f64..5.0, spare in 0usize..3, spread in 1.0f64..2.0,
        ) {
            let usage = Usage::rate(mean, mean * burst, 0.7, spare);
            let range = Interval::new(rate, rate / spread, rate * spread);
            let breakdown = of(100, range, &usage);
            for (_, cost) in breakdown.parts() {
                prop_assert!(cost.lo <= cost.value && cost.value <= cost.hi);
            }
            let bound = of(100, range, &Usage::Share(1.0));
            prop_assert!(breakdown.total().unwrap().value >= bound.total().unwrap().value);
        }
    }
}
