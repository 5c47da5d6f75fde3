//! Cards that are not there: NVML and power limits, by libraries that stand in for the driver's.

// A program exports nothing.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod nvml;
mod power_limit;
