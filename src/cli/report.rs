//! `sizewell report`.

use super::catalog::load_catalog;
use super::console::Console;
use super::rank_args::RankArgs;
use super::{Exit, output, usage};
use crate::catalog::Catalog;
use crate::record::coldstart::{self, ColdStartRow};
use crate::record::drift::read_history;
use crate::record::{DriftWindow, Outcome, PowerRow, QualityRow, Run};
use crate::report::{Exporter, Extras, Report, exporter, picture};
use crate::sizing::RankRequest;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    what: RankArgs,
    /// File to write; its ending says the form: .html, .pdf, .xlsx, .md, .csv or .json. A folder (with a slash behind it)
    /// takes every plot as SVG and PNG. May be given several times.
    #[arg(long, short, value_name = "FILE", required = true, num_args = 1)]
    output: Vec<PathBuf>,
}

/// Where a part of a report goes.
enum Target {
    File(PathBuf, Box<dyn Exporter>),
    Plots(PathBuf),
}

/// Writes the report of runs.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<Exit> {
    // The names first: a slip in the last should not cost the work for the others.
    let targets: Vec<Target> = args.output.iter().map(|path| target(path)).collect::<anyhow::Result<_>>()?;
    let outputs: Vec<&Path> = args.output.iter().map(PathBuf::as_path).filter(|path| !path.is_dir()).collect();
    output::check_files(&outputs, &args.what.files())?;
    // What is wrong with the settings is said before any folder is read.
    args.what.request(None, &Console::new(true))?;
    let (runs, cold) = match args.what.runs.as_slice() {
        // A run of which nothing could be measured has a report too, which says why.
        [one] if coldstart::read(one)?.is_none_or(|starts| starts.is_empty()) => {
            let run = Run::read(one)?;
            let measured = run.cases.iter().any(|row| row.outcome == Outcome::Ok);
            if measured { args.what.read_runs()? } else { (vec![run], None) }
        }
        _ => args.what.read_runs()?,
    };
    let request = args.what.request(cold, console)?;
    let catalog = load_catalog(args.what.catalog.as_deref())?;
    let starts = starts(&args.what.runs)?;
    let runs: Vec<&Run> = runs.iter().collect();
    let parts = Parts::read(runs[0])?;
    let report = Report::new(&runs, &catalog, &request, parts.extras(&starts));
    if let Err(why) = &report.rankings {
        console.warn(format!("the report has no ranking: {why}"));
    }
    for target in targets {
        match target {
            Target::File(path, exporter) => write(&report, exporter.as_ref(), &path, console)?,
            Target::Plots(folder) => {
                write_plots(&report, &folder, true)?;
                console.say(format!("wrote the plots into {}", folder.display()));
            }
        }
    }
    Ok(Exit::Done)
}

fn target(path: &Path) -> anyhow::Result<Target> {
    if path.to_string_lossy().ends_with('/') || path.is_dir() {
        return Ok(Target::Plots(path.to_path_buf()));
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    Ok(Target::File(path.to_path_buf(), exporter(extension).or_else(usage)?))
}

fn starts(folders: &[PathBuf]) -> anyhow::Result<Vec<ColdStartRow>> {
    let mut all = Vec::new();
    for folder in folders {
        all.extend(coldstart::read(folder)?.unwrap_or_default());
    }
    Ok(all)
}

/// What a run's folder holds beside its cases.
pub(crate) struct Parts {
    power: Vec<PowerRow>,
    quality: Vec<QualityRow>,
    drift: Vec<DriftWindow>,
}

impl Parts {
    /// Reads them.
    pub(crate) fn read(run: &Run) -> anyhow::Result<Self> {
        Ok(Self {
            power: run.power()?,
            quality: run.quality()?,
            drift: read_history(&run.path.join(DriftWindow::FILE))?,
        })
    }

    /// With starts of the model.
    pub(crate) fn extras<'a>(&'a self, cold_starts: &'a [ColdStartRow]) -> Extras<'a> {
        Extras { power: &self.power, quality: &self.quality, drift: &self.drift, cold_starts }
    }
}

/// The report that `run` writes of what it measured.
pub(crate) fn of_run<'a>(
    runs: &'a [&'a Run],
    catalog: &'a Catalog,
    request: &'a RankRequest,
    parts: &'a Parts,
) -> Report<'a> {
    Report::new(runs, catalog, request, parts.extras(&[]))
}

/// Writes a report in one form.
pub(crate) fn write(
    report: &Report<'_>,
    exporter: &dyn Exporter,
    path: &Path,
    console: &Console,
) -> anyhow::Result<()> {
    let bytes = exporter.export(report)?;
    output::file(path, &bytes)?;
    console.say(format!("wrote {}", path.display()));
    Ok(())
}

/// Writes every plot into a folder: SVG, and PNG where asked for.
pub(crate) fn write_plots(report: &Report<'_>, folder: &Path, png: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for plot in report.plots() {
        output::file(&folder.join(format!("{}.svg", plot.name)), plot.svg.as_bytes())?;
        if png {
            output::file(&folder.join(format!("{}.png", plot.name)), &picture::png(&plot)?)?;
        }
    }
    Ok(())
}
