//! Matrices with the same input on a card, below each other where they are stored alike: one launch instead of several.

use super::ops::Strided;
use super::products::{Product, Width};
use super::weights::{Compute, Matrix, Packed};
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::backend::HeldMatrix;
use crate::engine::backend::linear::Linear;
use candle_core::Tensor;

/// Matrices with the same input.
pub struct Stack {
    matrices: Vec<Matrix>,
    biases: Vec<Option<Buffer>>,
    /// Rows of each part.
    parts: Vec<usize>,
}

impl Stack {
    /// Puts `loaded` on `card`, with the bias of each that has one.
    pub(super) fn new(card: &Card, compute: Compute, loaded: Vec<(Linear, Option<Tensor>)>) -> Result<Self, CudaError> {
        let (mut packed, mut biases) = (Vec::with_capacity(loaded.len()), Vec::with_capacity(loaded.len()));
        for (linear, bias) in loaded {
            packed.push(Packed::new(&linear, compute)?);
            biases.push(bias.map(|bias| compute.bits(&bias)).transpose()?);
        }
        let parts: Vec<usize> = packed.iter().map(|packed| packed.rows).collect();
        // Biases are of all parts or of none.
        let alike = biases.iter().all(Option::is_some) || biases.iter().all(Option::is_none);
        let packed = if alike { Packed::stacked(packed) } else { packed };
        if packed.len() < parts.len() {
            let joined: Vec<u16> = biases.drain(..).flatten().flatten().collect();
            biases = vec![if joined.is_empty() { None } else { Some(joined) }];
        }
        let upload = |bias: Option<Vec<u16>>| bias.map(|bias| card.with(&bias)).transpose();
        let biases = biases.into_iter().map(upload).collect::<Result<_, _>>()?;
        let matrices = packed.iter().map(|packed| packed.upload(card)).collect::<Result<_, _>>()?;
        Ok(Self { matrices, biases, parts })
    }

    /// Its matrices as they lie on the card.
    pub(super) fn matrices(&self) -> &[Matrix] {
        &self.matrices
    }

    /// Whether its products take activations of 8 bits.
    pub(super) fn is_quantized(&self) -> bool {
        self.matrices.iter().any(Matrix::is_quantized)
    }

    /// Whether something is added to its products.
    pub(super) fn has_bias(&self) -> bool {
        self.biases.iter().any(Option::is_some)
    }

    /// Numbers of each row of the input.
    pub(super) fn cols(&self) -> usize {
        self.matrices.first().map_or(0, |matrix| matrix.cols)
    }

    /// Numbers of the largest of its matrices that many rows need widened to 16 bits.
    pub(super) fn widest(&self) -> usize {
        let quantized = self.matrices.iter().filter(|matrix| matrix.is_quantized());
        quantized.map(|matrix| matrix.rows * matrix.cols).max().unwrap_or(0)
    }

    /// What the matrices take.
    pub(super) fn held(&self, compute: Compute) -> Vec<HeldMatrix> {
        let held = |matrix: &Matrix| HeldMatrix {
            encoding: matrix.kind.encoding(compute),
            weights: matrix.rows * matrix.cols,
            bytes: matrix.bytes,
        };
        self.matrices.iter().map(held).collect()
    }

    /// Where the rows of each part begin in the results of `rows` rows from `at` on, how far apart they are, and how wide.
    pub(super) fn places(&self, at: u64, rows: usize) -> Vec<(Strided, usize)> {
        let mut before = 0;
        let stacked = self.matrices.len() < self.parts.len();
        let width: usize = self.parts.iter().sum();
        let place = |part: &usize| {
            // Stacked, the parts share each row; apart, each has rows of its own behind those of the others.
            let place = if stacked {
                Strided { at: at + 2 * before as u64, stride: width }
            } else {
                Strided { at: at + 2 * (before * rows) as u64, stride: *part }
            };
            before += part;
            (place, *part)
        };
        self.parts.iter().map(place).collect()
    }

    /// The products with `rows` rows, whose results lie from `at` on.
    pub(super) fn products(&self, at: u64, rows: usize, width: Width) -> Vec<Product<'_>> {
        let mut y = at;
        let mut products = Vec::with_capacity(self.matrices.len());
        for (matrix, bias) in self.matrices.iter().zip(&self.biases) {
            products.push(Product { matrix, bias: bias.as_ref(), y, width });
            y += (width.bytes() * rows * matrix.rows) as u64;
        }
        products
    }
}
