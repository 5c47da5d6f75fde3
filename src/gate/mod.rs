//! (8) What changed between runs, and whether a run keeps what was promised: pass, fail, cannot tell, invalid. Pure: run
//! folders in, verdicts out.

pub mod board;
pub mod comparison;
pub mod environment;
pub mod gauge;
pub mod judge;
pub mod noise;
pub mod policy;
pub mod rerun;
pub mod side;
pub mod verdict;

pub use comparison::{CaseChange, Comparison, Direction, compare};
pub use gauge::{Gauge, Price, Reading};
pub use judge::{Judged, Judgement, judge};
pub use policy::{Policy, Rule};
pub use side::{Side, Taken};
pub use verdict::Verdict;
