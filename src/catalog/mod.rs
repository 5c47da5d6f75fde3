//! (6) Accelerators, CPUs and offers: facts with source and date, embedded in the binary or read from a folder.

pub mod accelerator;
pub mod cpu;
pub mod load;
pub mod offer;

pub use accelerator::Accelerator;
pub use cpu::CpuModel;
pub use load::{Catalog, CatalogError};
pub use offer::{Market, Offer};
