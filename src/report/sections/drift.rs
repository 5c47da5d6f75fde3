//! What has changed since a recorded run, window after window.

use super::Section;
use crate::report::Report;
use crate::report::content::drift;
use crate::report::plot::history;

/// `None` where nothing was watched.
pub(super) fn section(report: &Report<'_>) -> Option<Section> {
    let last = report.drift.last()?;
    let mut section = Section::new("drift", "Drift of quality");
    section.plots = history::plots(report.drift);
    section.tables = vec![drift::window(report.drift), drift::tests(last), drift::history(report.drift)];
    Some(section)
}
