//! Load tests: requests sent at times that were fixed before, what came of them, and the highest rate under an SLO.

pub mod dispatch;
pub mod histogram;
pub mod interference;
pub mod judge;
pub mod lag;
pub mod length;
pub mod limit;
pub mod pace;
#[cfg(test)]
mod queue_model;
pub mod recovery;
pub mod sample;
pub mod saturation;
pub mod search;
pub mod step;
pub mod tally;
pub mod time_slices;

pub use crate::record::Slo;
pub use dispatch::{Generator, LoadObserver, StepSnapshot};
pub use interference::LocalServer;
pub use sample::Sample;
pub use step::{End, Load, StepPlan};
