//! Percentiles as order statistics, given only where there are samples enough.
//!
//! A percentile is reported when the second-largest sample is an upper bound of it with 95 % confidence:
//! with `n` samples the probability that at least two lie above the `p` quantile is
//! `1 - p^n - n (1 - p) p^(n-1)`.

use super::LEAST_SPREAD;

/// Fewest samples for the percentile `p` (between 0 and 1).
pub fn samples_needed(p: f64) -> usize {
    let confident = |n: usize| {
        let n = n as f64;
        1.0 - p.powf(n) - n * (1.0 - p) * p.powf(n - 1.0) >= 0.95
    };
    let mut high = 2;
    while !confident(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while low + 1 < high {
        let middle = (low + high) / 2;
        if confident(middle) { high = middle } else { low = middle }
    }
    high
}

/// The percentile `p` of `values` (nearest rank), or the number of samples that it would need.
pub fn percentile(values: &[f64], p: f64) -> Result<f64, usize> {
    let needed = samples_needed(p);
    if values.len() < needed {
        return Err(needed);
    }
    let mut values = values.to_vec();
    let rank = ((p * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1;
    let (_, value, _) = values.select_nth_unstable_by(rank, f64::total_cmp);
    Ok(*value)
}

/// The 95 % interval of the percentile `p`: the samples at `n p -+ 1.96 sqrt(n p (1 - p))`, as their number below the true
/// percentile is binomial, and never narrower than samples say that differ by [`LEAST_SPREAD`]. `None` where there are too
/// few samples for the percentile itself.
pub fn percentile_interval(values: &[f64], p: f64) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    if values.len() < samples_needed(p) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = 1.96 * (count * p * (1.0 - p)).sqrt();
    let at = |rank: f64| sorted[(rank.max(1.0) as usize).min(sorted.len()) - 1];
    let middle = at((count * p).ceil());
    let least = middle.abs() * 2.0 * LEAST_SPREAD / count.sqrt();
    let (lo, hi) = (at((count * p - half).floor()), at((count * p + half).ceil() + 1.0));
    Some((lo.min(middle - least), hi.max(middle + least)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_are_those_of_the_method() {
        assert_eq!([0.5, 0.9, 0.95, 0.99, 0.999].map(samples_needed), [8, 46, 93, 473, 4742]);
    }

    #[test]
    fn the_interval_of_a_percentile_holds_it() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        let (lo, hi) = percentile_interval(&values, 0.9).unwrap();
        assert_eq!((lo, hi), (881.0, 920.0));
        assert_eq!(percentile_interval(&values[..40], 0.9), None);
        let (lo, hi) = percentile_interval(&[2.0; 100], 0.9).unwrap();
        assert!((hi - 2.0002).abs() < 1e-12 && (lo - 1.9998).abs() < 1e-12, "equal samples are not certain: {lo} {hi}");
    }

    #[test]
    fn a_percentile_is_a_sample() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 0.9), Ok(90.0));
        assert_eq!(percentile(&values, 0.99), Err(473));
    }
}
