//! What a model is: its family, its sizes, the parts that it is made of, and what follows from them.

pub mod cache;
pub mod config;
pub mod count;
mod families;
pub mod family;
pub mod names;
pub mod parts;
pub mod preset;
pub mod shape;
pub mod tensors;
