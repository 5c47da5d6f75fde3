//! (6) Accelerators, CPUs, shapes and prices: facts with source and date, embedded in the binary or read from a folder.

pub mod accelerator;
pub mod adopt;
pub mod alias;
mod carry;
pub mod check;
pub mod cpu;
pub mod facts;
pub mod finding;
pub mod import;
mod join;
pub mod load;
pub mod lock;
pub mod offer;
pub mod price;
pub mod shape;
pub mod snapshot;
pub mod tables;
pub mod text;
pub mod update;

pub use accelerator::Accelerator;
pub use cpu::CpuModel;
pub use load::{Catalog, CatalogError};
pub use offer::{Offer, Shape};
pub use price::Market;
