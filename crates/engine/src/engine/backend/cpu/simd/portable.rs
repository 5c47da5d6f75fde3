//! Plain arrays: what every CPU can do, and what the others are tested against.

use super::Simd;
use half::{bf16, f16};

const LANES: usize = 8;

/// See [`Simd`].
#[derive(Clone, Copy)]
pub(in super::super) struct Portable;

#[inline(always)]
fn each(make: impl Fn(usize) -> f32) -> [f32; LANES] {
    std::array::from_fn(make)
}

#[inline(always)]
fn bytes_of(value: [i32; LANES], each: impl Fn(u8) -> u8) -> [i32; LANES] {
    value.map(|lane| i32::from_le_bytes(lane.to_le_bytes().map(&each)))
}

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one promise for all: reads and writes stay within the vector that the pointer names, as the trait demands of callers"
)]
impl Simd for Portable {
    const LANES: usize = LANES;
    const SIGNED_BIAS: i32 = 0;
    type F = [f32; LANES];
    type I = [i32; LANES];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::F {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::F {
        unsafe { from.cast::<Self::F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self::F {
        each(|i| unsafe { from.add(i).read_unaligned() }.to_f32())
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self::F {
        each(|i| f32::from_bits((unsafe { from.add(i).read_unaligned() }.to_bits() as u32) << 16))
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> Self::F {
        each(|i| unsafe { *from.add(i) } as f32)
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self::F {
        each(|i| unsafe { *from.add(i) } as f32)
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: Self::F) {
        unsafe { to.cast::<Self::F>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn int_splat(value: i32) -> Self::I {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::I {
        unsafe { from.cast::<Self::I>().read_unaligned() }.map(i32::from_le)
    }
    #[inline(always)]
    unsafe fn four_bytes(from: *const i8) -> Self::I {
        [i32::from_le(unsafe { from.cast::<i32>().read_unaligned() }); LANES]
    }
    #[inline(always)]
    unsafe fn to_float(value: Self::I) -> Self::F {
        each(|i| value[i] as f32)
    }
    #[inline(always)]
    unsafe fn signed(weights: Self::I) -> Self::I {
        weights
    }
    #[inline(always)]
    unsafe fn dot_signed(sum: Self::I, weights: Self::I, x: Self::I) -> Self::I {
        std::array::from_fn(|i| {
            let (w, x) = (weights[i].to_le_bytes(), x[i].to_le_bytes());
            sum[i] + (0..4).map(|b| w[b] as i8 as i32 * x[b] as i8 as i32).sum::<i32>()
        })
    }
    #[inline(always)]
    unsafe fn dot_unsigned(sum: Self::I, weights: Self::I, x: Self::I) -> Self::I {
        // Below 128 signed and unsigned are the same.
        unsafe { Self::dot_signed(sum, weights, x) }
    }
    #[inline(always)]
    unsafe fn low_nibbles(bytes: Self::I) -> Self::I {
        bytes_of(bytes, |byte| byte & 15)
    }
    #[inline(always)]
    unsafe fn high_nibbles(bytes: Self::I) -> Self::I {
        bytes_of(bytes, |byte| byte >> 4)
    }
    #[inline(always)]
    unsafe fn with_pair<const J: i32>(nibbles: Self::I, pairs: Self::I) -> Self::I {
        let above = bytes_of(pairs, |byte| ((byte >> (2 * J)) & 3) << 4);
        std::array::from_fn(|i| nibbles[i] | above[i])
    }
}
