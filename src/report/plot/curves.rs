//! Curves against batch size: latency, throughput, throughput per watt, energy per token.

use super::Plot;
use super::chart::{Axis, Chart, Dot, Line, Scale};
use crate::record::{CaseRow, Distribution, Estimate, Outcome, Run};
use crate::units::interval::Interval;
use crate::units::{Quantity, Seconds};
use crate::workload::Case;

/// What a plot shows of each case.
type Value = fn(&CaseRow) -> Option<Interval>;

struct Curves {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    value: Value,
}

fn milliseconds(time: Distribution<Seconds>) -> Interval {
    time.interval().map(|time| time.0 * 1e3)
}

fn ends<Q: Quantity + PartialOrd>(estimate: Estimate<Q>) -> Interval {
    estimate.closed().map(Quantity::si)
}

const SPEED: [Curves; 3] = [
    Curves {
        name: "latency",
        title: "Latency of a token against batch size",
        unit: "TPOT, ms",
        value: |row| row.metrics.tpot.map(milliseconds),
    },
    Curves {
        name: "ttft",
        title: "Time to the first token against batch size",
        unit: "TTFT, ms",
        value: |row| row.metrics.ttft.map(milliseconds),
    },
    Curves {
        name: "throughput",
        title: "Decode throughput against batch size",
        unit: "tokens/s",
        value: |row| row.metrics.decode_tokens_per_s.map(ends),
    },
];

const ENERGY: [Curves; 2] = [
    Curves {
        name: "throughput-per-watt",
        title: "Tokens per second per watt against batch size",
        unit: "tokens/s/W",
        value: |row| row.metrics.tokens_per_j.map(ends),
    },
    Curves {
        name: "energy-per-token",
        title: "Energy of a generated token against batch size",
        unit: "J/token",
        value: |row| row.metrics.energy_per_token.map(ends),
    },
];

/// Of models that embed or classify: what one pass gives.
const PASSES: [Curves; 2] = [
    Curves {
        name: "time",
        title: "Time of a batch against its size",
        unit: "time, ms",
        value: |row| row.metrics.ttft.map(milliseconds),
    },
    Curves {
        name: "throughput",
        title: "Results per second against batch size",
        unit: "results/s",
        value: |row| row.metrics.requests_per_s.map(ends),
    },
];

/// The curves of speed that the run has values for.
pub fn speed(run: &Run) -> Vec<Plot> {
    let curves: &[Curves] = if run.record.task().generates() { &SPEED } else { &PASSES };
    curves.iter().filter_map(|curves| plot(run, curves)).collect()
}

/// The curves of energy, likewise.
pub fn energy(run: &Run) -> Vec<Plot> {
    ENERGY.iter().filter_map(|curves| plot(run, curves)).collect()
}

/// Cases that were measured.
pub fn measured(run: &Run) -> impl Iterator<Item = &CaseRow> {
    run.cases.iter().filter(|row| row.outcome == Outcome::Ok)
}

/// One line for each level and pair of lengths, in the order of the run; its dots from the least batch to the greatest.
pub fn lines(run: &Run, x: fn(&CaseRow) -> f64, value: impl Fn(&CaseRow) -> Option<Interval>) -> Vec<Line> {
    let mut all: Vec<Line> = Vec::new();
    let mut rows: Vec<&CaseRow> = measured(run).collect();
    rows.sort_by_key(|row| row.key.case.batch);
    // All of a case but its level and batch: the rest of its name.
    let rest = |case: Case| case.to_string().split(' ').skip(2).collect::<Vec<_>>().join(" ");
    let mut lengths: Vec<String> = measured(run).map(|row| rest(row.key.case)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    for row in rows {
        let case = row.key.case;
        let Some(y) = value(row) else { continue };
        let name = match lengths.len() {
            1 => case.quant.to_string(),
            _ => format!("{} {}", case.quant, rest(case)),
        };
        let dot = Dot { x: x(row), y };
        match all.iter_mut().find(|line| line.name == name) {
            Some(line) => line.dots.push(dot),
            None => all.push(Line::new(name, vec![dot])),
        }
    }
    // The lengths of most cases first, each with every level: of many lines only the first are drawn.
    let cases =
        |name: &str| std::cmp::Reverse(all.iter().find(|line| line.name == name).map_or(0, |line| line.dots.len()));
    let level = |name: &str| {
        let level = name.split(' ').next().unwrap_or(name);
        measured(run).position(|row| level == row.key.case.quant.name())
    };
    let lengths = |name: &str| name.split_once(' ').map_or(String::new(), |(_, lengths)| lengths.to_string());
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_cached_key(|index| {
        let name = &all[*index].name;
        (cases(name), lengths(name), level(name))
    });
    order.into_iter().map(|index| all[index].clone()).collect()
}

/// How many iterations the figures of a run are from, in words.
pub fn sizes_of_samples(run: &Run) -> String {
    let counts = || measured(run).map(|row| row.samples);
    match (counts().min(), counts().max()) {
        (Some(least), Some(most)) if least == most => format!("{least} iterations a case"),
        (Some(least), Some(most)) => format!("{least} to {most} iterations a case"),
        _ => "no case was measured".to_string(),
    }
}

fn plot(run: &Run, curves: &Curves) -> Option<Plot> {
    let lines = lines(run, |row| row.key.case.batch as f64, curves.value);
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    let description = format!(
        "{} ({}); one line each for {}. Bars are 95 % intervals of the median.",
        curves.title,
        curves.unit,
        names.join(", ")
    );
    let chart = Chart {
        name: curves.name.to_string(),
        title: curves.title.to_string(),
        description,
        note: format!("Bars: 95 % intervals of the median; {}.", sizes_of_samples(run)),
        x: Axis::new("batch (sequences that run together)", Scale::Each),
        y: Axis::new(curves.unit, Scale::Linear),
        lines,
        places: Vec::new(),
    };
    chart.plot()
}
