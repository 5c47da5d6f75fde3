//! Tensor cores: the rate of products whose operands are there already. `kernels/tensor.cu` has them in registers;
//! `kernels/wgmma.cu` in shared memory, which is the only way to Hopper's full rate.

use super::{MeasurementContext, THREADS, check, mix};
use crate::device::cuda::{Arg, CudaError};
use crate::record::{Bound, CeilingKind};
use half::{bf16, f16};

/// The one compute capability that has `wgmma`.
const HOPPER: (u32, u32) = (9, 0);

/// A type of number.
struct Number {
    kind: CeilingKind,
    bits: usize,
    /// The bits of a small integer.
    encode: fn(i32) -> u32,
    /// Sums are integers.
    integer: bool,
    /// Its kernel in `tensor.cu`, and in `wgmma.cu` where there is one.
    mma: &'static str,
    wgmma: Option<&'static str>,
}

const NUMBERS: [Number; 6] = [
    Number {
        kind: CeilingKind::TensorF16,
        bits: 16,
        encode: |v| f16::from_f32(v as f32).to_bits() as u32,
        integer: false,
        mma: "tensor_f16",
        wgmma: Some("tensor_wgmma_f16"),
    },
    Number {
        kind: CeilingKind::TensorBf16,
        bits: 16,
        encode: |v| bf16::from_f32(v as f32).to_bits() as u32,
        integer: false,
        mma: "tensor_bf16",
        wgmma: Some("tensor_wgmma_bf16"),
    },
    Number {
        kind: CeilingKind::TensorTf32,
        bits: 32,
        encode: |v| (v as f32).to_bits(),
        integer: false,
        mma: "tensor_tf32",
        wgmma: None,
    },
    Number {
        kind: CeilingKind::TensorFp8,
        bits: 8,
        encode: e4m3,
        integer: false,
        mma: "tensor_e4m3",
        wgmma: Some("tensor_wgmma_e4m3"),
    },
    Number {
        kind: CeilingKind::TensorInt8,
        bits: 8,
        encode: |v| v as u32 & 0xff,
        integer: true,
        mma: "tensor_s8",
        wgmma: Some("tensor_wgmma_s8"),
    },
    Number {
        kind: CeilingKind::TensorInt4,
        bits: 4,
        encode: |v| v as u32 & 0xf,
        integer: true,
        mma: "tensor_s4",
        wgmma: None,
    },
];

/// How a product is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProductCall {
    /// By one warp, which waits for it. Consumer chips of the Blackwell generation (12.x) still have no other way.
    Mma,
    /// By four warps of a Hopper chip, which go on meanwhile.
    Wgmma,
}

/// How a source file lays out operands and sums: the operands of `groups` groups of warps, each `slices` slices of
/// `rows` rows of A, then as many of `columns` columns of B, each of `words` words along k; the same for every block.
struct Layout {
    way: ProductCall,
    source: &'static str,
    how: &'static str,
    blocks_each: u32,
    shared_bytes: u32,
    groups: usize,
    slices: usize,
    rows: usize,
    columns: usize,
    words: usize,
}

const MMA: Layout = Layout {
    way: ProductCall::Mma,
    source: "tensor",
    how: "mma.sync on operands in registers",
    blocks_each: 2,
    shared_bytes: 0,
    groups: 8,
    slices: 2,
    rows: 32,
    columns: 64,
    words: 8,
};
const WGMMA: Layout = Layout {
    way: ProductCall::Wgmma,
    source: "wgmma",
    how: "wgmma on operands in shared memory",
    blocks_each: 1,
    shared_bytes: 49152,
    groups: 1,
    slices: 1,
    rows: 128,
    columns: 256,
    words: 32,
};

impl Layout {
    fn operand_words(&self) -> usize {
        self.groups * self.slices * (self.rows + self.columns) * self.words
    }

    /// Sums of one block.
    fn sums(&self) -> usize {
        self.groups * self.rows * self.columns
    }

    /// Sum `at` of a block, with `each` numbers in a word.
    fn expected(&self, at: usize, each: usize) -> i32 {
        let (group, row, column) = (at / (self.rows * self.columns), at / self.columns % self.rows, at % self.columns);
        let group = group * self.operand_words() / self.groups;
        let product = |slice: usize, k: usize| {
            let a = group + (slice * self.rows + row) * self.words;
            let b = group + (self.slices * self.rows + slice * self.columns + column) * self.words;
            operand(a * each + k) * operand(b * each + k)
        };
        (0..self.slices).flat_map(|slice| (0..self.words * each).map(move |k| product(slice, k))).sum()
    }
}

/// Whether a chip reaches its full rate in this way, and what to say where it does not.
fn bound(way: ProductCall, kind: CeilingKind, (major, minor): (u32, u32)) -> (Bound, String) {
    let lower = |why: &str| (Bound::Lower, format!("; {why} on compute capability {major}.{minor}"));
    let narrow = matches!(kind, CeilingKind::TensorFp8 | CeilingKind::TensorInt4);
    match (way, major) {
        (ProductCall::Mma, 9..) if kind == CeilingKind::TensorInt4 => lower("made of other products"),
        (ProductCall::Mma, 9) if narrow => lower("made of other products, not the full rate"),
        (ProductCall::Mma, 9) => lower("not the full rate, which takes wgmma,"),
        (ProductCall::Mma, 10 | 11) => lower("not the full rate, which takes tcgen05,"),
        (ProductCall::Mma, 12) if narrow => lower("half of the rate of products that scale blocks,"),
        (ProductCall::Mma, 13..) => lower("nothing is known of the full rate"),
        (ProductCall::Mma | ProductCall::Wgmma, _) => (Bound::Roof, String::new()),
    }
}

/// The bits of an integer of -8 to 8 in e4m3: four bits of exponent with bias 7, three of mantissa.
fn e4m3(value: i32) -> u32 {
    let sign = if value < 0 { 0x80 } else { 0 };
    let size = value.unsigned_abs();
    if size == 0 {
        return sign;
    }
    let exponent = 31 - size.leading_zeros();
    sign | (exponent + 7) << 3 | ((size << 3 >> exponent) & 7)
}

/// Number `at` of the operands: between -7 and 7, so that sums are exact in every type.
fn operand(at: usize) -> i32 {
    (mix(at as u32) % 15) as i32 - 7
}

pub(super) fn measure(bench: &mut MeasurementContext<'_>) -> Result<(), CudaError> {
    for number in &NUMBERS {
        bench.attempt(number.kind, |bench| rate(bench, number, &MMA, number.mma))?;
        if let Some(kernel) = number.wgmma.filter(|_| bench.card.facts.capability == HOPPER) {
            bench.attempt(number.kind, |bench| rate(bench, number, &WGMMA, kernel))?;
        }
    }
    Ok(())
}

fn rate(bench: &mut MeasurementContext<'_>, number: &Number, layout: &Layout, name: &str) -> Result<(), CudaError> {
    let card = bench.card;
    let kernel = card.kernel(layout.source, name)?;
    let blocks = card.facts.multiprocessors * layout.blocks_each;
    let each = 32 / number.bits;
    let word =
        |at: usize| (0..each).fold(0, |word, i| word | (number.encode)(operand(at * each + i)) << (i * number.bits));
    let operands = card.with(&(0..layout.operand_words()).map(word).collect::<Vec<u32>>())?;
    let sums = blocks as usize * layout.sums();
    let out = card.poisoned(sums * 4)?;
    let launch = |rounds: u32| {
        let args = [Arg::from(&operands), Arg::U32(rounds), Arg::from(&out)];
        // SAFETY: the sizes are those that the kernel's source states.
        unsafe { kernel.launch(card, (blocks, 1, 1), THREADS, layout.shared_bytes, &args) }
    };
    launch(1)?;
    verify(number, layout, &out.download::<u32>(sums)?, name)?;
    let slope = bench.slope(&mut |rounds| launch(rounds))?;
    let work = sums as f64 * (2 * layout.slices * layout.words * each) as f64;
    let (bound, why) = bound(layout.way, number.kind, card.facts.capability);
    let how = format!("{}, {}{why}", layout.how, slope.how());
    bench.keep_rate(number.kind, bound, work, &slope.each, how);
    Ok(())
}

/// Some sums of the first and of the last block.
fn verify(number: &Number, layout: &Layout, got: &[u32], name: &str) -> Result<(), CudaError> {
    let of_block = layout.sums();
    for block in [0, got.len() / of_block - 1] {
        for at in (0..of_block).step_by(29) {
            let expected = layout.expected(at, 32 / number.bits) as f64;
            let bits = got[block * of_block + at];
            let value = if number.integer { bits as i32 as f64 } else { f32::from_bits(bits) as f64 };
            check(value == expected, || format!("{name}: {value} instead of {expected}"))?;
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
        assert_eq!([0, 1, 6, -7, 8].map(e4m3), [0, 0x38, 0x4c, 0xce, 0x50]);
    }

    #[test]
    fn what_is_not_the_chips_own_way_is_a_lower_bound() {
        use CeilingKind::*;
        let of = |way, kind, capability| bound(way, kind, capability).0;
        // T4, A100, A10G, L4: mma.sync is all there is.
        for capability in [(7, 5), (8, 0), (8, 6), (8, 9)] {
            assert_eq!(of(ProductCall::Mma, TensorBf16, capability), Bound::Roof);
            assert_eq!(of(ProductCall::Mma, TensorInt4, capability), Bound::Roof);
        }
        // H100: wgmma is the roof of what has it; tf32 was asked for by mma.sync alone.
        assert_eq!(of(ProductCall::Wgmma, TensorBf16, (9, 0)), Bound::Roof);
        assert_eq!(of(ProductCall::Wgmma, TensorFp8, (9, 0)), Bound::Roof);
        for kind in [TensorF16, TensorBf16, TensorTf32, TensorFp8, TensorInt8, TensorInt4] {
            assert_eq!(of(ProductCall::Mma, kind, (9, 0)), Bound::Lower);
            // B200, B300, Thor: tcgen05 alone has the full rate; and of chips to come nothing is known.
            for capability in [(10, 0), (10, 3), (11, 0), (13, 0)] {
                assert_eq!(of(ProductCall::Mma, kind, capability), Bound::Lower);
            }
        }
        // RTX PRO 6000: 16 bits by mma.sync as before, 8-bit floats at half of the rate.
        assert_eq!([TensorBf16, TensorInt8].map(|kind| of(ProductCall::Mma, kind, (12, 0))), [Bound::Roof; 2]);
        assert_eq!([TensorFp8, TensorInt4].map(|kind| of(ProductCall::Mma, kind, (12, 0))), [Bound::Lower; 2]);
        assert!(bound(ProductCall::Mma, TensorBf16, (10, 0)).1.contains("takes tcgen05, on compute capability 10.0"));
    }
}
