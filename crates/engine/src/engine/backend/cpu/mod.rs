//! The engine's own CPU kernels, behind candle's custom-op interface. Each is checked against candle's result.

pub mod attention;
mod dispatch;
pub mod packed;
mod pool;
pub mod product;
pub mod rope;
pub mod rows;
pub mod simd;
mod softmax;
pub mod values;
mod work;
