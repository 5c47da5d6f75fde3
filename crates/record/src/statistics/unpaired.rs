//! Figures of two sets of items that have nothing to do with each other, and errors of ratios without resampling.

use super::paired::{Share, normal_quantile, ratio, wilson};
use statrs::distribution::{Discrete, Hypergeometric};

/// The two-sided p-value of Fisher's exact test: `right` of `items` on one side and on the other, one chance for both.
/// The sum over all tables that are as improbable as the one found.
pub fn fisher(right: [usize; 2], items: [usize; 2]) -> f64 {
    let all = (items[0] + items[1]) as u64;
    let Ok(tables) = Hypergeometric::new(all, (right[0] + right[1]) as u64, items[0] as u64) else { return 1.0 };
    let found = tables.pmf(right[0] as u64);
    let least = (right[0] + right[1]).saturating_sub(items[1]);
    let most = items[0].min(right[0] + right[1]);
    // Tables that are as probable but for rounding count.
    let sum: f64 = (least..=most).map(|k| tables.pmf(k as u64)).filter(|p| *p <= found * (1.0 + 1e-7)).sum();
    sum.min(1.0)
}

/// The 95 % interval of the second share less the first, from Wilson's of each (Newcombe 1998, method 10).
pub fn newcombe(right: [usize; 2], items: [usize; 2]) -> (f64, f64) {
    let share = |side: usize| right[side] as f64 / items[side] as f64;
    let ((lo_before, hi_before), (lo_after, hi_after)) = (wilson(right[0], items[0]), wilson(right[1], items[1]));
    let (before, after) = (share(0), share(1));
    let down = ((after - lo_after).powi(2) + (hi_before - before).powi(2)).sqrt();
    let up = ((hi_after - after).powi(2) + (before - lo_before).powi(2)).sqrt();
    (after - before - down, after - before + up)
}

/// What each item adds to a ratio's distance from its value: `(x - r w) / sum(w)` (the delta method).
fn influences(items: &[Share]) -> Vec<f64> {
    let (value, below) = (ratio(items), items.iter().map(|item| item.1).sum::<f64>());
    items.iter().map(|(above, weight)| (above - value * weight) / below).collect()
}

fn error_of(influences: impl ExactSizeIterator<Item = f64>) -> f64 {
    let items = influences.len() as f64;
    (influences.map(|value| value * value).sum::<f64>() * items / (items - 1.0)).sqrt()
}

/// The standard error of a sum over a sum.
pub fn ratio_error(items: &[Share]) -> f64 {
    error_of(influences(items).into_iter())
}

/// The standard error of the difference of two ratios over the same items.
pub fn paired_ratio_error(before: &[Share], after: &[Share]) -> f64 {
    let (before, after) = (influences(before), influences(after));
    error_of(before.iter().zip(&after).map(|(before, after)| after - before))
}

/// The change of a share that Fisher's test at `alpha` finds with the chance `power`: for a change towards a half, which
/// spreads more, and with the half answer a side by which an exact test lags behind the normal one (Fleiss 1980, 3.18).
pub fn detectable_change(right: usize, items: [usize; 2], alpha: f64, power: f64) -> f64 {
    // Of all or none, as if half an answer were the other way.
    let before = (right as f64 + 0.5) / (items[0] as f64 + 1.0);
    let [first, second] = items.map(|items| items as f64);
    let to_flag = normal_quantile(1.0 - alpha / 2.0);
    let to_find = normal_quantile(power);
    let mut change = 0.0f64;
    for _ in 0..20 {
        let after = if before > 0.5 { (before - change).max(0.0) } else { (before + change).min(1.0) };
        let pooled = (before * first + after * second) / (first + second);
        let flat = (pooled * (1.0 - pooled) * (1.0 / first + 1.0 / second)).sqrt();
        let apart = (before * (1.0 - before) / first + after * (1.0 - after) / second).sqrt();
        change = to_flag * flat + to_find * apart + (1.0 / first + 1.0 / second) / 2.0;
    }
    change.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn fisher_is_that_of_the_tea() {
        assert!((fisher([3, 1], [4, 4]) - 34.0 / 70.0).abs() < 1e-9);
        assert!((fisher([4, 0], [4, 4]) - 2.0 / 70.0).abs() < 1e-9);
        assert_eq!(fisher([0, 0], [10, 20]), 1.0);
    }

    #[test]
    fn newcombe_is_that_of_the_paper() {
        // Newcombe 1998, table II, (a): 56 of 70 and 48 of 80, the first less the second: 0.0524 to 0.3339.
        let (lo, hi) = newcombe([48, 56], [80, 70]);
        assert!((lo - 0.0524).abs() < 1e-4 && (hi - 0.3339).abs() < 1e-4, "{lo} {hi}");
    }

    #[test]
    fn a_change_that_is_said_to_be_found_is_found() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(6);
        let change = detectable_change(80, [100, 100], 0.05, 0.8);
        assert!((0.16..0.22).contains(&change), "{change}");
        let mut right = |share: f64| (0..100).filter(|_| rng.random_bool(share)).count();
        let found = (0..400).filter(|_| fisher([right(0.8), right(0.8 - change)], [100, 100]) < 0.05).count();
        assert!((300..380).contains(&found), "{found} of 400");
    }

    #[test]
    fn errors_are_those_of_repetitions() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let mut draw = || -> Vec<Share> {
            let mut item = || {
                let weight = rng.random_range(50.0..100.0);
                (weight * (2.0 + rng.random_range(-0.5..0.5)), weight)
            };
            (0..100).map(|_| item()).collect()
        };
        let all: Vec<Vec<Share>> = (0..400).map(|_| draw()).collect();
        let values: Vec<f64> = all.iter().map(|items| ratio(items)).collect();
        let mean = values.iter().sum::<f64>() / 400.0;
        let spread = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 399.0).sqrt();
        let stated = all.iter().map(|items| ratio_error(items)).sum::<f64>() / 400.0;
        assert!((0.85..1.15).contains(&(stated / spread)), "{stated} {spread}");
        assert!(paired_ratio_error(&all[0], &all[0]) < 1e-12);
    }

    proptest! {
        #[test]
        fn fisher_does_not_care_which_is_which(a in 0usize..40, b in 0usize..40, more in 0usize..40) {
            let items = [40, 40 + more];
            let p = fisher([a, b], items);
            prop_assert!((0.0..=1.0).contains(&p) && (p - fisher([b, a], [items[1], items[0]])).abs() < 1e-9);
        }
    }
}
