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
    cache.write(k, v, &CachePositions::All(0)).unwrap();
    cache
}

fn op(cache: &KvCache, places: CachePositions, scale: f32, window: Option<usize>) -> CachedAttention<'_> {
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
            let got = q.apply_op1_no_bwd(&op(&cache, CachePositions::All(past), scale, window)).unwrap();
            let off = off(&got, &want);
            assert!(off < bound, "{kind} b{b} s{s} h{h} past{past}: {off}");
        }
    }
}

#[test]
fn both_ways_sees_everything() {
    let (q, k, v) = (random((2, 37, 4, 24)), random((2, 37, 4, 24)), random((2, 37, 4, 24)));
    let got = bidirectional(&q, &k, &v, 1.0 / 24f32.sqrt()).unwrap();
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
            pieces.write(&of(&k), &of(&v), &CachePositions::All(past)).unwrap();
            past += count;
        }
        let attend = |cache: &KvCache| q.apply_op1_no_bwd(&op(cache, CachePositions::All(44), 0.25, None)).unwrap();
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
        let each = op(&cache, CachePositions::Each(places.clone()), 0.25, Some(24));
        let together = q.apply_op1_no_bwd(&each).unwrap();
        for (index, (row, past)) in places.into_iter().enumerate() {
            let of = |t: &Tensor, at| t.narrow(0, at, 1).unwrap();
            let one = filled(CacheType::F32, &of(&k, row), &of(&v, row));
            let alone = of(&q, index).apply_op1_no_bwd(&op(&one, CachePositions::All(past), 0.25, Some(24))).unwrap();
            assert!(off(&of(&together, index), &alone) < 1e-6, "row {row}");
        }
    }
    let q = Tensor::zeros((1, 1, h, d), DType::F32, &Device::Cpu).unwrap();
    assert!(q.apply_op1_no_bwd(&op(&cache, CachePositions::Each(vec![(5, 0)]), 1.0, None)).is_err());
}

/// Attention of one query in `f64`, position after position.
fn naive(q: &[f32], (k, v): (&[Vec<f32>], &[Vec<f32>]), seen: std::ops::Range<usize>, scale: f32) -> Vec<f64> {
    let dot = |key: &[f32]| q.iter().zip(key).map(|(a, b)| *a as f64 * *b as f64).sum::<f64>() * scale as f64;
    let scores: Vec<f64> = seen.clone().map(|position| dot(&k[position])).collect();
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
    let total: f64 = shares.iter().sum();
    let each = |i: usize| seen.clone().zip(&shares).map(|(at, share)| share / total * v[at][i] as f64).sum();
    (0..q.len()).map(each).collect()
}

/// Batches of any lengths, cut for any number of threads, against [`naive`]: `(row, past)` of each sequence.
fn check(seq: usize, (heads, kv, dim): (usize, usize, usize), places: &[(usize, usize)], window: Option<usize>) {
    let capacity = places.iter().map(|(_, past)| past + seq).max().unwrap_or(0);
    let rows = places.iter().map(|(row, _)| row + 1).max().unwrap_or(0);
    let (k, v) = (random((rows, capacity, kv, dim)), random((rows, capacity, kv, dim)));
    let cache = filled(CacheType::F32, &k, &v);
    let q = random((places.len(), seq, heads, dim));
    let flat: Vec<f32> = q.flatten_all().unwrap().to_vec1().unwrap();
    let head = |t: &Tensor, row: usize, head: usize| -> Vec<Vec<f32>> {
        t.narrow(0, row, 1).unwrap().narrow(2, head, 1).unwrap().reshape((capacity, dim)).unwrap().to_vec2().unwrap()
    };
    let attention = op(&cache, CachePositions::Each(places.to_vec()), 0.3, window);
    let mut want = Vec::with_capacity(flat.len());
    for (sequence, (row, past)) in places.iter().enumerate() {
        let of: Vec<_> = (0..kv).map(|index| (head(&k, *row, index), head(&v, *row, index))).collect();
        for index in 0..seq {
            let end = past + index + 1;
            for head in 0..heads {
                let at = ((sequence * seq + index) * heads + head) * dim;
                let (k, v) = &of[head / (heads / kv)];
                let first = window.map_or(0, |window| end.saturating_sub(window));
                want.extend(naive(&flat[at..at + dim], (k, v), first..end, 0.3));
            }
        }
    }
    for threads in [1usize, 2, 3, 7, 16, 64, 100, 1000] {
        let got = attention.attend(&flat, (places.len(), seq, heads), threads);
        let off = got.iter().zip(&want).map(|(got, want)| (*got as f64 - want).abs()).fold(0.0, f64::max);
        assert!(got.len() == want.len() && off < 1e-4, "{threads} threads, {seq} of {places:?} {window:?}: {off}");
    }
}

#[test]
fn sequences_that_are_shorter_than_there_are_stretches_are_attended_to() {
    // One beyond 256 positions makes two stretches of the others too, though they fill no panel.
    check(1, (9, 3, 16), &[(0, 357), (1, 4)], None);
    check(1, (2, 1, 8), &[(0, 0), (2, 700), (1, 31), (3, 32), (4, 33)], None);
    check(258, (2, 1, 8), &[(0, 0)], None);
    check(1, (2, 2, 8), &[(0, 1500), (1, 3)], Some(40));
    check(3, (1, 1, 2), &[], None);
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]
    #[test]
    fn any_lengths_and_threads_give_what_a_naive_one_gives(
        pasts in proptest::collection::vec(proptest::prop_oneof![0usize..5, 0usize..70, 240usize..530], 1..5),
        seq in proptest::prop_oneof![proptest::strategy::Just(1usize), 1usize..20],
        (kv, group) in (1usize..3, 1usize..3),
        window in proptest::option::of(1usize..300),
    ) {
        let places: Vec<_> = pasts.into_iter().enumerate().collect();
        check(seq, (kv * group, kv, 6), &places, window);
    }
}

#[test]
fn shapes_without_anything_are_no_panic() {
    let cache = KvCache::new(CacheType::F32, (1, 1, 4, 8));
    let of = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    for shape in [(1, 1, 0, 8), (1, 0, 1, 8), (1, 1, 1, 0)] {
        assert!(of(shape).apply_op1_no_bwd(&op(&cache, CachePositions::All(0), 1.0, None)).is_err(), "{shape:?}");
    }
    let none = of((0, 1, 1, 8)).apply_op1_no_bwd(&op(&cache, CachePositions::Each(Vec::new()), 1.0, None)).unwrap();
    assert_eq!(none.dims(), [0, 1, 8]);
    let mut empty = KvCache::new(CacheType::F32, (1, 1, 4, 0));
    assert!(empty.write(&of((1, 1, 1, 0)), &of((1, 1, 1, 0)), &CachePositions::All(0)).is_err());
}

#[test]
fn a_cache_that_is_too_short_is_an_error() {
    let zeros = |shape: (usize, usize, usize, usize)| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
    let mut cache = KvCache::new(CacheType::F16, (1, 2, 4, 8));
    let error = zeros((1, 1, 2, 8)).apply_op1_no_bwd(&op(&cache, CachePositions::All(4), 1.0, None)).unwrap_err();
    assert!(error.to_string().contains("do not fit a cache of 4"), "{error}");
    let kv = zeros((1, 2, 2, 8));
    assert!(cache.write(&kv, &kv, &CachePositions::All(3)).unwrap_err().to_string().contains("cache of 4"));
    assert!(cache.write(&zeros((1, 1, 3, 8)), &zeros((1, 1, 3, 8)), &CachePositions::All(0)).is_err());
}
