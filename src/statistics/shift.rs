//! Whether two samples are of one distribution: Kolmogorov-Smirnov, the population stability index with the critical
//! value of the sizes at hand, Jensen-Shannon.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Bins by the quantiles of the first sample.
pub const BINS: usize = 10;
/// Simulated pairs of samples for a critical value.
const SIMULATED: usize = 2_000;

/// The largest distance between the distribution functions of two samples, and the chance of one as large where both
/// are of one distribution (asymptotic, with Stephens' correction; Numerical Recipes, 14.3).
pub fn kolmogorov_smirnov(before: &[f64], after: &[f64]) -> (f64, f64) {
    let (mut a, mut b) = (before.to_vec(), after.to_vec());
    a.sort_by(f64::total_cmp);
    b.sort_by(f64::total_cmp);
    let (mut i, mut j, mut most) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let value = if a[i] <= b[j] { a[i] } else { b[j] };
        // Equal values are passed together.
        i += a[i..].iter().take_while(|v| **v <= value).count();
        j += b[j..].iter().take_while(|v| **v <= value).count();
        most = most.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    let effective = (a.len() as f64 * b.len() as f64 / (a.len() + b.len()) as f64).sqrt();
    (most, kolmogorov_tail((effective + 0.12 + 0.11 / effective) * most))
}

/// `2 sum (-1)^(k-1) exp(-2 k^2 x^2)`.
fn kolmogorov_tail(x: f64) -> f64 {
    if x < 0.2 {
        return 1.0;
    }
    let term = |k: i32| (if k % 2 == 1 { 2.0 } else { -2.0 }) * (-2.0 * (k as f64 * x).powi(2)).exp();
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

/// Edges between bins of about equal counts; fewer where many values are equal.
pub fn edges(values: &[f64], bins: usize) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |bin: usize| sorted[(bin * sorted.len() / bins).min(sorted.len() - 1)];
    let mut edges: Vec<f64> = if sorted.is_empty() { Vec::new() } else { (1..bins).map(at).collect() };
    edges.dedup();
    // A first bin that nothing is in says nothing.
    edges.retain(|edge| sorted.first().is_some_and(|least| edge > least));
    edges
}

/// How many values are in each bin; a value on an edge is in the bin above.
pub fn counts(values: &[f64], edges: &[f64]) -> Vec<usize> {
    let mut counts = vec![0; edges.len() + 1];
    values.iter().for_each(|value| counts[edges.partition_point(|edge| edge <= value)] += 1);
    counts
}

/// Shares with half a value added to each bin, so that an empty one has a finite logarithm.
fn shares(counts: &[usize]) -> Vec<f64> {
    let total = counts.iter().sum::<usize>() as f64 + counts.len() as f64 / 2.0;
    counts.iter().map(|count| (*count as f64 + 0.5) / total).collect()
}

/// The population stability index: `sum (q - p) ln(q / p)` over bins.
pub fn stability_index(before: &[usize], after: &[usize]) -> f64 {
    shares(before).iter().zip(shares(after)).map(|(p, q)| (q - p) * (q / p).ln()).sum()
}

/// The Jensen-Shannon divergence of two histograms, in bits: 0 alike, 1 apart.
pub fn jensen_shannon(before: &[usize], after: &[usize]) -> f64 {
    let (before, after) = (shares(before), shares(after));
    let part = |p: f64, m: f64| p * (p / m).log2();
    before.iter().zip(&after).map(|(p, q)| (part(*p, (p + q) / 2.0) + part(*q, (p + q) / 2.0)) / 2.0).sum()
}

/// The index that is passed with the chance `alpha` where `after` values are drawn from the shares that `before` has,
/// and `before` itself was drawn from them: by simulation at these very sizes, as the usual 0.1 and 0.25 are for none.
/// Returns it with the chance of an index as large as `found`.
pub fn critical_index(before: &[usize], after: usize, alpha: f64, found: f64, seed: u64) -> (f64, f64) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let shares = shares(before);
    let bounds: Vec<f64> = shares
        .iter()
        .scan(0.0, |sum, share| {
            *sum += share;
            Some(*sum)
        })
        .collect();
    let first: usize = before.iter().sum();
    let mut draw = |count: usize| {
        let mut counts = vec![0; shares.len()];
        for _ in 0..count {
            let at: f64 = rng.random();
            counts[bounds.partition_point(|bound| *bound <= at).min(shares.len() - 1)] += 1;
        }
        counts
    };
    let mut drawn: Vec<f64> = (0..SIMULATED).map(|_| stability_index(&draw(first), &draw(after))).collect();
    drawn.sort_by(f64::total_cmp);
    let as_large = drawn.iter().filter(|value| **value >= found).count();
    let rank = ((1.0 - alpha) * SIMULATED as f64) as usize;
    (drawn[rank.min(SIMULATED - 1)], (as_large as f64 + 1.0) / (SIMULATED as f64 + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::{Distribution, Normal};

    fn normal(rng: &mut Xoshiro256PlusPlus, count: usize, mean: f64) -> Vec<f64> {
        let normal = Normal::new(mean, 1.0).unwrap();
        (0..count).map(|_| normal.sample(rng)).collect()
    }

    #[test]
    fn samples_of_one_distribution_are_called_apart_as_often_as_stated() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(8);
        let (mut ks, mut psi) = (0, 0);
        for seed in 0..300 {
            let (a, b) = (normal(&mut rng, 150, 0.0), normal(&mut rng, 80, 0.0));
            ks += usize::from(kolmogorov_smirnov(&a, &b).1 < 0.05);
            let edges = edges(&a, BINS);
            let (a, b) = (counts(&a, &edges), counts(&b, &edges));
            psi += usize::from(critical_index(&a, 80, 0.05, stability_index(&a, &b), seed).1 < 0.05);
        }
        assert!((3..=26).contains(&ks), "{ks} of 300");
        assert!((2..=26).contains(&psi), "{psi} of 300");
    }

    #[test]
    fn a_shift_is_found() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(8);
        let (a, b) = (normal(&mut rng, 300, 0.0), normal(&mut rng, 300, 0.8));
        let (distance, chance) = kolmogorov_smirnov(&a, &b);
        assert!(distance > 0.25 && chance < 1e-6, "{distance} {chance}");
        let edges = edges(&a, BINS);
        let (a, b) = (counts(&a, &edges), counts(&b, &edges));
        let index = stability_index(&a, &b);
        let (critical, chance) = critical_index(&a, 300, 0.01, index, 1);
        assert!(index > critical && chance < 0.01, "{index} {critical} {chance}");
        assert!((0.05..0.3).contains(&jensen_shannon(&a, &b)));
    }

    #[test]
    fn the_distance_is_that_of_a_hand_count() {
        let (distance, _) = kolmogorov_smirnov(&[1.0, 2.0, 3.0, 4.0], &[3.0, 4.0, 5.0, 6.0]);
        assert_eq!(distance, 0.5);
        let (distance, chance) = kolmogorov_smirnov(&[1.0, 1.0, 2.0], &[1.0, 1.0, 2.0]);
        assert_eq!((distance, chance), (0.0, 1.0));
    }

    #[test]
    fn histograms_alike_are_not_apart() {
        assert_eq!(jensen_shannon(&[5, 9], &[5, 9]), 0.0);
        assert!(jensen_shannon(&[1000, 0], &[0, 1000]) > 0.98);
        assert_eq!(edges(&[1.0; 50], BINS), Vec::<f64>::new(), "one value makes one bin");
        assert_eq!(counts(&[0.0, 1.0, 2.0], &[1.0]), [1, 2]);
    }
}
