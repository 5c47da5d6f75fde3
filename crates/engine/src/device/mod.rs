//! (2) What is on this machine: CPU, memory, instance, how busy it is, and its measured ceilings.

pub mod activity;
pub mod ceilings;
pub mod cpu;
pub mod cuda;
pub mod id;
pub mod instance;
pub mod inventory;
pub mod limits;
pub mod memory;
pub mod nvidia;
pub mod page_cache;
pub mod served;

pub use id::{DeviceId, DeviceListError};
