//! Measured roofs of an NVIDIA card, with the kernels of `kernels/`. Each result is checked on the host; a ceiling that
//! cannot be measured says why.

mod arithmetic;
mod bandwidth;
mod copies;
pub mod gemm;
mod gemv;
mod latency;
mod tensor;

use crate::device::cuda::{Card, CudaError};
use crate::record::{Ceiling, CeilingKind};
use crate::units::Seconds;
use std::time::{Duration, Instant};

/// Fewest samples of a ceiling, whatever the time.
const MIN_SAMPLES: usize = 5;
/// A launch that is timed should take this long at least: events count in steps of about half a microsecond.
const LEAST_TIMED: Seconds = Seconds(0.002);
/// Threads of a block, in most kernels.
const THREADS: u32 = 256;
/// Blocks that fill a multiprocessor with such blocks.
const BLOCKS_EACH: u32 = 8;

/// What was measured, and what was not, with the reason.
#[derive(Debug, Default)]
pub struct Measured {
    /// The ceilings.
    pub ceilings: Vec<Ceiling>,
    /// Why others are absent, such as `tensor fp8: ...`.
    pub absent: Vec<String>,
}

/// One step of the measurement.
type Step = fn(&mut Bench<'_>) -> Result<(), CudaError>;

/// What the steps work with.
struct Bench<'a> {
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
    let mut bench = Bench { card, time_each, measured: Measured::default() };
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

impl Bench<'_> {
    fn blocks(&self) -> u32 {
        self.card.facts.multiprocessors * BLOCKS_EACH
    }

    /// Times `launch`, which is told which launch it is, until the time is up; seconds of one launch. The first sample
    /// does not count, and says how many launches make a sample long enough for the card's clock.
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
        let once = timed(1)?;
        let launches = (LEAST_TIMED.0 / once.0.max(1e-7)).ceil().clamp(1.0, 2000.0) as usize;
        let begin = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < MIN_SAMPLES || begin.elapsed() < self.time_each {
            samples.push(Seconds(timed(launches)?.0 / launches as f64));
        }
        Ok(samples)
    }

    /// How many rounds a launch should do to be timed well, given one that does a single round; at most `most`.
    fn rounds(&self, most: u32, once: impl FnOnce() -> Result<(), CudaError>) -> Result<u32, CudaError> {
        let time = self.card.time(once)?;
        Ok((LEAST_TIMED.0 / time.0.max(1e-7)).ceil().clamp(1.0, most as f64) as u32)
    }

    /// Keeps a ceiling: `work` bytes or operations in each of `times`.
    fn keep_rate(&mut self, kind: CeilingKind, work: f64, times: &[Seconds], how: String) {
        self.keep(kind, times.iter().map(|time| work / time.0).collect(), how);
    }

    /// Keeps a ceiling of `samples`.
    fn keep(&mut self, kind: CeilingKind, samples: Vec<f64>, how: String) {
        let threads = (self.blocks() * THREADS) as usize;
        let ceiling = Ceiling::from_samples(kind, threads, samples, how);
        let device = format!("cuda:{}", self.card.facts.index);
        self.measured.ceilings.extend(ceiling.map(|ceiling| Ceiling { device, ..ceiling }));
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
