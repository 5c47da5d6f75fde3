//! Pieces of sequences of different lengths in one pass: those that decode with one token each, and chunks of prompts.
//! Products see one long batch; attention sees each piece with its own row of the cache.

use crate::engine::backend::cpu::attention::{CachePositions, CachedAttention, KvCache};
use crate::engine::backend::ops;
use crate::engine::backend::tensors::{Cache, scale_of};
use crate::workload::model::parts::Attention;
use candle_core::{Result, Tensor, bail};

/// A piece of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'a> {
    /// Its row of the cache.
    pub row: usize,
    /// Positions that the row holds already.
    pub past: usize,
    /// The tokens behind them; at least one.
    pub tokens: &'a [u32],
    /// The token behind the last is wanted.
    pub sampled: bool,
}

/// Where the pieces of a pass are.
pub struct RaggedBatch {
    /// `(row, past, tokens)`: pieces of one token first.
    pieces: Vec<(usize, usize, usize)>,
    sampled_ends: Vec<u32>,
    /// How many pieces, from the first, have one token.
    singles: usize,
}

impl RaggedBatch {
    /// Checks that all pieces have a place. Those of one token must come first, as one call attends to all of them.
    pub(in crate::engine) fn new(segments: &[Segment<'_>], capacity: usize) -> Result<Self> {
        let mut end = 0;
        let mut ragged = Self { pieces: Vec::with_capacity(segments.len()), sampled_ends: Vec::new(), singles: 0 };
        for segment in segments {
            let count = segment.tokens.len();
            if count == 0 || segment.past + count > capacity {
                bail!("{} positions do not fit a cache of {capacity}", segment.past + count);
            }
            if count == 1 && ragged.singles == ragged.pieces.len() {
                ragged.singles += 1;
            }
            end += count;
            if segment.sampled {
                ragged.sampled_ends.push(end as u32 - 1);
            }
            ragged.pieces.push((segment.row, segment.past, count));
        }
        if end == 0 {
            bail!("a pass has at least one token");
        }
        if ragged.sampled_ends.is_empty() {
            // A pass of nothing but the beginning of a prompt: some logits are made and not looked at.
            ragged.sampled_ends.push(end as u32 - 1);
        }
        Ok(ragged)
    }

    /// Tokens of the pass.
    pub(in crate::engine) fn tokens(&self) -> usize {
        self.pieces.iter().map(|(.., count)| count).sum()
    }

    /// The position of each token in its sequence.
    pub(in crate::engine) fn positions(&self) -> Vec<u32> {
        self.pieces.iter().flat_map(|(_, past, count)| (*past..past + count).map(|p| p as u32)).collect()
    }

    /// Rows of the pass whose logits are wanted.
    pub(in crate::engine) fn sampled_ends(&self) -> Vec<u32> {
        self.sampled_ends.clone()
    }

    /// How many.
    pub(in crate::engine) fn sampled(&self) -> usize {
        self.sampled_ends.len()
    }

    /// Writes new keys and values into the cache and attends: queries `(1, tokens, heads, dim)`, keys and values
    /// `(1, tokens, kv_heads, dim)`. Gives `(1, tokens, heads * dim)`.
    pub(in crate::engine) fn attend(
        &self,
        (q, k, v): (&Tensor, &Tensor, &Tensor),
        cache: &mut Cache,
        attention: &Attention,
    ) -> Result<Tensor> {
        match cache {
            Cache::Own(cache) => {
                self.each_piece(|place, at, count| {
                    cache.write(&k.narrow(1, at, count)?, &v.narrow(1, at, count)?, &CachePositions::Each(vec![place]))
                })?;
                self.own(q, cache, attention)
            }
            Cache::Candle(keys, values) => {
                self.each_piece(|(row, past), at, count| {
                    for (new, cache) in [(k, &*keys), (v, &*values)] {
                        let new = new.narrow(1, at, count)?.transpose(1, 2)?.contiguous()?;
                        cache.narrow(0, row, 1)?.slice_set(&new, 2, past)?;
                    }
                    Ok(())
                })?;
                self.candle(q, (keys, values), attention)
            }
        }
    }

    /// The row and length of each piece, where its tokens begin in the pass, and how many they are.
    fn each_piece(&self, mut work: impl FnMut((usize, usize), usize, usize) -> Result<()>) -> Result<()> {
        let mut at = 0;
        for (row, past, count) in &self.pieces {
            work((*row, *past), at, *count)?;
            at += count;
        }
        Ok(())
    }

    fn own(&self, q: &Tensor, cache: &KvCache, parts: &Attention) -> Result<Tensor> {
        let (_, _, heads, dim) = q.dims4()?;
        let attention = |places| CachedAttention {
            cache,
            places: CachePositions::Each(places),
            scale: scale_of(parts),
            window: parts.mask.window(),
            both_ways: false,
        };
        let mut parts = Vec::new();
        if self.singles > 0 {
            let places = self.pieces[..self.singles].iter().map(|(row, past, _)| (*row, *past)).collect();
            let q = q.narrow(1, 0, self.singles)?.reshape((self.singles, 1, heads, dim))?;
            let y = q.apply_op1_no_bwd(&attention(places))?;
            parts.push(y.reshape((1, self.singles, heads * dim))?);
        }
        let mut at = self.singles;
        for (row, past, count) in &self.pieces[self.singles..] {
            let q = q.narrow(1, at, *count)?;
            parts.push(q.apply_op1_no_bwd(&attention(vec![(*row, *past)]))?);
            at += count;
        }
        match parts.as_slice() {
            [one] => Ok(one.clone()),
            several => Tensor::cat(several, 1),
        }
    }

    fn candle(&self, q: &Tensor, (keys, values): (&Tensor, &Tensor), attention: &Attention) -> Result<Tensor> {
        let mut parts = Vec::with_capacity(self.pieces.len());
        let mut at = 0;
        for (row, past, count) in &self.pieces {
            let window = attention.mask.window();
            let mask = ops::mask(*count, *past, window, q.device())?;
            let cache = (&keys.narrow(0, *row, 1)?, &values.narrow(0, *row, 1)?);
            let q = q.narrow(1, at, *count)?;
            let seen = ops::CacheView { past: *past, window, mask: mask.as_ref() };
            parts.push(ops::attention(&q, cache, attention.scale, &seen)?);
            at += count;
        }
        Tensor::cat(&parts, 1)
    }
}
