//! Intervals of medians and of changes, percentiles as order statistics, paired tests, distribution shift: arithmetic on
//! samples, used by what measures and by what judges.

pub mod bootstrap;
pub mod change;
pub mod paired;
pub mod percentile;
pub mod rank_correlation;
pub mod shift;
pub mod unpaired;
