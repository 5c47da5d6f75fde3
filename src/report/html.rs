//! The report as one HTML file that needs nothing else: no network, plots inline, one script inline that a hash in the
//! content security policy names. Without the script the page is complete; with it tables sort, and costs follow other
//! settings. Everything that came from a user or a file is escaped by the template.

use super::plot::Plot;
use super::sections::{Section, answer};
use super::table::{Align, Table};
use super::{Exporter, Report, page};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// A self-contained page.
pub struct Html;

const STYLE: &str = "
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 0 auto; max-width: 1280px; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 36px 0 8px; border-bottom: 1px solid #ccc; }
h3 { font-size: 15px; margin: 20px 0 6px; }
h1, h2, h3, p, li { overflow-wrap: anywhere; } .lead { font-size: 16px; } .lead li { margin: 4px 0; } .lead li:first-child { font-size: 19px; font-weight: 600; }
nav a { margin-right: 14px; white-space: nowrap; } nav { font-size: 14px; line-height: 1.9; }
.badge { display: inline-block; border: 1px solid #888; border-radius: 4px; padding: 0 6px; font-size: 12px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { padding: 3px 9px; border-bottom: 1px solid #e6e6e6; text-align: left; vertical-align: top; white-space: nowrap; }
td.text { white-space: normal; min-width: 260px; } th { background: #f4f4f4; position: sticky; top: 0; }
.r { text-align: right; font-variant-numeric: tabular-nums; } .notes { color: #555; font-size: 13px; }
.missing { background: #f7f7f7; border-left: 4px solid #999; padding: 8px 12px; }
figure { margin: 14px 0; } figure svg { max-width: 100%; height: auto; border: 1px solid #eee; }
figcaption { color: #555; font-size: 13px; } figure details { margin: 4px 0; font-size: 13px; }
details { margin: 18px 0; } summary { cursor: pointer; font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(520px, 100%), 1fr)); gap: 10px 20px; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; } nav { display: none; } h2, h3 { break-after: avoid; }
  figure, tr { break-inside: avoid; } th { position: static; } th, td { white-space: normal; padding: 2px 4px; }
  table { font-size: 9px; } .scroll { overflow: visible; } a { color: inherit; text-decoration: none; }
}
";

impl Exporter for Html {
    fn extension(&self) -> &'static str {
        "html"
    }

    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>> {
        let record = &report.run().record;
        let model = record.model.as_ref().map_or("This machine", |m| &m.name);
        let sections = report.sections();
        let script = page::script();
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(page::policy(&script));
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "What " (model) " costs - sizewell" }
                    style { (PreEscaped(STYLE)) (PreEscaped(page::STYLE)) }
                }
                body {
                    header {
                        h1 { "What " (model) " costs" }
                        p class="notes" {
                            "measured " (record.started_at.to_string()) " on " (record.environment.hostname)
                            ", report of " (report.today().to_string()) " "
                            @if record.model.as_ref().is_some_and(|m| m.synthetic) {
                                span class="badge" { "synthetic weights" }
                            }
                        }
                        ul class="lead" { @for line in answer(report) { li { (line) } } }
                        nav aria-label="Sections" {
                            @for section in &sections { a href={ "#" (section.id) } { (section.title) } }
                        }
                    }
                    main {
                        @for (index, part) in sections.iter().enumerate() {
                            (section(part))
                            @if index == 0 { section id="explore" {} }
                        }
                    }
                    @if let Some(data) = page::data(report)? {
                        script type="application/json" id="model" { (PreEscaped(data)) }
                    }
                    script { (PreEscaped(script)) }
                }
            }
        };
        // Characters that steer a terminal or turn the direction of text have no place in names.
        let steers = |c: char| {
            (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        Ok(page.into_string().replace(steers, " ").into_bytes())
    }
}

fn section(part: &Section) -> Markup {
    html! {
        section id=(part.id) {
            h2 { (part.title) }
            (inside(part))
        }
    }
}

fn inside(part: &Section) -> Markup {
    html! {
        @if let Some(missing) = &part.missing { p class="missing" { (missing) } }
        @for line in &part.text { p { (line) } }
        @if !part.plots.is_empty() { div class="plots" { @for plot in &part.plots { (figure(plot)) } } }
        @for part in &part.tables { (table(part)) }
        @for part in &part.more {
            details {
                summary { (part.title) }
                (inside(part))
            }
        }
    }
}

fn figure(plot: &Plot) -> Markup {
    html! {
        figure id={ "plot-" (plot.name) } {
            (PreEscaped(&plot.svg))
            figcaption { (plot.note) }
            details {
                summary { "Data of this plot" }
                (cells(&plot.data))
                @for note in &plot.data.notes { div class="notes" { (note) } }
            }
        }
    }
}

/// A table under a heading.
fn table(table: &Table) -> Markup {
    html! {
        h3 { (table.title) }
        (cells(table))
        @for note in &table.notes { div class="notes" { (note) } }
    }
}

/// The cells of a table. Long text wraps; numbers do not.
fn cells(table: &Table) -> Markup {
    let class = |align: Align, cell: &str| match align {
        Align::Right => "r",
        Align::Left if cell.chars().count() > 60 => "text",
        Align::Left => "",
    };
    html! {
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
    }
}
