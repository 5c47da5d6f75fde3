//! Below which change nothing is claimed, however narrow the interval of the samples is.

use super::environment::same_machine;
use super::side::Side;
use serde::Serialize;

/// Of one machine against itself.
pub const SAME_MACHINE: f64 = 0.02;
/// Between two machines of the same kind: what instances of one type differ by (SpareCores sc-inspector-data: cards of one
/// kind on several instances, 0.5 to 4 %, L40S 15 %).
const OTHER_MACHINE: f64 = 0.05;
/// Likewise of cards at their power limit and of models so small that the host's CPU decides (the same data: 18 to 30 %).
const UNEVEN: f64 = 0.15;
const SMALL_MODEL: f64 = 1e9;

/// The least change that is claimed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NoiseFloor {
    /// As a share.
    pub share: f64,
    /// Why so much.
    pub why: String,
}

/// For runs of two sides.
pub fn noise_floor(before: &Side, after: &Side) -> NoiseFloor {
    let of = |share: f64, why: &str| NoiseFloor { share, why: why.to_string() };
    let all = || before.runs.iter().chain(&after.runs).map(|taken| &taken.run.record);
    let one = &before.first().run.record;
    if all().all(|other| same_machine(one, other)) {
        return of(SAME_MACHINE, "one machine against itself");
    }
    if all().any(|record| record.engine.hardware.as_deref().is_some_and(|name| name.contains("T4"))) {
        return of(UNEVEN, "different machines, one with a T4, which runs at its power limit");
    }
    if all().any(|record| record.model.as_ref().is_some_and(|model| model.parameters < SMALL_MODEL)) {
        return of(UNEVEN, "different machines and a model of less than a billion parameters");
    }
    of(OTHER_MACHINE, "different machines")
}
