//! Attention over a preallocated key-value cache, without repeating the shared heads and without copying the cache.

use super::dot::DenseWeight;
use super::matmul::SharedMut;
use super::softmax::{softmax, weighted_sum};
use candle_core::utils::barrier_pool;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, bail};

/// Query rows that a prefill handles together.
const QUERY_BLOCK: usize = 32;

/// `softmax(scale q k^T) v`, causal, for queries `(batch, seq, heads, dim)` against caches
/// `(rows, kv_heads, capacity, dim)` whose first `past + seq` positions are filled. The result is
/// `(batch, seq, heads * dim)`.
pub struct CachedAttention {
    /// Where in the cache the sequences are.
    pub places: Places,
    /// Factor of the scores, `1 / sqrt(dim)`.
    pub scale: f32,
    /// Positions that a query may look back to, itself included.
    pub window: Option<usize>,
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

/// The sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    seq: usize,
    heads: usize,
    kv_heads: usize,
    capacity: usize,
    dim: usize,
}

/// The inputs of one call, contiguous, and where its result goes.
struct Call<'a> {
    op: &'a CachedAttention,
    sizes: Sizes,
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    out: SharedMut,
}

impl Call<'_> {
    /// The cached keys and values of one head of a sequence: `positions x dim` each.
    fn cache(&self, batch: usize, kv_head: usize) -> (&[f32], &[f32]) {
        let Sizes { kv_heads, capacity, dim, .. } = self.sizes;
        let start = (self.op.places.row(batch) * kv_heads + kv_head) * capacity * dim;
        let range = start..start + capacity * dim;
        (&self.k[range.clone()], &self.v[range])
    }

    /// The positions that the query at `index` of a sequence sees.
    fn visible(&self, batch: usize, index: usize) -> std::ops::Range<usize> {
        let end = self.op.places.past(batch) + index + 1;
        end.saturating_sub(self.op.window.unwrap_or(end))..end
    }

    /// Where the row of a query (or of its result) starts.
    fn row(&self, batch: usize, index: usize, head: usize) -> usize {
        let Sizes { seq, heads, dim, .. } = self.sizes;
        ((batch * seq + index) * heads + head) * dim
    }

    /// One new position: scores by dots, up to four query heads of a group sharing each read of a key.
    fn decode(&self, batch: usize, first_head: usize, count: usize) {
        let Sizes { heads, kv_heads, dim, .. } = self.sizes;
        let (keys, values) = self.cache(batch, first_head / (heads / kv_heads));
        let seen = self.visible(batch, 0);
        let len = seen.len();
        let mut scores = vec![0f32; count * len];
        let queries = [0, 1, 2, 3].map(|i| self.q[self.row(batch, 0, first_head + i.min(count - 1))..].as_ptr());
        for (block, t0) in seen.clone().step_by(4).enumerate() {
            let r = (seen.end - t0).min(4);
            let rows = [0, 1, 2, 3].map(|i| keys[(t0 + i.min(r - 1)) * dim..].as_ptr());
            // SAFETY: each pointer starts a row of `dim` values.
            let dots = unsafe { f32::dots(rows, r, queries, count, dim) };
            for (head, dots) in dots.iter().enumerate().take(count) {
                scores[head * len + block * 4..][..r].copy_from_slice(&dots[..r]);
            }
        }
        for (head, scores) in scores.chunks_exact_mut(len).enumerate() {
            softmax(scores, self.op.scale);
            // SAFETY: this worker alone writes the result rows of its heads.
            let out =
                unsafe { std::slice::from_raw_parts_mut(self.out.at(self.row(batch, 0, first_head + head)), dim) };
            weighted_sum(scores, &values[seen.start * dim..seen.end * dim], out);
        }
    }

    /// A block of query rows of one head: two small GEMMs around the softmax.
    fn prefill(&self, batch: usize, head: usize, first: usize, rows: usize, scores: &mut [f32]) {
        let Sizes { heads, kv_heads, dim, .. } = self.sizes;
        let (keys, values) = self.cache(batch, head / (heads / kv_heads));
        let (start, end) = (self.visible(batch, first).start, self.visible(batch, first + rows - 1).end);
        let len = end - start;
        let scores = &mut scores[..rows * len];
        let stride = heads * dim;
        let q = &self.q[self.row(batch, first, head)..];
        // SAFETY: `q` has `rows` rows of `dim` values `stride` apart, the caches `len` rows, `scores` rows x len.
        unsafe {
            small_gemm(
                (rows, len, dim),
                scores.as_mut_ptr(),
                len,
                (q.as_ptr(), stride),
                (keys[start * dim..].as_ptr(), 1, dim),
            );
        }
        for (i, row) in scores.chunks_exact_mut(len).enumerate() {
            let seen = self.visible(batch, first + i);
            row[..seen.start - start].fill(0.0);
            row[seen.end - start..].fill(0.0);
            softmax(&mut row[seen.start - start..seen.end - start], self.op.scale);
        }
        // SAFETY: as above; this worker alone writes the result rows of this head and block.
        unsafe {
            let out = self.out.at(self.row(batch, first, head));
            small_gemm((rows, dim, len), out, stride, (scores.as_ptr(), len), (values[start * dim..].as_ptr(), dim, 1));
        }
    }
}

/// `c = a . b` on this thread. `a` is `(rows, inner)` with the given row stride; `b` is `(inner, cols)` with the
/// given row and column strides; `c` has `c_stride` between rows.
///
/// # Safety
/// The pointers must be valid for those sizes and strides.
unsafe fn small_gemm(
    (rows, cols, inner): (usize, usize, usize),
    c: *mut f32,
    c_stride: usize,
    (a, a_stride): (*const f32, usize),
    (b, b_row, b_col): (*const f32, usize, usize),
) {
    let none = gemm::Parallelism::None;
    let (cs, as_, br, bc) = (c_stride as isize, a_stride as isize, b_row as isize, b_col as isize);
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(rows, cols, inner, c, 1, cs, false, a, 1, as_, b, bc, br, 0.0, 1.0, false, false, false, none);
    }
}

impl CustomOp3 for CachedAttention {
    fn name(&self) -> &'static str {
        "cached-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        ql: &Layout,
        k: &CpuStorage,
        kl: &Layout,
        v: &CpuStorage,
        vl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (batch, seq, heads, dim) = ql.shape().dims4()?;
        let (kv_batch, kv_heads, capacity, kv_dim) = kl.shape().dims4()?;
        if kl.shape() != vl.shape()
            || !self.places.fit(batch, kv_batch)
            || kv_dim != dim
            || kv_heads == 0
            || heads % kv_heads != 0
        {
            bail!("queries {:?} do not fit caches {:?} and {:?}", ql.shape(), kl.shape(), vl.shape());
        }
        let longest = self.places.longest() + seq;
        if longest > capacity || seq == 0 {
            bail!("{longest} positions do not fit a cache of {capacity}");
        }
        fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
            match layout.contiguous_offsets() {
                Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
                None => bail!("attention needs contiguous tensors, not {layout:?}"),
            }
        }
        let mut result = vec![0f32; batch * seq * heads * dim];
        let sizes = Sizes { batch, seq, heads, kv_heads, capacity, dim };
        let call = Call {
            op: self,
            sizes,
            q: values(q, ql)?,
            k: values(k, kl)?,
            v: values(v, vl)?,
            out: SharedMut(result.as_mut_ptr()),
        };
        call.run();
        Ok((CpuStorage::F32(result), Shape::from((batch, seq, heads * dim))))
    }
}

impl Call<'_> {
    /// Splits the work over the pool's workers.
    fn run(&self) {
        let Sizes { batch, seq, heads, kv_heads, .. } = self.sizes;
        let pool = barrier_pool();
        if seq == 1 {
            let group = heads / kv_heads;
            // Few units would leave workers idle: then a key is read once a head rather than once a group.
            let together = if batch * kv_heads >= 2 * (pool.n_workers() + 1) { group.min(4) } else { 1 };
            let parts = group.div_ceil(together);
            pool.execute_chunked(batch * kv_heads * parts, |range| {
                for unit in range {
                    let (owner, part) = (unit / parts, unit % parts);
                    let first = (owner % kv_heads) * group + part * together;
                    self.decode(owner / kv_heads, first, together.min(group - part * together));
                }
            });
        } else {
            let blocks = seq.div_ceil(QUERY_BLOCK);
            pool.execute_chunked(batch * heads * blocks, |range| {
                let mut scores = vec![0f32; QUERY_BLOCK * (self.op.places.longest() + seq)];
                for unit in range {
                    let (block, owner) = (unit % blocks, unit / blocks);
                    let first = block * QUERY_BLOCK;
                    self.prefill(owner / heads, owner % heads, first, QUERY_BLOCK.min(seq - first), &mut scores);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, Tensor};

    /// The textbook form: heads repeated, one mask, one softmax.
    fn plain(q: &Tensor, k: &Tensor, v: &Tensor, op: &CachedAttention) -> Tensor {
        let (b, s, h, d) = q.dims4().unwrap();
        let Places::All(past) = op.places else { panic!() };
        let len = past + s;
        let repeat = |t: &Tensor| {
            let t = t.narrow(2, 0, len).unwrap();
            let group = h / t.dim(1).unwrap();
            let (b, kv, n, d) = t.dims4().unwrap();
            t.unsqueeze(2).unwrap().expand((b, kv, group, n, d)).unwrap().reshape((b, kv * group, n, d)).unwrap()
        };
        let scores = q.transpose(1, 2).unwrap().contiguous().unwrap();
        let scores = scores.matmul(&repeat(k).transpose(2, 3).unwrap().contiguous().unwrap()).unwrap();
        let mask: Vec<f32> = (0..s * len)
            .map(|i| {
                let (query, key) = (past + i / len, i % len);
                let hidden = key > query || op.window.is_some_and(|w| key + w <= query);
                if hidden { f32::NEG_INFINITY } else { 0.0 }
            })
            .collect();
        let mask = Tensor::from_vec(mask, (1, 1, s, len), &Device::Cpu).unwrap();
        let weights = (scores * op.scale as f64).unwrap().broadcast_add(&mask).unwrap();
        let weights = candle_nn::ops::softmax(&weights, 3).unwrap();
        let out = weights.matmul(&repeat(v).contiguous().unwrap()).unwrap();
        out.transpose(1, 2).unwrap().reshape((b, s, h * d)).unwrap()
    }

    #[test]
    fn it_is_textbook_attention() {
        let device = Device::Cpu;
        for (b, s, h, kv, d, past, window) in [
            (1usize, 1usize, 4usize, 2usize, 8usize, 0usize, None),
            (3, 1, 9, 3, 64, 37, None),
            (16, 1, 8, 8, 16, 5, Some(4)),
            (2, 1, 14, 2, 64, 100, None),
            (2, 70, 6, 2, 16, 0, None),
            (1, 33, 4, 1, 8, 12, Some(9)),
            (1, 5, 4, 4, 80, 3, None),
        ] {
            let op = CachedAttention { places: Places::All(past), scale: 1.0 / (d as f32).sqrt(), window };
            let q = Tensor::randn(0f32, 1.0, (b, s, h, d), &device).unwrap();
            let cache = (b, kv, past + s + 3, d);
            let k = Tensor::randn(0f32, 1.0, cache, &device).unwrap();
            let v = Tensor::randn(0f32, 1.0, cache, &device).unwrap();
            let got = q.apply_op3_no_bwd(&k, &v, &op).unwrap();
            let diff = (got - plain(&q, &k, &v, &op)).unwrap().abs().unwrap().max_all().unwrap();
            assert!(diff.to_scalar::<f32>().unwrap() < 2e-5, "b{b} s{s} h{h} past{past}");
        }
    }

    #[test]
    fn sequences_of_different_lengths_are_each_their_own() {
        let device = Device::Cpu;
        let (rows, h, kv, d, capacity) = (5usize, 6usize, 2usize, 16usize, 40usize);
        let k = Tensor::randn(0f32, 1.0, (rows, kv, capacity, d), &device).unwrap();
        let v = Tensor::randn(0f32, 1.0, (rows, kv, capacity, d), &device).unwrap();
        for seq in [1usize, 7] {
            let places = vec![(3usize, 20usize), (0, 0), (4, 33)];
            let q = Tensor::randn(0f32, 1.0, (places.len(), seq, h, d), &device).unwrap();
            let op = |places| CachedAttention { places, scale: 0.25, window: Some(24) };
            let together = q.apply_op3_no_bwd(&k, &v, &op(Places::Each(places.clone()))).unwrap();
            for (index, (row, past)) in places.into_iter().enumerate() {
                let of = |t: &Tensor, at| t.narrow(0, at, 1).unwrap();
                let alone = of(&q, index).apply_op3_no_bwd(&of(&k, row), &of(&v, row), &op(Places::All(past))).unwrap();
                let diff = (of(&together, index) - alone).unwrap().abs().unwrap().max_all().unwrap();
                // How a group of heads is split over workers changes the order of sums.
                assert!(diff.to_scalar::<f32>().unwrap() < 1e-6, "row {row}");
            }
        }
        let q = Tensor::zeros((1, 1, h, d), DType::F32, &device).unwrap();
        let op = CachedAttention { places: Places::Each(vec![(5, 0)]), scale: 1.0, window: None };
        assert!(q.apply_op3_no_bwd(&k, &v, &op).is_err());
    }

    #[test]
    fn a_cache_that_is_too_short_is_an_error() {
        let zeros = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let op = CachedAttention { places: Places::All(4), scale: 1.0, window: None };
        let cache = zeros((1, 2, 4, 8));
        let error = zeros((1, 1, 2, 8)).apply_op3_no_bwd(&cache, &cache, &op).unwrap_err();
        assert!(error.to_string().contains("do not fit a cache of 4"), "{error}");
    }
}
