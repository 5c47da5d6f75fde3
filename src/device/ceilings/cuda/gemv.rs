//! Products of a block-quantized matrix and a vector, as decode makes them: the rate at which weights are read.

use super::bandwidth::random;
use super::{Bench, THREADS, check, mix};
use crate::device::ceilings::describe_bytes;
use crate::device::cuda::{Arg, Buffer, CudaError};
use crate::record::CeilingKind;
use half::f16;

/// Columns of the matrix: the width of an 8 B model.
const COLUMNS: usize = 4096;
/// Bytes of one matrix, where the card has room; two take turns.
const MATRIX_BYTES: f64 = 512e6;
/// Numbers that share a scale.
const BLOCK: usize = 32;
/// Rows of a block of threads, in the form for one vector.
const ROWS_EACH: usize = 8;
/// Rows that are computed again on the host.
const CHECKED: usize = 16;

/// A format of blocks.
struct Format {
    kind: CeilingKind,
    kernel: &'static str,
    /// Bits of a weight.
    bits: usize,
    /// Weight `at` of a row of numbers.
    weight: fn(&[u8], usize) -> i32,
}

const FORMATS: [Format; 2] = [
    Format { kind: CeilingKind::GemvInt8, kernel: "gemv_q8_0_f16_m1", bits: 8, weight: |row, at| row[at] as i8 as i32 },
    Format {
        kind: CeilingKind::GemvInt4,
        kernel: "gemv_q4_0_f16_m1",
        bits: 4,
        // The low halves of 16 bytes come before their high halves.
        weight: |row, at| {
            let byte = row[at / BLOCK * 16 + at % 16];
            (byte >> (at % BLOCK / 16 * 4) & 15) as i32 - 8
        },
    },
];

/// A matrix: numbers, and a scale in f16 for each block of them.
struct Matrix {
    quants: Buffer,
    scales: Buffer,
}

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), CudaError> {
    for format in &FORMATS {
        bench.attempt(format.kind, |bench| rate(bench, format))?;
    }
    Ok(())
}

/// Number `at` of the vector.
fn activation(at: usize) -> i8 {
    (mix(at as u32) % 255) as i8
}

fn rate(bench: &mut Bench<'_>, format: &Format) -> Result<(), CudaError> {
    let card = bench.card;
    let row_bytes = COLUMNS * format.bits / 8;
    let bytes = MATRIX_BYTES.max(2.0 * card.facts.l2_bytes as f64).min(card.memory()?.0.0 / 8.0) as usize;
    let rows = (bytes / row_bytes).max(1);
    let matrices = [matrix(bench, rows, row_bytes, 1)?, matrix(bench, rows, row_bytes, 2)?];
    let vector: Vec<i8> = (0..COLUMNS).map(activation).collect();
    // A scale of 1 / 128 for each block of the vector, and that times the sum of the block.
    let scale = 1.0 / 128.0;
    let sum = |block: &[i8]| scale * block.iter().map(|x| *x as f32).sum::<f32>();
    let scales: Vec<f32> = vector.chunks(BLOCK).flat_map(|block| [scale, sum(block)]).collect();
    let (x, x_scales) = (card.with(&vector)?, card.with(&scales)?);
    let y = card.poisoned(rows * 2)?;
    let kernel = card.kernel("gemv", format.kernel)?;
    let launch = |which: usize| {
        let Matrix { quants, scales } = &matrices[which % 2];
        let size = [Arg::from(rows), Arg::from(COLUMNS), Arg::U32(1)];
        let args = [Arg::from(&y), rows.into(), quants.into(), scales.into(), (&x).into(), (&x_scales).into()];
        let args = [&args[..], &[Arg::U64(0)], &size].concat();
        // SAFETY: the buffers have the sizes that kernels/gemv.cu states.
        unsafe { kernel.launch(card, (rows.div_ceil(ROWS_EACH) as u32, 1, 1), THREADS, 0, &args) }
    };
    let times = bench.samples(&mut |number| launch(number))?;
    for (which, matrix) in matrices.iter().enumerate() {
        launch(which)?;
        verify(format, matrix, &y.download::<u16>(rows)?, &vector, scale)?;
    }
    let work = (rows * (row_bytes + COLUMNS / BLOCK * 2)) as f64;
    let how = format!("{} and scales, matrices that take turns, one vector", describe_bytes(rows * row_bytes));
    bench.keep_rate(format.kind, work, &times, how);
    Ok(())
}

fn matrix(bench: &Bench<'_>, rows: usize, row_bytes: usize, seed: u32) -> Result<Matrix, CudaError> {
    let scales = bench.card.poisoned(rows * COLUMNS / BLOCK * 2)?;
    let fill = bench.card.kernel("bandwidth", "fill_f16")?;
    let args = [Arg::from(&scales), Arg::U64(scales.len() as u64 / 4), Arg::U32(seed), Arg::F32(0.01)];
    // SAFETY: the buffer holds that many words.
    unsafe { fill.launch(bench.card, (bench.blocks(), 1, 1), THREADS, 0, &args)? };
    Ok(Matrix { quants: random(bench, rows * row_bytes, seed)?, scales })
}

/// Some rows, in double precision.
fn verify(format: &Format, matrix: &Matrix, got: &[u16], vector: &[i8], scale: f32) -> Result<(), CudaError> {
    let (rows, row_bytes, blocks) = (got.len(), COLUMNS * format.bits / 8, COLUMNS / BLOCK);
    for i in 0..CHECKED {
        let row = (i * 7919 + rows - 1) % rows;
        let quants = matrix.quants.download_at::<u8>(row * row_bytes, row_bytes)?;
        let scales = matrix.scales.download_at::<u16>(row * blocks * 2, blocks)?;
        let term = |at: usize| {
            let weight = f16::from_bits(scales[at / BLOCK]).to_f64() * (format.weight)(&quants, at) as f64;
            weight * vector[at] as f64 * scale as f64
        };
        let sum: f64 = (0..COLUMNS).map(term).sum();
        // Cancelling terms leave an error that goes with their size, not with that of their sum.
        let size = (0..COLUMNS).map(|at| term(at).powi(2)).sum::<f64>().sqrt();
        let value = f16::from_bits(got[row]).to_f64();
        let near = (value - sum).abs() <= 1e-3 * (sum.abs() + size);
        check(near, || format!("{} row {row}: {value} instead of {sum}", format.kernel))?;
    }
    Ok(())
}
