//! `sizewell coldstart`: what passes between starting a process and its first token.

use super::console::Console;
use super::{Exit, argv, configure_threads, output, signals};
use crate::device::DeviceId;
use crate::job::coldstart::{self, ColdStartOptions, Start};
use crate::job::{MachineOptions, Stop};
use crate::measure::clock::{Clock, SystemClock};
use crate::report::content;
use crate::workload::Quant;
use std::path::PathBuf;

pub(crate) use coldstart::PROBE_VERB;

/// What is started.
#[derive(Debug, Clone, clap::Args)]
struct StartArgs {
    /// Preset, GGUF file, folder with config.json and safetensors, or hub id. Of a preset, a file with random weights is
    /// written into the run's folder for as long as it takes.
    #[arg(long, short, value_name = "MODEL")]
    model: String,
    /// Device: `cpu` or `cuda:0`.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceId,
    /// Quantization level; that of the file by default, f16 of a preset.
    #[arg(long, value_parser = Quant::parse_runnable, value_name = "LEVEL")]
    quant: Option<Quant>,
    /// Prompt length of the first request.
    #[arg(long, default_value_t = 64, value_name = "N")]
    prompt: usize,
    /// Threads of the engine; one for each physical core by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl From<StartArgs> for Start {
    fn from(what: StartArgs) -> Self {
        let StartArgs { model, device, quant, prompt, threads } = what;
        Self { model, device, quant, prompt, threads }
    }
}

/// Arguments of `coldstart`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    what: StartArgs,
    /// Starts with a cold page cache, and as many with a warm one.
    #[arg(long, default_value_t = 5, value_name = "N")]
    repeat: usize,
    /// Folder for the run; results/DATE-HOST-MODEL-coldstart by default.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of the process that is started.
#[derive(Debug, clap::Args)]
pub(crate) struct ProbeArgs {
    #[command(flatten)]
    what: StartArgs,
    /// When it was started, by the machine's clock.
    #[arg(long)]
    begun: f64,
    /// The files of the weights.
    #[arg(long = "file")]
    files: Vec<PathBuf>,
}

/// The process that is started.
pub(crate) fn probe(args: ProbeArgs) -> anyhow::Result<Exit> {
    let entered = SystemClock.now();
    let start = Start::from(args.what);
    configure_threads(start.engine_threads(), None);
    output::json(&coldstart::probe(&start, args.begun, entered, &args.files)?)?;
    Ok(Exit::Done)
}

/// Starts, and shows the phases.
pub(crate) fn run(args: Args, console: &Console, stop: &Stop) -> anyhow::Result<Exit> {
    let Args { what, repeat, output, json } = args;
    let options = ColdStartOptions {
        machine: MachineOptions { command_line: argv(), ..MachineOptions::default() },
        start: what.into(),
        repeat,
        output,
    };
    options.check()?;
    signals::hear(stop);
    let starts = coldstart::run(options, console, stop)?;
    if json {
        output::json(&starts.rows)?
    } else {
        output::table(&content::cold_starts(&starts.rows))?;
        output::text(&format!("\n{}\n", starts.folder.display()))?;
    }
    Ok(starts.status().into())
}
