//! `sizewell run`: the main job.

use super::catalog::load_catalog;
use super::console::Console;
use super::measure_args::MeasureArgs;
use super::{Exit, output, profile, report, today, usage};
use crate::job::Stop;
use crate::job::profile::ProfileOptions;
use crate::record::Run;
use crate::report::{content, exporter, json};
use crate::sizing::{RankRequest, Ranking};
use std::path::PathBuf;

/// The model that is measured when none is named: the smallest preset, so that any machine can.
const DEFAULT_MODEL: &str = "smollm2-135m";
/// Rows of the ranking on the terminal.
const SHOWN: usize = 10;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    measure: MeasureArgs,
    /// Prices from this folder instead of those that the program carries.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Print the run and its ranking as JSON.
    #[arg(long)]
    json: bool,
}

/// Measures, ranks and reports.
pub(crate) fn run(args: Args, console: &Console, stop: &Stop) -> anyhow::Result<Exit> {
    // The catalog first: an error in it should not cost minutes of measuring.
    let catalog = load_catalog(args.catalog.as_deref())?;
    let mut options = ProfileOptions::from(args.measure);
    let machine = options.machine.price()?;
    if let (Some((provider, name)), None) = (&machine.instance, machine.usd_per_h) {
        catalog.check_type(provider, name).or_else(usage)?;
    }
    if options.resume.is_none() {
        options.model.get_or_insert_with(|| DEFAULT_MODEL.to_string());
    }
    let series = profile::measure(&options, console, stop)?;
    let runs: Vec<&Run> = series.runs().collect();
    let mut shown = Vec::new();
    for run in &runs {
        let request = RankRequest { machine: machine.clone(), ..RankRequest::on(today()) };
        let (one, parts) = ([*run], report::Parts::read(run)?);
        let report = report::of_run(&one, &catalog, &request, &parts);
        // Files first: whoever reads the screen may leave early.
        for name in ["report.html", "report.md"] {
            let form = exporter(name.trim_start_matches("report.")).or_else(usage)?;
            report::write(&report, form.as_ref(), &run.path.join(name), console)?;
        }
        report::write_plots(&report, &run.path.join("plots"), false)?;
        let rankings = &report.rankings;
        if args.json {
            shown.push(serde_json::json!({
                "run": json::run(run), "rankings": rankings.as_ref().ok(), "no_ranking": rankings.as_ref().err()
            }))
        } else {
            show(run, rankings, console)?
        }
    }
    if args.json {
        output::one_or_all(&shown)?
    } else {
        output::comparison(&runs)?
    }
    Ok(series.conclude(console).into())
}

fn show(run: &Run, rankings: &Result<Vec<Ranking>, String>, console: &Console) -> anyhow::Result<()> {
    if !run.record.ceilings.is_empty() {
        output::table(&content::ceilings(&run.record))?;
    }
    output::table(&content::cases(run))?;
    match rankings.as_ref().map(|all| all.first()) {
        Ok(Some(first)) => {
            output::table(&content::ranking(first, SHOWN))?;
            output::text(&format!("\n{}\n", first.headline.join("\n")))?;
        }
        Ok(None) => {}
        Err(why) => console.warn(format!("no ranking: {why}")),
    }
    Ok(())
}
