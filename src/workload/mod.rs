//! (1) What to measure: model presets, sweeps and the cases they expand to. All of it is data.

pub mod architecture;
pub mod cache;
pub mod case;
pub mod chronicle;
pub mod columns;
pub mod input;
pub mod level;
pub mod preset;
pub mod pruning;
pub mod quant;
pub mod shape;
pub mod sweep;
pub mod task;
pub mod traffic;

pub use architecture::Architecture;
pub use cache::CacheType;
pub use case::Case;
pub use input::Input;
pub use level::{Arithmetic, Level};
pub use preset::Preset;
pub use pruning::Pruning;
pub use quant::{Encoding, Quant};
pub use shape::{ImageShape, ModelShape, RopeScaling};
pub use sweep::{Limits, Sweep};
pub use task::Task;
