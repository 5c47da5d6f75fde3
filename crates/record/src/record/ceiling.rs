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
    /// Product of a matrix of `f16` and a vector, bytes of the matrix counted.
    GemvF16,
    /// Product of a matrix of `bf16` and a vector, bytes of the matrix counted.
    GemvBf16,
    /// Product of a matrix of 8-bit blocks (`Q8_0`) and a vector, bytes of the matrix counted.
    GemvInt8,
    /// Product of a matrix of 4-bit blocks (`Q4_K`) and a vector, bytes of the matrix counted.
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
            Self::GemvF16 => "GEMV f16",
            Self::GemvBf16 => "GEMV bf16",
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
            | BothWaysPinned | FromDevicePinned | ToDevicePageable | FromDevicePageable | GemvF16 | GemvBf16
            | GemvInt8 | GemvInt4 => BytesPerSecond(value).human(),
            _ => OpsPerSecond(value).human(),
        }
    }

    /// Whether less is better.
    pub fn lower_is_better(self) -> bool {
        matches!(self, Self::MemoryLatency | Self::L2Latency | Self::LaunchTime)
    }
}

/// How a measured figure stands to what the device can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// As much as the device can do, measured in the way that reaches it.
    #[default]
    Roof,
    /// The device can do more: it was measured in a way that does not reach all of it. No share of such a figure means
    /// anything, and none is given.
    Lower,
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
    /// Whether the device can do more than that.
    #[serde(default)]
    pub bound: Bound,
}

/// The device of records from before there were others.
fn cpu() -> String {
    "cpu".to_string()
}

impl Ceiling {
    /// A value of this ceiling as people read it.
    pub fn human(&self, value: f64) -> String {
        match self.bound {
            Bound::Roof => self.kind.human(value),
            Bound::Lower => format!("at least {}", self.kind.human(value)),
        }
    }

    /// A ceiling of the CPU from its samples; `None` without any.
    pub fn from_samples(kind: CeilingKind, threads: usize, samples: Vec<f64>, how: String) -> Option<Self> {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let best = if kind.lower_is_better() { *sorted.first()? } else { *sorted.last()? };
        let median = sorted[sorted.len() / 2];
        Some(Self { kind, device: cpu(), threads, best, median, samples, how, bound: Bound::Roof })
    }
}

/// The ceiling of `kind` of `device` among `ceilings` that stands for it: with the most threads, and of several ways
/// to it the one that got furthest.
pub fn highest<'a>(ceilings: &'a [Ceiling], device: &str, kind: CeilingKind) -> Option<&'a Ceiling> {
    let of_kind = || ceilings.iter().filter(|c| c.kind == kind && c.device == device);
    let threads = of_kind().map(|c| c.threads).max()?;
    let by_rate = |a: &&Ceiling, b: &&Ceiling| a.best.total_cmp(&b.best);
    let widest = of_kind().filter(|c| c.threads == threads);
    if kind.lower_is_better() { widest.min_by(by_rate) } else { widest.max_by(by_rate) }
}

/// The roof of `kind` of `device` among `ceilings`.
pub fn roof(ceilings: &[Ceiling], device: &str, kind: CeilingKind) -> Option<f64> {
    highest(ceilings, device, kind).map(|ceiling| ceiling.best)
}

/// The arithmetic roof that weights of `quant` are compared with: the best rate measured in a type that could compute
/// with them, be it a library's or the units' own. The error says why there is none.
pub fn arithmetic_roof<'a>(ceilings: &'a [Ceiling], device: &str, quant: Quant) -> Result<&'a Ceiling, String> {
    use CeilingKind::*;
    if ceilings.is_empty() {
        return Err("ceilings were not measured".to_string());
    }
    let kinds: &[CeilingKind] = match (quant, device) {
        (Quant::F32, _) => &[GemmF32, FmaF32],
        (Quant::Bf16, "cpu") => &[GemmF32, FmaF32, DotBf16],
        (Quant::F16, "cpu") => &[GemmF32, GemmF16, FmaF32],
        (_, "cpu") => &[GemmF32, GemmF16, FmaF32, DotInt8],
        // On a card, blocks are widened to 16 bits before a product of many rows. Arithmetic outside of the tensor cores
        // is no roof of a card that has them.
        (Quant::Bf16, _) => &[GemmBf16, TensorBf16],
        (_, _) => &[GemmF16, TensorF16],
    };
    let measured = || kinds.iter().filter_map(|kind| highest(ceilings, device, *kind));
    // On a card both kinds are of the same products: the larger is the roof. On a CPU they are of different ones, and of
    // one that was measured from below nothing says that it is not the highest.
    let unknown = measured().find(|ceiling| device == "cpu" && ceiling.bound == Bound::Lower);
    match unknown.or_else(|| measured().max_by(|a, b| a.best.total_cmp(&b.best))) {
        Some(roof) if roof.bound == Bound::Roof => Ok(roof),
        Some(lower) => Err(format!(
            "the compute roof is not known: {} is {}, {}",
            lower.kind.label(),
            lower.human(lower.best),
            lower.how
        )),
        None => {
            let labels: Vec<&str> = kinds.iter().map(|kind| kind.label()).collect();
            Err(format!("the compute roof is not known: {} could not be measured on {device}", labels.join(" and ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceiling(device: &str, kind: CeilingKind, best: f64, bound: Bound) -> Ceiling {
        let ceiling = Ceiling::from_samples(kind, 8, vec![best * 0.9, best], "mma.sync".to_string()).unwrap();
        Ceiling { device: device.to_string(), bound, ..ceiling }
    }

    #[test]
    fn the_roof_of_a_card_is_the_larger_of_library_and_units() {
        use CeilingKind::*;
        let roof_of = |rows: &[(CeilingKind, f64, Bound)], quant| {
            let rows: Vec<Ceiling> =
                rows.iter().map(|(kind, best, bound)| ceiling("cuda:0", *kind, *best, *bound)).collect();
            arithmetic_roof(&rows, "cuda:0", quant).map(|roof| (roof.kind, roof.best))
        };
        // Hopper without a library: its own products are below what the tensor cores can do, and so is mma.sync.
        let hopper = [
            (FmaF32, 60e12, Bound::Roof),
            (TensorBf16, 600e12, Bound::Lower),
            (TensorBf16, 900e12, Bound::Roof),
            (GemmBf16, 500e12, Bound::Lower),
        ];
        assert_eq!(roof_of(&hopper, Quant::Bf16), Ok((TensorBf16, 900e12)));
        // Blackwell: what mma.sync says is no roof; the library's rate is.
        let blackwell = [(TensorF16, 900e12, Bound::Lower), (GemmF16, 600e12, Bound::Lower)];
        let why = roof_of(&blackwell, Quant::Int4).unwrap_err();
        assert!(why.contains("tensor f16 is at least 900 TOP/s, mma.sync"), "{why}");
        let with_library = [blackwell[0], blackwell[1], (GemmF16, 1600e12, Bound::Roof)];
        assert_eq!(roof_of(&with_library, Quant::Int8), Ok((GemmF16, 1600e12)));
        // A T4 without a library: its tensor cores, never its plain arithmetic.
        let turing = [(FmaF32, 8e12, Bound::Roof), (TensorF16, 60e12, Bound::Roof)];
        assert_eq!(roof_of(&turing, Quant::F16), Ok((TensorF16, 60e12)));
        assert!(roof_of(&turing, Quant::Bf16).unwrap_err().contains("GEMM bf16 and tensor bf16 could not be measured"));
        assert_eq!(roof_of(&[], Quant::Bf16), Err("ceilings were not measured".to_string()));
    }

    #[test]
    fn a_cpu_whose_own_units_were_not_used_has_no_roof_there() {
        use CeilingKind::*;
        let mut rows = vec![ceiling("cpu", GemmF32, 2e12, Bound::Roof), ceiling("cpu", DotInt8, 1e12, Bound::Lower)];
        assert_eq!(arithmetic_roof(&rows, "cpu", Quant::F32).unwrap().best, 2e12);
        assert!(arithmetic_roof(&rows, "cpu", Quant::Int8).unwrap_err().contains("dot int8 is at least 1.00 TOP/s"));
        rows[1].bound = Bound::Roof;
        assert_eq!(arithmetic_roof(&rows, "cpu", Quant::Int8).unwrap().best, 2e12);
    }

    #[test]
    fn records_from_before_have_roofs() {
        let json = r#"{"kind":"fma_f32","threads":1,"best":2.0,"median":1.0,"samples":[1.0,2.0],"how":"x"}"#;
        let ceiling: Ceiling = serde_json::from_str(json).unwrap();
        assert_eq!((ceiling.bound, ceiling.device.as_str()), (Bound::Roof, "cpu"));
    }
}
