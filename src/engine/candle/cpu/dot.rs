//! Rows of weights times a few rows of activations: the memory-bound half of a dense matrix product.
//!
//! Candle 0.11 reads 16-bit weights on x86-64 through a scalar loop (about 1 GB/s on a core) or through a GEMM
//! that packs them on every call. Here weights stay in 16 bits in memory and become `f32` in registers. The
//! code path (AVX-512, AVX2 with F16C, or portable) is chosen at run time.

use half::{bf16, f16};

/// A weight type that the kernels can read: `f32`, `f16` or `bf16`.
pub trait DenseWeight: Copy + Send + Sync + 'static {
    /// The value as `f32`, exact.
    fn to_f32(self) -> f32;

    /// Dots of `R` weight rows with `M` activation rows, `R <= 4`, `M <= 4`: `out[m][r] = w[r] . x[m]`.
    ///
    /// # Safety
    /// Every pointer of `w[..r]` and `x[..m]` must be valid for `k` reads.
    unsafe fn dots(w: [*const Self; 4], r: usize, x: [*const f32; 4], m: usize, k: usize) -> [[f32; 4]; 4];

    /// Writes the `f32` values of `src` to `dst`; the lengths must be equal.
    fn widen(src: &[Self], dst: &mut [f32]);
}

/// The instruction sets that the kernels know, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuLevel {
    /// AVX-512 F (with the F16C conversions that it includes).
    Avx512,
    /// AVX2, FMA and F16C.
    Avx2,
    /// Whatever the compiler makes of plain loops.
    Portable,
}

/// The best level that this CPU has.
pub fn cpu_level() -> CpuLevel {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return CpuLevel::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c") {
            return CpuLevel::Avx2;
        }
    }
    CpuLevel::Portable
}

/// The portable kernel, which is also what the others are tested against.
unsafe fn dots_portable<T: DenseWeight>(
    w: [*const T; 4],
    r: usize,
    x: [*const f32; 4],
    m: usize,
    k: usize,
) -> [[f32; 4]; 4] {
    const LANES: usize = 8;
    let mut out = [[0.0; 4]; 4];
    for (mi, out) in out.iter_mut().enumerate().take(m) {
        for (ri, out) in out.iter_mut().enumerate().take(r) {
            // SAFETY: the caller promises `k` valid reads behind each pointer.
            let (row, act) = unsafe { (std::slice::from_raw_parts(w[ri], k), std::slice::from_raw_parts(x[mi], k)) };
            let mut sums = [0f32; LANES];
            let (row_chunks, row_rest) = row.as_chunks::<LANES>();
            let (act_chunks, act_rest) = act.as_chunks::<LANES>();
            for (a, b) in row_chunks.iter().zip(act_chunks) {
                for lane in 0..LANES {
                    sums[lane] += a[lane].to_f32() * b[lane];
                }
            }
            let rest: f32 = row_rest.iter().zip(act_rest).map(|(a, b)| a.to_f32() * b).sum();
            *out = sums.iter().sum::<f32>() + rest;
        }
    }
    out
}

/// One kernel body for both vector widths. `$load` turns `$lanes` weights into a vector of `f32`.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_dots {
    ($name:ident, $features:literal, $weight:ty, $lanes:literal, $zero:ident, $loadf:ident, $fma:ident, $add:ident,
     $sum:expr, $load:expr) => {
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(
            w: [*const $weight; 4],
            r: usize,
            x: [*const f32; 4],
            m: usize,
            k: usize,
        ) -> [[f32; 4]; 4] {
            /// `R` and `M` are constants so that the accumulators live in registers. `U` independent sums for
            /// each hide the latency of the multiply-add where `R x M` is small.
            #[target_feature(enable = $features)]
            unsafe fn tile<const R: usize, const M: usize, const U: usize>(
                w: [*const $weight; 4],
                x: [*const f32; 4],
                k: usize,
            ) -> [[f32; 4]; 4] {
                // SAFETY: all reads are below `k`, which the caller vouches for.
                unsafe {
                    let mut sums = [[[$zero(); U]; R]; M];
                    let step = $lanes * U;
                    let mut i = 0;
                    while i + step <= k {
                        for u in 0..U {
                            let at = i + u * $lanes;
                            let mut acts = [$zero(); M];
                            for mi in 0..M {
                                acts[mi] = $loadf(x[mi].add(at));
                            }
                            for ri in 0..R {
                                let row = $load(w[ri].add(at));
                                for mi in 0..M {
                                    sums[mi][ri][u] = $fma(row, acts[mi], sums[mi][ri][u]);
                                }
                            }
                        }
                        i += step;
                    }
                    let mut out = [[0.0; 4]; 4];
                    for mi in 0..M {
                        for ri in 0..R {
                            let mut total = sums[mi][ri][0];
                            for u in 1..U {
                                total = $add(total, sums[mi][ri][u]);
                            }
                            let mut sum = $sum(total);
                            for j in i..k {
                                sum += (*w[ri].add(j)).to_f32() * *x[mi].add(j);
                            }
                            out[mi][ri] = sum;
                        }
                    }
                    out
                }
            }
            // SAFETY: as promised by the caller.
            unsafe {
                match (r, m) {
                    (4, 1) => tile::<4, 1, 2>(w, x, k),
                    (4, 2) => tile::<4, 2, 1>(w, x, k),
                    (4, 3) => tile::<4, 3, 1>(w, x, k),
                    (4, 4) => tile::<4, 4, 1>(w, x, k),
                    _ => {
                        let mut out = [[0.0; 4]; 4];
                        for mi in 0..m {
                            for ri in 0..r {
                                let one = tile::<1, 1, 4>([w[ri]; 4], [x[mi]; 4], k);
                                out[mi][ri] = one[0][0];
                            }
                        }
                        out
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{DenseWeight, bf16, f16};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx2")]
    fn sum256(v: __m256) -> f32 {
        let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }

    macro_rules! kernels {
        ($($name:ident, $features:tt, $weight:ty, $load:expr);* $(;)?) => { $(
            kernels!(@ $features, $name, $weight, $load);
        )* };
        (@ "avx512f", $name:ident, $weight:ty, $load:expr) => {
            vector_dots!(
                $name, "avx512f", $weight, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_fmadd_ps, _mm512_add_ps,
                _mm512_reduce_add_ps, $load
            );
        };
        (@ "avx2,fma,f16c", $name:ident, $weight:ty, $load:expr) => {
            vector_dots!(
                $name, "avx2,fma,f16c", $weight, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_fmadd_ps,
                _mm256_add_ps, sum256, $load
            );
        };
    }

    kernels! {
        f32_avx512, "avx512f", f32, |p: *const f32| _mm512_loadu_ps(p);
        f16_avx512, "avx512f", f16, |p: *const f16| _mm512_cvtph_ps(_mm256_loadu_si256(p.cast()));
        bf16_avx512, "avx512f", bf16, |p: *const bf16| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()))
        ));
        f32_avx2, "avx2,fma,f16c", f32, |p: *const f32| _mm256_loadu_ps(p);
        f16_avx2, "avx2,fma,f16c", f16, |p: *const f16| _mm256_cvtph_ps(_mm_loadu_si128(p.cast()));
        bf16_avx2, "avx2,fma,f16c", bf16, |p: *const bf16| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(
            _mm256_cvtepu16_epi32(_mm_loadu_si128(p.cast()))
        ));
    }
}

macro_rules! dense_weight {
    ($weight:ty, $avx512:ident, $avx2:ident, $to_f32:expr, $widen:expr) => {
        impl DenseWeight for $weight {
            #[inline(always)]
            fn to_f32(self) -> f32 {
                let to: fn($weight) -> f32 = $to_f32;
                to(self)
            }

            unsafe fn dots(w: [*const Self; 4], r: usize, x: [*const f32; 4], m: usize, k: usize) -> [[f32; 4]; 4] {
                debug_assert!(r <= 4 && m <= 4);
                // SAFETY: each kernel runs only where its instructions exist; pointers are the caller's promise.
                unsafe {
                    match cpu_level() {
                        #[cfg(target_arch = "x86_64")]
                        CpuLevel::Avx512 => x86::$avx512(w, r, x, m, k),
                        #[cfg(target_arch = "x86_64")]
                        CpuLevel::Avx2 => x86::$avx2(w, r, x, m, k),
                        _ => dots_portable(w, r, x, m, k),
                    }
                }
            }

            fn widen(src: &[Self], dst: &mut [f32]) {
                assert_eq!(src.len(), dst.len());
                let widen: fn(&[Self], &mut [f32]) = $widen;
                widen(src, dst)
            }
        }
    };
}

dense_weight!(f32, f32_avx512, f32_avx2, |v| v, |src, dst| dst.copy_from_slice(src));
dense_weight!(f16, f16_avx512, f16_avx2, f16::to_f32, |src, dst| {
    use half::slice::HalfFloatSliceExt;
    src.convert_to_f32_slice(dst)
});
dense_weight!(bf16, bf16_avx512, bf16_avx2, bf16::to_f32, |src, dst| {
    for (to, from) in dst.iter_mut().zip(src) {
        *to = f32::from_bits((from.to_bits() as u32) << 16);
    }
});

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: DenseWeight>(from: fn(f32) -> T) {
        for k in [1usize, 7, 16, 33, 64, 172, 576] {
            let weights: Vec<Vec<T>> =
                (0..4).map(|r| (0..k).map(|i| from(((i * 7 + r * 3) % 13) as f32 / 7.0 - 0.9)).collect()).collect();
            let acts: Vec<Vec<f32>> =
                (0..4).map(|m| (0..k).map(|i| ((i * 5 + m) % 11) as f32 / 5.0 - 1.0).collect()).collect();
            let w = [0, 1, 2, 3].map(|r| weights[r].as_ptr());
            let x = [0, 1, 2, 3].map(|m| acts[m].as_ptr());
            for r in 1..=4 {
                for m in 1..=4 {
                    // SAFETY: every vector holds `k` values.
                    let (got, want) = unsafe { (T::dots(w, r, x, m, k), dots_portable(w, r, x, m, k)) };
                    for mi in 0..m {
                        for ri in 0..r {
                            let (got, want) = (got[mi][ri], want[mi][ri]);
                            assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "k{k} r{ri} m{mi}: {got} {want}");
                        }
                    }
                }
            }
            let mut wide = vec![0.0; k];
            T::widen(&weights[1], &mut wide);
            assert!(wide.iter().zip(&weights[1]).all(|(a, b)| *a == b.to_f32()));
        }
    }

    #[test]
    fn vector_kernels_agree_with_plain_loops() {
        check::<f32>(|v| v);
        check::<f16>(f16::from_f32);
        check::<bf16>(bf16::from_f32);
    }
}
