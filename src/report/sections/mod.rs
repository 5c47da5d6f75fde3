//! What a report says, in the order in which it says it: the same sections in every form. A section without data says
//! which command would fill it.

mod answer;
mod cost;
mod drift;
mod energy;
mod load;
mod memory;
mod origin;
mod own;
mod sensitivity;
mod serverless;
mod speed;
mod tradeoff;
mod traffic;

pub use answer::answer;

use super::Report;
use super::plot::Plot;
use super::table::Table;

/// A part of a report.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Section {
    /// Its anchor.
    pub id: &'static str,
    /// Its heading.
    pub title: String,
    /// What it says in words.
    pub text: Vec<String>,
    /// Its plots.
    pub plots: Vec<Plot>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Parts that are not read by all: other levels, traces.
    pub more: Vec<Section>,
    /// Why there is no data, and which command would bring some.
    pub missing: Option<String>,
}

impl Section {
    fn new(id: &'static str, title: impl Into<String>) -> Self {
        Self { id, title: title.into(), ..Self::default() }
    }

    /// Every plot, those of its parts too.
    pub fn all_plots(&self) -> impl Iterator<Item = &Plot> {
        self.plots.iter().chain(self.more.iter().flat_map(|more| &more.plots))
    }
}

/// Every section of a report.
pub fn all(report: &Report<'_>) -> Vec<Section> {
    let traffic = traffic::section(report);
    let mut sections = vec![cost::section(report)];
    // What was sent to a server says nothing of batch sizes, roofs or levels.
    let is_traffic = traffic.is_some();
    sections.extend(traffic);
    if !is_traffic {
        sections.extend([
            speed::section(report),
            energy::section(report),
            load::section(report),
            tradeoff::section(report),
        ]);
        sections.extend([speed::roofline(report), memory::section(report)]);
    }
    sections.extend([serverless::section(report), own::section(report), sensitivity::section(report)]);
    // A watch is not what most runs are for: without one nothing is missing.
    sections.extend(drift::section(report));
    sections.extend(origin::sections(report));
    sections
}

/// What to call the model on a command line.
fn model_argument(report: &Report<'_>) -> String {
    let model = report.run().record.model.as_ref();
    model.map_or("M".to_string(), |model| model.location.clone().unwrap_or(model.name.clone()))
}
