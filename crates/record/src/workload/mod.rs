//! (1) What to measure: model presets, sweeps and the cases they expand to. All of it is data.

pub mod case;
pub mod chronicle;
pub mod columns;
pub mod input;
pub mod level;
pub mod model;
pub mod pruning;
pub mod quant;
pub mod rounding;
pub mod sweep;
pub mod task;
pub mod traffic;
pub mod variant;

pub use case::Case;
pub use input::Input;
pub use level::{Arithmetic, Level};
pub use model::cache::CacheType;
pub use model::family::Architecture;
pub use model::preset::Preset;
pub use model::shape::{ImageShape, ModelShape, RopeScaling};
pub use pruning::Pruning;
pub use quant::{Encoding, Quant};
pub use sweep::{Limits, Sweep};
pub use task::{Priced, Task, TaskInfo};
pub use variant::Variant;
