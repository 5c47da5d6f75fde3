//! Products of activations and weights on a card: a kernel that reads packed weights once for a few rows, and a matrix
//! product for many.

use super::launcher::Launcher;
use super::weights::{Compute, Kind, Matrix};
use crate::device::ceilings::cuda::gemm;
use crate::device::cuda::{Arg, Buffer, Card, CudaError, blas};

/// Most rows of one pass of the weight-only kernels.
const PASS: usize = 8;
/// Most rows that go through them: from here on, passes cost more than one matrix product.
pub(super) const MOST_GEMV_ROWS: usize = 16;
const THREADS: u32 = 256;
/// Numbers that share a scale in 8-bit activations.
const BLOCK: usize = 32;

/// Room that products work in.
pub(super) struct Workspace {
    /// Activations of 8 bits, and the scale and sum of each block of them.
    pub quantized: Buffer,
    pub scales: Buffer,
    /// A matrix widened to 16 bits, where quantized weights meet many rows.
    pub widened: Option<Buffer>,
}

impl Workspace {
    /// Bytes of one, for what [`Workspace::new`] is asked.
    pub(crate) fn bytes(rows: usize, cols: usize, widened: usize) -> usize {
        rows * cols + rows * cols / BLOCK * 8 + widened * 2
    }

    /// For up to `rows` rows through the weight-only kernels, of up to `cols` columns each; `widened` numbers of a
    /// matrix.
    pub(crate) fn new(card: &Card, rows: usize, cols: usize, widened: usize) -> Result<Self, CudaError> {
        Ok(Self {
            quantized: card.alloc(rows * cols)?,
            scales: card.alloc(rows * cols / BLOCK * 8)?,
            widened: if widened > 0 { Some(card.alloc(widened * 2)?) } else { None },
        })
    }
}

/// How a product goes, by which it is known how often it reads the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProductPath {
    /// By the kernels that read packed weights, so many times all of them.
    WeightOnly { passes: usize },
    /// By a matrix product.
    Matrix,
    /// By a matrix product of weights that are first written to memory in 16 bits.
    Widened,
}

impl ProductPath {
    /// How often weights go through memory, where that is more than once.
    pub(crate) fn rereads(self) -> Option<String> {
        match self {
            Self::WeightOnly { passes: 0 | 1 } | Self::Matrix => None,
            Self::WeightOnly { passes } => Some(format!("reads the weights {passes} times")),
            Self::Widened => Some("widens quantized weights to 16 bits in memory first".to_string()),
        }
    }
}

/// What products are made with.
pub(super) struct Products<'a> {
    pub launcher: &'a Launcher,
    pub compute: Compute,
    pub workspace: &'a Workspace,
}

/// What the numbers of a result are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// The format of activations.
    Half,
    /// `f32`.
    Single,
}

impl Width {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Half => 2,
            Self::Single => 4,
        }
    }

    /// As kernels are told.
    fn arg(self) -> Arg {
        Arg::U32((self == Self::Single).into())
    }
}

/// One product: `y = x w^T + bias`, `y` of `(m, w.rows)` in rows, at an address. In `f32` it has no bias.
pub(super) struct Product<'a> {
    pub matrix: &'a Matrix,
    pub bias: Option<&'a Buffer>,
    pub y: u64,
    pub width: Width,
}

impl Products<'_> {
    /// How a product with `m` rows goes. `few` keeps to the weight-only kernels whatever `m` is, for a matrix too large to
    /// widen.
    pub(crate) fn way(&self, m: usize, few: bool, is_quantized: bool) -> ProductPath {
        match (few || m <= MOST_GEMV_ROWS || !self.has_gemm(), is_quantized) {
            (true, _) => ProductPath::WeightOnly { passes: m.div_ceil(PASS) },
            (false, true) => ProductPath::Widened,
            (false, false) => ProductPath::Matrix,
        }
    }

    /// Products of the same `x: (m, cols)`; `few` as in [`Products::way`].
    pub(crate) fn run(
        &self,
        m: usize,
        x: u64,
        cols: usize,
        few: bool,
        products: &[Product<'_>],
    ) -> Result<(), CudaError> {
        let is_quantized = products.iter().any(|product| product.matrix.is_quantized());
        // The vendor's library is asked for results in 16 bits only.
        let few = few || (!self.has_own_gemm() && products.iter().any(|product| product.width == Width::Single));
        match (self.way(m, few, is_quantized), is_quantized) {
            (ProductPath::WeightOnly { .. }, true) => {
                for first in (0..m).step_by(self.most_rows(cols)) {
                    let rows = (m - first).min(self.most_rows(cols));
                    let x = x + (first * cols * 2) as u64;
                    self.quantize(rows, x, cols)?;
                    for product in products {
                        self.gemv(first, rows, x, product)?;
                    }
                }
                Ok(())
            }
            (ProductPath::WeightOnly { .. }, false) => {
                products.iter().try_for_each(|product| self.gemv(0, m, x, product))
            }
            (ProductPath::Matrix | ProductPath::Widened, _) => {
                products.iter().try_for_each(|product| self.gemm(m, x, product))
            }
        }
    }

    /// Rows of 8-bit activations that the workspace holds.
    fn most_rows(&self, cols: usize) -> usize {
        (self.workspace.quantized.len() / cols).max(1)
    }

    /// The project's own matrix product needs tensor cores of the Ampere generation; the vendor's any.
    pub(crate) fn has_gemm(&self) -> bool {
        self.blas().is_some() || self.has_own_gemm()
    }

    fn has_own_gemm(&self) -> bool {
        self.launcher.card().facts.capability >= (8, 0)
    }

    fn blas(&self) -> Option<&blas::Blas> {
        self.launcher.card().blas().ok()
    }

    fn quantize(&self, m: usize, x: u64, cols: usize) -> Result<(), CudaError> {
        let name = format!("quantize_q8_{}", self.compute.name());
        let args = [Arg::U64(x), (&self.workspace.quantized).into(), (&self.workspace.scales).into(), cols.into()];
        let blocks = (m, cols.div_ceil(2048), 1);
        // SAFETY: the workspace holds `most_rows` rows.
        unsafe { self.launcher.launch(("quantize", &name), blocks, THREADS, 0, &args) }
    }

    /// Rows `first .. first + m` of `y`; `x` is the first of them.
    fn gemv(&self, first: usize, m: usize, x: u64, product: &Product<'_>) -> Result<(), CudaError> {
        let matrix = product.matrix;
        for pass in (0..m).step_by(PASS) {
            let rows = (m - pass).min(PASS);
            let width = rows.next_power_of_two();
            let compute = self.compute.name();
            let name = match matrix.kind {
                Kind::Dense => format!("gemv_{compute}_m{width}"),
                kind => format!("gemv_{}_{compute}_m{width}", kind.name()),
            };
            let y = product.y + ((first + pass) * matrix.rows * product.width.bytes()) as u64;
            let bias = product.bias.map_or(0, Buffer::at);
            let mut args: Vec<Arg> = vec![y.into(), matrix.rows.into(), (&matrix.quants).into()];
            match matrix.kind {
                Kind::Dense => args.push((x + (pass * matrix.cols * 2) as u64).into()),
                _ => args.extend([
                    Arg::U64(matrix.scales_at()),
                    (self.workspace.quantized.at() + (pass * matrix.cols) as u64).into(),
                    (self.workspace.scales.at() + (pass * matrix.cols / BLOCK * 8) as u64).into(),
                ]),
            }
            args.extend([Arg::U64(bias), matrix.rows.into(), matrix.cols.into(), rows.into(), product.width.arg()]);
            let blocks = matrix.rows.div_ceil(if width == 1 { 8 } else { 16 });
            // SAFETY: the arguments are those of kernels/gemv.cu, and the buffers have the matrix's sizes.
            unsafe { self.launcher.launch(("gemv", &name), (blocks, 1, 1), THREADS, 0, &args)? };
        }
        Ok(())
    }

    fn gemm(&self, m: usize, x: u64, product: &Product<'_>) -> Result<(), CudaError> {
        let matrix = product.matrix;
        let weights = if matrix.is_quantized() { self.widen(matrix)? } else { matrix.quants.at() };
        let (n, k) = (matrix.rows, matrix.cols);
        match self.blas().filter(|_| product.width == Width::Half) {
            // The library loads its own kernels when it is first called.
            Some(_) if self.launcher.rehearses() => {}
            Some(blas) => {
                let format = match self.compute {
                    Compute::F16 => blas::Format::F16,
                    Compute::Bf16 => blas::Format::Bf16,
                };
                // SAFETY: x is (m, k), the weights (n, k), and y (m, n).
                unsafe { blas.gemm(format, product.y, x, weights, m, n, k)? };
            }
            None => {
                let name = format!("gemm_{}", self.compute.name());
                let blocks = (m.div_ceil(gemm::TILE) * n.div_ceil(gemm::TILE), 1, 1);
                let sizes = [m.into(), n.into(), k.into(), product.width.arg()];
                let [m, n, k, width] = sizes;
                let args = [product.y.into(), x.into(), Arg::U64(weights), m, n, k, width];
                // SAFETY: as above.
                unsafe { self.launcher.launch(("gemm", &name), blocks, THREADS, gemm::SHARED_BYTES, &args)? };
            }
        }
        let Some(bias) = product.bias else { return Ok(()) };
        let name = format!("add_bias_{}", self.compute.name());
        let args = [product.y.into(), bias.into(), n.into()];
        // SAFETY: y is (m, n), the bias n.
        unsafe { self.launcher.launch(("bias", &name), (m, 1, 1), THREADS, 0, &args) }
    }

    /// The matrix in 16 bits.
    fn widen(&self, matrix: &Matrix) -> Result<u64, CudaError> {
        let buffers = self.workspace.widened.as_ref().filter(|buffers| buffers.len() >= matrix.rows * matrix.cols * 2);
        let buffers =
            buffers.ok_or_else(|| CudaError::Unsupported("no room was kept for a widened matrix".to_string()))?;
        let name = format!("dequantize_{}_{}", matrix.kind.name(), self.compute.name());
        let args =
            [buffers.into(), (&matrix.quants).into(), Arg::U64(matrix.scales_at()), Arg::U64(0), matrix.cols.into()];
        // SAFETY: the buffers hold the matrix, and no row numbers mean every row.
        unsafe { self.launcher.launch(("embed", &name), (matrix.rows, 1, 1), THREADS, 0, &args)? };
        Ok(buffers.at())
    }
}
