//! `sizewell ceilings`.

use super::measure_args::MeasureArgs;
use super::measuring::{measure_card, measure_ceilings, new_record};
use super::talk::Talk;
use super::{Exit, output, usage};
use crate::device::{cpu, cuda};
use crate::engine::candle::threads;
use crate::record::{RunFolder, RunStatus};
use crate::report::content;
use std::path::PathBuf;

/// Arguments of `ceilings`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Device to measure: `cpu`, `cuda:0`, `cuda` for every card, or `all`.
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

/// Whether the CPU is among the devices that `name` means, and which cards are.
fn devices(name: &str) -> anyhow::Result<(bool, Vec<usize>)> {
    let every = || cuda::count().map(|count| (0..count).collect::<Vec<usize>>());
    match (name, name.strip_prefix("cuda:").map(str::parse)) {
        ("cpu", _) => Ok((true, Vec::new())),
        ("cuda", _) => Ok((false, every()?)),
        // Without a card, everything there is is the CPU.
        ("all", _) => Ok((true, every().unwrap_or_default())),
        (_, Some(Ok(index))) => Ok((false, vec![index])),
        _ => usage(format!("--device {name}: it is cpu, cuda:0 (or another number), cuda or all")),
    }
}

/// Measures and shows the ceilings.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let count = args.threads.unwrap_or_else(cpu::default_threads);
    if count == 0 || !(args.time > 0.0 && args.time.is_finite()) {
        return usage("--threads and --time must be above 0");
    }
    let (cpu, cards) = devices(&args.device)?;
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { threads::configure(count, None) };
    let mut record = new_record(&MeasureArgs::default(), count);
    let folder = match &args.output {
        Some(path) => Some(RunFolder::create(path, &record)?),
        None => None,
    };
    if cpu {
        record.ceilings = measure_ceilings(count, args.time, talk);
    }
    for index in cards {
        let measured = measure_card(index, args.time, talk)?;
        record.ceilings.extend(measured.ceilings);
        record.ceilings_absent.extend(measured.absent.into_iter().map(|why| format!("cuda:{index}: {why}")));
    }
    record.status = RunStatus::Complete;
    record.finished_at = Some(jiff::Timestamp::now());
    if let Some(folder) = folder {
        folder.write_record(&record)?;
        talk.say(format!("wrote {}", folder.path().display()));
    }
    match args.json {
        true => output::json(&record.ceilings)?,
        false => output::table(&content::ceilings(&record))?,
    }
    Ok(Exit::Done)
}
