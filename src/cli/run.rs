//! `sizewell run`: the main job.

use super::catalog::load_catalog;
use super::measure_args::MeasureArgs;
use super::talk::Talk;
use super::{Exit, measuring, output, report, usage};
use crate::report::{content, json};
use std::path::PathBuf;

/// The model that is measured when none is named: the smallest preset, so that any machine can.
const DEFAULT_MODEL: &str = "smollm2-135m";
/// Rows of the ranking on the terminal.
const SHOWN: usize = 10;

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {
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
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    // The catalog first: an error in it should not cost minutes of measuring.
    let catalog = load_catalog(args.catalog.as_deref())?;
    let machine = args.measure.machine()?;
    if let (Some((provider, name)), None) = (&machine.instance, machine.usd_per_h) {
        catalog.check_type(provider, name).or_else(usage)?;
    }
    let measured = measuring::measure(&args.measure, Some(DEFAULT_MODEL), talk)?;
    let rankings = report::rankings(&measured.run, &catalog, &machine);
    // Files first: whoever reads the screen may leave early.
    for name in ["report.html", "report.md"] {
        let path = measured.run.path.join(name);
        report::write(&measured.run, rankings.clone(), &path)?;
        talk.say(format!("wrote {}", path.display()));
    }
    report::write_plots(&measured.run, rankings.clone(), &measured.run.path.join("plots"))?;
    if args.json {
        output::json(
            &serde_json::json!({ "run": json::run(&measured.run), "rankings": rankings.as_ref().ok(), "no_ranking": rankings.as_ref().err() }),
        )?;
    } else {
        if !measured.run.record.ceilings.is_empty() {
            output::table(&content::ceilings(&measured.run.record))?;
        }
        output::table(&content::cases(&measured.run))?;
        match rankings.as_ref().map(|all| all.first()) {
            Ok(Some(first)) => {
                output::table(&content::ranking(first, SHOWN))?;
                output::text(&format!("\n{}\n", first.headline.join("\n")))?;
            }
            Ok(None) => {}
            Err(why) => talk.warn(format!("no ranking: {why}")),
        }
    }
    measured.speak(talk);
    Ok(measured.exit())
}
