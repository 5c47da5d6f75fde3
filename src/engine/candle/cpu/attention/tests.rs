use super::*;
use candle_core::{DType, Device};

/// The textbook form: heads repeated, one mask, one softmax.
fn plain(q: &Tensor, k: &Tensor, v: &Tensor, (past, scale, window): (usize, f32, Option<usize>)) -> Tensor {
    let (b, s, h, d) = q.dims4().unwrap();
    let len = past + s;
    let repeat = |t: &Tensor| {
        let t = t.transpose(1, 2).unwrap();
        let group = h / t.dim(1).unwrap();
        let (b, kv, n, d) = t.dims4().unwrap();
        t.unsqueeze(2).unwrap().expand((b, kv, group, n, d)).unwrap().reshape((b, kv * group, n, d)).unwrap()
    };
    let scores = q.transpose(1, 2).unwrap().contiguous().unwrap();
    let scores = scores.matmul(&repeat(k).transpose(2, 3).unwrap().contiguous().unwrap()).unwrap();
    let mask: Vec<f32> = (0..s * len)
        .map(|i| {
            let (query, key) = (past + i / len, i % len);
            let hidden = key > query || window.is_some_and(|w| key + w <= query);
            if hidden { f32::NEG_INFINITY } else { 0.0 }
        })
        .collect();
    let mask = Tensor::from_vec(mask, (1, 1, s, len), &Device::Cpu).unwrap();
    let weights = (scores * scale as f64).unwrap().broadcast_add(&mask).unwrap();
    let weights = candle_nn::ops::softmax(&weights, 3).unwrap();
    let out = weights.matmul(&repeat(v).contiguous().unwrap()).unwrap();
    out.transpose(1, 2).unwrap().reshape((b, s, h * d)).unwrap()
}

fn random(shape: (usize, usize, usize, usize)) -> Tensor {
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
}

fn off(got: &Tensor, want: &Tensor) -> f32 {
    (got - want).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

/// A cache that holds `k` and `v: (batch, positions, kv_heads, dim)`, with some room behind.
fn filled(kind: CacheType, k: &Tensor, v: &Tensor) -> KvCache {
    let (batch, positions, heads, dim) = k.dims4().unwrap();
    let mut cache = KvCache::new(kind, (batch, heads, positions + 3, dim));
    cache.write(k, v, &Places::All(0)).unwrap();
    cache
}

fn op(cache: &KvCache, places: Places, scale: f32, window: Option<usize>) -> CachedAttention<'_> {
    CachedAttention { cache, places, scale, window, both_ways: false }
}

#[test]
fn it_is_textbook_attention() {
    for (b, s, h, kv, d, past, window) in [
        (1usize, 1usize, 4usize, 2usize, 8usize, 0usize, None),
        (3, 1, 9, 3, 64, 37, None),
        (16, 1, 8, 8, 16, 5, Some(4)),
        (2, 1, 14, 2, 64, 100, None),
        (2, 70, 6, 2, 16, 0, None),
        (1, 33, 4, 1, 8, 12, Some(9)),
        (1, 5, 4, 4, 80, 3, None),
        (1, 90, 4, 2, 32, 40, Some(33)),
    ] {
        let scale = 1.0 / (d as f32).sqrt();
        let q = random((b, s, h, d));
        let (k, v) = (random((b, past + s, kv, d)), random((b, past + s, kv, d)));
        let want = plain(&q, &k, &v, (past, scale, window));
        // Normal numbers rounded to f16 are off by 5e-4 at most, to int8 by half of about 3/127; sums by no more.
        for (kind, bound) in [(CacheType::F32, 2e-5), (CacheType::F16, 2e-3), (CacheType::Int8, 6e-2)] {
            let cache = filled(kind, &k, &v);
            let got = q.apply_op1_no_bwd(&op(&cache, Places::All(past), scale, window)).unwrap();
            let off = off(&got, &want);
            assert!(off < bound, "{kind} b{b} s{s} h{h} past{past}: {off}");
        }
    }
}

#[test]
fn both_ways_sees_everything() {
    let (q, k, v) = (random((2, 37, 4, 24)), random((2, 37, 4, 24)), random((2, 37, 4, 24)));
    let got = bidirectional(&q, &k, &v).unwrap();
    let heads = |t: &Tensor| t.transpose(1, 2).unwrap().contiguous().unwrap();
    let scores = heads(&q).matmul(&heads(&k).t().unwrap().contiguous().unwrap()).unwrap();
    let shares = candle_nn::ops::softmax(&(scores / 24f64.sqrt()).unwrap(), 3).unwrap();
    let want = shares.matmul(&heads(&v)).unwrap().transpose(1, 2).unwrap().reshape((2, 37, 96)).unwrap();
    assert!(off(&got, &want) < 2e-5);
}

#[test]
fn what_is_written_in_pieces_is_what_is_written_at_once() {
    let (q, k, v) = (random((2, 1, 4, 16)), random((2, 45, 2, 16)), random((2, 45, 2, 16)));
    for kind in [CacheType::F32, CacheType::F16, CacheType::Int8] {
        let whole = filled(kind, &k, &v);
        let mut pieces = KvCache::new(kind, (2, 2, 48, 16));
        let mut past = 0;
        for count in [31, 1, 2, 11] {
            let of = |t: &Tensor| t.narrow(1, past, count).unwrap().contiguous().unwrap();
            pieces.write(&of(&k), &of(&v), &Places::All(past)).unwrap();
            past += count;
        }
        let attend = |cache: &KvCache| q.apply_op1_no_bwd(&op(cache, Places::All(44), 0.25, None)).unwrap();
        assert_eq!(off(&attend(&whole), &attend(&pieces)), 0.0);
    }
}

#[test]
fn sequences_of_different_lengths_are_each_their_own() {
    let (rows, h, kv, d, positions) = (5usize, 6usize, 2usize, 16usize, 40usize);
    let (k, v) = (random((rows, positions, kv, d)), random((rows, positions, kv, d)));
    let cache = filled(CacheType::F32, &k, &v);
    for seq in [1usize, 7] {
        let places = vec![(3usize, 20usize), (0, 0), (4, 33)];
        let q = random((places.len(), seq, h, d));
        let each = op(&cache, Places::Each(places.clone()), 0.25, Some(24));
        let together = q.apply_op1_no_bwd(&each).unwrap();
        for (index, (row, past)) in places.into_iter().enumerate() {
            let of = |t: &Tensor, at| t.narrow(0, at, 1).unwrap();
            let one = filled(CacheType::F32, &of(&k, row), &of(&v, row));
            let alone = of(&q, index).apply_op1_no_bwd(&op(&one, Places::All(past), 0.25, Some(24))).unwrap();
            assert!(off(&of(&together, index), &alone) < 1e-6, "row {row}");
        }
    }
    let q = Tensor::zeros((1, 1, h, d), DType::F32, &Device::Cpu).unwrap();
    assert!(q.apply_op1_no_bwd(&op(&cache, Places::Each(vec![(5, 0)]), 1.0, None)).is_err());
}

#[test]
fn a_cache_that_is_too_short_is_an_error() {
    let zeros = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let mut cache = KvCache::new(CacheType::F16, (1, 2, 4, 8));
    let error = zeros((1, 1, 2, 8)).apply_op1_no_bwd(&op(&cache, Places::All(4), 1.0, None)).unwrap_err();
    assert!(error.to_string().contains("do not fit a cache of 4"), "{error}");
    let kv = zeros((1, 2, 2, 8));
    assert!(cache.write(&kv, &kv, &Places::All(3)).unwrap_err().to_string().contains("cache of 4"));
    assert!(cache.write(&zeros((1, 1, 3, 8)), &zeros((1, 1, 3, 8)), &Places::All(0)).is_err());
}
