//! (7) What fits, how fast it would be elsewhere, what it costs, and which offer is cheapest. Pure: files in, tables out.
//!
//! Three rooms, each of which may use those before it: [`speed`] (what a machine does), [`price`] (what that costs) and
//! [`mod@rank`] (which offer to buy). `tests/layout.rs` holds the direction. The arithmetic that a report's page does too stands
//! in [`formulas`].

pub mod formulas;
pub mod price;
pub mod rank;
pub mod speed;

pub use crate::record::Slo;
pub use crate::units::interval;
pub use crate::units::interval::Interval;
pub use crate::units::money::CostInterval;
pub use price::service::Service;
pub use price::{cost, demand, own, service};
pub use rank::front::BreakEvenPrice;
pub use rank::ranking::{Ranking, rank, rank_runs};
pub use rank::request::{Freshness, MachinePrice, RankRequest};
pub use rank::row::{Excluded, RankRow};
pub use rank::{choices, plan, sensitivity};
pub use speed::{fit, lengths, points, project, projection, validate};
