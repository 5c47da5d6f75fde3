//! Whether a model or its data has changed since a recorded run: the figure of quality, how sure the model is, how long
//! its inputs are and how rare their tokens. Each is tested; the tests of a window are corrected together, so that a
//! window without any change is flagged with a chance of `alpha` at most.

use super::drift_outcome::{self, OutcomeChange};
use crate::record::evaluation::DataSetKind;
use crate::record::quality::{DEGRADED, IMPROVED, NOT_TESTED, UNCHANGED};
use crate::record::{DriftSet, DriftTest, ItemRow};
use crate::statistics::paired::{POWER, errors_to_find, holm};
use crate::statistics::shift;
use crate::statistics::unpaired::detectable_change;
use std::collections::{HashMap, HashSet};

/// The share of unchanged windows that may be flagged.
pub const ALPHA: f64 = 0.01;
/// Fewest values that a distribution is told from.
const FEWEST_VALUES: usize = 20;
/// Not an outcome but its surroundings: a verdict.
pub const SHIFTED: &str = "shifted";
/// Windows of a text that count more or fewer tokens than this share of the baseline's have another distribution.
const OTHER_SIZE: f64 = 0.02;

/// Items of a data set, before and now.
#[derive(Debug, Clone)]
pub struct DriftData<'a> {
    /// The name of the set.
    pub data: String,
    /// What it asks.
    pub kind: DataSetKind,
    /// BLAKE3 of today's file.
    pub hash: String,
    /// What tells today's data from other data.
    pub sketch: Vec<u64>,
    /// The baseline's items.
    pub before: Vec<&'a ItemRow>,
    /// Today's.
    pub after: Vec<&'a ItemRow>,
}

/// How tests are made.
#[derive(Debug, Clone, Copy)]
pub struct DriftSettings {
    /// The share of unchanged windows that may be flagged.
    pub alpha: f64,
    /// Seed of simulations.
    pub seed: u64,
    /// Simulate critical values too, which decisions do not need.
    pub critical_values: bool,
}

/// A distribution to test.
struct Feature {
    name: &'static str,
    before: Vec<f64>,
    after: Vec<f64>,
    /// Bins, where values differ enough for some.
    edges: Vec<f64>,
}

impl Feature {
    /// The distance, and the index where there are bins.
    fn tests(&self) -> usize {
        1 + usize::from(!self.edges.is_empty())
    }
}

/// What is known of a set before it is tested.
struct Prepared {
    outcome: Option<OutcomeChange>,
    features: Vec<Feature>,
    untested: Vec<String>,
    paired: bool,
}

/// Tests every set of a window.
pub fn compare(sets: &[DriftData<'_>], testing: DriftSettings) -> Vec<DriftSet> {
    let sets: Vec<DriftData<'_>> = sets.iter().map(different).collect();
    let prepared: Vec<Prepared> = sets.iter().map(|set| prepare(set, testing.seed)).collect();
    let of = |set: &Prepared| {
        usize::from(set.outcome.as_ref().is_some_and(|outcome| outcome.p_value.is_some()))
            + set.features.iter().map(Feature::tests).sum::<usize>()
    };
    // The strictest share that Holm's correction asks of a test; stated values are for it.
    let share = testing.alpha / prepared.iter().map(of).sum::<usize>().max(1) as f64;
    let mut found: Vec<DriftSet> =
        sets.iter().zip(prepared).map(|(set, prepared)| tested(set, prepared, share, testing)).collect();
    judge(&mut found, testing.alpha);
    found
}

/// The set with each question once: runs of earlier versions have what was asked twice twice.
fn different<'a>(set: &DriftData<'a>) -> DriftData<'a> {
    let once = |items: &[&'a ItemRow]| {
        let mut known = HashSet::new();
        items.iter().copied().filter(|item| known.insert(item.hash.as_str())).collect()
    };
    match set.kind {
        DataSetKind::Text => set.clone(),
        _ => DriftData { before: once(&set.before), after: once(&set.after), ..set.clone() },
    }
}

fn prepare(set: &DriftData<'_>, seed: u64) -> Prepared {
    let pairs = pairs(&set.before, &set.after);
    let mut untested = Vec::new();
    let outcome = match drift_outcome::outcome(set.kind, &set.before, &set.after, pairs.as_deref(), seed) {
        Ok(outcome) => Some(outcome),
        Err(why) => {
            untested.push(format!("outcome: {why}"));
            None
        }
    };
    let mut features = Vec::new();
    for (name, values) in values(set) {
        match values.and_then(|(before, after)| feature(name, before, after)) {
            Ok(feature) => features.push(feature),
            Err(why) => untested.push(format!("{name}: {why}")),
        }
    }
    Prepared { outcome, features, untested, paired: pairs.is_some() }
}

/// Items that are the same, if nearly all of today's are of the baseline: each with its place among the baseline's.
fn pairs(before: &[&ItemRow], after: &[&ItemRow]) -> Option<Vec<(usize, usize)>> {
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, item) in before.iter().enumerate().rev() {
        places.entry(&item.hash).or_default().push(place);
    }
    let mut pair = |(now, item): (usize, &&ItemRow)| Some((places.get_mut(item.hash.as_str())?.pop()?, now));
    let pairs: Vec<(usize, usize)> = after.iter().enumerate().filter_map(&mut pair).collect();
    (pairs.len() * 10 >= after.len() * 9 && !pairs.is_empty()).then_some(pairs)
}

type Values = Result<(Vec<f64>, Vec<f64>), String>;

fn values(set: &DriftData<'_>) -> [(&'static str, Values); 3] {
    let of = |value: fn(&ItemRow) -> f64| {
        let all = |items: &[&ItemRow]| items.iter().map(|item| value(item)).collect::<Vec<f64>>();
        Ok((all(&set.before), all(&set.after)))
    };
    if set.kind == DataSetKind::Text {
        let median = |items: &[&ItemRow]| {
            let mut weights: Vec<f64> = items.iter().map(|item| item.weight).collect();
            weights.sort_by(f64::total_cmp);
            weights.get(weights.len() / 2).copied().unwrap_or(0.0)
        };
        let (before, after) = (median(&set.before), median(&set.after));
        if (after / before - 1.0).abs() > OTHER_SIZE || !(after / before).is_finite() {
            let why = format!("{after} tokens are summed up together, and {before} in the baseline");
            return [("score", Err(why.clone())), ("length", of(|item| item.length)), ("surprise", Err(why))];
        }
    }
    [("score", of(|item| item.score)), ("length", of(|item| item.length)), ("surprise", surprise(set))]
}

/// Of an item that the baseline has, today's is what it was there: some were counted, and have none.
fn surprise(set: &DriftData<'_>) -> Values {
    let before: Vec<f64> = set.before.iter().filter_map(|item| item.surprise).collect();
    let known: HashMap<&str, Option<f64>> = set.before.iter().map(|item| (item.hash.as_str(), item.surprise)).collect();
    let today = |item: &&ItemRow| known.get(item.hash.as_str()).copied().unwrap_or(item.surprise);
    Ok((before, set.after.iter().filter_map(today).collect()))
}

fn feature(name: &'static str, before: Vec<f64>, after: Vec<f64>) -> Result<Feature, String> {
    let fewer = before.len().min(after.len());
    if fewer < FEWEST_VALUES {
        return Err(format!("{fewer} values; {FEWEST_VALUES} are needed"));
    }
    if before.iter().chain(&after).any(|value| !value.is_finite()) {
        return Err("some values are no numbers".to_string());
    }
    let first = before[0];
    if before.iter().chain(&after).all(|value| *value == first) {
        return Err(format!("all are {first}"));
    }
    // Bins are of the same items that are then counted in them; simulations do likewise on average only, which for ten
    // bins makes no difference that their test shows.
    let edges = shift::edges(&before, shift::BINS);
    Ok(Feature { name, before, after, edges })
}

fn tested(set: &DriftData<'_>, prepared: Prepared, share: f64, testing: DriftSettings) -> DriftSet {
    let mut tests = Vec::new();
    let outcome = prepared.outcome.unwrap_or_default();
    if let Some(p_value) = outcome.p_value {
        tests.push(DriftTest {
            feature: "outcome".to_string(),
            statistic: outcome.delta,
            critical: outcome.change_of(errors_to_find(share, 0.5)),
            p_value,
            detectable: match outcome.shares {
                Some((right, items)) => Some(detectable_change(right, items, share, window_power())),
                None => outcome.change_of(errors_to_find(share, window_power())),
            },
            ..named(outcome.test)
        });
    }
    for feature in &prepared.features {
        tests.extend(of_distribution(feature, share, testing));
    }
    DriftSet {
        data: set.data.clone(),
        kind: set.kind.name().to_string(),
        hash: set.hash.clone(),
        items: set.after.len(),
        items_before: set.before.len(),
        paired: prepared.paired,
        metric: drift_outcome::metric(set.kind).to_string(),
        higher_is_better: set.kind != DataSetKind::Text,
        before: outcome.before,
        value: outcome.value,
        lo: outcome.interval.map(|ends| ends.0),
        hi: outcome.interval.map(|ends| ends.1),
        delta: outcome.delta,
        delta_lo: outcome.delta_interval.map(|ends| ends.0),
        delta_hi: outcome.delta_interval.map(|ends| ends.1),
        tests,
        untested: prepared.untested,
        verdict: String::new(),
        sketch: set.sketch.iter().map(|hash| format!("{hash:016x}")).collect(),
    }
}

fn named(test: &str) -> DriftTest {
    DriftTest {
        feature: String::new(),
        test: test.to_string(),
        statistic: 0.0,
        critical: None,
        p_value: 1.0,
        p_corrected: 1.0,
        detectable: None,
        jensen_shannon: None,
        flagged: false,
    }
}

/// The power that a window needs for three in succession to be flagged four times of five, if they had nothing in
/// common; as they share the baseline, it is more.
fn window_power() -> f64 {
    POWER.powf(1.0 / crate::record::drift::CONFIRMING as f64)
}

fn of_distribution(feature: &Feature, share: f64, testing: DriftSettings) -> Vec<DriftTest> {
    let (before, after) = (feature.before.len(), feature.after.len());
    let (distance, p_value) = shift::kolmogorov_smirnov(&feature.before, &feature.after);
    let critical = shift::critical_distance(before, after, share);
    // Where two distribution functions differ most, the distance found is off by a share's error, which is greatest
    // for a half.
    let error = 0.5 * (1.0 / before as f64 + 1.0 / after as f64).sqrt();
    let mut tests = vec![DriftTest {
        feature: feature.name.to_string(),
        statistic: distance,
        critical: Some(critical),
        p_value,
        detectable: Some((critical + errors_to_find(1.0, window_power()) * error).min(1.0)),
        ..named("kolmogorov_smirnov")
    }];
    if !feature.edges.is_empty() {
        let counts = |values: &[f64]| shift::counts(values, &feature.edges);
        let (counts_before, counts_after) = (counts(&feature.before), counts(&feature.after));
        let index = shift::stability_index(&counts_before, &counts_after);
        let critical = || shift::critical_index(&counts_before, after, share, testing.seed);
        tests.push(DriftTest {
            feature: feature.name.to_string(),
            statistic: index,
            critical: testing.critical_values.then(critical),
            p_value: shift::index_p_value(&counts_before, after, index, testing.seed),
            jensen_shannon: Some(shift::jensen_shannon(&counts_before, &counts_after)),
            ..named("stability_index")
        });
    }
    tests
}

/// Corrects all tests of a window together, and says what they mean.
fn judge(sets: &mut [DriftSet], alpha: f64) {
    let p_values: Vec<f64> = sets.iter().flat_map(|set| &set.tests).map(|test| test.p_value).collect();
    let tests = sets.iter_mut().flat_map(|set| &mut set.tests);
    for (test, corrected) in tests.zip(holm(&p_values)) {
        test.p_corrected = corrected;
        test.flagged = corrected < alpha;
    }
    for set in sets {
        let flagged = set.flagged();
        let better = (set.delta > 0.0) == set.higher_is_better;
        set.verdict = match (set.tests.is_empty(), flagged.contains(&"outcome"), better) {
            (true, ..) => NOT_TESTED,
            (_, true, true) => IMPROVED,
            (_, true, false) => DEGRADED,
            _ if !flagged.is_empty() => SHIFTED,
            _ => UNCHANGED,
        }
        .to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    const TESTING: DriftSettings = DriftSettings { alpha: ALPHA, seed: 1, critical_values: true };

    /// Answers of a model that is right with this chance, and as sure as `sure` on average.
    fn answers(count: usize, first: usize, right: f64, sure: f64) -> Vec<ItemRow> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(first as u64 + 1);
        (first..first + count)
            .map(|index| ItemRow {
                data: "d".into(),
                quant: crate::workload::Quant::F16,
                pruning: String::new(),
                hash: format!("{index:016x}"),
                length: 10.0 + f64::from(rng.random_range(0..9)),
                outcome: f64::from(u8::from(rng.random_bool(right))),
                weight: 1.0,
                score: sure + rng.random_range(-1.0..1.0),
                target: None,
                surprise: Some(5.0 + rng.random_range(-1.0..1.0)),
            })
            .collect()
    }

    fn found(before: &[ItemRow], after: &[ItemRow]) -> DriftSet {
        let set = DriftData {
            data: "d".into(),
            kind: DataSetKind::Choice,
            hash: String::new(),
            sketch: Vec::new(),
            before: before.iter().collect(),
            after: after.iter().collect(),
        };
        compare(&[set], TESTING).remove(0)
    }

    #[test]
    fn the_same_answers_to_the_same_questions_have_not_changed_and_are_paired() {
        let before = answers(200, 0, 0.9, 0.0);
        let same = found(&before, &before);
        assert!(same.paired && same.flagged().is_empty() && same.delta == 0.0, "{same:?}");
        assert_eq!(same.verdict, UNCHANGED);
        assert_eq!((same.delta_lo, same.delta_hi), (Some(-0.015), Some(0.015)), "the rule of three");
        assert!(same.tests.iter().all(|test| test.critical.unwrap() > test.statistic));
    }

    #[test]
    fn other_questions_are_not_paired_and_a_loss_of_right_answers_is_found() {
        let (before, after) = (answers(400, 0, 0.9, 0.0), answers(300, 1000, 0.6, 0.0));
        let lost = found(&before, &after);
        assert!(!lost.paired, "{lost:?}");
        assert_eq!((lost.flagged(), lost.verdict.as_str()), (vec!["outcome"], DEGRADED));
        assert!(lost.delta_hi.unwrap() < -0.1 && lost.delta_lo.unwrap() > -0.5, "{lost:?}");
        let unchanged = found(&before, &answers(300, 1000, 0.9, 0.0));
        assert_eq!(unchanged.verdict, UNCHANGED, "{unchanged:?}");
    }

    #[test]
    fn a_model_that_is_less_sure_is_shifted_though_as_many_answers_are_right() {
        let shifted = found(&answers(400, 0, 0.9, 0.0), &answers(300, 1000, 0.9, -0.6));
        assert_eq!((shifted.flagged(), shifted.verdict.as_str()), (vec!["score"], SHIFTED));
        let index = shifted.tests.iter().find(|test| test.test == "stability_index" && test.flagged).unwrap();
        assert!(index.statistic > index.critical.unwrap() && index.jensen_shannon.unwrap() > 0.01);
    }

    #[test]
    fn too_few_items_are_not_tested_and_it_says_why() {
        let few = found(&answers(3, 0, 0.9, 0.0), &answers(3, 10, 0.1, 3.0));
        assert_eq!((few.verdict.as_str(), few.tests.len()), (NOT_TESTED, 0));
        assert!(few.untested.iter().any(|why| why == "score: 3 values; 20 are needed"), "{:?}", few.untested);
    }

    #[test]
    fn values_that_are_no_numbers_are_not_tested() {
        let odd = |mut items: Vec<ItemRow>| {
            items[7].score = f64::NAN;
            items
        };
        let found = found(&odd(answers(100, 0, 0.9, 0.0)), &odd(answers(100, 1000, 0.9, 0.0)));
        assert!(found.untested.contains(&"score: some values are no numbers".to_string()), "{:?}", found.untested);
        assert!(found.tests.iter().all(|test| test.feature != "score"));
    }

    #[test]
    fn texts_that_are_summed_up_otherwise_are_not_compared_by_their_spread() {
        let before = answers(100, 0, 0.9, 0.0);
        let after: Vec<ItemRow> =
            answers(100, 1000, 0.9, 0.0).into_iter().map(|item| ItemRow { weight: 2.0, ..item }).collect();
        let set = DriftData {
            data: "d".into(),
            kind: DataSetKind::Text,
            hash: String::new(),
            sketch: Vec::new(),
            before: before.iter().collect(),
            after: after.iter().collect(),
        };
        let set = compare(&[set], TESTING).remove(0);
        assert!(set.untested.iter().any(|why| why.starts_with("score: 2 tokens")), "{:?}", set.untested);
    }
}
