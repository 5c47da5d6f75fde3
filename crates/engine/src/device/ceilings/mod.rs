//! Measured roofs of the CPU: what its memory and its arithmetic units can do at best, so that each case can say
//! which share of it it reached.

mod arithmetic;
pub mod cuda;
mod latency;
mod stream;
mod team;

use crate::record::{Ceiling, CeilingKind};
use crate::units::Bytes;
use std::path::Path;
use std::time::{Duration, Instant};

/// How to measure.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Threads that work together.
    pub threads: usize,
    /// Time for each ceiling.
    pub time_each: Duration,
}

/// Fewest samples of a ceiling, whatever the time.
const MIN_SAMPLES: usize = 5;

/// Calls `sample` until the time is up, at least [`MIN_SAMPLES`] times, after one call that does not count.
fn repeat(settings: &Settings, mut sample: impl FnMut() -> f64) -> Vec<f64> {
    sample();
    let start = Instant::now();
    let mut samples = Vec::new();
    while samples.len() < MIN_SAMPLES || start.elapsed() < settings.time_each {
        samples.push(sample());
    }
    samples
}

/// Bytes that a working set must have so that no cache holds it: four times the last level for each thread (twice is the
/// least), as threads may run on parts of the chip with a last level each; within 2 GiB
/// and what the memory allows.
fn uncached_bytes(threads: usize) -> usize {
    let caches = super::cpu::describe(Path::new("/")).caches_bytes;
    let last = caches.iter().map(|b| b.0).fold(8e6, f64::max);
    let most = (super::memory::available().0 / 16.0).min(2e9);
    (4.0 * last * threads as f64).max(64e6).min(most) as usize
}

/// One step of the measurement: what it measures, and how.
type Measure = fn(&Settings) -> Vec<Ceiling>;

/// Measures every ceiling. `progress(done, steps)` is told after each step.
pub fn measure(settings: &Settings, progress: &mut dyn FnMut(usize, usize)) -> Vec<Ceiling> {
    let steps: [Measure; 4] = [stream::measure, latency::measure, arithmetic::gemm, arithmetic::dots];
    let mut ceilings = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        ceilings.extend(step(settings));
        progress(index + 1, steps.len());
    }
    // One thread's share of the bandwidth tells whether more threads help.
    if settings.threads > 1 {
        let one = Settings { threads: 1, ..*settings };
        ceilings.extend(stream::measure(&one).into_iter().filter(|c| c.kind == CeilingKind::ReadBandwidth));
    }
    ceilings
}

fn describe_bytes(bytes: usize) -> String {
    Bytes(bytes as f64).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ceiling::roof;

    #[test]
    fn every_ceiling_is_measured_and_plausible() {
        let settings = Settings { threads: 1, time_each: Duration::from_millis(1) };
        let mut steps = 0;
        let ceilings = measure(&settings, &mut |_, _| steps += 1);
        assert_eq!(steps, 4);
        use CeilingKind::*;
        for kind in [ReadBandwidth, WriteBandwidth, CopyBandwidth, TriadBandwidth, GemmF32, GemmF16, DotInt8] {
            let value = roof(&ceilings, "cpu", kind).unwrap_or_else(|| panic!("{kind:?} is missing"));
            assert!(value > 1e7 && value < 1e15, "{kind:?} {value}");
        }
        let latency = roof(&ceilings, "cpu", MemoryLatency).unwrap();
        assert!(latency > 1e-9 && latency < 1e-5, "{latency}");
        for ceiling in &ceilings {
            assert!(ceiling.samples.len() >= MIN_SAMPLES);
            assert!(!ceiling.how.is_empty());
        }
    }
}
