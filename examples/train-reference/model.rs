//! The Llama architecture in operations that candle can differentiate: what the engine computes, slower.

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::ops::{log_softmax, rms_norm_slow, silu, softmax};
use candle_nn::rotary_emb::rope_slow;
use rand::Rng;
use rand_distr::{Distribution, Normal};
use std::collections::BTreeMap;

pub const HIDDEN: usize = 256;
pub const INTERMEDIATE: usize = 512;
pub const LAYERS: usize = 3;
pub const HEADS: usize = 8;
pub const KV_HEADS: usize = 4;
pub const HEAD_DIM: usize = HIDDEN / HEADS;
pub const NORM_EPS: f64 = 1e-5;
pub const ROPE_THETA: f64 = 10_000.0;

/// Weights by the names of Hugging Face checkpoints; the output matrix is the embedding.
pub struct Model {
    pub weights: BTreeMap<String, Var>,
    rope: (Tensor, Tensor),
    mask: Tensor,
}

impl Model {
    /// Random weights for `vocab` tokens and windows of `context`.
    pub fn new(vocab: usize, context: usize, rng: &mut impl Rng) -> Result<Self> {
        let mut weights = BTreeMap::new();
        let mut matrix = |name: String, rows: usize, cols: usize, deviation: f64| -> Result<()> {
            let normal = Normal::new(0.0, deviation).map_err(candle_core::Error::wrap)?;
            let values: Vec<f32> = (0..rows * cols).map(|_| normal.sample(rng) as f32).collect();
            weights.insert(name, Var::from_tensor(&Tensor::from_vec(values, (rows, cols), &Device::Cpu)?)?);
            Ok(())
        };
        let usual = (HIDDEN as f64).powf(-0.5);
        // What is added to the residual stream starts small (GPT-2's rule).
        let residual = usual / (2.0 * LAYERS as f64).sqrt();
        matrix("model.embed_tokens.weight".to_string(), vocab, HIDDEN, 0.02)?;
        for layer in 0..LAYERS {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            matrix(name("self_attn.q_proj"), HIDDEN, HIDDEN, usual)?;
            matrix(name("self_attn.k_proj"), KV_HEADS * HEAD_DIM, HIDDEN, usual)?;
            matrix(name("self_attn.v_proj"), KV_HEADS * HEAD_DIM, HIDDEN, usual)?;
            matrix(name("self_attn.o_proj"), HIDDEN, HIDDEN, residual)?;
            matrix(name("mlp.gate_proj"), INTERMEDIATE, HIDDEN, usual)?;
            matrix(name("mlp.up_proj"), INTERMEDIATE, HIDDEN, usual)?;
            matrix(name("mlp.down_proj"), HIDDEN, INTERMEDIATE, residual)?;
        }
        let mut ones = |name: String| -> Result<()> {
            weights.insert(name, Var::from_tensor(&Tensor::ones(HIDDEN, DType::F32, &Device::Cpu)?)?);
            Ok(())
        };
        for layer in 0..LAYERS {
            ones(format!("model.layers.{layer}.input_layernorm.weight"))?;
            ones(format!("model.layers.{layer}.post_attention_layernorm.weight"))?;
        }
        ones("model.norm.weight".to_string())?;
        Ok(Self { weights, rope: rope_tables(context)?, mask: causal_mask(context)? })
    }

    /// The mean of minus the log-probability of `targets` after `inputs`, both `(batch, context)`.
    pub fn loss(&self, inputs: &Tensor, targets: &Tensor) -> Result<Tensor> {
        let logits = self.logits(inputs)?;
        let (batch, context, vocab) = logits.dims3()?;
        let logs = log_softmax(&logits.reshape((batch * context, vocab))?, D::Minus1)?;
        logs.gather(&targets.reshape((batch * context, 1))?, 1)?.mean_all()?.neg()
    }

    /// The mean loss of the positions from `first` on, without a gradient.
    pub fn loss_from(&self, inputs: &Tensor, targets: &Tensor, first: usize) -> Result<f64> {
        let context = inputs.dim(1)?;
        let logits = self.logits(inputs)?.detach().narrow(1, first, context - first)?;
        let targets = targets.narrow(1, first, context - first)?.unsqueeze(2)?;
        let logs = log_softmax(&logits, D::Minus1)?.gather(&targets.contiguous()?, 2)?;
        Ok(-logs.mean_all()?.to_scalar::<f32>()? as f64)
    }

    fn logits(&self, inputs: &Tensor) -> Result<Tensor> {
        let (batch, context) = inputs.dims2()?;
        let embedding = self.weights["model.embed_tokens.weight"].as_tensor();
        let mut x = embedding.index_select(&inputs.flatten_all()?, 0)?;
        for layer in 0..LAYERS {
            let normed = self.norm(&x, &format!("model.layers.{layer}.input_layernorm"))?;
            x = (x + self.attention(&normed, layer, (batch, context))?)?;
            let normed = self.norm(&x, &format!("model.layers.{layer}.post_attention_layernorm"))?;
            let gate = silu(&self.product(&normed, layer, "mlp.gate_proj")?)?;
            let gated = (gate * self.product(&normed, layer, "mlp.up_proj")?)?;
            x = (x + self.product(&gated, layer, "mlp.down_proj")?)?;
        }
        let x = self.norm(&x, "model.norm")?;
        x.matmul(&embedding.t()?)?.reshape((batch, context, ()))
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        rms_norm_slow(x, self.weights[&format!("{name}.weight")].as_tensor(), NORM_EPS as f32)
    }

    /// `x . w^T` of `(rows, inputs)`.
    fn product(&self, x: &Tensor, layer: usize, part: &str) -> Result<Tensor> {
        x.matmul(&self.weights[&format!("model.layers.{layer}.{part}.weight")].as_tensor().t()?)
    }

    fn attention(&self, x: &Tensor, layer: usize, (batch, context): (usize, usize)) -> Result<Tensor> {
        let heads = |part: &str, heads: usize| -> Result<Tensor> {
            let y = self.product(x, layer, part)?.reshape((batch, context, heads, HEAD_DIM))?;
            y.transpose(1, 2)?.contiguous()
        };
        let (cos, sin) = (self.rope.0.narrow(0, 0, context)?, self.rope.1.narrow(0, 0, context)?);
        let query = rope_slow(&heads("self_attn.q_proj", HEADS)?, &cos, &sin)?;
        let key = rope_slow(&heads("self_attn.k_proj", KV_HEADS)?, &cos, &sin)?;
        let value = heads("self_attn.v_proj", KV_HEADS)?;
        // The query heads of a group are rows of one product.
        let group = HEADS / KV_HEADS;
        let query = query.reshape((batch, KV_HEADS, group * context, HEAD_DIM))?;
        let scores = (query.matmul(&key.t()?.contiguous()?)? * (HEAD_DIM as f64).powf(-0.5))?;
        let scores = scores.reshape((batch, KV_HEADS, group, context, context))?;
        let mask = self.mask.narrow(0, 0, context)?.narrow(1, 0, context)?;
        let shares = softmax(&scores.broadcast_add(&mask)?, D::Minus1)?;
        let y = shares.reshape((batch, KV_HEADS, group * context, context))?.matmul(&value)?;
        let y = y.reshape((batch, HEADS, context, HEAD_DIM))?.transpose(1, 2)?.contiguous()?;
        self.product(&y.reshape((batch * context, HIDDEN))?, layer, "self_attn.o_proj")
    }
}

fn rope_tables(context: usize) -> Result<(Tensor, Tensor)> {
    let half = HEAD_DIM / 2;
    let angle = |position: usize, i: usize| position as f64 * ROPE_THETA.powf(-2.0 * i as f64 / HEAD_DIM as f64);
    let table = |f: fn(f64) -> f64| {
        let values = (0..context).flat_map(|p| (0..half).map(move |i| f(angle(p, i)) as f32)).collect();
        Tensor::from_vec(values, (context, half), &Device::Cpu)
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}

fn causal_mask(context: usize) -> Result<Tensor> {
    let value = |query, key| if key <= query { 0.0 } else { f32::NEG_INFINITY };
    let values = (0..context).flat_map(|query| (0..context).map(move |key| value(query, key))).collect();
    Tensor::from_vec(values, (context, context), &Device::Cpu)
}
