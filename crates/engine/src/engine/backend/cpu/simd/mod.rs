//! The vector operations that the products are written in, one implementation for each instruction set, chosen at run
//! time: AVX-512 with VNNI, AVX2 with AVX-VNNI, AVX2, NEON, and plain arrays.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod portable;

use half::{bf16, f16};

/// Vectors of [`Simd::LANES`] numbers of 32 bits. Integer vectors double as vectors of bytes, four in each lane.
///
/// # Safety
/// Every function may only run on a CPU that has the instruction set; pointers must be valid for the vector they name.
pub(super) trait Simd: Copy + 'static {
    /// Numbers of 32 bits in a vector.
    const LANES: usize;
    /// What [`Simd::dot_signed`] has too much, for each unit of the sum of `x`: some instruction sets multiply unsigned
    /// by signed bytes only, and see weights raised by 128.
    const SIGNED_BIAS: i32;
    /// A vector of `f32`.
    type F: Copy;
    /// A vector of `i32`, or of bytes.
    type I: Copy;

    /// Asks for the cache line at `_at` ahead of its use; an address need not be valid.
    #[inline(always)]
    fn prefetch(_at: *const u8) {}

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn load_f16(from: *const f16) -> Self::F;
    unsafe fn load_bf16(from: *const bf16) -> Self::F;
    /// `LANES` unsigned bytes as numbers.
    unsafe fn load_u8(from: *const u8) -> Self::F;
    /// `LANES` signed bytes as numbers.
    unsafe fn load_i8(from: *const i8) -> Self::F;
    unsafe fn store(to: *mut f32, value: Self::F);
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;

    unsafe fn int_splat(value: i32) -> Self::I;
    /// `4 x LANES` bytes.
    unsafe fn bytes(from: *const u8) -> Self::I;
    /// Four bytes in every lane.
    unsafe fn four_bytes(from: *const i8) -> Self::I;
    unsafe fn to_float(value: Self::I) -> Self::F;
    /// Signed bytes as [`Simd::dot_signed`] takes them.
    unsafe fn signed(weights: Self::I) -> Self::I;
    /// Adds to each lane the four products of its signed bytes with those of `x`, plus `SIGNED_BIAS` times the sum of `x`.
    unsafe fn dot_signed(sum: Self::I, weights: Self::I, x: Self::I) -> Self::I;
    /// The same for unsigned bytes up to 63, without any bias.
    unsafe fn dot_unsigned(sum: Self::I, weights: Self::I, x: Self::I) -> Self::I;
    /// The low half of each byte.
    unsafe fn low_nibbles(bytes: Self::I) -> Self::I;
    /// The high half of each byte.
    unsafe fn high_nibbles(bytes: Self::I) -> Self::I;
    /// `nibbles` with the two bits of `pairs` at place `J` (0 to 3) of each byte above them.
    unsafe fn with_pair<const J: i32>(nibbles: Self::I, pairs: Self::I) -> Self::I;
}

/// The implementations, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// AVX-512 F, BW, VL and VNNI.
    Avx512Vnni,
    /// AVX2, FMA, F16C and AVX-VNNI.
    AvxVnni,
    /// AVX2, FMA and F16C.
    Avx2,
    /// NEON of ARMv8.
    Neon,
    /// Whatever the compiler makes of plain loops.
    Portable,
}

impl Level {
    /// The levels that this CPU has, best first.
    pub fn all() -> Vec<Level> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 =
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512 {
                levels.push(Level::Avx512Vnni);
            }
            if avx2 && is_x86_feature_detected!("avxvnni") {
                levels.push(Level::AvxVnni);
            }
            if avx2 {
                levels.push(Level::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        levels.push(Level::Neon);
        levels.push(Level::Portable);
        levels
    }

    /// What records call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// The best level of this CPU.
    pub fn best() -> Level {
        static BEST: std::sync::OnceLock<Level> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Level::all()[0])
    }
}
