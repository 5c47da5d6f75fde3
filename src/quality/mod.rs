//! (7) What a quantization or a pruning costs in answers, and whether a model or its data has changed since a recorded
//! run. Pure: it judges what was answered ([`Evaluation`](crate::record::Evaluation), rows of items) and asks nothing.
//!
//! [`compare`] makes figures with intervals and verdicts against a reference; [`drift`] tests a window of today against
//! a baseline.

pub mod compare;
pub mod drift;
pub mod drift_outcome;
