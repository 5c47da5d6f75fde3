//! What images become before the first block: patches through a matrix, with positions that follow the resolution.

use crate::engine::backend::{Backend, ProductInput};
use crate::workload::model::shape::ImageShape;
use candle_core::{Device, Result, Tensor, bail};

/// Patches high and wide.
pub type Grid = (usize, usize);

/// The weights that patches go through.
pub struct Patches<B: Backend> {
    /// Patches and channels.
    pub(in crate::engine) shape: ImageShape,
    /// A row of `channels * patch * patch` weights for each hidden number.
    pub(super) matrices: B::Matrices,
    /// `(1, 1, hidden)`.
    class_token: B::Vector,
    /// Of the class token and of the patches of the resolution that the model was trained at: `(patches + 1, hidden)`, on the
    /// host, as those of other resolutions are made of them.
    table: Tensor,
    /// The same, or those of the last images where they were of another resolution.
    positions: B::Vector,
    grid: Grid,
}

impl<B: Backend> Patches<B> {
    /// For images of `shape`; `positions` are `table` where it is computed with.
    pub(super) fn new(
        shape: ImageShape,
        matrices: B::Matrices,
        class_token: B::Vector,
        table: Tensor,
        positions: B::Vector,
    ) -> Self {
        let side = shape.size / shape.patch;
        Self { shape, matrices, class_token, table, positions, grid: (side, side) }
    }

    /// Positions for images of `grid` from now on.
    pub(in crate::engine) fn set_grid(&mut self, backend: &B, grid: Grid) -> std::result::Result<(), B::Error> {
        if self.grid != grid {
            let side = self.shape.size / self.shape.patch;
            let table = if grid == (side, side) { self.table.clone() } else { interpolated(&self.table, side, grid)? };
            self.positions = backend.vector(&table)?;
            self.grid = grid;
        }
        Ok(())
    }

    /// What the patches of images of the grid that was set become: `(batch, 1 + patches, hidden)`.
    pub(super) fn embed(&self, backend: &B, input: &B::Input) -> std::result::Result<B::Stream, B::Error> {
        let pixels = backend.pixels(input)?;
        let mut made = backend.products(ProductInput::Patches, &self.matrices, &pixels)?;
        backend.patches(made.remove(0), &self.class_token, &self.positions)
    }
}

/// How many patches high and wide images of `(batch, channels, height, width)` are, or why the model cannot have them.
pub(in crate::engine) fn patch_grid(
    shape: &ImageShape,
    (_, channels, height, width): (usize, usize, usize, usize),
) -> Result<(usize, usize)> {
    if channels != shape.channels {
        bail!("images of {channels} channels are not the {} that the model takes", shape.channels);
    }
    let patch = shape.patch;
    if height == 0 || width == 0 || !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
        bail!("images of {height} x {width} pixels are not made of patches of {patch} x {patch}");
    }
    Ok((height / patch, width / patch))
}

/// The pixels of each patch as a row, channel by channel: `(batch, patches, channels * patch * patch)`. Patches do not
/// overlap, so that their convolution is one product of these rows.
pub(in crate::engine) fn patches(pixels: &Tensor, shape: &ImageShape, (high, wide): (usize, usize)) -> Result<Tensor> {
    let ImageShape { patch, channels, .. } = *shape;
    let batch = pixels.dim(0)?;
    let apart = pixels.contiguous()?.reshape((batch, channels, high, patch, wide, patch))?;
    let rows = apart.permute((0, 2, 4, 1, 3, 5))?.contiguous()?;
    rows.reshape((batch, high * wide, channels * patch * patch))
}

/// The position table of a square of `side` patches, `(1 + side^2, hidden)` in `f32`, for a grid of `(high, wide)` of
/// them: bilinear between the centres of the patches, the outermost ones kept beyond the edge. (The Python tools
/// interpolate bicubically, so that logits differ a little from theirs at resolutions other than the table's.)
pub(in crate::engine) fn interpolated(table: &Tensor, side: usize, (high, wide): (usize, usize)) -> Result<Tensor> {
    let hidden = table.dim(1)?;
    let values = table.flatten_all()?.to_vec1::<f32>()?;
    let row = |y: usize, x: usize| &values[(1 + y * side + x) * hidden..][..hidden];
    let mut made = values[..hidden].to_vec();
    let across = places(side, wide);
    for (y0, y1, down) in places(side, high) {
        for &(x0, x1, right) in &across {
            let (above, below) = ((row(y0, x0), row(y0, x1)), (row(y1, x0), row(y1, x1)));
            made.extend((0..hidden).map(|index| {
                let between = |(left, other): (&[f32], &[f32])| left[index] * (1.0 - right) + other[index] * right;
                between(above) * (1.0 - down) + between(below) * down
            }));
        }
    }
    Tensor::from_vec(made, (1 + high * wide, hidden), &Device::Cpu)
}

/// For each of `count` equal parts of a line of `side` points: the points around its centre, and the share of the
/// second.
fn places(side: usize, count: usize) -> Vec<(usize, usize, f32)> {
    let place = |index: usize| {
        let centre = (index as f32 + 0.5) * side as f32 / count as f32 - 0.5;
        let centre = centre.clamp(0.0, (side - 1) as f32);
        let before = centre as usize;
        (before, (before + 1).min(side - 1), centre - before as f32)
    };
    (0..count).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_the_same_grid_are_the_table() {
        let table = Tensor::rand(-1f32, 1.0, (1 + 9, 5), &Device::Cpu).unwrap();
        let same = interpolated(&table, 3, (3, 3)).unwrap();
        assert_eq!(same.to_vec2::<f32>().unwrap(), table.to_vec2::<f32>().unwrap());
    }

    #[test]
    fn positions_between_patches_lie_between_theirs() {
        // The class token, then a row number and a column number for each patch.
        let mut values = vec![7.0, 8.0];
        values.extend((0..4).flat_map(|y| (0..4).flat_map(move |x| [y as f32, x as f32])));
        let table = Tensor::from_vec(values, (17, 2), &Device::Cpu).unwrap();
        let made = interpolated(&table, 4, (8, 2)).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(made.len(), 17);
        assert_eq!(made[0], [7.0, 8.0]);
        // Eight parts of four patches: centres a quarter before and behind theirs, kept within the outermost.
        let rows: Vec<f32> = (0..8).map(|y| made[1 + y * 2][0]).collect();
        assert_eq!(rows, [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0]);
        assert_eq!([made[1][1], made[2][1]], [0.5, 2.5]);
    }

    #[test]
    fn a_patch_is_a_row_of_its_pixels() {
        let shape = ImageShape { patch: 2, size: 4, channels: 2, class_token: true };
        let values: Vec<f32> = (0..32).map(|value| value as f32).collect();
        let pixels = Tensor::from_vec(values, (1, 2, 4, 4), &Device::Cpu).unwrap();
        let grid = patch_grid(&shape, (1, 2, 4, 4)).unwrap();
        let rows = patches(&pixels, &shape, grid).unwrap().squeeze(0).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(rows[1], [2.0, 3.0, 6.0, 7.0, 18.0, 19.0, 22.0, 23.0]);
        assert!(patch_grid(&shape, (1, 2, 4, 5)).unwrap_err().to_string().contains("4 x 5 pixels"));
        assert!(patch_grid(&shape, (1, 3, 4, 4)).unwrap_err().to_string().contains("3 channels"));
    }
}
