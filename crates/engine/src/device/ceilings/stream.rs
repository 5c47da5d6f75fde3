//! Memory bandwidth, after STREAM (McCalpin): read, write, copy, triad, on arrays that no cache holds.

use super::team;
use super::{MIN_SAMPLES, Settings, describe_bytes, uncached_bytes};
use crate::record::{Ceiling, CeilingKind};
use std::hint::black_box;
use std::time::Instant;

/// The arrays of one thread.
struct Arrays {
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
}

/// What a round does with a thread's arrays, and how many bytes of each element it moves.
struct Kernel {
    kind: CeilingKind,
    bytes_per_element: usize,
    run: fn(&mut Arrays),
    how: &'static str,
}

const KERNELS: [Kernel; 4] = [
    Kernel { kind: CeilingKind::ReadBandwidth, bytes_per_element: 8, run: read, how: "sum of doubles" },
    Kernel { kind: CeilingKind::WriteBandwidth, bytes_per_element: 8, run: write, how: "fill of doubles" },
    Kernel {
        kind: CeilingKind::CopyBandwidth,
        bytes_per_element: 16,
        run: copy,
        how: "copy of doubles, read + written",
    },
    Kernel { kind: CeilingKind::TriadBandwidth, bytes_per_element: 24, run: triad, how: "a = b + s c, read + written" },
];

fn read(arrays: &mut Arrays) {
    let mut sums = [0f64; 32];
    let (chunks, _) = arrays.a.as_chunks::<32>();
    for chunk in chunks {
        for lane in 0..32 {
            sums[lane] += chunk[lane];
        }
    }
    black_box(sums);
}

fn write(arrays: &mut Arrays) {
    arrays.a.fill(black_box(1.5));
    black_box(&mut arrays.a);
}

fn copy(arrays: &mut Arrays) {
    arrays.c.copy_from_slice(&arrays.a);
    black_box(&mut arrays.c);
}

fn triad(arrays: &mut Arrays) {
    let scalar = black_box(3.0);
    for ((a, b), c) in arrays.a.iter_mut().zip(&arrays.b).zip(&arrays.c) {
        *a = b + scalar * c;
    }
    black_box(&mut arrays.a);
}

/// All four, with the threads of `settings`.
pub(crate) fn measure(settings: &Settings) -> Vec<Ceiling> {
    let bytes = uncached_bytes(settings.threads);
    let elements = (bytes / 8 / settings.threads).next_multiple_of(32);
    let fill = |value: f64| vec![value; elements];
    let mut ceilings = Vec::new();
    for kernel in &KERNELS {
        let moved = (elements * settings.threads * kernel.bytes_per_element) as f64;
        let mut samples = Vec::new();
        let mut first = true;
        let start = Instant::now();
        team::rounds(
            settings.threads,
            |_| Arrays { a: fill(1.0), b: fill(2.0), c: fill(0.5) },
            |_, arrays| (kernel.run)(arrays),
            |seconds| {
                if !std::mem::take(&mut first) {
                    samples.push(moved / seconds);
                }
                samples.len() < MIN_SAMPLES || start.elapsed() < settings.time_each
            },
        );
        let how = format!("{}, arrays of {}", kernel.how, describe_bytes(elements * 8 * settings.threads));
        ceilings.extend(Ceiling::from_samples(kernel.kind, settings.threads, samples, how));
    }
    ceilings
}
