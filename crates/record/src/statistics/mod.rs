//! Intervals of medians and of changes, percentiles as order statistics, paired tests, distribution shift: arithmetic on
//! samples, used by what measures and by what judges.

/// Samples that follow each other are taken to differ by this share at the least, as a standard deviation. That a few of
/// them are equal says how finely their times were read or written down, and not that the next will be the same; without
/// it, equal samples would have an interval of no width, which is certainty.
pub const LEAST_SPREAD: f64 = 5e-4;

pub mod bootstrap;
pub mod change;
pub mod paired;
pub mod percentile;
pub mod rank_correlation;
pub mod shift;
pub mod unpaired;
