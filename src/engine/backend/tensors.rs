//! The operations of a model on candle's tensors: by the project's kernels of the CPU, or by candle's own ones, on the CPU or
//! on a card.

use super::cpu::attention::{self, CachePositions, CachedAttention, KvCache};
use super::cpu::{rope::rope, rows};
use super::linear::{Layout, Linear};
use super::ops::{self, Compute, Kernels};
use super::{Backend, Norm, Projection};
use crate::engine::model::ragged::RaggedBatch;
use crate::workload::CacheType;
use crate::workload::model::parts::{Activation, Attention, AttentionMask, NormKind, Rotary};
use candle_core::{Result, Tensor, bail};
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

impl Compute {
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
            Some(norm) => self.norm(&x, norm)?,
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

impl Backend for Compute {
    type Matrix = Linear;
    type Vector = Tensor;
    type Rows = Tensor;
    type Cache = Cache;
    type Pass = Pass;

    fn layout(&self) -> Layout {
        match self.kernels {
            Kernels::Own => Layout::Panels,
            Kernels::Candle => Layout::Rows,
        }
    }

    fn matrix(&self, loaded: Linear) -> Result<Linear> {
        loaded.prepared_for(self)
    }

    fn vector(&self, values: &Tensor) -> Result<Tensor> {
        self.tensor(values)
    }

    /// candle's own kernels keep keys and values in the type that they compute in.
    fn cache(&self, attention: &Attention, batch: usize, capacity: usize, kind: CacheType) -> Result<Cache> {
        let shape = (batch, attention.kv_heads, capacity, attention.head_dim);
        let zeros = || Tensor::zeros(shape, self.dtype, &self.device);
        Ok(match self.kernels {
            Kernels::Own => Cache::Own(KvCache::new(kind, shape)),
            Kernels::Candle => Cache::Candle(zeros()?, zeros()?),
        })
    }

    fn embed(&self, table: &Linear, ids: &Tensor) -> Result<Tensor> {
        table.embed(ids)
    }

    fn scale(&self, x: &Tensor, factor: f32) -> Result<Tensor> {
        x * factor as f64
    }

    fn add(&self, x: &Tensor, addend: &Tensor) -> Result<Tensor> {
        x + addend
    }

    fn norm(&self, x: &Tensor, norm: &Norm<Tensor>) -> Result<Tensor> {
        match (self.kernels, norm.kind, &norm.bias) {
            (Kernels::Own, NormKind::Rms, _) => rows::rms_norm(x, &norm.weight, norm.eps),
            (Kernels::Candle, NormKind::Rms, _) => rms_norm(x, &norm.weight, norm.eps),
            (Kernels::Own, NormKind::Layer, Some(bias)) => rows::layer_norm(x, &norm.weight, bias, norm.eps),
            (Kernels::Candle, NormKind::Layer, Some(bias)) => {
                candle_nn::ops::layer_norm(x, &norm.weight, bias, norm.eps)
            }
            (_, NormKind::Layer, None) => bail!("a layer norm has no bias"),
        }
    }

    fn products(&self, projections: &[&Projection<Linear, Tensor>], x: &Tensor) -> Result<Vec<Tensor>> {
        let matrices: Vec<&Linear> = projections.iter().map(|projection| &projection.weight).collect();
        let biased = |(y, projection): (Tensor, &&Projection<Linear, Tensor>)| match (&projection.bias, self.kernels) {
            (None, _) => Ok(y),
            (Some(bias), Kernels::Own) => rows::add_bias(&y, bias),
            (Some(bias), Kernels::Candle) => y.broadcast_add(bias),
        };
        Linear::forward_all(&matrices, x)?.into_iter().zip(projections).map(biased).collect()
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

    fn activate(&self, activation: Activation, gate: Option<&Tensor>, x: &Tensor) -> Result<Tensor> {
        match (self.kernels, activation, gate) {
            (Kernels::Own, Activation::Silu, Some(gate)) => rows::swiglu(gate, x),
            (Kernels::Own, Activation::GeluErf, None) => rows::gelu(x),
            (Kernels::Own, Activation::GeluTanh, Some(gate)) => rows::geglu(gate, x),
            (_, activation, gate) => {
                let one = gate.unwrap_or(x);
                let activated = match activation {
                    Activation::Silu => silu(one)?,
                    Activation::GeluErf => one.gelu_erf()?,
                    Activation::GeluTanh => one.gelu()?,
                };
                if gate.is_some() { activated * x } else { Ok(activated) }
            }
        }
    }

    fn rows_at_once(&self) -> Option<usize> {
        (self.kernels == Kernels::Own).then_some(512)
    }
}
