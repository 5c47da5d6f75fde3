//! Measured times of the requests that are asked about: at the measured lengths as they are, between them by straight
//! lines, beyond them not at all.

use super::energy;
use super::fit;
use super::lengths::Lengths;
use super::project::{Times, measured_times};
use crate::record::{
    Basis, CaseRow, Distribution, InvalidReason, LatencyKind, Outcome, Run, STOPPED_BY_QUOTA, TrafficRecord,
};
use crate::units::{Seconds, interval::Interval};
use crate::workload::{Case, ModelShape, Quant};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One quantization level and batch size, with its times for the requests that are asked about.
#[derive(Debug, Clone)]
pub struct Point {
    /// Level and batch, and the lengths (the mean ones of a histogram).
    pub case: Case,
    /// Tokens of the longest request, prompt and generated.
    pub longest: usize,
    /// Generated tokens in the mean.
    pub gen_tokens: f64,
    /// The device it was measured on.
    pub device: String,
    /// Times of a request (the mean one of a histogram).
    pub times: Times,
    /// Percentiles beyond the median, where they were measured at these lengths: of which time, the share of requests, and
    /// seconds.
    pub percentiles: Vec<(LatencyKind, f64, f64)>,
    /// Requests a second of a copy, where they were counted under a load.
    pub requests_per_s: Option<Interval>,
    /// Joules of a generated token, where there was a meter.
    pub joules_per_token: Option<Interval>,
    /// How the times came about.
    pub method: &'static str,
    /// Doubts of the cases that it is from.
    pub doubts: Vec<Arc<str>>,
    /// Requests came one by one to a server that others used, rather than as a batch that begins together.
    pub served: bool,
}

impl Point {
    /// Tokens that costs and energy are counted by: those generated, or of a model that generates none, those it takes.
    pub fn counted_tokens(&self) -> f64 {
        if self.gen_tokens > 0.0 { self.gen_tokens } else { self.case.prompt_tokens() as f64 }
    }

    /// To the last token.
    pub fn e2e(&self) -> Interval {
        self.times.e2e(self.gen_tokens)
    }
}

/// What was measured of the requests that are asked about.
#[derive(Debug, Clone)]
pub struct Points {
    /// The lengths, as asked or as chosen.
    pub lengths: Lengths,
    /// Levels, in the order of precision.
    pub quants: Vec<Quant>,
    /// One for each level and batch size.
    pub points: Vec<Point>,
}

/// Nothing that another tool measured on one machine says more than this of the next one of its kind (SpareCores
/// sc-inspector-data: the same card on different instances).
const REPEATABLE: f64 = 1.05;

fn at_least_so_wide(time: Interval) -> Interval {
    Interval::new(time.value, time.lo.min(time.value / REPEATABLE), time.hi.max(time.value * REPEATABLE))
}

/// A straight line through two intervals at `x`.
fn between(x: f64, (x0, a): (f64, Interval), (x1, b): (f64, Interval)) -> Interval {
    if x1 <= x0 {
        return a;
    }
    let share = ((x - x0) / (x1 - x0)).clamp(0.0, 1.0);
    let mix = |a: f64, b: f64| a + (b - a) * share;
    Interval::new(mix(a.value, b.value), mix(a.lo, b.lo), mix(a.hi, b.hi))
}

/// The curve at `x`, straight between its points and level beyond their ends.
fn along(curve: &[(f64, Interval)], x: f64) -> Option<Interval> {
    let after = curve.iter().position(|(at, _)| *at >= x).unwrap_or(curve.len());
    let low = curve.get(after.saturating_sub(1))?;
    let high = curve.get(after.min(curve.len() - 1))?;
    Some(between(x, *low, *high))
}

/// A case with its time to the first token and per further token, as far as it has them.
type TimedCase<'a> = (&'a CaseRow, Option<Interval>, Option<Interval>);

/// What one level and batch size took over the measured lengths: a row has both times, or (of tools that measure prefills
/// and decoding apart) one of them.
struct Curves<'a> {
    rows: Vec<TimedCase<'a>>,
    shape: Option<&'a ModelShape>,
    /// Lengths that differ by less than this share count as the same.
    near: f64,
}

const EXACT: &str = "measured";
const UNDER_TRAFFIC: &str = "measured under traffic";
const BETWEEN: &str = "between measured lengths";
const SCALED: &str = "measured, scaled to the lengths";
/// Lengths (of prefills) and bytes (of decode steps) beyond this many times what was measured are not scaled to.
const MOST_SCALED: f64 = 4.0;
/// Lengths of a served load are means over its requests, which differ a little from step to step of a sweep.
const SAME_LOAD: f64 = 0.05;
/// Margins of times that were scaled to another length of the same kind.
const SCALED_DECODE: f64 = 1.10;
const SCALED_PREFILL: f64 = 1.15;

/// Several measurements of one thing: their median, within the ends of all. `None` of none.
fn pooled(mut all: Vec<Interval>) -> Option<Interval> {
    all.sort_by(|a, b| a.value.total_cmp(&b.value));
    let middle = all.len() / 2;
    let value = match (all.len(), all.len() % 2) {
        (0, _) => return None,
        (_, 1) => all[middle].value,
        _ => (all[middle - 1].value + all[middle].value) / 2.0,
    };
    let (lo, hi) = all.iter().fold((value, value), |(lo, hi), one| (lo.min(one.lo), hi.max(one.hi)));
    Some(Interval::new(value, lo, hi))
}

impl<'a> Curves<'a> {
    /// Whether a case was measured at these lengths.
    fn is_at(&self, row: &CaseRow, prompt: usize, generated: usize) -> bool {
        let same = |a: usize, b: usize| (a as f64 - b as f64).abs() <= self.near * b as f64;
        same(row.key.case.prompt_tokens(), prompt) && same(row.key.case.gen_tokens(), generated)
    }

    /// The rows that were measured at these lengths, with both times.
    fn exact(&self, prompt: usize, generated: usize) -> Vec<&TimedCase<'a>> {
        let whole = |timed: &&TimedCase<'a>| timed.1.is_some() && (timed.2.is_some() || generated <= 1);
        self.rows.iter().filter(whole).filter(|(row, ..)| self.is_at(row, prompt, generated)).collect()
    }

    /// Times of requests of these lengths; `None` where they lie outside of what was measured.
    fn at(&self, prompt: usize, generated: usize) -> Option<(Times, &'static str)> {
        let exact = self.exact(prompt, generated);
        if let Some(ttft) = pooled(exact.iter().filter_map(|(_, ttft, _)| *ttft).collect()) {
            let tpot = pooled(exact.iter().filter_map(|(_, _, tpot)| *tpot).collect());
            return Some((Times { ttft, tpot: tpot.unwrap_or(Interval::exact(0.0)) }, EXACT));
        }
        let curve = |x: fn(&CaseRow) -> f64, y: fn(&TimedCase<'_>) -> Option<Interval>| {
            let mut curve: Vec<(f64, Interval)> =
                self.rows.iter().filter_map(|row| Some((x(row.0), y(row)?))).collect();
            curve.sort_by(|a, b| a.0.total_cmp(&b.0));
            curve.dedup_by(|a, b| a.0 == b.0);
            curve
        };
        let ttft = curve(|row| row.key.case.prompt_tokens() as f64, |row| row.1);
        // A time per token is that of the middle of its context.
        let tpot = curve(|row| row.key.case.middle(), |row| row.2);
        let (first, last) = (ttft.first()?.0, ttft.last()?.0);
        let longest = self.rows.iter().map(|(row, ..)| row.key.case.context()).max()?;
        let middle = prompt as f64 + generated as f64 / 2.0;
        if generated == 0 {
            // One pass and nothing behind it.
            let times = Times { ttft: along(&ttft, prompt as f64)?, tpot: Interval::exact(0.0) };
            return (first..=last).contains(&(prompt as f64)).then_some((times, BETWEEN));
        }
        let apart = !self.rows.iter().any(|(_, ttft, tpot)| ttft.is_some() && tpot.is_some());
        match ((first..=last).contains(&(prompt as f64)), apart) {
            (true, false) if prompt + generated <= longest => {
                Some((Times { ttft: along(&ttft, prompt as f64)?, tpot: along(&tpot, middle)? }, BETWEEN))
            }
            (_, true) => self.scaled(prompt, middle, &ttft, &tpot),
            _ => None,
        }
    }

    /// From prefills and decoding that were measured apart: at the nearest length, times the operations of a prefill or the
    /// bytes of a decode step there and here.
    fn scaled(
        &self,
        prompt: usize,
        middle: f64,
        ttft: &[(f64, Interval)],
        tpot: &[(f64, Interval)],
    ) -> Option<(Times, &'static str)> {
        let shape = self.shape?;
        let case = self.rows.first()?.0.key.case;
        let within = |curve: &[(f64, Interval)], x: f64| {
            curve.first().zip(curve.last()).is_some_and(|(a, b)| (a.0..=b.0).contains(&x))
        };
        let nearest = |curve: &[(f64, Interval)], x: f64| {
            curve.iter().min_by(|a, b| (a.0 - x).abs().total_cmp(&(b.0 - x).abs())).copied()
        };
        let widened = |time: Interval, ratio: f64, margin: f64| {
            Interval::new(time.value * ratio, time.lo * ratio / margin, time.hi * ratio * margin)
        };
        let ops = |tokens: f64| shape.prefill_ops(case.batch, tokens.max(1.0) as usize);
        let bytes = |context: f64| {
            shape.step_weight_bytes(case.quant, case.batch).0
                + shape.read_cache_bytes(case.batch, context, fit::cache_of(&case)).0
        };
        let prompt = prompt as f64;
        let near = |curve: &[(f64, Interval)], x: f64| {
            let ends = curve.first().zip(curve.last());
            ends.is_some_and(|(a, b)| x >= a.0 / MOST_SCALED && x <= b.0 * MOST_SCALED)
        };
        // A decode step changes by its cache alone: the bytes of both say how far it is.
        let far = bytes(middle) / bytes(nearest(tpot, middle)?.0) > MOST_SCALED;
        if !near(ttft, prompt) || far {
            return None;
        }
        let prefill = if within(ttft, prompt) {
            along(ttft, prompt)?
        } else {
            let (at, time) = nearest(ttft, prompt)?;
            widened(time, ops(prompt) / ops(at), SCALED_PREFILL)
        };
        let decode = if within(tpot, middle) {
            along(tpot, middle)?
        } else {
            let (at, time) = nearest(tpot, middle)?;
            widened(time, bytes(middle) / bytes(at), SCALED_DECODE)
        };
        Some((Times { ttft: prefill, tpot: decode }, SCALED))
    }

    /// Times of the mean request of a histogram: its E2E is the mean of theirs.
    fn mean(&self, lengths: &Lengths) -> Option<(Times, &'static str)> {
        if let [(prompt, generated, _)] = lengths.bins.as_slice() {
            return self.at(*prompt, *generated);
        }
        let zero = Interval::exact(0.0);
        let (mut ttft, mut decode, mut method) = (zero, zero, EXACT);
        for (prompt, generated, share) in &lengths.bins {
            let (times, how) = self.at(*prompt, *generated)?;
            let steps = generated.saturating_sub(1) as f64;
            ttft = ttft.plus(times.ttft.map(|t| t * share));
            decode = decode.plus(times.tpot.map(|t| t * steps * share));
            if how != EXACT {
                method = how;
            }
        }
        let steps = (lengths.mean_gen() - 1.0).max(f64::MIN_POSITIVE);
        let tpot = if steps > 1e-9 { decode.map(|t| t / steps) } else { zero };
        Some((Times { ttft, tpot }, method))
    }
}

/// The lengths that most cases have.
fn usual(rows: &[&CaseRow], generates: bool) -> Option<(usize, usize)> {
    let mut lengths: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for row in rows {
        let case = row.key.case;
        *lengths.entry((case.prompt_tokens(), case.gen_tokens())).or_default() += 1;
    }
    // Prefills and decoding that were measured apart have no pair of lengths: the most usual of each.
    if generates && lengths.keys().all(|(prompt, generated)| *prompt == 0 || *generated == 0) {
        let most = |of: fn(&(usize, usize)) -> usize| {
            lengths.iter().filter(|(l, _)| of(l) > 0).max_by_key(|(_, count)| **count).map(|(l, _)| of(l))
        };
        return most(|l| l.0).zip(most(|l| l.1));
    }
    lengths.into_iter().max_by_key(|(_, count)| *count).map(|(lengths, _)| lengths)
}

/// The lengths that are asked for: as a file has them, or as numbers of which one may be missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestedLengths {
    /// A histogram, which outweighs the numbers.
    pub lengths: Option<Lengths>,
    /// Prompt length; `None` is that of most cases.
    pub prompt_tokens: Option<usize>,
    /// Generated tokens; `None` as above.
    pub gen_tokens: Option<usize>,
}

impl RequestedLengths {
    fn lengths(&self, rows: &[&CaseRow], generates: bool) -> Option<Lengths> {
        if let Some(lengths) = &self.lengths {
            return Some(lengths.clone());
        }
        let fits = |row: &&&CaseRow| {
            let case = row.key.case;
            self.prompt_tokens.is_none_or(|p| p == case.prompt_tokens())
                && self.gen_tokens.is_none_or(|g| g == case.gen_tokens())
        };
        let fitting: Vec<&CaseRow> = rows.iter().filter(fits).copied().collect();
        let (prompt, generated) = usual(&fitting, generates).or_else(|| usual(rows, generates))?;
        Some(Lengths::of(self.prompt_tokens.unwrap_or(prompt), self.gen_tokens.unwrap_or(generated)))
    }
}

/// Why cases cannot be ranked at any lengths.
fn nothing(rows: &[&CaseRow]) -> &'static str {
    let timed = |row: &&CaseRow| row.metrics.ttft.is_some() || row.metrics.tpot.is_some();
    match (rows.iter().any(timed), rows.iter().any(|row| row.metrics.requests_per_s.is_some())) {
        _ if rows.is_empty() => "the run has no measured case: nothing can be ranked",
        (true, _) => "it does not say how long its prompts were: `sizewell import --prompt N` gives their length",
        (false, true) => {
            "it counted requests a second and timed neither first tokens nor further ones (as MLPerf's offline runs): \
             a ranking needs both"
        }
        (false, false) => "it has times of whole requests only: a ranking needs those of first and further tokens",
    }
}

/// The points of a run; the error says what it lacks.
pub fn select(run: &Run, wanted: &RequestedLengths, quants: &[Quant]) -> Result<Points, String> {
    let mut ok: Vec<&CaseRow> = run.cases.iter().filter(|row| row.outcome == Outcome::Ok).collect();
    // Of several precisions of the cache, the engine's own, or the first that was named.
    let cache =
        ok.iter().map(|row| row.key.case.cache).find(Option::is_none).or(ok.first().map(|row| row.key.case.cache));
    ok.retain(|row| cache.is_none_or(|cache| row.key.case.cache == cache));
    let generates = run.record.task().generates();
    let Some(lengths) = wanted.lengths(&ok, generates) else {
        return Err(nothing(&ok).to_string());
    };
    if ok.iter().all(|row| row.metrics.ttft.is_none() && row.metrics.tpot.is_none()) {
        return Err(nothing(&ok).to_string());
    }
    let near =
        if run.record.basis == Basis::Imported && ok.iter().any(|row| is_served(run, row)) { SAME_LOAD } else { 0.0 };
    let mut groups: BTreeMap<(Quant, usize), Curves<'_>> = BTreeMap::new();
    for row in &ok {
        let (ttft, tpot) = measured_times(row);
        let (ttft, tpot) = match run.record.basis {
            Basis::Imported => (ttft.map(at_least_so_wide), tpot.map(at_least_so_wide)),
            _ => (ttft, tpot),
        };
        if ttft.is_some() || tpot.is_some() {
            let Case { quant, batch, .. } = row.key.case;
            let shape = run.record.model.as_ref().map(|model| &model.shape);
            let curves = groups.entry((quant, batch)).or_insert(Curves { rows: Vec::new(), shape, near });
            curves.rows.push((row, ttft, tpot));
        }
    }
    let mut points = Vec::new();
    for ((quant, batch), curves) in &groups {
        let Some((times, method)) = curves.mean(&lengths) else { continue };
        let mut point = point(*quant, *batch, curves, times, method, &lengths);
        if run.record.basis == Basis::Imported || run.record.traffic.is_some() {
            point.requests_per_s = counted(curves, method, &point.case);
        }
        point.served = curves.rows.iter().any(|(row, ..)| is_served(run, row));
        if run.record.traffic.is_some() && method == EXACT {
            point.method = UNDER_TRAFFIC;
        }
        point.doubts.extend(run.record.traffic.as_ref().and_then(doubt_of_rate).map(Arc::from));
        points.push(point);
    }
    if points.is_empty() {
        let mut known: Vec<String> = ok
            .iter()
            .map(|row| format!("--prompt {} --gen-tokens {}", row.key.case.prompt_tokens(), row.key.case.gen_tokens()))
            .collect();
        known.sort();
        known.dedup();
        return Err(format!(
            "these lengths were not measured and do not lie between measured ones; the run has {}",
            known.join(", ")
        ));
    }
    let quants = levels(&points, quants)?;
    Ok(Points { lengths, quants, points })
}

/// The levels that are ranked: those that were asked for, or the first that one serves.
fn levels(points: &[Point], asked: &[Quant]) -> Result<Vec<Quant>, String> {
    let mut measured: Vec<Quant> = points.iter().map(|point| point.case.quant).collect();
    measured.dedup();
    if asked.is_empty() {
        // f32 is a reference for quality, not something that one serves.
        let baseline = measured.iter().find(|q| **q != Quant::F32).or(measured.first());
        return Ok(baseline.copied().into_iter().collect());
    }
    match asked.iter().find(|q| !measured.contains(q)) {
        None => Ok(asked.to_vec()),
        Some(missing) => {
            let known: Vec<&str> = measured.iter().map(|q| q.name()).collect();
            Err(format!("{missing} was not measured at these lengths; the run has {}", known.join(", ")))
        }
    }
}

/// What speaks against buying by the rate of a load.
fn doubt_of_rate(traffic: &TrafficRecord) -> Option<&'static str> {
    match &traffic.limit {
        None => Some("its rate is the one that was sent, not the most that it carries: load --find-limit"),
        Some(limit) if !limit.is_confirmed() => {
            Some("its rate was not run again to be certain that it holds: load --find-limit of this version does")
        }
        Some(_) => None,
    }
}

/// The rate that was counted under a load of these lengths: of a search, with the rates that certainly hold and do not.
fn counted(curves: &Curves<'_>, method: &'static str, case: &Case) -> Option<Interval> {
    let at = if method == EXACT { curves.exact(case.prompt_tokens(), case.gen_tokens()) } else { Vec::new() };
    let rates = at.iter().filter_map(|(row, ..)| row.metrics.requests_per_s).map(|rate| {
        let exact = at_least_so_wide(Interval::exact(rate.value.0));
        let ends = (rate.lo.map_or(exact.lo, |lo| lo.0), rate.hi.map_or(exact.hi, |hi| hi.0));
        Interval::new(rate.value.0, ends.0, ends.1)
    });
    pooled(rates.collect())
}

/// Whether requests of a case came one by one, in whatever loop.
fn is_served(run: &Run, row: &CaseRow) -> bool {
    run.arrival_of(row) != "closed_batch"
}

/// What speaks against a case, in words.
fn doubt(row: &CaseRow, reason: InvalidReason) -> Arc<str> {
    let said = row.notes.iter().find(|note| note.ends_with("requests failed"));
    let stopped = row.notes.iter().find(|note| note.starts_with(STOPPED_BY_QUOTA));
    match (reason, said) {
        (InvalidReason::FailedRequests, Some(note)) => note.as_str().into(),
        (InvalidReason::FailedRequests, None) => "requests failed".into(),
        (InvalidReason::CpuQuota, _) => stopped.map_or("the measurement is cpu_quota", |note| note.as_str()).into(),
        (InvalidReason::SlowKernels, _) => "the engine's kernels do not show what the card can do at this batch".into(),
        (reason, _) => format!("the measurement is {reason}").into(),
    }
}

/// The percentiles of a row beyond its medians.
fn percentiles(row: &CaseRow) -> Vec<(LatencyKind, f64, f64)> {
    let times = [
        (LatencyKind::Ttft, row.metrics.ttft),
        (LatencyKind::Tpot, row.metrics.tpot),
        (LatencyKind::E2e, row.metrics.e2e),
    ];
    let of = |(kind, time): (LatencyKind, Option<Distribution<Seconds>>)| {
        let known = time.map_or([None; 2], |time| [(0.9, time.p90), (0.99, time.p99)].map(|(p, t)| Some((p, t?.0))));
        known.into_iter().flatten().map(move |(percentile, seconds)| (kind, percentile, seconds))
    };
    times.into_iter().flat_map(of).collect()
}

fn point(
    quant: Quant,
    batch: usize,
    curves: &Curves<'_>,
    times: Times,
    method: &'static str,
    lengths: &Lengths,
) -> Point {
    let (prompt, generated) = (lengths.mean_prompt().round() as usize, lengths.mean_gen().round() as usize);
    let least = usize::from(lengths.mean_gen() > 0.0);
    let case = Case {
        cache: curves.rows.first().and_then(|(row, ..)| row.key.case.cache),
        ..Case::new(quant, batch, prompt.max(1), generated.max(least))
    };
    let same = |row: &CaseRow| curves.is_at(row, case.prompt_tokens(), case.gen_tokens());
    let used: Vec<&CaseRow> =
        curves.rows.iter().map(|(row, ..)| *row).filter(|row| method != EXACT || same(row)).collect();
    let mut doubts: Vec<Arc<str>> = Vec::new();
    for doubt in used.iter().flat_map(|row| row.invalid.iter().map(|reason| doubt(row, *reason))) {
        if !doubts.contains(&doubt) {
            doubts.push(doubt);
        }
    }
    let energies: Vec<Interval> = used.iter().filter_map(|row| energy::measured(row)).collect();
    let joules_per_token = (!energies.is_empty()).then(|| {
        let least = energies.iter().map(|e| e.lo).fold(f64::INFINITY, f64::min);
        let most = energies.iter().map(|e| e.hi).fold(0.0, f64::max);
        Interval::new(energies.iter().map(|e| e.value).sum::<f64>() / energies.len() as f64, least, most)
    });
    let percentiles = used.first().filter(|_| method == EXACT).map_or(Vec::new(), |row| percentiles(row));
    let device = curves.rows.first().map_or(String::new(), |(row, ..)| row.key.device.clone());
    let longest = lengths.bins.iter().map(|(prompt, generated, _)| prompt + generated).max().unwrap_or(1);
    Point {
        case,
        longest,
        gen_tokens: lengths.mean_gen(),
        device,
        times,
        percentiles,
        requests_per_s: None,
        joules_per_token,
        method,
        doubts,
        served: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_straight_between_points_and_level_beyond() {
        let curve = [(100.0, Interval::exact(1.0)), (200.0, Interval::exact(3.0))];
        let at = |x: f64| along(&curve, x).unwrap().value;
        assert_eq!((at(50.0), at(100.0), at(150.0), at(200.0), at(900.0)), (1.0, 1.0, 2.0, 3.0, 3.0));
        assert_eq!(along(&[], 1.0), None);
    }
}
