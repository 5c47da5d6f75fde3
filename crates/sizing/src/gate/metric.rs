//! What a rule can be about: every metric of the table, what a request costs, figures of quality. A gauge reads a value
//! of one side and tells how it changed between two.

use super::board::{board, error_on_one_board};
use super::side::{RunWithSamples, Side};
use crate::data_file::nearest;
use crate::record::metric::{self, Better, Metric};
use crate::record::{CaseRow, Outcome, SampleRow};
use crate::statistics::LEAST_SPREAD;
use crate::statistics::change::{self, Change, Statistic};
use crate::statistics::percentile::{percentile_interval, samples_needed};
use crate::units::interval::Interval;
use crate::workload::Case;
use serde::Serialize;

/// What an hour of a side's machine costs, and how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// USD an hour.
    pub usd_per_h: f64,
    /// Share of the paid time that is used.
    pub utilisation: f64,
}

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MetricValue {
    /// The value, in SI units or USD.
    pub value: f64,
    /// Lower end, where there is an interval.
    pub lo: Option<f64>,
    /// Upper end.
    pub hi: Option<f64>,
    /// Samples that it is from.
    pub samples: usize,
    /// Runs that those are from.
    pub runs: usize,
}

/// Times of an iteration.
type Series = fn(&SampleRow) -> Option<f64>;

#[derive(Clone)]
enum Source {
    /// A time of each iteration, or a rate that follows from one (`rate`).
    Timed { metric: &'static Metric, series: Series, statistic: Statistic, rate: bool },
    /// A figure of the case with the interval that it was recorded with, or exact.
    Recorded { metric: &'static Metric, exact: bool },
    /// USD of so many requests or tokens: `price / (3600 rate utilisation)`.
    Cost { units: Units },
    /// A figure of quality.csv.
    Quality,
}

/// A metric that a gate can judge: where its value comes from, its label and which way is good.
#[derive(Clone)]
pub struct GateMetric {
    /// Its name in files.
    pub tag: String,
    /// What people call it.
    pub label: String,
    /// Which way is good.
    pub better: Better,
    source: Source,
}

/// How many requests an amount is of.
type Units = fn(Case) -> f64;

/// Costs of a request: name, label, and how many requests each is of.
const COSTS: [(&str, &str, Units); 3] = [
    ("usd_per_request", "cost of a request", |_| 1.0),
    ("usd_per_thousand_requests", "cost of a thousand requests", |_| 1e3),
    ("usd_per_million_tokens", "cost of a million tokens", |case| 1e6 / case.counted_tokens().max(1) as f64),
];

/// Memory that is observed once a case, and how well it repeats: as a share, from repeated runs
/// (docs/results/2026-11-25-machine-a-gate-and-report.md#what-runs-of-one-program-differ-by).
const PEAKS: [&str; 2] = ["peak_device_bytes", "peak_used_bytes"];
const PEAK_REPEATS: f64 = 0.02;

/// Which time of an iteration a metric is made of, and whether it is its inverse.
fn series_of(tag: &str) -> Option<(Series, bool)> {
    let gaps: Series = |sample| crate::statistics::bootstrap::median(&sample.gaps().map(|g| g.0).collect::<Vec<_>>());
    Some(match tag {
        "ttft_s" => (|sample| sample.ttft().map(|t| t.0), false),
        "prefill_tokens_per_s" => (|sample| sample.ttft().map(|t| t.0), true),
        "tpot_s" => (|sample| sample.tpot().map(|t| t.0), false),
        "decode_tokens_per_s" => (|sample| sample.tpot().map(|t| t.0), true),
        "itl_s" => (gaps, false),
        "e2e_s" => (|sample| sample.e2e().map(|t| t.0), false),
        "requests_per_s" => (|sample| sample.e2e().map(|t| t.0), true),
        _ => return None,
    })
}

impl GateMetric {
    /// The gauge called `tag`; the error names what there is. Figures of quality are those that any of `sides` has.
    pub fn named(tag: &str, sides: &[&Side]) -> Result<Self, String> {
        if let Some((_, label, units)) = COSTS.iter().find(|(name, ..)| *name == tag) {
            let (tag, label) = (tag.to_string(), label.to_string());
            return Ok(Self { tag, label, better: Better::Lower, source: Source::Cost { units: *units } });
        }
        let metric = metric::named(tag).filter(|_| !tag.ends_with("_lo") && !tag.ends_with("_hi"));
        if let Some(metric) = metric {
            return Ok(Self::of_metric(metric));
        }
        let mut rows = sides.iter().flat_map(|side| &side.runs).flat_map(|taken| &taken.quality);
        if let Some(row) = rows.find(|row| row.metric == tag) {
            let (tag, label) = (tag.to_string(), tag.replace('_', " "));
            return Ok(Self { tag, label, better: row.better(), source: Source::Quality });
        }
        let known: Vec<&str> =
            metric::all().filter(|m| m.main).map(|m| m.tag).chain(COSTS.iter().map(|(name, ..)| *name)).collect();
        let near =
            nearest(tag, known.iter().copied()).map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
        Err(format!(
            "`{tag}` is no metric{near}. There are {}, each time also with _p90 and _p99, and the metrics of quality.csv",
            known.join(", ")
        ))
    }

    fn of_metric(metric: &'static Metric) -> Self {
        let (base, statistic) = match (metric.tag.strip_suffix("_p90"), metric.tag.strip_suffix("_p99")) {
            (Some(base), _) => (base, Statistic::Quantile(0.9)),
            (_, Some(base)) => (base, Statistic::Quantile(0.99)),
            _ => (metric.tag, Statistic::Median),
        };
        let exact = ["weight_bytes", "cache_bytes", "decode_read_bytes", "prefill_ops"].contains(&metric.tag);
        let source = match series_of(base) {
            Some((series, rate)) => Source::Timed { metric, series, statistic, rate },
            None => Source::Recorded { metric, exact },
        };
        Self { tag: metric.tag.to_string(), label: metric.label.to_string(), better: metric.better, source }
    }

    /// The value as people read it.
    pub fn human(&self, value: f64) -> String {
        match &self.source {
            Source::Timed { metric, .. } | Source::Recorded { metric, .. } => (metric.human)(value),
            Source::Cost { .. } => format!("${}", crate::units::digits(value)),
            Source::Quality => crate::units::digits(value),
        }
    }

    /// The unit of its values at the border, as limits may name it: `s`, `bytes`, `j`, `w`, `per_s`, `per_j`, `share`, `usd`,
    /// or nothing.
    pub fn unit(&self) -> &'static str {
        let tag = self.tag.trim_end_matches("_p90").trim_end_matches("_p99");
        let endings = [
            ("_per_s", "per_s"),
            ("_per_j", "per_j"),
            ("_bytes", "bytes"),
            ("_fraction", "share"),
            ("_s", "s"),
            ("_j", "j"),
            ("_w", "w"),
        ];
        match &self.source {
            Source::Cost { .. } => "usd",
            Source::Quality => "",
            _ => endings.iter().find(|(ending, _)| tag.ends_with(ending)).map_or("", |(_, unit)| unit),
        }
    }

    /// Whether more of it takes longer, so that a change is `slower` rather than `more`.
    pub fn is_speed(&self) -> bool {
        matches!(self.source, Source::Timed { .. })
    }

    /// The value of a case on one side; the error says why there is none.
    pub fn read(&self, side: &Side, case: Case, price: Option<Price>) -> Result<MetricValue, String> {
        let readings: Vec<MetricValue> =
            side.runs.iter().map(|taken| self.of_run(taken, case, price)).collect::<Result<_, _>>()?;
        let samples = readings.iter().map(|reading| reading.samples).sum();
        match readings.as_slice() {
            [] => Err("there is no run".to_string()),
            [one] => Ok(*one),
            several => {
                // Runs differ by more than the samples of one say: what is known is the mean of them and their spread.
                let Interval { value, lo, hi } = mean_of_runs(several);
                Ok(MetricValue { value, lo: Some(lo), hi: Some(hi), samples, runs: several.len() })
            }
        }
    }

    fn of_run(&self, taken: &RunWithSamples, case: Case, price: Option<Price>) -> Result<MetricValue, String> {
        if let Source::Quality = self.source {
            return self.quality(taken, case);
        }
        let row = measured_row(taken, case)?;
        let value = |metric: &Metric| {
            // Everything about energy is absent for the reason that the energy is.
            let energy = ["_j", "_w"].iter().any(|unit| metric.tag.contains(unit)).then_some("energy_j");
            let why = row.why_absent(metric.tag).or(energy.and_then(|tag| row.why_absent(tag)));
            let why = why.unwrap_or("it was not measured");
            (metric.get)(&row.metrics).ok_or_else(|| format!("no {}: {why}", self.label))
        };
        let samples = row.samples;
        let end = |metric: &Metric, end: &str| {
            metric::named(&format!("{}_{end}", metric.tag)).and_then(|metric| (metric.get)(&row.metrics))
        };
        Ok(match &self.source {
            Source::Timed { metric, series, statistic: Statistic::Quantile(share), .. } => {
                let interval = percentile_interval(&values_of(taken, case, *series), *share);
                let (lo, hi) = (interval.map(|(lo, _)| lo), interval.map(|(_, hi)| hi));
                MetricValue { value: value(metric)?, lo, hi, samples, runs: 1 }
            }
            Source::Recorded { metric, .. } if PEAKS.contains(&metric.tag) => {
                let value = value(metric)?;
                let end = |factor: f64| Some(value * factor);
                MetricValue { value, lo: end(1.0 - PEAK_REPEATS), hi: end(1.0 + PEAK_REPEATS), samples: 1, runs: 1 }
            }
            Source::Timed { metric, .. } | Source::Recorded { metric, exact: false } => {
                MetricValue { value: value(metric)?, lo: end(metric, "lo"), hi: end(metric, "hi"), samples, runs: 1 }
            }
            Source::Recorded { metric, exact: true } => {
                let value = value(metric)?;
                MetricValue { value, lo: Some(value), hi: Some(value), samples, runs: 1 }
            }
            Source::Cost { units } => {
                let price = price.ok_or("no price of the machine is known: give --as or --price-per-hour")?;
                let rate = row.metrics.requests_per_s.ok_or("no rate of requests was measured")?;
                let at = |rate: f64| price.usd_per_h / (3600.0 * rate * price.utilisation) * units(case);
                let (lo, hi) = (rate.hi.map(|rate| at(rate.0)), rate.lo.map(|rate| at(rate.0)));
                MetricValue { value: at(rate.value.0), lo, hi, samples, runs: 1 }
            }
            Source::Quality => return Err("it is a figure of quality".to_string()),
        })
    }

    fn quality(&self, taken: &RunWithSamples, case: Case) -> Result<MetricValue, String> {
        let of = |row: &&crate::record::QualityRow| {
            row.quant == case.quant && row.pruning.is_empty() && row.metric == self.tag
        };
        let mut rows = taken.quality.iter().filter(of);
        let row = rows.next().ok_or_else(|| format!("quality.csv has no {} of {}", self.tag, case.quant))?;
        let samples = row.samples.unwrap_or(0.0) as usize;
        Ok(MetricValue { value: row.value, lo: row.lo, hi: row.hi, samples, runs: 1 })
    }

    /// `after / before` of a case; the error says why that is not known.
    pub fn change(
        &self,
        before: &Side,
        after: &Side,
        case: Case,
        prices: (Option<Price>, Option<Price>),
        confidence: f64,
    ) -> Result<Change, String> {
        let series = match &self.source {
            Source::Timed { series, statistic, rate, .. } => Some((*series, *statistic, *rate)),
            Source::Cost { .. } => Some(((|sample| sample.e2e().map(|t| t.0)) as Series, Statistic::Median, false)),
            _ => None,
        };
        for side in [before, after] {
            for taken in &side.runs {
                self.of_run(taken, case, Some(Price { usd_per_h: 1.0, utilisation: 1.0 }))?;
            }
        }
        let Some((series, statistic, rate)) = series else {
            return self.by_intervals(before, after, case, prices, confidence);
        };
        let of =
            |side: &Side| -> Vec<Vec<f64>> { side.runs.iter().map(|taken| values_of(taken, case, series)).collect() };
        let (one, other) = (of(before), of(after));
        if let Statistic::Quantile(share) = statistic {
            let fewest = one.iter().chain(&other).map(Vec::len).min().unwrap_or(0);
            let needed = samples_needed(share);
            if fewest < needed {
                return Err(format!("{fewest} samples of the {needed} needed for {}", self.label));
            }
        }
        let [one, other] = [&one, &other].map(|side| side.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let Some(change) = change::change(&one, &other, statistic, confidence, 1) else {
            return self.by_intervals(before, after, case, prices, confidence);
        };
        let change = if rate { change.under(1.0) } else { change };
        match (&self.source, prices) {
            (Source::Cost { .. }, (Some(before), Some(after))) => {
                let factor = after.usd_per_h * before.utilisation / (before.usd_per_h * after.utilisation);
                Ok(change.map(|change| change * factor))
            }
            (Source::Cost { .. }, _) => Err("no price of the machine is known: give --as or --price-per-hour".into()),
            _ => Ok(change),
        }
    }

    /// From the intervals of both sides: relative errors of independent figures add by their squares.
    fn by_intervals(
        &self,
        before: &Side,
        after: &Side,
        case: Case,
        (price_before, price_after): (Option<Price>, Option<Price>),
        confidence: f64,
    ) -> Result<Change, String> {
        let (one, other) = (self.read(before, case, price_before)?, self.read(after, case, price_after)?);
        if one.value <= 0.0 || other.value <= 0.0 {
            return Err("a value of 0 has no ratio".to_string());
        }
        let same_board = board(&before.first().run) == board(&after.first().run);
        let energy = self.tag.ends_with("_j") || self.tag.ends_with("_w");
        let half = |reading: &MetricValue, side: &Side| {
            let (lo, hi) = reading.lo.zip(reading.hi)?;
            let share = (hi - lo) / 2.0 / reading.value;
            Some(if energy && same_board { error_on_one_board(&side.first().run, share) } else { share })
        };
        let (Some(a), Some(b)) = (half(&one, before), half(&other, after)) else {
            return Err(format!("{} was observed once on each side, which says nothing of its spread", self.label));
        };
        let ratio = other.value / one.value;
        // Recorded intervals are of 95 %.
        let factor = (a.hypot(b) * change::student(confidence, 1e6) / change::student(0.95, 1e6)).exp();
        Ok(Change { value: ratio, lo: ratio / factor, hi: ratio * factor })
    }
}

/// The mean of several runs with its 95 % interval: Student's over the runs, and never narrower than what the runs
/// themselves say.
fn mean_of_runs(runs: &[MetricValue]) -> Interval {
    let count = runs.len() as f64;
    let mean = runs.iter().map(|run| run.value).sum::<f64>() / count;
    let variance = runs.iter().map(|run| (run.value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let between = change::student(0.95, count - 1.0) * (variance / count).sqrt();
    let half = |run: &MetricValue| run.lo.zip(run.hi).map_or(0.0, |(lo, hi)| (hi - lo) / 2.0);
    let within = (runs.iter().map(|run| half(run).powi(2)).sum::<f64>() / count / count).sqrt();
    // Runs that are equal are not certain to be.
    let least = mean.abs() * change::student(0.95, count - 1.0) * LEAST_SPREAD / count.sqrt();
    let margin = between.max(within).max(least);
    Interval { value: mean, lo: mean - margin, hi: mean + margin }
}

fn measured_row(taken: &RunWithSamples, case: Case) -> Result<&CaseRow, String> {
    let row = taken.row(case).ok_or_else(|| format!("{} has no case {case}", taken.run.path.display()))?;
    match row.outcome {
        Outcome::Ok => Ok(row),
        outcome => Err(format!("{outcome}: {}", row.reason.map_or(row.message.clone(), |reason| reason.to_string()))),
    }
}

fn values_of(taken: &RunWithSamples, case: Case, series: Series) -> Vec<f64> {
    taken.samples_of(case).iter().filter_map(series).collect()
}
