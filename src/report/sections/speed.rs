//! How fast it is over batch sizes, and how near to the roofs of the machine.

use super::{Section, model_argument};
use crate::report::plot::{curves, roofline};
use crate::report::{Report, content};

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("speed", "Speed");
    section.plots = curves::speed(report.run());
    if section.plots.is_empty() {
        section.missing = Some(format!(
            "No case was measured: the table of cases has the reasons. `sizewell profile --model {}` measures.",
            model_argument(report)
        ));
    }
    section.tables.extend(content::series(report.runs));
    section
}

pub(super) fn roofline(report: &Report<'_>) -> Section {
    let mut section = Section::new("roofline-of-cases", "Roofline");
    match roofline::plot(report.run()) {
        Some(plot) => section.plots.push(plot),
        None => {
            section.missing = Some(format!(
                "The roofs of this machine were not measured. `sizewell profile --model {}` measures them first (it was \
                 run with --no-ceilings, or another tool measured the cases).",
                model_argument(report)
            ));
        }
    }
    if !report.run().record.ceilings.is_empty() {
        section.tables.push(content::ceilings(&report.run().record));
    }
    section
}
