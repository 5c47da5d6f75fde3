//! What a level of quantization saves and what it costs in quality.

use super::{Section, model_argument};
use crate::record::{CaseRow, QualityRow};
use crate::report::Report;
use crate::report::plot::chart::{Axis, Chart, Dot, Line, Scale};
use crate::report::plot::curves::{measured, sizes_of_samples};
use crate::report::table::{DASH, Table};
use crate::units::interval::Interval;
use crate::units::{Quantity, digits};
use crate::workload::Quant;

const GIB: f64 = (1u64 << 30) as f64;

/// A level: its weights, its decode rates at the least and at the greatest batch, its cost.
struct Level {
    quant: Quant,
    weights_gib: Option<f64>,
    slow: Option<Dot>,
    fast: Option<Dot>,
    usd_per_million: Option<Interval>,
    /// What speaks against the rates, such as `int4 at batch 32: slow_kernels`.
    doubts: Vec<String>,
}

fn levels(report: &Report<'_>) -> Vec<Level> {
    let run = report.run();
    let mut quants: Vec<Quant> = measured(run).map(|row| row.key.case.quant).collect();
    quants.sort();
    quants.dedup();
    quants
        .into_iter()
        .map(|quant| {
            let rates = || {
                measured(run).filter(|row| row.key.case.quant == quant).filter_map(|row| {
                    let rate = row.metrics.decode_tokens_per_s?;
                    Some((row, Dot { x: 0.0, y: rate.closed().map(|rate| rate.0) }))
                })
            };
            let batch = |row: &CaseRow| row.key.case.batch;
            let slow = rates().min_by_key(|(row, _)| batch(row));
            let fast = rates().max_by(|a, b| a.1.y.value.total_cmp(&b.1.y.value));
            let mut doubts: Vec<String> =
                [slow, fast].into_iter().flatten().filter_map(|(row, _)| doubt(row)).collect();
            doubts.dedup();
            let weights = measured(run).find(|row| row.key.case.quant == quant).and_then(|row| row.metrics.weights);
            let ranking = report.rankings.iter().flatten().find(|ranking| ranking.quants == [quant]);
            let cheapest = ranking.and_then(|ranking| ranking.rows.iter().find(|row| !row.is_incomplete()));
            Level {
                quant,
                weights_gib: weights.map(|bytes| bytes.0 / GIB),
                slow: slow.map(|(_, dot)| dot),
                fast: fast.map(|(_, dot)| dot),
                doubts,
                usd_per_million: cheapest
                    .and_then(|row| row.usd_per_million_tokens)
                    .map(|cost| cost.map(|usd| usd.to_f64())),
            }
        })
        .collect()
}

/// What speaks against a row, in a few words.
fn doubt(row: &CaseRow) -> Option<String> {
    let names: Vec<&str> = row.invalid.iter().map(|reason| reason.name()).collect();
    (!names.is_empty()).then(|| format!("{} at batch {}: {}", row.key.case.quant, row.key.case.batch, names.join(", ")))
}

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("tradeoff", "Quantization and pruning");
    let levels = levels(report);
    if levels.len() < 2 {
        section.missing = Some(format!(
            "One level has nothing to trade. `sizewell profile --model {} --quant f16,int8,int4` measures three.",
            model_argument(report)
        ));
        return section;
    }
    section.plots.extend(against_memory(report, &levels));
    section.plots.extend(against_quality(report, &levels));
    section.plots.extend(crate::report::plot::pareto::plot(report.run(), report.quality));
    section.tables.push(table(report, &levels));
    if report.quality.is_empty() {
        section.text.push(
            "Quality was not measured, so that this shows what a level saves and not what it costs in answers: \
             `sizewell quality` measures both, and figures of others in quality.csv of the run's folder \
             (docs/method/quality.md#qualitycsv) are drawn here too."
                .to_string(),
        );
    }
    match &report.run().record.quality {
        Some(_) => section.tables.push(crate::report::content::quality::variants(report.run(), report.quality, None)),
        None => section
            .text
            .push("No pruned model is among the runs: `sizewell quality --prune wanda:0.5` compares some.".to_string()),
    }
    section
}

fn against_memory(report: &Report<'_>, levels: &[Level]) -> Option<crate::report::plot::Plot> {
    let line = |name: &str, of: fn(&Level) -> Option<Dot>| Line {
        name: name.to_string(),
        dots: levels.iter().rev().filter_map(|level| Some(Dot { x: level.weights_gib?, ..of(level)? })).collect(),
        joined: true,
    };
    let chart = Chart {
        name: "tradeoff".to_string(),
        title: "Decode throughput against the memory of the weights".to_string(),
        description: format!(
            "Tokens per second at the least batch and at the fastest one, for the weights of {}.",
            levels.iter().map(|level| level.quant.name()).collect::<Vec<_>>().join(", ")
        ),
        note: format!("Bars: 95 % intervals of the median; {}.", sizes_of_samples(report.run())),
        x: Axis::new("weights, GiB", Scale::Linear),
        y: Axis::new("tokens/s", Scale::Linear),
        lines: vec![line("least batch", |level| level.slow), line("fastest batch", |level| level.fast)],
        places: levels.iter().filter_map(|level| Some((level.weights_gib?, level.quant.name().to_string()))).collect(),
    };
    chart.plot()
}

fn against_quality(report: &Report<'_>, levels: &[Level]) -> Option<crate::report::plot::Plot> {
    let metric = &report.quality.first()?.metric;
    let of = |quant: Quant| unpruned(report).find(|row| row.quant == quant && row.metric == *metric);
    let usd = levels.iter().all(|level| level.usd_per_million.is_some());
    let dots = |level: &Level| {
        let x = of(level.quant)?.value;
        match level.usd_per_million.filter(|_| usd) {
            Some(y) => Some(Dot { x, y }),
            None => level.fast.map(|dot| Dot { x, ..dot }),
        }
    };
    let lines = levels.iter().map(|level| Line::new(level.quant.name(), dots(level).into_iter().collect())).collect();
    let y = if usd {
        Axis::usd("USD per million tokens, cheapest offer", Scale::Linear)
    } else {
        Axis::new("tokens/s", Scale::Linear)
    };
    let chart = Chart {
        name: "quality".to_string(),
        title: format!("Cost against {}", metric.replace('_', " ")),
        description: format!(
            "One mark for each level: its {metric} and what a million tokens cost, or how fast it is."
        ),
        note: "Bars: intervals of the cost or of the rate.".to_string(),
        x: Axis::new(metric.replace('_', " "), Scale::Linear),
        y,
        lines,
        places: Vec::new(),
    };
    chart.plot()
}

/// Figures of levels that were not pruned: only those have a speed of their own.
fn unpruned<'a>(report: &Report<'a>) -> impl Iterator<Item = &'a QualityRow> {
    report.quality.iter().filter(|row| row.pruning.is_empty())
}

/// A figure of quality to four decimals, as levels differ in the third; small ones by their digits.
fn fine(value: f64) -> String {
    match value.abs() {
        0.1.. => format!("{value:.4}").trim_end_matches('0').trim_end_matches('.').to_string(),
        _ => digits(value),
    }
}

fn table(report: &Report<'_>, levels: &[Level]) -> Table {
    let mut metrics: Vec<&str> = Vec::new();
    for row in unpruned(report) {
        if !metrics.contains(&row.metric.as_str()) {
            metrics.push(&row.metric);
        }
    }
    let titles: Vec<String> = metrics.iter().map(|metric| format!(">{}", metric.replace('_', " "))).collect();
    let mut columns =
        vec!["level", ">weights", ">decode, least batch", ">decode, fastest", ">$/M tokens, cheapest offer"];
    columns.extend(titles.iter().map(String::as_str));
    let mut table = Table::new("Levels", &columns);
    let number =
        |value: Option<f64>, unit: &str| value.map_or(DASH.to_string(), |value| format!("{}{unit}", digits(value)));
    for level in levels {
        let mut row = vec![
            level.quant.to_string(),
            level.weights_gib.map_or(DASH.to_string(), |gib| crate::units::Bytes(gib * GIB).human()),
            number(level.slow.map(|dot| dot.y.value), " tok/s"),
            number(level.fast.map(|dot| dot.y.value), " tok/s"),
            level.usd_per_million.map_or(DASH.to_string(), |cost| format!("${}", digits(cost.value))),
        ];
        row.extend(metrics.iter().map(|metric| {
            let of = |row: &&QualityRow| row.quant == level.quant && row.metric == **metric;
            unpruned(report).find(of).map_or(DASH.to_string(), |row| match (row.lo, row.hi) {
                (Some(lo), Some(hi)) => format!("{} ({} to {})", fine(row.value), fine(lo), fine(hi)),
                _ => fine(row.value),
            })
        }));
        table.push(row);
    }
    let doubts: Vec<&str> = levels.iter().flat_map(|level| &level.doubts).map(String::as_str).collect();
    if !doubts.is_empty() {
        table.notes.push(format!("doubtful rates: {}", doubts.join("; ")));
    }
    let mut sources: Vec<&str> =
        report.quality.iter().map(|row| row.source.as_str()).filter(|s| !s.is_empty()).collect();
    sources.dedup();
    table.notes.extend(sources.into_iter().map(|source| format!("quality: {source}")));
    table
}
