//! What touches hardware: devices, engines, power, the loop that measures. It writes only the run folder.

#![warn(missing_docs)]

pub use sizewell_record::{data_file, names, record, statistics, units, workload};

pub mod device;
pub mod engine;
pub mod measure;
pub mod power;
