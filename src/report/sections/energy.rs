//! Throughput per watt and energy per token, and power over time.

use super::{Section, model_argument};
use crate::report::plot::{curves, trace};
use crate::report::{Report, content};

/// Cases whose power is drawn over time.
const MOST_TRACES: usize = 12;

pub(super) fn section(report: &Report<'_>) -> Section {
    let run = report.run();
    let mut section = Section::new("energy", "Throughput per watt, energy per token");
    section.plots = curves::energy(run);
    section.tables.extend(content::energy(run));
    if section.plots.is_empty() {
        let first = run.cases.iter().find_map(|row| row.why_absent("energy_j")).map(str::to_string);
        let why = first.or(run.record.power.reason.clone()).unwrap_or("no case has an energy".to_string());
        section.missing = Some(format!(
            "No throughput per watt: {why}. `sizewell profile --model {} --device cuda:0` measures it on an NVIDIA card, and \
             on a machine whose CPU has an energy counter (RAPL) without the option.",
            model_argument(report)
        ));
    }
    let traces = trace::all(run, report.power, MOST_TRACES);
    if !traces.is_empty() {
        let mut part = Section::new("", "Power and memory over time, case by case");
        part.plots = traces;
        if run.cases.len() > MOST_TRACES {
            part.text.push(format!("Of the first {MOST_TRACES} cases that have readings; power.csv has all."));
        }
        section.more.push(part);
    }
    section
}
