//! Memory latency: a chain of dependent loads in random order over a working set that no cache holds.

use super::{Settings, describe_bytes, repeat, uncached_bytes};
use crate::record::{Ceiling, CeilingKind};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::hint::black_box;
use std::time::Instant;

/// Bytes from one link of the chain to any other: a cache line and its neighbour, which are fetched together.
const LINK_BYTES: usize = 128;
/// Loads of one sample.
const LOADS: usize = 200_000;

/// Seconds per load on one thread; the time of address translation is part of it.
pub(crate) fn measure(settings: &Settings) -> Vec<Ceiling> {
    const WORDS: usize = LINK_BYTES / 8;
    let links = (uncached_bytes(1) / LINK_BYTES).max(1024);
    let chain = ring(links);
    let mut memory = vec![0usize; links * WORDS];
    for (from, to) in chain.iter().enumerate() {
        memory[from * WORDS] = to * WORDS;
    }
    drop(chain);
    let mut at = 0;
    let samples = repeat(settings, || {
        let start = Instant::now();
        for _ in 0..LOADS {
            at = memory[at];
        }
        black_box(at);
        start.elapsed().as_secs_f64() / LOADS as f64
    });
    let how = format!("dependent loads in random order over {}", describe_bytes(links * LINK_BYTES));
    Ceiling::from_samples(CeilingKind::MemoryLatency, 1, samples, how).into_iter().collect()
}

/// A permutation of `0..count` that is one single cycle (Sattolo's algorithm).
pub(super) fn ring(count: usize) -> Vec<usize> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
    let mut next: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        next.swap(i, rng.random_range(0..i));
    }
    next
}

#[cfg(test)]
mod tests {
    use super::ring;

    #[test]
    fn the_chain_visits_every_link_before_it_returns() {
        let next = ring(1000);
        let (mut at, mut steps) = (0, 0);
        loop {
            at = next[at];
            steps += 1;
            if at == 0 {
                break;
            }
        }
        assert_eq!(steps, 1000);
    }
}
