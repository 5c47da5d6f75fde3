//! The report as a PDF on landscape A4: text that can be selected and searched, plots as vectors, headings in the outline,
//! tags for screen readers, the fonts within. Sections are laid out into pages first (`layout`) and painted then
//! (`paint`).

mod layout;
mod paint;
mod table;
mod text;

use super::fallback::{self, Fallback};
use super::plot::Plot;
use super::sections::{Section, answer};
use super::{Exporter, Report};
use layout::{Kind, Layout, Style};

/// A PDF file.
pub struct Pdf;

/// Room between two plots beside each other.
const BETWEEN: f32 = 18.0;
/// A plot is no higher than this.
const MOST_HEIGHT: f32 = 262.0;

impl Exporter for Pdf {
    fn extension(&self) -> &'static str {
        "pdf"
    }

    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>> {
        let model = report.run().record.model.as_ref().map_or("This machine", |model| &model.name);
        let title = format!("What {model} costs");
        let mut layout = lay_out(report, &title, None)?;
        if !layout.metrics.missing.is_empty() {
            let found = fallback::find(&layout.metrics.missing);
            layout = lay_out(report, &title, found)?;
        }
        let title = layout.metrics.drawable(&title);
        paint::file(layout, &title, report.today())
    }
}

fn lay_out(report: &Report<'_>, title: &str, fallback: Option<Fallback>) -> anyhow::Result<Layout> {
    let record = &report.run().record;
    let mut layout = Layout::new(title, fallback)?;
    layout.heading(1, title);
    layout.paragraph(
        &format!("measured {} on {}, report of {}", record.started_at, record.environment.hostname, report.today()),
        Style::Note,
    );
    for (index, line) in answer(report).iter().enumerate() {
        layout.paragraph(line, if index == 0 { Style::Lead } else { Style::Body });
    }
    for part in report.sections() {
        section(&mut layout, &part, 2)?;
    }
    if !layout.metrics.undrawn.is_empty() {
        let numbers: Vec<String> = layout.metrics.undrawn.iter().map(|c| fallback::by_number(*c)).collect();
        let note = format!(
            "No font of this system has these characters, which stand by their numbers: {}.",
            numbers.join(" ")
        );
        layout.paragraph(&note, Style::Note);
    }
    Ok(layout)
}

fn section(layout: &mut Layout, part: &Section, level: u16) -> anyhow::Result<()> {
    // A heading and what it is of stay together.
    if part.missing.is_none() && part.text.is_empty() && !part.plots.is_empty() {
        layout.reserve(MOST_HEIGHT + 40.0);
    }
    layout.heading(level, &part.title);
    if let Some(missing) = &part.missing {
        layout.paragraph(missing, Style::Missing);
    }
    for line in &part.text {
        layout.paragraph(line, Style::Body);
    }
    plots(layout, &part.plots)?;
    for table in &part.tables {
        layout.heading(level + 1, &table.title);
        layout.table(table);
        for note in &table.notes {
            layout.paragraph(note, Style::Note);
        }
    }
    for more in &part.more {
        section(layout, more, level + 1)?;
    }
    Ok(())
}

/// Two beside each other, each with its note below.
fn plots(layout: &mut Layout, plots: &[Plot]) -> anyhow::Result<()> {
    let width = (layout.width() - BETWEEN) / 2.0;
    for pair in plots.chunks(2) {
        let mut trees = Vec::new();
        for plot in pair {
            let tree = super::picture::tree(plot)?;
            let scale = (width / tree.size().width()).min(MOST_HEIGHT / tree.size().height());
            trees.push((plot, scale, tree));
        }
        let height = trees.iter().map(|(_, scale, tree)| tree.size().height() * scale).fold(0.0, f32::max);
        let notes: Vec<f32> = pair.iter().map(|plot| layout.height_of(&plot.note, Style::Note, width)).collect();
        layout.reserve(height + notes.into_iter().fold(0.0, f32::max) + 8.0);
        let top = layout.top();
        let mut lowest = top;
        for (place, (plot, scale, tree)) in trees.into_iter().enumerate() {
            let left = layout.left() + place as f32 * (width + BETWEEN);
            let group = layout.group(Kind::Figure(format!("{}. {}", plot.title, plot.description)));
            layout.picture(group, tree, (left, top), scale);
            layout.move_to(top + height + 4.0);
            layout.text_at(&plot.note, Style::Note, left, width);
            lowest = lowest.max(layout.top());
        }
        layout.move_to(lowest + 6.0);
    }
    Ok(())
}
