//! How much the figure of quality has changed since a recorded run: item by item where the items are the same, else
//! between two sets of items that have nothing to do with each other.

use crate::record::ItemRow;
use crate::record::evaluation::DataSetKind;
use crate::statistics::paired::{
    FEWEST, Resampled, Share, half_width_without_spread, has_no_spread, mcnemar, p_value, ratio, resample,
    student_point, wilson,
};
use crate::statistics::rank_correlation::{drawn_correlation, ranked};
use crate::statistics::unpaired::{fisher, newcombe, paired_ratio_error, ratio_error};

/// A figure before and now.
#[derive(Debug, Clone, Default)]
pub struct OutcomeChange {
    /// The baseline's.
    pub before: f64,
    /// Today's.
    pub value: f64,
    /// Its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// `value - before`.
    pub delta: f64,
    /// Its 95 % interval.
    pub delta_interval: Option<(f64, f64)>,
    /// `mcnemar`, `fisher`, `student`.
    pub test: &'static str,
    /// The chance of such a difference where there is none.
    pub p_value: Option<f64>,
    /// The standard error of the difference; `None` where nothing differs at all, which says nothing of other items.
    pub error: Option<f64>,
    /// The test is of the logarithm, and `error` is the logarithm's times the baseline's value.
    pub on_logarithm: bool,
    /// Right answers of the baseline and the items of both sides, where Fisher's test is made of them.
    pub shares: Option<(usize, [usize; 2])>,
}

impl OutcomeChange {
    /// The change that is so many standard errors from none; upwards, where the test is of the logarithm.
    pub fn change_of(&self, errors: f64) -> Option<f64> {
        let error = self.error?;
        Some(if self.on_logarithm {
            self.before * ((errors * error / self.before).exp() - 1.0)
        } else {
            errors * error
        })
    }
}

/// The figure of a kind of data.
pub fn metric(kind: DataSetKind) -> &'static str {
    match kind {
        DataSetKind::Text => "perplexity",
        DataSetKind::Choice => "choice_accuracy",
        DataSetKind::Generation => "exact_match",
        DataSetKind::Pairs => "spearman",
        DataSetKind::Classification => "top1_accuracy",
    }
}

/// The change; an error says why it cannot be told.
pub fn outcome(
    kind: DataSetKind,
    before: &[&ItemRow],
    after: &[&ItemRow],
    pairs: Option<&[(usize, usize)]>,
    seed: u64,
) -> Result<OutcomeChange, String> {
    let fewer = before.len().min(after.len());
    if fewer < FEWEST {
        return Err(format!("{fewer} items; {FEWEST} are needed"));
    }
    let (before, after): (Vec<&ItemRow>, Vec<&ItemRow>) = match pairs {
        Some(pairs) => pairs.iter().map(|(first, second)| (before[*first], after[*second])).unzip(),
        None => (before.to_vec(), after.to_vec()),
    };
    match kind {
        DataSetKind::Text => Ok(perplexity(&shares(&before), &shares(&after), pairs.is_some())),
        DataSetKind::Pairs => correlation(&before, &after, pairs.is_some(), seed),
        _ => Ok(accuracy(&shares(&before), &shares(&after), pairs.is_some())),
    }
}

fn shares(items: &[&ItemRow]) -> Vec<Share> {
    items.iter().map(|item| (item.outcome, item.weight)).collect()
}

fn accuracy(before: &[Share], after: &[Share], paired: bool) -> OutcomeChange {
    let right = [before, after].map(|items| items.iter().filter(|item| item.0 > 0.0).count());
    let items = [before.len(), after.len()];
    let value = ratio(after);
    let outcome = OutcomeChange {
        before: ratio(before),
        value,
        interval: Some(wilson(right[1], items[1])),
        delta: value - ratio(before),
        ..OutcomeChange::default()
    };
    if !paired {
        let spread = |side: usize| {
            // Of all or none, as if half an answer were the other way.
            let share = (right[side] as f64 + 0.5) / (items[side] as f64 + 1.0);
            share * (1.0 - share) / items[side] as f64
        };
        return OutcomeChange {
            delta_interval: Some(newcombe(right, items)),
            test: "fisher",
            p_value: Some(fisher(right, items)),
            error: Some((spread(0) + spread(1)).sqrt()),
            shares: Some((right[0], items)),
            ..outcome
        };
    }
    let differ =
        |first: bool| before.iter().zip(after).filter(|(b, a)| (b.0 > 0.0, a.0 > 0.0) == (first, !first)).count();
    let (worse, better) = (differ(true), differ(false));
    let count = items[1] as f64;
    // With nothing that differs, the rule of three bounds what may.
    let error = paired_ratio_error(before, after).max((3.0f64.min(count)).sqrt() / count);
    let half =
        if worse + better == 0 { 3.0 / count } else { student_point(items[1]) * paired_ratio_error(before, after) };
    OutcomeChange {
        delta_interval: Some((outcome.delta - half, outcome.delta + half)),
        test: "mcnemar",
        p_value: Some(mcnemar(worse, better)),
        error: Some(error),
        ..outcome
    }
}

/// The test and its error are of the logarithm, on which changes of a perplexity add up.
fn perplexity(before: &[Share], after: &[Share], paired: bool) -> OutcomeChange {
    let (first, value) = (ratio(before).exp(), ratio(after).exp());
    let half = student_point(after.len()) * ratio_error(after);
    let fewer = before.len().min(after.len());
    let error = if paired { paired_ratio_error(before, after) } else { ratio_error(before).hypot(ratio_error(after)) };
    let change = ratio(after) - ratio(before);
    let wide = if has_no_spread(change, error) {
        half_width_without_spread(change, fewer)
    } else {
        Some(student_point(fewer) * error)
    };
    OutcomeChange {
        before: first,
        value,
        interval: (half > 0.0).then(|| (value * (-half).exp(), value * half.exp())),
        delta: value - first,
        delta_interval: wide.map(|wide| (first * ((change - wide).exp() - 1.0), first * ((change + wide).exp() - 1.0))),
        test: "student",
        p_value: Some(p_value(change, error, fewer)),
        error: (!has_no_spread(change, error)).then_some(first * error),
        on_logarithm: true,
        shares: None,
    }
}

fn correlation(before: &[&ItemRow], after: &[&ItemRow], paired: bool, seed: u64) -> Result<OutcomeChange, String> {
    let (ours, theirs) = (ranks_of(after)?, ranks_of(before)?);
    let (value, first) =
        (drawn_correlation(&ours, &vec![1; ours.len()]), drawn_correlation(&theirs, &vec![1; theirs.len()]));
    if !value.is_finite() || !first.is_finite() {
        return Err("all are equal".to_string());
    }
    let alone = |pairs: &[(f64, f64)], seed| resample(pairs.len(), seed, |times| drawn_correlation(pairs, times));
    let too_few = || "too few items differ".to_string();
    let own = alone(&ours, seed).ok_or_else(too_few)?;
    let delta = value - first;
    let fewer = ours.len().min(theirs.len());
    let (error, ends) = if paired {
        let both = |times: &[u32]| drawn_correlation(&ours, times) - drawn_correlation(&theirs, times);
        let Resampled { lo, hi, error } = resample(ours.len(), seed, both).ok_or_else(too_few)?;
        let half = half_width_without_spread(delta, ours.len());
        let spread = !has_no_spread(delta, error);
        (
            error,
            if spread { Some((lo.min(delta), hi.max(delta))) } else { half.map(|half| (delta - half, delta + half)) },
        )
    } else {
        let error = own.error.hypot(alone(&theirs, seed.wrapping_add(1)).ok_or_else(too_few)?.error);
        let half = student_point(fewer) * error;
        (error, Some((delta - half, delta + half)))
    };
    Ok(OutcomeChange {
        before: first,
        value,
        interval: Some((own.lo.min(value), own.hi.max(value))),
        delta,
        delta_interval: ends,
        test: "student",
        p_value: Some(p_value(delta, error, fewer)),
        error: (!has_no_spread(delta, error)).then_some(error),
        on_logarithm: false,
        shares: None,
    })
}

/// The model's likeness of each pair and the people's, as ranks.
fn ranks_of(items: &[&ItemRow]) -> Result<Vec<(f64, f64)>, String> {
    let pairs: Option<Vec<(f64, f64)>> = items.iter().map(|item| Some((item.outcome, item.target?))).collect();
    Ok(ranked(&pairs.ok_or("the items do not say what people think")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_perplexity_that_is_a_tenth_higher_everywhere_has_a_narrow_interval_when_paired() {
        let text = |more: f64| -> Vec<Share> {
            (0..40).map(|i| (100.0 * (1.0 + 0.1 * f64::from(i % 5) + more), 100.0)).collect()
        };
        let (before, after) = (text(0.0), text(0.1));
        let paired = perplexity(&before, &after, true);
        assert!((paired.value / paired.before - 0.1f64.exp()).abs() < 1e-9);
        let (lo, hi) = paired.delta_interval.unwrap();
        // Every window has the same change: the rule of three bounds it.
        let wide = paired.before * 0.1f64.exp() * 2.0 * 0.1 * 3.0 / 40.0;
        assert!(((hi - lo) / wide - 1.0).abs() < 1e-3 && paired.p_value.unwrap() < 1e-6, "{paired:?}");
        let apart = perplexity(&before, &after, false);
        let (lo, hi) = apart.delta_interval.unwrap();
        assert!(lo < paired.delta && paired.delta < hi && hi - lo > 0.1, "{apart:?}");
    }

    #[test]
    fn ten_lost_answers_of_the_same_hundred_are_found_where_of_another_hundred_they_are_not() {
        let answers = |lost: usize| -> Vec<Share> { (0..100).map(|i| (f64::from(u8::from(i >= lost)), 1.0)).collect() };
        let (before, after) = (answers(10), answers(20));
        let paired = accuracy(&before, &after, true);
        assert!((paired.delta + 0.1).abs() < 1e-12 && paired.p_value.unwrap() < 0.01, "{paired:?}");
        let apart = accuracy(&before, &after, false);
        let width = |outcome: &OutcomeChange| outcome.delta_interval.map(|(lo, hi)| hi - lo).unwrap();
        assert!(apart.p_value.unwrap() > 0.05 && width(&apart) > 1.5 * width(&paired), "{apart:?}");
    }
}
