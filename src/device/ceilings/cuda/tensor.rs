//! Tensor cores: the rate of products whose operands are there already.

use super::{Bench, THREADS, check, mix};
use crate::device::cuda::{Arg, CudaError};
use crate::record::CeilingKind;
use half::{bf16, f16};

/// As in `kernels/tensor.cu`: warps of a block, rows, columns and slices of a warp, words of a row along k.
const WARPS: usize = 8;
const ROWS: usize = 32;
const COLUMNS: usize = 64;
const SLICES: usize = 2;
const WORDS: usize = 8;
const WARP_WORDS: usize = SLICES * (ROWS + COLUMNS) * WORDS;
/// Blocks on a multiprocessor.
const BLOCKS_EACH: u32 = 2;
/// Rounds of a timed launch, at most.
const MOST_ROUNDS: u32 = 4000;

/// A type of number.
struct Type {
    kind: CeilingKind,
    kernel: &'static str,
    bits: usize,
    /// The bits of a small integer.
    encode: fn(i32) -> u32,
    /// Sums are integers.
    integer: bool,
}

const TYPES: [Type; 6] = [
    Type { kind: CeilingKind::TensorF16, kernel: "tensor_f16", bits: 16, encode: encode_f16, integer: false },
    Type { kind: CeilingKind::TensorBf16, kernel: "tensor_bf16", bits: 16, encode: encode_bf16, integer: false },
    Type {
        kind: CeilingKind::TensorTf32,
        kernel: "tensor_tf32",
        bits: 32,
        encode: |v| (v as f32).to_bits(),
        integer: false,
    },
    Type { kind: CeilingKind::TensorInt8, kernel: "tensor_s8", bits: 8, encode: encode_int8, integer: true },
    Type { kind: CeilingKind::TensorInt4, kernel: "tensor_s4", bits: 4, encode: |v| v as u32 & 0xf, integer: true },
    Type { kind: CeilingKind::TensorFp8, kernel: "tensor_e4m3", bits: 8, encode: encode_e4m3, integer: false },
];

/// The bits of an integer of -8 to 8 in e4m3: four bits of exponent with bias 7, three of mantissa.
pub(super) fn encode_e4m3(value: i32) -> u32 {
    let sign = if value < 0 { 0x80 } else { 0 };
    let size = value.unsigned_abs();
    if size == 0 {
        return sign;
    }
    let exponent = 31 - size.leading_zeros();
    sign | (exponent + 7) << 3 | ((size << 3 >> exponent) & 7)
}

/// The bits of a small integer.
pub(super) fn encode_f16(value: i32) -> u32 {
    f16::from_f32(value as f32).to_bits() as u32
}

/// The bits of a small integer.
pub(super) fn encode_bf16(value: i32) -> u32 {
    bf16::from_f32(value as f32).to_bits() as u32
}

/// The bits of a small integer.
pub(super) fn encode_int8(value: i32) -> u32 {
    value as u32 & 0xff
}

/// Number `at` of the operands: between -7 and 7, so that sums are exact in every type.
pub(super) fn operand(at: usize) -> i32 {
    (mix(at as u32) % 15) as i32 - 7
}

pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), CudaError> {
    for number in &TYPES {
        bench.attempt(number.kind, |bench| rate(bench, number))?;
    }
    Ok(())
}

fn rate(bench: &mut Bench<'_>, number: &Type) -> Result<(), CudaError> {
    let card = bench.card;
    let kernel = card.kernel("tensor", number.kernel)?;
    let blocks = card.facts.multiprocessors * BLOCKS_EACH;
    let each = 32 / number.bits;
    let word =
        |at: usize| (0..each).fold(0, |word, i| word | (number.encode)(operand(at * each + i)) << (i * number.bits));
    let fragments = card.with(&(0..WARPS * WARP_WORDS).map(word).collect::<Vec<u32>>())?;
    let sums = blocks as usize * WARPS * ROWS * COLUMNS;
    let out = card.poisoned(sums * 4)?;
    let launch = |rounds: u32| {
        let args = [Arg::from(&fragments), Arg::U32(rounds), Arg::from(&out)];
        // SAFETY: the sizes are those that the kernel's source states.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, 0, &args) }
    };
    launch(1)?;
    verify(number, &out.download::<u32>(sums)?)?;
    let rounds = bench.rounds(MOST_ROUNDS, || launch(1))?;
    let times = bench.samples(&mut |_| launch(rounds))?;
    let k = WORDS * each;
    let work = blocks as f64 * (WARPS * SLICES * 2 * ROWS * COLUMNS * k) as f64 * rounds as f64;
    bench.keep_rate(number.kind, work, &times, format!("mma.sync on {k} deep operands in registers"));
    Ok(())
}

/// Some sums of every warp of the first and the last block.
fn verify(number: &Type, got: &[u32]) -> Result<(), CudaError> {
    let each = 32 / number.bits;
    let of_block = WARPS * ROWS * COLUMNS;
    for block in [0, got.len() / of_block - 1] {
        for at in (0..of_block).step_by(29) {
            let (warp, row, column) = (at / (ROWS * COLUMNS), at / COLUMNS % ROWS, at % COLUMNS);
            let mut sum = 0i32;
            for slice in 0..SLICES {
                for k in 0..WORDS * each {
                    let a = warp * WARP_WORDS + (slice * ROWS + row) * WORDS;
                    let b = warp * WARP_WORDS + SLICES * ROWS * WORDS + (slice * COLUMNS + column) * WORDS;
                    sum += operand(a * each + k) * operand(b * each + k);
                }
            }
            let bits = got[block * of_block + at];
            let value = if number.integer { bits as i32 as f64 } else { f32::from_bits(bits) as f64 };
            check(value == sum as f64, || format!("{}: {value} instead of {sum}", number.kernel))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_integers_have_their_e4m3() {
        // 1 is 2^0: exponent 7; 1.5 * 2^2 is 6; -7 is -1.75 * 4.
        assert_eq!([0, 1, 6, -7, 8].map(encode_e4m3), [0, 0x38, 0x4c, 0xce, 0x50]);
    }
}
