//! What a model is: its family, its sizes, the parts that it is made of, and what follows from them.

pub mod block_tensors;
pub mod cache;
pub mod config;
pub mod convolutional;
pub mod count;
pub mod decoder;
mod end_tensors;
mod families;
pub mod family;
pub mod image_encoder;
pub mod kinds;
mod mixing;
pub mod names;
pub mod parts;
pub mod preset;
pub mod shape;
pub mod sublayers;
pub mod tensors;
pub mod towers;
