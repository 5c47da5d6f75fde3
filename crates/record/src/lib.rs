//! What is measured and what a measurement leaves behind: units, statistics, files, workloads, the run folder.

#![warn(missing_docs)]

pub mod data_file;
pub mod names;
pub mod record;
pub mod statistics;
pub mod units;
pub mod workload;
