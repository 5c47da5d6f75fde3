//! NEON of every 64-bit ARM: four lanes; products of bytes by widening multiplies, which need no extension.

use super::Simd;
use half::{bf16, f16};
use std::arch::aarch64::*;

/// See [`Simd`].
#[derive(Clone, Copy)]
pub(in super::super) struct Neon;

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one promise for all: NEON is part of the target; the trait demands of callers that pointers are valid"
)]
impl Simd for Neon {
    const LANES: usize = 4;
    const SIGNED_BIAS: i32 = 0;
    type F = float32x4_t;
    type I = int32x4_t;

    #[inline(always)]
    unsafe fn splat(value: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> float32x4_t {
        // The conversion of four at once is not in stable Rust; the compiler makes one of these.
        let values: [f32; 4] = std::array::from_fn(|i| unsafe { from.add(i).read_unaligned() }.to_f32());
        unsafe { vld1q_f32(values.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> float32x4_t {
        let values: [f32; 4] = std::array::from_fn(|i| unsafe { *from.add(i) } as f32);
        unsafe { vld1q_f32(values.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> float32x4_t {
        let values: [f32; 4] = std::array::from_fn(|i| unsafe { *from.add(i) } as f32);
        unsafe { vld1q_f32(values.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: float32x4_t) {
        unsafe { vst1q_f32(to, value) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn int_splat(value: i32) -> int32x4_t {
        unsafe { vdupq_n_s32(value) }
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> int32x4_t {
        unsafe { vreinterpretq_s32_u8(vld1q_u8(from)) }
    }
    #[inline(always)]
    unsafe fn four_bytes(from: *const i8) -> int32x4_t {
        unsafe { vdupq_n_s32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn to_float(value: int32x4_t) -> float32x4_t {
        unsafe { vcvtq_f32_s32(value) }
    }
    #[inline(always)]
    unsafe fn signed(weights: int32x4_t) -> int32x4_t {
        weights
    }
    #[inline(always)]
    unsafe fn dot_signed(sum: int32x4_t, weights: int32x4_t, x: int32x4_t) -> int32x4_t {
        unsafe {
            let (w, x) = (vreinterpretq_s8_s32(weights), vreinterpretq_s8_s32(x));
            let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
            let high = vmull_s8(vget_high_s8(w), vget_high_s8(x));
            // Neighbouring products to pairs in 32 bits, and the pairs of a lane to one number.
            vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
        }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(sum: int32x4_t, weights: int32x4_t, x: int32x4_t) -> int32x4_t {
        // Below 128 signed and unsigned are the same.
        unsafe { Self::dot_signed(sum, weights, x) }
    }
    #[inline(always)]
    unsafe fn low_nibbles(bytes: int32x4_t) -> int32x4_t {
        unsafe { vreinterpretq_s32_u8(vandq_u8(vreinterpretq_u8_s32(bytes), vdupq_n_u8(15))) }
    }
    #[inline(always)]
    unsafe fn high_nibbles(bytes: int32x4_t) -> int32x4_t {
        unsafe { vreinterpretq_s32_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s32(bytes))) }
    }
    #[inline(always)]
    unsafe fn with_pair<const J: i32>(nibbles: int32x4_t, pairs: int32x4_t) -> int32x4_t {
        unsafe {
            let pairs = vreinterpretq_u8_s32(pairs);
            let moved = match J {
                0 => vshlq_n_u8::<4>(pairs),
                1 => vshlq_n_u8::<2>(pairs),
                2 => pairs,
                _ => vshrq_n_u8::<2>(pairs),
            };
            let above = vandq_u8(moved, vdupq_n_u8(0x30));
            vreinterpretq_s32_u8(vorrq_u8(vreinterpretq_u8_s32(nibbles), above))
        }
    }
}
