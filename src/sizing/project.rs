//! A first projection to hardware that was not measured: the share of the roof that was reached here, times the roof
//! there, plus the time that a GPU spends launching the kernels of each layer.
//!
//! It is wide on purpose. On public llama.cpp measurements of six models on twelve GPU types (SpareCores
//! sc-inspector-data@804d3c71, one build, Q4_K_M), with shares taken from CPU instances of up to 16 threads, 90 % of
//! the true times per token were 0.42 to 1.6 times the projected one (0.43 to 1.9 times for models above 1 GB), and
//! without the layer term 0.5 to 12 times. 90 % of the true prefill times were 0.4 to 4.4 times the projected one at a
//! share of 0.3, 0.7 to 5.4 at 0.5, and 1.1 to 6.4 at 0.8. METHODOLOGY.md has the table.

use super::fit;
use super::interval::Interval;
use super::points::Point;
use crate::catalog::{Accelerator, Shape};
use crate::record::ceiling::{arithmetic_roof, roof};
use crate::record::environment::CpuRecord;
use crate::record::{CaseRow, CeilingKind, RunRecord};
use crate::units::{Bytes, Seconds};
use crate::workload::{Case, ModelShape, Quant};

/// Seconds x GHz that a GPU takes to launch the kernels of one layer, as fitted to the public measurements above.
const LAYER_LAUNCH_GHZ_S: f64 = 135e-6;
/// Clock that is assumed where the catalog has none: the A100's, the lowest of the current data centre cards.
const ASSUMED_CLOCK_GHZ: f64 = 1.41;
/// Factors between projected and true time per token that hold 90 % of the evidence, low and high.
const DECODE_FACTORS: (f64, f64) = (0.4, 2.5);
/// The same for prefill, whatever the share.
const PREFILL_FACTORS: (f64, f64) = (0.4, 6.4);
/// Bytes of a number of the cache on a GPU.
const GPU_CACHE_ELEMENT: usize = 2;
/// The same of the CPU engine, which computes in `f32`.
const CPU_CACHE_ELEMENT: usize = 4;
/// Between sizes of one CPU generation, times scale between not at all and with the cores; beyond this ratio of cores
/// nothing is said.
const MOST_CORE_RATIO: f64 = 8.0;
/// Spread between instances of the same CPU and size (SpareCores sc-inspector-data: the median of max / min
/// is 1.16).
const SAME_CPU_FACTOR: f64 = 1.16;

/// Times of one case on one device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// To the first token, of the whole batch.
    pub ttft: Interval,
    /// Per further token of each sequence.
    pub tpot: Interval,
}

impl Times {
    /// For a whole request that generates so many tokens (in the mean).
    pub fn e2e(&self, gen_tokens: f64) -> Interval {
        let steps = (gen_tokens - 1.0).max(0.0);
        self.ttft.plus(self.tpot.map(|t| t * steps))
    }
}

/// Roofs of a device: bytes per second and operations per second.
#[derive(Debug, Clone, Copy)]
struct Roofs {
    bandwidth: f64,
    arithmetic: f64,
}

/// What a case moves and computes.
struct Work {
    prefill_ops: f64,
    weight_bytes: f64,
    decode_ops: f64,
    decode_bytes: f64,
}

impl Work {
    fn of(shape: &ModelShape, case: &Case, cache_element: usize) -> Self {
        let middle = case.prompt_tokens + case.gen_tokens / 2;
        let weights = shape.decode_weight_bytes(case.quant).0;
        Self {
            prefill_ops: shape.prefill_ops(case.batch, case.prompt_tokens),
            weight_bytes: weights,
            decode_ops: shape.decode_ops(case.batch, middle),
            decode_bytes: weights + shape.kv_bytes(case.batch, middle, cache_element).0,
        }
    }

    /// The least time that the roofs allow for a prefill.
    fn prefill_bound(&self, roofs: Roofs) -> f64 {
        (self.prefill_ops / roofs.arithmetic).max(self.weight_bytes / roofs.bandwidth)
    }

    /// The least time that the roofs allow for a decode step.
    fn decode_bound(&self, roofs: Roofs) -> f64 {
        (self.decode_bytes / roofs.bandwidth).max(self.decode_ops / roofs.arithmetic)
    }
}

/// Why nothing is said of a device. The words are made only where they are shown: a ranking asks for thousands.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal<'a> {
    /// candle has no backend for it.
    NoBackend(&'a Accelerator),
    /// candle's kernels need a newer one.
    TooOld(&'a Accelerator),
    /// A figure is not published.
    Unknown(&'static str),
    /// No arithmetic rate at this level is published.
    NoRate(Quant),
    /// Weights and cache are too large.
    DoesNotFit {
        /// With the reserve.
        needed: Bytes,
        /// What there is.
        memory: Bytes,
        /// Where.
        place: &'a str,
    },
    /// Another size of CPU than can be told from so many vCPUs.
    TooFar(f64),
}

impl std::fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBackend(accelerator) => write!(f, "candle has no backend for {}", accelerator.name),
            Self::TooOld(accelerator) => write!(f, "{} is too old for candle's CUDA kernels", accelerator.name),
            Self::Unknown(figure) => write!(f, "its {figure} is not known"),
            Self::NoRate(quant) => write!(f, "no rate in {quant} is published for it"),
            Self::DoesNotFit { needed, memory, place } => {
                write!(f, "does not fit: {needed} with the reserve, {memory} in {place}")
            }
            Self::TooFar(vcpus) => write!(
                f,
                "its number of vCPUs is too far from the {vcpus} that were measured (1 to {MOST_CORE_RATIO} times)"
            ),
        }
    }
}

/// A measured case as something to project from.
pub struct Reference<'a> {
    shape: &'a ModelShape,
    case: Case,
    /// The same at the greatest lengths that are asked about: what has to fit.
    largest: Case,
    measured: Times,
    /// Share of the roof that the prefill reached, at most 1.
    prefill_share: f64,
    /// Share of the roof that decoding reached, at most 1.
    decode_share: f64,
    /// Hardware threads that the measured cores have: what clouds sell as vCPUs.
    vcpus: f64,
}

/// The engine runs a thread on each core; where a core has two hardware threads, a cloud sells it as two vCPUs.
fn vcpus(cpu: &CpuRecord) -> f64 {
    let per_core = cpu.threads.max(1) as f64 / cpu.cores.max(1) as f64;
    (cpu.engine_threads.max(1) as f64 * per_core.max(1.0)).min(cpu.threads.max(cpu.engine_threads).max(1) as f64)
}

/// The measured times of a row.
pub fn measured_times(row: &CaseRow) -> Option<Times> {
    let interval = |d: crate::record::Distribution<Seconds>| {
        Interval::new(d.median.0, d.lo.unwrap_or(d.median).0, d.hi.unwrap_or(d.median).0)
    };
    Some(Times { ttft: interval(row.metrics.ttft?), tpot: interval(row.metrics.tpot?) })
}

impl<'a> Reference<'a> {
    /// A measured point of a run; the error says what the run lacks.
    pub fn new(record: &'a RunRecord, point: &Point) -> Result<Self, String> {
        let shape = &record.model.as_ref().ok_or("the run has no model")?.shape;
        let (case, measured, device) = (point.case, point.times, point.device.as_str());
        let roofs = (
            roof(&record.ceilings, device, CeilingKind::ReadBandwidth),
            arithmetic_roof(&record.ceilings, device, case.quant),
        );
        let (Some(bandwidth), Some(arithmetic)) = roofs else {
            return Err("the run has no ceilings, so that the share of the roof is not known".to_string());
        };
        let roofs = Roofs { bandwidth, arithmetic };
        let cache_element = if device == "cpu" { CPU_CACHE_ELEMENT } else { GPU_CACHE_ELEMENT };
        let work = Work::of(shape, &case, cache_element);
        Ok(Self {
            shape,
            case,
            largest: Case { prompt_tokens: point.longest - case.gen_tokens.min(point.longest), ..case },
            measured,
            prefill_share: (work.prefill_bound(roofs) / measured.ttft.value).min(1.0),
            decode_share: (work.decode_bound(roofs) / measured.tpot.value).min(1.0),
            vcpus: vcpus(&record.environment.cpu),
        })
    }

    /// Times on one accelerator, or on a `share` of one; the error says why none can be given.
    ///
    /// A share has its part of the memory. Its speed lies between that of the whole card, when nobody else is on it, and
    /// its part of that.
    pub fn on_accelerator(&self, accelerator: &'a Accelerator, share: f64) -> Result<Times, Refusal<'a>> {
        if accelerator.vendor != "NVIDIA" {
            return Err(Refusal::NoBackend(accelerator));
        }
        if ["Kepler", "Maxwell", "Pascal"].iter().any(|old| accelerator.architecture.starts_with(old)) {
            return Err(Refusal::TooOld(accelerator));
        }
        let memory = accelerator.memory().ok_or(Refusal::Unknown("memory"))? * share;
        self.check_fit(memory, GPU_CACHE_ELEMENT, fit::GPU_RESERVE, &accelerator.name)?;
        let bandwidth = accelerator.bandwidth().ok_or(Refusal::Unknown("memory bandwidth"))?;
        let arithmetic = accelerator.arithmetic(self.case.quant).ok_or(Refusal::NoRate(self.case.quant))?;
        let roofs = Roofs { bandwidth: bandwidth.0, arithmetic: arithmetic.0 };
        let work = Work::of(self.shape, &self.case, GPU_CACHE_ELEMENT);
        let launch =
            self.shape.layers as f64 * LAYER_LAUNCH_GHZ_S / accelerator.clock_ghz().unwrap_or(ASSUMED_CLOCK_GHZ);
        let project = |bound: f64, reached: f64, measured: Interval, (low, high): (f64, f64)| {
            let time = bound / reached + launch;
            // What the measurement is uncertain by comes on top. No projection beats the uncalibrated roof.
            let (low, high) = (low * measured.lo / measured.value, high * measured.hi / measured.value);
            Interval::new(time / share, (time * low).max(bound).min(time), time * high / share)
        };
        Ok(Times {
            ttft: project(work.prefill_bound(roofs), self.prefill_share, self.measured.ttft, PREFILL_FACTORS),
            tpot: project(work.decode_bound(roofs), self.decode_share, self.measured.tpot, DECODE_FACTORS),
        })
    }

    /// Times on an instance of the same CPU generation; the error says why none can be given.
    pub fn on_same_cpu(&self, shape: &Shape) -> Result<Times, Refusal<'a>> {
        let (Some(vcpus), Some(memory)) = (shape.vcpus, shape.memory) else {
            return Err(Refusal::Unknown("size"));
        };
        self.check_fit(memory, 4, fit::HOST_RESERVE, "the host")?;
        let ratio = vcpus / self.vcpus;
        if !(1.0..=MOST_CORE_RATIO).contains(&ratio) {
            return Err(Refusal::TooFar(self.vcpus));
        }
        let scaled = |time: Interval| {
            Interval::new(time.value / ratio.sqrt(), time.lo / ratio / SAME_CPU_FACTOR, time.hi * SAME_CPU_FACTOR)
        };
        Ok(Times { ttft: scaled(self.measured.ttft), tpot: scaled(self.measured.tpot) })
    }

    fn check_fit(&self, memory: Bytes, element: usize, reserve: Bytes, place: &'a str) -> Result<(), Refusal<'a>> {
        let needed = fit::needed(self.shape, &self.largest, element, reserve);
        if needed.0 <= memory.0 { Ok(()) } else { Err(Refusal::DoesNotFit { needed, memory, place }) }
    }
}
