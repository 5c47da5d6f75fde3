//! Products of a weight matrix and a vector, as decode makes them: the rate at which weights are read. The formats are
//! those that the levels of a sweep are stored in, by the kernels that the engine runs them with.

use super::bandwidth::random;
use super::{MeasurementContext, THREADS, check, mix};
use crate::device::ceilings::describe_bytes;
use crate::device::cuda::{Arg, Buffer, CudaError};
use crate::record::{Bound, CeilingKind};
use half::{bf16, f16};

/// Columns of the matrix: the width of an 8 B model.
const COLUMNS: usize = 4096;
/// A matrix takes this part of the card's memory, two take turns: as long as memory and bandwidth grow together, a pass
/// takes a few tenths of a millisecond, beside which the start of a kernel is a hundredth.
const PART_OF_MEMORY: f64 = 80.0;
/// Numbers that share a scale in 8-bit activations.
const BLOCK: usize = 32;
/// Rows of a block of threads, in the form for one vector.
const ROWS_EACH: usize = 8;
/// Rows that are computed again on the host.
const CHECKED: usize = 16;

/// A format of weights.
struct Format {
    kind: CeilingKind,
    /// Its name, as GGUF has it.
    name: &'static str,
    kernel: &'static str,
    /// How scales, or whole weights where there are none, are filled.
    fill: &'static str,
    /// Bytes of a row of numbers, and of its scales as packed for the kernels.
    row_bytes: (usize, usize),
    /// Weight `at` of a row of numbers and its scales.
    weight: fn(&[u8], &[u8], usize) -> f64,
    read: fn(u16) -> f64,
}

const FORMATS: [Format; 4] = [
    Format {
        kind: CeilingKind::GemvF16,
        name: "F16",
        kernel: "gemv_f16_m1",
        fill: "fill_f16",
        row_bytes: (COLUMNS * 2, 0),
        weight: |row, _, at| f16_at(row, at),
        read: |bits| f16::from_bits(bits).to_f64(),
    },
    Format {
        kind: CeilingKind::GemvBf16,
        name: "BF16",
        kernel: "gemv_bf16_m1",
        fill: "fill_bf16",
        row_bytes: (COLUMNS * 2, 0),
        weight: |row, _, at| bf16::from_bits(u16_at(row, at)).to_f64(),
        read: |bits| bf16::from_bits(bits).to_f64(),
    },
    Format {
        kind: CeilingKind::GemvInt8,
        name: "Q8_0",
        kernel: "gemv_q8_0_f16_m1",
        fill: "fill_f16",
        row_bytes: (COLUMNS, COLUMNS / BLOCK * 2),
        weight: |row, scales, at| f16_at(scales, at / BLOCK) * (row[at] as i8) as f64,
        read: |bits| f16::from_bits(bits).to_f64(),
    },
    Format {
        kind: CeilingKind::GemvInt4,
        name: "Q4_K",
        kernel: "gemv_q4_k_f16_m1",
        fill: "fill_f16",
        row_bytes: (COLUMNS / 2, COLUMNS / 256 * 16),
        weight: q4_k,
        read: |bits| f16::from_bits(bits).to_f64(),
    },
];

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]])
}

fn f16_at(bytes: &[u8], at: usize) -> f64 {
    f16::from_bits(u16_at(bytes, at)).to_f64()
}

/// A weight of Q4_K: blocks of 256 have a scale and a scale of minima in f16, and for each 32 of their weights six bits
/// of each as factors; the low halves of 32 bytes come before their high halves.
fn q4_k(row: &[u8], scales: &[u8], at: usize) -> f64 {
    let (scales, group) = (&scales[at / 256 * 16..][..16], at % 256 / BLOCK);
    let factors = &scales[4..];
    let (scale, minimum) = match group {
        0..4 => (factors[group] & 63, factors[group + 4] & 63),
        _ => {
            (factors[group + 4] & 15 | factors[group - 4] >> 6 << 4, factors[group + 4] >> 4 | factors[group] >> 6 << 4)
        }
    };
    let nibble = row[at / 64 * 32 + at % 32] >> (at % 64 / 32 * 4) & 15;
    f16_at(scales, 0) * scale as f64 * nibble as f64 - f16_at(scales, 1) * minimum as f64
}

/// A matrix: numbers, and the scales of their blocks where they have any.
struct Matrix {
    quants: Buffer,
    scales: Option<Buffer>,
}

/// A vector of as many numbers as a matrix has columns.
struct Vector {
    /// As the kernel takes it: numbers of 16 bits, or of 8 bits with a scale and a sum for each block.
    numbers: Buffer,
    scales: Option<Buffer>,
    /// What they stand for.
    values: Vec<f64>,
}

pub(super) fn measure(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    for format in &FORMATS {
        bench.attempt(format.kind, |bench| rate(bench, format))?;
    }
    Ok(())
}

fn rate(bench: &mut MeasurementContext<'_>, format: &Format) -> Result<(), CudaError> {
    let card = bench.card;
    let (quants, scales) = format.row_bytes;
    let least = 2.0 * card.facts.l2_bytes as f64;
    let bytes = (card.facts.memory.0 / PART_OF_MEMORY).max(least).min(card.memory()?.0.0 / 8.0);
    let rows = (bytes as usize / quants).max(1);
    let kernel = card.kernel("gemv", format.kernel)?;
    let matrices = [matrix(bench, format, rows, 1)?, matrix(bench, format, rows, 2)?];
    let vector = vector(bench, format)?;
    let y = card.poisoned(rows * 2)?;
    let launch = |which: usize| {
        let matrix = &matrices[which % 2];
        let mut args = vec![Arg::from(&y), rows.into(), (&matrix.quants).into()];
        args.extend(matrix.scales.as_ref().map(Arg::from));
        args.push((&vector.numbers).into());
        args.extend(vector.scales.as_ref().map(Arg::from));
        // No bias; one vector; results in 16 bits.
        args.extend([Arg::U64(0), rows.into(), COLUMNS.into(), Arg::U32(1), Arg::U32(0)]);
        // SAFETY: the buffers have the sizes that kernels/gemv.cu states.
        unsafe { kernel.launch(card, (rows.div_ceil(ROWS_EACH) as u32, 1, 1), THREADS, 0, &args) }
    };
    let times = bench.samples(&mut |number| launch(number))?;
    for (which, matrix) in matrices.iter().enumerate() {
        launch(which)?;
        verify(format, matrix, &y.download::<u16>(rows)?, &vector.values)?;
    }
    let size = describe_bytes(rows * (quants + scales));
    let how = format!("{} by the project's own kernel, matrices of {size} that take turns, one vector", format.name);
    bench.keep_rate(format.kind, Bound::Lower, (rows * (quants + scales)) as f64, &times, how);
    Ok(())
}

fn matrix(bench: &MeasurementContext<'_>, format: &Format, rows: usize, seed: u32) -> Result<Matrix, CudaError> {
    let (quants, scales) = format.row_bytes;
    // Any bits are numbers, but those of whole weights and of scales have to be finite and small. The factors beside the
    // scales of Q4_K are what is left of such numbers: they may have any bits.
    let filled = |bytes: usize, scale: f32| -> Result<Buffer, CudaError> {
        let buffer = bench.card.poisoned(bytes)?;
        let fill = bench.card.kernel("bandwidth", format.fill)?;
        let args = [Arg::from(&buffer), Arg::U64(bytes as u64 / 4), Arg::U32(seed), Arg::F32(scale)];
        // SAFETY: the buffer holds that many words.
        unsafe { fill.launch(bench.card, (bench.blocks(), 1, 1), THREADS, 0, &args)? };
        Ok(buffer)
    };
    match scales {
        0 => Ok(Matrix { quants: filled(rows * quants, 1.0)?, scales: None }),
        _ => Ok(Matrix { scales: Some(filled(rows * scales, 0.01)?), quants: random(bench, rows * quants, seed)? }),
    }
}

fn vector(bench: &MeasurementContext<'_>, format: &Format) -> Result<Vector, CudaError> {
    // Multiples of 1 / 128 below 1, which every format holds exactly.
    const SCALE: f32 = 1.0 / 128.0;
    let numbers: Vec<i8> = (0..COLUMNS).map(|at| (mix(at as u32) % 255) as i8).collect();
    let values: Vec<f32> = numbers.iter().map(|number| *number as f32 * SCALE).collect();
    let (numbers, scales) = match format.kind {
        CeilingKind::GemvF16 => {
            let bits: Vec<u16> = values.iter().map(|value| f16::from_f32(*value).to_bits()).collect();
            (bench.card.with(&bits)?, None)
        }
        CeilingKind::GemvBf16 => {
            let bits: Vec<u16> = values.iter().map(|value| bf16::from_f32(*value).to_bits()).collect();
            (bench.card.with(&bits)?, None)
        }
        _ => {
            let scales: Vec<f32> = values.chunks(BLOCK).flat_map(|block| [SCALE, block.iter().sum()]).collect();
            (bench.card.with(&numbers)?, Some(bench.card.with(&scales)?))
        }
    };
    Ok(Vector { numbers, scales, values: values.into_iter().map(f64::from).collect() })
}

/// Some rows, in double precision.
fn verify(format: &Format, matrix: &Matrix, got: &[u16], vector: &[f64]) -> Result<(), CudaError> {
    let (rows, (quants, scales)) = (got.len(), format.row_bytes);
    // What rounding the result leaves: 11 bits of f16, 8 of bf16.
    let tolerance = if format.kind == CeilingKind::GemvBf16 { 6e-3 } else { 1e-3 };
    for i in 0..CHECKED {
        let row = (i * 7919 + rows - 1) % rows;
        let of_row = matrix.quants.download_at::<u8>(row * quants, quants)?;
        let of_scales = match &matrix.scales {
            Some(buffer) => buffer.download_at::<u8>(row * scales, scales)?,
            None => Vec::new(),
        };
        let term = |at: usize| (format.weight)(&of_row, &of_scales, at) * vector[at];
        let sum: f64 = (0..COLUMNS).map(term).sum();
        // Cancelling terms leave an error that goes with their size, not with that of their sum.
        let size = (0..COLUMNS).map(|at| term(at).powi(2)).sum::<f64>().sqrt();
        let value = (format.read)(got[row]);
        let near = (value - sum).abs() <= tolerance * (sum.abs() + size);
        check(near, || format!("{} row {row}: {value} instead of {sum}", format.kernel))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Quant;

    #[test]
    fn the_formats_are_those_that_levels_are_stored_in() {
        let levels = [Quant::F16, Quant::Bf16, Quant::Int8, Quant::Int4];
        for (format, level) in FORMATS.iter().zip(levels) {
            let encoding = level.encoding(COLUMNS);
            assert_eq!((format.name, format.kind.label()), (encoding.name(), format!("GEMV {level}").as_str()));
            let bytes = encoding.matrix_bytes(1, COLUMNS).0 as usize;
            assert_eq!(format.row_bytes.0 + format.row_bytes.1, bytes, "{encoding}");
            let name = match level {
                Quant::F16 | Quant::Bf16 => format!("gemv_{level}_m1"),
                _ => format!("gemv_{}_f16_m1", encoding.name().to_lowercase()),
            };
            assert_eq!(format.kernel, name);
        }
    }

    #[test]
    fn a_weight_of_q4_k_is_what_ggml_says() {
        // d = 2, dmin = 0.5; factor 3 of group 0, 36 + 16 * 2 of group 5; minimum 7 of group 0, 9 of group 5.
        let mut scales = [0u8; 16];
        scales[..2].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
        scales[2..4].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        scales[4] = 3;
        scales[8] = 7;
        scales[4 + 9] = 4 | 9 << 4;
        scales[4 + 1] = 2 << 6;
        let mut row = [0u8; 128];
        row[5] = 11;
        row[2 * 32 + 1] = 13 << 4;
        assert_eq!(q4_k(&row, &scales, 5), 2.0 * 3.0 * 11.0 - 0.5 * 7.0);
        assert_eq!(q4_k(&row, &scales, 160 + 1), 2.0 * 36.0 * 13.0 - 0.5 * 9.0);
    }
}
