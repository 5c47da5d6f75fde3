//! The tensors that the parts of a model have, with their sizes: the one list of them. Files are held against it, sizes are
//! counted by it, random weights made for it.

pub use super::block_tensors::{BlockTensor, block_tensors};
pub use super::end_tensors::ends;
use super::parts::Parts;

/// A tensor of a model, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorName {
    /// The table that tokens are looked up in.
    TokenEmbedding,
    /// What is added for a place in a text: `(positions, hidden)`.
    Positions,
    /// What is added to all tokens of a kind: `(kinds, hidden)`.
    TokenTypes,
    /// The norm of the sum of the three.
    EmbeddingNorm,
    /// Its bias.
    EmbeddingNormBias,
    /// The matrix that patches are multiplied with.
    Patches,
    /// Its bias.
    PatchesBias,
    /// What stands before the patches: `(1, 1, hidden)`.
    ClassToken,
    /// The positions of the class token and of the patches: `(1, patches + 1, hidden)`.
    PatchPositions,
    /// The norm behind the last block.
    OutputNorm,
    /// Its bias.
    OutputNormBias,
    /// The matrix that makes logits.
    Output,
    /// Its bias.
    OutputBias,
    /// What each layer looks up for a token, of all layers: `(vocabulary, layers x width)`.
    LayerEmbedding,
    /// What is made of the embedding beside it.
    LayerEmbeddingProjection,
    /// The norm of that.
    LayerEmbeddingNorm,
    /// The matrix before scores.
    ScoreInput,
    /// Its bias.
    ScoreInputBias,
    /// The norm behind it.
    ScoreNorm,
    /// Over the time of a recording, from its bands: `(hidden, bands, 3)`.
    AudioInput,
    /// Its bias.
    AudioInputBias,
    /// The second, of every other of its results: `(hidden, hidden, 3)`.
    AudioHalved,
    /// Its bias.
    AudioHalvedBias,
    /// Of a network of convolutions, that with this index: `(outputs, inputs / groups, kernel, kernel)`.
    Convolution(usize),
    /// What the batch norm behind it multiplies by.
    ConvolutionNorm(usize),
    /// What is added behind it.
    ConvolutionBias(usize),
    /// What gathers all positions by attention.
    PoolingQuery,
    /// Query, key and value of that attention.
    PoolingInput,
    /// Their biases.
    PoolingInputBias,
    /// Its output.
    PoolingOutput,
    /// Its bias.
    PoolingOutputBias,
    /// The norm behind it.
    PoolingNorm,
    /// Its bias.
    PoolingNormBias,
    /// The feed-forward part behind that.
    PoolingUp,
    /// Its bias.
    PoolingUpBias,
    /// And back.
    PoolingDown,
    /// Its bias.
    PoolingDownBias,
    /// A tensor of the block with this index.
    Block(usize, BlockTensor),
}

/// What a tensor is, for how it is stored and drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorKind {
    /// Weights of products, stored at the level of the model.
    Matrix,
    /// Weights of a norm, kept in `f32`.
    Norm,
    /// What is added behind a product or norm, kept in `f32`.
    Bias,
    /// A table of small numbers, kept in `f32`.
    Table,
}

impl TensorName {
    /// What it is.
    pub fn kind(self) -> TensorKind {
        match self {
            Self::TokenEmbedding | Self::Patches | Self::Output => TensorKind::Matrix,
            Self::ScoreInput | Self::AudioInput | Self::AudioHalved => TensorKind::Matrix,
            Self::Convolution(_) | Self::LayerEmbedding | Self::LayerEmbeddingProjection => TensorKind::Matrix,
            Self::LayerEmbeddingNorm => TensorKind::Norm,
            Self::ScoreNorm | Self::ConvolutionNorm(_) => TensorKind::Norm,
            Self::ConvolutionBias(_) => TensorKind::Bias,
            Self::ScoreInputBias | Self::AudioInputBias | Self::AudioHalvedBias => TensorKind::Bias,
            Self::PoolingInput | Self::PoolingOutput | Self::PoolingUp | Self::PoolingDown => TensorKind::Matrix,
            Self::Positions | Self::TokenTypes | Self::ClassToken | Self::PatchPositions => TensorKind::Table,
            Self::PoolingQuery => TensorKind::Table,
            Self::EmbeddingNorm | Self::OutputNorm | Self::PoolingNorm => TensorKind::Norm,
            Self::EmbeddingNormBias | Self::PatchesBias | Self::OutputNormBias | Self::OutputBias => TensorKind::Bias,
            Self::PoolingInputBias | Self::PoolingOutputBias | Self::PoolingNormBias => TensorKind::Bias,
            Self::PoolingUpBias | Self::PoolingDownBias => TensorKind::Bias,
            Self::Block(_, tensor) => tensor.kind(),
        }
    }

    /// Whether it holds the weights of a norm.
    pub fn is_norm(self) -> bool {
        self.kind() == TensorKind::Norm
    }
}

/// A tensor that a model has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// What it is for.
    pub name: TensorName,
    /// What it is.
    pub kind: TensorKind,
    /// Its sizes: of a matrix outputs first, then inputs.
    pub dims: Vec<usize>,
}

impl TensorSpec {
    pub(super) fn new(name: TensorName, dims: &[usize]) -> Self {
        Self { name, kind: name.kind(), dims: dims.to_vec() }
    }

    /// Numbers that it holds.
    pub fn count(&self) -> f64 {
        self.dims.iter().map(|dim| *dim as f64).product()
    }

    /// Rows and the numbers of one.
    pub fn rows_and_cols(&self) -> (usize, usize) {
        match self.dims.as_slice() {
            [rows, cols @ ..] if !cols.is_empty() => (*rows, cols.iter().product()),
            [len] => (1, *len),
            _ => (1, 1),
        }
    }
}

/// Every tensor of a model without those of its towers; matrices of ends first, then block after block.
pub fn tensors(parts: &Parts) -> Vec<TensorSpec> {
    let mut all = ends(parts);
    let counts = parts.blocks.iter().flat_map(|(block, count)| std::iter::repeat_n(block, *count));
    for (index, block) in counts.enumerate() {
        let of_block = block_tensors(block, parts.hidden, parts.norm).into_iter();
        all.extend(of_block.map(|(tensor, dims)| TensorSpec::new(TensorName::Block(index, tensor), &dims)));
    }
    all
}
