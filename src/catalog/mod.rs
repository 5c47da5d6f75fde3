//! (6) Accelerators, CPUs, shapes and prices: facts with source and date, embedded in the binary or read from a folder.

pub mod accelerator;
pub mod alias;
pub mod check;
pub mod cpu;
pub mod facts;
pub mod finding;
mod join;
pub mod load;
pub mod offer;
pub mod price;
pub mod shape;
pub mod tables;

pub use accelerator::Accelerator;
pub use cpu::CpuModel;
pub use load::{Catalog, CatalogError};
pub use offer::{Offer, Shape};
pub use price::Market;
