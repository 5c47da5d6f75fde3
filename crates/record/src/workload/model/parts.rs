//! What a model is made of, part by part, in the order that a pass goes through them. A family says it once; tensors, sizes,
//! operations and the pass itself follow from it.

use super::shape::{ImageShape, ModelShape, RopeScaling};

/// A model as a list of parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Width of the residual stream.
    pub hidden: usize,
    /// The kind of every norm of the residual stream.
    pub norm: NormKind,
    /// What inputs become before the first block.
    pub embedding: Embedding,
    /// Blocks of one making, one behind the other, and how many of each.
    pub blocks: Vec<(BlockParts, usize)>,
    /// A norm behind the last block.
    pub final_norm: bool,
    /// What results are made of the hidden states.
    pub head: Head,
}

/// How a vector is normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Divided by its root mean square and weighed.
    Rms,
    /// Mean taken away, divided by its deviation, weighed, with a bias.
    Layer,
}

/// What inputs become before the first block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Embedding {
    /// Rows of a table of `vocabulary` tokens.
    Tokens {
        /// Rows of the table.
        vocabulary: usize,
        /// What the rows are multiplied by.
        scale: Option<f32>,
        /// Learned positions that are added, and kinds of tokens, with a norm of the sum; none where positions turn queries
        /// and keys.
        learned: Option<LearnedEmbeddings>,
    },
    /// Patches of an image through a matrix, a token that gathers them before the first, and learned positions.
    Patches(ImageShape),
}

/// Tables that are added to the embedding of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedEmbeddings {
    /// Positions that the table has.
    pub positions: usize,
    /// Kinds of tokens.
    pub types: usize,
}

/// Where the norms of a block stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// Before attention and feed-forward.
    Before,
    /// Behind their sums with the residual stream.
    Behind,
    /// Before each, and behind each, before it is added.
    Around,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockParts {
    /// Where its norms stand.
    pub norms: NormPlace,
    /// How positions see each other.
    pub attention: Attention,
    /// What each position becomes by itself.
    pub feed_forward: FeedForward,
}

/// Attention of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; fewer than `heads` is grouped-query attention.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Which positions are seen.
    pub mask: AttentionMask,
    /// How query and key are turned by their positions, where they are.
    pub rotary: Option<Rotary>,
    /// Each query and key head has its own RMS norm.
    pub qk_norm: bool,
    /// Query, key and value have a bias.
    pub qkv_bias: bool,
    /// The output has a bias.
    pub output_bias: bool,
    /// What products of queries and keys are multiplied by; `None` is one by the root of a head's width.
    pub scale: Option<f64>,
}

impl Attention {
    /// Width of all query heads.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, or of all value heads.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// Which positions a query attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttentionMask {
    /// All, before and behind.
    All,
    /// Itself and those before.
    Before {
        /// No more than so many, itself among them.
        window: Option<usize>,
    },
}

impl AttentionMask {
    /// Whether keys and values are kept for the passes behind.
    pub fn keeps(self) -> bool {
        self != Self::All
    }

    /// How many positions it sees at most, where not all.
    pub fn window(self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Before { window } => window,
        }
    }
}

/// How positions turn queries and keys (RoFormer, arXiv 2104.09864).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    /// Base of the frequencies.
    pub theta: f64,
    /// Stretching, if any.
    pub scaling: Option<RopeScaling>,
}

impl Parts {
    /// The same with every block changed by its place; blocks beside each other that stay alike are kept together.
    pub fn with_blocks(self, change: impl Fn(usize, BlockParts) -> BlockParts) -> Self {
        let each = self.blocks.iter().flat_map(|(block, count)| std::iter::repeat_n(*block, *count));
        let mut blocks: Vec<(BlockParts, usize)> = Vec::new();
        for (index, block) in each.enumerate() {
            let block = change(index, block);
            match blocks.last_mut().filter(|(last, _)| *last == block) {
                Some((_, count)) => *count += 1,
                None => blocks.push((block, 1)),
            }
        }
        Self { blocks, ..self }
    }
}

impl Rotary {
    /// Of all layers of a shape.
    pub fn of(shape: &ModelShape) -> Self {
        Self { theta: shape.rope_theta, scaling: shape.rope_scaling }
    }
}

/// The feed-forward part of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeedForward {
    /// Numbers between its matrices.
    pub width: usize,
    /// What the numbers between go through.
    pub activation: Activation,
    /// A second matrix whose products the activated ones are multiplied with.
    pub gated: bool,
    /// Its products have biases.
    pub bias: bool,
    /// Several of them, of which each token takes some.
    pub experts: Option<Experts>,
}

/// A mixture of feed-forward parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many each token goes through.
    pub active: usize,
}

impl Experts {
    /// How many of the experts `tokens` of a step read in the mean, if each token chooses evenly and by itself:
    /// `count x (1 - (1 - active / count)^tokens)`.
    pub fn read(self, tokens: usize) -> f64 {
        let count = self.count as f64;
        count * (1.0 - (1.0 - self.active as f64 / count).powi(tokens.min(i32::MAX as usize) as i32))
    }
}

/// What is between the matrices of a feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x` times the normal distribution up to `x`.
    GeluErf,
    /// The same by the hyperbolic tangent (`gelu_pytorch_tanh`).
    GeluTanh,
}

/// What results are made of hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Logits of the next token, by the table of tokens.
    TiedTokens,
    /// Logits of the next token, by a matrix of their own.
    Tokens,
    /// Nothing: hidden states are pooled.
    Pooled,
    /// A class, by a matrix with a bias on the first position.
    Classes(usize),
}
