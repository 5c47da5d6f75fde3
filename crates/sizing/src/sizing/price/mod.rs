//! What requests cost at a speed: prices of offers and of hardware of one's own, use, disks, traffic, interruptions.

pub mod cost;
pub mod demand;
pub mod own;
pub mod pricing;
pub mod service;
