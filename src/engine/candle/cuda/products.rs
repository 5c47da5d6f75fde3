//! Products of activations and weights on a card: a kernel that reads packed weights once for a few rows, and a matrix
//! product for many.

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
    /// For up to `rows` rows through the weight-only kernels, of up to `cols` columns each; `widened` numbers of a
    /// matrix.
    pub fn new(card: &Card, rows: usize, cols: usize, widened: usize) -> Result<Self, CudaError> {
        Ok(Self {
            quantized: card.alloc(rows * cols)?,
            scales: card.alloc(rows * cols / BLOCK * 8)?,
            widened: if widened > 0 { Some(card.alloc(widened * 2)?) } else { None },
        })
    }
}

/// What products are made with.
pub(super) struct Products<'a> {
    pub card: &'a Card,
    pub compute: Compute,
    pub blas: Option<&'a blas::Blas>,
    pub workspace: &'a Workspace,
}

/// One product: `y = x w^T + bias`, `y` of `(m, w.rows)` in rows, at an address.
pub(super) struct Product<'a> {
    pub matrix: &'a Matrix,
    pub bias: Option<&'a Buffer>,
    pub y: u64,
}

impl Products<'_> {
    /// Products of the same `x: (m, cols)`. `few` keeps to the weight-only kernels whatever `m` is, for a matrix too
    /// large to widen.
    pub fn run(&self, m: usize, x: u64, cols: usize, few: bool, products: &[Product<'_>]) -> Result<(), CudaError> {
        let few = few || m <= MOST_GEMV_ROWS || !self.has_gemm();
        if few && products.iter().any(|product| product.matrix.is_quantized()) {
            for first in (0..m).step_by(self.most_rows(cols)) {
                let rows = (m - first).min(self.most_rows(cols));
                let x = x + (first * cols * 2) as u64;
                self.quantize(rows, x, cols)?;
                for product in products {
                    self.gemv(first, rows, x, product)?;
                }
            }
            return Ok(());
        }
        for product in products {
            match few {
                true => self.gemv(0, m, x, product)?,
                false => self.gemm(m, x, product)?,
            }
        }
        Ok(())
    }

    /// Rows of 8-bit activations that the workspace holds.
    fn most_rows(&self, cols: usize) -> usize {
        (self.workspace.quantized.len() / cols).max(1)
    }

    /// The project's own matrix product needs tensor cores of the Ampere generation; the vendor's any.
    fn has_gemm(&self) -> bool {
        self.blas.is_some() || self.card.facts.capability >= (8, 0)
    }

    fn quantize(&self, m: usize, x: u64, cols: usize) -> Result<(), CudaError> {
        let kernel = self.card.kernel("quantize", &format!("quantize_q8_{}", self.compute.name()))?;
        let args = [Arg::U64(x), (&self.workspace.quantized).into(), (&self.workspace.scales).into(), cols.into()];
        let blocks = (m as u32, cols.div_ceil(2048) as u32, 1);
        // SAFETY: the workspace holds `most_rows` rows.
        unsafe { kernel.launch(self.card, blocks, THREADS, 0, &args) }
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
            let kernel = self.card.kernel("gemv", &name)?;
            let y = product.y + ((first + pass) * matrix.rows * 2) as u64;
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
            args.extend([Arg::U64(bias), matrix.rows.into(), matrix.cols.into(), rows.into()]);
            let blocks = matrix.rows.div_ceil(if width == 1 { 8 } else { 16 }) as u32;
            // SAFETY: the arguments are those of kernels/gemv.cu, and the buffers have the matrix's sizes.
            unsafe { kernel.launch(self.card, (blocks, 1, 1), THREADS, 0, &args)? };
        }
        Ok(())
    }

    fn gemm(&self, m: usize, x: u64, product: &Product<'_>) -> Result<(), CudaError> {
        let matrix = product.matrix;
        let weights = if matrix.is_quantized() { self.widen(matrix)? } else { matrix.quants.at() };
        let (n, k) = (matrix.rows, matrix.cols);
        match self.blas {
            Some(blas) => {
                let format = match self.compute {
                    Compute::F16 => blas::Format::F16,
                    Compute::Bf16 => blas::Format::Bf16,
                };
                // SAFETY: x is (m, k), the weights (n, k), and y (m, n).
                unsafe { blas.gemm(format, product.y, x, weights, m, n, k)? };
            }
            None => {
                let kernel = self.card.kernel("gemm", &format!("gemm_{}", self.compute.name()))?;
                kernel.allow_shared(gemm::SHARED_BYTES)?;
                let blocks = (m.div_ceil(gemm::TILE) * n.div_ceil(gemm::TILE)) as u32;
                let args = [product.y.into(), x.into(), Arg::U64(weights), m.into(), n.into(), k.into()];
                // SAFETY: as above.
                unsafe { kernel.launch(self.card, (blocks, 1, 1), THREADS, gemm::SHARED_BYTES, &args)? };
            }
        }
        let Some(bias) = product.bias else { return Ok(()) };
        let kernel = self.card.kernel("bias", &format!("add_bias_{}", self.compute.name()))?;
        // SAFETY: y is (m, n), the bias n.
        unsafe { kernel.launch(self.card, (m as u32, 1, 1), THREADS, 0, &[product.y.into(), bias.into(), n.into()]) }
    }

    /// The matrix in 16 bits.
    fn widen(&self, matrix: &Matrix) -> Result<u64, CudaError> {
        let room = self.workspace.widened.as_ref().filter(|room| room.len() >= matrix.rows * matrix.cols * 2);
        let room = room.ok_or_else(|| CudaError::Unsupported("no room was kept for a widened matrix".to_string()))?;
        let name = format!("dequantize_{}_{}", matrix.kind.name(), self.compute.name());
        let kernel = self.card.kernel("embed", &name)?;
        let args =
            [room.into(), (&matrix.quants).into(), Arg::U64(matrix.scales_at()), Arg::U64(0), matrix.cols.into()];
        // SAFETY: the room holds the matrix, and no row numbers mean every row.
        unsafe { kernel.launch(self.card, (matrix.rows as u32, 1, 1), THREADS, 0, &args)? };
        Ok(room.at())
    }
}
