//! Measuring a model over a sweep: one run for each device and power limit, new or continued.

mod measuring;
mod options;
mod resume;
mod setup;

pub use measuring::{Measured, Series, run};
pub use options::{ProfileOptions, SweepOptions};

pub(super) use measuring::measure;
