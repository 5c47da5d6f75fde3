//! Accelerators: dense peaks, bandwidth, memory. Empty is not known, never zero.

use super::tables::Fault;
use crate::units::{Bytes, BytesPerSecond, OpsPerSecond};
use crate::workload::{Arithmetic, Quant};
use serde::{Deserialize, Serialize};

/// Memory that a card of a nominal size really offers, where what the driver reports was not seen: the smallest share
/// among the cards of the catalog where both are known (22.5 of 24 GiB).
const USABLE_SHARE: f64 = 0.93;

/// CUDA compute capabilities of the architectures that accelerators.csv names (NVIDIA, CUDA C++ programming guide).
const CAPABILITIES: [(&str, f64); 13] = [
    ("Kepler", 3.7),
    ("Maxwell", 5.2),
    ("Pascal", 6.0),
    ("Volta", 7.0),
    ("Turing", 7.5),
    ("Ampere GA100", 8.0),
    ("Ampere GA102", 8.6),
    ("Ampere", 8.6),
    ("Ada", 8.9),
    ("Hopper", 9.0),
    ("Blackwell GB202", 12.0),
    ("Blackwell Ultra", 10.3),
    ("Blackwell", 10.0),
];

/// A row of accelerators.csv.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accelerator {
    /// `vendor/model-form-memory`, such as `nvidia/h100-sxm-80`.
    pub id: String,
    /// The vendor's name for it.
    pub name: String,
    /// Vendor.
    pub vendor: String,
    /// Generation.
    pub architecture: String,
    /// `sxm`, `pcie`, `nvl`, `oam` or `unknown`: it changes clocks and power, and so speed.
    pub form_factor: String,
    /// Nominal memory in GB.
    pub memory_gb: Option<f64>,
    /// Memory as the driver reports it, in MiB.
    pub memory_mib: Option<f64>,
    /// Peak memory bandwidth in GB/s.
    pub memory_bandwidth_gb_per_s: Option<f64>,
    /// Width of the memory bus.
    pub memory_bus_bits: Option<f64>,
    /// Data rate of a pin of the memory bus in Gbit/s.
    pub memory_gbit_per_s_per_pin: Option<f64>,
    /// Peak in `f32` in TFLOP/s.
    pub fp32_tflops: Option<f64>,
    /// Dense peak in `f16` in TFLOP/s.
    pub fp16_tflops: Option<f64>,
    /// Dense peak in `bf16` in TFLOP/s.
    pub bf16_tflops: Option<f64>,
    /// Dense peak in `fp8` in TFLOP/s.
    pub fp8_tflops: Option<f64>,
    /// Dense peak in `int8` in TOP/s.
    pub int8_tops: Option<f64>,
    /// Dense peak in `int4` in TOP/s.
    pub int4_tops: Option<f64>,
    /// Dense peak in `fp4` in TFLOP/s. Lists of before do not have the column.
    #[serde(default)]
    pub fp4_tflops: Option<f64>,
    /// Streaming multiprocessors.
    pub sm_count: Option<u32>,
    /// Highest clock of the multiprocessors.
    pub max_sm_clock_mhz: Option<f64>,
    /// Second-level cache.
    pub l2_mib: Option<f64>,
    /// Board power.
    pub tdp_w: Option<f64>,
    /// Other names, separated by semicolons.
    pub aliases: String,
    /// `conflict` where sources differ by more than 5 %.
    pub flags: String,
    /// What to know about the figures, such as sources that differ.
    pub note: String,
    /// Where the figures are from.
    pub source: String,
}

/// What cards of a CUDA compute capability compute products in whose numbers are of an arithmetic.
pub fn computed_in(arithmetic: Arithmetic, capability: f64) -> Arithmetic {
    match arithmetic {
        Arithmetic::Fp8 if capability < 8.9 => Arithmetic::F16,
        Arithmetic::Fp4 if capability < 10.0 => Arithmetic::F16,
        arithmetic => arithmetic,
    }
}

impl Accelerator {
    /// What is wrong with the numbers of the row: a figure that is not above 0 would make a card infinitely slow, or worth
    /// nothing.
    pub fn fault(&self) -> Option<Fault> {
        let figures = [
            ("memory_gb", self.memory_gb),
            ("memory_mib", self.memory_mib),
            ("memory_bandwidth_gb_per_s", self.memory_bandwidth_gb_per_s),
            ("memory_bus_bits", self.memory_bus_bits),
            ("memory_gbit_per_s_per_pin", self.memory_gbit_per_s_per_pin),
            ("fp32_tflops", self.fp32_tflops),
            ("fp16_tflops", self.fp16_tflops),
            ("bf16_tflops", self.bf16_tflops),
            ("fp8_tflops", self.fp8_tflops),
            ("int8_tops", self.int8_tops),
            ("int4_tops", self.int4_tops),
            ("fp4_tflops", self.fp4_tflops),
            ("sm_count", self.sm_count.map(f64::from)),
            ("max_sm_clock_mhz", self.max_sm_clock_mhz),
            ("l2_mib", self.l2_mib),
            ("tdp_w", self.tdp_w),
        ];
        let bad = figures.into_iter().find(|(_, value)| value.is_some_and(|v| !(v.is_finite() && v > 0.0)));
        bad.map(|(name, value)| {
            let message = format!("{name} is {}; leave it empty where it is not known", value.unwrap_or_default());
            ("non_positive_figure", message)
        })
    }

    /// Memory that a model can use: what the driver reports, or a cautious share of the nominal size.
    pub fn memory(&self) -> Option<Bytes> {
        match (self.memory_mib, self.memory_gb) {
            (Some(mib), _) => Some(Bytes(mib * 1024.0 * 1024.0)),
            (None, Some(gb)) => Some(Bytes(gb * USABLE_SHARE * 1024f64.powi(3))),
            (None, None) => None,
        }
    }

    /// Peak memory bandwidth.
    pub fn bandwidth(&self) -> Option<BytesPerSecond> {
        self.memory_bandwidth_gb_per_s.map(|gb| BytesPerSecond(gb * 1e9))
    }

    /// CUDA compute capability, as a number: 8.6. `None` of other vendors' chips, and of generations that the table of them
    /// lacks.
    pub fn capability(&self) -> Option<f64> {
        CAPABILITIES.iter().find(|(name, _)| *name == self.architecture).map(|(_, capability)| *capability)
    }

    /// What the card computes the products of a level in. Where it has no products of so few bits, weights are widened to
    /// 16: those of FP8 came with compute capability 8.9 and CDNA 3, those of FP4 with 10.0 and CDNA 4.
    pub fn computes(&self, quant: Quant) -> Arithmetic {
        let arithmetic = quant.arithmetic();
        let older: &[&str] = match arithmetic {
            Arithmetic::Fp8 => &["Vega", "RDNA", "CDNA2"],
            Arithmetic::Fp4 => &["Vega", "RDNA", "CDNA2", "CDNA3"],
            _ => &[],
        };
        let is_older = older.contains(&self.architecture.as_str());
        match self.capability() {
            Some(capability) => computed_in(arithmetic, capability),
            None if is_older => Arithmetic::F16,
            None => arithmetic,
        }
    }

    /// Peak arithmetic rate for weights of `quant`, by what its products are computed in: blocks of integers are widened
    /// to `f16`, so its rate is theirs. `None` where the table has no such rate.
    pub fn arithmetic(&self, quant: Quant) -> Option<OpsPerSecond> {
        let tera = match self.computes(quant) {
            Arithmetic::F32 => self.fp32_tflops,
            Arithmetic::Bf16 => self.bf16_tflops,
            Arithmetic::F16 => self.fp16_tflops,
            Arithmetic::Fp8 => self.fp8_tflops,
            Arithmetic::Fp4 => self.fp4_tflops,
            Arithmetic::Int8 => self.int8_tops,
            Arithmetic::Unknown => None,
        };
        tera.map(|t| OpsPerSecond(t * 1e12))
    }

    /// Highest clock in GHz.
    pub fn clock_ghz(&self) -> Option<f64> {
        self.max_sm_clock_mhz.map(|mhz| mhz / 1000.0)
    }
}
