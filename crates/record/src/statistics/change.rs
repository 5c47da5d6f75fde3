//! How much a median (or a percentile) changed between two sides, as a ratio with its interval.
//!
//! One run a side: both are resampled and the statistic of one is divided by that of the other (percentile bootstrap). Two
//! things widen that interval: few samples (Student's point over the normal one), and samples that follow each other on
//! one machine, which are not independent: `sqrt((1 + r) / (1 - r))` for a correlation `r` of neighbours, that of the mean of
//! an autoregressive series. With fewer than six samples a side, Student's on the logarithms.
//!
//! Several runs a side: what differs from run to run is not in the samples of one. The logarithms of the runs' statistics
//! are compared by Student's, with a variance that both sides share and that is never below what the samples say.

use super::LEAST_SPREAD;
use super::bootstrap::median;
use crate::units::interval::Interval;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

/// Resamples of a comparison.
const RESAMPLES: usize = 2000;
/// Fewest samples of a side that are resampled.
const FEWEST: usize = 6;
/// Fewest samples of a side that anything is said of.
const LEAST: usize = 3;
/// Standard error of a median / that of a mean of as many normal values, for many values: `sqrt(pi / 2)`.
const MEDIAN_OVER_MEAN: f64 = 1.2533;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// The median.
    Median,
    /// The nearest rank of a share of the samples, such as 0.9.
    Quantile(f64),
}

impl Statistic {
    /// Of these values, which are put in another order.
    fn of(self, values: &mut [f64]) -> Option<f64> {
        match self {
            Self::Median => median(values),
            Self::Quantile(share) => {
                let rank = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1));
                (!values.is_empty()).then(|| *values.select_nth_unstable_by(rank - 1, f64::total_cmp).1)
            }
        }
    }
}

/// `after / before`.
pub type Change = Interval;

/// The change from the runs of one side to those of the other, each given as its samples in the order of time. All values
/// must be above 0. `None` where a side has too few to say anything.
pub fn change(before: &[&[f64]], after: &[&[f64]], statistic: Statistic, confidence: f64, seed: u64) -> Option<Change> {
    let usable = |run: &&&[f64]| run.len() >= LEAST && run.iter().all(|v| v.is_finite() && *v > 0.0);
    let before: Vec<&[f64]> = before.iter().filter(usable).copied().collect();
    let after: Vec<&[f64]> = after.iter().filter(usable).copied().collect();
    match (before.as_slice(), after.as_slice()) {
        ([], _) | (_, []) => None,
        ([before], [after]) if before.len() >= FEWEST && after.len() >= FEWEST => {
            resampled(before, after, statistic, confidence, seed)
        }
        ([before], [after]) => by_student(before, after, statistic, confidence),
        _ => between_runs(&before, &after, statistic, confidence),
    }
}

fn resampled(before: &[f64], after: &[f64], statistic: Statistic, confidence: f64, seed: u64) -> Option<Change> {
    let of = |values: &[f64]| statistic.of(&mut values.to_vec());
    let ratio = of(after)? / of(before)?;
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut drawn = Vec::with_capacity(before.len().max(after.len()));
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            draw(after, &mut rng, &mut drawn);
            let upper = statistic.of(&mut drawn)?;
            draw(before, &mut rng, &mut drawn);
            Some(upper / statistic.of(&mut drawn)?)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios.get(((ratios.len() as f64 - 1.0) * share).round() as usize).copied();
    // The ends of so many resamples say little of what is rarer than one in forty: from there by the normal distribution.
    let tail = ((1.0 - confidence) / 2.0).max(0.025);
    let rarer = student(confidence, 1e9) / student(1.0 - 2.0 * tail, 1e9);
    let few = student(confidence, before.len().min(after.len()) as f64 - 1.0) / student(confidence, 1e9);
    // Of two sides each gives a half of the squared width.
    let dependent = (dependence(before).powi(2) / 2.0 + dependence(after).powi(2) / 2.0).sqrt();
    let wider = rarer * few * dependent;
    let end = |end: f64| ratio * (end / ratio).powf(wider);
    // Samples that are equal say how finely they were read, and not that nothing varies.
    let counts = 1.0 / before.len() as f64 + 1.0 / after.len() as f64;
    let least = around(ratio, student(confidence, 1e9) * few * MEDIAN_OVER_MEAN * LEAST_SPREAD * counts.sqrt())?;
    Some(Change { value: ratio, lo: end(at(tail)?).min(least.lo), hi: end(at(1.0 - tail)?).max(least.hi) })
}

/// As many values as there are.
fn draw(values: &[f64], rng: &mut Xoshiro256PlusPlus, drawn: &mut Vec<f64>) {
    drawn.clear();
    drawn.extend((0..values.len()).map(|_| values[rng.random_range(0..values.len())]));
}

/// The most that neighbours are taken to go together.
const MOST_CORRELATED: f64 = 0.8;

/// How much wider an interval is than that of independent samples. The correlation of neighbours is found too low by about
/// `(1 + 4 r) / n` in so few samples (Marriott and Pope, 1954), which is added.
fn dependence(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let all: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    if all <= 0.0 {
        return 1.0;
    }
    let pairs: f64 = values.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum();
    let found = pairs / all;
    let correlation = (found + (1.0 + 4.0 * found) / count).clamp(0.0, MOST_CORRELATED);
    ((1.0 + correlation) / (1.0 - correlation)).sqrt()
}

fn variance(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

fn logs(values: &[f64]) -> Vec<f64> {
    values.iter().map(|value| value.ln()).collect()
}

fn around(ratio: f64, margin: f64) -> Option<Change> {
    let factor = margin.exp();
    factor.is_finite().then_some(Change { value: ratio, lo: ratio / factor, hi: ratio * factor })
}

/// Squared standard error of the logarithm of a run's median.
fn error_within(run: &[f64]) -> f64 {
    MEDIAN_OVER_MEAN.powi(2) * variance(&logs(run)).max(LEAST_SPREAD.powi(2)) / run.len() as f64
}

fn by_student(before: &[f64], after: &[f64], statistic: Statistic, confidence: f64) -> Option<Change> {
    let of = |values: &[f64]| statistic.of(&mut values.to_vec());
    let fewest = before.len().min(after.len());
    let error = (error_within(before) + error_within(after)).sqrt();
    around(of(after)? / of(before)?, student(confidence, fewest as f64 - 1.0) * error)
}

fn between_runs(before: &[&[f64]], after: &[&[f64]], statistic: Statistic, confidence: f64) -> Option<Change> {
    let of = |runs: &[&[f64]]| -> Option<Vec<f64>> {
        runs.iter().map(|run| statistic.of(&mut run.to_vec()).map(f64::ln)).collect()
    };
    let sides = [(of(before)?, before), (of(after)?, after)];
    let (mut squares, mut freedom) = (0.0, 0.0);
    for (middles, _) in sides.iter().filter(|(middles, _)| middles.len() > 1) {
        let more = middles.len() as f64 - 1.0;
        squares += variance(middles) * more;
        freedom += more;
    }
    let within = |runs: &[&[f64]]| runs.iter().map(|run| error_within(run)).sum::<f64>() / runs.len() as f64;
    let squared =
        |(middles, runs): &(Vec<f64>, &[&[f64]])| (squares / freedom).max(within(runs)) / middles.len() as f64;
    let mean = |middles: &[f64]| middles.iter().sum::<f64>() / middles.len() as f64;
    let error = sides.iter().map(squared).sum::<f64>().sqrt();
    around((mean(&sides[1].0) - mean(&sides[0].0)).exp(), student(confidence, freedom) * error)
}

/// The two-sided point of Student's t: exact for one and two degrees of freedom, from there by the expansion of
/// Abramowitz and Stegun, 26.7.5, off by less than 1 %.
pub fn student(confidence: f64, freedom: f64) -> f64 {
    let tail = (1.0 - confidence) / 2.0;
    if freedom < 1.5 {
        return (std::f64::consts::PI * (0.5 - tail)).tan();
    }
    if freedom < 2.5 {
        let p = 1.0 - tail;
        return (2.0 * p - 1.0) / (2.0 * p * (1.0 - p)).sqrt();
    }
    let z = normal(1.0 - tail);
    let terms = [
        (z.powi(3) + z) / 4.0,
        (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0,
        (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0,
        (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z) / 92_160.0,
    ];
    terms.iter().enumerate().fold(z, |sum, (power, term)| sum + term / freedom.powi(power as i32 + 1))
}

/// The quantile of the normal distribution for a share above a half (Abramowitz and Stegun, 26.2.23: off by 0.00045).
fn normal(share: f64) -> f64 {
    let t = (-2.0 * (1.0 - share).ln()).sqrt();
    t - (2.515_517 + 0.802_853 * t + 0.010_328 * t * t)
        / (1.0 + 1.432_788 * t + 0.189_269 * t * t + 0.001_308 * t.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand_distr::{Distribution, Normal};

    fn noisy(rng: &mut Xoshiro256PlusPlus, count: usize, middle: f64, spread: f64) -> Vec<f64> {
        let normal = Normal::new(middle, middle * spread).unwrap();
        (0..count).map(|_| normal.sample(rng).max(1e-9)).collect()
    }

    #[test]
    fn student_is_that_of_the_tables() {
        for (freedom, table) in [(1.0, 12.706), (2.0, 4.303), (3.0, 3.182), (4.0, 2.776), (9.0, 2.262), (30.0, 2.042)] {
            assert!((student(0.95, freedom) / table - 1.0).abs() < 0.01, "{freedom}: {}", student(0.95, freedom));
        }
        assert!((student(0.99, 5.0) / 4.032 - 1.0).abs() < 0.02, "{}", student(0.99, 5.0));
    }

    #[test]
    fn the_interval_holds_the_true_ratio_about_as_often_as_it_says() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
        for (before, after) in [(4, 4), (10, 10), (30, 12), (50, 50)] {
            let holds = (0..300)
                .filter(|seed| {
                    let a = noisy(&mut rng, before, 1.0, 0.02);
                    let b = noisy(&mut rng, after, 1.05, 0.02);
                    let change = change(&[&a], &[&b], Statistic::Median, 0.95, *seed).unwrap();
                    change.lo <= 1.05 && 1.05 <= change.hi
                })
                .count();
            assert!((270..=300).contains(&holds), "{holds} of 300 with {before} and {after}");
        }
    }

    #[test]
    fn neighbours_that_go_together_widen_the_interval() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(23);
        let normal = Normal::new(0.0, 0.02).unwrap();
        for count in [8, 15, 40] {
            let series = |rng: &mut Xoshiro256PlusPlus| -> Vec<f64> {
                let mut state: f64 = normal.sample(rng) / 0.8;
                let mut next = || {
                    state = 0.6 * state + normal.sample(rng);
                    1.0 + state
                };
                (0..count).map(|_| next()).collect()
            };
            let holds = (0..300)
                .filter(|seed| {
                    let (a, b) = (series(&mut rng), series(&mut rng));
                    let change = change(&[&a], &[&b], Statistic::Median, 0.95, *seed).unwrap();
                    change.lo <= 1.0 && 1.0 <= change.hi
                })
                .count();
            assert!(holds >= 264, "{holds} of 300 with {count}");
        }
    }

    #[test]
    fn what_differs_from_run_to_run_is_in_the_interval_of_several_runs() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(3);
        let drift = Normal::new(1.0, 0.03).unwrap();
        let holds = (0..300)
            .filter(|_| {
                let runs: Vec<Vec<f64>> = (0..6)
                    .map(|_| {
                        let middle: f64 = drift.sample(&mut rng);
                        noisy(&mut rng, 20, middle, 0.01)
                    })
                    .collect();
                let sides: Vec<&[f64]> = runs.iter().map(Vec::as_slice).collect();
                let change = change(&sides[..3], &sides[3..], Statistic::Median, 0.95, 1).unwrap();
                change.lo <= 1.0 && 1.0 <= change.hi
            })
            .count();
        assert!((270..=297).contains(&holds), "{holds} of 300");
    }

    #[test]
    fn equal_samples_are_not_certain() {
        for count in [3, 5, 6, 40] {
            let same = vec![0.01; count];
            let one = change(&[&same], &[&same], Statistic::Median, 0.95, 1).unwrap();
            assert!(one.value == 1.0 && one.lo < 0.9998 && one.hi > 1.0002, "{count}: {one:?}");
            let p90 = change(&[&same], &[&same], Statistic::Quantile(0.9), 0.95, 1).unwrap();
            assert!(p90.lo < 0.9998 && p90.hi > 1.0002, "{count}: {p90:?}");
            let several = change(&[&same, &same], &[&same, &same], Statistic::Median, 0.95, 1).unwrap();
            assert!(several.half_width() > 1e-4, "{count}: {several:?}");
        }
        // A twentieth slower stays a twentieth slower.
        let slower = change(&[&[0.01; 3]], &[&[0.0105; 3]], Statistic::Median, 0.95, 1).unwrap();
        assert!(slower.lo > 1.04 && slower.hi < 1.06, "{slower:?}");
    }

    #[test]
    fn too_few_say_nothing() {
        assert_eq!(change(&[&[1.0, 2.0]], &[&[1.0; 9]], Statistic::Median, 0.95, 1), None);
        assert_eq!(change(&[&[0.0; 9]], &[&[1.0; 9]], Statistic::Median, 0.95, 1), None, "nothing is a share of 0");
    }

    proptest! {
        #[test]
        fn the_ratio_is_within_and_turns_over(
            a in proptest::collection::vec(1e-3f64..1e3, 3..40), b in proptest::collection::vec(1e-3f64..1e3, 3..40),
        ) {
            let change = change(&[&a], &[&b], Statistic::Median, 0.95, 5).unwrap();
            prop_assert!(change.lo <= change.value && change.value <= change.hi && change.lo > 0.0);
            let back = change.under(1.0);
            prop_assert!(back.lo <= back.value && back.value <= back.hi);
            prop_assert!((back.half_width() - change.half_width()).abs() < 1e-9);
        }
    }
}
