//! (10) What the application does: it profiles, sends load, starts a model cold, evaluates its answers and measures ceilings.
//!
//! Each job takes plain options, a [`Reporter`] that hears what it says, and a [`Stop`] that it looks at; it leaves a run
//! folder and gives back values. How a command line names the options, and how results are shown, is for whoever calls.

pub mod ceilings;
pub mod coldstart;
mod engine;
pub mod error;
mod held_limit;
mod idle;
pub mod load;
pub mod machine;
pub mod profile;
pub mod quality;
pub mod reporter;
pub mod status;
pub mod stop;

pub use error::{JobError, usage};
pub use machine::{MachineOptions, today};
pub use reporter::{Recording, Reporter, Silent};
pub use status::Status;
pub use stop::Stop;

use reporter::Context;
