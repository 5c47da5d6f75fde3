//! Models that run: decoders and encoders, on whatever computes.

pub mod decoder;
pub mod encoder;
pub(super) mod prune;
pub mod ragged;
pub(super) mod rope;
