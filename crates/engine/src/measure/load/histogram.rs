//! Times of any number of requests in bounded memory: an HDR histogram of three digits, percentiles as order statistics
//! with their binomial interval, absent where there are too few values.

use crate::record::{Latency, Ranged};
use crate::statistics::percentile::samples_needed;
use hdrhistogram::Histogram;

/// Nanoseconds in a second.
const NANOSECONDS: f64 = 1e9;
/// Longest time that is told apart: 10 hours.
const LONGEST: u64 = 36_000_000_000_000;

/// Times.
#[derive(Debug, Clone)]
pub struct Times {
    histogram: Histogram<u64>,
    sum: f64,
}

impl Default for Times {
    fn default() -> Self {
        // The bounds are constant and valid; were they not, the smallest histogram would do.
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3)
            .unwrap_or_else(|_| Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed")));
        Self { histogram, sum: 0.0 }
    }
}

impl Times {
    /// Adds a time in seconds. A time below 0, which no clock gives, counts as 0.
    pub fn add(&mut self, seconds: f64) {
        self.sum += seconds.max(0.0);
        self.histogram.saturating_record((seconds.max(0.0) * NANOSECONDS) as u64);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The mean in seconds; `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum / self.count() as f64)
    }

    /// The bucket of a rank, from 1.
    fn bucket(&self, rank: f64) -> u64 {
        let count = self.count().max(1) as f64;
        // The middle between two ranks: no rounding makes another of it.
        self.histogram.value_at_quantile((rank.clamp(1.0, count) - 0.5) / count)
    }

    /// The value of a rank: the upper end of a bucket is up to a thousandth too high, its middle half of that.
    fn at(&self, rank: f64) -> f64 {
        self.histogram.median_equivalent(self.bucket(rank)) as f64 / NANOSECONDS
    }

    /// The percentile whatever the number of values, for a screen that shows what has come so far.
    pub fn so_far(&self, p: f64) -> Option<f64> {
        (self.count() > 0).then(|| self.at((p * self.count() as f64).ceil()))
    }

    /// The least; `None` of nothing.
    pub fn fastest(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.histogram.min() as f64 / NANOSECONDS)
    }

    /// The percentile `p` with its 95 % interval; `None` where there are too few values for it.
    pub fn percentile(&self, p: f64) -> Option<Ranged> {
        self.percentile_with(p, 0)
    }

    /// The same of these values and `endless` ones that are longer than all of them; `None` also where it would be one of
    /// those.
    pub fn percentile_with(&self, p: f64, endless: u64) -> Option<Ranged> {
        let count = (self.count() + endless) as f64;
        let rank = (p * count).ceil();
        if (count as usize) < samples_needed(p) || rank > self.count() as f64 {
            return None;
        }
        let half = 1.96 * (count * p * (1.0 - p)).sqrt();
        Some(Ranged {
            value: self.at(rank),
            // The ends of buckets, so that times which are not told apart have an interval of that width.
            lo: Some(self.histogram.lowest_equivalent(self.bucket((count * p - half).floor())) as f64 / NANOSECONDS),
            hi: Some((count * p + half).ceil() + 1.0)
                .filter(|rank| endless == 0 || *rank <= self.count() as f64)
                .map(|rank| self.histogram.highest_equivalent(self.bucket(rank)) as f64 / NANOSECONDS),
        })
    }

    /// All that a record keeps, `failed` requests counting as longer than all that were answered.
    pub fn summary(&self, failed: u64) -> Latency {
        Latency {
            count: self.count(),
            mean: self.mean(),
            p50: self.percentile_with(0.5, failed),
            p90: self.percentile_with(0.9, failed),
            p95: self.percentile_with(0.95, failed),
            p99: self.percentile_with(0.99, failed),
            p999: self.percentile_with(0.999, failed),
            max: (self.count() > 0).then(|| self.histogram.max() as f64 / NANOSECONDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::percentile::{percentile, percentile_interval};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_values(values in proptest::collection::vec(1e-6f64..1e3, 600..900)) {
            let mut times = Times::default();
            values.iter().for_each(|value| times.add(*value));
            for p in [0.5, 0.9, 0.99] {
                let got = times.percentile(p).unwrap();
                let near = |a: f64, b: f64| (a / b - 1.0).abs() < 2e-3;
                prop_assert!(near(got.value, percentile(&values, p).unwrap()));
                let (lo, hi) = percentile_interval(&values, p).unwrap();
                prop_assert!(near(got.lo.unwrap(), lo) && near(got.hi.unwrap(), hi), "{p} {got:?} {lo} {hi}");
            }
        }
    }

    #[test]
    fn failures_are_longer_than_all_answers() {
        let mut times = Times::default();
        (1..=80).for_each(|i| times.add(i as f64));
        let latency = times.summary(20);
        assert!((latency.p50.unwrap().value / 50.0 - 1.0).abs() < 1e-3);
        assert_eq!(latency.p90, None, "it is one of those that failed");
        assert!(times.summary(0).p90.is_some());
    }

    #[test]
    fn equal_times_are_not_certain() {
        let mut times = Times::default();
        (0..100).for_each(|_| times.add(0.25));
        let Ranged { value, lo, hi } = times.percentile(0.9).unwrap();
        assert!(lo.unwrap() < value && value < hi.unwrap() && hi.unwrap() / lo.unwrap() > 1.0003, "{lo:?} {hi:?}");
    }

    #[test]
    fn too_few_values_give_no_percentile() {
        let mut times = Times::default();
        assert_eq!((times.mean(), times.percentile(0.5)), (None, None));
        (0..472).for_each(|_| times.add(1.0));
        assert!(times.percentile(0.95).is_some() && times.percentile(0.99).is_none());
        times.add(1e9);
        times.add(-1.0);
        assert!(times.percentile(0.99).is_some());
    }
}
