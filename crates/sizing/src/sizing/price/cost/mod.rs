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

pub use crate::sizing::formulas::{HOURS_PER_MONTH, HOURS_PER_YEAR, SECONDS_PER_MONTH};
