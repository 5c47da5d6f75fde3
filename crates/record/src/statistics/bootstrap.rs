//! Bootstrap intervals of a median.
//!
//! Percentile bootstrap (Efron): resample with replacement, take the median of each resample, and read the 2.5 and
//! 97.5 % points of those medians.
//!
//! That cannot reach 95 % with fewer than six values: the interval never leaves their range, which holds the median
//! with probability 1 - 2^(1-n), 75 % for three. There the interval is Student's on the logarithms of the values,
//! widened for a median in place of a mean.
//!
//! No interval is narrower than that of samples that differ by [`LEAST_SPREAD`].

use super::LEAST_SPREAD;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Resamples for a figure that is reported.
pub const RESAMPLES: usize = 2000;
/// Resamples for the decision to stop, which is taken after every sample.
pub const QUICK_RESAMPLES: usize = 400;
/// Fewest values that an interval is given for.
pub const MIN_VALUES: usize = 3;
/// 97.5 % points of Student's t for 3, 4 and 5 values (2 to 4 degrees of freedom).
const STUDENT_T: [f64; 3] = [4.303, 3.182, 2.776];
/// Standard error of a median of 3 to 5 normal values / that of their mean, at most (order statistics of the normal
/// distribution: 1.16, 1.09 and 1.20).
const MEDIAN_OVER_MEAN: f64 = 1.2;

/// The median; the mean of the two middle values where their number is even. `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    median_in_place(&mut values)
}

fn median_in_place(values: &mut [f64]) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let count = values.len();
    let (below, upper, _) = values.select_nth_unstable_by(count / 2, f64::total_cmp);
    let upper = *upper;
    match count % 2 {
        1 => Some(upper),
        _ => below.iter().copied().max_by(f64::total_cmp).map(|lower| (lower + upper) / 2.0),
    }
}

/// The 95 % interval of the median of `values`; `None` below [`MIN_VALUES`]. The same seed gives the same interval.
pub fn median_interval(values: &[f64], resamples: usize, seed: u64) -> Option<(f64, f64)> {
    let clusters: Vec<&[f64]> = values.chunks(1).collect();
    clustered_median_interval(&clusters, resamples, seed)
}

/// The same for values that come in clusters which are not independent within: whole clusters are resampled
/// (token-level intervals are resampled between iterations, not within one).
pub fn clustered_median_interval(clusters: &[&[f64]], resamples: usize, seed: u64) -> Option<(f64, f64)> {
    if clusters.len() < MIN_VALUES || resamples == 0 {
        return None;
    }
    if let Some(t) = STUDENT_T.get(clusters.len() - MIN_VALUES) {
        return small_sample_interval(clusters, *t);
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut resample: Vec<f64> = Vec::new();
    let mut medians: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            resample.clear();
            for _ in 0..clusters.len() {
                resample.extend_from_slice(clusters[rng.random_range(0..clusters.len())]);
            }
            median_in_place(&mut resample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |share: f64| medians.get(((medians.len() as f64 - 1.0) * share).round() as usize).copied();
    let middle = median(&clusters.concat())?;
    let half = middle.abs() * 2.0 * MEDIAN_OVER_MEAN * LEAST_SPREAD / (clusters.len() as f64).sqrt();
    Some((at(0.025)?.min(middle - half), at(0.975)?.max(middle + half)))
}

/// Student's interval around the median of a few clusters, on a logarithmic scale so that a time stays positive.
fn small_sample_interval(clusters: &[&[f64]], t: f64) -> Option<(f64, f64)> {
    let middle = median(&clusters.concat())?;
    let logs: Vec<f64> = clusters.iter().filter_map(|cluster| median(cluster).map(f64::ln)).collect();
    let count = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / count;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let variance = variance.max(LEAST_SPREAD.powi(2));
    let factor = (t * MEDIAN_OVER_MEAN * (variance / count).sqrt()).exp();
    factor.is_finite().then_some((middle / factor, middle * factor))
}

/// Half the width of the interval, relative to the median.
pub fn relative_half_width(values: &[f64], seed: u64) -> Option<f64> {
    let (low, high) = median_interval(values, QUICK_RESAMPLES, seed)?;
    Some((high - low) / 2.0 / median(values)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_distr::{Distribution, Normal};

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median_interval(&[1.0, 2.0], 100, 1), None);
    }

    #[test]
    fn the_interval_covers_the_true_median_about_as_often_as_it_says() {
        let normal = Normal::new(10.0, 1.0).unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        for count in [3, 4, 5, 8, 30] {
            let covered = (0..400)
                .filter(|seed| {
                    let values: Vec<f64> = (0..count).map(|_| normal.sample(&mut rng)).collect();
                    let (low, high) = median_interval(&values, 400, *seed).unwrap();
                    low <= 10.0 && 10.0 <= high
                })
                .count();
            assert!((360..=396).contains(&covered), "{covered} of 400 with {count} values");
        }
    }

    #[test]
    fn equal_values_are_not_certain() {
        // 4.303 x 1.2 x 0.0005 / sqrt(3): 0.15 % to either side for three, less for more of them.
        let (low, high) = median_interval(&[230.0; 3], 400, 1).unwrap();
        assert!((high / 230.0 - 1.001_492).abs() < 1e-6 && (low * high / 230.0f64.powi(2) - 1.0).abs() < 1e-12);
        for values in [vec![230.0; 5], vec![230.0; 6], vec![230.0; 100], vec![230.0, 230.0, 230.000_001]] {
            let (low, high) = median_interval(&values, 400, 1).unwrap();
            assert!(low < 229.98 && high > 230.02, "{low} {high}");
            assert!(relative_half_width(&values, 1).unwrap() > 1e-4);
        }
    }

    #[test]
    fn clusters_that_differ_widen_the_interval() {
        let clusters: Vec<Vec<f64>> = (0..8).map(|c| (0..50).map(|i| c as f64 + i as f64 * 1e-3).collect()).collect();
        let slices: Vec<&[f64]> = clusters.iter().map(Vec::as_slice).collect();
        let flat: Vec<f64> = clusters.concat();
        let (low, high) = clustered_median_interval(&slices, 500, 1).unwrap();
        let (flat_low, flat_high) = median_interval(&flat, 500, 1).unwrap();
        assert!(high - low > 2.0 * (flat_high - flat_low));
    }

    proptest! {
        #[test]
        fn intervals_are_never_inverted_and_hold_the_median(
            values in proptest::collection::vec(1e-6f64..1e3, 3..60), seed in 0u64..100
        ) {
            let (low, high) = median_interval(&values, 300, seed).unwrap();
            let middle = median(&values).unwrap();
            prop_assert!(low <= middle && middle <= high);
            prop_assert_eq!(median_interval(&values, 300, seed), Some((low, high)));
        }
    }
}
