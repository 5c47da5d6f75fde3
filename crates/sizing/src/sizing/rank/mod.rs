//! Which offer to buy: offers in the order of what a request costs on them, a plan for a demand, and how both move.

pub mod choices;
pub mod filter;
pub mod front;
mod headline;
mod listing;
mod machine;
pub mod plan;
pub mod ranking;
pub mod request;
pub mod row;
mod selection;
pub mod sensitivity;
mod unit;
