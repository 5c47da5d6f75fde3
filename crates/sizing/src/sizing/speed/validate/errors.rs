//! Errors of a set of projections.

use super::regret::ModelRegret;
use crate::sizing::speed::projection::terms::Phase;
use crate::sizing::speed::projection::{Observation, Projection};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Lengths that count as the usual prompt of 512 tokens.
const USUAL_PROMPT: std::ops::RangeInclusive<f64> = 384.0..=640.0;

/// A measured time and what was projected without it.
#[derive(Debug, Clone)]
pub struct Point {
    /// What was measured.
    pub observation: Observation,
    /// What was projected; `None` where nothing can be said.
    pub projected: Option<Projection>,
    /// The roofline at a flat efficiency.
    pub flat_s: Option<f64>,
}

/// Errors as fractions; absent where there is no case of the kind.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Errors {
    /// Decode steps of one sequence that were projected.
    pub decode_cases: usize,
    /// Mean of `|projected / true - 1|` of them.
    pub decode_mape: Option<f64>,
    /// The 90th percentile.
    pub decode_p90: Option<f64>,
    /// Prefills of about 512 tokens that were projected.
    pub prefill_cases: usize,
    /// Mean of their errors.
    pub prefill_mape: Option<f64>,
    /// The 90th percentile.
    pub prefill_p90: Option<f64>,
    /// Share of decode steps whose true time is within the interval that is to hold 90 %.
    pub coverage: Option<f64>,
    /// Median of the upper end over the value, decode.
    pub width: Option<f64>,
    /// The same share of prefills.
    pub prefill_coverage: Option<f64>,
    /// The same width of prefills.
    pub prefill_width: Option<f64>,
    /// Share of pairs of cards that are in the right order of decode speed, for each model.
    pub order: Option<f64>,
    /// True cost of the instance with the least projected cost over the least true cost: the median over models.
    pub regret_median: Option<f64>,
    /// The worst model's.
    pub regret_worst: Option<f64>,
    /// All other cases: mean error.
    pub other_mape: Option<f64>,
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample below which this share lies, between samples by a straight line.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

impl Errors {
    /// Of these points; `flat` takes the flat roofline in place of the projection.
    pub fn of(points: &[&Point], flat: bool) -> Self {
        let mut errors: [Vec<f64>; 3] = Default::default();
        let (mut within, mut widths): ([Vec<f64>; 2], [Vec<f64>; 2]) = Default::default();
        for point in points {
            let Observation { phase, work, seconds, .. } = &point.observation;
            let value =
                if flat { point.flat_s } else { point.projected.as_ref().map(|projected| projected.time.value) };
            let Some(value) = value else { continue };
            let error = (value / seconds - 1.0).abs();
            let kind = match phase {
                Phase::Decode if work.batch == 1.0 => 0,
                Phase::Prefill if work.batch == 1.0 && USUAL_PROMPT.contains(&work.tokens) => 1,
                _ => 2,
            };
            errors[kind].push(error);
            if let (Some(projected), true) = (&point.projected, kind < 2 && !flat) {
                let time = projected.time;
                within[kind].push(f64::from(u8::from(time.lo <= *seconds && *seconds <= time.hi)));
                widths[kind].push(time.hi / time.value);
            }
        }
        let [decode, prefill, other] = &errors;
        Self {
            decode_cases: decode.len(),
            decode_mape: mean(decode),
            decode_p90: quantile(decode, 0.9),
            prefill_cases: prefill.len(),
            prefill_mape: mean(prefill),
            prefill_p90: quantile(prefill, 0.9),
            coverage: mean(&within[0]),
            width: quantile(&widths[0], 0.5),
            prefill_coverage: mean(&within[1]),
            prefill_width: quantile(&widths[1], 0.5),
            order: if flat { None } else { order(points) },
            regret_median: None,
            regret_worst: None,
            other_mape: mean(other),
        }
    }

    /// Of the flat roofline on the same points.
    pub fn of_flat(points: &[&Point]) -> Self {
        Self::of(points, true)
    }

    /// With what choosing by them costs.
    pub fn with_regret(self, regret: &[ModelRegret]) -> Self {
        let factors: Vec<f64> = regret.iter().map(|model| model.regret).collect();
        Self { regret_median: quantile(&factors, 0.5), regret_worst: factors.iter().copied().reduce(f64::max), ..self }
    }
}

/// For each engine, model and context: pairs of cards whose projected decode times are in the order of the true ones.
fn order(points: &[&Point]) -> Option<f64> {
    type Times = BTreeMap<Arc<str>, Vec<(f64, f64)>>;
    let mut cases: BTreeMap<(Arc<str>, Arc<str>, u64), Times> = BTreeMap::new();
    for point in points {
        let o = &point.observation;
        if let (Phase::Decode, Some(projected), true) = (o.phase, &point.projected, o.work.batch == 1.0) {
            let key = (o.engine.clone(), o.model.clone(), o.work.tokens.to_bits());
            let times = cases.entry(key).or_default().entry(o.card.id.clone()).or_default();
            times.push((o.seconds, projected.time.value));
        }
    }
    let (mut right, mut all) = (0.0, 0.0);
    for times in cases.values() {
        let medians: Vec<(f64, f64)> = times
            .values()
            .filter_map(|times| {
                let part = |of: fn(&(f64, f64)) -> f64| quantile(&times.iter().map(of).collect::<Vec<_>>(), 0.5);
                Some((part(|t| t.0)?, part(|t| t.1)?))
            })
            .collect();
        for (index, a) in medians.iter().enumerate() {
            for b in &medians[index + 1..] {
                all += 1.0;
                right += f64::from(u8::from((a.0 < b.0) == (a.1 < b.1)));
            }
        }
    }
    (all > 0.0).then(|| right / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_samples() {
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[3.0, 1.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(Errors::of(&[], false), Errors::default());
    }
}
