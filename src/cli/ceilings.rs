//! `sizewell ceilings`.

use super::measure_args::MeasureArgs;
use super::measuring::{measure_card, measure_ceilings};
use super::setup::{new_record, warn_of_threads};
use super::stop::end_on_signal;
use super::talk::Talk;
use super::{Exit, output, usage};
use crate::device::{DeviceId, DeviceListError, cpu};
use crate::engine::backend::threads;
use crate::power;
use crate::record::{RunFolder, RunStatus};
use crate::report::content;
use std::path::{Path, PathBuf};

/// Arguments of `ceilings`.
#[derive(Debug, clap::Args)]
pub struct Args {
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
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let count = args.threads.unwrap_or_else(cpu::default_threads);
    if count == 0 || !(args.time > 0.0 && args.time.is_finite()) {
        return usage("--threads and --time must be above 0");
    }
    let (devices, remark) = match DeviceId::list(&args.device) {
        Err(error @ DeviceListError::Unknown(_)) => return usage(format!("--device {error}")),
        other => other?,
    };
    if let Some(why) = remark {
        talk.say(format!("the CPU only: {why}"));
    }
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { threads::configure(count, None) };
    end_on_signal();
    let mut record = new_record(&MeasureArgs::default(), count);
    warn_of_threads(&record.environment, talk);
    (_, record.power) = power::open(Path::new("/"), DeviceId::Cpu);
    let folder = match &args.output {
        Some(path) => Some(RunFolder::create(path, &record)?),
        None => None,
    };
    let (alone, mut failed) = (devices.len() == 1, false);
    for device in devices {
        match device {
            DeviceId::Cpu => record.ceilings.extend(measure_ceilings(count, args.time, talk)),
            DeviceId::Cuda(index) => {
                let measured = match measure_card(index, args.time, talk) {
                    Ok((measured, lost)) => {
                        failed |= lost.is_some();
                        measured
                    }
                    Err(error) if alone => return Err(error.into()),
                    // The others are measured all the same.
                    Err(error) => {
                        talk.warn(format!("{device}: {error}"));
                        record.ceilings_absent.push(format!("{device}: {error}"));
                        failed = true;
                        continue;
                    }
                };
                record.ceilings.extend(measured.ceilings);
                record.ceilings_absent.extend(measured.absent.into_iter().map(|why| format!("{device}: {why}")));
            }
        }
    }
    record.status = RunStatus::Complete;
    record.finished_at = Some(crate::record::clock::now());
    if let Some(folder) = folder {
        folder.write_record(&record)?;
        talk.say(format!("wrote {}", folder.path().display()));
    }
    match args.json {
        true => output::json(&record.ceilings)?,
        false => output::table(&content::ceilings(&record))?,
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}
