//! Models that run: the parts of a family, loaded onto whatever computes.

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

pub use pass::{ActivationHook, Logits, ProductInput};

use super::backend::linear::Linear;
use super::backend::ops::Compute;
use super::backend::tensors::RotaryTables;
use super::backend::{Backend, Norm, Projection, ProjectionOf};
use super::weights::{ModelError, WeightSource};
use crate::units::Bytes;
use crate::workload::model::parts::{BlockParts, Embedding, Head, NormKind, Parts, Rotary};
use crate::workload::model::shape::ImageShape;
use crate::workload::model::tensors::{BlockTensor, TensorName, TensorSpec};
use crate::workload::{Encoding, ModelShape, Quant};
use candle_core::Tensor;
use std::collections::{BTreeMap, HashMap};

/// The weights of one block.
pub struct Block<B: Backend> {
    /// What it is made of.
    pub parts: BlockParts,
    matrices: BTreeMap<BlockTensor, ProjectionOf<B>>,
    norms: BTreeMap<BlockTensor, Norm<B::Vector>>,
    /// Keys and values.
    cache: Option<B::Cache>,
}

impl<B: Backend> Block<B> {
    /// One of its matrices that a block of its parts has.
    fn matrix(&self, tensor: BlockTensor) -> candle_core::Result<&ProjectionOf<B>> {
        match self.matrices.get(&tensor) {
            Some(matrix) => Ok(matrix),
            None => candle_core::bail!("the block has no {tensor:?}"),
        }
    }
}

/// What inputs become before the first block.
enum InputEmbedding<B: Backend> {
    Tokens { table: B::Matrix, scale: Option<f32>, learned: Option<(Tensor, Norm<B::Vector>)> },
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
    output: Option<ProjectionOf<B>>,
    /// Divisors of the rotary frequencies that came with the weights.
    rope_divisors: Option<Vec<f32>>,
    /// How the positions of the cache turn, by each way that blocks have.
    rotary_tables: Vec<(Rotary, RotaryTables)>,
    /// Positions that the cache holds.
    filled: usize,
    capacity: usize,
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

type Loaded<T> = std::result::Result<T, ModelError>;

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
    fn spec(&self, name: TensorName) -> Loaded<TensorSpec> {
        let missing = || ModelError::new(self.shape.architecture.name(), format!("a model of it has no {name:?}"));
        self.specs.get(&name).cloned().ok_or_else(missing)
    }

    fn matrix(&mut self, name: TensorName) -> Loaded<B::Matrix> {
        let (rows, cols) = self.spec(name)?.rows_and_cols();
        let (linear, encoding) = self.weights.matrix(name, rows, cols, (self.quant, self.backend.layout()))?;
        count_encoding(&mut self.encodings, encoding);
        self.backend.matrix(linear).map_err(fail(name))
    }

    fn tensor(&mut self, name: TensorName) -> Loaded<Tensor> {
        let dims = self.spec(name)?.dims;
        self.weights.tensor(name, &dims)
    }

    fn vector(&mut self, name: TensorName) -> Loaded<B::Vector> {
        let tensor = self.tensor(name)?;
        self.backend.vector(&tensor).map_err(fail(name))
    }

    /// The vector of a tensor, where the model has it.
    fn optional(&mut self, name: TensorName) -> Loaded<Option<B::Vector>> {
        self.specs.contains_key(&name).then(|| self.vector(name)).transpose()
    }

    fn norm(&mut self, kind: NormKind, weight: TensorName, bias: TensorName) -> Loaded<Norm<B::Vector>> {
        Ok(Norm {
            kind,
            weight: self.vector(weight)?,
            bias: if kind == NormKind::Layer { Some(self.vector(bias)?) } else { None },
            eps: self.shape.norm_eps as f32,
        })
    }

    fn projection(&mut self, weight: TensorName, bias: TensorName) -> Loaded<ProjectionOf<B>> {
        Ok(Projection { weight: self.matrix(weight)?, bias: self.optional(bias)? })
    }

    fn block(&mut self, index: usize, parts: BlockParts) -> Loaded<Block<B>> {
        use BlockTensor::*;
        let at = |tensor| TensorName::Block(index, tensor);
        let with_biases = [
            (Query, QueryBias),
            (Key, KeyBias),
            (Value, ValueBias),
            (AttentionOutput, AttentionOutputBias),
            (Gate, GateBias),
            (Up, UpBias),
            (Down, DownBias),
        ];
        let mut matrices = BTreeMap::new();
        for (weight, bias) in with_biases.into_iter().filter(|(weight, _)| *weight != Gate || parts.feed_forward.gated)
        {
            matrices.insert(weight, self.projection(at(weight), at(bias))?);
        }
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
            if self.specs.contains_key(&at(weight)) {
                norms.insert(weight, self.norm(kind, at(weight), at(bias))?);
            }
        }
        Ok(Block { parts, matrices, norms, cache: None })
    }

    fn begin(&mut self) -> Loaded<InputEmbedding<B>> {
        match self.parts.embedding {
            Embedding::Tokens { scale, learned, .. } => {
                let table = self.matrix(TensorName::TokenEmbedding)?;
                let learned = match learned {
                    Some(_) => Some(self.learned()?),
                    None => None,
                };
                Ok(InputEmbedding::Tokens { table, scale, learned })
            }
            Embedding::Patches(image) => Ok(InputEmbedding::Patches(Box::new(self.patches(image)?))),
        }
    }

    /// Positions with the first type of tokens added, the only one that an engine without pairs of texts needs, and the norm of
    /// the sum with the token's.
    fn learned(&mut self) -> Loaded<(Tensor, Norm<B::Vector>)> {
        let positions = self.tensor(TensorName::Positions)?;
        let types = self.tensor(TensorName::TokenTypes)?;
        let sum = types.narrow(0, 0, 1).and_then(|first| positions.broadcast_add(&first));
        let norm = self.norm(self.parts.norm, TensorName::EmbeddingNorm, TensorName::EmbeddingNormBias)?;
        Ok((sum.map_err(fail(TensorName::TokenTypes))?, norm))
    }

    fn patches(&mut self, image: ImageShape) -> Loaded<images::Patches<B>> {
        let name = TensorName::PatchPositions;
        Ok(images::Patches {
            shape: image,
            matrix: self.projection(TensorName::Patches, TensorName::PatchesBias)?,
            class_token: self.tensor(TensorName::ClassToken)?,
            positions: self.tensor(name)?.squeeze(0).map_err(fail(name))?,
            resized: None,
        })
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
    ) -> Loaded<Self> {
        let parts = shape.parts();
        let specs = shape.tensors().into_iter().map(|spec| (spec.name, spec)).collect();
        let mut loader =
            Loader { weights, shape, parts: &parts, quant, backend: &backend, encodings: Vec::new(), specs };
        let begin = loader.begin()?;
        let mut blocks = Vec::with_capacity(shape.layers);
        let of_layers = parts.blocks.iter().flat_map(|(block, count)| std::iter::repeat_n(*block, *count));
        for (index, block) in of_layers.enumerate() {
            blocks.push(loader.block(index, block)?);
            progress(index + 1, shape.layers);
        }
        let final_norm = match parts.final_norm {
            true => Some(loader.norm(parts.norm, TensorName::OutputNorm, TensorName::OutputNormBias)?),
            false => None,
        };
        let output = match parts.head {
            Head::Tokens | Head::Classes(_) => Some(loader.projection(TensorName::Output, TensorName::OutputBias)?),
            Head::TiedTokens | Head::Pooled => None,
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
            rotary_tables: Vec::new(),
            filled: 0,
            capacity: 0,
            encodings,
        })
    }

    /// The table that tokens are looked up in, of models that take tokens.
    fn table(&self) -> Option<&B::Matrix> {
        match &self.begin {
            InputEmbedding::Tokens { table, .. } => Some(table),
            InputEmbedding::Patches(_) => None,
        }
    }
}

impl Block<Compute> {
    /// Its matrices, in the order of their names.
    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.matrices.values().map(|projection| &projection.weight)
    }
}

impl Model<Compute> {
    /// All matrices.
    fn linears(&self) -> impl Iterator<Item = &Linear> {
        let patches = match &self.begin {
            InputEmbedding::Patches(patches) => Some(&patches.matrix.weight),
            InputEmbedding::Tokens { .. } => None,
        };
        let output = self.output.iter().map(|output| &output.weight);
        self.blocks.iter().flat_map(Block::linears).chain(output).chain(patches).chain(self.table())
    }

    /// Bytes of the matrices as stored.
    pub fn matrix_bytes(&self) -> Bytes {
        Bytes(self.linears().map(Linear::bytes).sum::<usize>() as f64)
    }

    /// How many weights of the matrices are stored in each encoding.
    pub fn stored(&self) -> Vec<(Encoding, usize)> {
        let mut stored: Vec<(Encoding, usize)> = Vec::new();
        for (encoding, weights) in self.linears().map(Linear::stored) {
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
        let looked_up = if self.output.is_some() { self.table().map_or(0, Linear::bytes) } else { 0 };
        Bytes(self.matrix_bytes().0 - looked_up as f64)
    }
}
