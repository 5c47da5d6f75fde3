//! Latency of a load and of a launch.

use super::{MeasurementContext, PART_OF_L2, check};
use crate::device::ceilings::describe_bytes;
use crate::device::ceilings::latency::ring;
use crate::device::cuda::{Arg, CudaError};
use crate::record::{Bound, CeilingKind};

/// Words from one link of the chain to the next: a line of the cache.
const LINK_WORDS: usize = 32;
/// Loads of the short and of the long walk.
const STEPS: (u32, u32) = (1000, 21_000);
/// Bytes of the set in memory. Address translation is part of the time once a set outgrows its tables; four times the
/// second-level cache is as small as a set in memory can be.
const MEMORY_BYTES: usize = 256 << 20;

pub(super) fn measure(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    launches(bench)?;
    let l2 = bench.card.facts.l2_bytes;
    let free = bench.card.memory()?.0.0 as usize;
    let memory = MEMORY_BYTES.max(4 * l2).min(free / 8);
    if l2 > 0 {
        chase(bench, CeilingKind::L2Latency, l2 / PART_OF_L2)?;
    }
    chase(bench, CeilingKind::MemoryLatency, memory)
}

fn chase(bench: &mut MeasurementContext<'_>, kind: CeilingKind, bytes: usize) -> Result<(), CudaError> {
    let card = bench.card;
    let links = (bytes / 4 / LINK_WORDS).max(2);
    let cycle = ring(links);
    let mut words = vec![0u32; links * LINK_WORDS];
    for (from, to) in cycle.iter().enumerate() {
        words[from * LINK_WORDS] = (to * LINK_WORDS) as u32;
    }
    let chain = card.with(&words)?;
    let last = card.poisoned(4)?;
    let kernel = card.kernel("latency", "pointer_chase")?;
    let walk = |steps: u32| {
        let args = [Arg::from(&chain), Arg::U32(0), Arg::U32(steps), Arg::from(&last)];
        // SAFETY: every link leads to another one of the chain.
        unsafe { kernel.launch(card, (1, 1, 1), 1, 0, &args) }
    };
    // The whole set goes through the cache once before anything is timed.
    walk(links as u32)?;
    let mut samples = Vec::new();
    let begin = std::time::Instant::now();
    while samples.len() < super::MIN_SAMPLES || begin.elapsed() < bench.time_each {
        let short = card.time(|| walk(STEPS.0))?;
        let long = card.time(|| walk(STEPS.1))?;
        samples.push((long - short).0 / (STEPS.1 - STEPS.0) as f64);
    }
    let end = (0..STEPS.1).fold(0, |at, _| cycle[at]);
    let got = last.download::<u32>(1)?;
    check(got == [(end * LINK_WORDS) as u32], || "where the chain of loads ended".to_string())?;
    samples.retain(|time| *time > 0.0);
    bench.keep(kind, Bound::Roof, samples, format!("dependent loads in random order over {}", describe_bytes(bytes)));
    Ok(())
}

/// The time between two empty kernels in a row, and so the least time of any kernel.
fn launches(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    let card = bench.card;
    let kernel = card.kernel("latency", "empty")?;
    // SAFETY: the kernel has no arguments.
    let times = bench.samples(&mut |_| unsafe { kernel.launch(card, (1, 1, 1), 1, 0, &[]) })?;
    let samples = times.iter().map(|time| time.0).collect();
    bench.keep(CeilingKind::LaunchTime, Bound::Roof, samples, "empty kernels, one after the other".to_string());
    Ok(())
}
