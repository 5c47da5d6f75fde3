//! A weight matrix, dense or block-quantized, and its product with activations.

use super::cpu::packed::Packed;
use super::cpu::product::products;
use super::ops::{CandleMatrix, Compute, Kernels};
use crate::workload::Encoding;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Result, Tensor, bail};
use rayon::prelude::*;
use std::sync::Arc;

/// How a matrix is laid out in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Row after row, as files and candle have it.
    Rows,
    /// In panels, for the project's own products; rows where there is no such format.
    Panels,
}

/// A `(outputs, inputs)` matrix.
#[derive(Debug, Clone)]
pub struct Linear(Weights);

#[derive(Debug, Clone)]
enum Weights {
    /// `f32`, `f16` or `bf16`, row after row.
    Dense(Tensor),
    /// GGUF blocks.
    Blocks(Arc<QTensor>),
    /// Panels.
    Packed(Arc<Packed>),
    /// Dense or blocks, for candle's own products.
    Candle(CandleMatrix),
}

fn dense_encoding(dtype: DType) -> Encoding {
    match dtype {
        DType::F16 => Encoding::F16,
        DType::BF16 => Encoding::Bf16,
        _ => Encoding::F32,
    }
}

fn block_encoding(dtype: GgmlDType) -> Encoding {
    match dtype {
        GgmlDType::F32 => Encoding::F32,
        GgmlDType::F16 => Encoding::F16,
        GgmlDType::BF16 => Encoding::Bf16,
        GgmlDType::Q6K => Encoding::Q6K,
        GgmlDType::Q5K => Encoding::Q5K,
        GgmlDType::Q5_1 => Encoding::Q5_1,
        GgmlDType::Q5_0 => Encoding::Q5_0,
        GgmlDType::Q4K => Encoding::Q4K,
        GgmlDType::Q4_1 => Encoding::Q4_1,
        GgmlDType::Q4_0 => Encoding::Q4_0,
        GgmlDType::Q3K => Encoding::Q3K,
        GgmlDType::Q2K => Encoding::Q2K,
        // The others are of activations, in 8 bits too.
        GgmlDType::Q8_0 | GgmlDType::Q8_1 | GgmlDType::Q8K => Encoding::Q8_0,
    }
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

    /// A matrix in panels.
    pub fn packed(weights: Packed) -> Self {
        Self(Weights::Packed(Arc::new(weights)))
    }

    /// The matrix as `compute` needs it, where it was loaded in the layout of `compute`.
    pub fn prepared_for(self, compute: &Compute) -> Result<Self> {
        match compute.kernels {
            Kernels::Own => Ok(self),
            Kernels::Candle => Ok(Self(Weights::Candle(CandleMatrix::new(&self, compute)?))),
        }
    }

    /// `x . w^T`: `(.., inputs)` to `(.., outputs)`, both contiguous, and `f32` for the project's own kernels.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Weights::Dense(w) => {
                let (outputs, inputs) = w.dims2()?;
                let mut dims = x.dims().to_vec();
                if let Some(last) = dims.last_mut() {
                    *last = outputs;
                }
                x.reshape(((), inputs))?.matmul(&w.to_dtype(DType::F32)?.t()?)?.reshape(dims)
            }
            Weights::Blocks(w) => x.apply_op1_no_bwd(w.as_ref()),
            Weights::Packed(w) => Ok(products(x, &[w])?.remove(0)),
            Weights::Candle(matrix) => matrix.forward(x),
        }
    }

    /// The products of several matrices with the same `x`, as one piece of work where all are in panels.
    pub fn forward_all(matrices: &[&Linear], x: &Tensor) -> Result<Vec<Tensor>> {
        let packed: Vec<&Packed> = matrices.iter().filter_map(|matrix| matrix.as_packed()).collect();
        if packed.len() == matrices.len() {
            products(x, &packed)
        } else {
            matrices.iter().map(|matrix| matrix.forward(x)).collect()
        }
    }

    fn as_packed(&self) -> Option<&Packed> {
        match &self.0 {
            Weights::Packed(packed) => Some(packed),
            _ => None,
        }
    }

    /// The rows of `ids: (batch, seq)` as activations: `(batch, seq, inputs)`.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Weights::Blocks(w) => w.embedding(ids),
            Weights::Candle(matrix) => matrix.embed(ids),
            Weights::Packed(w) => {
                let (batch, seq) = ids.dims2()?;
                let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
                if let Some(id) = ids.iter().find(|id| **id as usize >= w.rows()) {
                    bail!("there is no row {id} in a table of {}", w.rows());
                }
                let mut values = vec![0f32; ids.len() * w.cols()];
                values.chunks_exact_mut(w.cols()).zip(&ids).for_each(|(row, id)| w.row(*id as usize, row));
                Tensor::from_vec(values, (batch, seq, w.cols()), &Device::Cpu)
            }
            Weights::Dense(w) => {
                let (batch, seq) = ids.dims2()?;
                let rows = w.index_select(&ids.flatten_all()?, 0)?.to_dtype(DType::F32)?;
                rows.reshape((batch, seq, w.dim(1)?))
            }
        }
    }

    /// The weights as floats or as blocks; an error for panels, which only the project's own products read.
    pub fn parts(&self) -> Result<Parts<'_>> {
        match &self.0 {
            Weights::Dense(w) => Ok(Parts::Dense(w)),
            Weights::Blocks(w) => Ok(Parts::Blocks(w)),
            Weights::Candle(matrix) => Ok(matrix.parts()),
            Weights::Packed(w) => bail!("{w:?} is not stored in rows"),
        }
    }

    /// Bytes that the weights take in memory.
    pub fn bytes(&self) -> usize {
        let of = |parts: Parts<'_>| match parts {
            Parts::Dense(w) => w.elem_count() * w.dtype().size_in_bytes(),
            Parts::Blocks(w) => w.storage_size_in_bytes(),
        };
        match &self.0 {
            Weights::Packed(packed) => packed.bytes(),
            Weights::Dense(w) => of(Parts::Dense(w)),
            Weights::Blocks(w) => of(Parts::Blocks(w)),
            Weights::Candle(matrix) => of(matrix.parts()),
        }
    }

    /// What the weights are stored as, and how many there are.
    pub fn stored(&self) -> (Encoding, usize) {
        let of = |parts: Parts<'_>| match parts {
            Parts::Dense(w) => (dense_encoding(w.dtype()), w.elem_count()),
            Parts::Blocks(w) => (block_encoding(w.dtype()), w.shape().elem_count()),
        };
        match &self.0 {
            Weights::Packed(packed) => (packed.format().encoding(), packed.rows() * packed.cols()),
            Weights::Dense(w) => of(Parts::Dense(w)),
            Weights::Blocks(w) => of(Parts::Blocks(w)),
            Weights::Candle(matrix) => of(matrix.parts()),
        }
    }

    /// The weights as GGUF blocks of `dtype`; a matrix of blocks must be of that type already.
    pub fn to_qtensor(&self, dtype: GgmlDType) -> Result<QTensor> {
        let weights = match self.parts()? {
            Parts::Dense(w) => return QTensor::quantize(w, dtype),
            Parts::Blocks(w) if w.dtype() == dtype => w,
            Parts::Blocks(w) => bail!("a matrix of {:?} is not one of {dtype:?}", w.dtype()),
        };
        let storage = QStorage::from_data(weights.data()?, &Device::Cpu, dtype)?;
        QTensor::new(storage, weights.shape().clone())
    }

    /// The weights as an `f32` tensor.
    pub fn to_f32(&self) -> Result<Tensor> {
        if let Weights::Packed(packed) = &self.0 {
            let (rows, cols) = (packed.rows(), packed.cols());
            let mut values = vec![0f32; rows * cols];
            values.par_chunks_exact_mut(cols).enumerate().for_each(|(row, values)| packed.row(row, values));
            return Tensor::from_vec(values, (rows, cols), &Device::Cpu);
        }
        match self.parts()? {
            Parts::Dense(w) => w.to_dtype(DType::F32),
            Parts::Blocks(w) => w.dequantize(&w.device()),
        }
    }
}
