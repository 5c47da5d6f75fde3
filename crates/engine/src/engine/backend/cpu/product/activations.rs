//! Activations as the tiles of a product read them: the rows of a tile side by side, as `f32` or in 8 bits.

use super::super::dispatch::dispatched;
use super::super::packed::BLOCK;
use super::super::work::share_out;
use std::borrow::Cow;
use std::ops::Range;

/// Rows below which one thread prepares them all: handing work over costs more.
const ALONE_BELOW: usize = 1 << 14;

/// The rows of each tile: as many tiles of `most` rows as there are, then one with the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// Rows in all.
    pub(super) rows: usize,
    /// Rows of a tile.
    pub(super) most: usize,
}

impl Tiling {
    pub(super) fn count(self) -> usize {
        self.rows.div_ceil(self.most)
    }

    pub(super) fn rows_of(self, tile: usize) -> Range<usize> {
        tile * self.most..self.rows.min((tile + 1) * self.most)
    }
}

/// `f32` activations: for each tile, for each input, the tile's rows.
pub(super) struct Floats<'a> {
    values: Cow<'a, [f32]>,
    cols: usize,
    tiling: Tiling,
}

/// Activations in blocks of 32 with a scale: for each tile and block, groups of four inputs of each of the tile's rows.
pub(super) struct Bytes {
    weights: Vec<i8>,
    scales: Vec<f32>,
    /// Sums of the first and the last 16 of each block.
    sums: Vec<i32>,
    cols: usize,
    tiling: Tiling,
}

/// Where the bytes of a tile are.
#[derive(Clone, Copy)]
pub(in super::super) struct ByteTile {
    pub(super) weights: *const i8,
    pub(super) scales: *const f32,
    pub(super) sums: *const i32,
}

impl<'a> Floats<'a> {
    pub(super) fn new(x: &'a [f32], cols: usize, tiling: Tiling) -> Self {
        if tiling.most == 1 || tiling.rows == 1 {
            return Self { values: Cow::Borrowed(x), cols, tiling };
        }
        let mut values = vec![0f32; x.len()];
        let to = Shared(values.as_mut_ptr());
        for_each_tile(tiling, x.len(), |tile| {
            let rows = tiling.rows_of(tile);
            let count = rows.len();
            // SAFETY: the values of these rows belong to this tile alone.
            let to = unsafe { std::slice::from_raw_parts_mut(to.at(rows.start * cols), count * cols) };
            for (index, row) in rows.enumerate() {
                for (to, value) in to[index..].iter_mut().step_by(count).zip(&x[row * cols..(row + 1) * cols]) {
                    *to = *value;
                }
            }
        });
        Self { values: Cow::Owned(values), cols, tiling }
    }

    pub(super) fn tile(&self, tile: usize) -> (*const f32, usize) {
        let rows = self.tiling.rows_of(tile);
        (self.values[rows.start * self.cols..].as_ptr(), rows.len())
    }
}

impl Bytes {
    /// Rounds each block of 32 to multiples of its largest magnitude over 127 (the rule of `Q8_0`, the scale in `f32`).
    pub(super) fn new(x: &[f32], cols: usize, tiling: Tiling) -> Self {
        let blocks = x.len() / BLOCK;
        let mut bytes =
            Self { weights: vec![0; x.len()], scales: vec![0.0; blocks], sums: vec![0; blocks * 2], cols, tiling };
        let parts =
            (Shared(bytes.weights.as_mut_ptr()), Shared(bytes.scales.as_mut_ptr()), Shared(bytes.sums.as_mut_ptr()));
        for_each_tile(tiling, x.len(), |tile| {
            let rows = tiling.rows_of(tile);
            let count = rows.len();
            let per_row = cols / BLOCK;
            // SAFETY: the values of these rows belong to this tile alone.
            let (weights, scales, sums) = unsafe {
                let start = rows.start * per_row;
                (
                    std::slice::from_raw_parts_mut(parts.0.at(start * BLOCK), count * cols),
                    std::slice::from_raw_parts_mut(parts.1.at(start), count * per_row),
                    std::slice::from_raw_parts_mut(parts.2.at(start * 2), count * per_row * 2),
                )
            };
            for (index, row) in rows.enumerate() {
                let place = TileRow { count, index };
                quantize(&x[row * cols..(row + 1) * cols], place, weights, scales, sums);
            }
        });
        bytes
    }

    pub(super) fn tile(&self, tile: usize) -> (ByteTile, usize) {
        let rows = self.tiling.rows_of(tile);
        let start = rows.start * self.cols;
        let pointers = ByteTile {
            weights: self.weights[start..].as_ptr(),
            scales: self.scales[start / BLOCK..].as_ptr(),
            sums: self.sums[start / BLOCK * 2..].as_ptr(),
        };
        (pointers, rows.len())
    }
}

/// One row among those of a tile.
#[derive(Clone, Copy)]
struct TileRow {
    count: usize,
    index: usize,
}

dispatched!(
    /// One row of activations to its place among those of its tile.
    fn quantize(row: &[f32], place: TileRow, weights: &mut [i8], scales: &mut [f32], sums: &mut [i32]) = quantize_body
);

#[inline(always)]
fn quantize_body(row: &[f32], place: TileRow, weights: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    let TileRow { count, index } = place;
    for (number, block) in row.as_chunks::<BLOCK>().0.iter().enumerate() {
        // Magnitudes are ordered as their bits are, and the greatest of integers is found in any order.
        let bits = block.iter().map(|value| value.to_bits() & 0x7fff_ffff).fold(0, u32::max);
        let most = f32::from_bits(bits);
        let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
        let mut rounded = [0i32; BLOCK];
        for i in 0..BLOCK {
            // What is not finite becomes 0 or an extreme here, and stays visible in the scale.
            rounded[i] = (block[i] * inverse).round_ties_even().clamp(-127.0, 127.0) as i32;
        }
        let at = number * count + index;
        scales[at] = if bits < 0x7f80_0000 { most / 127.0 } else { f32::NAN };
        sums[at * 2] = rounded[..16].iter().sum();
        sums[at * 2 + 1] = rounded[16..].iter().sum();
        let bytes: [i8; BLOCK] = std::array::from_fn(|i| rounded[i] as i8);
        if count == 1 {
            weights[number * BLOCK..(number + 1) * BLOCK].copy_from_slice(&bytes);
            continue;
        }
        for (group, four) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let to = number * BLOCK * count + (group * count + index) * 4;
            weights[to..to + 4].copy_from_slice(four);
        }
    }
}

/// A pointer that workers write disjoint parts of.
struct Shared<T>(*mut T);
// SAFETY: every user writes elements that no other worker touches.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// `offset` must be within the allocation.
    unsafe fn at(&self, offset: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

fn for_each_tile(tiling: Tiling, values: usize, work: impl Fn(usize) + Sync) {
    if values < ALONE_BELOW {
        (0..tiling.count()).for_each(work);
    } else {
        share_out(tiling.count(), || (), |(), tile| work(tile));
    }
}
