//! Attention over a key-value cache, without repeating the shared heads and without copying the cache.

mod cache;

use super::packed::{Format, PANEL};
use super::product::kernels::{Ahead, Stored, Tile, X, run, tile_rows};
use super::simd::Level;
use super::softmax::softmax;
use super::values::{SharedMut, contiguous_f32};
use super::work::share_out;
use crate::workload::CacheType;
pub use cache::KvCache;
use candle_core::utils::barrier_pool;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::ops::Range;

/// `softmax(scale q k^T) v` for queries `(batch, seq, heads, dim)` against a cache whose first `past + seq` positions of
/// each sequence are filled. The result is `(batch, seq, heads * dim)`.
pub struct CachedAttention<'a> {
    /// Keys and values.
    pub cache: &'a KvCache,
    /// Where in the cache the sequences are.
    pub places: Places,
    /// Factor of the scores, `1 / sqrt(dim)`.
    pub scale: f32,
    /// Positions that a query may look back to, itself included.
    pub window: Option<usize>,
    /// A query sees what stands behind it too.
    pub both_ways: bool,
}

/// Where in a cache the sequences of a call are, and how long they were before it.
#[derive(Debug, Clone)]
pub enum Places {
    /// Each in its own row, all of this length.
    All(usize),
    /// `(row, length)` of each.
    Each(Vec<(usize, usize)>),
}

impl Places {
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
/// contiguous `f32`, to `(batch, seq, heads * dim)`.
pub fn bidirectional(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (batch, seq, heads, dim) = k.dims4()?;
    let mut cache = KvCache::new(CacheType::F32, (batch, heads, seq, dim));
    cache.write(k, v, &Places::All(0))?;
    let scale = 1.0 / (dim as f32).sqrt();
    q.apply_op1_no_bwd(&CachedAttention { cache: &cache, places: Places::All(0), scale, window: None, both_ways: true })
}

impl CustomOp1 for CachedAttention<'_> {
    fn name(&self) -> &'static str {
        "cached-attention"
    }

    fn cpu_fwd(&self, q: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (batch, seq, heads, dim) = layout.shape().dims4()?;
        let cache = self.cache;
        let fits = self.places.fit(batch, cache.rows()) && dim == cache.dim() && heads % cache.heads().max(1) == 0;
        if !fits || cache.heads() == 0 {
            bail!("queries {:?} do not fit {cache:?}", layout.shape());
        }
        let longest = self.places.longest() + seq;
        if longest > cache.capacity() || seq == 0 {
            bail!("{longest} positions do not fit a cache of {}", cache.capacity());
        }
        let (q, ..) = contiguous_f32(q, layout)?;
        let mut result = vec![0f32; batch * seq * heads * dim];
        let out = SharedMut(result.as_mut_ptr());
        Call { op: self, q, out, seq, heads, level: Level::best() }.run(batch);
        Ok((CpuStorage::F32(result), Shape::from((batch, seq, heads * dim))))
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

/// Working space of a thread.
#[derive(Default)]
struct Space {
    /// Queries, side by side.
    queries: Vec<f32>,
    /// A row of scores for each query.
    scores: Vec<f32>,
    /// Shares, side by side.
    shares: Vec<f32>,
}

/// Queries that are handled together: all heads of a group at one position, then those at the next.
struct Rows<'a> {
    sequence: usize,
    kv_head: usize,
    rows: Range<usize>,
    space: &'a mut Space,
}

impl Call<'_> {
    /// Query heads that share a head of the cache.
    fn group(&self) -> usize {
        self.heads / self.op.cache.heads()
    }

    /// Splits the work over the pool's workers.
    fn run(&self, batch: usize) {
        let threads = barrier_pool().n_workers() + 1;
        let (kv_heads, rows) = (self.op.cache.heads(), self.seq * self.group());
        let most = tile_rows(self.level, Format::F32);
        // Few units would leave workers idle: then keys are read more than once rather than once.
        let wanted = (2 * threads).div_ceil(batch * kv_heads);
        let together = rows.div_ceil(wanted).clamp(1, most);
        let parts = rows.div_ceil(together);
        share_out(batch * kv_heads * parts, Space::default, |space, unit| {
            let (owner, part) = (unit / parts, unit % parts);
            let rows = part * together..rows.min((part + 1) * together);
            let (sequence, kv_head) = (owner / kv_heads, owner % kv_heads);
            self.attend(Rows { sequence, kv_head, rows, space });
        });
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

    /// Scores, shares and sums of some queries.
    fn attend(&self, mut of: Rows<'_>) {
        let Rows { sequence, ref rows, .. } = of;
        let first = self.visible(sequence, rows.start).start / PANEL * PANEL;
        let end = self.visible(sequence, rows.end - 1).end;
        let width = (end - first).next_multiple_of(PANEL);
        self.score(&mut of, first, width);
        self.share(&mut of, first, end, width);
        self.sum(&mut of, first, end);
    }

    /// `q k^T` from position `first` on: rows of `width`.
    fn score(&self, of: &mut Rows<'_>, first: usize, width: usize) {
        let cache = self.op.cache;
        let (count, dim) = (of.rows.len(), cache.dim());
        side_by_side(&mut of.space.queries, count, dim, |row| {
            let start = self.place(of.sequence, of.kv_head, of.rows.start + row);
            &self.q[start..start + dim]
        });
        of.space.scores.resize(count * width, 0.0);
        let keys = cache.keys(self.op.places.row(of.sequence), of.kv_head);
        let mut results = [0f32; 12 * PANEL];
        for column in (0..width).step_by(PANEL) {
            let panel = keys.panel((first + column) / PANEL);
            self.tile(keys.stored, panel, &of.space.queries, (count, dim), &mut results);
            for (scores, results) in of.space.scores.chunks_exact_mut(width).zip(results.chunks_exact(PANEL)) {
                scores[column..column + PANEL].copy_from_slice(results);
            }
        }
        if let Some(scales) = keys.scales {
            for scores in of.space.scores.chunks_exact_mut(width) {
                scores.iter_mut().zip(&scales[first..]).for_each(|(score, scale)| *score *= scale);
            }
        }
    }

    /// The softmax of what each query sees, nothing elsewhere.
    fn share(&self, of: &mut Rows<'_>, first: usize, end: usize, width: usize) {
        let values = self.op.cache.values(self.op.places.row(of.sequence), of.kv_head);
        for (row, scores) in of.space.scores.chunks_exact_mut(width).enumerate() {
            let seen = self.visible(of.sequence, of.rows.start + row);
            scores[..seen.start - first].fill(0.0);
            scores[seen.end - first..].fill(0.0);
            softmax(&mut scores[seen.start - first..seen.end - first], self.op.scale);
            if let Some(scales) = values.scales {
                scores.iter_mut().zip(&scales[first..]).for_each(|(share, scale)| *share *= scale);
            }
        }
        let scores = &of.space.scores;
        side_by_side(&mut of.space.shares, of.rows.len(), end - first, |row| {
            &scores[row * width..row * width + end - first]
        });
    }

    /// Sums of values by their shares, to their places in the result.
    fn sum(&self, of: &mut Rows<'_>, first: usize, end: usize) {
        let cache = self.op.cache;
        let (count, dim) = (of.rows.len(), cache.dim());
        let values = cache.values(self.op.places.row(of.sequence), of.kv_head);
        let mut results = [0f32; 12 * PANEL];
        for (index, column) in (0..dim).step_by(PANEL).enumerate() {
            let panel = values.strip(index, first);
            self.tile(values.stored, panel, &of.space.shares, (count, end - first), &mut results);
            let columns = PANEL.min(dim - column);
            for (row, results) in of.rows.clone().zip(results.chunks_exact(PANEL)) {
                let at = self.place(of.sequence, of.kv_head, row) + column;
                // SAFETY: these places of the result belong to these rows alone.
                let out = unsafe { std::slice::from_raw_parts_mut(self.out.at(at), columns) };
                out.copy_from_slice(&results[..columns]);
            }
        }
    }

    /// Products of `count` rows of `cols` numbers, side by side in `x`, with a panel.
    fn tile(&self, stored: Stored, panel: &[u8], x: &[f32], (count, cols): (usize, usize), out: &mut [f32]) {
        assert!(x.len() >= count * cols && out.len() >= count * PANEL);
        let element = match stored {
            Stored::Matrix(Format::F32) => 4,
            Stored::Matrix(_) => 2,
            Stored::Bytes => 1,
        };
        assert!(panel.len() >= cols * PANEL * element);
        let ahead = Ahead { from: panel.as_ptr().wrapping_add(4096), lines: PANEL * element / 2 };
        let (panel, x, out) = (panel.as_ptr(), X::Floats(x.as_ptr()), out.as_mut_ptr());
        // SAFETY: the level is one of this CPU, and the sizes were just checked.
        unsafe { run(self.level, &Tile { stored, panel, ahead, x, rows: count, cols, out }) };
    }
}

/// `count` rows of `len` numbers as `len` groups of one number of each.
fn side_by_side<'a>(to: &mut Vec<f32>, count: usize, len: usize, row: impl Fn(usize) -> &'a [f32]) {
    to.resize(count * len, 0.0);
    for index in 0..count {
        for (to, value) in to[index..].iter_mut().step_by(count).zip(row(index)) {
            *to = *value;
        }
    }
}

#[cfg(test)]
mod tests;
