//! Models that run: the parts of a family, loaded onto whatever computes.

pub mod computed;
pub mod images;
mod pass;
pub(super) mod prune;
pub mod ragged;
#[cfg(feature = "reference")]
pub mod reference;
#[cfg(not(feature = "reference"))]
#[path = "without_reference.rs"]
pub mod reference;
pub(super) mod rope;
mod tensors;

pub use super::backend::ProductInput;
pub use pass::ActivationHook;
pub use tensors::{CachedPositions, Logits};

use super::backend::ops::Compute;
use super::backend::{Backend, HeldMatrix, Norm};
use super::weights::{ModelError, WeightSource};
use crate::units::Bytes;
use crate::workload::model::parts::{Embedding, Head, NormKind, Parts};
use crate::workload::model::shape::ImageShape;
use crate::workload::model::tensors::{BlockTensor, TensorName, TensorSpec};
use crate::workload::{Encoding, ModelShape, Quant};
use candle_core::Tensor;
use computed::ComputedBlock;
use std::collections::{BTreeMap, HashMap};

/// The matrices of one block, those with the same input together.
pub(in crate::engine) struct BlockMatrices<M> {
    /// Query, key and value.
    pub inputs: M,
    /// What attention goes through.
    pub attention_output: M,
    /// Gate, where the part is gated, and up.
    pub gate_up: M,
    /// What is between goes through.
    pub down: M,
}

impl<M> BlockMatrices<M> {
    /// All of them.
    pub(in crate::engine) fn each(&self) -> [&M; 4] {
        [&self.inputs, &self.attention_output, &self.gate_up, &self.down]
    }
}

/// The weights of one block.
pub struct Block<B: Backend> {
    /// What it is made of.
    pub parts: ComputedBlock,
    pub(in crate::engine) matrices: BlockMatrices<B::Matrices>,
    norms: BTreeMap<BlockTensor, Norm<B::Vector>>,
    /// Keys and values.
    pub(in crate::engine) cache: Option<B::Cache>,
}

/// What inputs become before the first block.
enum InputEmbedding<B: Backend> {
    Tokens { table: B::Matrices, scale: Option<f32>, learned: Option<(B::Vector, Norm<B::Vector>)> },
    Patches(Box<images::Patches<B>>),
}

/// A model with its weights.
pub struct Model<B: Backend> {
    pub(in crate::engine) shape: ModelShape,
    pub(in crate::engine) backend: B,
    begin: InputEmbedding<B>,
    pub(in crate::engine) blocks: Vec<Block<B>>,
    final_norm: Option<Norm<B::Vector>>,
    /// Absent where it is the embedding, or where hidden states are pooled.
    output: Option<B::Matrices>,
    /// Divisors of the rotary frequencies that came with the weights.
    pub(in crate::engine) rope_divisors: Option<Vec<f32>>,
    /// How the positions of the cache turn, and how many there are.
    pub(in crate::engine) positions: B::Positions,
    /// How many matrices got each encoding.
    pub encodings: Vec<(Encoding, usize)>,
}

/// A model on candle's tensors, by the project's kernels of the CPU or by candle's.
pub type Decoder = Model<Compute>;

/// Counts one more matrix of `encoding`.
pub(in crate::engine) fn count_encoding(encodings: &mut Vec<(Encoding, usize)>, encoding: Encoding) {
    match encodings.iter_mut().find(|(known, _)| *known == encoding) {
        Some((_, count)) => *count += 1,
        None => encodings.push((encoding, 1)),
    }
}

/// What was read.
type Read<T> = std::result::Result<T, ModelError>;

/// What was read and brought to where it is computed with.
type Loaded<B, T> = std::result::Result<T, <B as Backend>::LoadError>;

/// Loads the tensors of a model and counts the encodings of its matrices.
struct Loader<'a, B: Backend> {
    weights: &'a mut dyn WeightSource,
    shape: &'a ModelShape,
    parts: &'a Parts,
    quant: Quant,
    backend: &'a B,
    encodings: Vec<(Encoding, usize)>,
    /// The tensors that the model has.
    specs: HashMap<TensorName, TensorSpec>,
}

fn fail(name: TensorName) -> impl Fn(candle_core::Error) -> ModelError {
    move |error| ModelError::new(format!("{name:?}"), error)
}

impl<B: Backend> Loader<'_, B> {
    fn spec(&self, name: TensorName) -> Read<TensorSpec> {
        let missing = || ModelError::new(self.shape.architecture.name(), format!("a model of it has no {name:?}"));
        self.specs.get(&name).cloned().ok_or_else(missing)
    }

    /// Matrices with the same input, and the biases that the model has of them.
    fn matrices(&mut self, names: &[(TensorName, Option<TensorName>)]) -> Loaded<B, B::Matrices> {
        let mut loaded = Vec::with_capacity(names.len());
        for (weight, bias) in names {
            let (rows, cols) = self.spec(*weight)?.rows_and_cols();
            let (linear, encoding) = self.weights.matrix(*weight, rows, cols, (self.quant, self.backend.layout()))?;
            count_encoding(&mut self.encodings, encoding);
            let bias = bias.filter(|bias| self.specs.contains_key(bias)).map(|bias| self.tensor(bias)).transpose()?;
            loaded.push((linear, bias));
        }
        let first = names.first().map_or(TensorName::Output, |(weight, _)| *weight);
        self.backend.matrices(loaded).map_err(|error| B::load_error(first, error))
    }

    fn tensor(&mut self, name: TensorName) -> Read<Tensor> {
        let dims = self.spec(name)?.dims;
        self.weights.tensor(name, &dims)
    }

    fn vector(&mut self, name: TensorName) -> Loaded<B, B::Vector> {
        let tensor = self.tensor(name)?;
        self.on_backend(name, &tensor)
    }

    fn on_backend(&self, name: TensorName, tensor: &Tensor) -> Loaded<B, B::Vector> {
        self.backend.vector(tensor).map_err(|error| B::load_error(name, error))
    }

    fn norm(&mut self, kind: NormKind, weight: TensorName, bias: TensorName) -> Loaded<B, Norm<B::Vector>> {
        Ok(Norm {
            kind,
            weight: self.vector(weight)?,
            bias: if kind == NormKind::Layer { Some(self.vector(bias)?) } else { None },
            eps: self.shape.norm_eps as f32,
        })
    }

    fn block(&mut self, index: usize, parts: ComputedBlock) -> Loaded<B, Block<B>> {
        use BlockTensor::*;
        let at = |(weight, bias)| (TensorName::Block(index, weight), Some(TensorName::Block(index, bias)));
        let gate_up = [(Gate, GateBias), (Up, UpBias)].map(at);
        let matrices = BlockMatrices {
            inputs: self.matrices(&[(Query, QueryBias), (Key, KeyBias), (Value, ValueBias)].map(at))?,
            attention_output: self.matrices(&[at((AttentionOutput, AttentionOutputBias))])?,
            gate_up: self.matrices(if parts.feed_forward.gated { &gate_up } else { &gate_up[1..] })?,
            down: self.matrices(&[at((Down, DownBias))])?,
        };
        let mut norms = BTreeMap::new();
        let kind = self.parts.norm;
        for (weight, bias, kind) in [
            (AttentionNorm, AttentionNormBias, kind),
            (FeedForwardNorm, FeedForwardNormBias, kind),
            (AttentionPostNorm, AttentionNormBias, kind),
            (FeedForwardPostNorm, FeedForwardNormBias, kind),
            (QueryNorm, QueryBias, NormKind::Rms),
            (KeyNorm, KeyBias, NormKind::Rms),
        ] {
            let name = TensorName::Block(index, weight);
            if self.specs.contains_key(&name) {
                norms.insert(weight, self.norm(kind, name, TensorName::Block(index, bias))?);
            }
        }
        Ok(Block { parts, matrices, norms, cache: None })
    }

    fn begin(&mut self) -> Loaded<B, InputEmbedding<B>> {
        match self.parts.embedding {
            Embedding::Tokens { scale, learned, .. } => {
                let table = self.matrices(&[(TensorName::TokenEmbedding, None)])?;
                let learned = match learned {
                    Some(_) => Some(self.learned()?),
                    None => None,
                };
                Ok(InputEmbedding::Tokens { table, scale, learned })
            }
            Embedding::Audio(_) | Embedding::Convolutions(_) => {
                Err(ModelError::new(self.shape.architecture.name(), computed::OTHER_INPUT).into())
            }
            Embedding::Patches(patches) => Ok(InputEmbedding::Patches(Box::new(self.patches(patches.image)?))),
        }
    }

    /// Positions with the first type of tokens added, the only one that an engine without pairs of texts needs, and the norm of
    /// the sum with the token's.
    fn learned(&mut self) -> Loaded<B, (B::Vector, Norm<B::Vector>)> {
        let positions = self.tensor(TensorName::Positions)?;
        let types = self.tensor(TensorName::TokenTypes)?;
        let sum = types.narrow(0, 0, 1).and_then(|first| positions.broadcast_add(&first));
        let norm = self.norm(self.parts.norm, TensorName::EmbeddingNorm, TensorName::EmbeddingNormBias)?;
        let sum = sum.map_err(fail(TensorName::TokenTypes))?;
        Ok((self.on_backend(TensorName::Positions, &sum)?, norm))
    }

    fn patches(&mut self, image: ImageShape) -> Loaded<B, images::Patches<B>> {
        let name = TensorName::PatchPositions;
        let matrices = self.matrices(&[(TensorName::Patches, Some(TensorName::PatchesBias))])?;
        let class_token = self.vector(TensorName::ClassToken)?;
        let table = self.tensor(name)?.squeeze(0).map_err(fail(name))?;
        let positions = self.on_backend(name, &table)?;
        Ok(images::Patches::new(image, matrices, class_token, table, positions))
    }
}

impl<B: Backend> Model<B> {
    /// Loads all weights at `quant` for `backend`. `progress(done, blocks)` is told after each block.
    pub fn load(
        shape: &ModelShape,
        weights: &mut dyn WeightSource,
        quant: Quant,
        rope_divisors: Option<Vec<f32>>,
        backend: B,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Loaded<B, Self> {
        let parts = shape.parts();
        let computed = computed::blocks(shape).map_err(|why| ModelError::new(shape.architecture.name(), why))?;
        let specs = shape.tensors().into_iter().map(|spec| (spec.name, spec)).collect();
        let mut loader =
            Loader { weights, shape, parts: &parts, quant, backend: &backend, encodings: Vec::new(), specs };
        let begin = loader.begin()?;
        let mut blocks = Vec::with_capacity(shape.layers);
        for (index, block) in computed.into_iter().enumerate() {
            blocks.push(loader.block(index, block)?);
            progress(index + 1, shape.layers);
        }
        let final_norm = if parts.final_norm {
            Some(loader.norm(parts.norm, TensorName::OutputNorm, TensorName::OutputNormBias)?)
        } else {
            None
        };
        let output = match parts.head {
            Head::Tokens | Head::Classes(_) | Head::Projection(_) => {
                Some(loader.matrices(&[(TensorName::Output, Some(TensorName::OutputBias))])?)
            }
            Head::TiedTokens | Head::Pooled | Head::AttentionPooled(_) | Head::Scores { .. } => None,
        };
        let encodings = loader.encodings;
        Ok(Self {
            shape: shape.clone(),
            backend,
            begin,
            blocks,
            final_norm,
            output,
            rope_divisors,
            positions: B::Positions::default(),
            encodings,
        })
    }

    /// The table that tokens are looked up in, of models that take tokens.
    pub(super) fn table(&self) -> Option<&B::Matrices> {
        match &self.begin {
            InputEmbedding::Tokens { table, .. } => Some(table),
            InputEmbedding::Patches(_) => None,
        }
    }

    /// The matrices that make logits.
    pub(in crate::engine) fn logits_matrices(&self) -> Option<&B::Matrices> {
        self.output.as_ref().or(self.table())
    }

    /// The matrices that all rows of a pass go through: those of blocks, and of patches.
    pub(in crate::engine) fn inner_matrices(&self) -> impl Iterator<Item = &B::Matrices> {
        let patches = match &self.begin {
            InputEmbedding::Patches(patches) => Some(&patches.matrices),
            InputEmbedding::Tokens { .. } => None,
        };
        self.blocks.iter().flat_map(|block| block.matrices.each()).chain(patches)
    }

    fn held(&self) -> impl Iterator<Item = HeldMatrix> {
        let all = self.inner_matrices().chain(&self.output).chain(self.table());
        all.flat_map(|matrices| self.backend.held(matrices))
    }

    /// Bytes of the matrices as stored.
    pub fn matrix_bytes(&self) -> Bytes {
        Bytes(self.held().map(|matrix| matrix.bytes).sum::<usize>() as f64)
    }

    /// How many weights of the matrices are stored in each encoding, most first.
    pub fn stored(&self) -> Vec<(Encoding, usize)> {
        let mut stored: Vec<(Encoding, usize)> = Vec::new();
        for HeldMatrix { encoding, weights, .. } in self.held() {
            match stored.iter_mut().find(|(known, _)| *known == encoding) {
                Some((_, count)) => *count += weights,
                None => stored.push((encoding, weights)),
            }
        }
        stored.sort_by_key(|(encoding, weights)| (std::cmp::Reverse(*weights), *encoding as usize));
        stored
    }

    /// Bytes of the matrices that one decode step reads: all but an embedding that is not also the output.
    pub fn decode_matrix_bytes(&self) -> Bytes {
        let looked_up = self.table().filter(|_| self.output.is_some());
        let bytes = looked_up.map_or(0, |table| self.backend.held(table).iter().map(|matrix| matrix.bytes).sum());
        Bytes(self.matrix_bytes().0 - bytes as f64)
    }
}
