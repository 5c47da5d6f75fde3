//! What fits a machine and how fast a model is there: measured points, carried over to other hardware.

pub mod cpu_sizes;
pub mod energy;
pub mod exclusion;
pub mod fit;
pub mod lengths;
pub mod points;
pub mod project;
pub mod projection;
mod served;
pub mod speeds;
pub mod validate;
