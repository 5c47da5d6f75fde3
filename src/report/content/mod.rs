//! The tables of a report.

mod cases;
mod coldstart;
mod comparison;
pub mod drift;
mod origin;
mod plan;
pub mod quality;
mod ranking;
mod series;
pub mod traffic;
mod validation;
mod verdicts;

pub use cases::{cases, energy, loads, summary};
pub use coldstart::cold_starts;
pub use comparison::{changes, differences};
pub use origin::{ceilings, environment};
pub use plan::{bought, options, warm};
pub(super) use ranking::{basis, marked_name, place, price_age};
pub use ranking::{components, excluded, excluded_offers, offer_name, ranking, shown, tiers};
pub use series::series;
pub use validation::validation;
pub use verdicts::{reruns, verdicts};

use super::table::DASH;
use crate::record::{Distribution, Estimate};
use crate::units::{Quantity, Seconds};

/// A value with the half-width of its 95 % interval in percent.
fn with_margin(text: String, value: f64, lo: Option<f64>, hi: Option<f64>) -> String {
    match (lo, hi) {
        (Some(lo), Some(hi)) if value > 0.0 => format!("{text} ±{:.1}%", (hi - lo) / 2.0 / value * 100.0),
        _ => text,
    }
}

fn distribution(value: Option<Distribution<Seconds>>) -> String {
    value.map_or(DASH.to_string(), |d| with_margin(d.median.human(), d.median.0, d.lo.map(|v| v.0), d.hi.map(|v| v.0)))
}

fn estimate<Q: Quantity>(value: Option<Estimate<Q>>) -> String {
    value.map_or(DASH.to_string(), |e| {
        with_margin(e.value.human(), e.value.si(), e.lo.map(Quantity::si), e.hi.map(Quantity::si))
    })
}

fn quantity<Q: Quantity>(value: Option<Q>) -> String {
    value.map_or(DASH.to_string(), Quantity::human)
}
