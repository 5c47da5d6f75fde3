//! What computes: the project's kernels of the CPU and of NVIDIA cards, and candle's own to compare with. The few operations
//! that the parts of a model need are a trait; whoever computes them runs every model.

pub mod cpu;
pub mod cuda;
pub mod greedy;
pub mod linear;
pub mod ops;
pub mod tensors;
pub mod threads;

use crate::workload::CacheType;
use crate::workload::model::parts::{Activation, Attention, NormKind};
use candle_core::{Result, Tensor};
use linear::{Layout, Linear};

/// A norm with its weights.
pub struct Norm<V> {
    /// How it norms.
    pub kind: NormKind,
    /// What each number is multiplied by.
    pub weight: V,
    /// What is added behind, of a layer norm.
    pub bias: Option<V>,
    /// What keeps it from dividing by nothing.
    pub eps: f32,
}

/// A matrix with an optional bias.
pub struct Projection<M, V> {
    /// `(outputs, inputs)`.
    pub weight: M,
    /// One number for each output.
    pub bias: Option<V>,
}

/// A projection of a backend.
pub type ProjectionOf<B> = Projection<<B as Backend>::Matrix, <B as Backend>::Vector>;

/// The operations that the parts of a model are made of. Rows are activations: `(batch, positions, width)`.
pub trait Backend {
    /// A weight matrix as its products take it.
    type Matrix;
    /// A norm or bias.
    type Vector;
    /// Activations.
    type Rows: Clone;
    /// Keys and values of the sequences of one block.
    type Cache;
    /// What all blocks of one pass share: which positions it is of, and how they turn.
    type Pass;

    /// How it takes matrices from files.
    fn layout(&self) -> Layout;

    /// A matrix that was read in [`Backend::layout`].
    fn matrix(&self, loaded: Linear) -> Result<Self::Matrix>;

    /// A vector or small table of `f32`.
    fn vector(&self, values: &Tensor) -> Result<Self::Vector>;

    /// Room for `batch` sequences of up to `capacity` positions of one block, empty.
    fn cache(&self, attention: &Attention, batch: usize, capacity: usize, kind: CacheType) -> Result<Self::Cache>;

    /// The rows of `ids: (batch, positions)` of a table.
    fn embed(&self, table: &Self::Matrix, ids: &Tensor) -> Result<Self::Rows>;

    /// Each number times `factor`.
    fn scale(&self, x: &Self::Rows, factor: f32) -> Result<Self::Rows>;

    /// The sum of the residual stream and what a part adds to it.
    fn add(&self, x: &Self::Rows, addend: &Self::Rows) -> Result<Self::Rows>;

    /// Each row normed.
    fn norm(&self, x: &Self::Rows, norm: &Norm<Self::Vector>) -> Result<Self::Rows>;

    /// The products of several matrices with the same rows, their biases added.
    fn products(&self, projections: &[&ProjectionOf<Self>], x: &Self::Rows) -> Result<Vec<Self::Rows>>;

    /// Attention before its output matrix. Heads of query and key are normed by `norms` where there are some and turned; keys
    /// and values are written into `cache` first, where what was before is seen.
    fn attend(
        &self,
        attention: &Attention,
        query_key_value: [Self::Rows; 3],
        norms: [Option<&Norm<Self::Vector>>; 2],
        cache: Option<&mut Self::Cache>,
        pass: &Self::Pass,
    ) -> Result<Self::Rows>;

    /// The activation of `x`, or of `gate` times `x` where the part is gated.
    fn activate(&self, activation: Activation, gate: Option<&Self::Rows>, x: &Self::Rows) -> Result<Self::Rows>;

    /// Rows that go through a feed-forward part at once: what is between its matrices is the widest of all.
    fn rows_at_once(&self) -> Option<usize>;
}
