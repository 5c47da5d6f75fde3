//! Multiply-adds outside of the tensor cores.

use super::{MeasurementContext, THREADS, check, mix};
use crate::device::cuda::{Arg, Buffer, CudaError, Kernel};
use crate::record::{Bound, CeilingKind};
use half::{bf16, f16};

/// As in `kernels/fma.cu`.
const CHAINS: u32 = 16;
const STEPS: u32 = 16;
/// Rounds of a launch that is checked step by step.
const CHECKED_ROUNDS: u32 = 2;

/// A format: how its kernel is called, what it computes, and what the host says to that.
struct Format {
    kind: CeilingKind,
    kernel: &'static str,
    /// Numbers in a register.
    each: f64,
    /// The bits that hold `value`.
    argument: fn(f32) -> Arg,
    /// The register that chain `r` ends with.
    expected: fn(u32, f32, f32, u32) -> u32,
}

const FORMATS: [Format; 3] = [
    Format { kind: CeilingKind::FmaF32, kernel: "fma_f32", each: 1.0, argument: Arg::F32, expected: f32_chain },
    Format {
        kind: CeilingKind::FmaF16,
        kernel: "fma_f16",
        each: 2.0,
        argument: |value| Arg::U32(f16::from_f32(value).to_bits() as u32 * 0x1_0001),
        expected: |r, a, b, steps| {
            halves(r, 11, a, b, steps, |x| f16::from_f64(x).to_f64(), |x| f16::from_f64(x).to_bits())
        },
    },
    Format {
        kind: CeilingKind::FmaBf16,
        kernel: "fma_bf16",
        each: 2.0,
        argument: |value| Arg::U32(bf16::from_f32(value).to_bits() as u32 * 0x1_0001),
        expected: |r, a, b, steps| {
            halves(r, 8, a, b, steps, |x| bf16::from_f64(x).to_f64(), |x| bf16::from_f64(x).to_bits())
        },
    },
];

/// The chains of both halves of a register, begun with `bits` bits of each half of `r`: `x = x a + b`, rounded once a
/// step, as a double holds product and sum of 16-bit formats exactly.
fn halves(r: u32, bits: u32, a: f32, b: f32, steps: u32, round: fn(f64) -> f64, encode: fn(f64) -> u16) -> u32 {
    let size = 1u32 << bits;
    let (a, b) = (round(a as f64), round(b as f64));
    let half = |r: u32| {
        let start = round((r & (size - 1)) as f64 / size as f64);
        encode((0..steps).fold(start, |x, _| round(x * a + b))) as u32
    };
    half(r) | half(r >> 16) << 16
}

fn f32_chain(r: u32, a: f32, b: f32, steps: u32) -> u32 {
    let mut x = (r >> 8) as f32 / 16_777_216.0;
    for _ in 0..steps {
        x = x.mul_add(a, b);
    }
    x.to_bits()
}

pub(super) fn measure(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    for format in &FORMATS {
        bench.attempt(format.kind, |bench| rate(bench, format))?;
    }
    Ok(())
}

fn rate(bench: &mut MeasurementContext<'_>, format: &Format) -> Result<(), CudaError> {
    let card = bench.card;
    let kernel = card.kernel("fma", format.kernel)?;
    let blocks = bench.blocks();
    let threads = blocks * THREADS;
    let out = card.poisoned(threads as usize * 4)?;
    verify(bench, format, &kernel, &out)?;
    let launch = |rounds| {
        let args = [Arg::from(&out), Arg::U32(rounds), (format.argument)(-1.0), (format.argument)(1.0)];
        // SAFETY: the output has a word for each thread.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, 0, &args) }
    };
    let slope = bench.slope(&mut |rounds| launch(rounds))?;
    let work = threads as f64 * (CHAINS * STEPS) as f64 * 2.0 * format.each;
    let how = format!("{CHAINS} independent chains a thread, {}", slope.how());
    bench.keep_rate(format.kind, Bound::Roof, work, &slope.each, how);
    Ok(())
}

/// Every step of a short run, for some of the threads.
fn verify(bench: &MeasurementContext<'_>, format: &Format, kernel: &Kernel, out: &Buffer) -> Result<(), CudaError> {
    let (a, b) = (0.75, 0.3);
    let args = [Arg::from(out), Arg::U32(CHECKED_ROUNDS), (format.argument)(a), (format.argument)(b)];
    // SAFETY: the output has a word for each thread.
    unsafe { kernel.launch(bench.card, (bench.blocks(), 1, 1), THREADS, 0, &args)? };
    let got = out.download::<u32>((bench.blocks() * THREADS) as usize)?;
    for (thread, word) in got.iter().enumerate().step_by(37) {
        let of_chain = |chain| (format.expected)(mix(CHAINS * thread as u32 + chain), a, b, STEPS * CHECKED_ROUNDS);
        let expected = (0..CHAINS).fold(0, |word, chain| word ^ of_chain(chain));
        check(*word == expected, || format!("{} of thread {thread}", format.kernel))?;
    }
    Ok(())
}
