//! (8) One record, several forms: terminal, Markdown, HTML, CSV, JSON. All of them show the same tables, and all of
//! the numbers in those come from the run folder and the catalog.

pub mod content;
pub mod html;
pub mod json;
pub mod markdown;
pub mod plot;
pub mod rank_csv;
pub mod table;
pub mod terminal;

use crate::record::{PowerRow, Run};
use crate::sizing::Ranking;
use jiff::civil::Date;
use plot::Plot;

/// What a report is made from.
pub struct Report<'a> {
    /// The run.
    pub run: &'a Run,
    /// One ranking for each level of quantization, the baseline first; or why there is none.
    pub rankings: Result<Vec<Ranking>, String>,
    /// The readings of power and memory while its cases were measured.
    pub power: &'a [PowerRow],
    /// The day of the report, which ages of prices are counted to.
    pub today: Date,
}

impl Report<'_> {
    /// Every plot that there is data for, each under its own name.
    pub fn plots(&self) -> Vec<Plot> {
        let mut plots = plot::curves::all(self.run);
        plots.extend(plot::roofline::plot(self.run));
        let rankings = self.rankings.iter().flatten();
        plots.extend(rankings.clone().filter_map(plot::cost::plot));
        plots.extend(rankings.clone().filter_map(plot::front::plot));
        plots.extend(rankings.filter_map(plot::stack::plot));
        plots.extend(plot::trace::all(self.run, self.power));
        plots
    }
}

/// A form that a report can take.
pub trait Exporter {
    /// The ending of its files.
    fn extension(&self) -> &'static str;
    /// The report as text.
    fn export(&self, report: &Report<'_>) -> String;
}

/// The exporter for files that end in `extension`; the error lists those that there are.
pub fn exporter(extension: &str) -> Result<Box<dyn Exporter>, String> {
    let all: [Box<dyn Exporter>; 2] = [Box::new(html::Html), Box::new(markdown::Markdown)];
    let known: Vec<String> = all.iter().map(|e| format!(".{}", e.extension())).collect();
    all.into_iter()
        .find(|exporter| exporter.extension() == extension)
        .ok_or_else(|| format!("a report cannot be written as `.{extension}`; there are {}", known.join(" and ")))
}
