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
    /// A dependent load that misses every cache.
    MemoryLatency,
    /// Matrix product in `f32`.
    GemmF32,
    /// Matrix product of `f16` inputs.
    GemmF16,
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
            Self::MemoryLatency => "memory latency",
            Self::GemmF32 => "GEMM f32",
            Self::GemmF16 => "GEMM f16",
            Self::DotBf16 => "dot bf16",
            Self::DotInt8 => "dot int8",
        }
    }

    /// A value of this kind as people read it.
    pub fn human(self, value: f64) -> String {
        match self {
            Self::MemoryLatency => Seconds(value).human(),
            Self::ReadBandwidth | Self::WriteBandwidth | Self::CopyBandwidth | Self::TriadBandwidth => {
                BytesPerSecond(value).human()
            }
            _ => OpsPerSecond(value).human(),
        }
    }

    /// Whether less is better.
    pub fn lower_is_better(self) -> bool {
        self == Self::MemoryLatency
    }
}

/// One measured roof, in SI units: bytes/s, seconds or operations/s.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Ceiling {
    /// What it bounds.
    pub kind: CeilingKind,
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

impl Ceiling {
    /// A ceiling from its samples; `None` without any.
    pub fn from_samples(kind: CeilingKind, threads: usize, samples: Vec<f64>, how: String) -> Option<Self> {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let best = match kind.lower_is_better() {
            true => *sorted.first()?,
            false => *sorted.last()?,
        };
        let median = sorted[sorted.len() / 2];
        Some(Self { kind, threads, best, median, samples, how })
    }
}

/// The roof of `kind` among `ceilings` with the most threads.
pub fn roof(ceilings: &[Ceiling], kind: CeilingKind) -> Option<f64> {
    ceilings.iter().filter(|c| c.kind == kind).max_by_key(|c| c.threads).map(|c| c.best)
}

/// The arithmetic roof that weights of `quant` are compared with: the best rate measured in a type that could compute
/// with them.
pub fn arithmetic_roof(ceilings: &[Ceiling], quant: Quant) -> Option<f64> {
    use CeilingKind::*;
    let kinds: &[CeilingKind] = match quant {
        Quant::F32 => &[GemmF32],
        Quant::Bf16 => &[GemmF32, DotBf16],
        Quant::F16 => &[GemmF32, GemmF16],
        _ => &[GemmF32, GemmF16, DotInt8],
    };
    kinds.iter().filter_map(|kind| roof(ceilings, *kind)).max_by(f64::total_cmp)
}
