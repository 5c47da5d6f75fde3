//! Hopper's tensor cores at their full rate, which only products of a group of four warps reach.

use super::tensor::{encode_bf16, encode_e4m3, encode_f16, encode_int8, operand};
use super::{Bench, THREADS, check};
use crate::device::cuda::{Arg, CudaError};
use crate::record::CeilingKind;

/// As in `kernels/wgmma.cu`: rows of A, rows of B, words of a row along k, bytes of shared memory.
const ROWS: usize = 128;
const COLUMNS: usize = 256;
const WORDS: usize = 32;
const SHARED_BYTES: u32 = 49152;
/// Rounds of a timed launch, at most.
const MOST_ROUNDS: u32 = 4000;
/// The one compute capability that has these instructions.
const HOPPER: (u32, u32) = (9, 0);

/// A type of number.
struct Type {
    kind: CeilingKind,
    kernel: &'static str,
    bits: usize,
    encode: fn(i32) -> u32,
    integer: bool,
}

const TYPES: [Type; 4] = [
    Type { kind: CeilingKind::TensorF16, kernel: "tensor_wgmma_f16", bits: 16, encode: encode_f16, integer: false },
    Type { kind: CeilingKind::TensorBf16, kernel: "tensor_wgmma_bf16", bits: 16, encode: encode_bf16, integer: false },
    Type { kind: CeilingKind::TensorFp8, kernel: "tensor_wgmma_e4m3", bits: 8, encode: encode_e4m3, integer: false },
    Type { kind: CeilingKind::TensorInt8, kernel: "tensor_wgmma_s8", bits: 8, encode: encode_int8, integer: true },
];

/// On other cards there is nothing to measure, and nothing is missing.
pub(super) fn measure(bench: &mut Bench<'_>) -> Result<(), CudaError> {
    if bench.card.facts.capability != HOPPER {
        return Ok(());
    }
    for number in &TYPES {
        bench.attempt(number.kind, |bench| rate(bench, number))?;
    }
    Ok(())
}

fn rate(bench: &mut Bench<'_>, number: &Type) -> Result<(), CudaError> {
    let card = bench.card;
    let kernel = card.kernel("wgmma", number.kernel)?;
    let blocks = card.facts.multiprocessors;
    let each = 32 / number.bits;
    let word =
        |at: usize| (0..each).fold(0, |word, i| word | (number.encode)(operand(at * each + i)) << (i * number.bits));
    let tiles = card.with(&(0..(ROWS + COLUMNS) * WORDS).map(word).collect::<Vec<u32>>())?;
    let sums = blocks as usize * ROWS * COLUMNS;
    let out = card.poisoned(sums * 4)?;
    let launch = |rounds: u32| {
        let args = [Arg::from(&tiles), Arg::U32(rounds), Arg::from(&out)];
        // SAFETY: the sizes are those that the kernel's source states.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, SHARED_BYTES, &args) }
    };
    launch(1)?;
    verify(number, &out.download::<u32>(sums)?)?;
    let rounds = bench.rounds(MOST_ROUNDS, || launch(1))?;
    let times = bench.samples(&mut |_| launch(rounds))?;
    let k = WORDS * each;
    let work = blocks as f64 * (2 * ROWS * COLUMNS * k) as f64 * rounds as f64;
    bench.keep_rate(number.kind, work, &times, format!("wgmma on {k} deep operands in shared memory"));
    Ok(())
}

/// Some sums of the first and of the last block.
fn verify(number: &Type, got: &[u32]) -> Result<(), CudaError> {
    let depth = WORDS * 32 / number.bits;
    let of_block = ROWS * COLUMNS;
    for block in [0, got.len() / of_block - 1] {
        for at in (0..of_block).step_by(101) {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            let product = |k: usize| operand(row * depth + k) * operand((ROWS + column) * depth + k);
            let sum: i32 = (0..depth).map(product).sum();
            let bits = got[block * of_block + at];
            let value = if number.integer { bits as i32 as f64 } else { f32::from_bits(bits) as f64 };
            check(value == sum as f64, || format!("{}: {value} instead of {sum}", number.kernel))?;
        }
    }
    Ok(())
}
