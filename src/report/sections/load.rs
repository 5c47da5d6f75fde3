//! Latency against load.

use super::{Section, model_argument};
use crate::report::Report;
use crate::report::plot::load;

pub(super) fn section(report: &Report<'_>) -> Section {
    let mut section = Section::new("load", "Latency against load");
    let open = "Requests of users, which come whether the last is answered or not, are another load: results of such tests \
                by vLLM, AIPerf or GuideLLM can be imported (`sizewell import auto FILE -o DIR`).";
    match load::plot(report.run()) {
        Some(plot) => {
            if plot.data.notes.is_empty() {
                section.text.push(format!(
                    "No knee is named: it lies at an end of what was measured. `sizewell profile --model {} --batch \
                     1,2,4,8,16,32` has more points.",
                    model_argument(report)
                ));
            }
            section.plots.push(plot);
            if report.run().record.arrival.starts_with("closed") {
                section.text.push(open.to_string());
            }
        }
        None => {
            section.missing = Some(format!(
                "One batch size is one load. `sizewell profile --model {} --batch 1,4,16` measures several. {open}",
                model_argument(report)
            ));
        }
    }
    section
}
