//! Rotary positions.

use super::dispatch::dispatched;
use super::rows::{made_of_rows, same_cols};
use super::values::contiguous_f32;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

/// Turns the pairs `(i, i + dim / 2)` of `x: (batch, seq, heads, dim)` by the angles of their positions, of which `cos` and
/// `sin: (seq, dim / 2)` are given (RoFormer, arXiv 2104.09864).
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    x.apply_op3_no_bwd(cos, sin, &Rope)
}

struct Rope;

dispatched!(
    /// All heads of one position.
    fn turn(x: &[f32], angles: (&[f32], &[f32]), y: &mut [f32]) = turn_body
);

#[inline(always)]
fn turn_body(x: &[f32], (cos, sin): (&[f32], &[f32]), y: &mut [f32]) {
    let half = cos.len();
    for (x, y) in x.chunks_exact(2 * half).zip(y.chunks_exact_mut(2 * half)) {
        let ((x1, x2), (y1, y2)) = (x.split_at(half), y.split_at_mut(half));
        for i in 0..half {
            y1[i] = x1[i] * cos[i] - x2[i] * sin[i];
            y2[i] = x1[i] * sin[i] + x2[i] * cos[i];
        }
    }
}

impl CustomOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        cos: &CpuStorage,
        cl: &Layout,
        sin: &CpuStorage,
        sl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, seq, heads, dim) = xl.shape().dims4()?;
        let ((x, ..), (cos, positions, half), (sin, ..)) =
            (contiguous_f32(x, xl)?, contiguous_f32(cos, cl)?, contiguous_f32(sin, sl)?);
        same_cols(cl, sl)?;
        if positions != seq || 2 * half != dim {
            bail!("angles {:?} are not those of {:?}", cl.shape(), xl.shape());
        }
        let width = heads * dim;
        let y = made_of_rows(x.len(), width, |row, y| {
            let at = row % seq * half;
            turn(&x[row * width..(row + 1) * width], (&cos[at..at + half], &sin[at..at + half]), y)
        });
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn it_is_candles() {
        for (b, s, h, d) in [(1usize, 1usize, 3usize, 8usize), (2, 70, 5, 64)] {
            let x = Tensor::randn(0f32, 1.0, (b, s, h, d), &Device::Cpu).unwrap();
            let angles = Tensor::randn(0f32, 3.0, (s, d / 2), &Device::Cpu).unwrap();
            let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
            let want = candle_nn::rotary_emb::rope_thd(&x, &cos, &sin).unwrap();
            let off = (rope(&x, &cos, &sin).unwrap() - want).unwrap().abs().unwrap().max_all().unwrap();
            assert!(off.to_scalar::<f32>().unwrap() < 1e-6);
            assert!(rope(&x, &cos.narrow(1, 0, d / 4).unwrap().contiguous().unwrap(), &sin).is_err());
        }
    }
}
