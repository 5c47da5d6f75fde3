//! What a model is: its family, its sizes, and the arithmetic that follows from them.

pub mod architecture;
pub mod cache;
pub mod config;
pub mod preset;
pub mod shape;
