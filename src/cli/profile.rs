//! `sizewell profile`.

use super::console::Console;
use super::measure_args::MeasureArgs;
use super::{Exit, configure_threads, output, signals};
use crate::job::profile::{self, ProfileOptions, Series};
use crate::job::{Reporter, Stop};
use crate::record::Run;
use crate::report::{content, json};

/// Arguments of `profile`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    measure: MeasureArgs,
    /// Print the run as JSON.
    #[arg(long)]
    json: bool,
}

/// Measures in this process, whose threads are configured for it.
pub(super) fn measure(options: &ProfileOptions, reporter: &dyn Reporter, stop: &Stop) -> anyhow::Result<Series> {
    options.machine.check()?;
    configure_threads(options.machine.engine_threads()?, options.machine.pin.as_deref());
    signals::hear(stop);
    Ok(profile::run(options, reporter, stop)?)
}

/// Measures and shows the cases.
pub(crate) fn run(args: Args, console: &Console, stop: &Stop) -> anyhow::Result<Exit> {
    let series = measure(&args.measure.into(), console, stop)?;
    let runs: Vec<&Run> = series.runs().collect();
    if args.json {
        output::one_or_all(&runs.iter().map(|run| json::run(run)).collect::<Vec<_>>())?;
    } else {
        for run in &runs {
            output::table(&content::cases(run))?;
            output::text(&format!("\n{}\n", run.path.display()))?;
        }
        output::comparison(&runs)?;
    }
    Ok(series.conclude(console).into())
}
