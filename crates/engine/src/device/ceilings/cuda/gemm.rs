//! The product of two large matrices of 16-bit numbers: by cuBLASLt where it is installed, and by the project's own
//! kernel, which needs nothing but the driver.

use super::{MeasurementContext, THREADS, check};
use crate::device::cuda::{Arg, Buffer, CudaError, blas};
use crate::record::{Bound, CeilingKind};
use half::{bf16, f16};

/// Rows and columns of all three matrices; less where the card is small.
const SIZE: usize = 8192;
/// Shared memory of a block of `kernels/gemm.cu`.
pub const SHARED_BYTES: u32 = 65536;
/// The side of its tile.
pub const TILE: usize = 128;
/// Sums that are computed again on the host.
const CHECKED: usize = 64;

/// A format of 16 bits.
struct Format {
    kind: CeilingKind,
    fill: &'static str,
    kernel: &'static str,
    blas: blas::Format,
    read: fn(u16) -> f64,
}

const FORMATS: [Format; 2] = [
    Format {
        kind: CeilingKind::GemmF16,
        fill: "fill_f16",
        kernel: "gemm_f16",
        blas: blas::Format::F16,
        read: |bits| f16::from_bits(bits).to_f64(),
    },
    Format {
        kind: CeilingKind::GemmBf16,
        fill: "fill_bf16",
        kernel: "gemm_bf16",
        blas: blas::Format::Bf16,
        read: |bits| bf16::from_bits(bits).to_f64(),
    },
];

pub(super) fn measure(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    let free = bench.card.memory()?.0.0;
    let fits = ((free / 4.0 / 6.0).sqrt() as usize / 128 * 128).max(128);
    // Not more than a second's worth of work for a card of unknown speed: a small one says so by its multiprocessors.
    let size = SIZE.min(fits).min((bench.card.facts.multiprocessors as usize * 64).next_multiple_of(128));
    for format in &FORMATS {
        bench.attempt(format.kind, |bench| rate(bench, format, size))?;
    }
    Ok(())
}

fn rate(bench: &mut MeasurementContext<'_>, format: &Format, size: usize) -> Result<(), CudaError> {
    let a = random(bench, format, size, 1)?;
    let b = random(bench, format, size, 2)?;
    let mut d = bench.card.poisoned(size * size * 2)?;
    let work = 2.0 * (size as f64).powi(3);
    let card = bench.card;
    match card.blas() {
        Ok(library) => {
            let times = bench.samples(&mut |_| {
                // SAFETY: all three matrices are of that size.
                unsafe { library.gemm(format.blas, d.at(), a.at(), b.at(), size, size, size) }
            })?;
            verify(format, &a, &b, &d, size)?;
            bench.keep_rate(format.kind, Bound::Roof, work, &times, format!("{size}^3 by cuBLASLt, random data"));
            d.fill(0xff)?;
        }
        Err(error) => bench.measured.absent.push(format!("{} by cuBLASLt: {error}", format.kind.label())),
    }
    let kernel = bench.card.kernel("gemm", format.kernel)?;
    kernel.allow_shared(SHARED_BYTES)?;
    let blocks = (size.div_ceil(TILE) * size.div_ceil(TILE)) as u32;
    let times = bench.samples(&mut |_| {
        let args = [Arg::from(&d), Arg::from(&a), Arg::from(&b), size.into(), size.into(), size.into(), Arg::U32(0)];
        // SAFETY: all three matrices are of that size.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, SHARED_BYTES, &args) }
    })?;
    verify(format, &a, &b, &d, size)?;
    // What a chip can do is for its library, or its tensor cores alone, to show.
    let how = format!("{size}^3 by the project's own kernel, random data");
    bench.keep_rate(format.kind, Bound::Lower, work, &times, how);
    Ok(())
}

fn random(bench: &MeasurementContext<'_>, format: &Format, size: usize, seed: u32) -> Result<Buffer, CudaError> {
    let buffer = bench.card.poisoned(size * size * 2)?;
    let fill = bench.card.kernel("bandwidth", format.fill)?;
    let args = [Arg::from(&buffer), Arg::U64((size * size / 2) as u64), Arg::U32(seed), Arg::F32(1.0)];
    // SAFETY: the buffer holds that many words.
    unsafe { fill.launch(bench.card, (bench.blocks(), 1, 1), THREADS, 0, &args)? };
    Ok(buffer)
}

/// Some sums, in double precision; the result is rounded to 16 bits and its sums to 32.
fn verify(format: &Format, a: &Buffer, b: &Buffer, d: &Buffer, size: usize) -> Result<(), CudaError> {
    let row_of = |matrix: &Buffer, row: usize| -> Result<Vec<f64>, CudaError> {
        let bits = matrix.download_at::<u16>(row * size * 2, size)?;
        Ok(bits.into_iter().map(format.read).collect())
    };
    let tolerance = if format.kind == CeilingKind::GemmF16 { 2e-3 } else { 1e-2 };
    for i in 0..CHECKED {
        let (row, column) = (i * 977 % size, (i * 3061 + size - 1) % size);
        let (left, right) = (row_of(a, row)?, row_of(b, column)?);
        let sum: f64 = left.iter().zip(&right).map(|(x, y)| x * y).sum();
        // Cancelling terms leave an error that goes with their size, not with that of their sum.
        let scale = left.iter().zip(&right).map(|(x, y)| (x * y).powi(2)).sum::<f64>().sqrt();
        let got = (format.read)(d.download_at::<u16>((row * size + column) * 2, 1)?[0]);
        let near = (got - sum).abs() <= tolerance * (sum.abs() + scale);
        check(near, || format!("{} ({row}, {column}): {got} instead of {sum}", format.kernel))?;
    }
    Ok(())
}
