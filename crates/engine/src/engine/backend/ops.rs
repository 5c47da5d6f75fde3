//! Which kernels compute, and the operations of the decoder by candle's own ones: one after the other, on the CPU or
//! (built with the feature `cuda`) on a card. A second set to compare the project's own kernels with.

use super::linear::{Linear, Parts};
use crate::workload::Quant;
use crate::workload::rounding::Rounding;
use candle_core::quantized::{QMatMul, QStorage, QTensor};
use candle_core::{D, DType, Device, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use std::sync::Arc;

/// Whose kernels compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// This project's.
    #[default]
    Own,
    /// candle's, one operation after the other.
    Candle,
}

/// Where and in which type the decoder computes.
#[derive(Debug, Clone)]
pub struct Compute {
    /// Whose kernels.
    pub kernels: Kernels,
    /// Where.
    pub device: Device,
    /// Type of activations and cache.
    pub dtype: DType,
    /// What blocks multiply with their weights is rounded so, to see what a level costs.
    pub activations: Option<Rounding>,
}

impl Compute {
    /// The project's kernels of the CPU, in `f32`.
    pub fn own() -> Self {
        Self { kernels: Kernels::Own, device: Device::Cpu, dtype: DType::F32, activations: None }
    }

    /// candle's kernels on `device`: in the type of the weights, and in `f32` with weights in blocks, as candle's own
    /// models do.
    pub fn candle(device: &Device, quant: Quant) -> Self {
        let dtype = match quant {
            Quant::F16 => DType::F16,
            Quant::Bf16 => DType::BF16,
            _ => DType::F32,
        };
        Self { kernels: Kernels::Candle, device: device.clone(), dtype, activations: None }
    }

    /// A small tensor of the CPU as this computes with it.
    pub fn tensor(&self, tensor: &Tensor) -> Result<Tensor> {
        tensor.to_device(&self.device)?.to_dtype(self.dtype)
    }
}

/// A `(outputs, inputs)` matrix for candle's own products.
#[derive(Debug, Clone)]
pub struct CandleMatrix {
    weights: Weights,
    dtype: DType,
}

#[derive(Debug, Clone)]
enum Weights {
    Dense(Tensor),
    Blocks(Arc<QTensor>, QMatMul),
}

impl CandleMatrix {
    /// A copy of `matrix` on the device.
    pub fn new(matrix: &Linear, compute: &Compute) -> Result<Self> {
        let weights = match matrix.parts()? {
            Parts::Dense(tensor) => Weights::Dense(compute.tensor(tensor)?),
            Parts::Blocks(blocks) => {
                let storage = QStorage::from_data(blocks.data()?, &compute.device, blocks.dtype())?;
                let blocks = Arc::new(QTensor::new(storage, blocks.shape().clone())?);
                Weights::Blocks(blocks.clone(), QMatMul::from_arc(blocks)?)
            }
        };
        Ok(Self { weights, dtype: compute.dtype })
    }

    /// `x . w^T`: `(batch, seq, inputs)` to `(batch, seq, outputs)`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.weights {
            Weights::Blocks(_, product) => product.forward(x),
            Weights::Dense(w) => {
                let (batch, seq, inputs) = x.dims3()?;
                x.reshape((batch * seq, inputs))?.matmul(&w.t()?)?.reshape((batch, seq, w.dim(0)?))
            }
        }
    }

    /// The rows of `ids: (batch, seq)`: `(batch, seq, inputs)`.
    pub fn embed(&self, ids: &Tensor) -> Result<Tensor> {
        match &self.weights {
            Weights::Blocks(blocks, _) => blocks.embedding(ids)?.to_dtype(self.dtype),
            Weights::Dense(w) => {
                let (batch, seq) = ids.dims2()?;
                w.index_select(&ids.flatten_all()?, 0)?.reshape((batch, seq, w.dim(1)?))
            }
        }
    }

    /// The weights.
    pub fn parts(&self) -> Parts<'_> {
        match &self.weights {
            Weights::Dense(tensor) => Parts::Dense(tensor),
            Weights::Blocks(blocks, _) => Parts::Blocks(blocks),
        }
    }
}

/// Which positions of a cache queries attend to.
pub struct CacheView<'a> {
    /// Positions before those of the queries.
    pub past: usize,
    /// How far back each sees.
    pub window: Option<usize>,
    /// What each sees, of several; see [`mask`].
    pub mask: Option<&'a Tensor>,
}

/// `softmax(scale q k^T + mask) v` for queries `(batch, seq, heads, dim)` against caches
/// `(batch, kv_heads, capacity, dim)` whose first `past + seq` positions are filled: `(batch, seq, heads * dim)`. The
/// query heads of a group are rows of one product, so that keys and values are not repeated.
pub fn attention(
    q: &Tensor,
    (keys, values): (&Tensor, &Tensor),
    scale: Option<f64>,
    &CacheView { past, window, mask }: &CacheView<'_>,
) -> Result<Tensor> {
    let (batch, seq, heads, dim) = q.dims4()?;
    let (_, kv_heads, _, _) = keys.dims4()?;
    let group = heads / kv_heads;
    let seen = past + seq;
    // One new position sees the end of the cache; of several, the mask says what each sees.
    let first = if seq == 1 { seen.saturating_sub(window.unwrap_or(seen)) } else { 0 };
    let (keys, values) = (keys.narrow(2, first, seen - first)?, values.narrow(2, first, seen - first)?);
    let q = q.reshape((batch, seq, kv_heads, group, dim))?.permute((0, 2, 3, 1, 4))?;
    let q = q.contiguous()?.reshape((batch, kv_heads, group * seq, dim))?;
    let scores =
        (q.matmul(&keys.transpose(2, 3)?)?.to_dtype(DType::F32)? * scale.unwrap_or(1.0 / (dim as f64).sqrt()))?;
    let scores = match mask {
        Some(mask) => {
            let each = scores.reshape((batch, kv_heads, group, seq, seen))?.broadcast_add(mask)?;
            each.reshape((batch, kv_heads, group * seq, seen))?
        }
        None => scores,
    };
    let shares = softmax_last_dim(&scores)?.to_dtype(values.dtype())?;
    let y = shares.matmul(&values)?.reshape((batch, kv_heads, group, seq, dim))?;
    y.permute((0, 3, 1, 2, 4))?.contiguous()?.reshape((batch, seq, heads * dim))
}

/// What is added to the scores of `seq` new positions behind `past`: 0 where a query sees a key, minus infinity elsewhere;
/// `(seq, past + seq)`. None for one new position, which sees all that it is shown.
pub fn mask(seq: usize, past: usize, window: Option<usize>, device: &Device) -> Result<Option<Tensor>> {
    if seq == 1 {
        return Ok(None);
    }
    let mask = |query: usize, key: usize| {
        let end = past + query + 1;
        (end.saturating_sub(window.unwrap_or(end))..end).contains(&key)
    };
    let value = |query, key| if mask(query, key) { 0.0 } else { f32::NEG_INFINITY };
    let values: Vec<f32> = (0..seq).flat_map(|query| (0..past + seq).map(move |key| value(query, key))).collect();
    Tensor::from_vec(values, (seq, past + seq), device).map(Some)
}

/// The tokens with the highest of `logits: (batch, vocab)`, left on the device as `(batch, 1)`, and a number there that is
/// 0 where every logit was finite and not a number otherwise.
pub fn pick(logits: &Tensor) -> Result<(Tensor, Tensor)> {
    let logits = logits.to_dtype(DType::F32)?;
    // x * 0 is 0 for a finite x and not a number otherwise, and so is their sum.
    Ok((logits.argmax_keepdim(D::Minus1)?, (&logits * 0.0)?.sum_all()?))
}
