//! What reads run folders and is pure: catalogs, evidence of other tools, projections, costs, comparisons.

#![warn(missing_docs)]

pub use sizewell_record::{data_file, names, record, statistics, units, workload};

pub mod catalog;
pub mod evidence;
pub mod gate;
pub mod sizing;
