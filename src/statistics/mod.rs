//! Intervals of medians and of changes, percentiles as order statistics: arithmetic on samples, used by what measures
//! and by what judges.

pub mod bootstrap;
pub mod change;
pub mod percentile;
