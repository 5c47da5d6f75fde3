//! Measured roofs of a device.

use crate::units::{BytesPerSecond, OpsPerSecond, Quantity, Seconds};
use crate::workload::Quant;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a ceiling bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CeilingKind {
    /// Reading memory.
    ReadBandwidth,
    /// Writing memory.
    WriteBandwidth,
    /// Copying, bytes read and written counted.
    CopyBandwidth,
    /// `a = b + s c`, bytes of all three counted.
    TriadBandwidth,
    /// Reading what the second-level cache holds.
    L2Bandwidth,
    /// A dependent load that misses every cache.
    MemoryLatency,
    /// A dependent load from the second-level cache.
    L2Latency,
    /// Time from one empty kernel to the next.
    LaunchTime,
    /// Copies from page-locked host memory to the device.
    ToDevicePinned,
    /// Copies from page-locked host memory to the device and back at the same time, bytes of both counted.
    BothWaysPinned,
    /// Copies from the device to page-locked host memory.
    FromDevicePinned,
    /// Copies from ordinary host memory to the device.
    ToDevicePageable,
    /// Copies from the device to ordinary host memory.
    FromDevicePageable,
    /// Multiply-add in `f32`, no tensor cores.
    FmaF32,
    /// Multiply-add of pairs of `f16`, no tensor cores.
    FmaF16,
    /// Multiply-add of pairs of `bf16`, no tensor cores.
    FmaBf16,
    /// Tensor cores, `f16` into `f32`.
    TensorF16,
    /// Tensor cores, `bf16` into `f32`.
    TensorBf16,
    /// Tensor cores, `tf32` into `f32`.
    TensorTf32,
    /// Tensor cores, `e4m3` into `f32`.
    TensorFp8,
    /// Tensor cores, 8-bit integers.
    TensorInt8,
    /// Tensor cores, 4-bit integers.
    TensorInt4,
    /// Product of a matrix of 8-bit blocks and a vector, bytes of the matrix counted.
    GemvInt8,
    /// Product of a matrix of 4-bit blocks and a vector, bytes of the matrix counted.
    GemvInt4,
    /// Matrix product in `f32`.
    GemmF32,
    /// Matrix product of `f16` inputs.
    GemmF16,
    /// Matrix product of `bf16` inputs.
    GemmBf16,
    /// Dot products of `bf16`, where the CPU has an instruction for them.
    DotBf16,
    /// Dot products of 8-bit integers.
    DotInt8,
}

impl CeilingKind {
    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::ReadBandwidth => "read bandwidth",
            Self::WriteBandwidth => "write bandwidth",
            Self::CopyBandwidth => "copy bandwidth",
            Self::TriadBandwidth => "triad bandwidth",
            Self::L2Bandwidth => "L2 read bandwidth",
            Self::MemoryLatency => "memory latency",
            Self::L2Latency => "L2 latency",
            Self::LaunchTime => "launch time",
            Self::ToDevicePinned => "to device, pinned",
            Self::BothWaysPinned => "both ways, pinned",
            Self::FromDevicePinned => "from device, pinned",
            Self::ToDevicePageable => "to device, pageable",
            Self::FromDevicePageable => "from device, pageable",
            Self::FmaF32 => "FMA f32",
            Self::FmaF16 => "FMA f16",
            Self::FmaBf16 => "FMA bf16",
            Self::TensorF16 => "tensor f16",
            Self::TensorBf16 => "tensor bf16",
            Self::TensorTf32 => "tensor tf32",
            Self::TensorFp8 => "tensor fp8",
            Self::TensorInt8 => "tensor int8",
            Self::TensorInt4 => "tensor int4",
            Self::GemvInt8 => "GEMV int8",
            Self::GemvInt4 => "GEMV int4",
            Self::GemmF32 => "GEMM f32",
            Self::GemmF16 => "GEMM f16",
            Self::GemmBf16 => "GEMM bf16",
            Self::DotBf16 => "dot bf16",
            Self::DotInt8 => "dot int8",
        }
    }

    /// A value of this kind as people read it.
    pub fn human(self, value: f64) -> String {
        use CeilingKind::*;
        match self {
            MemoryLatency | L2Latency | LaunchTime => Seconds(value).human(),
            ReadBandwidth | WriteBandwidth | CopyBandwidth | TriadBandwidth | L2Bandwidth | ToDevicePinned
            | BothWaysPinned | FromDevicePinned | ToDevicePageable | FromDevicePageable | GemvInt8 | GemvInt4 => {
                BytesPerSecond(value).human()
            }
            _ => OpsPerSecond(value).human(),
        }
    }

    /// Whether less is better.
    pub fn lower_is_better(self) -> bool {
        matches!(self, Self::MemoryLatency | Self::L2Latency | Self::LaunchTime)
    }
}

/// One measured roof, in SI units: bytes/s, seconds or operations/s.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Ceiling {
    /// What it bounds.
    pub kind: CeilingKind,
    /// The device, as `--device` takes it.
    #[serde(default = "cpu")]
    pub device: String,
    /// Threads that worked on it.
    pub threads: usize,
    /// The best sample: the roof that cases are compared with, as STREAM reports it.
    pub best: f64,
    /// The median sample.
    pub median: f64,
    /// Every sample.
    pub samples: Vec<f64>,
    /// How it was measured: sizes, instructions.
    pub how: String,
}

/// The device of records from before there were others.
fn cpu() -> String {
    "cpu".to_string()
}

impl Ceiling {
    /// A ceiling of the CPU from its samples; `None` without any.
    pub fn from_samples(kind: CeilingKind, threads: usize, samples: Vec<f64>, how: String) -> Option<Self> {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let best = match kind.lower_is_better() {
            true => *sorted.first()?,
            false => *sorted.last()?,
        };
        let median = sorted[sorted.len() / 2];
        Some(Self { kind, device: cpu(), threads, best, median, samples, how })
    }
}

/// The roof of `kind` of `device` among `ceilings` with the most threads.
pub fn roof(ceilings: &[Ceiling], device: &str, kind: CeilingKind) -> Option<f64> {
    let of_kind = || ceilings.iter().filter(|c| c.kind == kind && c.device == device);
    let threads = of_kind().map(|c| c.threads).max()?;
    // Several ways to the same roof: it is as high as the best of them.
    let best = of_kind().filter(|c| c.threads == threads).map(|c| c.best);
    match kind.lower_is_better() {
        true => best.min_by(f64::total_cmp),
        false => best.max_by(f64::total_cmp),
    }
}

/// The arithmetic roof that weights of `quant` are compared with: the best rate measured in a type that could compute
/// with them.
pub fn arithmetic_roof(ceilings: &[Ceiling], device: &str, quant: Quant) -> Option<f64> {
    use CeilingKind::*;
    let kinds: &[CeilingKind] = match (quant, device) {
        (Quant::F32, _) => &[GemmF32, FmaF32],
        (Quant::Bf16, "cpu") => &[GemmF32, FmaF32, DotBf16],
        (Quant::F16, "cpu") => &[GemmF32, GemmF16, FmaF32],
        (_, "cpu") => &[GemmF32, GemmF16, FmaF32, DotInt8],
        // On a card, blocks are widened to 16 bits before a product of many rows.
        (Quant::Bf16, _) => &[GemmBf16, FmaF32],
        (_, _) => &[GemmF16, FmaF32],
    };
    kinds.iter().filter_map(|kind| roof(ceilings, device, *kind)).max_by(f64::total_cmp)
}
