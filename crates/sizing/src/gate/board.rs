//! What a power sensor gets wrong it gets wrong alike: on one board a comparison is better than the values.

use crate::record::{Estimate, Run};
use crate::units::Quantity;

/// Error of a board's sensor against itself, as a share (arXiv:2312.02741: readings repeat, only their gain is off).
const BOARD_AGAINST_ITSELF: f64 = 0.02;

/// What tells one board from another.
pub fn board(run: &Run) -> (&str, &str, Option<&String>) {
    (&run.record.environment.hostname, &run.record.engine.device, run.record.engine.hardware.as_ref())
}

/// An energy with the sensor's own error taken out of its interval, but for what differs from time to time.
pub fn on_one_board<Q: Quantity>(run: &Run, energy: Estimate<Q>) -> Estimate<Q> {
    let (Some(lo), Some(hi)) = (energy.lo, energy.hi) else { return energy };
    let value = energy.value.si();
    let error = error_on_one_board(run, (hi.si() - lo.si()) / 2.0 / value);
    let end = |factor: f64| Some(Q::from_si(value * factor));
    Estimate { value: energy.value, lo: end(1.0 - error), hi: end(1.0 + error) }
}

/// The half-width that an energy of `share` has against another of the same board.
pub fn error_on_one_board(run: &Run, share: f64) -> f64 {
    let sensor = run.record.power.sensor.as_ref().and_then(|sensor| sensor.error).unwrap_or(0.0);
    ((share.powi(2) - sensor.powi(2)).max(0.0) + BOARD_AGAINST_ITSELF.powi(2)).sqrt()
}
