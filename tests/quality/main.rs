//! Quality: what is asked, how it is judged, and whether it drifts.

// A program exports nothing.
#![allow(unreachable_pub)]

mod drift;
mod questions;
