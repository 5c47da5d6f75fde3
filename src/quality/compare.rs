//! Figures with intervals, and what they say against the reference's.

use crate::record::QualityRow;
use crate::record::evaluation::{Aggregation, Evaluation, ItemizedFigure};
use crate::record::quality::{DEGRADED, IMPROVED, NOT_TESTED, REFERENCE, UNCHANGED};
use crate::statistics::paired::{
    ALPHA, FEWEST, Resampled, Share, detectable_errors, detectable_share, drawn_ratio, half_width_without_spread,
    has_no_spread, holm, items_needed, mcnemar, p_value, ratio, resample, wilson,
};
use crate::statistics::rank_correlation::{drawn_correlation, ranked};
use crate::workload::Variant;

/// How a variant is compared on one data set.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// The data set.
    pub data: &'a str,
    /// The variant.
    pub variant: Variant,
    /// The change that sample sizes are counted for.
    pub margin: f64,
    /// Seed of the resampling.
    pub seed: u64,
    /// Who measures.
    pub source: &'a str,
}

impl Comparison<'_> {
    fn row(&self, metric: &str, higher_is_better: bool, value: f64, samples: usize) -> QualityRow {
        QualityRow {
            quant: self.variant.quant,
            pruning: self.variant.pruning_name(),
            data: self.data.to_string(),
            metric: metric.to_string(),
            higher_is_better,
            value,
            lo: None,
            hi: None,
            samples: Some(samples as f64),
            source: self.source.to_string(),
            delta: None,
            delta_lo: None,
            delta_hi: None,
            p_value: None,
            detectable: None,
            samples_needed: None,
            verdict: String::new(),
        }
    }

    /// The figures of the reference itself.
    pub fn reference(&self, own: &Evaluation) -> Vec<QualityRow> {
        let mut rows: Vec<QualityRow> = own
            .series
            .iter()
            .filter(|series| !series.from_reference)
            .map(|series| self.figure(series, own.samples))
            .collect();
        rows.extend(self.correlation(own, None));
        rows.iter_mut().for_each(|row| row.verdict = REFERENCE.to_string());
        rows
    }

    /// The figures of a variant against `reference`, whose items are the same.
    pub fn variant(&self, reference: &Evaluation, own: &Evaluation) -> Vec<QualityRow> {
        let mut rows = Vec::new();
        for series in &own.series {
            let mut row = self.figure(series, own.samples);
            let base = reference.series.iter().find(|base| base.metric == series.metric);
            if let Some(base) = base.filter(|_| !series.from_reference) {
                self.against(&mut row, base, series, own.samples);
            }
            rows.push(row);
            if let Some(base) = base.filter(|_| series.summary == Aggregation::Exponential) {
                rows.push(self.perplexity_ratio(base, series, own.samples));
            }
        }
        for single in &own.singles {
            rows.push(self.row(&single.metric, single.higher_is_better, single.value, own.samples));
        }
        rows.extend(self.agreement(reference, own));
        rows.extend(self.correlation(own, Some(reference)));
        rows
    }

    fn figure(&self, series: &ItemizedFigure, samples: usize) -> QualityRow {
        let parts = &series.parts;
        let value = series.summary.of(ratio(parts));
        let mut row = self.row(&series.metric, series.higher_is_better, value, samples);
        (row.lo, row.hi) = match series.summary {
            Aggregation::Binary => {
                let (lo, hi) = wilson(parts.iter().filter(|part| part.0 > 0.0).count(), parts.len());
                (Some(lo), Some(hi))
            }
            summary => {
                let found = resample(parts.len(), self.seed, |times| summary.of(drawn_ratio(parts, times)));
                match found.filter(|found| found.hi > found.lo) {
                    Some(found) => (Some(found.lo.min(value)), Some(found.hi.max(value))),
                    // Items that all agree, or all do not, bound how many others may do otherwise.
                    None if series.from_reference && series.higher_is_better && parts.len() >= FEWEST => {
                        let (lo, hi) = wilson((value * parts.len() as f64).round() as usize, parts.len());
                        (Some(lo), Some(hi))
                    }
                    None => (None, None),
                }
            }
        };
        row
    }

    /// The difference from the reference's figure, item by item.
    fn against(&self, row: &mut QualityRow, base: &ItemizedFigure, own: &ItemizedFigure, samples: usize) {
        let summary = own.summary;
        let before = summary.of(ratio(&base.parts));
        row.delta = Some(row.value - before);
        let items = own.parts.len();
        let both =
            |times: &[u32]| summary.of(drawn_ratio(&own.parts, times)) - summary.of(drawn_ratio(&base.parts, times));
        let Some(found) = resample(items, self.seed, both) else {
            row.verdict = NOT_TESTED.to_string();
            return;
        };
        let delta = row.value - before;
        (row.delta_lo, row.delta_hi) = ends(delta, &found, items);
        match summary {
            Aggregation::Binary => {
                let discordant = |first: f64, second: f64| {
                    base.parts.iter().zip(&own.parts).filter(|(b, o)| (b.0, o.0) == (first, second)).count()
                };
                let (worse, better) = (discordant(1.0, 0.0), discordant(0.0, 1.0));
                if worse + better == 0 {
                    // Nothing differed: the rule of three bounds what may.
                    let most = 3.0 / items as f64;
                    (row.delta_lo, row.delta_hi) = (Some(-most), Some(most));
                }
                row.p_value = Some(mcnemar(worse, better));
                row.detectable = Some(detectable_share(worse + better, items));
                row.samples_needed = Some(items_needed(worse + better, items, self.margin).ceil());
            }
            Aggregation::Mean | Aggregation::Exponential => {
                row.p_value = Some(p_value(delta, found.error, items));
                let margin = if summary == Aggregation::Exponential { before * self.margin } else { self.margin };
                self.planned(row, &found, samples, margin);
            }
        }
    }

    /// What so many samples find, and how many the margin needs; unknown where nothing differs at all, which says nothing
    /// of how much it may.
    fn planned(&self, row: &mut QualityRow, found: &Resampled, samples: usize, margin: f64) {
        if !has_no_spread(row.delta.unwrap_or(0.0), found.error) {
            row.detectable = Some(detectable_errors() * found.error);
            row.samples_needed = Some((samples as f64 * (detectable_errors() * found.error / margin).powi(2)).ceil());
        }
    }

    fn perplexity_ratio(&self, base: &ItemizedFigure, own: &ItemizedFigure, samples: usize) -> QualityRow {
        let differences: Vec<Share> =
            base.parts.iter().zip(&own.parts).map(|(base, own)| (own.0 - base.0, own.1)).collect();
        let value = ratio(&differences).exp();
        let mut row = self.row("perplexity_ratio", false, value, samples);
        if let Some(found) = resample(differences.len(), self.seed, |times| drawn_ratio(&differences, times).exp()) {
            let (lo, hi) = ends(value - 1.0, &found, differences.len());
            // Of a ratio the difference from one; the drawn ends are of the ratio itself.
            (row.lo, row.hi) = if has_no_spread(value - 1.0, found.error) {
                (lo.map(|lo| lo + 1.0), hi.map(|hi| hi + 1.0))
            } else {
                (Some(found.lo.min(value)), Some(found.hi.max(value)))
            };
        }
        row
    }

    /// How many answers are those of the reference; accuracy alone hides those that changed both ways (arXiv 2407.09141).
    fn agreement(&self, reference: &Evaluation, own: &Evaluation) -> Option<QualityRow> {
        use crate::record::evaluation::DataSetKind;
        let (metric, higher, before, after): (_, _, Vec<u64>, Vec<u64>) = match own.kind {
            DataSetKind::Text => return None,
            DataSetKind::Pairs => ("neighbour_agreement", true, reference.neighbours.clone(), own.neighbours.clone()),
            kind => {
                let answers = |of: &Evaluation| of.items.iter().map(|item| item.answer).collect();
                let metric = match kind {
                    DataSetKind::Choice => "choice_flips",
                    DataSetKind::Generation => "generation_agreement",
                    _ => "label_agreement",
                };
                (metric, kind != DataSetKind::Choice, answers(reference), answers(own))
            }
        };
        let same = before.iter().zip(&after).filter(|(a, b)| a == b).count();
        let found = if higher { same } else { after.len() - same };
        let mut row = self.row(metric, higher, found as f64 / after.len().max(1) as f64, after.len());
        let (lo, hi) = wilson(found, after.len());
        (row.lo, row.hi) = (Some(lo), Some(hi));
        (!after.is_empty()).then_some(row)
    }

    /// Spearman's correlation with what people say, and its difference from the reference's.
    fn correlation(&self, own: &Evaluation, reference: Option<&Evaluation>) -> Option<QualityRow> {
        if own.pairs.is_empty() {
            return None;
        }
        let (ours, once) = (ranked(&own.pairs), vec![1; own.pairs.len()]);
        let value = drawn_correlation(&ours, &once);
        if !value.is_finite() {
            return None;
        }
        let mut row = self.row("spearman", true, value, own.pairs.len());
        if let Some(found) = resample(ours.len(), self.seed, |times| drawn_correlation(&ours, times)) {
            (row.lo, row.hi) = (Some(found.lo.min(value)), Some(found.hi.max(value)));
        }
        let Some(reference) = reference else { return Some(row) };
        let theirs = ranked(&reference.pairs);
        let delta = value - drawn_correlation(&theirs, &once);
        row.delta = Some(delta);
        match resample(ours.len(), self.seed, |times| {
            drawn_correlation(&ours, times) - drawn_correlation(&theirs, times)
        }) {
            None => row.verdict = NOT_TESTED.to_string(),
            Some(found) => {
                (row.delta_lo, row.delta_hi) = ends(delta, &found, ours.len());
                row.p_value = Some(p_value(delta, found.error, ours.len()));
                self.planned(&mut row, &found, ours.len(), self.margin);
            }
        }
        Some(row)
    }
}

/// The ends of the interval of a difference. Where every item has the same one, that is no certainty of others.
fn ends(difference: f64, found: &Resampled, items: usize) -> (Option<f64>, Option<f64>) {
    if !has_no_spread(difference, found.error) {
        return (Some(found.lo.min(difference)), Some(found.hi.max(difference)));
    }
    let half = half_width_without_spread(difference, items);
    (half.map(|half| difference - half), half.map(|half| difference + half))
}

/// Takes the tests back of a variant that is no other than it would be without its level.
pub fn withdraw_tests(rows: &mut [QualityRow]) {
    for row in rows {
        (row.p_value, row.detectable, row.samples_needed) = (None, None, None);
        row.verdict = NOT_TESTED.to_string();
    }
}

/// Corrects the p-values of each figure for the number of variants, and says what they mean.
pub fn assign_verdicts(rows: &mut [QualityRow]) {
    let mut figures: Vec<(String, String)> = Vec::new();
    for row in rows.iter().filter(|row| row.p_value.is_some()) {
        let figure = (row.data.clone(), row.metric.clone());
        if !figures.contains(&figure) {
            figures.push(figure);
        }
    }
    for (data, metric) in figures {
        let mut of: Vec<&mut QualityRow> =
            rows.iter_mut().filter(|row| row.data == data && row.metric == metric && row.p_value.is_some()).collect();
        let corrected = holm(&of.iter().filter_map(|row| row.p_value).collect::<Vec<_>>());
        for (row, p) in of.iter_mut().zip(corrected) {
            row.p_value = Some(p);
            let better = row.delta.is_some_and(|delta| (delta > 0.0) == row.higher_is_better);
            row.verdict = match (p < ALPHA, better) {
                (true, false) => DEGRADED,
                (true, true) => IMPROVED,
                (false, _) => UNCHANGED,
            }
            .to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::evaluation::{DataSetKind, ItemResult};
    use crate::workload::Quant;

    fn comparing(quant: Quant) -> Comparison<'static> {
        Comparison { data: "d", variant: Variant::plain(quant), margin: 0.01, seed: 1, source: "test" }
    }

    fn answers(right: &[bool]) -> Evaluation {
        let part = |right: &bool| (f64::from(u8::from(*right)), 1.0);
        let series = ItemizedFigure {
            metric: "choice_accuracy".into(),
            higher_is_better: true,
            summary: Aggregation::Binary,
            from_reference: false,
            parts: right.iter().map(part).collect(),
        };
        let item = |right: &bool| ItemResult { answer: u64::from(*right), ..ItemResult::default() };
        let items = right.iter().map(item).collect();
        Evaluation { series: vec![series], items, samples: right.len(), ..Evaluation::new(DataSetKind::Choice) }
    }

    #[test]
    fn ten_lost_answers_of_two_hundred_are_degraded_and_one_is_not() {
        let reference = answers(&[true; 200]);
        let lost = |count: usize| answers(&(0..200).map(|i| i >= count).collect::<Vec<_>>());
        let mut rows = comparing(Quant::Int8).variant(&reference, &lost(1));
        rows.extend(comparing(Quant::Int4).variant(&reference, &lost(10)));
        assign_verdicts(&mut rows);
        let accuracy: Vec<&QualityRow> = rows.iter().filter(|row| row.metric == "choice_accuracy").collect();
        assert_eq!(accuracy[0].verdict, UNCHANGED);
        assert_eq!(accuracy[1].verdict, DEGRADED);
        assert!((accuracy[1].delta.unwrap() + 0.05).abs() < 1e-12);
        assert!(accuracy[1].delta_hi.unwrap() < 0.0 && accuracy[1].delta_lo.unwrap() > -0.1);
        assert!(accuracy[0].detectable.unwrap() > 0.01, "so few cannot show a point");
        let flips = rows.iter().find(|row| row.metric == "choice_flips" && row.quant == Quant::Int4).unwrap();
        assert_eq!(flips.value, 0.05);
    }

    #[test]
    fn a_model_against_itself_has_not_changed_and_its_interval_is_not_nothing() {
        let reference = answers(&[true; 100]);
        let mut rows = comparing(Quant::Int8).variant(&reference, &reference);
        assign_verdicts(&mut rows);
        assert_eq!(rows[0].verdict, UNCHANGED);
        assert_eq!((rows[0].delta_lo, rows[0].delta_hi), (Some(-0.03), Some(0.03)));
    }

    #[test]
    fn a_text_that_is_the_same_everywhere_bounds_nothing() {
        let series = |metric: &'static str, from_reference: bool, part: Share| ItemizedFigure {
            metric: metric.into(),
            higher_is_better: from_reference,
            summary: if from_reference { Aggregation::Mean } else { Aggregation::Exponential },
            from_reference,
            parts: vec![part; 20],
        };
        let text = |nats: f64| Evaluation {
            series: vec![series("perplexity", false, (nats, 100.0)), series("top1_agreement", true, (100.0, 100.0))],
            samples: 2000,
            ..Evaluation::new(DataSetKind::Text)
        };
        let mut rows = comparing(Quant::Int8).variant(&text(50.0), &text(50.0));
        assign_verdicts(&mut rows);
        let [whole, ratio, agreed] = [&rows[0], &rows[1], &rows[2]];
        assert_eq!((whole.lo, whole.delta, whole.delta_lo, whole.detectable), (None, Some(0.0), None, None));
        assert_eq!((whole.verdict.as_str(), ratio.lo), (UNCHANGED, None));
        assert!(agreed.hi == Some(1.0) && (agreed.lo.unwrap() - 0.8389).abs() < 1e-4, "{agreed:?}");
        let mut rows = comparing(Quant::Int4).variant(&text(50.0), &text(51.0));
        assign_verdicts(&mut rows);
        let (delta, half) = (rows[0].delta.unwrap(), rows[0].delta_hi.unwrap() - rows[0].delta.unwrap());
        assert!((half / delta - 0.15).abs() < 1e-9 && rows[0].verdict == DEGRADED, "{:?}", rows[0]);
    }

    #[test]
    fn too_few_items_are_not_tested() {
        let mut rows = comparing(Quant::Int8).variant(&answers(&[true; 3]), &answers(&[false; 3]));
        assign_verdicts(&mut rows);
        assert_eq!(rows[0].verdict, NOT_TESTED);
    }

    #[test]
    fn a_text_that_is_less_likely_everywhere_is_degraded() {
        let text = |more: f64| {
            let parts = (0..40).map(|i| (100.0 * (1.0 + 0.1 * f64::from(i % 5) + more), 100.0)).collect();
            let series = ItemizedFigure {
                metric: "perplexity".into(),
                higher_is_better: false,
                summary: Aggregation::Exponential,
                from_reference: false,
                parts,
            };
            Evaluation { series: vec![series], samples: 4000, ..Evaluation::new(DataSetKind::Text) }
        };
        let mut rows = comparing(Quant::Int4).variant(&text(0.0), &text(0.02));
        assign_verdicts(&mut rows);
        assert_eq!(rows[0].verdict, DEGRADED);
        assert_eq!(rows[1].metric, "perplexity_ratio");
        assert!((rows[1].value - 0.02f64.exp()).abs() < 1e-9 && rows[1].lo.unwrap() > 1.01, "{:?}", rows[1]);
    }
}
