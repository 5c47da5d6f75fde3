//! Quality: what is asked, how it is judged, and whether it drifts.

mod drift;
mod questions;
