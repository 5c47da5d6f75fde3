//! The report as one HTML file that needs nothing else: no network, no script, plots inline. Everything that came from
//! a user or a file is escaped by the template.

use super::plot::{Plot, cost, curves, front, roofline, stack, trace};
use super::table::{Align, Table};
use super::{Exporter, Report, content};
use crate::sizing::Ranking;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A self-contained page.
pub struct Html;

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 0 auto; max-width: 1280px; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 34px 0 8px; border-bottom: 1px solid #ddd; }
.lead { font-size: 16px; } .lead li { margin: 3px 0; }
.badge { display: inline-block; border: 1px solid #888; border-radius: 4px; padding: 0 6px; font-size: 12px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 3px 9px; border-bottom: 1px solid #e6e6e6; text-align: left; vertical-align: top; white-space: nowrap; }
td.text { white-space: normal; } th { background: #f4f4f4; position: sticky; top: 0; }
.r { text-align: right; font-variant-numeric: tabular-nums; } .notes { color: #555; font-size: 13px; }
figure { margin: 14px 0; } figure svg { max-width: 100%; height: auto; border: 1px solid #eee; }
details { margin: 18px 0; } summary { cursor: pointer; font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(520px, 1fr)); gap: 10px 20px; }
@media print { body { max-width: none; padding: 0; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } th { position: static; } }
";

impl Exporter for Html {
    fn extension(&self) -> &'static str {
        "html"
    }

    fn export(&self, report: &Report<'_>) -> String {
        let record = &report.run.record;
        let model = record.model.as_ref().map_or("This machine", |m| &m.name);
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "What " (model) " costs - sizewell" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { "What " (model) " costs" }
                    p class="notes" {
                        "measured " (record.started_at.to_string()) " on " (record.environment.hostname)
                        ", report of " (report.today.to_string()) " "
                        @if record.model.as_ref().is_some_and(|m| m.synthetic) {
                            span class="badge" { "synthetic weights" }
                        }
                    }
                    (answer(report))
                    (money(report))
                    (speed(report))
                    (tables(report))
                }
            }
        };
        page.into_string()
    }
}

/// The first screen: what was found, in sentences.
fn answer(report: &Report<'_>) -> Markup {
    html! {
        ul class="lead" {
            @if let Ok(rankings) = &report.rankings {
                @for line in rankings.first().iter().flat_map(|r| &r.headline) { li { (line) } }
            }
            @for line in content::summary(report.run) { li { (line) } }
        }
    }
}

fn money(report: &Report<'_>) -> Markup {
    html! {
        h2 { "Cost" }
        @match &report.rankings {
            Err(why) => p { "No ranking: " (why) },
            Ok(rankings) => {
                @if let Some((first, others)) = rankings.split_first() {
                    (ranked(first))
                    @for ranking in others {
                        details {
                            summary { "The same for " (levels(ranking)) }
                            @for line in &ranking.headline { p { (line) } }
                            (ranked(ranking))
                        }
                    }
                    @if let Some(tiers) = content::tiers(rankings) { (table(&tiers)) }
                    (table(&content::excluded(&first.excluded)))
                }
            }
        }
    }
}

fn levels(ranking: &Ranking) -> String {
    ranking.quants.iter().map(|q| q.name()).collect::<Vec<_>>().join(", ")
}

fn ranked(ranking: &Ranking) -> Markup {
    html! {
        @if let Some(plot) = cost::plot(ranking) { (figure(&plot)) }
        div class="plots" {
            @if let Some(plot) = front::plot(ranking) { (figure(&plot)) }
            @if let Some(plot) = stack::plot(ranking) { (figure(&plot)) }
        }
        (table(&content::ranking(ranking, 25)))
        (table(&content::components(ranking, 25)))
    }
}

fn speed(report: &Report<'_>) -> Markup {
    let plots = curves::all(report.run);
    html! {
        h2 { "Speed" }
        @if plots.is_empty() { p { "No case was measured: see the reasons in the table below." } }
        div class="plots" {
            @for plot in &plots { (figure(plot)) }
            @if let Some(plot) = roofline::plot(report.run) { (figure(&plot)) }
        }
        @if !plots.iter().any(|p| p.name == "throughput-per-watt") {
            p class="notes" { "No throughput per watt: " (no_energy(report)) }
        }
    }
}

/// Power and memory over time, case by case.
fn traces(report: &Report<'_>) -> Markup {
    let plots = trace::all(report.run, report.power);
    html! {
        @if !plots.is_empty() {
            details {
                summary { "Power and memory over time, case by case" }
                div class="plots" { @for plot in &plots { (figure(plot)) } }
            }
        }
    }
}

fn no_energy(report: &Report<'_>) -> String {
    let first = report.run.cases.iter().find_map(|row| row.why_absent("energy_j"));
    first.map(str::to_string).or(report.run.record.power.reason.clone()).unwrap_or("no case has an energy".to_string())
}

fn tables(report: &Report<'_>) -> Markup {
    let run = report.run;
    html! {
        (table(&content::cases(run)))
        @if let Some(energy) = content::energy(run) { (table(&energy)) }
        (traces(report))
        (table(&content::loads(run)))
        (table(&content::ceilings(&run.record)))
        (table(&content::environment(run)))
    }
}

fn figure(plot: &Plot) -> Markup {
    html! { figure id=(plot.name) { (PreEscaped(&plot.svg)) } }
}

/// A table under a heading. Long text wraps; numbers do not.
fn table(table: &Table) -> Markup {
    let class = |align: Align, cell: &str| match align {
        Align::Right => "r",
        Align::Left if cell.chars().count() > 60 => "text",
        Align::Left => "",
    };
    html! {
        h2 { (table.title) }
        div class="scroll" {
            table {
                thead { tr { @for column in &table.columns { th class=(class(column.align, "")) { (column.title) } } } }
                tbody {
                    @for (index, row) in table.rows.iter().enumerate() {
                        tr id=[table.anchors.get(index)] {
                            @for (place, (cell, column)) in row.iter().zip(&table.columns).enumerate() {
                                td class=(class(column.align, cell)) {
                                    @match table.anchor_of(place, cell) {
                                        Some(anchor) => { a href={ "#" (anchor) } { (cell) } }
                                        None => { (cell) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        @for note in &table.notes { div class="notes" { (note) } }
    }
}
