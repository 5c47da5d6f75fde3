//! How models are computed: decoders and encoders against themselves and a second system, models from a hub.

// A program exports nothing.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod decoder;
#[cfg(feature = "reference")]
mod decoder_judged;
mod encoder;
#[cfg(feature = "reference")]
mod encoder_judged;
mod encoder_models;
mod encoder_run;
mod hub;
mod logits;
