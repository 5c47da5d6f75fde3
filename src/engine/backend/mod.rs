//! What computes: the project's kernels of the CPU and of NVIDIA cards, and candle's own to compare with.

pub mod cpu;
pub mod cuda;
pub mod greedy;
pub mod linear;
pub mod ops;
pub mod threads;
