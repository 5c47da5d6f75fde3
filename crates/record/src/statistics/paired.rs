//! Two systems on the same items: paired tests, intervals by resampling items, correction for many comparisons, and how
//! many items would tell.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use rayon::prelude::*;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};

/// Resamples of an interval.
pub const RESAMPLES: usize = 10_000;
/// Fewest items that an interval is given for.
pub const FEWEST: usize = 5;
/// From this many items on that only one side got right, the normal distribution serves.
const EXACT_BELOW: usize = 25;
/// The share of true changes of the size named that are found.
pub const POWER: f64 = 0.8;
/// The share of unchanged pairs that may be called changed.
pub const ALPHA: f64 = 0.05;

/// A sum over an item and what it is to be divided by, such as log-likelihoods and tokens.
pub type Share = (f64, f64);

/// Sum of the numerators over that of the denominators.
pub fn ratio(items: &[Share]) -> f64 {
    let (above, below) = items.iter().fold((0.0, 0.0), |(a, b), item| (a + item.0, b + item.1));
    above / below
}

/// The p-value of McNemar's test: `worse` items that only the first got right, `better` that only the second did.
/// Exact (binomial, doubled) where they are fewer than 25, else by the normal distribution with continuity correction
/// (Edwards 1948).
pub fn mcnemar(worse: usize, better: usize) -> f64 {
    let discordant = worse + better;
    if discordant == 0 {
        return 1.0;
    }
    if discordant < EXACT_BELOW {
        let Ok(binomial) = Binomial::new(0.5, discordant as u64) else { return 1.0 };
        return (2.0 * binomial.cdf(worse.min(better) as u64)).min(1.0);
    }
    let z = (worse.abs_diff(better) as f64 - 1.0).max(0.0) / (discordant as f64).sqrt();
    (2.0 * Normal::standard().sf(z)).min(1.0)
}

/// p-values corrected for being the smallest of many (Holm 1979), in the order given.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut most: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        most = most.max((p_values[index] * (p_values.len() - rank) as f64).min(1.0));
        corrected[index] = most;
    }
    corrected
}

/// A figure that was resampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampled {
    /// Its 95 % interval: the percentiles, widened for few items as Student's distribution is wider than the normal.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// Its standard error.
    pub error: f64,
}

/// The 95 % interval of `figure`, a function of items that are drawn again with replacement, 10,000 times; each drawing
/// is given as how often each item is in it. `None` for fewer than five items.
pub fn resample(items: usize, seed: u64, figure: impl Fn(&[u32]) -> f64 + Sync) -> Option<Resampled> {
    if items < FEWEST {
        return None;
    }
    const AT_ONCE: usize = 100;
    let mut drawn: Vec<f64> = (0..RESAMPLES / AT_ONCE)
        .into_par_iter()
        .flat_map_iter(|part| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed.wrapping_add(part as u64));
            let mut times = vec![0; items];
            let figure = &figure;
            (0..AT_ONCE).map(move |_| {
                times.fill(0);
                (0..items).for_each(|_| times[rng.random_range(0..items)] += 1);
                figure(&times)
            })
        })
        .filter(|value| value.is_finite())
        .collect();
    if drawn.len() < RESAMPLES / 2 {
        return None;
    }
    drawn.sort_by(f64::total_cmp);
    let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
    let variance = drawn.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (drawn.len() as f64 - 1.0);
    let at = |share: f64| drawn[((drawn.len() as f64 - 1.0) * share).round() as usize];
    let wider = student_point(items) / normal_quantile(0.975);
    let (lo, hi) = (at(0.025), at(0.975));
    let (middle, half) = ((lo + hi) / 2.0, (hi - lo) / 2.0 * wider);
    Some(Resampled { lo: middle - half, hi: middle + half, error: variance.sqrt() })
}

/// How many standard errors an interval of 95 % goes to either side with so many items.
pub fn student_point(items: usize) -> f64 {
    StudentsT::new(0.0, 1.0, items as f64 - 1.0).map_or(f64::NAN, |t| t.inverse_cdf(0.975))
}

pub(super) fn normal_quantile(share: f64) -> f64 {
    Normal::standard().inverse_cdf(share)
}

/// The weighted ratio of `items` drawn `times` often each.
pub fn drawn_ratio(items: &[Share], times: &[u32]) -> f64 {
    let (mut above, mut below) = (0.0, 0.0);
    for ((a, b), times) in items.iter().zip(times) {
        above += a * *times as f64;
        below += b * *times as f64;
    }
    above / below
}

/// Differences that are the same in every item but for this share have no spread to speak of.
const NO_SPREAD: f64 = 1e-9;

/// Whether a difference has no spread over its items, so that its error says nothing of other items.
pub fn has_no_spread(difference: f64, error: f64) -> bool {
    error <= difference.abs() * NO_SPREAD
}

/// Half the width that an interval has where every one of so many items has the same difference: up to three of as many
/// others may have none (the rule of three). `None` where there is no difference at all, which bounds nothing.
pub fn half_width_without_spread(difference: f64, items: usize) -> Option<f64> {
    (difference != 0.0).then(|| (difference * 3.0 / items.max(1) as f64).abs())
}

/// The two-sided p-value of a difference with this standard error over so many items, by Student's distribution. Where all
/// items differ by the same, by the sign test: their equality is no certainty.
pub fn p_value(difference: f64, error: f64, items: usize) -> f64 {
    if difference == 0.0 && error <= 0.0 {
        return 1.0;
    }
    if has_no_spread(difference, error) {
        return 0.5f64.powi(items.saturating_sub(1) as i32);
    }
    StudentsT::new(0.0, 1.0, items as f64 - 1.0).map_or(1.0, |t| (2.0 * t.sf((difference / error).abs())).min(1.0))
}

/// The 95 % interval of a share (Wilson 1927), which is not nothing even for none or all.
pub fn wilson(found: usize, items: usize) -> (f64, f64) {
    if items == 0 {
        return (0.0, 1.0);
    }
    wilson_share(found as f64 / items as f64, items as f64)
}

/// The same of a share that is known as well as from `n` items, which need not be a whole number.
pub fn wilson_share(share: f64, n: f64) -> (f64, f64) {
    let z = normal_quantile(0.975);
    let middle = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    ((middle - half).clamp(0.0, share), (middle + half).clamp(share, 1.0))
}

/// How many standard errors a true change must be for a test at 5 % to find it four times of five: 2.80.
pub fn detectable_errors() -> f64 {
    errors_to_find(ALPHA, POWER)
}

/// How many standard errors a true change must be for a two-sided test at `alpha` to find it with the chance `power`.
pub fn errors_to_find(alpha: f64, power: f64) -> f64 {
    normal_quantile(1.0 - alpha / 2.0) + normal_quantile(power)
}

/// Items for a change of `margin` in a share of right answers to be found, where `discordant` of `items` differ between
/// the two; with none, the rule of three bounds them. After Connor (1987): `n = (z_a sqrt(d) + z_b sqrt(d - m^2))^2 / m^2`.
pub fn items_needed(discordant: usize, items: usize, margin: f64) -> f64 {
    let share = (discordant.max(3) as f64 / items.max(1) as f64).clamp(margin.min(1.0), 1.0);
    let (a, b) = (normal_quantile(1.0 - ALPHA / 2.0), normal_quantile(POWER));
    let spread = (share - margin * margin).max(0.0).sqrt();
    ((a * share.sqrt() + b * spread) / margin).powi(2)
}

/// The change in a share of right answers that so many items find, by the same formula without its second-order part.
pub fn detectable_share(discordant: usize, items: usize) -> f64 {
    detectable_errors() * (discordant.max(3) as f64).sqrt() / items.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};

    #[test]
    fn mcnemar_is_that_of_the_textbook() {
        // 1 of 10 discordant: 2 (1 + 10) / 1024.
        assert!((mcnemar(9, 1) - 22.0 / 1024.0).abs() < 1e-12);
        assert_eq!(mcnemar(0, 0), 1.0);
        assert_eq!(mcnemar(5, 5), 1.0);
        // Agresti's approval ratings: 150 and 86, z^2 with correction 16.82.
        assert!((mcnemar(150, 86) - 4.1e-5).abs() < 3e-6, "{}", mcnemar(150, 86));
    }

    #[test]
    fn holm_is_that_of_the_textbook() {
        let corrected = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, known) in corrected.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((found - known).abs() < 1e-12, "{corrected:?}");
        }
    }

    #[test]
    fn items_that_all_differ_by_the_same_are_not_certain() {
        assert_eq!(p_value(0.0, 0.0, 9), 1.0);
        assert_eq!(p_value(0.1, 0.0, 5), 0.0625, "the sign test of five");
        assert_eq!(p_value(0.1, 1e-17, 11), 0.5f64.powi(10));
        assert!(p_value(0.1, 0.01, 11) < 1e-5, "Student's");
        assert_eq!((half_width_without_spread(0.5, 30), half_width_without_spread(0.0, 30)), (Some(0.05), None));
    }

    #[test]
    fn an_interval_holds_the_truth_about_as_often_as_it_says() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(4);
        for count in [8, 40] {
            let holds = (0..200)
                .filter(|seed| {
                    let items: Vec<Share> = (0..count)
                        .map(|_| {
                            let tokens = rng.random_range(50.0..100.0);
                            (tokens * (2.0 + rng.random_range(-0.5..0.5)), tokens)
                        })
                        .collect();
                    let found = resample(count, *seed, |times| drawn_ratio(&items, times)).unwrap();
                    found.lo <= 2.0 && 2.0 <= found.hi
                })
                .count();
            assert!((178..=199).contains(&holds), "{holds} of 200 with {count}");
        }
    }

    #[test]
    fn a_thousand_questions_find_three_points_as_published() {
        // Miller (arXiv 2411.00640): about 1,000 for 3 points at 80 % power; there, of ten answers one differs.
        let needed = items_needed(110, 1000, 0.03);
        assert!((850.0..1100.0).contains(&needed), "{needed}");
        let found = detectable_share(110, needed as usize * 110 / 110);
        assert!((0.025..0.035).contains(&found), "{found}");
    }

    proptest! {
        #[test]
        fn corrected_values_are_never_smaller_and_keep_their_order(p in proptest::collection::vec(0.0f64..1.0, 1..20)) {
            let corrected = holm(&p);
            for (i, a) in p.iter().enumerate() {
                prop_assert!(corrected[i] >= *a && corrected[i] <= 1.0);
                for (j, b) in p.iter().enumerate() {
                    prop_assert!(a.total_cmp(b).is_gt() || corrected[i] <= corrected[j] || a == b);
                }
            }
        }

        #[test]
        fn mcnemar_does_not_care_which_is_which(a in 0usize..200, b in 0usize..200) {
            let p = mcnemar(a, b);
            prop_assert!((0.0..=1.0).contains(&p) && p == mcnemar(b, a));
        }
    }
}
