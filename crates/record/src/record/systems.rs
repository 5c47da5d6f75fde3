//! Runs of one system stand together, whatever files and folders they are from: one sweep in several files is one sweep,
//! a folder that is named twice counts once, and what was measured twice is pooled, whatever the order.

use super::comparable::{Loop, definitions};
use super::metric::{METRICS, Metric, Metrics};
use super::reader::Run;
use super::run::RunRecord;
use super::{Basis, CaseKey, CaseRow, FileRecord, SkippedRecord};
use std::collections::{BTreeMap, HashMap};

impl Run {
    /// How the requests of one of its cases came.
    pub fn arrival_of<'r>(&'r self, row: &'r CaseRow) -> &'r str {
        row.key.arrival.as_deref().unwrap_or(&self.record.arrival)
    }

    /// How requests came, in words: every way that a case has.
    pub fn arrivals(&self) -> String {
        let mut all: Vec<&str> = self.cases.iter().map(|row| self.arrival_of(row)).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() { self.record.arrival.clone() } else { all.join(", ") }
    }
}

/// What tells a system from every other: engine, device, host, model and whose definitions its times follow. How requests
/// came is no part of it but for whether they were batches: the rates and users of one sweep are points of one curve.
fn identity(run: &Run) -> String {
    let record = &run.record;
    let (environment, engine) = (&record.environment, &record.engine);
    let cpu = &environment.cpu;
    // Machines of one type of instance are one kind; of others nobody knows whether they are.
    let instance = environment.instance.provider.as_ref().zip(environment.instance.instance_type.as_ref());
    let machine = instance.is_none().then_some((&environment.hostname, &environment.machine));
    let cpu = (&cpu.model, &cpu.signature, cpu.threads, cpu.engine_threads, &cpu.pinned_to);
    let host = (instance, machine, cpu, record.accelerators);
    let model = record.model.as_ref().map(|model| (&model.name, &model.hash, &model.shape));
    let named = run.cases.first().map(|row| &row.key.model);
    let build = (&environment.sizewell_version, &environment.git_revision);
    let build = (record.basis == Basis::Measured).then_some(build);
    let terms = (definitions(record), Loop::of(&record.arrival).family(), record.power.limit_w.map(|limit| limit.0));
    format!("{:?}", (record.basis, engine, host, model, named, build, terms))
}

/// A load test has its own curve and limit, and a run of quality its own figures: neither is pooled with another.
fn stands_alone(record: &RunRecord) -> bool {
    record.traffic.is_some() || record.quality.is_some()
}

/// Whether two runs are one measurement: the same folder, a copy of it, or the same files imported once more.
fn is_same(a: &Run, b: &Run) -> bool {
    let files = |run: &Run| run.record.import.as_ref().map(|import| import.files.clone());
    a.cases == b.cases
        && match (files(a), files(b)) {
            (Some(one), Some(other)) => one == other && identity(a) == identity(b),
            (None, None) => a.record == b.record,
            _ => false,
        }
}

/// One run for each system, in the order in which the first of each stands; rows of one case are pooled.
pub fn gathered(runs: Vec<Run>) -> Vec<Run> {
    let mut systems: Vec<(String, Vec<Run>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for run in runs {
        let key = identity(&run);
        match places.get(&key).filter(|_| !stands_alone(&run.record)) {
            Some(place) => systems[*place].1.push(run),
            None if systems.iter().any(|(_, known)| known.iter().any(|known| is_same(known, &run))) => {}
            None => {
                if !stands_alone(&run.record) {
                    places.insert(key.clone(), systems.len());
                }
                systems.push((key, vec![run]));
            }
        }
    }
    systems.into_iter().filter_map(|(_, runs)| joined(runs)).collect()
}

/// Runs of one system as one; `None` of none.
fn joined(runs: Vec<Run>) -> Option<Run> {
    let mut kept: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        if !kept.iter().any(|known| is_same(known, &run)) {
            kept.push(run);
        }
    }
    let mut arrivals: Vec<String> =
        kept.iter().flat_map(|run| run.cases.iter().map(|row| run.arrival_of(row).to_string())).collect();
    arrivals.sort();
    arrivals.dedup();
    let mut rows: Vec<CaseRow> = Vec::new();
    for run in &mut kept {
        let own = run.record.arrival.clone();
        rows.extend(std::mem::take(&mut run.cases).into_iter().map(|mut row| {
            row.key.arrival = (arrivals.len() > 1).then(|| row.key.arrival.take().unwrap_or(own.clone()));
            row
        }));
    }
    let mut others = kept.into_iter();
    let mut first = others.next()?;
    for other in others {
        if let (Some(import), Some(more)) = (&mut first.record.import, other.record.import) {
            add_skipped(&mut import.skipped, &import.files, &more.skipped, &more.files);
            import.files.extend(more.files.into_iter().filter(|file| !import.files.contains(file)).collect::<Vec<_>>());
        }
    }
    first.record.arrival = match arrivals.as_slice() {
        [] => first.record.arrival,
        [one] => one.clone(),
        several => together(several).to_string(),
    };
    first.cases = pooled(rows);
    Some(first)
}

/// Records that further files left out are added, those of a file that is there already are not.
fn add_skipped(all: &mut Vec<SkippedRecord>, known: &[FileRecord], more: &[SkippedRecord], files: &[FileRecord]) {
    if files.iter().all(|file| known.contains(file)) {
        return;
    }
    for skipped in more {
        match all.iter_mut().find(|known| known.reason == skipped.reason) {
            Some(known) => known.records += skipped.records,
            None => all.push(skipped.clone()),
        }
    }
}

/// The word for requests that came in several ways.
fn together(arrivals: &[String]) -> &'static str {
    let all = |kind: Loop| arrivals.iter().all(|arrival| Loop::of(arrival) == kind);
    if all(Loop::Closed) {
        "closed"
    } else if all(Loop::Open) {
        "open"
    } else {
        "several"
    }
}

/// Rows by case, repeats as one. Where any row of a case is beyond doubt, those that are not do not count.
fn pooled(rows: Vec<CaseRow>) -> Vec<CaseRow> {
    let mut order: Vec<CaseKey> = Vec::new();
    let mut by_case: HashMap<CaseKey, Vec<CaseRow>> = HashMap::new();
    for row in rows {
        let of_case = by_case.entry(row.key.clone()).or_default();
        if of_case.is_empty() {
            order.push(row.key.clone());
        }
        of_case.push(row);
    }
    order.into_iter().filter_map(|key| by_case.remove(&key).and_then(pool)).collect()
}

fn pool(mut rows: Vec<CaseRow>) -> Option<CaseRow> {
    if rows.len() > 1 {
        let best = |row: &CaseRow| (row.outcome != super::Outcome::Ok, !row.invalid.is_empty());
        let least = rows.iter().map(best).min()?;
        rows.retain(|row| best(row) == least);
    }
    if rows.len() < 2 || rows[0].outcome != super::Outcome::Ok {
        return rows.into_iter().next();
    }
    // Files that time prefills and decoding apart have one of each beside the other: only what two rows have is repeated.
    let mut metrics = Metrics::default();
    for group in METRICS {
        pool_group(group, &rows, &mut metrics);
    }
    let mut first = rows[0].clone();
    let mut absent: BTreeMap<String, String> = BTreeMap::new();
    for row in &rows[1..] {
        first.samples += row.samples;
        first.warmup_iterations += row.warmup_iterations;
        for reason in &row.invalid {
            if !first.invalid.contains(reason) {
                first.invalid.push(*reason);
            }
        }
        let new: Vec<String> = row.notes.iter().filter(|note| !first.notes.contains(note)).cloned().collect();
        first.notes.extend(new);
    }
    for (tag, why) in rows.iter().flat_map(|row| &row.absent) {
        absent.entry(tag.clone()).or_insert(why.clone());
    }
    let is_there = |tag: &str| super::metric::named(tag).is_some_and(|metric| (metric.get)(&metrics).is_some());
    first.absent = absent.into_iter().filter(|(tag, _)| !is_there(tag)).collect();
    first.notes.push(format!("{} repeats, pooled", rows.len()));
    first.metrics = metrics;
    Some(first)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.len(), values.len() % 2) {
        (0, _) => None,
        (_, 1) => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// One metric of repeats: the median, from the lowest end of any to the highest; percentiles where all have them.
fn pool_group(group: &[Metric], rows: &[CaseRow], pooled: &mut Metrics) {
    let [main, rest @ ..] = group else { return };
    let all = |metric: &Metric| rows.iter().filter_map(|row| (metric.get)(&row.metrics)).collect::<Vec<f64>>();
    let values = all(main);
    let Some(value) = median(values.clone()) else { return };
    (main.set)(pooled, value);
    for metric in rest {
        let known = all(metric);
        let ends = || values.iter().copied().chain(known.iter().copied());
        let of = if metric.tag.ends_with("_lo") {
            (values.len() > 1 || !known.is_empty()).then(|| ends().fold(f64::INFINITY, f64::min))
        } else if metric.tag.ends_with("_hi") {
            (values.len() > 1 || !known.is_empty()).then(|| ends().fold(f64::NEG_INFINITY, f64::max))
        } else {
            median(known.clone()).filter(|_| known.len() == values.len())
        };
        if let Some(of) = of {
            (metric.set)(pooled, of);
        }
    }
}
