//! `sizewell quality --baseline`: showing what has changed since a recorded run, and the plots of its history.

use super::quality::Args;
use super::{output, usage};
use crate::record::drift::streaks;
use crate::record::{DriftWindow, Run};
use crate::report::content::{drift as tables, quality};
use crate::report::plot::history;
use std::path::{Path, PathBuf};

/// Shows the last window, and draws the history beside its file.
pub(super) fn show(args: &Args, run: &Run, windows: &[DriftWindow]) -> anyhow::Result<()> {
    let Some(last) = windows.last() else { return usage("no window") };
    let plots = match &args.watch {
        Some(file) => draw(file, windows)?,
        None => Vec::new(),
    };
    if args.json {
        return output::json(&serde_json::json!({
            "run": run.path.display().to_string(), "window": windows.len(), "drift": last, "streaks": streaks(windows), "plots": plots.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        }));
    }
    let mut table = tables::window(windows);
    table.notes.extend(run.record.quality.iter().flat_map(quality::of_data));
    output::table(&table)?;
    if args.details {
        output::table(&tables::tests(last))?;
    }
    plots.iter().try_for_each(|path| output::text(&format!("{}\n", path.display())))?;
    output::text(&format!("\n{}\n", run.path.display()))
}

/// The plots of a history, beside its file.
fn draw(file: &Path, windows: &[DriftWindow]) -> anyhow::Result<Vec<PathBuf>> {
    let stem = file.file_stem().map_or("history".to_string(), |stem| stem.to_string_lossy().into_owned());
    let mut paths = Vec::new();
    for plot in history::plots(windows) {
        let path = file.with_file_name(format!("{stem}-{}.svg", plot.name));
        output::file(&path, plot.svg.as_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}
