//! (8) What changed between runs, and whether a run keeps what was promised: pass, fail, cannot tell, invalid. Pure: run
//! folders in, verdicts out.

pub mod board;
pub mod comparison;
pub mod environment;
pub mod judge;
pub mod metric;
pub mod noise;
pub mod policy;
pub mod rerun;
pub mod side;
pub mod verdict;

pub use comparison::{CaseChange, Comparison, Direction, compare};
pub use judge::{Judgement, RuleResult, judge};
pub use metric::{GateMetric, MetricValue, Price};
pub use policy::{Policy, Rule};
pub use side::{RunWithSamples, Side};
pub use verdict::Verdict;
