//! Whether two samples are of one distribution: Kolmogorov-Smirnov, the population stability index with the critical
//! value of the sizes at hand, Jensen-Shannon.

use rand::SeedableRng;
use rand_distr::{Binomial, Distribution};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Bins by the quantiles of the first sample.
pub const BINS: usize = 10;
/// Least number of simulated pairs of samples for a critical value.
const SIMULATED: usize = 2_000;
/// Most of them.
const MOST_SIMULATED: usize = 50_000;
/// As many indices beyond a value make its chance known to about a seventh.
const AS_LARGE: usize = 50;

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

/// The distance that is passed with the chance `alpha` at these sizes, by the first term of the same series.
pub fn critical_distance(before: usize, after: usize, alpha: f64) -> f64 {
    let effective = (before as f64 * after as f64 / (before + after) as f64).sqrt();
    (-(alpha / 2.0).ln() / 2.0).sqrt() / (effective + 0.12 + 0.11 / effective)
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

/// Indices at these sizes where nothing has changed: `after` values are drawn from the shares that `before` has, and
/// `before` itself is drawn from them again.
struct Unchanged {
    rng: Xoshiro256PlusPlus,
    shares: Vec<f64>,
    sizes: [usize; 2],
}

impl Unchanged {
    fn new(before: &[usize], after: usize, seed: u64) -> Self {
        let sizes = [before.iter().sum(), after];
        Self { rng: Xoshiro256PlusPlus::seed_from_u64(seed), shares: shares(before), sizes }
    }

    fn index(&mut self) -> f64 {
        let [before, after] = self.sizes.map(|size| self.counts(size));
        stability_index(&before, &after)
    }

    /// Bin after bin, each its part of what is left.
    fn counts(&mut self, size: usize) -> Vec<usize> {
        let (mut left, mut share_left) = (size, 1.0f64);
        let mut counts = Vec::with_capacity(self.shares.len());
        for share in &self.shares[..self.shares.len() - 1] {
            let chance = (share / share_left).clamp(0.0, 1.0);
            let drawn = Binomial::new(left as u64, chance).map_or(0, |binomial| binomial.sample(&mut self.rng));
            counts.push(drawn as usize);
            left -= drawn as usize;
            share_left -= share;
        }
        counts.push(left);
        counts
    }
}

/// The index that is passed with the chance `alpha` where nothing has changed: by simulation at these very sizes, as
/// the usual 0.1 and 0.25 are for none.
pub fn critical_index(before: &[usize], after: usize, alpha: f64, seed: u64) -> f64 {
    let mut unchanged = Unchanged::new(before, after, seed);
    let draws = ((AS_LARGE as f64 / alpha) as usize).clamp(SIMULATED, MOST_SIMULATED);
    let mut drawn: Vec<f64> = (0..draws).map(|_| unchanged.index()).collect();
    drawn.sort_by(f64::total_cmp);
    drawn[(((1.0 - alpha) * draws as f64) as usize).min(draws - 1)]
}

/// The chance of an index as large as `found` where nothing has changed, by simulation until 50 as large were drawn
/// (Besag and Clifford 1991), so that a small chance is known as well as a large one.
pub fn index_p_value(before: &[usize], after: usize, found: f64, seed: u64) -> f64 {
    let mut unchanged = Unchanged::new(before, after, seed);
    let mut as_large = 0;
    for drawn in 1..=MOST_SIMULATED {
        as_large += usize::from(unchanged.index() >= found);
        if as_large == AS_LARGE {
            return as_large as f64 / drawn as f64;
        }
    }
    (as_large as f64 + 1.0) / (MOST_SIMULATED as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_distr::Normal;

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
            psi += usize::from(index_p_value(&a, 80, stability_index(&a, &b), seed) < 0.05);
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
        let (critical, chance) = (critical_index(&a, 300, 0.01, 1), index_p_value(&a, 300, index, 2));
        assert!(index > critical && chance < 0.01, "{index} {critical} {chance}");
        assert!((0.05..0.3).contains(&jensen_shannon(&a, &b)));
    }

    #[test]
    fn critical_values_are_where_the_chance_is_that_stated() {
        let before = [30, 30, 40, 50, 50];
        let critical = critical_index(&before, 120, 0.02, 3);
        let chance = index_p_value(&before, 120, critical, 4);
        assert!((0.012..0.03).contains(&chance), "{chance}");
        let distance = critical_distance(200, 100, 0.01);
        let effective = (200.0f64 * 100.0 / 300.0).sqrt();
        let chance = kolmogorov_tail((effective + 0.12 + 0.11 / effective) * distance);
        assert!((chance - 0.01).abs() < 1e-6, "{chance}");
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
