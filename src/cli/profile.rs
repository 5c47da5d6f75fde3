//! `sizewell profile`.

use super::measure_args::MeasureArgs;
use super::talk::Talk;
use super::{Exit, measuring, output};
use crate::record::Run;
use crate::report::{content, json};

/// Arguments of `profile`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    measure: MeasureArgs,
    /// Print the run as JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and shows the cases.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let series = measuring::measure(&args.measure, None, talk)?;
    let runs: Vec<&Run> = series.measured.iter().map(|measured| &measured.run).collect();
    if args.json {
        output::one_or_all(&runs.iter().map(|run| json::run(run)).collect::<Vec<_>>())?;
    } else {
        for run in &runs {
            output::table(&content::cases(run))?;
            output::text(&format!("\n{}\n", run.path.display()))?;
        }
        output::comparison(&runs)?;
    }
    series.speak(talk);
    Ok(series.exit())
}
