//! Measured roofs of an NVIDIA card, with the kernels of `kernels/`. Each result is checked on the host; a ceiling that
//! cannot be measured says why.

mod arithmetic;
mod bandwidth;
mod copies;
pub mod gemm;
mod gemv;
mod latency;
mod slope;
mod tensor;

use crate::device::cuda::{Card, CudaError};
use crate::record::{Bound, Ceiling, CeilingKind};
use crate::units::Seconds;
use slope::Slope;
use std::time::{Duration, Instant};

/// Fewest samples of a ceiling, whatever the time.
const MIN_SAMPLES: usize = 5;
/// What is timed should take this long at least: events count in steps of about half a microsecond.
const LEAST_TIMED: Seconds = Seconds(0.002);
/// Threads of a block, in most kernels.
const THREADS: u32 = 256;
/// Blocks that fill a multiprocessor with such blocks.
const BLOCKS_EACH: u32 = 8;
/// A set in the second-level cache is this part of it. Large chips have their cache in two halves, and a line that is
/// read from both sides comes to be in both: what they hold at once of such lines is half of their size, and a set of
/// that size would be evicted by whatever else there is. A quarter stays.
const PART_OF_L2: usize = 4;

/// What was measured, and what was not, with the reason.
#[derive(Debug, Default)]
pub struct Measured {
    /// The ceilings.
    pub ceilings: Vec<Ceiling>,
    /// Why others are absent, such as `tensor fp8: ...`.
    pub absent: Vec<String>,
}

/// One step of the measurement.
type Step = fn(&mut MeasurementContext<'_>) -> Result<(), CudaError>;

/// What the steps of the measurement share.
struct MeasurementContext<'a> {
    card: &'a Card,
    time_each: Duration,
    measured: Measured,
}

/// Measures every ceiling of `card`. After an error that leaves the card unusable, the rest is absent.
pub fn measure(card: &Card, time_each: Duration) -> Measured {
    let steps: [(&str, Step); 7] = [
        ("memory bandwidth", bandwidth::measure),
        ("latency", latency::measure),
        ("multiply-add", arithmetic::measure),
        ("tensor cores", tensor::measure),
        ("weight-only products", gemv::measure),
        ("matrix products", gemm::measure),
        ("copies to and from the host", copies::measure),
    ];
    let mut bench = MeasurementContext { card, time_each, measured: Measured::default() };
    let mut lost: Option<String> = None;
    for (name, step) in steps {
        if let Some(error) = &lost {
            bench.measured.absent.push(format!("{name}: not tried after: {error}"));
            continue;
        }
        if let Err(error) = step(&mut bench) {
            bench.measured.absent.push(format!("{name}: {error}"));
            if error.is_sticky() {
                lost = Some(error.to_string());
            }
        }
        // Memory that one step freed is the next one's; that the pool cannot be trimmed costs nothing but room.
        let _ = card.trim();
    }
    bench.measured
}

impl MeasurementContext<'_> {
    fn blocks(&self) -> u32 {
        self.card.facts.multiprocessors * BLOCKS_EACH
    }

    /// Times `launch`, which is told which launch it is, until the time is up; seconds of one launch. What comes before
    /// the clocks are warm does not count, and says how many launches make a sample long enough for the card's clock.
    fn samples(&self, launch: &mut dyn FnMut(usize) -> Result<(), CudaError>) -> Result<Vec<Seconds>, CudaError> {
        let mut number = 0;
        let mut timed = |launches: usize| {
            self.card.time(|| {
                for _ in 0..launches {
                    launch(number)?;
                    number += 1;
                }
                Ok(())
            })
        };
        timed(1)?;
        let begin = Instant::now();
        let launches = loop {
            let once = timed(1)?;
            if begin.elapsed() >= self.warm() {
                break (LEAST_TIMED.0 / once.0.max(1e-7)).ceil().clamp(1.0, 2000.0) as usize;
            }
        };
        let begin = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < MIN_SAMPLES || begin.elapsed() < self.time_each {
            samples.push(Seconds(timed(launches)?.0 / launches as f64));
        }
        Ok(samples)
    }

    /// How long a kernel runs before it is timed.
    fn warm(&self) -> Duration {
        Duration::from_secs_f64(slope::WARM.0).min(self.time_each)
    }

    /// Times a kernel that does its work in rounds; `launch` is told how many, always an odd number.
    fn slope(&self, launch: &mut dyn FnMut(u32) -> Result<(), CudaError>) -> Result<Slope, CudaError> {
        slope::measure(Seconds(self.time_each.as_secs_f64()), &mut |rounds| self.card.time(|| launch(rounds)))
    }

    /// Keeps a ceiling: `work` bytes or operations in each of `times`.
    fn keep_rate(&mut self, kind: CeilingKind, bound: Bound, work: f64, times: &[Seconds], how: String) {
        self.keep(kind, bound, times.iter().map(|time| work / time.0).collect(), how);
    }

    /// Keeps a ceiling of `samples`.
    fn keep(&mut self, kind: CeilingKind, bound: Bound, samples: Vec<f64>, how: String) {
        let threads = (self.blocks() * THREADS) as usize;
        let device = format!("cuda:{}", self.card.facts.index);
        match Ceiling::from_samples(kind, threads, samples, how) {
            Some(ceiling) => self.measured.ceilings.push(Ceiling { device, bound, ..ceiling }),
            None => self.measured.absent.push(format!("{}: no sample of it was longer than nothing", kind.label())),
        }
    }

    /// Runs one step of several; what an older card cannot do is absent, and the rest goes on.
    fn attempt(
        &mut self,
        kind: CeilingKind,
        step: impl FnOnce(&mut Self) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        match step(self) {
            Err(error @ (CudaError::Unsupported(_) | CudaError::WrongResult(_) | CudaError::OutOfMemory { .. })) => {
                self.measured.absent.push(format!("{}: {error}", kind.label()));
                Ok(())
            }
            other => other,
        }
    }
}

/// The function of the same name in `kernels/common.cuh`: data that the host can compute again.
fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Word `at` of what `fill_random` writes.
fn random_word(at: u64, seed: u32) -> u32 {
    mix(at as u32 ^ mix(seed.wrapping_add((at >> 32) as u32)))
}

/// `Err` unless a check holds.
fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), CudaError> {
    if holds { Ok(()) } else { Err(CudaError::WrongResult(what())) }
}
