//! Tiles of quantized weights with activations in 8 bits: products of bytes are added up exactly in 32 bits over a block of
//! 32 inputs, and the sums scaled in `f32`.
#![allow(clippy::needless_range_loop, reason = "constant bounds over several arrays keep sums in registers")]

use super::super::packed::{BLOCK, PANEL, Q4_BYTES, Q4K_BLOCK, Q4K_BYTES, Q6K_BLOCK, Q6K_BYTES, Q8_BYTES};
use super::super::simd::Simd;
use super::activations::ByteTile;
use super::kernels::Prefetch;

/// Bytes of the scales before the weights of a block.
const HEAD: usize = PANEL * 2;

/// Sums of a tile: `M` rows of activations, `V` vectors of the panel's rows.
type Floats<S, const M: usize, const V: usize> = [[<S as Simd>::F; V]; M];
type Ints<S, const M: usize, const V: usize> = [[<S as Simd>::I; V]; M];

/// A quantized format.
pub(super) trait Blocks {
    /// Adds the products of a tile with a panel to `totals`.
    ///
    /// # Safety
    /// `panel` must hold blocks for `cols` inputs, `x` a tile of `M` rows of them; the CPU must have `S`.
    unsafe fn add<S: Simd, const M: usize, const V: usize>(
        panel: (*const u8, Prefetch),
        x: ByteTile,
        cols: usize,
        totals: &mut Floats<S, M, V>,
    );
}

impl ByteTile {
    /// The group of four inputs `group` of row `m` in block `block`.
    #[inline(always)]
    unsafe fn four<S: Simd, const M: usize>(self, block: usize, group: usize, m: usize) -> S::I {
        // SAFETY: the caller stays within the tile.
        unsafe { S::four_bytes(self.weights.add(block * BLOCK * M + (group * M + m) * 4)) }
    }

    #[inline(always)]
    unsafe fn scale<const M: usize>(self, block: usize, m: usize) -> f32 {
        // SAFETY: as above.
        unsafe { *self.scales.add(block * M + m) }
    }

    /// Sums of the first and the last 16 inputs.
    #[inline(always)]
    unsafe fn sums<const M: usize>(self, block: usize, m: usize) -> (i32, i32) {
        // SAFETY: as above.
        unsafe { (*self.sums.add((block * M + m) * 2), *self.sums.add((block * M + m) * 2 + 1)) }
    }
}

impl Prefetch {
    /// Asks for the lines that stand as far into what comes as block `block` does into the panel.
    #[inline(always)]
    fn ask<S: Simd>(self, block: usize) {
        let from = self.from.wrapping_add(block * self.lines * 64);
        for line in 0..self.lines {
            S::prefetch(from.wrapping_add(line * 64));
        }
    }
}

/// `totals += sums * scales * x's scale`.
#[inline(always)]
unsafe fn scaled<S: Simd, const M: usize, const V: usize>(
    sums: &Ints<S, M, V>,
    scales: &[S::F; V],
    x: ByteTile,
    block: usize,
    totals: &mut Floats<S, M, V>,
) {
    // SAFETY: the caller stays within the tile.
    unsafe {
        for m in 0..M {
            let scale = S::splat(x.scale::<M>(block, m));
            for v in 0..V {
                totals[m][v] = S::fma(S::mul(S::to_float(sums[m][v]), scales[v]), scale, totals[m][v]);
            }
        }
    }
}

/// `Q8_0`.
pub(super) struct Q8;

impl Blocks for Q8 {
    #[inline(always)]
    unsafe fn add<S: Simd, const M: usize, const V: usize>(
        (panel, prefetch): (*const u8, Prefetch),
        x: ByteTile,
        cols: usize,
        totals: &mut Floats<S, M, V>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for block in 0..cols / BLOCK {
                let from = panel.add(block * Q8_BYTES);
                prefetch.ask::<S>(block);
                let mut sums: Ints<S, M, V> = filled!([[S::int_splat(0); V]; M], m => {
                    let (low, high) = x.sums::<M>(block, m);
                    [S::int_splat(-S::SIGNED_BIAS * (low + high)); V]
                });
                for group in 0..8 {
                    let weights: [S::I; V] = filled!([S::int_splat(0); V], v => {
                        S::signed(S::bytes(from.add(HEAD + group * PANEL * 4 + v * S::LANES * 4)))
                    });
                    for m in 0..M {
                        let four = x.four::<S, M>(block, group, m);
                        for v in 0..V {
                            sums[m][v] = S::dot_signed(sums[m][v], weights[v], four);
                        }
                    }
                }
                let scales: [S::F; V] =
                    filled!([S::splat(0.0); V], v => S::load_f16(from.cast::<half::f16>().add(v * S::LANES)));
                scaled::<S, M, V>(&sums, &scales, x, block, totals);
            }
        }
    }
}

/// Adds the products of half bytes.
#[inline(always)]
unsafe fn nibbles<S: Simd, const M: usize, const V: usize>(
    weights: *const u8,
    x: ByteTile,
    block: usize,
    sums: &mut Ints<S, M, V>,
) {
    // SAFETY: the caller stays within the tile and the panel.
    unsafe {
        for group in 0..4 {
            let both: [S::I; V] =
                filled!([S::int_splat(0); V], v => S::bytes(weights.add(group * PANEL * 4 + v * S::LANES * 4)));
            let low = filled!([S::int_splat(0); V], v => S::low_nibbles(both[v]));
            let high = filled!([S::int_splat(0); V], v => S::high_nibbles(both[v]));
            for (group, weights) in [(group, low), (group + 4, high)] {
                for m in 0..M {
                    let four = x.four::<S, M>(block, group, m);
                    for v in 0..V {
                        sums[m][v] = S::dot_unsigned(sums[m][v], weights[v], four);
                    }
                }
            }
        }
    }
}

/// `Q4_0`.
pub(super) struct Q4;

impl Blocks for Q4 {
    #[inline(always)]
    unsafe fn add<S: Simd, const M: usize, const V: usize>(
        (panel, prefetch): (*const u8, Prefetch),
        x: ByteTile,
        cols: usize,
        totals: &mut Floats<S, M, V>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for block in 0..cols / BLOCK {
                let from = panel.add(block * Q4_BYTES);
                prefetch.ask::<S>(block);
                // Weights are 8 more than they stand for.
                let mut sums: Ints<S, M, V> = filled!([[S::int_splat(0); V]; M], m => {
                    let (low, high) = x.sums::<M>(block, m);
                    [S::int_splat(-8 * (low + high)); V]
                });
                nibbles::<S, M, V>(from.add(HEAD), x, block, &mut sums);
                let scales: [S::F; V] =
                    filled!([S::splat(0.0); V], v => S::load_f16(from.cast::<half::f16>().add(v * S::LANES)));
                scaled::<S, M, V>(&sums, &scales, x, block, totals);
            }
        }
    }
}

/// `Q4_K`.
pub(super) struct Q4K;

impl Blocks for Q4K {
    #[inline(always)]
    unsafe fn add<S: Simd, const M: usize, const V: usize>(
        (panel, prefetch): (*const u8, Prefetch),
        x: ByteTile,
        cols: usize,
        totals: &mut Floats<S, M, V>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for outer in 0..cols / 256 {
                let factors = panel.add(outer * Q4K_BYTES);
                let halves = factors.cast::<half::f16>();
                let factor: [S::F; V] = filled!([S::splat(0.0); V], v => S::load_f16(halves.add(v * S::LANES)));
                let minus = S::splat(-1.0);
                let min_factor: [S::F; V] =
                    filled!([S::splat(0.0); V], v => S::mul(minus, S::load_f16(halves.add(PANEL + v * S::LANES))));
                for inner in 0..8 {
                    let block = outer * 8 + inner;
                    let from = factors.add(PANEL * 4 + inner * Q4K_BLOCK);
                    prefetch.ask::<S>(block);
                    let mut sums: Ints<S, M, V> = [[S::int_splat(0); V]; M];
                    nibbles::<S, M, V>(from.add(HEAD), x, block, &mut sums);
                    let scales: [S::F; V] =
                        filled!([S::splat(0.0); V], v => S::mul(factor[v], S::load_u8(from.add(v * S::LANES))));
                    let mins: [S::F; V] = filled!([S::splat(0.0); V], v => S::mul(min_factor[v], S::load_u8(from.add(PANEL + v * S::LANES))));
                    scaled::<S, M, V>(&sums, &scales, x, block, totals);
                    for m in 0..M {
                        let (low, high) = x.sums::<M>(block, m);
                        let sum = S::splat(x.scale::<M>(block, m) * (low + high) as f32);
                        for v in 0..V {
                            totals[m][v] = S::fma(sum, mins[v], totals[m][v]);
                        }
                    }
                }
            }
        }
    }
}

/// `Q6_K`.
pub(super) struct Q6K;

/// Adds the products of the group `GROUP` of the first (`HIGH` of `false`) or the last 16 inputs of a block.
#[inline(always)]
unsafe fn six_bits<S: Simd, const M: usize, const V: usize, const GROUP: i32, const HIGH: bool>(
    from: *const u8,
    x: ByteTile,
    block: usize,
    sums: &mut Ints<S, M, V>,
) {
    // SAFETY: the caller stays within the tile and the panel.
    unsafe {
        let group = GROUP as usize;
        let weights: [S::I; V] = filled!([S::int_splat(0); V], v => {
            let lane = v * S::LANES * 4;
            let both = S::bytes(from.add(group * PANEL * 4 + lane));
            let pairs = from.add(PANEL * BLOCK / 2 + lane);
            if HIGH {
                S::with_pair::<GROUP>(S::high_nibbles(both), S::bytes(pairs.add(PANEL * 4)))
            } else {
                S::with_pair::<GROUP>(S::low_nibbles(both), S::bytes(pairs))
            }
        });
        for m in 0..M {
            let four = x.four::<S, M>(block, if HIGH { group + 4 } else { group }, m);
            for v in 0..V {
                sums[m][v] = S::dot_unsigned(sums[m][v], weights[v], four);
            }
        }
    }
}

/// One half of a block after the other: the sums of both at once would not fit in the registers.
#[inline(always)]
unsafe fn half_of_six_bits<S: Simd, const M: usize, const V: usize, const HIGH: bool>(
    from: *const u8,
    x: ByteTile,
    block: usize,
    factor: &[S::F; V],
    totals: &mut Floats<S, M, V>,
) {
    // SAFETY: the caller stays within the tile and the panel.
    unsafe {
        // Weights are 32 more than they stand for.
        let mut sums: Ints<S, M, V> = filled!([[S::int_splat(0); V]; M], m => {
            let (low, high) = x.sums::<M>(block, m);
            [S::int_splat(-32 * if HIGH { high } else { low }); V]
        });
        let weights = from.add(HEAD);
        six_bits::<S, M, V, 0, HIGH>(weights, x, block, &mut sums);
        six_bits::<S, M, V, 1, HIGH>(weights, x, block, &mut sums);
        six_bits::<S, M, V, 2, HIGH>(weights, x, block, &mut sums);
        six_bits::<S, M, V, 3, HIGH>(weights, x, block, &mut sums);
        let first = if HIGH { PANEL } else { 0 };
        let scales: [S::F; V] =
            filled!([S::splat(0.0); V], v => S::mul(factor[v], S::load_i8(from.add(first + v * S::LANES).cast())));
        scaled::<S, M, V>(&sums, &scales, x, block, totals);
    }
}

impl Blocks for Q6K {
    #[inline(always)]
    unsafe fn add<S: Simd, const M: usize, const V: usize>(
        (panel, prefetch): (*const u8, Prefetch),
        x: ByteTile,
        cols: usize,
        totals: &mut Floats<S, M, V>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            for outer in 0..cols / 256 {
                let factors = panel.add(outer * Q6K_BYTES);
                let factor: [S::F; V] =
                    filled!([S::splat(0.0); V], v => S::load_f16(factors.cast::<half::f16>().add(v * S::LANES)));
                for inner in 0..8 {
                    let block = outer * 8 + inner;
                    let from = factors.add(HEAD + inner * Q6K_BLOCK);
                    prefetch.ask::<S>(block);
                    half_of_six_bits::<S, M, V, false>(from, x, block, &factor, totals);
                    half_of_six_bits::<S, M, V, true>(from, x, block, &factor, totals);
                }
            }
        }
    }
}

/// Products of `M` rows with the 32 rows of a panel: `M x 32` results at `out`.
///
/// # Safety
/// As for [`Blocks::add`]; `out` must have `M x 32` places.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, B: Blocks, const M: usize, const V: usize>(
    panel: (*const u8, Prefetch),
    x: ByteTile,
    cols: usize,
    out: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut totals: Floats<S, M, V> = [[S::splat(0.0); V]; M];
        B::add::<S, M, V>(panel, x, cols, &mut totals);
        for m in 0..M {
            for v in 0..V {
                S::store(out.add(m * PANEL + v * S::LANES), totals[m][v]);
            }
        }
    }
}
