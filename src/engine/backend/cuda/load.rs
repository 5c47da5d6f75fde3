//! Reading the tensors of a decoder and putting them on a card.

use super::ops::Strided;
use super::products::{Product, Width};
use super::weights::{Compute, Matrix, Packed};
use crate::device::cuda::{Buffer, Card, CudaError};
use crate::engine::backend::linear::Layout;
use crate::engine::model::count_encoding;
use crate::engine::weights::{ModelError, WeightSource};
use crate::workload::model::tensors::{BlockTensor, TensorName};
use crate::workload::{Encoding, ModelShape, Quant};

/// Why weights could not be put on the card.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// They could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The card refused.
    #[error(transparent)]
    Cuda(#[from] CudaError),
}

/// Matrices with the same input, stacked where they are stored alike.
pub(super) struct Stack {
    pub matrices: Vec<Matrix>,
    biases: Vec<Option<Buffer>>,
}

/// The weights of one block.
pub(super) struct Block {
    pub attention_norm: Buffer,
    /// Query, key and value.
    pub qkv: Stack,
    pub query_norm: Option<Buffer>,
    pub key_norm: Option<Buffer>,
    pub attention_output: Stack,
    pub feed_forward_norm: Buffer,
    /// Gate and up.
    pub gate_up: Stack,
    pub down: Stack,
}

impl Block {
    /// Its matrices.
    pub fn stacks(&self) -> [&Stack; 4] {
        [&self.qkv, &self.attention_output, &self.gate_up, &self.down]
    }
}

/// Reads tensors and puts them on the card.
pub(super) struct Loader<'a> {
    pub card: &'a Card,
    pub weights: &'a mut dyn WeightSource,
    pub quant: Quant,
    pub compute: Compute,
    pub encodings: Vec<(Encoding, usize)>,
}

impl Loader<'_> {
    pub fn packed(&mut self, name: TensorName, rows: usize, cols: usize) -> Result<Packed, LoadError> {
        let (linear, encoding) = self.weights.matrix(name, rows, cols, (self.quant, Layout::Rows))?;
        count_encoding(&mut self.encodings, encoding);
        Ok(Packed::new(&linear, rows, cols, self.compute)?)
    }

    pub fn norm(&mut self, name: TensorName, len: usize) -> Result<Buffer, LoadError> {
        let values = self.weights.vector(name, len)?.to_vec1::<f32>().map_err(|e| ModelError::new("a norm", e))?;
        Ok(self.card.with(&values)?)
    }

    fn bias(&mut self, name: TensorName, len: usize) -> Result<Vec<u16>, LoadError> {
        let values = self.weights.vector(name, len)?;
        Ok(self.compute.bits(&values).map_err(|e| ModelError::new("a bias", e))?)
    }

    /// Matrices of `(rows, cols)`, with the bias of each where it has one.
    fn stack(
        &mut self,
        cols: usize,
        parts: &[(TensorName, usize)],
        biases: Option<&[TensorName]>,
    ) -> Result<Stack, LoadError> {
        let packed = parts.iter().map(|(name, rows)| self.packed(*name, *rows, cols)).collect::<Result<Vec<_>, _>>()?;
        let mut own = Vec::new();
        for (name, (_, rows)) in biases.unwrap_or_default().iter().zip(parts) {
            own.push(self.bias(*name, *rows)?);
        }
        Stack::new(self.card, packed, own)
    }

    pub fn block(&mut self, shape: &ModelShape, index: usize) -> Result<Block, LoadError> {
        use BlockTensor::*;
        let at = |tensor| TensorName::Block(index, tensor);
        let (hidden, q, kv, ff) = (shape.hidden_size, shape.q_width(), shape.kv_width(), shape.intermediate_size);
        let biases = [at(QueryBias), at(KeyBias), at(ValueBias)];
        let biases = shape.qkv_bias.then_some(biases.as_slice());
        let qkv = self.stack(hidden, &[(at(Query), q), (at(Key), kv), (at(Value), kv)], biases)?;
        let mut head_norm = |tensor| match shape.qk_norm {
            true => self.norm(at(tensor), shape.head_dim).map(Some),
            false => Ok(None),
        };
        let (query_norm, key_norm) = (head_norm(QueryNorm)?, head_norm(KeyNorm)?);
        Ok(Block {
            attention_norm: self.norm(at(AttentionNorm), hidden)?,
            qkv,
            query_norm,
            key_norm,
            attention_output: self.stack(q, &[(at(AttentionOutput), hidden)], None)?,
            feed_forward_norm: self.norm(at(FeedForwardNorm), hidden)?,
            gate_up: self.stack(hidden, &[(at(Gate), ff), (at(Up), ff)], None)?,
            down: self.stack(ff, &[(at(Down), hidden)], None)?,
        })
    }
}

impl Stack {
    /// Puts `parts` on the card, with the bias of each where there are any.
    pub fn new(card: &Card, parts: Vec<Packed>, biases: Vec<Vec<u16>>) -> Result<Self, LoadError> {
        let count = parts.len();
        let packed = Packed::stacked(parts);
        let biases = match (biases.is_empty(), packed.len() == count) {
            (true, _) => packed.iter().map(|_| None).collect(),
            (false, true) => biases.iter().map(|bias| card.with(bias).map(Some)).collect::<Result<_, _>>()?,
            (false, false) => vec![Some(card.with(&biases.concat())?)],
        };
        let matrices = packed.iter().map(|packed| packed.upload(card)).collect::<Result<_, _>>()?;
        Ok(Self { matrices, biases })
    }

    /// Where each of `parts` begins in a workspace of `rows` rows from `at` on, and how far apart its rows are.
    pub fn places(&self, at: u64, rows: usize, parts: &[usize]) -> Vec<Strided> {
        let mut before = 0;
        let stacked = self.matrices.len() < parts.len();
        let width: usize = parts.iter().sum();
        parts
            .iter()
            .map(|part| {
                // Stacked, the parts share each row; apart, each has rows of its own behind those of the others.
                let place = match stacked {
                    true => Strided { at: at + 2 * before as u64, stride: width },
                    false => Strided { at: at + 2 * (before * rows) as u64, stride: *part },
                };
                before += part;
                place
            })
            .collect()
    }

    pub fn products(&self, at: u64, rows: usize) -> Vec<Product<'_>> {
        let mut y = at;
        self.matrices
            .iter()
            .zip(&self.biases)
            .map(|(matrix, bias)| {
                let product = Product { matrix, bias: bias.as_ref(), y, width: Width::Half };
                y += 2 * (rows * matrix.rows) as u64;
                product
            })
            .collect()
    }
}
