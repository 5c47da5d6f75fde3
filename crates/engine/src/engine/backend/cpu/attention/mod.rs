//! Attention over a key-value cache, without repeating the shared heads and without copying the cache.

mod cache;

use super::packed::{Format, PANEL};
use super::pool::pool;
use super::product::kernels::{Prefetch, Stored, Tile, X, run, tile_rows};
use super::simd::Level;
use super::softmax::{Total, exponentials};
use super::values::{SharedMut, contiguous_f32};
use super::work::share_out;
use crate::workload::CacheType;
pub use cache::KvCache;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::ops::Range;
use std::sync::Mutex;

/// `softmax(scale q k^T) v` for queries `(batch, seq, heads, dim)` against a cache whose first `past + seq` positions of
/// each sequence are filled. The result is `(batch, seq, heads * dim)`.
pub struct CachedAttention<'a> {
    /// Keys and values.
    pub cache: &'a KvCache,
    /// Where in the cache the sequences are.
    pub places: CachePositions,
    /// Factor of the scores, `1 / sqrt(dim)`.
    pub scale: f32,
    /// Positions that a query may look back to, itself included.
    pub window: Option<usize>,
    /// A query sees what stands behind it too.
    pub both_ways: bool,
}

/// Where in a cache the sequences of a call are, and how long they were before it.
#[derive(Debug, Clone)]
pub enum CachePositions {
    /// Each in its own row, all of this length.
    All(usize),
    /// `(row, length)` of each.
    Each(Vec<(usize, usize)>),
}

impl CachePositions {
    fn row(&self, sequence: usize) -> usize {
        match self {
            Self::All(_) => sequence,
            Self::Each(places) => places[sequence].0,
        }
    }

    fn past(&self, sequence: usize) -> usize {
        match self {
            Self::All(past) => *past,
            Self::Each(places) => places[sequence].1,
        }
    }

    /// The longest.
    fn longest(&self) -> usize {
        match self {
            Self::All(past) => *past,
            Self::Each(places) => places.iter().map(|(_, past)| *past).max().unwrap_or(0),
        }
    }

    /// Whether `sequences` of them lie within a cache of so many rows.
    fn fit(&self, sequences: usize, rows: usize) -> bool {
        match self {
            Self::All(_) => sequences == rows,
            Self::Each(places) => places.len() == sequences && places.iter().all(|(row, _)| *row < rows),
        }
    }
}

/// Attention of whole sequences in which every position sees every other: `q`, `k` and `v` of `(batch, seq, heads, dim)`,
/// contiguous `f32`, to `(batch, seq, heads * dim)`; products of queries and keys are multiplied by `scale`.
pub fn bidirectional(q: &Tensor, k: &Tensor, v: &Tensor, scale: f32) -> Result<Tensor> {
    let (batch, seq, heads, dim) = k.dims4()?;
    let mut cache = KvCache::new(CacheType::F32, (batch, heads, seq, dim));
    cache.write(k, v, &CachePositions::All(0))?;
    q.apply_op1_no_bwd(&CachedAttention {
        cache: &cache,
        places: CachePositions::All(0),
        scale,
        window: None,
        both_ways: true,
    })
}

impl CustomOp1 for CachedAttention<'_> {
    fn name(&self) -> &'static str {
        "cached-attention"
    }

    fn cpu_fwd(&self, q: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, seq, heads, dim) = layout.shape().dims4()?;
        let cache = self.cache;
        let fits = self.places.fit(batch, cache.rows()) && dim == cache.dim() && heads % cache.heads().max(1) == 0;
        if !fits || cache.heads() == 0 || heads == 0 || dim == 0 {
            bail!("queries {:?} do not fit {cache:?}", layout.shape());
        }
        let longest = self.places.longest() + seq;
        if longest > cache.capacity() || seq == 0 {
            bail!("{longest} positions do not fit a cache of {}", cache.capacity());
        }
        let (q, ..) = contiguous_f32(q, layout)?;
        let result = self.attend(q, (batch, seq, heads), pool().threads());
        Ok((CpuStorage::F32(result), Shape::from((batch, seq, heads * dim))))
    }
}

impl CachedAttention<'_> {
    /// The result for queries that fit, cut for so many threads. The cut is the only thing that depends on their number.
    fn attend(&self, q: &[f32], (batch, seq, heads): (usize, usize, usize), threads: usize) -> Vec<f32> {
        let mut result = vec![0f32; batch * seq * heads * self.cache.dim()];
        let out = SharedMut(result.as_mut_ptr());
        if batch > 0 {
            Call { op: self, q, out, seq, heads, level: Level::best() }.run(batch, threads);
        }
        result
    }
}

/// One call: its queries, contiguous, and where its result goes.
struct Call<'a> {
    op: &'a CachedAttention<'a>,
    q: &'a [f32],
    out: SharedMut,
    seq: usize,
    heads: usize,
    level: Level,
}

/// Positions that are worth a unit of their own, where heads are too few for all threads.
const LEAST_STRETCH: usize = 256;

/// A block of queries that are handled together: all heads of a group at one position, then those at the next; and the
/// stretch of positions that they are handled for.
struct QueryBlock {
    sequence: usize,
    kv_head: usize,
    rows: Range<usize>,
    stretch: Range<usize>,
}

/// The attention of some queries over a part of the positions, to be joined with the other parts: sums of values by
/// exponentials, `rows x dim`, and what they are shares of.
struct PartialAttention {
    values: Vec<f32>,
    totals: Vec<Total>,
}

impl Call<'_> {
    /// Query heads that share a head of the cache.
    fn group(&self) -> usize {
        self.heads / self.op.cache.heads()
    }

    /// Cuts the work for `threads`: by sequences, heads and blocks of queries, and where those are few, by stretches of
    /// positions, whose sums are put together in the end. How many stretches there are follows from the longest sequence:
    /// in one that is shorter than they are many, most of them are empty, and are passed over.
    fn run(&self, batch: usize, threads: usize) {
        let (kv_heads, rows) = (self.op.cache.heads(), self.seq * self.group());
        let together = tile_rows(self.level, Format::F32).min(rows);
        let blocks = rows.div_ceil(together);
        let owners = batch * kv_heads * blocks;
        let longest = self.op.places.longest() + self.seq;
        let wanted = (4 * threads).div_ceil(owners);
        let stretches = if owners >= 4 * threads { 1 } else { wanted.clamp(1, longest.div_ceil(LEAST_STRETCH)) };
        let unit = |index: usize| {
            let (owner, stretch) = (index / stretches, index % stretches);
            let (head, block) = (owner / blocks, owner % blocks);
            let (sequence, kv_head) = (head / kv_heads, head % kv_heads);
            let rows = block * together..rows.min((block + 1) * together);
            let (first, end) = (self.visible(sequence, rows.start).start, self.visible(sequence, rows.end - 1).end);
            // Stretches begin with a panel of keys.
            let at = |part: usize| (first + (end - first) * part / stretches) / PANEL * PANEL;
            let stretch = at(stretch)..if stretch + 1 == stretches { end } else { at(stretch + 1) };
            QueryBlock { sequence, kv_head, rows, stretch }
        };
        if stretches == 1 {
            share_out(owners, Vec::new, |scores, index| {
                let of = unit(index);
                self.finish(&of, &[self.attend(&of, scores)]);
            });
            return;
        }
        let parts: Vec<Mutex<Option<PartialAttention>>> = (0..owners * stretches).map(|_| Mutex::new(None)).collect();
        share_out(parts.len(), Vec::new, |scores, index| {
            let of = unit(index);
            if !of.stretch.is_empty() {
                *parts[index].lock().unwrap_or_else(|e| e.into_inner()) = Some(self.attend(&of, scores));
            }
        });
        let mut parts = parts.into_iter().map(|part| part.into_inner().unwrap_or_else(|e| e.into_inner()));
        for owner in 0..owners {
            let sums: Vec<PartialAttention> = parts.by_ref().take(stretches).flatten().collect();
            self.finish(&unit(owner * stretches), &sums);
        }
    }

    /// The positions that the query in row `row` of a sequence sees.
    fn visible(&self, sequence: usize, row: usize) -> Range<usize> {
        let past = self.op.places.past(sequence);
        if self.op.both_ways {
            return 0..past + self.seq;
        }
        let end = past + row / self.group() + 1;
        end.saturating_sub(self.op.window.unwrap_or(end))..end
    }

    /// Where a query (or its result) starts.
    fn place(&self, sequence: usize, kv_head: usize, row: usize) -> usize {
        let group = self.group();
        let (index, head) = (row / group, kv_head * group + row % group);
        ((sequence * self.seq + index) * self.heads + head) * self.op.cache.dim()
    }

    /// Scores, exponentials and sums of some queries over a stretch.
    fn attend(&self, of: &QueryBlock, scores: &mut Vec<f32>) -> PartialAttention {
        let (first, end) = (of.stretch.start, of.stretch.end);
        let width = (end - first).next_multiple_of(PANEL);
        scores.resize(of.rows.len() * width, 0.0);
        self.score(of, scores, width);
        let totals = self.share(of, scores, width);
        PartialAttention { values: self.sum(of, scores, width), totals }
    }

    /// `q k^T` over the stretch: rows of `width`.
    fn score(&self, of: &QueryBlock, scores: &mut [f32], width: usize) {
        let cache = self.op.cache;
        let (count, dim) = (of.rows.len(), cache.dim());
        let queries = self.side_by_side(of);
        let keys = cache.keys(self.op.places.row(of.sequence), of.kv_head);
        let mut results = [0f32; 12 * PANEL];
        for column in (0..width).step_by(PANEL) {
            let panel = keys.panel((of.stretch.start + column) / PANEL);
            let x = X::Floats(queries.as_ptr());
            assert!(queries.len() >= count * dim);
            self.tile(keys.stored, panel, x, (count, dim), &mut results);
            for (scores, results) in scores.chunks_exact_mut(width).zip(results.chunks_exact(PANEL)) {
                scores[column..column + PANEL].copy_from_slice(results);
            }
        }
        if let Some(scales) = keys.scales {
            for scores in scores.chunks_exact_mut(width) {
                scores.iter_mut().zip(&scales[of.stretch.start..]).for_each(|(score, scale)| *score *= scale);
            }
        }
    }

    /// The queries, a number of each after the other.
    fn side_by_side(&self, of: &QueryBlock) -> Vec<f32> {
        let (count, dim) = (of.rows.len(), self.op.cache.dim());
        let mut queries = vec![0f32; count * dim];
        for (index, row) in of.rows.clone().enumerate() {
            let start = self.place(of.sequence, of.kv_head, row);
            for (to, value) in queries[index..].iter_mut().step_by(count).zip(&self.q[start..start + dim]) {
                *to = *value;
            }
        }
        queries
    }

    /// The exponentials of what each query sees of the stretch, nothing elsewhere.
    fn share(&self, of: &QueryBlock, scores: &mut [f32], width: usize) -> Vec<Total> {
        let values = self.op.cache.values(self.op.places.row(of.sequence), of.kv_head);
        let (first, end) = (of.stretch.start, of.stretch.end);
        let each = scores.chunks_exact_mut(width).zip(of.rows.clone()).map(|(scores, row)| {
            let seen = self.visible(of.sequence, row);
            let (start, stop) = (seen.start.clamp(first, end) - first, seen.end.clamp(first, end) - first);
            scores[..start].fill(0.0);
            scores[stop..].fill(0.0);
            let mut total = Total { most: f32::NEG_INFINITY, sum: 0.0 };
            if start < stop {
                exponentials(&mut scores[start..stop], self.op.scale, &mut total);
            }
            if let Some(scales) = values.scales {
                scores[start..stop].iter_mut().zip(&scales[first + start..]).for_each(|(share, scale)| *share *= scale);
            }
            total
        });
        each.collect()
    }

    /// Sums of values by exponentials.
    fn sum(&self, of: &QueryBlock, scores: &[f32], width: usize) -> Vec<f32> {
        let cache = self.op.cache;
        let (count, dim) = (of.rows.len(), cache.dim());
        let values = cache.values(self.op.places.row(of.sequence), of.kv_head);
        let mut sums = vec![0f32; count * dim];
        let mut results = [0f32; 12 * PANEL];
        for (index, column) in (0..dim).step_by(PANEL).enumerate() {
            let panel = values.strip(index, of.stretch.start);
            assert!(scores.len() >= count * width && width >= of.stretch.len());
            let x = X::Apart(scores.as_ptr(), width);
            self.tile(values.stored, panel, x, (count, of.stretch.len()), &mut results);
            let columns = PANEL.min(dim - column);
            for (sums, results) in sums.chunks_exact_mut(dim).zip(results.chunks_exact(PANEL)) {
                sums[column..column + columns].copy_from_slice(&results[..columns]);
            }
        }
        sums
    }

    /// Sums over all stretches, as shares of the whole, to their places in the result.
    fn finish(&self, of: &QueryBlock, parts: &[PartialAttention]) {
        let dim = self.op.cache.dim();
        for (index, row) in of.rows.clone().enumerate() {
            let most = parts.iter().map(|part| part.totals[index].most).fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = parts.iter().map(|part| (part.totals[index].most - most).exp()).collect();
            let total: f32 = parts.iter().zip(&weights).map(|(part, weight)| part.totals[index].sum * weight).sum();
            let at = self.place(of.sequence, of.kv_head, row);
            // SAFETY: these places of the result belong to these rows alone, and hold zeros.
            let out = unsafe { std::slice::from_raw_parts_mut(self.out.at(at), dim) };
            for (part, weight) in parts.iter().zip(&weights) {
                let share = weight / total;
                let values = &part.values[index * dim..(index + 1) * dim];
                out.iter_mut().zip(values).for_each(|(out, value)| *out += share * value);
            }
        }
    }

    /// Products of `count` rows of `cols` numbers at `x` with a panel.
    fn tile(&self, stored: Stored, panel: &[u8], x: X, (count, cols): (usize, usize), out: &mut [f32]) {
        assert!(out.len() >= count * PANEL);
        let element = match stored {
            Stored::Matrix(Format::F32) => 4,
            Stored::Matrix(_) => 2,
            Stored::Bytes => 1,
        };
        assert!(panel.len() >= cols * PANEL * element);
        let prefetch = Prefetch { from: panel.as_ptr().wrapping_add(4096), lines: PANEL * element / 2 };
        let (panel, out) = (panel.as_ptr(), out.as_mut_ptr());
        // SAFETY: the level is one of this CPU; panel and results were just checked, activations by the caller.
        unsafe { run(self.level, &Tile { stored, panel, prefetch, x, rows: count, cols, out }) };
    }
}

#[cfg(test)]
mod tests;
