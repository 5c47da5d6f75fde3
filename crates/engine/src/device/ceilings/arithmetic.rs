//! Arithmetic ceilings: matrix products through the GEMM library that candle uses, and dot products of narrow types
//! with the CPU's own instructions for them.

use super::team;
use super::{MIN_SAMPLES, Settings, repeat};
use crate::device::cpu::has_flag;
use crate::record::{Bound, Ceiling, CeilingKind};
use half::f16;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

/// Side of the matrices: large enough that the product is bound by arithmetic.
const SIDE: usize = 1024;

/// Matrix products of `f32` and of `f16`.
pub(crate) fn gemm(settings: &Settings) -> Vec<Ceiling> {
    let values: Vec<f32> = (0..SIDE * SIDE).map(|i| ((i * 31) % 17) as f32 / 17.0 - 0.5).collect();
    let halves: Vec<f16> = values.iter().map(|v| f16::from_f32(*v)).collect();
    let how = format!("{SIDE}^3 by the gemm crate");
    let f32s = repeat(settings, || product(settings.threads, &values, 0.0, 1.0));
    let f16s = repeat(settings, || product(settings.threads, &halves, f16::ZERO, f16::ONE));
    [(CeilingKind::GemmF32, f32s), (CeilingKind::GemmF16, f16s)]
        .into_iter()
        .filter_map(|(kind, samples)| Ceiling::from_samples(kind, settings.threads, samples, how.clone()))
        .collect()
}

/// Operations per second of one product of `matrix` with its transpose.
fn product<T: Copy + 'static>(threads: usize, matrix: &[T], zero: T, one: T) -> f64 {
    let mut result = vec![zero; SIDE * SIDE];
    let side = SIDE as isize;
    let parallelism = match threads {
        1 => gemm::Parallelism::None,
        n => gemm::Parallelism::Rayon(n),
    };
    let start = Instant::now();
    // SAFETY: both matrices are SIDE x SIDE with these strides.
    unsafe {
        gemm::gemm(
            SIDE,
            SIDE,
            SIDE,
            result.as_mut_ptr(),
            1,
            side,
            false,
            matrix.as_ptr(),
            1,
            side,
            matrix.as_ptr(),
            side,
            1,
            zero,
            one,
            false,
            false,
            false,
            parallelism,
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    black_box(&result);
    2.0 * (SIDE as f64).powi(3) / seconds
}

/// Bytes of each operand of a dot product: together they stay in the first-level cache.
const DOT_BYTES: usize = 4096;
/// Dot products of one sample and thread.
const DOTS: usize = 10_000;

/// A loop of dot products over operands in the first-level cache.
struct DotKernel {
    kind: CeilingKind,
    /// Operations per byte of an operand: a multiply and an add for each product that an element is in.
    ops_per_byte: f64,
    how: &'static str,
    run: fn(&[u8], &[u8]),
}

/// Dot products of `i8`, and of `bf16` where the CPU has an instruction for them.
pub(crate) fn dots(settings: &Settings) -> Vec<Ceiling> {
    let mut ceilings = Vec::new();
    for kernel in kernels() {
        let ops = settings.threads as f64 * (DOTS * DOT_BYTES) as f64 * kernel.ops_per_byte;
        let mut samples = Vec::new();
        let mut first = true;
        let start = Instant::now();
        team::rounds(
            settings.threads,
            |_| (vec![1u8; DOT_BYTES], vec![2u8; DOT_BYTES]),
            |_, (a, b)| {
                for _ in 0..DOTS {
                    (kernel.run)(black_box(a), black_box(b));
                }
            },
            |seconds| {
                if !std::mem::take(&mut first) {
                    samples.push(ops / seconds);
                }
                samples.len() < MIN_SAMPLES || start.elapsed() < settings.time_each
            },
        );
        let (bound, why) = bound(&kernel, &|flag| has_flag(Path::new("/"), flag));
        let how = format!("{}, operands in the first-level cache{why}", kernel.how);
        let ceiling = Ceiling::from_samples(kernel.kind, settings.threads, samples, how);
        ceilings.extend(ceiling.map(|ceiling| Ceiling { bound, ..ceiling }));
    }
    ceilings
}

/// Whether the CPU can do more than a kernel asks of it, and with what.
fn bound(kernel: &DotKernel, has_flag: &dyn Fn(&str) -> bool) -> (Bound, &'static str) {
    let matrices = match kernel.kind {
        CeilingKind::DotInt8 => has_flag("amx_int8"),
        CeilingKind::DotBf16 => has_flag("amx_bf16"),
        _ => false,
    };
    match (matrices, kernel.how) {
        (true, _) => (Bound::Lower, "; the CPU's matrix units (AMX) are not used"),
        (_, PORTABLE) => (Bound::Lower, "; what instructions the CPU has for it are not used"),
        _ => (Bound::Roof, ""),
    }
}

fn kernels() -> Vec<DotKernel> {
    #[cfg(target_arch = "x86_64")]
    {
        x86::kernels()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        vec![portable()]
    }
}

/// How [`portable`] does it.
const PORTABLE: &str = "portable loop";

/// Plain loops, for CPUs whose instructions are not written here.
fn portable() -> DotKernel {
    DotKernel {
        kind: CeilingKind::DotInt8,
        ops_per_byte: 2.0,
        how: PORTABLE,
        run: |a, b| {
            let mut sums = [0i32; 16];
            for (a, b) in a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0) {
                for lane in 0..16 {
                    sums[lane] += a[lane] as i32 * (b[lane] as i8) as i32;
                }
            }
            black_box(sums);
        },
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CeilingKind, DotKernel, black_box, portable};
    use std::arch::x86_64::*;

    /// Operands of one step: each of `SIDE` vectors of `a` meets each of `SIDE` vectors of `b`, so that there are twice
    /// as many products as loads and the sums are many enough to hide the latency of the instruction.
    const SIDE: usize = 4;

    macro_rules! dot_kernel {
        ($name:ident, $features:literal, $vector:ty, $zero:expr, $bytes:literal, $load:expr, $step:expr) => {
            #[target_feature(enable = $features)]
            fn $name(a: &[u8], b: &[u8]) {
                let mut sums: [[$vector; SIDE]; SIDE] = [[$zero; SIDE]; SIDE];
                for (a, b) in a.chunks_exact($bytes * SIDE).zip(b.chunks_exact($bytes * SIDE)) {
                    // SAFETY: each load is within its chunk.
                    let (x, y) = unsafe {
                        (
                            [0, 1, 2, 3].map(|i| $load(a.as_ptr().add(i * $bytes))),
                            [0, 1, 2, 3].map(|i| $load(b.as_ptr().add(i * $bytes))),
                        )
                    };
                    for i in 0..SIDE {
                        for j in 0..SIDE {
                            sums[i][j] = $step(sums[i][j], x[i], y[j]);
                        }
                    }
                }
                black_box(sums);
            }
        };
    }

    dot_kernel!(
        int8_vnni512,
        "avx512f,avx512bw,avx512vnni",
        __m512i,
        _mm512_setzero_si512(),
        64,
        |p: *const u8| _mm512_loadu_si512(p.cast()),
        _mm512_dpbusd_epi32
    );
    dot_kernel!(
        int8_vnni256,
        "avx2,avxvnni",
        __m256i,
        _mm256_setzero_si256(),
        32,
        |p: *const u8| _mm256_loadu_si256(p.cast()),
        _mm256_dpbusd_avx_epi32
    );
    dot_kernel!(
        int8_avx2,
        "avx2",
        __m256i,
        _mm256_setzero_si256(),
        32,
        |p: *const u8| _mm256_loadu_si256(p.cast()),
        |sum, x, y| _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), _mm256_set1_epi16(1)))
    );
    dot_kernel!(
        bf16_avx512,
        "avx512f,avx512bf16",
        __m512,
        _mm512_setzero_ps(),
        64,
        |p: *const u8| _mm512_loadu_si512(p.cast::<__m512i>()),
        |sum, x: __m512i, y: __m512i| {
            // SAFETY: both are 512 bits of plain data.
            let (x, y) =
                unsafe { (std::mem::transmute::<__m512i, __m512bh>(x), std::mem::transmute::<__m512i, __m512bh>(y)) };
            _mm512_dpbf16_ps(sum, x, y)
        }
    );

    /// Any bits as a number from 1 to 2, so that none is so small that it is computed another way.
    #[target_feature(enable = "avx512f")]
    fn ones512(p: *const u8) -> __m512 {
        // SAFETY: the caller's load is within its chunk.
        let bits = unsafe { _mm512_loadu_si512(p.cast()) };
        let mantissa = _mm512_and_si512(bits, _mm512_set1_epi32(0x007f_ffff));
        _mm512_castsi512_ps(_mm512_or_si512(mantissa, _mm512_set1_epi32(0x3f80_0000)))
    }

    /// The same of half the width.
    #[target_feature(enable = "avx2")]
    fn ones256(p: *const u8) -> __m256 {
        // SAFETY: the caller's load is within its chunk.
        let bits = unsafe { _mm256_loadu_si256(p.cast()) };
        let mantissa = _mm256_and_si256(bits, _mm256_set1_epi32(0x007f_ffff));
        _mm256_castsi256_ps(_mm256_or_si256(mantissa, _mm256_set1_epi32(0x3f80_0000)))
    }

    dot_kernel!(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), 64, |p: *const u8| ones512(p), |sum, x, y| {
        _mm512_fmadd_ps(x, y, sum)
    });
    dot_kernel!(fma_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), 32, |p: *const u8| ones256(p), |sum, x, y| {
        _mm256_fmadd_ps(x, y, sum)
    });

    pub(super) fn kernels() -> Vec<DotKernel> {
        let fma = |how, run| DotKernel { kind: CeilingKind::FmaF32, ops_per_byte: SIDE as f64 / 2.0, how, run };
        let int8 = |how, run| DotKernel { kind: CeilingKind::DotInt8, ops_per_byte: 2.0 * SIDE as f64, how, run };
        let mut all = Vec::new();
        if is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512bw") {
            all.push(int8("AVX-512 VNNI", |a, b| {
                // SAFETY: the instructions were detected.
                unsafe { int8_vnni512(a, b) }
            }));
        } else if is_x86_feature_detected!("avxvnni") {
            all.push(int8("AVX-VNNI", |a, b| {
                // SAFETY: the instructions were detected.
                unsafe { int8_vnni256(a, b) }
            }));
        } else if is_x86_feature_detected!("avx2") {
            all.push(int8("AVX2 multiply-add", |a, b| {
                // SAFETY: the instructions were detected.
                unsafe { int8_avx2(a, b) }
            }));
        } else {
            all.push(portable());
        }
        if is_x86_feature_detected!("avx512f") {
            all.push(fma("AVX-512 multiply-add", |a, b| {
                // SAFETY: the instructions were detected.
                unsafe { fma_avx512(a, b) }
            }));
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            all.push(fma("AVX2 multiply-add", |a, b| {
                // SAFETY: the instructions were detected.
                unsafe { fma_avx2(a, b) }
            }));
        }
        if is_x86_feature_detected!("avx512bf16") {
            all.push(DotKernel {
                kind: CeilingKind::DotBf16,
                ops_per_byte: SIDE as f64,
                how: "AVX-512 BF16",
                run: |a, b| {
                    // SAFETY: the instructions were detected.
                    unsafe { bf16_avx512(a, b) }
                },
            });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_with_matrix_units_can_do_more_than_its_vectors() {
        let of = |kind, how, flags: &[&str]| {
            let kernel = DotKernel { kind, ops_per_byte: 2.0, how, run: |_, _| () };
            bound(&kernel, &|flag| flags.contains(&flag)).0
        };
        let amx = ["amx_bf16", "amx_tile", "amx_int8"];
        assert_eq!(of(CeilingKind::DotInt8, "AVX-512 VNNI", &amx), Bound::Lower);
        assert_eq!(of(CeilingKind::DotBf16, "AVX-512 BF16", &amx), Bound::Lower);
        assert_eq!(of(CeilingKind::FmaF32, "AVX-512 multiply-add", &amx), Bound::Roof);
        assert_eq!(of(CeilingKind::DotInt8, "AVX-512 VNNI", &["avx512_vnni"]), Bound::Roof);
        assert_eq!(of(CeilingKind::DotInt8, PORTABLE, &[]), Bound::Lower);
    }
}
