//! Matrix products on the CPU where candle's own kernels are missing or leave most of the machine idle: dense
//! weights in `f32`, `f16` and `bf16`, and block-quantized weights that candle has no tiled kernel for.

use super::dot::DenseWeight;
use candle_core::quantized::k_quants::{BlockQ4_0, BlockQ8_0, GgmlType};
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

/// `y = x . w^T` by dots straight from memory, for few rows of `x`.
///
/// A worker reads its block of rows as four long streams, one for each quarter of the block, rather than four
/// neighbouring rows at a time: short streams leave the hardware prefetchers behind (half the bandwidth at rows of
/// 576 on Zen 4).
fn dot_matmul<T: DenseWeight>(x: &[f32], w: &[T], (m, k, n): (usize, usize, usize)) -> Vec<f32> {
    let mut y = vec![0f32; m * n];
    let out = SharedMut(y.as_mut_ptr());
    // Dots of the rows that `rows` names, `r` of them, with every activation.
    let dot_rows = |rows: [usize; 4], r: usize| {
        let starts = rows.map(|row| w[row * k..].as_ptr());
        for m0 in (0..m).step_by(4) {
            let acts = (m - m0).min(4);
            let xs = [0, 1, 2, 3].map(|i| x[(m0 + i.min(acts - 1)) * k..].as_ptr());
            // SAFETY: each pointer is at the start of a row of k values, and the elements of `y` that these rows
            // make are written by this worker alone.
            unsafe {
                let dots = T::dots(starts, r, xs, acts, k);
                for (mi, dots) in dots.iter().enumerate().take(acts) {
                    for (ri, value) in dots.iter().enumerate().take(r) {
                        *out.at((m0 + mi) * n + rows[ri]) = *value;
                    }
                }
            }
        }
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

/// Product with `Q8_0` or `Q4_0` weights for many rows of activations, by widening a panel at a time. Candle's
/// tiled kernels need rows of a multiple of 256, and none exists for `Q4_0` on x86-64.
struct PanelMatmul<'a>(&'a QTensor);

impl PanelMatmul<'_> {
    fn widen_rows<B: GgmlType>(blocks: &[B], k: usize, rows: Range<usize>, panel: &mut [f32]) {
        let per_row = k / B::BLCK_SIZE;
        B::to_float(&blocks[rows.start * per_row..rows.end * per_row], panel);
    }

    /// The bytes of the tensor as blocks.
    ///
    /// # Safety
    /// The tensor must hold blocks of type `B`.
    unsafe fn blocks<B>(bytes: &[u8]) -> &[B] {
        debug_assert_eq!(bytes.len() % size_of::<B>(), 0);
        debug_assert_eq!(bytes.as_ptr().align_offset(align_of::<B>()), 0);
        // SAFETY: candle stores a Vec<B>, whose bytes these are.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<B>()) }
    }
}

impl CustomOp1 for PanelMatmul<'_> {
    fn name(&self) -> &'static str {
        "panel-matmul"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, m, k) = contiguous_f32(x, xl)?;
        let (n, wk) = self.0.shape().dims2()?;
        if wk != k {
            bail!("a matrix of {wk} inputs cannot take {k} activations");
        }
        let bytes = self.0.data()?;
        let mkn = (m, k, n);
        let y = match self.0.dtype() {
            GgmlDType::Q8_0 => {
                // SAFETY: the data type says so.
                let blocks = unsafe { Self::blocks::<BlockQ8_0>(&bytes) };
                panel_matmul(x, mkn, |rows, panel| Self::widen_rows(blocks, k, rows, panel))
            }
            GgmlDType::Q4_0 => {
                // SAFETY: the data type says so.
                let blocks = unsafe { Self::blocks::<BlockQ4_0>(&bytes) };
                panel_matmul(x, mkn, |rows, panel| Self::widen_rows(blocks, k, rows, panel))
            }
            other => bail!("no panel product for {other:?}"),
        };
        Ok((CpuStorage::F32(y), result_shape(xl, n)))
    }
}

/// `x . w^T` for block-quantized weights on the CPU, by candle's kernel or by panels, whichever suits.
pub fn quantized_matmul(x: &Tensor, w: &QTensor) -> Result<Tensor> {
    let (n, k) = w.shape().dims2()?;
    let rows = x.elem_count() / k.max(1);
    let tiled = n.is_multiple_of(16) && k.is_multiple_of(256) && w.dtype() == GgmlDType::Q8_0;
    let x86 = cfg!(target_arch = "x86_64");
    match w.dtype() {
        GgmlDType::Q8_0 | GgmlDType::Q4_0 if x86 && !tiled && rows >= PANEL_FROM_ROWS => {
            x.apply_op1_no_bwd(&PanelMatmul(w))
        }
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
    fn panels_agree_with_dequantized_weights() {
        let device = Device::Cpu;
        for dtype in [GgmlDType::Q8_0, GgmlDType::Q4_0] {
            let w = Tensor::randn(0f32, 1.0, (100, 96), &device).unwrap();
            let w = QTensor::quantize(&w, dtype).unwrap();
            let x = Tensor::randn(0f32, 1.0, (40, 96), &device).unwrap();
            let want = x.matmul(&w.dequantize(&device).unwrap().t().unwrap()).unwrap();
            let got = quantized_matmul(&x, &w).unwrap();
            assert!(relative_error(&got, &want) < 1e-5, "{dtype:?}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let x = Tensor::zeros((2, 8), DType::F32, &Device::Cpu).unwrap();
        let w = Tensor::zeros((4, 6), DType::F16, &Device::Cpu).unwrap();
        assert!(x.apply_op2_no_bwd(&w, &DenseMatmul).unwrap_err().to_string().contains("6 inputs"));
    }
}
