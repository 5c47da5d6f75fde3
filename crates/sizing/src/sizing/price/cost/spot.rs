//! Left-over capacity that can be taken away.
//!
//! `P_eff = P_spot (1 + r (t_warm + t_lost)) + f P_od`: interruptions an hour, hours until a replacement works, hours of
//! work that are lost, and the share of the time that on-demand capacity stands in.

use crate::catalog::price::InterruptionBand;
use crate::units::Usd;
use crate::units::interval::Interval;
use crate::units::money::CostInterval;

use super::HOURS_PER_MONTH;

/// What interruptions come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpotTerms {
    /// Seconds until a replacement serves.
    pub warm_s: f64,
    /// Seconds of work that an interruption throws away.
    pub lost_s: f64,
    /// Share of the time that on-demand capacity stands in.
    pub fallback: f64,
}

/// Interruptions an hour, from the share of instances that is taken away in a month: `-ln(1 - p) / 730`. Where nothing is
/// published, anything from never to half of them a month.
pub fn interruptions_per_h(band: Option<InterruptionBand>) -> Interval {
    let share = band.map_or(Interval::new(0.2, 0.0, 0.5), InterruptionBand::share_per_month);
    share.map(|share| -(1.0 - share).ln() / HOURS_PER_MONTH)
}

/// What interruptions add to an hour at the price of the market.
pub fn surcharge_per_h(
    spot: Usd,
    on_demand: Option<Usd>,
    band: Option<InterruptionBand>,
    terms: &SpotTerms,
) -> Option<CostInterval> {
    let hours = (terms.warm_s + terms.lost_s) / 3600.0;
    let lost = CostInterval::exact(spot).times_interval(interruptions_per_h(band).map(|r| r * hours))?;
    let fallback = match (terms.fallback > 0.0, on_demand) {
        (false, _) => CostInterval::ZERO,
        (true, Some(usd)) => CostInterval::exact(usd).times(terms.fallback)?,
        (true, None) => return None,
    };
    lost.plus(fallback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    #[test]
    fn interruptions_cost_what_a_replacement_takes() {
        let r = interruptions_per_h(Some(InterruptionBand::From5To10));
        assert!((r.value - 1.068e-4).abs() < 1e-7 && r.lo < r.value && r.value < r.hi, "{r:?}");
        let terms = SpotTerms { warm_s: 3600.0, lost_s: 0.0, fallback: 0.1 };
        let (spot, usual) = (Usd(Decimal::ONE), Usd(Decimal::from(3)));
        let extra = surcharge_per_h(spot, Some(usual), Some(InterruptionBand::From5To10), &terms).unwrap();
        assert!((extra.value.to_f64() - 0.3 - r.value).abs() < 1e-9, "{extra:?}");
        assert!(surcharge_per_h(spot, None, None, &terms).is_none(), "no price of the fallback");
        let never = SpotTerms { fallback: 0.0, ..terms };
        let unknown = surcharge_per_h(spot, None, None, &never).unwrap();
        assert_eq!(unknown.lo, Usd(Decimal::ZERO));
    }
}
