//! The engine's own CPU kernels, behind candle's custom-op interface. Each is checked against candle's result.

pub mod attention;
mod dispatch;
pub mod dot;
pub mod matmul;
mod softmax;
mod widen;
