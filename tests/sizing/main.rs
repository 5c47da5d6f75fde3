//! Prices, evidence, projections and rankings.

// A program exports nothing.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod catalog_check;
mod catalog_update;
mod cost;
mod evidence;
mod projection;
mod ranking;
mod specification;
