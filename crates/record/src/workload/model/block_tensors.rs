//! The tensors that the parts of one block have.

use super::parts::{
    Attention, BlockParts, Experts, FeedForward, FeedForwardBias, LatentAttention, Mixer, NormKind, NormPlace, QkNorm,
    QkvBias,
};
use super::sublayers::{LinearShape, StateSpaceShape};
use super::tensors::TensorKind;

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
    /// The score of each head that is no position's.
    Sinks,
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
    /// The scores of the experts: `(experts, hidden)`.
    Router,
    RouterBias,
    /// Of all experts: `(experts, outputs, inputs)`.
    ExpertGate,
    ExpertUp,
    ExpertDown,
    ExpertGateBias,
    ExpertUpBias,
    ExpertDownBias,
    SharedGate,
    SharedUp,
    SharedDown,
    /// What the shared experts' result is weighed by: `(1, hidden)`.
    SharedWeight,
    /// What queries are made of, from the hidden state.
    QueryDown,
    QueryDownNorm,
    /// What keys and values are made of, and the one key that positions turn.
    KeyValueDown,
    KeyValueDownNorm,
    /// Keys and values of all heads.
    KeyValueUp,
    /// Queries of what chooses positions.
    IndexQuery,
    IndexKey,
    IndexKeyNorm,
    IndexKeyNormBias,
    /// What the heads of it are weighed by.
    IndexWeights,
    /// All that goes into a layer with a state, before its convolution.
    StateInput,
    /// The steps and decays of linear attention.
    StateSteps,
    /// `(channels, positions)`.
    Convolution,
    ConvolutionBias,
    StateDecay,
    StateStepBias,
    /// What of the input goes past the state.
    StateSkip,
    StateNorm,
    StateOutput,
    /// Of what a layer looks up for a token: its gate, the way into the stream, and the norm behind.
    LayerGate,
    LayerProjection,
    LayerNorm,
    /// Of attention to an encoder.
    CrossNorm,
    CrossNormBias,
    CrossQuery,
    CrossKey,
    CrossValue,
    CrossOutput,
    CrossQueryBias,
    CrossKeyBias,
    CrossValueBias,
    CrossOutputBias,
}

impl BlockTensor {
    /// What it is.
    pub fn kind(self) -> TensorKind {
        use BlockTensor::*;
        match self {
            Query | Key | Value | AttentionOutput | Gate | Up | Down | Router | ExpertGate | ExpertUp | ExpertDown
            | SharedGate | SharedUp | SharedDown | SharedWeight | QueryDown | KeyValueDown | KeyValueUp
            | IndexQuery | IndexKey | IndexWeights | StateInput | StateSteps | StateOutput | LayerGate
            | LayerProjection | CrossQuery | CrossKey | CrossValue | CrossOutput => TensorKind::Matrix,
            AttentionNorm | QueryNorm | KeyNorm | AttentionPostNorm | FeedForwardNorm | FeedForwardPostNorm
            | QueryDownNorm | KeyValueDownNorm | IndexKeyNorm | StateNorm | LayerNorm | CrossNorm => TensorKind::Norm,
            AttentionNormBias | QueryBias | KeyBias | ValueBias | AttentionOutputBias | FeedForwardNormBias
            | GateBias | UpBias | DownBias | RouterBias | ExpertGateBias | ExpertUpBias | ExpertDownBias
            | IndexKeyNormBias | ConvolutionBias | StateStepBias | CrossNormBias | CrossQueryBias | CrossKeyBias
            | CrossValueBias | CrossOutputBias => TensorKind::Bias,
            Sinks | Convolution | StateDecay | StateSkip => TensorKind::Table,
        }
    }
}

impl BlockTensor {
    /// Whether there is one for each expert of a mixture.
    pub fn is_of_experts(self) -> bool {
        use BlockTensor::*;
        matches!(self, ExpertGate | ExpertUp | ExpertDown | ExpertGateBias | ExpertUpBias | ExpertDownBias)
    }
}

/// Tensors and their sizes: of a matrix outputs first, then inputs, of those of experts the experts before both.
type Sizes = Vec<(BlockTensor, Vec<usize>)>;

/// The tensors of one block: what each is for and its sizes.
pub fn block_tensors(block: &BlockParts, hidden: usize, norm: NormKind) -> Sizes {
    let mut all = match &block.mixer {
        Some(Mixer::Attention(attention)) => attention_tensors(attention, hidden),
        Some(Mixer::Latent(latent)) => latent_tensors(latent, hidden),
        Some(Mixer::Linear(linear)) => linear_tensors(linear, hidden),
        Some(Mixer::StateSpace(states)) => state_space_tensors(states, hidden),
        None => Vec::new(),
    };
    if let Some(cross) = &block.cross {
        all.extend(cross_tensors(&cross.attention, hidden));
    }
    if let Some(feed_forward) = &block.feed_forward {
        all.extend(feed_forward_tensors(feed_forward, hidden));
    }
    all.extend(norm_tensors(block, hidden, norm));
    if block.per_layer > 0 {
        all.extend([
            (BlockTensor::LayerGate, vec![block.per_layer, hidden]),
            (BlockTensor::LayerProjection, vec![hidden, block.per_layer]),
            (BlockTensor::LayerNorm, vec![hidden]),
        ]);
    }
    all
}

/// The norms of the stream.
fn norm_tensors(block: &BlockParts, hidden: usize, norm: NormKind) -> Sizes {
    use BlockTensor::*;
    let of_mixer = [AttentionNorm, AttentionNormBias, AttentionPostNorm];
    let of_feed_forward = [FeedForwardNorm, FeedForwardNormBias, FeedForwardPostNorm];
    let mut all = Vec::new();
    let is_shared = block.norms == NormPlace::BeforeBoth && block.mixer.is_some();
    for (is_there, [before, bias, behind]) in
        [(block.mixer.is_some(), of_mixer), (block.feed_forward.is_some() && !is_shared, of_feed_forward)]
    {
        if !is_there {
            continue;
        }
        let is_normed = block.norms == NormPlace::BeforeFeedForward && before == AttentionNorm;
        if block.norms != NormPlace::BehindParts && !is_normed {
            all.push((before, vec![hidden]));
            if norm == NormKind::Layer {
                all.push((bias, vec![hidden]));
            }
        }
        if matches!(block.norms, NormPlace::Around | NormPlace::BehindParts) {
            all.push((behind, vec![hidden]));
        }
    }
    all
}

fn attention_tensors(attention: &Attention, hidden: usize) -> Sizes {
    use BlockTensor::*;
    let (q, kv) = (attention.q_width(), attention.kv_width());
    let query = if attention.output_gate { 2 * q } else { q };
    let mut all = vec![(Query, vec![query, hidden]), (AttentionOutput, vec![hidden, q])];
    if !attention.shares_cache {
        all.push((Key, vec![kv, hidden]));
        if !attention.values_are_keys {
            all.push((Value, vec![kv, hidden]));
        }
    }
    match attention.qkv_bias {
        QkvBias::None => {}
        QkvBias::All => all.extend([(QueryBias, vec![query]), (KeyBias, vec![kv]), (ValueBias, vec![kv])]),
        QkvBias::NotKey => all.extend([(QueryBias, vec![query]), (ValueBias, vec![kv])]),
    }
    if attention.output_bias {
        all.push((AttentionOutputBias, vec![hidden]));
    }
    match attention.qk_norm {
        QkNorm::None => {}
        QkNorm::Heads if attention.shares_cache => all.push((QueryNorm, vec![attention.head_dim])),
        QkNorm::Heads => all.extend([(QueryNorm, vec![attention.head_dim]), (KeyNorm, vec![attention.head_dim])]),
        QkNorm::Width => all.extend([(QueryNorm, vec![q]), (KeyNorm, vec![kv])]),
    }
    if attention.sinks {
        all.push((Sinks, vec![attention.heads]));
    }
    all
}

/// Those of attention to an encoder, and the norm before it.
fn cross_tensors(attention: &Attention, hidden: usize) -> Sizes {
    use BlockTensor::*;
    let as_cross = |tensor| match tensor {
        Query => CrossQuery,
        Key => CrossKey,
        Value => CrossValue,
        AttentionOutput => CrossOutput,
        QueryBias => CrossQueryBias,
        KeyBias => CrossKeyBias,
        ValueBias => CrossValueBias,
        AttentionOutputBias => CrossOutputBias,
        other => other,
    };
    let of_attention = attention_tensors(attention, hidden).into_iter();
    let norm = [(CrossNorm, vec![hidden]), (CrossNormBias, vec![hidden])];
    of_attention.map(|(tensor, dims)| (as_cross(tensor), dims)).chain(norm).collect()
}

fn latent_tensors(latent: &LatentAttention, hidden: usize) -> Sizes {
    use BlockTensor::*;
    let (heads, shape) = (latent.heads, latent.shape);
    let queries = heads * shape.query_dim();
    let mut all = match shape.query_rank {
        Some(rank) => {
            vec![(QueryDown, vec![rank, hidden]), (QueryDownNorm, vec![rank]), (Query, vec![queries, rank])]
        }
        None => vec![(Query, vec![queries, hidden])],
    };
    let rank = shape.key_value_rank;
    all.extend([
        (KeyValueDown, vec![shape.cached(), hidden]),
        (KeyValueDownNorm, vec![rank]),
        (KeyValueUp, vec![heads * (shape.plain_dim + shape.value_dim), rank]),
        (AttentionOutput, vec![hidden, heads * shape.value_dim]),
    ]);
    if let Some(index) = shape.index {
        all.extend([
            (IndexQuery, vec![index.heads * index.head_dim, shape.query_rank.unwrap_or(hidden)]),
            (IndexKey, vec![index.head_dim, hidden]),
            (IndexKeyNorm, vec![index.head_dim]),
            (IndexKeyNormBias, vec![index.head_dim]),
            (IndexWeights, vec![index.heads, hidden]),
        ]);
    }
    all
}

fn linear_tensors(linear: &LinearShape, hidden: usize) -> Sizes {
    use BlockTensor::*;
    vec![
        // Queries, keys, values, and the gate of what heads give.
        (StateInput, vec![linear.channels() + linear.value_width(), hidden]),
        (StateSteps, vec![2 * linear.value_heads, hidden]),
        (Convolution, vec![linear.channels(), linear.convolution]),
        (StateDecay, vec![linear.value_heads]),
        (StateStepBias, vec![linear.value_heads]),
        (StateNorm, vec![linear.value_dim]),
        (StateOutput, vec![hidden, linear.value_width()]),
    ]
}

fn state_space_tensors(states: &StateSpaceShape, hidden: usize) -> Sizes {
    use BlockTensor::*;
    vec![
        // The gate, what the convolution goes over, and the steps.
        (StateInput, vec![states.width() + states.channels() + states.heads, hidden]),
        (Convolution, vec![states.channels(), states.convolution]),
        (ConvolutionBias, vec![states.channels()]),
        (StateDecay, vec![states.heads]),
        (StateStepBias, vec![states.heads]),
        (StateSkip, vec![states.heads]),
        (StateNorm, vec![states.width()]),
        (StateOutput, vec![hidden, states.width()]),
    ]
}

fn feed_forward_tensors(feed_forward: &FeedForward, hidden: usize) -> Sizes {
    use BlockTensor::*;
    let width = feed_forward.width;
    if let Some(experts) = &feed_forward.experts {
        return expert_tensors(feed_forward, experts, hidden);
    }
    let mut all = Vec::new();
    if feed_forward.gated {
        all.push((Gate, vec![width, hidden]));
    }
    all.extend([(Up, vec![width, hidden]), (Down, vec![hidden, width])]);
    if feed_forward.bias == FeedForwardBias::All {
        if feed_forward.gated {
            all.push((GateBias, vec![width]));
        }
        all.push((UpBias, vec![width]));
    }
    if feed_forward.bias != FeedForwardBias::None {
        all.push((DownBias, vec![hidden]));
    }
    all
}

fn expert_tensors(feed_forward: &FeedForward, experts: &Experts, hidden: usize) -> Sizes {
    use BlockTensor::*;
    let &Experts { count, shared_width: shared, .. } = experts;
    let width = feed_forward.width;
    let mut all = vec![(Router, vec![count, hidden])];
    let mut put = |is_there: bool, tensor, dims: &[usize]| {
        if is_there {
            all.push((tensor, dims.to_vec()));
        }
    };
    let (gated, bias) = (feed_forward.gated, feed_forward.bias == FeedForwardBias::All);
    put(experts.router_bias, RouterBias, &[count]);
    put(gated, ExpertGate, &[count, width, hidden]);
    put(true, ExpertUp, &[count, width, hidden]);
    put(true, ExpertDown, &[count, hidden, width]);
    put(gated && bias, ExpertGateBias, &[count, width]);
    put(bias, ExpertUpBias, &[count, width]);
    put(bias, ExpertDownBias, &[count, hidden]);
    put(gated && shared > 0, SharedGate, &[shared, hidden]);
    put(shared > 0, SharedUp, &[shared, hidden]);
    put(shared > 0, SharedDown, &[hidden, shared]);
    put(experts.shared_gate && shared > 0, SharedWeight, &[1, hidden]);
    all
}
