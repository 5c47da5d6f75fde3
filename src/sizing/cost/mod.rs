//! What a request costs, by component: pure arithmetic on prices, rates and times. Formulae are those of
//! docs/method/cost.md#components, and tests hold them to worked examples.

pub mod carbon;
pub mod component;
pub mod own;
pub mod rented;
pub mod serverless;
pub mod spot;
pub mod traffic;

pub use component::{Breakdown, Component};

/// Hours of a month: 8,760 / 12.
pub const HOURS_PER_MONTH: f64 = 730.0;
/// Hours of a year.
pub const HOURS_PER_YEAR: f64 = 8760.0;
