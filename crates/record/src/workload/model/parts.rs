//! What a model is made of, part by part, in the order that a pass goes through them. A family says it once; tensors, sizes,
//! operations and the pass itself follow from it.

use super::convolutional::Convolution;
use super::shape::{ImageShape, ModelShape, RopeScaling};
use super::sublayers::{ExpertsShape, LatentShape, LinearShape, StateSpaceShape};

/// A model as a list of parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Width of the residual stream.
    pub hidden: usize,
    /// The kind of every norm of the residual stream.
    pub norm: NormKind,
    /// What inputs become before the first block.
    pub embedding: Embedding,
    /// Convolutions before the first block; all there is of a network of them.
    pub convolutions: Vec<Convolution>,
    /// Blocks of one making, one behind the other, and how many of each.
    pub blocks: Vec<(BlockParts, usize)>,
    /// A norm behind the last block.
    pub final_norm: bool,
    /// What results are made of the hidden states.
    pub head: Head,
    /// Encoders of images that stand before it and are held with it.
    pub towers: Vec<Tower>,
    /// Parameters of others that are held with it and not described.
    pub beside: f64,
}

/// An encoder whose results a model takes beside its tokens. A step of generation does not go through it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tower {
    /// What it is made of.
    pub parts: Parts,
    /// The numbers between it and the model, which bring its results to the width of the residual stream.
    pub projector: f64,
}

/// How a vector is normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Divided by its root mean square and weighed.
    Rms,
    /// Mean taken away, divided by its deviation, weighed, with a bias.
    Layer,
    /// The same without a bias.
    LayerUnbiased,
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
    Patches(PatchEmbedding),
    /// Bands of a recording, through two convolutions over its time, of which the second halves it, with learned positions.
    Audio(AudioEmbedding),
    /// Pixels, through the convolutions of the model.
    Convolutions(PatchEmbedding),
}

/// How a recording becomes the rows that a pass begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioEmbedding {
    /// Bands of frequency.
    pub bands: usize,
    /// Positions of a recording of full length.
    pub positions: usize,
}

/// How an image becomes the rows that a pass begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatchEmbedding {
    /// Images and their patches.
    pub image: ImageShape,
    /// Frames of a film that a patch is of; of an image, as often the same.
    pub frames: usize,
    /// The matrix has a bias.
    pub bias: bool,
    /// Rows of a table of positions that are added; 0 without one.
    pub positions: usize,
    /// A norm of the sum.
    pub norm: bool,
}

/// Tables that are added to the embedding of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LearnedEmbeddings {
    /// Positions that the table has.
    pub positions: usize,
    /// Kinds of tokens.
    pub types: usize,
    /// A norm of the sum.
    pub norm: bool,
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
    /// Behind each, before it is added, and none before.
    BehindParts,
    /// One before both: attention and feed-forward read the same and are added together.
    BeforeBoth,
    /// Before feed-forward alone: attention reads what is normed already.
    BeforeFeedForward,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockParts {
    /// Where its norms stand.
    pub norms: NormPlace,
    /// How positions come to know of each other, where they do.
    pub mixer: Option<Mixer>,
    /// Attention to what an encoder has made of the input, behind the mixer.
    pub cross: Option<CrossAttention>,
    /// What each position becomes by itself, where it does.
    pub feed_forward: Option<FeedForward>,
    /// Numbers that the layer looks up for a token and adds through a gate; 0 without.
    pub per_layer: usize,
}

/// Attention to what an encoder has made of the input: its keys and values are made once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CrossAttention {
    /// Its heads, and biases.
    pub attention: Attention,
    /// Positions of the encoder.
    pub positions: usize,
}

impl BlockParts {
    /// Its attention with a cache of keys and values, where it has one.
    pub fn attention(&self) -> Option<&Attention> {
        match &self.mixer {
            Some(Mixer::Attention(attention)) => Some(attention),
            _ => None,
        }
    }

    /// The same with its attention changed.
    pub fn with_attention(mut self, change: impl FnOnce(Attention) -> Attention) -> Self {
        if let Some(Mixer::Attention(attention)) = self.mixer {
            self.mixer = Some(Mixer::Attention(change(attention)));
        }
        self
    }

    /// The same with a bias of the scores that choose experts, where it has some.
    pub fn with_router_bias(self) -> Self {
        self.with_feed_forward(|part| FeedForward {
            experts: part.experts.map(|experts| Experts { router_bias: true, ..experts }),
            ..part
        })
    }

    /// The same with its feed-forward part changed.
    pub fn with_feed_forward(mut self, change: impl FnOnce(FeedForward) -> FeedForward) -> Self {
        self.feed_forward = self.feed_forward.map(change);
        self
    }
}

/// How positions of a block come to know of each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mixer {
    /// Attention whose keys and values are kept.
    Attention(Attention),
    /// Attention to keys and values that are made of a small vector of each position, which is kept.
    Latent(LatentAttention),
    /// Linear attention, which keeps a state.
    Linear(LinearShape),
    /// A state-space layer, which keeps a state.
    StateSpace(StateSpaceShape),
}

/// Latent attention of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentAttention {
    /// Heads.
    pub heads: usize,
    /// Its widths.
    pub shape: LatentShape,
    /// How query and key are turned by their positions.
    pub rotary: Rotary,
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
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Biases of query, key and value.
    pub qkv_bias: QkvBias,
    /// The output has a bias.
    pub output_bias: bool,
    /// What products of queries and keys are multiplied by; `None` is one by the root of a head's width.
    pub scale: Option<f64>,
    /// Each head has a learned score beside those of the positions, which takes a share of the attention and gives nothing.
    pub sinks: bool,
    /// What heads give is weighed by a gate of as many numbers, which the query's matrix makes too.
    pub output_gate: bool,
    /// Keys and values are those of a layer before: none are made, and none are kept.
    pub shares_cache: bool,
    /// Values are the keys: there is no matrix for them.
    pub values_are_keys: bool,
}

/// Biases of query, key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkvBias {
    /// None.
    None,
    /// Of each.
    All,
    /// Of query and value (Whisper).
    NotKey,
}

impl QkvBias {
    /// Of each, where a shape says so.
    pub fn of_all(has: bool) -> Self {
        if has { Self::All } else { Self::None }
    }
}

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// An RMS norm of each head, with the same weights for all.
    Heads,
    /// An RMS norm of all heads together.
    Width,
}

impl QkNorm {
    /// Of each head, where a shape says so.
    pub fn of_heads(has: bool) -> Self {
        if has { Self::Heads } else { Self::None }
    }
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
    /// Itself and those before within its chunk of so many.
    Chunk(usize),
    /// Those no further than so many before and behind.
    Around(usize),
}

impl AttentionMask {
    /// Whether keys and values are kept for the passes behind.
    pub fn keeps(self) -> bool {
        !matches!(self, Self::All | Self::Around(_))
    }

    /// How many positions it sees at most, where not all.
    pub fn window(self) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Before { window } => window,
            Self::Chunk(size) => Some(size),
            Self::Around(reach) => Some(2 * reach + 1),
        }
    }

    /// How many of the positions before a query at the end of `context` it sees. Of chunks, in the mean over their places.
    pub fn seen(self, context: f64) -> f64 {
        match self {
            Self::All | Self::Before { window: None } => context,
            Self::Before { window: Some(window) } => context.min(window as f64),
            Self::Around(reach) => context.min(2.0 * reach as f64 + 1.0),
            Self::Chunk(size) if context <= size as f64 => context,
            Self::Chunk(size) => (size as f64 + 1.0) / 2.0,
        }
    }

    /// Pairs of a query and a position that it sees in a prompt of `p` positions.
    pub fn pairs(self, p: f64) -> f64 {
        let triangle = |p: f64| p * (p + 1.0) / 2.0;
        match self {
            Self::All => p * p,
            Self::Around(reach) => {
                // Those at the ends see fewer.
                let reach = (reach as f64).min((p - 1.0).max(0.0));
                p * (2.0 * reach + 1.0) - reach * (reach + 1.0)
            }
            Self::Before { window: Some(window) } if p > window as f64 => {
                let w = window as f64;
                triangle(w) + (p - w) * w
            }
            Self::Before { .. } => triangle(p),
            Self::Chunk(size) => {
                let size = size.max(1) as f64;
                let whole = (p / size).floor();
                whole * triangle(size) + triangle(p - whole * size)
            }
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
    /// Dimensions of a head that are turned, from its first.
    pub dims: usize,
    /// The two of a pair are beside each other, not half of the dimensions apart.
    pub interleaved: bool,
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
        Self {
            theta: shape.rope_theta,
            scaling: shape.rope_scaling,
            dims: shape.rotary_dim.unwrap_or(shape.head_dim),
            interleaved: false,
        }
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
    /// Which of its products have biases.
    pub bias: FeedForwardBias,
    /// Several of them, of which each token takes some.
    pub experts: Option<Experts>,
}

/// Which products of a feed-forward part have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForwardBias {
    /// None.
    None,
    /// The last.
    Down,
    /// All.
    All,
}

/// A mixture of feed-forward parts, each of the width of the part that it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many each token goes through.
    pub active: usize,
    /// Width of those that every token goes through, together.
    pub shared_width: usize,
    /// What the shared ones make is weighed by a gate of the token.
    pub shared_gate: bool,
    /// The scores that choose have a bias.
    pub router_bias: bool,
}

impl Experts {
    /// As a shape has them.
    pub fn of(shape: &ExpertsShape) -> Self {
        Self {
            count: shape.count,
            active: shape.active,
            shared_width: shape.shared_width,
            shared_gate: shape.shared_gate,
            router_bias: false,
        }
    }

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
    /// `max(x, 0)^2`.
    SquaredRelu,
    /// `x / (1 + e^(-1.702 x))`.
    QuickGelu,
    /// gpt-oss's: gate and up held within a bound, `gate / (1 + e^(-1.702 gate)) x (up + 1)`.
    ClampedSwiglu,
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
    /// Scores of a text or a pair: what is pooled goes through a matrix of the width of the stream first.
    Scores {
        /// How many.
        labels: usize,
        /// A norm is behind the first matrix in place of its bias (ModernBERT).
        norm: bool,
    },
    /// A vector of this width, by a matrix on what is pooled.
    Projection(usize),
    /// What a query of its own gathers by attention, through a feed-forward part of this width (SigLIP).
    AttentionPooled(usize),
}
