//! How fast hardware is that nobody here owns, with a margin.
//!
//! The time of a decode step or of a prefill is a sum of physical terms ([`terms`]): bytes over bandwidth, layers over
//! clock, operations over arithmetic. What each is worth is fitted to measurements of one engine ([`law`]); what measured
//! relatives (the same model, a card of the same kind, the same host) took longer or shorter than the sum moves the
//! projection ([`relatives`]); and the margin is what projections were off by on cards that were left out ([`conformal`]).
//! docs/method/projection.md has it in words, docs/results/2026-11-24-projection.md the errors.

pub mod card;
pub mod carried;
pub mod conformal;
pub mod law;
pub mod laws;
pub mod nnls;
pub mod observation;
pub mod relatives;
pub mod sizes;
pub mod terms;
pub mod tier;
pub mod work;

pub use card::Card;
pub use laws::{Laws, Projection, Target};
pub use observation::{Observation, observations};
pub use tier::Tier;
pub use work::Work;
