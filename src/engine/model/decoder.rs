//! One decoder for the Llama family, on candle tensors: any batch, a preallocated key-value cache, key and value
//! heads never repeated, logits at the last or at all positions.

use super::ragged::{Ragged, Segment};
use super::rope::tables;
use crate::engine::backend::cpu::attention::{CachedAttention, KvCache, Places};
use crate::engine::backend::cpu::{rope::rope, rows};
use crate::engine::backend::linear::Linear;
use crate::engine::backend::ops::{self, Compute, Kernels};
use crate::engine::weights::names::{BlockTensor, TensorName};
use crate::engine::weights::{ModelError, WeightSource};
use crate::units::Bytes;
use crate::workload::{CacheType, Encoding, ModelShape, Quant};
use candle_core::{DType, Device, Result, Tensor, bail};
use candle_nn::ops::{rms_norm, silu};
use candle_nn::rotary_emb::rope_thd;

/// Which positions of a forward pass get logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// The last one: `(batch, vocab)`.
    Last,
    /// Every one: `(batch, seq, vocab)`.
    All,
}

/// A norm of a fixed vector of weights.
struct Norm {
    weight: Tensor,
    eps: f32,
}

impl Norm {
    fn forward(&self, x: &Tensor, kernels: Kernels) -> Result<Tensor> {
        match kernels {
            Kernels::Own => rows::rms_norm(x, &self.weight, self.eps),
            Kernels::Candle => rms_norm(x, &self.weight, self.eps),
        }
    }
}

/// A matrix with an optional bias.
pub(in crate::engine) struct Projection {
    pub(in crate::engine) weight: Linear,
    bias: Option<Tensor>,
}

impl Projection {
    /// The bias added to the product `y`.
    fn biased(&self, y: Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

/// Keys and values of the sequences of a block.
pub(in crate::engine) enum Cache {
    /// For the project's own attention.
    Own(KvCache),
    /// `(batch, kv_heads, capacity, head_dim)` each.
    Candle(Tensor, Tensor),
}

pub(in crate::engine) struct Block {
    attention_norm: Norm,
    pub(in crate::engine) query: Projection,
    pub(in crate::engine) key: Projection,
    pub(in crate::engine) value: Projection,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    pub(in crate::engine) attention_output: Linear,
    feed_forward_norm: Norm,
    pub(in crate::engine) gate: Linear,
    pub(in crate::engine) up: Linear,
    pub(in crate::engine) down: Linear,
    /// Keys and values.
    cache: Option<Cache>,
}

/// A decoder with its weights.
pub struct Decoder {
    pub(in crate::engine) shape: ModelShape,
    pub(in crate::engine) compute: Compute,
    pub(in crate::engine) embedding: Linear,
    pub(in crate::engine) blocks: Vec<Block>,
    output_norm: Norm,
    /// Absent where it is the embedding.
    pub(in crate::engine) output: Option<Linear>,
    /// Divisors of the rotary frequencies that came with the weights.
    rope_divisors: Option<Vec<f32>>,
    /// Cosines and sines for the positions of the cache.
    rope: (Tensor, Tensor),
    /// Positions that the cache holds.
    filled: usize,
    capacity: usize,
    /// How many matrices got each encoding.
    pub encodings: Vec<(Encoding, usize)>,
}

/// Counts one more matrix of `encoding`.
pub(in crate::engine) fn count_encoding(encodings: &mut Vec<(Encoding, usize)>, encoding: Encoding) {
    match encodings.iter_mut().find(|(known, _)| *known == encoding) {
        Some((_, count)) => *count += 1,
        None => encodings.push((encoding, 1)),
    }
}

/// Loads the tensors of a decoder and counts their encodings.
struct Loader<'a> {
    weights: &'a mut dyn WeightSource,
    shape: &'a ModelShape,
    quant: Quant,
    compute: &'a Compute,
    encodings: Vec<(Encoding, usize)>,
}

impl Loader<'_> {
    fn matrix(&mut self, name: TensorName, rows: usize, cols: usize) -> std::result::Result<Linear, ModelError> {
        let (linear, encoding) = self.weights.matrix(name, rows, cols, (self.quant, self.compute.layout()))?;
        count_encoding(&mut self.encodings, encoding);
        linear.prepared_for(self.compute).map_err(|e| ModelError::new(format!("{name:?}"), e))
    }

    fn vector(&mut self, name: TensorName, len: usize) -> std::result::Result<Tensor, ModelError> {
        let vector = self.weights.vector(name, len)?;
        self.compute.tensor(&vector).map_err(|e| ModelError::new(format!("{name:?}"), e))
    }

    fn norm(&mut self, name: TensorName, len: usize) -> std::result::Result<Norm, ModelError> {
        Ok(Norm { weight: self.vector(name, len)?, eps: self.shape.norm_eps as f32 })
    }

    fn block(&mut self, index: usize) -> std::result::Result<Block, ModelError> {
        use BlockTensor::*;
        let at = |tensor| TensorName::Block(index, tensor);
        let shape = self.shape;
        let (hidden, q, kv, ff) = (shape.hidden_size, shape.q_width(), shape.kv_width(), shape.intermediate_size);
        let mut projection = |weight, bias, rows| -> std::result::Result<Projection, ModelError> {
            Ok(Projection {
                weight: self.matrix(at(weight), rows, hidden)?,
                bias: match shape.qkv_bias {
                    true => Some(self.vector(at(bias), rows)?),
                    false => None,
                },
            })
        };
        let (query, key, value) =
            (projection(Query, QueryBias, q)?, projection(Key, KeyBias, kv)?, projection(Value, ValueBias, kv)?);
        let mut head_norm = |tensor| match shape.qk_norm {
            true => self.norm(at(tensor), shape.head_dim).map(Some),
            false => Ok(None),
        };
        let (query_norm, key_norm) = (head_norm(QueryNorm)?, head_norm(KeyNorm)?);
        Ok(Block {
            attention_norm: self.norm(at(AttentionNorm), hidden)?,
            query,
            key,
            value,
            query_norm,
            key_norm,
            attention_output: self.matrix(at(AttentionOutput), hidden, q)?,
            feed_forward_norm: self.norm(at(FeedForwardNorm), hidden)?,
            gate: self.matrix(at(Gate), ff, hidden)?,
            up: self.matrix(at(Up), ff, hidden)?,
            down: self.matrix(at(Down), hidden, ff)?,
            cache: None,
        })
    }
}

impl Decoder {
    /// Loads all weights at `quant` for `compute`. `progress(done, blocks)` is told after each block.
    pub fn load(
        shape: &ModelShape,
        weights: &mut dyn WeightSource,
        quant: Quant,
        rope_divisors: Option<Vec<f32>>,
        compute: Compute,
        progress: &mut dyn FnMut(usize, usize),
    ) -> std::result::Result<Self, ModelError> {
        let mut loader = Loader { weights, shape, quant, compute: &compute, encodings: Vec::new() };
        let (vocab, hidden) = (shape.vocab_size, shape.hidden_size);
        let embedding = loader.matrix(TensorName::TokenEmbedding, vocab, hidden)?;
        let mut blocks = Vec::with_capacity(shape.layers);
        for index in 0..shape.layers {
            blocks.push(loader.block(index)?);
            progress(index + 1, shape.layers);
        }
        let output_norm = loader.norm(TensorName::OutputNorm, hidden)?;
        let output = match shape.tied_embeddings {
            true => None,
            false => Some(loader.matrix(TensorName::Output, vocab, hidden)?),
        };
        let encodings = loader.encodings;
        let empty =
            Tensor::zeros((0, shape.head_dim / 2), DType::F32, &Device::Cpu).map_err(|e| ModelError::new("rope", e))?;
        Ok(Self {
            shape: shape.clone(),
            compute,
            embedding,
            blocks,
            output_norm,
            output,
            rope_divisors,
            rope: (empty.clone(), empty),
            filled: 0,
            capacity: 0,
            encodings,
        })
    }

    /// Makes room for `batch` sequences of up to `capacity` positions, kept in `kind`, and empties the cache. candle's own
    /// kernels keep keys and values in the type that they compute in.
    pub fn allocate(&mut self, batch: usize, capacity: usize, kind: CacheType) -> Result<()> {
        let shape = (batch, self.shape.kv_heads, capacity, self.shape.head_dim);
        for block in &mut self.blocks {
            block.cache = None;
        }
        for block in &mut self.blocks {
            let zeros = || Tensor::zeros(shape, self.compute.dtype, &self.compute.device);
            block.cache = Some(match self.compute.kernels {
                Kernels::Own => Cache::Own(KvCache::new(kind, shape)),
                Kernels::Candle => Cache::Candle(zeros()?, zeros()?),
            });
        }
        let (cos, sin) = tables(&self.shape, self.rope_divisors.as_deref(), capacity)?;
        self.rope = (self.compute.tensor(&cos)?, self.compute.tensor(&sin)?);
        self.capacity = capacity;
        self.filled = 0;
        Ok(())
    }

    /// Forgets the sequences but keeps the room.
    pub fn reset(&mut self) {
        self.filled = 0;
    }

    /// Runs `tokens: (batch, seq)` behind what the cache holds.
    pub fn forward(&mut self, tokens: &Tensor, logits: Logits) -> Result<Tensor> {
        let (_, seq) = tokens.dims2()?;
        let mut x = self.residual(tokens)?;
        if logits == Logits::Last && seq > 1 {
            x = x.narrow(1, seq - 1, 1)?.contiguous()?;
        }
        let y = self.head(&self.output_norm.forward(&x, self.compute.kernels)?)?;
        match logits {
            Logits::Last => y.squeeze(1),
            Logits::All => Ok(y),
        }
    }

    /// What the last block leaves of `tokens: (batch, seq)`, normed: `(batch, seq, hidden)`, for [`Decoder::head`].
    pub fn hidden(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let x = self.residual(tokens)?;
        self.output_norm.forward(&x, self.compute.kernels)
    }

    /// The logits of normed hidden states: `(.., hidden)` to `(.., vocab)`.
    pub fn head(&self, x: &Tensor) -> Result<Tensor> {
        self.output.as_ref().unwrap_or(&self.embedding).forward(x)
    }

    /// The residual stream behind all blocks.
    fn residual(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let (_, seq) = tokens.dims2()?;
        let position = self.position(seq)?;
        let mut x = self.embedding.embed(tokens)?;
        for block in &mut self.blocks {
            x = block.forward(&x, &self.shape, &position, &mut |_, _| Ok(()))?;
        }
        self.filled += seq;
        Ok(x)
    }

    /// Runs pieces of sequences of different lengths in one pass, each behind what its row of the cache holds. Gives the
    /// logits `(pieces that are sampled, vocab)` behind the last token of those.
    pub fn forward_segments(&mut self, segments: &[Segment<'_>]) -> Result<Tensor> {
        let flat: Vec<u32> = segments.iter().flat_map(|segment| segment.tokens.iter().copied()).collect();
        let count = flat.len();
        let input = Tensor::from_vec(flat, (1, count), &self.compute.device)?;
        let ragged = Ragged::new(segments, self.capacity)?;
        let positions = Tensor::from_vec(ragged.positions(), ragged.tokens(), &self.compute.device)?;
        let rope = (self.rope.0.index_select(&positions, 0)?, self.rope.1.index_select(&positions, 0)?);
        let ends = Tensor::from_vec(ragged.sampled_ends(), ragged.sampled(), &self.compute.device)?;
        let kernels = self.compute.kernels;
        let position = Position { kernels, past: 0, rope, mask: None, ragged: Some(ragged) };
        let mut x = self.embedding.embed(&input)?;
        for block in &mut self.blocks {
            x = block.forward(&x, &self.shape, &position, &mut |_, _| Ok(()))?;
        }
        let x = x.squeeze(0)?.index_select(&ends, 0)?.unsqueeze(0)?;
        self.head(&self.output_norm.forward(&x, self.compute.kernels)?)?.squeeze(0)
    }

    /// What the next `seq` positions share.
    pub(in crate::engine) fn position(&self, seq: usize) -> Result<Position> {
        let past = self.filled;
        if past + seq > self.capacity {
            bail!("{} positions do not fit a cache of {}", past + seq, self.capacity);
        }
        let mask = match self.compute.kernels {
            Kernels::Own => None,
            Kernels::Candle => ops::mask(seq, past, self.shape.sliding_window, &self.compute.device)?,
        };
        let rope = (self.rope.0.narrow(0, past, seq)?, self.rope.1.narrow(0, past, seq)?);
        Ok(Position { kernels: self.compute.kernels, past, rope, mask, ragged: None })
    }

    /// Bytes of the matrices as stored.
    pub fn matrix_bytes(&self) -> Bytes {
        let blocks: usize = self.blocks.iter().flat_map(Block::matrices).map(Linear::bytes).sum();
        let output = self.output.as_ref().map_or(0, Linear::bytes);
        Bytes((blocks + output + self.embedding.bytes()) as f64)
    }

    /// How many weights of the matrices are stored in each encoding.
    pub fn stored(&self) -> Vec<(Encoding, usize)> {
        let mut stored: Vec<(Encoding, usize)> = Vec::new();
        let matrices = self.blocks.iter().flat_map(Block::matrices).chain(&self.output).chain([&self.embedding]);
        for (encoding, weights) in matrices.map(Linear::stored) {
            match stored.iter_mut().find(|(known, _)| *known == encoding) {
                Some((_, count)) => *count += weights,
                None => stored.push((encoding, weights)),
            }
        }
        stored
    }

    /// Bytes of the matrices that one decode step reads: all but an embedding that is not also the output.
    pub fn decode_matrix_bytes(&self) -> Bytes {
        match self.output {
            Some(_) => Bytes(self.matrix_bytes().0 - self.embedding.bytes() as f64),
            None => self.matrix_bytes(),
        }
    }
}

/// What products of a block read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Reads {
    /// Query, key and value.
    AttentionNorm,
    /// The output of attention.
    Attention,
    /// Gate and up.
    FeedForwardNorm,
    /// Down.
    Gated,
}

/// Is shown activations on their way.
pub(in crate::engine) type Look<'a> = &'a mut dyn FnMut(Reads, &Tensor) -> Result<()>;

/// What all blocks of one pass share.
pub(in crate::engine) struct Position {
    kernels: Kernels,
    /// Positions in the cache before these.
    past: usize,
    /// Cosines and sines of these.
    rope: (Tensor, Tensor),
    /// What each of them sees, for candle's kernels.
    mask: Option<Tensor>,
    /// Sequences of different lengths, one behind the other in a batch of one.
    ragged: Option<Ragged>,
}

impl Block {
    fn matrices(&self) -> impl Iterator<Item = &Linear> {
        [
            &self.query.weight,
            &self.key.weight,
            &self.value.weight,
            &self.attention_output,
            &self.gate,
            &self.up,
            &self.down,
        ]
        .into_iter()
    }

    /// `look` is shown what each of the products reads.
    pub(in crate::engine) fn forward(
        &mut self,
        x: &Tensor,
        shape: &ModelShape,
        position: &Position,
        look: Look<'_>,
    ) -> Result<Tensor> {
        let kernels = position.kernels;
        let normed = self.attention_norm.forward(x, kernels)?;
        look(Reads::AttentionNorm, &normed)?;
        let attended = self.attend(&normed, shape, position)?;
        look(Reads::Attention, &attended)?;
        let x = (x + self.attention_output.forward(&attended)?)?;
        let normed = self.feed_forward_norm.forward(&x, kernels)?;
        look(Reads::FeedForwardNorm, &normed)?;
        x + self.feed_forward(&normed, kernels, look)?
    }

    /// `down(silu(gate x) * up x)`, a few hundred rows at a time: what is between the products is the widest of all, and
    /// many rows of it would leave the caches and, in the end, the allocator.
    fn feed_forward(&self, x: &Tensor, kernels: Kernels, look: Look<'_>) -> Result<Tensor> {
        const ROWS: usize = 512;
        let (batch, seq, hidden) = x.dims3()?;
        let rows = batch * seq;
        if kernels == Kernels::Own && rows > ROWS {
            let flat = x.reshape((1, rows, hidden))?;
            let pieces = (0..rows).step_by(ROWS).map(|first| {
                let piece = flat.narrow(1, first, ROWS.min(rows - first))?;
                self.feed_forward(&piece, kernels, &mut *look)
            });
            return Tensor::cat(&pieces.collect::<Result<Vec<_>>>()?, 1)?.reshape((batch, seq, hidden));
        }
        let [gate, up] = Linear::forward_all([&self.gate, &self.up], x)?;
        let gated = match kernels {
            Kernels::Own => rows::swiglu(&gate, &up)?,
            Kernels::Candle => (silu(&gate)? * up)?,
        };
        look(Reads::Gated, &gated)?;
        self.down.forward(&gated)
    }

    /// Attention of `(batch, seq, hidden)` before its output matrix, the new keys and values written into the cache first.
    fn attend(&mut self, x: &Tensor, shape: &ModelShape, position: &Position) -> Result<Tensor> {
        let (cos, sin) = &position.rope;
        let (batch, seq, _) = x.dims3()?;
        let Position { kernels, past, mask, ragged, .. } = position;
        let heads = |t: Tensor, count| t.reshape((batch, seq, count, shape.head_dim));
        let turned = |t: Tensor, norm: &Option<Norm>| {
            let t = match norm {
                Some(norm) => norm.forward(&t, *kernels)?,
                None => t,
            };
            match kernels {
                Kernels::Own => rope(&t, cos, sin),
                Kernels::Candle => rope_thd(&t, cos, sin),
            }
        };
        let [q, k, v] = Linear::forward_all([&self.query.weight, &self.key.weight, &self.value.weight], x)?;
        let q = turned(heads(self.query.biased(q)?, shape.heads)?, &self.query_norm)?;
        let k = turned(heads(self.key.biased(k)?, shape.kv_heads)?, &self.key_norm)?;
        let v = heads(self.value.biased(v)?, shape.kv_heads)?;
        let Some(cache) = &mut self.cache else {
            bail!("no cache has been allocated");
        };
        if let Some(ragged) = ragged {
            return ragged.attend((&q, &k, &v), cache, shape);
        }
        let window = shape.sliding_window;
        match cache {
            Cache::Own(cache) => {
                let places = Places::All(*past);
                cache.write(&k, &v, &places)?;
                let scale = 1.0 / (shape.head_dim as f32).sqrt();
                q.apply_op1_no_bwd(&CachedAttention { cache, places, scale, window, both_ways: false })
            }
            Cache::Candle(keys, values) => {
                keys.slice_set(&k.transpose(1, 2)?.contiguous()?, 2, *past)?;
                values.slice_set(&v.transpose(1, 2)?.contiguous()?, 2, *past)?;
                ops::attention(&q, (keys, values), *past, window, mask.as_ref())
            }
        }
    }
}
