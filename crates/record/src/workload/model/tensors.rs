//! The tensors that the parts of a model have, with their sizes: the one list of them. Files are held against it, sizes are
//! counted by it, random weights made for it.

use super::parts::{BlockParts, Embedding, Head, NormKind, NormPlace, Parts};

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
    /// A tensor of the block with this index.
    Block(usize, BlockTensor),
}

/// A tensor of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum BlockTensor {
    AttentionNorm,
    AttentionNormBias,
    Query,
    Key,
    Value,
    AttentionOutput,
    QueryBias,
    KeyBias,
    ValueBias,
    AttentionOutputBias,
    QueryNorm,
    KeyNorm,
    /// Behind attention, before it is added.
    AttentionPostNorm,
    FeedForwardNorm,
    FeedForwardNormBias,
    Gate,
    Up,
    Down,
    GateBias,
    UpBias,
    DownBias,
    /// Behind the feed-forward part, before it is added.
    FeedForwardPostNorm,
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
        use BlockTensor as B;
        match self {
            Self::TokenEmbedding | Self::Patches | Self::Output => TensorKind::Matrix,
            Self::Positions | Self::TokenTypes | Self::ClassToken | Self::PatchPositions => TensorKind::Table,
            Self::EmbeddingNorm | Self::OutputNorm => TensorKind::Norm,
            Self::EmbeddingNormBias | Self::PatchesBias | Self::OutputNormBias | Self::OutputBias => TensorKind::Bias,
            Self::Block(_, tensor) => match tensor {
                B::Query | B::Key | B::Value | B::AttentionOutput | B::Gate | B::Up | B::Down => TensorKind::Matrix,
                B::AttentionNorm | B::QueryNorm | B::KeyNorm | B::AttentionPostNorm => TensorKind::Norm,
                B::FeedForwardNorm | B::FeedForwardPostNorm => TensorKind::Norm,
                B::AttentionNormBias | B::FeedForwardNormBias | B::GateBias | B::UpBias | B::DownBias => {
                    TensorKind::Bias
                }
                B::QueryBias | B::KeyBias | B::ValueBias | B::AttentionOutputBias => TensorKind::Bias,
            },
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
    fn new(name: TensorName, dims: &[usize]) -> Self {
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

/// Every tensor of a model; matrices of ends first, then block after block.
pub fn tensors(parts: &Parts) -> Vec<TensorSpec> {
    let mut all = ends(parts);
    let counts = parts.blocks.iter().flat_map(|(block, count)| std::iter::repeat_n(block, *count));
    for (index, block) in counts.enumerate() {
        let of_block = block_tensors(block, parts.hidden, parts.norm).into_iter();
        all.extend(of_block.map(|(tensor, dims)| TensorSpec::new(TensorName::Block(index, tensor), &dims)));
    }
    all
}

/// The tensors before the first block and behind the last.
pub fn ends(parts: &Parts) -> Vec<TensorSpec> {
    use TensorName::*;
    let hidden = parts.hidden;
    let mut all = Vec::new();
    let mut put = |name, dims: &[usize]| all.push(TensorSpec::new(name, dims));
    match parts.embedding {
        Embedding::Tokens { vocabulary, learned, .. } => {
            put(TokenEmbedding, &[vocabulary, hidden]);
            if let Some(learned) = learned {
                put(Positions, &[learned.positions, hidden]);
                put(TokenTypes, &[learned.types, hidden]);
                put(EmbeddingNorm, &[hidden]);
                put(EmbeddingNormBias, &[hidden]);
            }
            if parts.head == Head::Tokens {
                put(Output, &[vocabulary, hidden]);
            }
        }
        Embedding::Patches(image) => {
            put(ClassToken, &[1, 1, hidden]);
            put(PatchPositions, &[1, image.tokens(image.size), hidden]);
            put(Patches, &[hidden, image.channels, image.patch, image.patch]);
            put(PatchesBias, &[hidden]);
        }
    }
    if parts.final_norm {
        put(OutputNorm, &[hidden]);
        if parts.norm == NormKind::Layer {
            put(OutputNormBias, &[hidden]);
        }
    }
    if let Head::Classes(classes) = parts.head {
        put(Output, &[classes, hidden]);
        put(OutputBias, &[classes]);
    }
    all
}

/// The tensors of one block: what each is for and its sizes.
pub fn block_tensors(block: &BlockParts, hidden: usize, norm: NormKind) -> Vec<(BlockTensor, Vec<usize>)> {
    use BlockTensor::*;
    let attention = block.attention;
    let (q, kv) = (attention.q_width(), attention.kv_width());
    let ff = block.feed_forward.width;
    let mut all = vec![
        (Query, vec![q, hidden]),
        (Key, vec![kv, hidden]),
        (Value, vec![kv, hidden]),
        (AttentionOutput, vec![hidden, q]),
    ];
    if block.feed_forward.gated {
        all.push((Gate, vec![ff, hidden]));
    }
    all.extend([(Up, vec![ff, hidden]), (Down, vec![hidden, ff])]);
    all.extend([(AttentionNorm, vec![hidden]), (FeedForwardNorm, vec![hidden])]);
    if norm == NormKind::Layer {
        all.extend([(AttentionNormBias, vec![hidden]), (FeedForwardNormBias, vec![hidden])]);
    }
    if block.norms == NormPlace::Around {
        all.extend([(AttentionPostNorm, vec![hidden]), (FeedForwardPostNorm, vec![hidden])]);
    }
    if attention.qkv_bias {
        all.extend([(QueryBias, vec![q]), (KeyBias, vec![kv]), (ValueBias, vec![kv])]);
    }
    if attention.output_bias {
        all.push((AttentionOutputBias, vec![hidden]));
    }
    if attention.qk_norm {
        all.extend([(QueryNorm, vec![attention.head_dim]), (KeyNorm, vec![attention.head_dim])]);
    }
    if block.feed_forward.bias {
        all.extend([(UpBias, vec![ff]), (DownBias, vec![hidden])]);
    }
    all
}
