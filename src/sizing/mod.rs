//! (7) What fits, how fast it would be elsewhere, what it costs, and which offer is cheapest. Pure: files in, tables out.

pub mod cost;
pub mod energy;
pub mod fit;
mod headline;
pub mod interval;
pub mod project;
pub mod rank;
pub mod request;

pub use interval::Interval;
pub use rank::{Excluded, RankRow, Ranking, rank};
pub use request::{MachinePrice, RankRequest, Slo};
