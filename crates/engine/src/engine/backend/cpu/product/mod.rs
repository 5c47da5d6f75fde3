//! Products of activations with packed matrices, several matrices of the same input at a time.

/// An array whose elements are made one after the other by their index, from `$zero` on. This is a loop and no closure, as a
/// closure is compiled for any CPU: whether the instructions of the function around it reach into one is left to the
/// compiler's luck, and where they do not, products take four times as long.
macro_rules! filled {
    ([$zero:expr; $count:expr], $index:ident => $each:expr) => {{
        let mut made = [$zero; $count];
        for $index in 0..$count {
            made[$index] = $each;
        }
        made
    }};
}

mod activations;
mod float;
mod ints;
pub(super) mod kernels;

use super::packed::{BLOCK, Format, PANEL, Packed};
use super::pool::pool;
use super::simd::Level;
use super::values::{SharedMut, contiguous_f32};
use super::work::share_out;
use activations::{Bytes, Floats, Tiling};
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use kernels::{Prefetch, Stored, Tile, X, tile_rows};
use std::ops::Range;

/// `x . w^T` for each of `matrices`, as one piece of work: `x: (.., inputs)`, contiguous `f32`, to `(.., outputs)` each.
pub fn products(x: &Tensor, matrices: &[&Packed]) -> Result<Vec<Tensor>> {
    let mut dims = x.dims().to_vec();
    let rows: usize = dims.iter().rev().skip(1).product();
    let all = x.apply_op1_no_bwd(&Products { matrices, level: Level::best() })?;
    let mut start = 0;
    let mut results = Vec::with_capacity(matrices.len());
    for matrix in matrices {
        if let Some(last) = dims.last_mut() {
            *last = matrix.rows();
        }
        results.push(all.narrow(0, start, rows * matrix.rows())?.reshape(dims.as_slice())?);
        start += rows * matrix.rows();
    }
    Ok(results)
}

/// The results of all matrices, one behind the other in one dimension.
struct Products<'a> {
    matrices: &'a [&'a Packed],
    level: Level,
}

impl CustomOp1 for Products<'_> {
    fn name(&self) -> &'static str {
        "packed-products"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, rows, cols) = contiguous_f32(x, layout)?;
        if let Some(other) = self.matrices.iter().find(|matrix| matrix.cols() != cols) {
            bail!("a matrix of {} inputs cannot take {cols} activations", other.cols());
        }
        let y = self.run(x, (rows, cols), pool().threads());
        let len = y.len();
        Ok((CpuStorage::F32(y), Shape::from(len)))
    }
}

/// Panels of one matrix and tiles of activations, for one worker at a time.
struct Unit {
    matrix: usize,
    panel: usize,
    tiles: Range<usize>,
}

/// Activations as the formats need them.
struct Prepared<'a> {
    floats: Option<Floats<'a>>,
    bytes: Option<Bytes>,
}

impl Products<'_> {
    /// The products, cut for so many threads; what comes out does not depend on their number.
    fn run(&self, x: &[f32], (rows, cols): (usize, usize), threads: usize) -> Vec<f32> {
        let outputs: usize = self.matrices.iter().map(|matrix| matrix.rows()).sum();
        if rows == 0 || cols == 0 {
            return vec![0.0; rows * outputs];
        }
        let mut y: Vec<f32> = Vec::with_capacity(rows * outputs);
        let tiling = |quantized| self.tiling(rows, quantized);
        let uses = |quantized| self.matrices.iter().any(|matrix| matrix.format().is_quantized() == quantized);
        let prepared = Prepared {
            floats: uses(false).then(|| Floats::new(x, cols, tiling(false))),
            bytes: uses(true).then(|| Bytes::new(x, cols, tiling(true))),
        };
        let out = SharedMut(y.as_mut_ptr());
        // A panel with all rows is one unit, but where panels are few, their rows are shared out too.
        let panels: usize = self.matrices.iter().map(|matrix| matrix.panels()).sum();
        let parts = (threads * 4).div_ceil(panels.max(1)).clamp(1, tiling(true).count());
        let space = || [0f32; 12 * PANEL];
        share_out(panels * parts, space, |space, index| {
            let (matrix, panel) = self.panel(index / parts);
            let tiles = tiling(self.matrices[matrix].format().is_quantized()).count();
            let part = index % parts;
            let tiles = tiles * part / parts..tiles * (part + 1) / parts;
            self.unit(&Unit { matrix, panel, tiles }, &prepared, space, (rows, out));
        });
        // SAFETY: the panels of all matrices and all tiles make every place, each written by one unit.
        unsafe { y.set_len(rows * outputs) };
        y
    }

    fn tiling(&self, rows: usize, quantized: bool) -> Tiling {
        let format = if quantized { Format::Q8 } else { Format::F32 };
        Tiling { rows, most: tile_rows(self.level, format) }
    }

    /// The matrix and its panel that panel `index` of all is.
    fn panel(&self, mut index: usize) -> (usize, usize) {
        for (number, matrix) in self.matrices.iter().enumerate() {
            if index < matrix.panels() {
                return (number, index);
            }
            index -= matrix.panels();
        }
        unreachable!("fewer panels than units")
    }

    fn unit(
        &self,
        unit: &Unit,
        prepared: &Prepared<'_>,
        results: &mut [f32; 12 * PANEL],
        (rows, out): (usize, SharedMut),
    ) {
        let matrix = self.matrices[unit.matrix];
        let before: usize = self.matrices[..unit.matrix].iter().map(|matrix| matrix.rows()).sum();
        let (outputs, column) = (matrix.rows(), unit.panel * PANEL);
        let columns = PANEL.min(outputs - column);
        let tiling = self.tiling(rows, matrix.format().is_quantized());
        let panel = matrix.panel(unit.panel);
        for tile in unit.tiles.clone() {
            let (x, count) = match (&prepared.floats, &prepared.bytes) {
                (Some(floats), _) if !matrix.format().is_quantized() => {
                    let (x, count) = floats.tile(tile);
                    (X::Floats(x), count)
                }
                (_, Some(bytes)) => {
                    let (x, count) = bytes.tile(tile);
                    (X::Bytes(x), count)
                }
                _ => unreachable!("activations of each kind were prepared"),
            };
            let work = Tile {
                stored: Stored::Matrix(matrix.format()),
                panel: panel.as_ptr(),
                prefetch: prefetch(panel, matrix.cols(), tile - unit.tiles.start, unit.tiles.len()),
                x,
                rows: count,
                cols: matrix.cols(),
                out: results.as_mut_ptr(),
            };
            // SAFETY: the level is one of this CPU; panel, activations and results have the sizes that the tile says.
            unsafe { kernels::run(self.level, &work) };
            for (row, results) in tiling.rows_of(tile).zip(results.chunks_exact(PANEL)) {
                let at = rows * before + row * outputs + column;
                // SAFETY: these places of the result belong to this unit alone.
                unsafe { std::ptr::copy_nonoverlapping(results.as_ptr(), out.at(at), columns) };
            }
        }
    }
}

/// Bytes between what is read and what is asked for, where one tile reads a panel.
const DISTANCE: usize = 4096;

/// A tile alone asks for what it will read itself a little later. Of several, the first brings the panel to the cache for
/// the others, so that each asks for its share of the panel that comes next.
fn prefetch(panel: &[u8], cols: usize, tile: usize, tiles: usize) -> Prefetch {
    let lines = (panel.len() / 64).div_ceil(cols.div_ceil(BLOCK));
    match tiles {
        1 => Prefetch { from: panel.as_ptr().wrapping_add(DISTANCE), lines },
        2..=MOST_SHARES => {
            let share = lines.div_ceil(tiles);
            let first = panel.len().wrapping_add(tile * share * cols / BLOCK * 64);
            Prefetch { from: panel.as_ptr().wrapping_add(first), lines: share }
        }
        // Then computing takes so much longer than reading that it does not matter.
        _ => Prefetch { from: panel.as_ptr(), lines: 0 },
    }
}

/// Tiles that share out asking for the next panel.
const MOST_SHARES: usize = 8;

#[cfg(test)]
mod tests;
