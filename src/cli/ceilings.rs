//! `sizewell ceilings`.

use super::console::Console;
use super::{Exit, argv, configure_threads, output, signals};
use crate::job::ceilings::{self, CeilingsOptions};
use crate::job::{MachineOptions, Stop};
use crate::report::content;
use std::path::PathBuf;

/// Arguments of `ceilings`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Device to measure: `cpu`, `cuda:0`, `cuda` for every card, `all`, or several with commas between.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: String,
    /// Threads that work together; one for each physical core by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seconds for each ceiling.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS")]
    time: f64,
    /// Folder for the record; nothing is kept without it.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Measures and shows the ceilings.
pub(crate) fn run(args: Args, console: &Console, stop: &Stop) -> anyhow::Result<Exit> {
    let options = CeilingsOptions {
        devices: args.device,
        threads: args.threads,
        seconds_each: args.time,
        output: args.output,
        machine: MachineOptions { command_line: argv(), ..MachineOptions::default() },
    };
    options.check()?;
    configure_threads(options.threads(), None);
    signals::hear(stop);
    let measured = ceilings::run(&options, console)?;
    if args.json {
        output::json(&measured.record.ceilings)?
    } else {
        output::table(&content::ceilings(&measured.record))?
    }
    Ok(measured.status().into())
}
