//! A weight matrix, dense or block-quantized, and its product with activations.

use super::cpu::matmul::{DenseMatmul, quantized_matmul};
use super::ops::{CandleMatrix, Compute, Kernels};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor};
use std::sync::Arc;

/// A `(outputs, inputs)` matrix.
#[derive(Debug, Clone)]
pub struct Linear(Weights);

#[derive(Debug, Clone)]
enum Weights {
    /// `f32`, `f16` or `bf16`.
    Dense(Tensor),
    /// GGUF blocks.
    Blocks(Arc<QTensor>),
    /// Either, for candle's own products.
    Candle(CandleMatrix),
}

/// A look at the weights, for engines that keep them elsewhere.
#[derive(Debug, Clone, Copy)]
pub enum Parts<'a> {
    /// `f32`, `f16` or `bf16`.
    Dense(&'a Tensor),
    /// GGUF blocks.
    Blocks(&'a QTensor),
}

impl Linear {
    /// A matrix of floats.
    pub fn dense(weights: Tensor) -> Self {
        Self(Weights::Dense(weights))
    }

    /// A matrix of blocks.
    pub fn blocks(weights: QTensor) -> Self {
        Self(Weights::Blocks(Arc::new(weights)))
    }

    /// The matrix as `compute` needs it.
    pub fn prepared_for(self, compute: &Compute) -> Result<Self> {
        match compute.kernels {
            Kernels::Own => Ok(self),
            Kernels::Candle => Ok(Self(Weights::Candle(CandleMatrix::new(&self, compute)?))),
        }
    }

    /// `x . w^T`: `(.., inputs)` to `(.., outputs)`, both contiguous, and `f32` for the project's own kernels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Weights::Dense(w) => x.apply_op2_no_bwd(w, &DenseMatmul),
            Weights::Blocks(w) => quantized_matmul(x, w),
            Weights::Candle(matrix) => matrix.forward(x),
        }
    }

    /// The rows of `ids: (batch, seq)` as activations: `(batch, seq, inputs)`.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Weights::Blocks(w) => w.embedding(ids),
            Weights::Candle(matrix) => matrix.embed(ids),
            Weights::Dense(w) => {
                let (batch, seq) = ids.dims2()?;
                let rows = w.index_select(&ids.flatten_all()?, 0)?.to_dtype(DType::F32)?;
                rows.reshape((batch, seq, w.dim(1)?))
            }
        }
    }

    /// The weights as floats or as blocks.
    pub fn parts(&self) -> Parts<'_> {
        match &self.0 {
            Weights::Dense(w) => Parts::Dense(w),
            Weights::Blocks(w) => Parts::Blocks(w),
            Weights::Candle(matrix) => matrix.parts(),
        }
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        match self.parts() {
            Parts::Dense(w) => w.elem_count() * w.dtype().size_in_bytes(),
            Parts::Blocks(w) => w.storage_size_in_bytes(),
        }
    }

    /// The weights as GGUF blocks of `dtype`; a matrix of blocks must be of that type already.
    pub fn to_qtensor(&self, dtype: GgmlDType) -> Result<QTensor> {
        let weights = match self.parts() {
            Parts::Dense(w) => return QTensor::quantize(w, dtype),
            Parts::Blocks(w) if w.dtype() == dtype => w,
            Parts::Blocks(w) => candle_core::bail!("a matrix of {:?} is not one of {dtype:?}", w.dtype()),
        };
        let storage = QStorage::from_data(weights.data()?, &Device::Cpu, dtype)?;
        QTensor::new(storage, weights.shape().clone())
    }

    /// The weights as an `f32` tensor.
    pub fn to_f32(&self) -> Result<Tensor> {
        match self.parts() {
            Parts::Dense(w) => w.to_dtype(DType::F32),
            Parts::Blocks(w) => w.dequantize(&w.device()),
        }
    }
}
