//! Instances that are paid while they work, while they start, and for a while after each request.
//!
//! `C = p_s (t_exec / b + P_cold t_cold + t_idle)` with requests that come at random (a Poisson process of rate `l` on one
//! worker): the next one comes later than the keep-warm time `k` in `e^(-l k)` of cases and then finds the worker cold, and
//! `(1 - e^(-l k)) / l` seconds of waiting are paid for each request. Steps of billing are paid once for each time that a
//! worker is up. Where that comes to more than a worker that is up all the time (all of these providers keep one up if
//! asked), it is the latter.

use super::component::{Breakdown, Component};
use crate::sizing::formulas;
use crate::units::Usd;
use crate::units::interval::Interval;
use crate::units::money::CostInterval;

/// How a provider bills, and what a start takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServerlessTerms {
    /// Price of a second.
    pub usd_per_s: Usd,
    /// Seconds from nothing to the first request served, where the start is billed; `None` where that is not known.
    pub cold_s: Option<Interval>,
    /// Seconds that a worker is kept after a request, where they are billed; `None` where that is not known.
    pub keep_warm_s: Option<f64>,
    /// Waiting is billed without an end.
    pub always_on: bool,
    /// Time is billed in steps of this.
    pub increment_s: f64,
}

/// Why a cost is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownCost {
    /// Nobody has said or measured how long a start takes.
    #[error("how long a cold start takes is not known: --cold-start 20s, or a run of `sizewell coldstart`")]
    ColdStart,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl From<&str> for UnknownCost {
    fn from(why: &str) -> Self {
        Self::Other(why.to_string())
    }
}

impl From<String> for UnknownCost {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

/// What a request costs that takes `exec_s` on a worker which runs `batch` at a time, at `requests_per_s` in all; `None`
/// for the rate is a worker that is always busy. With a rate comes the share of its sustained rate that a worker is loaded
/// to, the same as that of kept instances: one that is full all the time keeps nobody's limit either. The error says what is
/// not known.
pub fn cost(
    terms: &ServerlessTerms,
    exec_s: Interval,
    batch: usize,
    requests_per_s: Option<(f64, f64)>,
) -> Result<Breakdown, UnknownCost> {
    let too_much = || UnknownCost::from("the amount is beyond what can be computed");
    let price = CostInterval::exact(terms.usd_per_s);
    let mut breakdown = Breakdown::default();
    let mut add = |component, seconds: Interval| {
        let cost = price.times_interval(seconds).ok_or_else(too_much)?;
        breakdown.add(component, cost).ok_or_else(too_much)
    };
    let Some((rate, headroom)) = requests_per_s else {
        add(Component::Compute, exec_s.map(|s| s / batch as f64))?;
        return Ok(breakdown);
    };
    // Workers that one needs at least, each with its share of the requests; only what overlaps can share a batch.
    let [each, together, busy, always] = formulas::worker(rate, exec_s.value, batch as f64, headroom);
    add(Component::Compute, exec_s.map(|s| s / together))?;
    if terms.always_on {
        add(Component::Idle, Interval::exact(always))?;
        return Ok(breakdown);
    }
    let Some(keep_warm_s) = terms.keep_warm_s else {
        return Err("how long it is kept, and paid, after a request is not known: --keep-warm 60s says it".into());
    };
    let [idle, starts] = formulas::kept_warm(each, exec_s.value, busy, keep_warm_s, terms.increment_s);
    let cold = match (terms.cold_s, starts > 0.0) {
        (_, false) => None,
        (Some(cold), true) => Some(cold.map(|s| s * starts)),
        (None, true) => return Err(UnknownCost::ColdStart),
    };
    if idle + cold.map_or(0.0, |cold| cold.value) >= always {
        add(Component::Idle, Interval::exact(always))?;
        return Ok(breakdown);
    }
    add(Component::Idle, Interval::exact(idle))?;
    if let Some(cold) = cold {
        // However long a start may take, the worker need not be let go.
        add(Component::ColdStarts, cold.map(|s| s.min(always - idle)))?;
    }
    Ok(breakdown)
}

/// The share of the time that a worker may be busy before a machine by the hour is cheaper: `P_h / (3600 p_s)`.
pub fn break_even_utilisation(usd_per_h: Usd, usd_per_s: Usd) -> f64 {
    usd_per_h.to_f64() / (3600.0 * usd_per_s.to_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    fn terms(cold_s: f64) -> ServerlessTerms {
        ServerlessTerms {
            usd_per_s: Usd(Decimal::new(116, 5)),
            cold_s: Some(Interval::exact(cold_s)),
            keep_warm_s: Some(5.0),
            always_on: false,
            increment_s: 0.0,
        }
    }

    #[test]
    fn rare_requests_pay_a_start_each_and_the_whole_keep_warm_time() {
        let cost = cost(&terms(20.0), Interval::exact(2.0), 8, Some((1e-6, 1.0))).unwrap();
        let seconds = cost.total().unwrap().value.to_f64() / 0.00116;
        assert!((seconds - 27.0).abs() < 0.01, "{seconds}");
    }

    #[test]
    fn no_worker_costs_more_than_one_that_is_always_up() {
        // A request every ten seconds and no keep-warm time: starts of 20 s would be more than all the time.
        let never_warm = ServerlessTerms { keep_warm_s: Some(0.0), ..terms(20.0) };
        let seconds =
            cost(&never_warm, Interval::exact(2.0), 1, Some((0.1, 1.0))).unwrap().total().unwrap().value.to_f64()
                / 0.00116;
        assert!((seconds - 10.0).abs() < 1e-6, "{seconds}");
    }

    #[test]
    fn what_is_not_known_is_said() {
        let unknown = ServerlessTerms { cold_s: None, ..terms(0.0) };
        assert!(cost(&unknown, Interval::exact(2.0), 1, Some((1e-3, 1.0))).unwrap_err() == UnknownCost::ColdStart);
        assert!(
            cost(&unknown, Interval::exact(2.0), 1, Some((100.0, 1.0))).is_ok(),
            "a worker that is never left waiting"
        );
        assert!(cost(&unknown, Interval::exact(2.0), 1, None).is_ok());
    }

    #[test]
    fn workers_are_loaded_like_kept_instances() {
        // 100 requests/s of 1 s, eight at a time: 12.5 full workers are 13, and 17.9 at 70 % are 18.
        let busy = ServerlessTerms { always_on: true, ..terms(0.0) };
        let seconds = |headroom: f64| {
            let cost = cost(&busy, Interval::exact(1.0), 8, Some((100.0, headroom))).unwrap();
            cost.total().unwrap().value.to_f64() / 0.00116 * 100.0
        };
        assert!((seconds(1.0) - 13.0).abs() < 1e-6, "{}", seconds(1.0));
        assert!((seconds(0.7) - 18.0).abs() < 1e-6, "{}", seconds(0.7));
    }

    proptest! {
        #[test]
        fn no_range_is_inverted_and_starts_never_make_it_cheaper(
            rate in 1e-4f64..1e3, exec in 1e-2f64..60.0, batch in 1usize..64, cold in 0.0f64..300.0,
        ) {
            let exec = Interval::new(exec, exec * 0.5, exec * 2.0);
            let with = cost(&terms(cold), exec, batch, Some((rate, 1.0))).unwrap().total().unwrap();
            let without = cost(&terms(0.0), exec, batch, Some((rate, 1.0))).unwrap().total().unwrap();
            prop_assert!(with.lo <= with.value && with.value <= with.hi);
            prop_assert!(with.value >= without.value);
        }
    }
}
