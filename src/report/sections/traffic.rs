//! What a load test found.

use super::Section;
use crate::report::Report;
use crate::report::content::traffic as content;
use crate::report::plot::traffic as plots;

/// `None` for a run that was no load test.
pub(super) fn section(report: &Report<'_>) -> Option<Section> {
    let run = report.run();
    let traffic = run.record.traffic.as_ref()?;
    let title = match &traffic.limit {
        Some(_) => "Limit under the SLO",
        None => "Latency under load",
    };
    let mut section = Section::new("traffic", title);
    section.text = content::sentences(run);
    section.plots = plots::plots(traffic);
    section.tables = content::tables(traffic);
    if traffic.limit.is_none() {
        section.text.push(
            "The rate is the one that was sent. `sizewell load --find-limit --slo ttft_p99=500ms,tpot_p99=50ms` looks for \
             the highest that can be."
                .to_string(),
        );
    }
    Some(section)
}
