//! AVX2, with the products of bytes of AVX-VNNI where the CPU has them.

use super::Simd;
use half::{bf16, f16};
use std::arch::x86_64::*;

/// See [`Simd`]; with AVX-VNNI where `VNNI`.
#[derive(Clone, Copy)]
pub(in super::super) struct Avx2<const VNNI: bool>;

/// Sums of four products of unsigned and signed bytes in each lane. Two neighbouring products are added in 16 bits first:
/// they fit for unsigned bytes up to 128.
#[inline(always)]
unsafe fn dot(sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
    // SAFETY: the caller promises that the CPU has the instructions; no memory is touched.
    unsafe {
        let pairs = _mm256_maddubs_epi16(unsigned, signed);
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

#[expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one promise for all: the trait demands of callers that the CPU has the instructions and that pointers are valid"
)]
impl<const VNNI: bool> Simd for Avx2<VNNI> {
    const LANES: usize = 8;
    const SIGNED_BIAS: i32 = if VNNI { 128 } else { 0 };
    type F = __m256;
    type I = __m256i;

    #[inline(always)]
    fn prefetch(at: *const u8) {
        // SAFETY: a prefetch reads nothing that the program could see, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m256 {
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> __m256 {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> __m256 {
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_u8(from: *const u8) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: __m256) {
        unsafe { _mm256_storeu_ps(to, value) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn int_splat(value: i32) -> __m256i {
        unsafe { _mm256_set1_epi32(value) }
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m256i {
        unsafe { _mm256_loadu_si256(from.cast()) }
    }
    #[inline(always)]
    unsafe fn four_bytes(from: *const i8) -> __m256i {
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn to_float(value: __m256i) -> __m256 {
        unsafe { _mm256_cvtepi32_ps(value) }
    }
    #[inline(always)]
    unsafe fn signed(weights: __m256i) -> __m256i {
        if VNNI { unsafe { _mm256_xor_si256(weights, _mm256_set1_epi8(-128)) } } else { weights }
    }
    #[inline(always)]
    unsafe fn dot_signed(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        unsafe {
            if VNNI {
                _mm256_dpbusd_avx_epi32(sum, weights, x)
            } else {
                // The sign of a weight moves to the activation: those are never -128, which has no opposite.
                dot(sum, _mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights))
            }
        }
    }
    #[inline(always)]
    unsafe fn dot_unsigned(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
        unsafe { if VNNI { _mm256_dpbusd_avx_epi32(sum, weights, x) } else { dot(sum, weights, x) } }
    }
    #[inline(always)]
    unsafe fn low_nibbles(bytes: __m256i) -> __m256i {
        unsafe { _mm256_and_si256(bytes, _mm256_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn high_nibbles(bytes: __m256i) -> __m256i {
        unsafe { _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(15)) }
    }
    #[inline(always)]
    unsafe fn with_pair<const J: i32>(nibbles: __m256i, pairs: __m256i) -> __m256i {
        unsafe {
            let moved = match J {
                0 => _mm256_slli_epi16::<4>(pairs),
                1 => _mm256_slli_epi16::<2>(pairs),
                2 => pairs,
                _ => _mm256_srli_epi16::<2>(pairs),
            };
            _mm256_or_si256(nibbles, _mm256_and_si256(moved, _mm256_set1_epi8(0x30)))
        }
    }
}
