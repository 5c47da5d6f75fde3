//! Carrying measurements out: one run after the other, and what they came to.

use super::options::ProfileOptions;
use super::resume;
use super::setup::{self, Part, SeriesOutput, Setup};
use crate::device::DeviceId;
use crate::device::activity::ActivityMonitor;
use crate::device::cuda;
use crate::job::error::{JobError, usage};
use crate::job::held_limit::HeldLimit;
use crate::job::idle::waiting_power;
use crate::job::reporter::Stoppable;
use crate::job::{Context, Reporter, Status, Stop, ceilings};
use crate::measure::clock::SystemClock;
use crate::measure::profile::{End, profile};
use crate::measure::runner::CaseContext;
use crate::power;
use crate::power::limit::PowerLimit;
use crate::record::{Ceiling, Outcome, Run, RunFolder, RunRecord};
use crate::units::{Bytes, Watts};
use std::path::Path;

/// What a measurement came to.
#[derive(Debug)]
pub struct Measured {
    /// The folder as it is now.
    pub run: Run,
    /// How it ended.
    pub end: End,
}

impl Measured {
    /// How it ended, by what its cases came to.
    fn status(&self) -> Status {
        let ok: Vec<_> = self.run.cases.iter().filter(|row| row.outcome == Outcome::Ok).collect();
        match (&self.end, ok.is_empty(), ok.iter().any(|row| row.is_valid())) {
            (End::Stopped, _, _) => Status::Interrupted,
            (End::DeviceLost { .. }, _, _) | (End::Complete, true, _) => Status::Failed,
            (End::Complete, false, false) => Status::Invalid,
            (End::Complete, false, true) => Status::Done,
        }
    }

    /// Says what should be known of it.
    fn remark(&self, reporter: &dyn Reporter) {
        let folder = self.run.path.display();
        match &self.end {
            End::Stopped => reporter.note(&format!("stopped; continue with --resume {folder}")),
            End::DeviceLost { case, why, left } => {
                let device = &self.run.record.engine.device;
                let next = match left {
                    0 => "every other case has its row".to_string(),
                    left => format!(
                        "{left} more cases were not run, as nothing works on it in this process; another one goes on behind \
                         this case: sizewell profile --resume {folder}"
                    ),
                };
                reporter.warning(&format!("{device} was lost in {case} ({why}); {next}"));
            }
            End::Complete if self.run.cases.iter().all(|row| row.outcome != Outcome::Ok) => {
                reporter.note(&format!("no case could be measured; {folder}/cases.csv says why"));
            }
            End::Complete => {}
        }
    }
}

/// One run for each device and power limit that was asked for.
#[derive(Debug, Default)]
pub struct Series {
    /// The runs that were made, in order.
    pub measured: Vec<Measured>,
    /// Something went wrong beside them; it has been said.
    failed: bool,
    /// A signal stopped it before all runs had begun.
    stopped: bool,
    /// A card was lost to this process: no other run begins on one.
    lost: bool,
}

impl Series {
    /// The worst of its parts.
    pub fn status(&self) -> Status {
        let parts: Vec<Status> = self.measured.iter().map(Measured::status).collect();
        if self.stopped || parts.contains(&Status::Interrupted) {
            return Status::Interrupted;
        }
        match (self.failed || parts.contains(&Status::Failed), parts.contains(&Status::Invalid)) {
            (true, _) => Status::Failed,
            (false, true) => Status::Invalid,
            (false, false) => Status::Done,
        }
    }

    /// The runs.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.measured.iter().map(|measured| &measured.run)
    }

    /// Says what should be known of each run, and how all of it ended.
    pub fn conclude(&self, reporter: &dyn Reporter) -> Status {
        self.measured.iter().for_each(|measured| measured.remark(reporter));
        self.status()
    }
}

/// A card and the limits to measure it at, none for its own; the guard holds them.
struct Target {
    device: DeviceId,
    limits: Vec<(PowerLimit, Watts)>,
    guard: Option<HeldLimit>,
}

/// Measures what is asked for, in new folders or in one that is to be continued.
pub fn run(options: &ProfileOptions, reporter: &dyn Reporter, stop: &Stop) -> Result<Series, JobError> {
    measure(options, options.machine.engine_threads()?, Context { reporter, stop })
}

/// The same, on so many threads.
pub(in crate::job) fn measure(
    options: &ProfileOptions,
    engine_threads: usize,
    context: Context<'_>,
) -> Result<Series, JobError> {
    options.machine.check()?;
    context.stop.heed();
    if let Some(path) = &options.resume {
        let setup = resume::resume(path, options, engine_threads, context)?;
        let measured = measure_one(setup, options, engine_threads, context)?;
        return Ok(Series { measured: vec![measured], ..Series::default() });
    }
    // Errors of the request show before anything is changed or measured.
    options.sweep.sweep()?;
    let Some(model) = &options.model else {
        return usage("--model is missing: name a preset (sizewell models list), a file, a folder or a hub id");
    };
    let (devices, remark) = options.devices()?;
    if let Some(why) = remark {
        context.note(format!("the CPU only: {why}"));
    }
    let targets =
        devices.into_iter().map(|device| target(options, device, context.stop)).collect::<Result<Vec<_>, _>>()?;
    let runs: usize = targets.iter().map(|target| target.limits.len().max(1)).sum();
    let begun = EvaluationSettings { options, model, engine_threads, is_alone: runs == 1, context };
    let mut place = SeriesOutput { base: options.output.clone(), several: runs > 1 };
    let mut series = Series::default();
    for target in targets {
        begun.measure_target(target, &mut place, &mut series)?;
    }
    Ok(series)
}

/// A series that is under way.
struct EvaluationSettings<'a> {
    options: &'a ProfileOptions,
    model: &'a str,
    engine_threads: usize,
    /// There is but one run: its error is that of the job.
    is_alone: bool,
    context: Context<'a>,
}

impl EvaluationSettings<'_> {
    /// One run for each limit of the target.
    fn measure_target(
        &self,
        mut target: Target,
        place: &mut SeriesOutput,
        series: &mut Series,
    ) -> Result<(), JobError> {
        let limits: Vec<_> = match target.limits.as_slice() {
            [] => vec![None],
            limits => limits.iter().copied().map(Some).collect(),
        };
        for limit in limits {
            if self.context.stop.is_asked() {
                series.stopped = true;
                break;
            }
            let part = Part { device: target.device, limit };
            if series.lost && part.device.card().is_some() {
                let at = limit.map_or(String::new(), |(_, watts)| format!(" at {watts}"));
                self.context
                    .warn(format!("{}{at}: not begun, as this process has lost a card; run it by itself", part.device));
                series.failed = true;
                continue;
            }
            match self.measure_part(part, &mut target.guard, place) {
                Ok(measured) => {
                    series.lost |= matches!(measured.end, End::DeviceLost { .. });
                    series.measured.push(measured);
                }
                Err(error) if self.is_alone => return Err(error),
                // The others are measured all the same.
                Err(error) => {
                    self.context.warn(format!("{}: {error:#}", target.device));
                    series.failed = true;
                    series.lost |= error.loses_a_card();
                }
            }
        }
        if let Some(Err(error)) = target.guard.map(HeldLimit::restore) {
            self.context.warn(error.to_string());
            series.failed = true;
        }
        Ok(())
    }

    fn measure_part(
        &self,
        part: Part,
        guard: &mut Option<HeldLimit>,
        place: &mut SeriesOutput,
    ) -> Result<Measured, JobError> {
        if let (Some(guard), Some((_, watts))) = (guard, part.limit) {
            guard.set(watts)?;
        }
        let setup = setup::start(self.options, self.model, part, place, self.engine_threads, self.context)?;
        measure_one(setup, self.options, self.engine_threads, self.context)
    }
}

/// A device with its limits in watts, refused before anything is measured.
fn target(options: &ProfileOptions, device: DeviceId, stop: &Stop) -> Result<Target, JobError> {
    let Some(index) = device.card().filter(|_| !options.power_limits.is_empty()) else {
        return Ok(Target { device, limits: Vec::new(), guard: None });
    };
    let guard = HeldLimit::of_card(index, stop)?;
    let in_watts = |asked: &PowerLimit| guard.range().resolve(*asked).map(|watts| (*asked, watts));
    let limits = match options.power_limits.iter().map(in_watts).collect() {
        Ok(limits) => limits,
        Err(power::PowerError(why)) => return usage(why),
    };
    Ok(Target { device, limits, guard: Some(guard) })
}

/// Measures the ceilings of the device that a run is on, where they belong to it and are not there yet.
fn measure_ceilings(
    record: &mut RunRecord,
    folder: &RunFolder,
    device: DeviceId,
    engine_threads: usize,
    context: Context<'_>,
) -> Result<(), JobError> {
    let quick = record.workload.as_ref().is_some_and(|w| w.limits.max_time_s <= 5.0);
    let seconds_each = if quick { 0.25 } else { 0.7 };
    match device {
        DeviceId::Cpu => record.ceilings = ceilings::of_cpu(engine_threads, seconds_each, context),
        DeviceId::Cuda(index) => {
            let (measured, lost) = ceilings::of_card(index, seconds_each, context)?;
            if let Some(error) = lost {
                let folder = folder.path().display();
                let next = format!("without them: sizewell profile --resume {folder} --no-ceilings");
                return Err(JobError::CardLost { doing: format!("lost while ceilings were measured; {next}"), error });
            }
            (record.ceilings, record.ceilings_absent) = (measured.ceilings, measured.absent);
        }
    }
    Ok(folder.write_record(record)?)
}

/// Measures the cases of one run.
fn measure_one(
    setup: Setup,
    options: &ProfileOptions,
    engine_threads: usize,
    context: Context<'_>,
) -> Result<Measured, JobError> {
    let Setup { mut folder, mut record, device, mut engine, power, idle, limit } = setup;
    if record.quality.is_none() {
        context.stop.goes_on_by(format!("sizewell profile --resume {}", folder.path().display()));
    }
    // Ceilings of a run that was begun without stay away: its cases would not have their shares alike.
    if record.ceilings.is_empty() && !options.no_ceilings && folder.done.is_empty() {
        measure_ceilings(&mut record, &folder, device, engine_threads, context)?;
    }
    let mut progress = context.reporter.sweep();
    engine.on_load(progress.loading());
    let Some(limits) = record.workload.as_ref().map(|w| w.limits) else {
        return usage("the run has no workload: it holds ceilings only");
    };
    let shape = record.model.as_ref().map(|m| m.shape.clone());
    let measured_ceilings: Vec<Ceiling> = record.ceilings.clone();
    let mut bench = CaseContext {
        clock: &SystemClock,
        limits,
        seed: record.seed,
        shape: shape.as_ref(),
        ceilings: &measured_ceilings,
        cache_bytes: match device {
            DeviceId::Cpu => record.environment.cpu.caches_bytes.last().copied(),
            DeviceId::Cuda(_) => last_cache(device),
        }
        .unwrap_or_default(),
        power,
        no_power: record.power.reason.clone().unwrap_or_default(),
        idle,
        activity: ActivityMonitor::new(Path::new("/")),
        last_load: None,
    };
    let mut observer = Stoppable { progress: progress.as_mut(), stop: context.stop };
    let end = profile(engine.as_mut(), &mut folder, &mut record, &mut bench, &mut observer);
    progress.finish();
    let end = end?;
    let mut power = bench.power.take();
    drop(bench);
    if device != DeviceId::Cpu && end == End::Complete {
        // The model is still on the card.
        waiting_power(power.as_deref_mut(), &mut record.power, context);
        folder.write_record(&record)?;
    }
    drop((engine, power));
    let path = folder.path().to_path_buf();
    drop(folder);
    limit.map_or(Ok(()), HeldLimit::restore)?;
    Ok(Measured { run: Run::read(&path)?, end })
}

/// The second-level cache of a card.
fn last_cache(device: DeviceId) -> Option<Bytes> {
    cuda::list().ok()?.get(device.card()?).map(|card| Bytes(card.l2_bytes as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Recording;

    #[test]
    fn a_stop_before_the_first_run_leaves_none_and_is_how_it_ended() {
        let options = ProfileOptions { model: Some("smollm2-135m".to_string()), ..ProfileOptions::default() };
        let (stop, heard) = (Stop::default(), Recording::default());
        stop.ask();
        let series = run(&options, &heard, &stop).unwrap();
        assert_eq!((series.runs().count(), series.conclude(&heard)), (0, Status::Interrupted));
        assert!(stop.was_seen() && heard.lines().is_empty(), "{:?}", heard.lines());
    }

    #[test]
    fn what_cannot_be_is_told_apart_from_what_fails() {
        let run = |options| run(&options, &Recording::default(), &Stop::default()).err().unwrap();
        let why = run(ProfileOptions::default());
        assert!(matches!(&why, JobError::Usage(why) if why.contains("--model is missing")), "{why}");
        let why = run(ProfileOptions { resume: Some("no-such-folder".into()), ..ProfileOptions::default() });
        assert!(matches!(&why, JobError::Failed(_)), "{why}");
    }
}
