//! (9) One record, several forms: terminal, HTML, PDF, XLSX, Markdown, CSV, JSON. All of them show the same tables, and
//! all of the numbers in those come from the run folder and the catalog.

pub mod annotations;
pub mod columns;
pub mod content;
pub mod fallback;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod page;
pub mod pdf;
pub mod picture;
pub mod plot;
pub mod rank_csv;
pub mod sections;
pub mod table;
pub mod terminal;
pub mod xlsx;

use crate::catalog::Catalog;
use crate::record::coldstart::ColdStartRow;
use crate::record::{DriftWindow, Outcome, PowerRow, QualityRow, Run};
use crate::sizing::choices::{Choices, choices};
use crate::sizing::sensitivity::{CostSensitivity, sensitivity};
use crate::sizing::{RankRequest, Ranking, rank_runs};
use crate::workload::Quant;
use jiff::civil::Date;
use plot::Plot;
use sections::Section;

/// What a report is made from.
pub struct Report<'a> {
    /// The runs, of one model and engine; the first is the one that the report is about.
    pub runs: &'a [&'a Run],
    /// What was asked: limits, demand, markets, the machine's price.
    pub request: &'a RankRequest,
    /// The prices.
    pub catalog: &'a Catalog,
    /// One ranking for each level of quantization, the baseline first; or why there is none.
    pub rankings: Result<Vec<Ranking>, String>,
    /// How the costs of the first ranking move; `None` without one.
    pub sensitivity: Option<CostSensitivity>,
    /// The readings of power and memory while the first run's cases were measured.
    pub power: &'a [PowerRow],
    /// Figures of quality.
    pub quality: &'a [QualityRow],
    /// Windows of a watch on quality.
    pub drift: &'a [DriftWindow],
    /// Starts of the model.
    pub cold_starts: &'a [ColdStartRow],
}

/// What a report has beside runs and prices.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Readings of power.
    pub power: &'a [PowerRow],
    /// Figures of quality.
    pub quality: &'a [QualityRow],
    /// Windows of a watch on quality.
    pub drift: &'a [DriftWindow],
    /// Starts of the model.
    pub cold_starts: &'a [ColdStartRow],
}

impl<'a> Report<'a> {
    /// Ranks the runs at every level that was asked for (every one that was measured, where none was).
    pub fn new(runs: &'a [&'a Run], catalog: &'a Catalog, request: &'a RankRequest, extras: Extras<'a>) -> Self {
        let rankings = rankings(runs, catalog, request);
        let first = rankings.as_ref().ok().and_then(|rankings| rankings.first());
        let sensitivity = first.map(|first| sensitivity(runs, catalog, request, first));
        let Extras { power, quality, drift, cold_starts } = extras;
        Self { runs, request, catalog, rankings, sensitivity, power, quality, drift, cold_starts }
    }

    /// The run that the report is about.
    pub fn run(&self) -> &'a Run {
        self.runs[0]
    }

    /// The day of the report, which ages of prices are counted to.
    pub fn today(&self) -> Date {
        self.request.today
    }

    /// What a reader of the page can choose from; `None` without a ranking.
    pub fn choices(&self) -> Option<Choices> {
        self.rankings.as_ref().ok()?.first()?;
        choices(self.runs, self.catalog, self.request).ok()
    }

    /// What the report says, section by section.
    pub fn sections(&self) -> Vec<Section> {
        sections::all(self)
    }

    /// Every plot that there is data for, each under its own name.
    pub fn plots(&self) -> Vec<Plot> {
        self.sections().iter().flat_map(|section| section.all_plots().cloned().collect::<Vec<_>>()).collect()
    }
}

/// A ranking for each level; or why there is none.
pub fn rankings(runs: &[&Run], catalog: &Catalog, request: &RankRequest) -> Result<Vec<Ranking>, String> {
    let mut quants: Vec<Quant> = match request.quants.as_slice() {
        [] => {
            let measured = runs.iter().flat_map(|run| &run.cases).filter(|row| row.outcome == Outcome::Ok);
            measured.map(|row| row.key.case.quant).collect()
        }
        asked => asked.to_vec(),
    };
    quants.sort();
    quants.dedup();
    if quants.is_empty() {
        return Err("no case was measured".to_string());
    }
    quants
        .into_iter()
        .map(|quant| rank_runs(runs, catalog, &RankRequest { quants: vec![quant], ..request.clone() }))
        .collect()
}

/// A form that a report can take.
pub trait Exporter {
    /// The ending of its files.
    fn extension(&self) -> &'static str;
    /// The report as the bytes of a file.
    fn export(&self, report: &Report<'_>) -> anyhow::Result<Vec<u8>>;
}

/// The exporter for files that end in `extension`; the error lists those that there are.
pub fn exporter(extension: &str) -> Result<Box<dyn Exporter>, String> {
    let all: [Box<dyn Exporter>; 6] = [
        Box::new(html::Html),
        Box::new(pdf::Pdf),
        Box::new(xlsx::Xlsx),
        Box::new(markdown::Markdown),
        Box::new(rank_csv::Csv),
        Box::new(json::Json),
    ];
    let known: Vec<String> = all.iter().map(|e| format!(".{}", e.extension())).collect();
    all.into_iter().find(|exporter| exporter.extension() == extension).ok_or_else(|| {
        format!(
            "a report cannot be written as `.{extension}`; there are {}, and a folder (a name that ends with /) takes its plots",
            known.join(", ")
        )
    })
}
