//! Measuring the roofs of this machine.

use super::error::{JobError, usage};
use super::machine::{SEED, warn_of_threads};
use super::{Context, MachineOptions, Reporter, Status, Stop};
use crate::device::activity::ActivityMonitor;
use crate::device::ceilings::{self, Settings};
use crate::device::cuda::{Card, CudaError};
use crate::device::{DeviceId, cpu, nvidia};
use crate::power;
use crate::record::{Ceiling, RunFolder, RunRecord, RunStatus, STOPPED_BY_QUOTA, clock};
use crate::units::digits_plain;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Which ceilings are measured.
#[derive(Debug, Clone)]
pub struct CeilingsOptions {
    /// The devices, as a command line names them: `cpu`, `cuda:0`, `cuda`, `all`, or several with commas between.
    pub devices: String,
    /// Threads that work together; one for each physical core by default.
    pub threads: Option<usize>,
    /// Seconds for each ceiling.
    pub seconds_each: f64,
    /// Folder for the record; nothing is kept without it.
    pub output: Option<PathBuf>,
    /// The machine.
    pub machine: MachineOptions,
}

impl CeilingsOptions {
    /// Threads that work together.
    pub fn threads(&self) -> usize {
        self.threads.unwrap_or_else(cpu::default_threads)
    }

    /// Checks the numbers.
    pub fn check(&self) -> Result<(), JobError> {
        if self.threads() == 0 || !(self.seconds_each > 0.0 && self.seconds_each.is_finite()) {
            return usage("--threads and --time must be above 0");
        }
        Ok(())
    }
}

/// Ceilings that were measured.
#[derive(Debug)]
pub struct Ceilings {
    /// The record with them.
    pub record: RunRecord,
    /// A card could not be measured, or was lost; it has been said.
    pub has_failed: bool,
}

impl Ceilings {
    /// How it ended.
    pub fn status(&self) -> Status {
        if self.has_failed { Status::Failed } else { Status::Done }
    }
}

/// Measures the ceilings of each device.
pub fn run(options: &CeilingsOptions, reporter: &dyn Reporter) -> Result<Ceilings, JobError> {
    options.check()?;
    let (threads, context) = (options.threads(), Context { reporter, stop: &Stop::default() });
    let (devices, remark) = DeviceId::list(&options.devices)?;
    if let Some(why) = remark {
        context.note(format!("the CPU only: {why}"));
    }
    let mut record = options.machine.new_record(SEED, threads);
    warn_of_threads(&record.environment, context);
    (_, record.power) = power::open(Path::new("/"), DeviceId::Cpu);
    let folder = options.output.as_ref().map(|path| RunFolder::create(path, &record)).transpose()?;
    let (alone, mut has_failed) = (devices.len() == 1, false);
    for device in devices {
        match device {
            DeviceId::Cpu => record.ceilings.extend(of_cpu(threads, options.seconds_each, context)),
            DeviceId::Cuda(index) => match of_card(index, options.seconds_each, context) {
                Ok((measured, lost)) => {
                    has_failed |= lost.is_some();
                    record.ceilings.extend(measured.ceilings);
                    record.ceilings_absent.extend(measured.absent.into_iter().map(|why| format!("{device}: {why}")));
                }
                Err(error) if alone => return Err(error.into()),
                // The others are measured all the same.
                Err(error) => {
                    context.warn(format!("{device}: {error}"));
                    record.ceilings_absent.push(format!("{device}: {error}"));
                    has_failed = true;
                }
            },
        }
    }
    record.status = RunStatus::Complete;
    record.finished_at = Some(clock::now());
    if let Some(folder) = folder {
        folder.write_record(&record)?;
        context.note(format!("wrote {}", folder.path().display()));
    }
    Ok(Ceilings { record, has_failed })
}

/// Measures the ceilings of the CPU with something to look at.
pub(super) fn of_cpu(threads: usize, seconds_each: f64, context: Context<'_>) -> Vec<Ceiling> {
    context.note(format!("measuring the ceilings of this machine on {threads} threads"));
    let settings = Settings { threads, time_each: Duration::from_secs_f64(seconds_each) };
    let monitor = ActivityMonitor::new(Path::new("/"));
    let before = monitor.counters();
    let mut measured = ceilings::measure(&settings, &mut |_, _| ());
    // The best of many samples runs between two stops: it is what the hardware can do, and not what is granted of it.
    let stopped = before.zip(monitor.counters()).and_then(|(before, after)| before.stopped_until(&after));
    if let Some(stopped) = stopped {
        let quota = digits_plain(stopped.cpus);
        context
            .warn(format!("{STOPPED_BY_QUOTA} of {quota} CPUs: ceilings are those of the hardware between two stops"));
        measured.iter_mut().for_each(|ceiling| ceiling.how += &format!(", between stops by a quota of {quota} CPUs"));
    }
    measured
}

/// Measures the ceilings of a card, and says what could not be measured, and whether the card was lost.
pub(super) fn of_card(
    index: usize,
    seconds_each: f64,
    context: Context<'_>,
) -> Result<(ceilings::cuda::Measured, Option<CudaError>), CudaError> {
    let card = nvidia::while_opening(index as u32, || Card::shared(index))?;
    context.note(format!("measuring the ceilings of cuda:{index} ({})", card.facts.name));
    let measured = ceilings::cuda::measure(&card, Duration::from_secs_f64(seconds_each));
    for absent in &measured.absent {
        context.warn(absent);
    }
    Ok((measured, card.lost()))
}
