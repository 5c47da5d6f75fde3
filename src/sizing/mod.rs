//! (7) What fits, how fast it would be elsewhere, what it costs, and which offer is cheapest. Pure: files in, tables out.

pub mod choices;
pub mod cost;
mod cpu_sizes;
pub mod demand;
pub mod energy;
mod figures;
pub mod filter;
pub mod fit;
mod front;
mod headline;
pub mod interval;
pub mod lengths;
mod listing;
mod machine;
pub mod money;
pub mod outlook;
pub mod own;
pub mod plan;
pub mod points;
pub mod pricing;
pub mod project;
pub mod projection;
pub mod rank;
pub mod request;
pub mod row;
mod served;
pub mod speed;
mod unit;
pub mod validate;

pub use front::Swap;
pub use interval::Interval;
pub use money::CostInterval;
pub use rank::{Ranking, rank, rank_runs};
pub use request::{Freshness, MachinePrice, RankRequest, Service, Slo};
pub use row::{Excluded, RankRow};
