//! What blocks keep of positions and what it costs to look back at them: caches of keys and values, small vectors of latent
//! attention, states of constant size.

use super::cache::CacheType;
use super::parts::{AttentionMask, BlockParts, Mixer, Parts};
use super::shape::ModelShape;
use super::sublayers::{LinearShape, StateSpaceShape};
use crate::units::Bytes;

/// Operations of one position for each number of a state: it is decayed, what it knows of the key is taken from it and what it
/// shall know is added (two each), and it is read (two). Gated Delta Networks, arXiv 2412.06464, equation 10.
const LINEAR_OPS: f64 = 7.0;

/// The same of a state-space layer, which only decays, adds and reads (arXiv 2405.21060, section 2).
const STATE_SPACE_OPS: f64 = 5.0;

/// Bytes of a number of a state, which engines keep in 32 bits: it is summed into over a whole sequence.
const STATE_BYTES: f64 = 4.0;

/// Bytes of a number that waits for a convolution.
const WAITING_BYTES: f64 = 2.0;

/// What a sequence has in the block whatever its length.
fn state_bytes(mixer: &Mixer) -> f64 {
    let waiting = |channels: usize, reach: usize| WAITING_BYTES * channels as f64 * reach.saturating_sub(1) as f64;
    match mixer {
        Mixer::Linear(linear) => STATE_BYTES * linear_state(linear) + waiting(linear.channels(), linear.convolution),
        Mixer::StateSpace(states) => STATE_BYTES * space_state(states) + waiting(states.channels(), states.convolution),
        Mixer::Attention(_) | Mixer::Latent(_) => 0.0,
    }
}

fn linear_state(linear: &LinearShape) -> f64 {
    (linear.value_heads * linear.key_dim * linear.value_dim) as f64
}

fn space_state(states: &StateSpaceShape) -> f64 {
    (states.heads * states.head_dim * states.state) as f64
}

/// Bytes of the cache of one position of one sequence.
fn position_bytes(mixer: &Mixer, kind: CacheType) -> f64 {
    let bytes = |numbers: usize| (numbers * kind.element_bytes() + kind.scale_bytes()) as f64;
    match mixer {
        Mixer::Attention(attention) if attention.shares_cache || !attention.mask.keeps() => 0.0,
        Mixer::Attention(attention) => 2.0 * attention.kv_heads as f64 * bytes(attention.head_dim),
        Mixer::Latent(latent) => {
            bytes(latent.shape.cached()) + latent.shape.index.map_or(0.0, |index| bytes(index.head_dim))
        }
        Mixer::Linear(_) | Mixer::StateSpace(_) => 0.0,
    }
}

/// Operations that a query at the end of `context` positions takes to look at them, its products with weights apart.
fn look_back(mixer: &Mixer, context: f64) -> f64 {
    match mixer {
        Mixer::Attention(attention) => 4.0 * attention.q_width() as f64 * attention.mask.seen(context),
        Mixer::Latent(latent) => {
            let shape = latent.shape;
            // Scores and values are those of the small vectors, which the query is brought to by the matrices of keys and
            // values.
            let width = latent.heads * (shape.cached() + shape.key_value_rank);
            let (positions, chooses) = match shape.index {
                Some(index) => {
                    (context.min(index.positions as f64), 2.0 * (index.heads * index.head_dim) as f64 * context)
                }
                None => (context, 0.0),
            };
            2.0 * width as f64 * positions + chooses
        }
        Mixer::Linear(linear) => LINEAR_OPS * linear_state(linear),
        Mixer::StateSpace(states) => STATE_SPACE_OPS * space_state(states),
    }
}

/// The same of a prompt of `p` positions in one pass.
fn look_back_of_prompt(mixer: &Mixer, p: f64) -> f64 {
    match mixer {
        Mixer::Attention(attention) => 4.0 * attention.q_width() as f64 * attention.mask.pairs(p),
        Mixer::Latent(latent) => {
            let shape = latent.shape;
            // Keys and values are made whole for a prompt, which is less than to bring each query to the small vectors.
            let width = latent.heads * (shape.query_dim() + shape.value_dim);
            let before = |window| AttentionMask::Before { window }.pairs(p);
            let (pairs, chooses) = match shape.index {
                Some(index) => {
                    (before(Some(index.positions)), 2.0 * (index.heads * index.head_dim) as f64 * before(None))
                }
                None => (before(None), 0.0),
            };
            2.0 * width as f64 * pairs + chooses
        }
        Mixer::Linear(_) | Mixer::StateSpace(_) => p * look_back(mixer, p),
    }
}

/// The positions that are kept of `tokens`.
fn kept(mixer: &Mixer, tokens: f64) -> f64 {
    match mixer {
        Mixer::Attention(attention) => attention.mask.window().map_or(tokens, |window| tokens.min(window as f64)),
        _ => tokens,
    }
}

impl Parts {
    fn mixers(&self) -> impl Iterator<Item = (&Mixer, f64)> {
        self.blocks
            .iter()
            .filter_map(|(block, count): &(BlockParts, usize)| Some((block.mixer.as_ref()?, *count as f64)))
    }

    fn of_mixers(&self, of: impl Fn(&Mixer) -> f64) -> f64 {
        self.mixers().fold(0.0, |sum, (mixer, count)| sum + count * of(mixer))
    }

    /// Bytes of key and value cache for `tokens` positions of `batch` sequences in one precision, its scales included: of layers
    /// with a window, as many positions as it holds; with the states of those that keep one. It is what an engine needs that
    /// keeps no more than is looked at.
    pub fn cache_bytes(&self, batch: usize, tokens: usize, kind: CacheType) -> Bytes {
        let of = |mixer: &Mixer| position_bytes(mixer, kind) * kept(mixer, tokens as f64);
        Bytes(batch as f64 * (self.of_mixers(of) + self.cross_bytes(kind))) + self.state_bytes(batch)
    }

    /// Keys and values of what an encoder has made of the input, which decoder blocks keep whatever they generate.
    fn cross_bytes(&self, kind: CacheType) -> f64 {
        let of = |(block, count): &(BlockParts, usize)| {
            let cross = block.cross?;
            let bytes = (cross.attention.head_dim * kind.element_bytes() + kind.scale_bytes()) as f64;
            Some(2.0 * (cross.attention.kv_heads * cross.positions * count) as f64 * bytes)
        };
        self.blocks.iter().filter_map(of).fold(0.0, |sum, one| sum + one)
    }

    /// Operations of a query that looks at what an encoder has made.
    fn cross_ops(&self) -> f64 {
        let of = |(block, count): &(BlockParts, usize)| {
            block.cross.map(|cross| 4.0 * (cross.attention.q_width() * cross.positions * count) as f64)
        };
        self.blocks.iter().filter_map(of).fold(0.0, |sum, one| sum + one)
    }

    /// The same of an engine that keeps all positions of every layer, windows or not.
    pub fn whole_cache_bytes(&self, batch: usize, tokens: usize, kind: CacheType) -> Bytes {
        let of = |mixer: &Mixer| position_bytes(mixer, kind) * tokens as f64;
        Bytes(batch as f64 * (self.of_mixers(of) + self.cross_bytes(kind))) + self.state_bytes(batch)
    }

    /// Bytes that `batch` sequences take whatever their lengths.
    pub fn state_bytes(&self, batch: usize) -> Bytes {
        Bytes(batch as f64 * self.of_mixers(state_bytes))
    }

    /// Bytes that a decode step of `batch` sequences of `context` positions reads of its caches, states written back included.
    pub fn read_cache_bytes(&self, batch: usize, context: f64, kind: CacheType) -> Bytes {
        let of = |mixer: &Mixer| {
            let positions = match mixer {
                Mixer::Attention(attention) => attention.mask.seen(context),
                // Its keys are read whole to choose, and what they stand for where they are chosen.
                Mixer::Latent(latent) => match latent.shape.index {
                    Some(index) => {
                        let keys = (index.head_dim * kind.element_bytes() + kind.scale_bytes()) as f64;
                        let chosen = context.min(index.positions as f64);
                        let values = position_bytes(mixer, kind) - keys;
                        return keys * context + values * chosen;
                    }
                    None => context,
                },
                Mixer::Linear(_) | Mixer::StateSpace(_) => 0.0,
            };
            position_bytes(mixer, kind) * positions + 2.0 * state_bytes(mixer)
        };
        Bytes(batch as f64 * (self.of_mixers(of) + self.cross_bytes(kind)))
    }

    /// Of [`Parts::prefill_ops`] of one prompt, those of attention.
    pub fn prefill_attention_ops(&self, prompt: f64) -> f64 {
        self.of_mixers(|mixer| look_back_of_prompt(mixer, prompt)) + prompt * self.cross_ops()
    }

    /// Of [`Parts::decode_ops`] of one sequence, those of attention.
    pub fn decode_attention_ops(&self, context: f64) -> f64 {
        self.of_mixers(|mixer| look_back(mixer, context)) + self.cross_ops()
    }
}

impl ModelShape {
    /// See [`Parts::cache_bytes`].
    pub fn cache_bytes(&self, batch: usize, tokens: usize, kind: CacheType) -> Bytes {
        self.parts().cache_bytes(batch, tokens, kind)
    }

    /// See [`Parts::whole_cache_bytes`].
    pub fn whole_cache_bytes(&self, batch: usize, tokens: usize, kind: CacheType) -> Bytes {
        self.parts().whole_cache_bytes(batch, tokens, kind)
    }

    /// See [`Parts::state_bytes`].
    pub fn state_bytes(&self, batch: usize) -> Bytes {
        self.parts().state_bytes(batch)
    }

    /// See [`Parts::read_cache_bytes`].
    pub fn read_cache_bytes(&self, batch: usize, context: f64, kind: CacheType) -> Bytes {
        self.parts().read_cache_bytes(batch, context, kind)
    }
}
