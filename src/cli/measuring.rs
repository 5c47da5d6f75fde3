//! Carrying measurements out: what `run` and `profile` do before they show anything.

use super::held_limit::HeldLimit;
use super::idle::waiting_power;
use super::measure_args::MeasureArgs;
use super::progress::Progress;
use super::resume;
use super::setup::{self, Part, Place, Setup};
use super::stop::{self, stop_on_signal, stop_was_asked};
use super::talk::Talk;
use super::{Exit, usage};
use crate::device::activity::ActivityMonitor;
use crate::device::ceilings::{self, Settings};
use crate::device::cuda::{self, Card, CudaError};
use crate::device::{DeviceId, nvidia};
use crate::engine::backend::threads;
use crate::measure::clock::SystemClock;
use crate::measure::profile::{End, profile};
use crate::measure::runner::Bench;
use crate::power;
use crate::power::limit::PowerLimit;
use crate::record::{Ceiling, Outcome, Run, STOPPED_BY_QUOTA};
use crate::units::{Bytes, Watts, digits_plain};
use std::path::Path;
use std::time::Duration;

/// What a measurement came to.
pub struct Measured {
    /// The folder as it is now.
    pub run: Run,
    /// How it ended.
    pub end: End,
}

impl Measured {
    /// The exit status that the cases deserve.
    fn exit(&self) -> Exit {
        let ok: Vec<_> = self.run.cases.iter().filter(|row| row.outcome == Outcome::Ok).collect();
        match (&self.end, ok.is_empty(), ok.iter().any(|row| row.is_valid())) {
            (End::Stopped, _, _) => Exit::Interrupted,
            (End::DeviceLost { .. }, _, _) | (End::Complete, true, _) => Exit::Failed,
            (End::Complete, false, false) => Exit::InvalidMeasurement,
            (End::Complete, false, true) => Exit::Done,
        }
    }

    /// Says what the user should know of it.
    fn speak(&self, talk: &Talk) {
        let folder = self.run.path.display();
        match &self.end {
            End::Stopped => talk.say(format!("stopped; continue with --resume {folder}")),
            End::DeviceLost { case, why, left } => {
                let device = &self.run.record.engine.device;
                let next = match left {
                    0 => "every other case has its row".to_string(),
                    left => format!(
                        "{left} more cases were not run, as nothing works on it in this process; another one goes on behind \
                         this case: sizewell profile --resume {folder}"
                    ),
                };
                talk.warn(format!("{device} was lost in {case} ({why}); {next}"));
            }
            End::Complete if self.run.cases.iter().all(|row| row.outcome != Outcome::Ok) => {
                talk.say(format!("no case could be measured; {folder}/cases.csv says why"));
            }
            End::Complete => {}
        }
    }
}

/// One run for each device and power limit that was asked for.
#[derive(Default)]
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
    /// The worst exit status of its parts.
    pub fn exit(&self) -> Exit {
        let exits: Vec<Exit> = self.measured.iter().map(Measured::exit).collect();
        if self.stopped || exits.contains(&Exit::Interrupted) {
            return Exit::Interrupted;
        }
        match (self.failed || exits.contains(&Exit::Failed), exits.contains(&Exit::InvalidMeasurement)) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::InvalidMeasurement,
            (false, false) => Exit::Done,
        }
    }

    /// Says what the user should know of each.
    pub fn speak(&self, talk: &Talk) {
        self.measured.iter().for_each(|measured| measured.speak(talk));
    }
}

/// A card and the limits to measure it at, none for its own; the guard holds them.
struct Target {
    device: DeviceId,
    limits: Vec<(PowerLimit, Watts)>,
    guard: Option<HeldLimit>,
}

/// Measures what the arguments ask for, in new folders or in one that is to be continued.
pub fn measure(args: &MeasureArgs, default_model: Option<&str>, talk: &Talk) -> anyhow::Result<Series> {
    args.check()?;
    let engine_threads = args.engine_threads()?;
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { threads::configure(engine_threads, args.pin.as_deref()) };
    measure_configured(args, default_model, engine_threads, talk)
}

/// The same, in a process whose threads are configured already.
pub fn measure_configured(
    args: &MeasureArgs,
    default_model: Option<&str>,
    engine_threads: usize,
    talk: &Talk,
) -> anyhow::Result<Series> {
    stop_on_signal();
    if let Some(path) = &args.resume {
        let measured = measure_one(resume::resume(path, args, engine_threads, talk)?, args, engine_threads, talk)?;
        return Ok(Series { measured: vec![measured], ..Series::default() });
    }
    // Errors of the command line show before anything is changed or measured.
    args.sweep()?;
    let Some(model) = args.model.as_deref().or(default_model) else {
        return usage("--model is missing: name a preset (sizewell models list), a file, a folder or a hub id");
    };
    let (devices, remark) = args.devices()?;
    if let Some(why) = remark {
        talk.say(format!("the CPU only: {why}"));
    }
    let targets = devices.into_iter().map(|device| target(args, device)).collect::<anyhow::Result<Vec<_>>>()?;
    let runs: usize = targets.iter().map(|target| target.limits.len().max(1)).sum();
    let mut place = Place { base: args.output.clone(), several: runs > 1 };
    let mut series = Series::default();
    for mut target in targets {
        let limits: Vec<_> = match target.limits.as_slice() {
            [] => vec![None],
            limits => limits.iter().copied().map(Some).collect(),
        };
        for limit in limits {
            if stop_was_asked() {
                series.stopped = true;
                break;
            }
            let part = Part { device: target.device, limit };
            if series.lost && part.device.card().is_some() {
                let at = limit.map_or(String::new(), |(_, watts)| format!(" at {watts}"));
                talk.warn(format!("{}{at}: not begun, as this process has lost a card; run it by itself", part.device));
                series.failed = true;
                continue;
            }
            let measured = set_limit(&mut target.guard, limit)
                .and_then(|()| setup::start(args, model, part, &mut place, engine_threads, talk))
                .and_then(|setup| measure_one(setup, args, engine_threads, talk));
            match measured {
                Ok(measured) => {
                    series.lost |= matches!(measured.end, End::DeviceLost { .. });
                    series.measured.push(measured);
                }
                Err(error) if runs == 1 => return Err(error),
                // The others are measured all the same.
                Err(error) => {
                    talk.warn(format!("{}: {error:#}", target.device));
                    series.failed = true;
                    series.lost |= error.downcast_ref::<CudaError>().is_some_and(CudaError::is_sticky);
                }
            }
        }
        if let Some(Err(error)) = target.guard.map(HeldLimit::restore) {
            talk.warn(error.to_string());
            series.failed = true;
        }
    }
    Ok(series)
}

/// A device with its limits in watts, refused before anything is measured.
fn target(args: &MeasureArgs, device: DeviceId) -> anyhow::Result<Target> {
    let Some(index) = device.card().filter(|_| !args.power_limit.is_empty()) else {
        return Ok(Target { device, limits: Vec::new(), guard: None });
    };
    let guard = HeldLimit::of_card(index)?;
    let in_watts = |asked: &PowerLimit| guard.range().resolve(*asked).map(|watts| (*asked, watts));
    let limits = match args.power_limit.iter().map(in_watts).collect() {
        Ok(limits) => limits,
        Err(power::PowerError(why)) => return usage(why),
    };
    Ok(Target { device, limits, guard: Some(guard) })
}

fn set_limit(guard: &mut Option<HeldLimit>, limit: Option<(PowerLimit, Watts)>) -> anyhow::Result<()> {
    if let (Some(guard), Some((_, watts))) = (guard, limit) {
        guard.set(watts)?;
    }
    Ok(())
}

fn measure_one(setup: Setup, args: &MeasureArgs, engine_threads: usize, talk: &Talk) -> anyhow::Result<Measured> {
    let Setup { mut folder, mut record, device, mut engine, power, idle, limit } = setup;
    if record.quality.is_none() {
        stop::goes_on_by(format!("sizewell profile --resume {}", folder.path().display()));
    }
    // Ceilings of a run that was begun without stay away: its cases would not have their shares alike.
    if record.ceilings.is_empty() && !args.no_ceilings && folder.done.is_empty() {
        let quick = record.workload.as_ref().is_some_and(|w| w.limits.max_time_s <= 5.0);
        let seconds_each = if quick { 0.25 } else { 0.7 };
        match device {
            DeviceId::Cpu => record.ceilings = measure_ceilings(engine_threads, seconds_each, talk),
            DeviceId::Cuda(index) => {
                let (measured, lost) = measure_card(index, seconds_each, talk)?;
                if let Some(lost) = lost {
                    let folder = folder.path().display();
                    let next = format!("without them: sizewell profile --resume {folder} --no-ceilings");
                    return Err(anyhow::Error::from(lost).context(format!("lost while ceilings were measured; {next}")));
                }
                (record.ceilings, record.ceilings_absent) = (measured.ceilings, measured.absent);
            }
        }
        folder.write_record(&record)?;
    }
    let mut progress = Progress::new(talk);
    engine.on_load(progress.loading());
    let Some(limits) = record.workload.as_ref().map(|w| w.limits) else {
        return usage("the run has no workload: it holds ceilings only");
    };
    let shape = record.model.as_ref().map(|m| m.shape.clone());
    let measured_ceilings: Vec<Ceiling> = record.ceilings.clone();
    let mut bench = Bench {
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
    let end = profile(engine.as_mut(), &mut folder, &mut record, &mut bench, &mut progress);
    progress.finish();
    let end = end?;
    let mut power = bench.power.take();
    drop(bench);
    if device != DeviceId::Cpu && end == End::Complete {
        // The model is still on the card.
        waiting_power(power.as_deref_mut(), &mut record.power, talk);
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

/// Measures the ceilings of the CPU with something to look at.
pub fn measure_ceilings(threads: usize, seconds_each: f64, talk: &Talk) -> Vec<Ceiling> {
    talk.say(format!("measuring the ceilings of this machine on {threads} threads"));
    let settings = Settings { threads, time_each: Duration::from_secs_f64(seconds_each) };
    let monitor = ActivityMonitor::new(Path::new("/"));
    let before = monitor.counters();
    let mut measured = ceilings::measure(&settings, &mut |_, _| ());
    // The best of many samples runs between two stops: it is what the hardware can do, and not what is granted of it.
    let stopped = before.zip(monitor.counters()).and_then(|(before, after)| before.stopped_until(&after));
    if let Some(stopped) = stopped {
        let quota = digits_plain(stopped.cpus);
        talk.warn(format!("{STOPPED_BY_QUOTA} of {quota} CPUs: ceilings are those of the hardware between two stops"));
        measured.iter_mut().for_each(|ceiling| ceiling.how += &format!(", between stops by a quota of {quota} CPUs"));
    }
    measured
}

/// Measures the ceilings of a card, and says what could not be measured, and whether the card was lost.
pub fn measure_card(
    index: usize,
    seconds_each: f64,
    talk: &Talk,
) -> Result<(ceilings::cuda::Measured, Option<CudaError>), CudaError> {
    let card = nvidia::while_opening(index as u32, || Card::shared(index))?;
    talk.say(format!("measuring the ceilings of cuda:{index} ({})", card.facts.name));
    let measured = ceilings::cuda::measure(&card, Duration::from_secs_f64(seconds_each));
    for absent in &measured.absent {
        talk.warn(absent);
    }
    Ok((measured, card.lost()))
}
