//! Matrix products on the CPU where candle's own kernels are missing or leave most of the machine idle: dense
//! weights in `f32`, `f16` and `bf16`, and block-quantized weights that candle has no tiled kernel for.

use super::dot::DenseWeight;
use super::widen::widen_of;
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::utils::barrier_pool;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail};
use half::{bf16, f16};
use std::ops::Range;

/// From this many activation rows on, weights are widened to `f32` a panel at a time and multiplied by a GEMM;
/// below it, rows are dotted straight from memory.
const PANEL_FROM_ROWS: usize = 24;

/// Bytes of one widened panel: it should stay in the second-level cache of a core.
const PANEL_BYTES: usize = 512 << 10;

/// A pointer that workers write disjoint parts of.
#[derive(Clone, Copy)]
pub(super) struct SharedMut(pub(super) *mut f32);
// SAFETY: every user writes elements that no other worker touches.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    /// The pointer `offset` elements in.
    ///
    /// # Safety
    /// `offset` must be within the allocation.
    pub(super) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// `y = x . w^T` for `x: (m, k)`, `w: (n, k)`, rows of `w` widened by `widen(row range, panel)`.
fn panel_matmul(
    x: &[f32],
    (m, k, n): (usize, usize, usize),
    widen: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut y = vec![0f32; m * n];
    let out = SharedMut(y.as_mut_ptr());
    let panel_rows = (PANEL_BYTES / 4 / k).clamp(8, 256).next_multiple_of(8);
    let panels = n.div_ceil(panel_rows);
    barrier_pool().execute_chunked(panels, |range| {
        let mut panel = vec![0f32; panel_rows * k];
        for index in range {
            let rows = index * panel_rows..n.min((index + 1) * panel_rows);
            let panel = &mut panel[..rows.len() * k];
            widen(rows.clone(), panel);
            // SAFETY: `x` holds m x k values, `panel` rows x k, and columns `rows` of `y` belong to this worker.
            unsafe {
                gemm::gemm(
                    m,
                    rows.len(),
                    k,
                    out.at(rows.start),
                    1,
                    n as isize,
                    false,
                    x.as_ptr(),
                    1,
                    k as isize,
                    panel.as_ptr(),
                    k as isize,
                    1,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    gemm::Parallelism::None,
                );
            }
        }
    });
    y
}

/// `y = x . w^T` for few rows of `x`, four rows of `w` widened into the first-level cache at a time.
fn strip_matmul(
    x: &[f32],
    (m, k, n): (usize, usize, usize),
    widen: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut y = vec![0f32; m * n];
    let out = SharedMut(y.as_mut_ptr());
    barrier_pool().execute_chunked(n.div_ceil(4), |range| {
        let mut strip = vec![0f32; 4 * k];
        for quad in range {
            let rows = quad * 4..n.min(quad * 4 + 4);
            let r = rows.len();
            widen(rows.clone(), &mut strip[..r * k]);
            let starts = [0, 1, 2, 3].map(|i| strip[i.min(r - 1) * k..].as_ptr());
            // SAFETY: the strip holds r rows of k values, and the columns `rows` of `y` belong to this worker.
            unsafe { dots_into(starts, &[0, 1, 2, 3].map(|i| rows.start + i)[..r], x, (m, k, n), out) };
        }
    });
    y
}

/// Dots of the weight rows at `starts` with every row of `x`, written to the columns `columns` of `y`.
///
/// # Safety
/// Each start must be followed by `k` weights, and no other thread may write those columns of `y: (m, n)`.
unsafe fn dots_into<T: DenseWeight>(
    starts: [*const T; 4],
    columns: &[usize],
    x: &[f32],
    (m, k, n): (usize, usize, usize),
    y: SharedMut,
) {
    for m0 in (0..m).step_by(4) {
        let acts = (m - m0).min(4);
        let xs = [0, 1, 2, 3].map(|i| x[(m0 + i.min(acts - 1)) * k..].as_ptr());
        // SAFETY: rows of `x` have k values; the rest is the caller's promise.
        unsafe {
            let dots = T::dots(starts, columns.len(), xs, acts, k);
            for (mi, dots) in dots.iter().enumerate().take(acts) {
                for (column, value) in columns.iter().zip(dots) {
                    *y.at((m0 + mi) * n + column) = *value;
                }
            }
        }
    }
}

/// `y = x . w^T` by dots straight from memory, for few rows of `x`.
///
/// A worker reads its block of rows as four long streams, one for each quarter of the block, rather than four
/// neighbouring rows at a time: short streams leave the hardware prefetchers behind (half the bandwidth at rows of
/// 576 on Zen 4).
fn dot_matmul<T: DenseWeight>(x: &[f32], w: &[T], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
    let mut y = vec![0f32; m * n];
    let out = SharedMut(y.as_mut_ptr());
    let dot_rows = |rows: [usize; 4], r: usize| {
        let starts = rows.map(|row| w[row * k..].as_ptr());
        // SAFETY: each row has k weights, and the columns that these rows make are written by this worker alone.
        unsafe { dots_into(starts, &rows[..r], x, (m, k, n), out) };
    };
    let quads = n / 4;
    barrier_pool().execute_chunked(quads, |range| {
        let (first, length) = (range.start * 4, range.len());
        for i in 0..length {
            dot_rows([0, 1, 2, 3].map(|quarter| first + quarter * length + i), 4);
        }
    });
    for row in quads * 4..n {
        dot_rows([row; 4], 1);
    }
    y
}

/// Product with a dense weight matrix `(n, k)` of `f32`, `f16` or `bf16`; activations and result are `f32`.
pub struct DenseMatmul;

impl DenseMatmul {
    fn run<T: DenseWeight>(x: &[f32], w: &[T], mkn: (usize, usize, usize)) -> Vec<f32> {
        let (m, k, _) = mkn;
        if m < PANEL_FROM_ROWS {
            dot_matmul(x, w, mkn)
        } else {
            panel_matmul(x, mkn, |rows, panel| T::widen(&w[rows.start * k..rows.end * k], panel))
        }
    }
}

/// The contiguous `f32` values behind a layout, and its `(rows, last dimension)`.
pub(super) fn contiguous_f32<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<(&'a [f32], usize, usize)> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("activations of a matrix product must be contiguous, not {layout:?}");
    };
    let k = *layout.dims().last().unwrap_or(&1);
    let values = &storage.as_slice::<f32>()?[start..end];
    Ok((values, values.len() / k.max(1), k))
}

fn result_shape(layout: &Layout, n: usize) -> Shape {
    let mut dims = layout.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = n;
    }
    Shape::from(dims)
}

impl CustomOp2 for DenseMatmul {
    fn name(&self) -> &'static str {
        "dense-matmul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, m, k) = contiguous_f32(x, xl)?;
        let (n, wk) = wl.shape().dims2()?;
        let Some((start, end)) = wl.contiguous_offsets() else {
            bail!("weights of a matrix product must be contiguous, not {wl:?}");
        };
        if wk != k {
            bail!("a matrix of {wk} inputs cannot take {k} activations");
        }
        let mkn = (m, k, n);
        let y = match w {
            CpuStorage::F32(w) => Self::run::<f32>(x, &w[start..end], mkn),
            CpuStorage::F16(w) => Self::run::<f16>(x, &w[start..end], mkn),
            CpuStorage::BF16(w) => Self::run::<bf16>(x, &w[start..end], mkn),
            _ => bail!("dense weights must be f32, f16 or bf16"),
        };
        Ok((CpuStorage::F32(y), result_shape(xl, n)))
    }
}

/// Product with `Q8_0` or `Q4_0` weights by widening them to `f32`. Candle's tiled kernels need rows of a multiple of 256,
/// and none exists for `Q4_0` on x86-64; its plain ones are as fast for one row of activations, but not for several.
struct WidenedMatmul<'a>(&'a QTensor);

impl CustomOp1 for WidenedMatmul<'_> {
    fn name(&self) -> &'static str {
        "widened-matmul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, m, k) = contiguous_f32(x, xl)?;
        let (n, wk) = self.0.shape().dims2()?;
        if wk != k {
            bail!("a matrix of {wk} inputs cannot take {k} activations");
        }
        let Some((widen, block_bytes)) = widen_of(self.0.dtype()) else {
            bail!("no widened product for {:?}", self.0.dtype());
        };
        let bytes = self.0.data()?;
        let row_bytes = k / self.0.dtype().block_size() * block_bytes;
        let rows = |rows: Range<usize>, values: &mut [f32]| {
            widen(&bytes[rows.start * row_bytes..rows.end * row_bytes], values)
        };
        let y = match m < PANEL_FROM_ROWS {
            true => strip_matmul(x, (m, k, n), rows),
            false => panel_matmul(x, (m, k, n), rows),
        };
        Ok((CpuStorage::F32(y), result_shape(xl, n)))
    }
}

/// `x . w^T` for block-quantized weights on the CPU, by candle's kernel or by widening, whichever suits.
pub fn quantized_matmul(x: &Tensor, w: &QTensor) -> Result<Tensor> {
    let (n, k) = w.shape().dims2()?;
    let tiled = w.dtype() == GgmlDType::Q8_0 && n.is_multiple_of(16) && k.is_multiple_of(256);
    match widen_of(w.dtype()) {
        // Elsewhere candle has kernels for these blocks at any length of row.
        Some(_) if cfg!(target_arch = "x86_64") && !tiled => x.apply_op1_no_bwd(&WidenedMatmul(w)),
        _ => x.apply_op1_no_bwd(w),
    }
}

/// The `f32` values of a tensor on the CPU, without a copy.
pub fn with_f32_values<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(look(&storage.as_slice::<f32>()?[start..end])),
        _ => {
            drop(storage);
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok(look(&values))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    fn relative_error(a: &Tensor, b: &Tensor) -> f32 {
        let diff = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        diff / b.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap()
    }

    #[test]
    fn dense_products_agree_with_candle() {
        let device = Device::Cpu;
        for (k, n) in [(64usize, 37usize), (172, 64), (576, 192), (1024, 300)] {
            let w = Tensor::randn(0f32, 1.0, (n, k), &device).unwrap();
            for m in [1usize, 3, 4, 6, 17, 40] {
                let x = Tensor::randn(0f32, 1.0, (1, m, k), &device).unwrap();
                for dtype in [DType::F32, DType::F16, DType::BF16] {
                    let w = w.to_dtype(dtype).unwrap();
                    let want = x
                        .reshape((m, k))
                        .unwrap()
                        .matmul(&w.to_dtype(DType::F32).unwrap().t().unwrap())
                        .unwrap()
                        .reshape((1, m, n))
                        .unwrap();
                    let got = x.apply_op2_no_bwd(&w, &DenseMatmul).unwrap();
                    assert!(relative_error(&got, &want) < 1e-5, "k{k} n{n} m{m} {dtype:?}");
                }
            }
        }
    }

    #[test]
    fn widened_products_agree_with_dequantized_weights() {
        let device = Device::Cpu;
        for dtype in [GgmlDType::Q8_0, GgmlDType::Q4_0] {
            for (m, n) in [(2, 100), (7, 99), (40, 101)] {
                let w = Tensor::randn(0f32, 1.0, (n, 96), &device).unwrap();
                let w = QTensor::quantize(&w, dtype).unwrap();
                let x = Tensor::randn(0f32, 1.0, (m, 96), &device).unwrap();
                let want = x.matmul(&w.dequantize(&device).unwrap().t().unwrap()).unwrap();
                let got = x.apply_op1_no_bwd(&WidenedMatmul(&w)).unwrap();
                assert!(relative_error(&got, &want) < 1e-5, "{dtype:?} {m} {n}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let x = Tensor::zeros((2, 8), DType::F32, &Device::Cpu).unwrap();
        let w = Tensor::zeros((4, 6), DType::F16, &Device::Cpu).unwrap();
        assert!(x.apply_op2_no_bwd(&w, &DenseMatmul).unwrap_err().to_string().contains("6 inputs"));
    }
}
