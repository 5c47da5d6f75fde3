//! The operations of a model on candle's tensors: by the project's kernels of the CPU, or by candle's own ones, on the CPU or
//! on a card.

use super::cpu::attention::{self, CachePositions, CachedAttention, KvCache};
use super::cpu::{rope::rope, rows};
use super::linear::{Layout, Linear};
use super::ops::{self, Compute, Kernels};
use super::{Backend, HeldMatrix, Norm, ProductInput, Selected};
use crate::engine::model::CachedPositions;
use crate::engine::model::ragged::RaggedBatch;
use crate::engine::rounding::round;
use crate::engine::weights::ModelError;
use crate::workload::CacheType;
use crate::workload::model::parts::{Activation, Attention, AttentionMask, NormKind, Rotary};
use crate::workload::model::tensors::TensorName;
use crate::workload::rounding::Rounding;
use candle_core::{Error, Result, Tensor, bail};
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::rope_thd;

/// Keys and values of the sequences of a block.
pub enum Cache {
    /// For the project's own attention.
    Own(KvCache),
    /// `(batch, kv_heads, capacity, head_dim)` each.
    Candle(Tensor, Tensor),
}

/// Cosines and sines for positions, `(positions, head_dim / 2)` each.
pub type RotaryTables = (Tensor, Tensor);

/// What all blocks of one pass share.
#[derive(Default)]
pub struct Pass {
    /// Positions in the cache before these.
    pub past: usize,
    /// How these turn, by each way that blocks have.
    pub rotary_tables: Vec<(Rotary, RotaryTables)>,
    /// What each of them sees, by each window that blocks have, for candle's kernels.
    pub masks: Vec<(Option<usize>, Option<Tensor>)>,
    /// Sequences of different lengths, one behind the other in a batch of one.
    pub ragged: Option<RaggedBatch>,
}

impl Pass {
    fn rotary_tables(&self, rotary: &Rotary) -> Result<&RotaryTables> {
        match self.rotary_tables.iter().find(|(known, _)| known == rotary) {
            Some((_, rotary_tables)) => Ok(rotary_tables),
            None => bail!("positions were not turned by {rotary:?}"),
        }
    }

    fn mask(&self, window: Option<usize>) -> Option<&Tensor> {
        self.masks.iter().find(|(known, _)| *known == window)?.1.as_ref()
    }
}

/// What products of queries and keys are multiplied by.
pub fn scale_of(attention: &Attention) -> f32 {
    match attention.scale {
        Some(scale) => scale as f32,
        None => 1.0 / (attention.head_dim as f32).sqrt(),
    }
}

/// Rows that go through a feed-forward part of the project's kernels at once: many rows of what is between the products would
/// leave the caches and, in the end, the allocator.
const MOST_ROWS: usize = 512;

/// A matrix with an optional bias.
pub struct Projection {
    /// `(outputs, inputs)`.
    pub weight: Linear,
    /// One number for each output.
    pub bias: Option<Tensor>,
}

/// What a quick GELU multiplies by before its sigmoid (arXiv 1606.08415, section 2).
const QUICK: f64 = 1.702;

impl Compute {
    /// Room for `batch` sequences of up to `capacity` positions of one block, empty. candle's own kernels keep keys and values
    /// in the type that they compute in.
    pub(in crate::engine) fn cache(
        &self,
        attention: &Attention,
        batch: usize,
        capacity: usize,
        kind: CacheType,
    ) -> Result<Cache> {
        let shape = (batch, attention.kv_heads, capacity, attention.head_dim);
        let zeros = || Tensor::zeros(shape, self.dtype, &self.device);
        Ok(match self.kernels {
            Kernels::Own => Cache::Own(KvCache::new(kind, shape)),
            Kernels::Candle => Cache::Candle(zeros()?, zeros()?),
        })
    }

    fn normed(&self, x: &Tensor, norm: &Norm<Tensor>) -> Result<Tensor> {
        match (self.kernels, norm.kind, &norm.bias) {
            (Kernels::Own, NormKind::Rms, _) => rows::rms_norm(x, &norm.weight, norm.eps),
            (Kernels::Candle, NormKind::Rms, _) => rms_norm(x, &norm.weight, norm.eps),
            (Kernels::Own, NormKind::Layer, Some(bias)) => rows::layer_norm(x, &norm.weight, bias, norm.eps),
            (Kernels::Candle, NormKind::Layer, Some(bias)) => {
                candle_nn::ops::layer_norm(x, &norm.weight, bias, norm.eps)
            }
            (_, NormKind::Layer | NormKind::LayerUnbiased, _) => bail!("a layer norm has no bias"),
        }
    }

    /// Queries or keys of `(batch, positions, width)` as heads, normed and turned.
    fn heads(
        &self,
        (x, heads): (&Tensor, usize),
        attention: &Attention,
        norm: Option<&Norm<Tensor>>,
        pass: &Pass,
    ) -> Result<Tensor> {
        let (batch, seq, _) = x.dims3()?;
        let x = x.reshape((batch, seq, heads, attention.head_dim))?;
        let x = match norm {
            Some(norm) => self.normed(&x, norm)?,
            None => x,
        };
        let Some(rotary) = &attention.rotary else { return Ok(x) };
        let (cos, sin) = pass.rotary_tables(rotary)?;
        match self.kernels {
            Kernels::Own => rope(&x, cos, sin),
            Kernels::Candle => rope_thd(&x, cos, sin),
        }
    }
}

/// Activations as a level rounds them.
fn rounded(x: &Tensor, rounding: Rounding) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    let mut values = x.flatten_all()?.to_vec1::<f32>()?;
    round(&mut values, width, rounding);
    Tensor::from_vec(values, x.dims(), x.device())
}

impl Backend for Compute {
    type Error = Error;
    type LoadError = ModelError;
    type Matrices = Vec<Projection>;
    type Vector = Tensor;
    /// Tokens `(batch, positions)`, or patches `(batch, patches, pixels)`.
    type Input = Tensor;
    type Stream = Tensor;
    type Rows = Tensor;
    type Cache = Cache;
    type Pass = Pass;
    type Positions = CachedPositions;

    fn layout(&self) -> Layout {
        match self.kernels {
            Kernels::Own => Layout::Panels,
            Kernels::Candle => Layout::Rows,
        }
    }

    fn matrices(&self, loaded: Vec<(Linear, Option<Tensor>)>) -> Result<Vec<Projection>> {
        let prepared = |(linear, bias): (Linear, Option<Tensor>)| {
            let bias = bias.map(|bias| self.tensor(&bias)).transpose()?;
            Ok(Projection { weight: linear.prepared_for(self)?, bias })
        };
        loaded.into_iter().map(prepared).collect()
    }

    fn vector(&self, values: &Tensor) -> Result<Tensor> {
        self.tensor(values)
    }

    fn load_error(name: TensorName, error: Error) -> ModelError {
        ModelError::new(format!("{name:?}"), error)
    }

    fn held(&self, matrices: &Vec<Projection>) -> Vec<HeldMatrix> {
        let of = |projection: &Projection| {
            let (encoding, weights) = projection.weight.stored();
            HeldMatrix { encoding, weights, bytes: projection.weight.bytes() }
        };
        matrices.iter().map(of).collect()
    }

    fn embed(&self, table: &Vec<Projection>, ids: &Tensor) -> Result<Tensor> {
        match table.as_slice() {
            [table] => table.weight.embed(ids),
            _ => bail!("tokens have one table"),
        }
    }

    fn scale(&self, stream: &mut Tensor, factor: f32) -> Result<()> {
        *stream = (&*stream * factor as f64)?;
        Ok(())
    }

    fn add_positions(&self, stream: &mut Tensor, table: &Tensor) -> Result<()> {
        let (seq, most) = (stream.dim(1)?, table.dim(0)?);
        if seq > most {
            bail!("{seq} tokens exceed the model's {most} positions");
        }
        *stream = stream.broadcast_add(&table.narrow(0, 0, seq)?)?;
        Ok(())
    }

    fn pixels(&self, patches: &Tensor) -> Result<Tensor> {
        Ok(patches.clone())
    }

    fn patches(&self, patches: Tensor, class_token: &Tensor, positions: &Tensor) -> Result<Tensor> {
        let (batch, _, hidden) = patches.dims3()?;
        let class_token = class_token.broadcast_as((batch, 1, hidden))?.contiguous()?;
        Tensor::cat(&[&class_token, &patches], 1)?.broadcast_add(positions)
    }

    fn add(&self, stream: &mut Tensor, made: Tensor) -> Result<()> {
        *stream = (&*stream + made)?;
        Ok(())
    }

    fn norm(&self, stream: &mut Tensor, norm: &Norm<Tensor>) -> Result<Tensor> {
        self.normed(stream, norm)
    }

    fn norm_stream(&self, stream: &mut Tensor, norm: &Norm<Tensor>) -> Result<()> {
        *stream = self.normed(stream, norm)?;
        Ok(())
    }

    fn rows(&self, stream: &Tensor) -> Result<Tensor> {
        Ok(stream.clone())
    }

    fn norm_selected(&self, stream: &mut Tensor, selected: Selected, norm: &Norm<Tensor>) -> Result<Tensor> {
        let seq = stream.dim(1)?;
        match selected {
            Selected::First if seq > 1 => self.normed(&stream.narrow(1, 0, 1)?.contiguous()?, norm),
            Selected::Last if seq > 1 => self.normed(&stream.narrow(1, seq - 1, 1)?.contiguous()?, norm),
            _ => self.normed(stream, norm),
        }
    }

    fn norm_rows(&self, rows: Tensor, norm: &Norm<Tensor>) -> Result<Tensor> {
        self.normed(&rows, norm)
    }

    fn products(&self, reads: ProductInput, matrices: &Vec<Projection>, x: &Tensor) -> Result<Vec<Tensor>> {
        let rounded = match self.activations {
            // Logits are made of what is not rounded, by a matrix that is not either.
            Some(rounding) if reads != ProductInput::Head => Some(rounded(x, rounding)?),
            _ => None,
        };
        let x = rounded.as_ref().unwrap_or(x);
        let linears: Vec<&Linear> = matrices.iter().map(|projection| &projection.weight).collect();
        let biased = |(y, projection): (Tensor, &Projection)| match (&projection.bias, self.kernels) {
            (None, _) => Ok(y),
            (Some(bias), Kernels::Own) => rows::add_bias(&y, bias),
            (Some(bias), Kernels::Candle) => y.broadcast_add(bias),
        };
        Linear::forward_all(&linears, x)?.into_iter().zip(matrices).map(biased).collect()
    }

    fn attend(
        &self,
        attention: &Attention,
        [q, k, v]: [Tensor; 3],
        [query_norm, key_norm]: [Option<&Norm<Tensor>>; 2],
        cache: Option<&mut Cache>,
        pass: &Pass,
    ) -> Result<Tensor> {
        let (batch, seq, _) = v.dims3()?;
        let q = self.heads((&q, attention.heads), attention, query_norm, pass)?;
        let k = self.heads((&k, attention.kv_heads), attention, key_norm, pass)?;
        let v = v.reshape((batch, seq, attention.kv_heads, attention.head_dim))?;
        let AttentionMask::Before { window } = attention.mask else {
            return attention::bidirectional(&q, &k, &v, scale_of(attention));
        };
        let Some(cache) = cache else {
            bail!("no cache has been allocated");
        };
        if let Some(ragged) = &pass.ragged {
            return ragged.attend((&q, &k, &v), cache, attention);
        }
        match cache {
            Cache::Own(cache) => {
                let places = CachePositions::All(pass.past);
                cache.write(&k, &v, &places)?;
                let scale = scale_of(attention);
                q.apply_op1_no_bwd(&CachedAttention { cache, places, scale, window, both_ways: false })
            }
            Cache::Candle(keys, values) => {
                keys.slice_set(&k.transpose(1, 2)?.contiguous()?, 2, pass.past)?;
                values.slice_set(&v.transpose(1, 2)?.contiguous()?, 2, pass.past)?;
                let seen = ops::CacheView { past: pass.past, window, mask: pass.mask(window) };
                ops::attention(&q, (keys, values), attention.scale, &seen)
            }
        }
    }

    fn activate(&self, activation: Activation, gate: Option<Tensor>, x: Tensor) -> Result<Tensor> {
        let x = &x;
        match (self.kernels, activation, gate.as_ref()) {
            (Kernels::Own, Activation::Silu, Some(gate)) => rows::swiglu(gate, x),
            (Kernels::Own, Activation::GeluErf, None) => rows::gelu(x),
            (Kernels::Own, Activation::GeluTanh, Some(gate)) => rows::geglu(gate, x),
            (_, activation, gate) => {
                let one = gate.unwrap_or(x);
                let activated = match activation {
                    Activation::Silu => silu(one)?,
                    Activation::GeluErf => one.gelu_erf()?,
                    Activation::GeluTanh => one.gelu()?,
                    Activation::SquaredRelu => one.relu()?.sqr()?,
                    Activation::QuickGelu => (one * candle_nn::ops::sigmoid(&(one * QUICK)?)?)?,
                    Activation::ClampedSwiglu => bail!("a bounded gate is not computed"),
                };
                if gate.is_some() { activated * x } else { Ok(activated) }
            }
        }
    }

    fn in_pieces(&self, rows: &Tensor, work: &mut dyn FnMut(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let (batch, seq, hidden) = rows.dims3()?;
        let count = batch * seq;
        if self.kernels == Kernels::Candle || count <= MOST_ROWS {
            return work(rows);
        }
        let flat = rows.reshape((1, count, hidden))?;
        let pieces =
            (0..count).step_by(MOST_ROWS).map(|first| work(&flat.narrow(1, first, MOST_ROWS.min(count - first))?));
        Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 1)?.reshape((batch, seq, hidden))
    }
}
