//! Tiles of weights in `f32`, `f16` and `bf16`, which become `f32` in registers.
#![allow(clippy::needless_range_loop, reason = "constant bounds over several arrays keep sums in registers")]

use super::super::packed::{BLOCK, PANEL};
use super::super::simd::Simd;
use super::kernels::Prefetch;
use half::{bf16, f16};

/// A type of weights.
pub(super) trait Weight: Copy {
    /// # Safety
    /// As for [`Simd::load`].
    unsafe fn load<S: Simd>(from: *const Self) -> S::F;
}

impl Weight for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { S::load(from) }
    }
}

impl Weight for f16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { S::load_f16(from) }
    }
}

impl Weight for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { S::load_bf16(from) }
    }
}

impl Weight for i8 {
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const Self) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { S::load_i8(from) }
    }
}

/// Products of `M` rows with the 32 rows of a panel: `M x 32` results at `out`. `V` vectors make the panel's width. Rows of
/// activations stand side by side, or (`APART`) one behind the other, `stride` apart.
///
/// # Safety
/// `panel` must hold `cols x 32` weights, `x` `cols x M` activations, `out` `M x 32` places; the CPU must have `S`.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, W: Weight, const M: usize, const V: usize, const APART: bool>(
    (panel, prefetch): (*const W, Prefetch),
    (x, stride): (*const f32, usize),
    cols: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; M];
        for k in 0..cols {
            if k % BLOCK < prefetch.lines {
                S::prefetch(prefetch.from.wrapping_add((k / BLOCK * prefetch.lines + k % BLOCK) * 64));
            }
            let weights: [S::F; V] =
                filled!([S::splat(0.0); V], v => W::load::<S>(panel.add(k * PANEL + v * S::LANES)));
            for m in 0..M {
                let x = S::splat(*x.add(if APART { m * stride + k } else { k * M + m }));
                for v in 0..V {
                    sums[m][v] = S::fma(x, weights[v], sums[m][v]);
                }
            }
        }
        for m in 0..M {
            for v in 0..V {
                S::store(out.add(m * PANEL + v * S::LANES), sums[m][v]);
            }
        }
    }
}

/// The same for one row, with four sums for each vector: one would wait for its own last addition.
///
/// # Safety
/// As for [`tile`] with `M` of 1.
#[inline(always)]
pub(super) unsafe fn one_row<S: Simd, W: Weight, const V: usize>(
    (panel, prefetch): (*const W, Prefetch),
    x: *const f32,
    cols: usize,
    out: *mut f32,
) {
    const SUMS: usize = 4;
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[S::splat(0.0); V]; SUMS];
        let mut k = 0;
        while k + SUMS <= cols {
            for (u, sums) in sums.iter_mut().enumerate() {
                let line = panel.add((k + u) * PANEL);
                let bytes = PANEL * size_of::<W>();
                for line in 0..bytes.div_ceil(64) {
                    S::prefetch(prefetch.from.wrapping_add((k + u) * bytes + line * 64));
                }
                let x = S::splat(*x.add(k + u));
                for v in 0..V {
                    sums[v] = S::fma(x, W::load::<S>(line.add(v * S::LANES)), sums[v]);
                }
            }
            k += SUMS;
        }
        for k in k..cols {
            let x = S::splat(*x.add(k));
            for v in 0..V {
                sums[0][v] = S::fma(x, W::load::<S>(panel.add(k * PANEL + v * S::LANES)), sums[0][v]);
            }
        }
        let one = S::splat(1.0);
        for v in 0..V {
            let mut total = sums[0][v];
            for u in 1..SUMS {
                total = S::fma(sums[u][v], one, total);
            }
            S::store(out.add(v * S::LANES), total);
        }
    }
}
