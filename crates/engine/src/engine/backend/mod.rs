//! What computes: the project's kernels of the CPU and of NVIDIA cards, and candle's own to compare with. The few operations
//! that the parts of a model need are a trait; whoever computes them runs every model.

pub mod cpu;
pub mod cuda;
pub mod greedy;
pub mod linear;
pub mod ops;
pub mod tensors;
pub mod threads;

use crate::engine::weights::ModelError;
use crate::workload::Encoding;
use crate::workload::model::parts::{Activation, Attention, NormKind};
use crate::workload::model::tensors::TensorName;
use candle_core::Tensor;
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

/// What a product of matrices reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductInput {
    /// Query, key and value.
    AttentionNorm,
    /// The output of attention.
    Attention,
    /// Gate and up.
    FeedForwardNorm,
    /// Down.
    Gated,
    /// The pixels of patches.
    Patches,
    /// The rows that logits are made of.
    Head,
}

/// Which positions of each sequence go on to the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// Every one.
    All,
    /// The first.
    First,
    /// The last.
    Last,
}

/// A matrix in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldMatrix {
    /// How most of its weights are stored.
    pub encoding: Encoding,
    /// How many weights it has.
    pub weights: usize,
    /// Bytes that they take.
    pub bytes: usize,
}

/// What is made of a few rows of a pass.
pub type PieceWork<'a, B> =
    &'a mut dyn FnMut(&<B as Backend>::Rows) -> Result<<B as Backend>::Rows, <B as Backend>::Error>;

/// The operations that the parts of a model are made of. What a pass carries along the blocks is a stream of
/// `(batch, positions, width)`, to which each part adds; rows are what parts read and make of it.
///
/// A backend may put off an addition until the norm that follows it, as one kernel does both.
pub trait Backend {
    /// Why it could not compute.
    type Error: std::error::Error + From<candle_core::Error>;
    /// Why weights could not be brought to where it computes.
    type LoadError: From<ModelError>;
    /// Weight matrices with the same input, and their biases.
    type Matrices;
    /// A norm, or a small table of `f32`.
    type Vector;
    /// Tokens or patches as a pass begins with them.
    type Input;
    /// The residual stream.
    type Stream;
    /// Activations.
    type Rows;
    /// Keys and values of the sequences of one block.
    type Cache;
    /// What all blocks of one pass share: which positions it is of, and how they turn.
    type Pass;
    /// What a model remembers of positions from pass to pass.
    type Positions: Default;

    /// How it takes matrices from files.
    fn layout(&self) -> Layout;

    /// Matrices that were read in [`Backend::layout`], with the bias of each that has one.
    fn matrices(&self, loaded: Vec<(Linear, Option<Tensor>)>) -> Result<Self::Matrices, Self::Error>;

    /// A vector or small table of `f32`.
    fn vector(&self, values: &Tensor) -> Result<Self::Vector, Self::Error>;

    /// That tensor `name` could not be loaded.
    fn load_error(name: TensorName, error: Self::Error) -> Self::LoadError;

    /// What matrices take.
    fn held(&self, matrices: &Self::Matrices) -> Vec<HeldMatrix>;

    /// The rows of a table that the input names.
    fn embed(&self, table: &Self::Matrices, input: &Self::Input) -> Result<Self::Stream, Self::Error>;

    /// Each number of the stream times `factor`.
    fn scale(&self, stream: &mut Self::Stream, factor: f32) -> Result<(), Self::Error>;

    /// Adds to each position its row of a table `(positions, width)`.
    fn add_positions(&self, stream: &mut Self::Stream, table: &Self::Vector) -> Result<(), Self::Error>;

    /// The pixels of the patches that the input names: a row for each.
    fn pixels(&self, input: &Self::Input) -> Result<Self::Rows, Self::Error>;

    /// The class token and patches of each image, with their positions.
    fn patches(
        &self,
        patches: Self::Rows,
        class_token: &Self::Vector,
        positions: &Self::Vector,
    ) -> Result<Self::Stream, Self::Error>;

    /// Adds what a part has made.
    fn add(&self, stream: &mut Self::Stream, made: Self::Rows) -> Result<(), Self::Error>;

    /// The stream normed; it stays what it is.
    fn norm(&self, stream: &mut Self::Stream, norm: &Norm<Self::Vector>) -> Result<Self::Rows, Self::Error>;

    /// The stream becomes its norm.
    fn norm_stream(&self, stream: &mut Self::Stream, norm: &Norm<Self::Vector>) -> Result<(), Self::Error>;

    /// The stream as products read it, where it has been normed.
    fn rows(&self, stream: &Self::Stream) -> Result<Self::Rows, Self::Error>;

    /// The selected positions normed.
    fn norm_selected(
        &self,
        stream: &mut Self::Stream,
        selected: Selected,
        norm: &Norm<Self::Vector>,
    ) -> Result<Self::Rows, Self::Error>;

    /// What a part has made, normed before it is added.
    fn norm_rows(&self, rows: Self::Rows, norm: &Norm<Self::Vector>) -> Result<Self::Rows, Self::Error>;

    /// The products of several matrices with the same rows, their biases added.
    fn products(
        &self,
        reads: ProductInput,
        matrices: &Self::Matrices,
        rows: &Self::Rows,
    ) -> Result<Vec<Self::Rows>, Self::Error>;

    /// Attention before its output matrix. Heads of query and key are normed by `norms` where there are some and turned; keys
    /// and values are written into `cache` first, where what was before is seen.
    fn attend(
        &self,
        attention: &Attention,
        query_key_value: [Self::Rows; 3],
        norms: [Option<&Norm<Self::Vector>>; 2],
        cache: Option<&mut Self::Cache>,
        pass: &Self::Pass,
    ) -> Result<Self::Rows, Self::Error>;

    /// The activation of `rows`, or of `gate` times `rows` where the part is gated.
    fn activate(
        &self,
        activation: Activation,
        gate: Option<Self::Rows>,
        rows: Self::Rows,
    ) -> Result<Self::Rows, Self::Error>;

    /// What `work` makes of `rows`, a few of them at a time where that is faster: what is between the matrices of a
    /// feed-forward part is the widest of all.
    fn in_pieces(&self, rows: &Self::Rows, work: PieceWork<'_, Self>) -> Result<Self::Rows, Self::Error> {
        work(rows)
    }
}
