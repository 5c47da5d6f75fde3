//! One case: prepare, warm up, measure, summarise. A failure becomes a row.

use super::clock::Clock;
use super::delivered::{LEAST_PERIODS, deliver};
use super::energy::{self, CaseWindow};
use super::steady::SteadyState;
use super::stopping::{Progress, assess};
use super::summary::{Summary, device_doubts, doubts, summarise};
use super::{Observer, Phase};
use crate::device::activity::ActivityMonitor;
use crate::device::memory;
use crate::engine::{Engine, EngineError, Generated, Prepared, panic_message};
use crate::power::sampler::Sampler;
use crate::power::{PowerError, PowerSource, Sensor};
use crate::record::ceiling::{arithmetic_roof, roof};
use crate::record::metric::Count;
use crate::record::{
    CaseKey, CaseRow, Ceiling, CeilingKind, FailureKind, InvalidReason, LoadRecord, Outcome, PowerRow, SampleRow,
    StopReason,
};
use crate::units::{Bytes, Fraction, Seconds, Watts};
use crate::workload::{Case, Limits, ModelShape};
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use thiserror::Error;

/// What a person gets to read from weights that are real.
const SAMPLE_PROMPT: &str = "Once upon a time";
const SAMPLE_TOKENS: usize = 48;

/// What a case is measured with.
pub struct CaseContext<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// How long to warm up and to measure.
    pub limits: Limits,
    /// Seed of prompts and resampling.
    pub seed: u64,
    /// Sizes of the model, for bytes and operations.
    pub shape: Option<&'a ModelShape>,
    /// Measured roofs.
    pub ceilings: &'a [Ceiling],
    /// Bytes of the last-level cache: what fits in it cannot be compared with the memory's bandwidth.
    pub cache_bytes: Bytes,
    /// Energy, where there is a source.
    pub power: Option<Box<dyn PowerSource>>,
    /// Why there is no energy.
    pub no_power: String,
    /// Power of the device with nothing to do, or why it is not known.
    pub idle: Result<Watts, String>,
    /// What else the machine does.
    pub activity: ActivityMonitor,
    /// How long the last load took, for the cases that share it.
    pub last_load: Option<Seconds>,
}

/// What a case left behind.
#[derive(Debug)]
pub struct CaseResult {
    /// The row of cases.csv.
    pub row: CaseRow,
    /// Its iterations, warm-up included.
    pub samples: Vec<SampleRow>,
    /// Its power readings.
    pub power: Vec<PowerRow>,
    /// Weights that were loaded for it.
    pub load: Option<LoadRecord>,
}

/// Why an iteration gave no sample.
#[derive(Debug)]
enum IterationStop {
    /// The user asked.
    Interrupted,
    /// It becomes a row.
    Failed(FailureKind, String),
}

impl From<EngineError> for IterationStop {
    fn from(error: EngineError) -> Self {
        let kind = match &error {
            EngineError::DoesNotFit { .. } => FailureKind::DoesNotFit,
            EngineError::Unsupported(_) => FailureKind::Unsupported,
            EngineError::Model(_) => FailureKind::ModelError,
            EngineError::Stopped => FailureKind::TimedOut,
            EngineError::DeviceLost(_) => FailureKind::DeviceLost,
            EngineError::Failed(_) => FailureKind::EngineError,
        };
        IterationStop::Failed(kind, error.to_string())
    }
}

/// Why an iteration is not one of a case.
#[derive(Debug, Error)]
pub enum IterationError {
    /// The engine could not do it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Not every token is there, or one too many.
    #[error("the engine delivered a wrong number of tokens: {counts:?} in {steps} steps, not {asked} each")]
    WrongTokenCount {
        /// Tokens of each sequence.
        counts: Vec<usize>,
        /// Steps that were told of.
        steps: usize,
        /// Tokens that were asked for.
        asked: usize,
    },
    /// A token was chosen from something that is no number.
    #[error("a logit was infinite or not a number")]
    NotFinite,
}

impl From<IterationError> for IterationStop {
    fn from(error: IterationError) -> Self {
        match error {
            IterationError::Engine(error) => error.into(),
            IterationError::WrongTokenCount { .. } => Self::Failed(FailureKind::WrongTokenCount, error.to_string()),
            IterationError::NotFinite => Self::Failed(FailureKind::NotFinite, error.to_string()),
        }
    }
}

/// Runs a case. `None` when the user stopped it.
pub fn run_case(
    engine: &mut dyn Engine,
    key: CaseKey,
    bench: &mut CaseContext<'_>,
    observer: &mut dyn Observer,
) -> Option<CaseResult> {
    let mut running = Running { engine, key: key.clone(), bench, observer, samples: Vec::new(), origin: Seconds(0.0) };
    match running.run() {
        Ok(result) => Some(result),
        Err(IterationStop::Interrupted) => None,
        Err(IterationStop::Failed(kind, message)) => {
            let (kind, message) = or_lost(running.engine, kind, message);
            Some(CaseResult {
                row: CaseRow::unmeasured(key.clone(), kind, with_limit(&key, kind, message)),
                samples: running.samples,
                power: Vec::new(),
                load: None,
            })
        }
    }
}

/// A failure, or that the device was lost with it: neither a panic nor every library says so.
fn or_lost(engine: &mut dyn Engine, kind: FailureKind, message: String) -> (FailureKind, String) {
    let is_asked = matches!(kind, FailureKind::EngineError | FailureKind::Crashed);
    match is_asked.then(|| guarded(|| Ok::<_, EngineError>(engine.lost())).ok().flatten()).flatten() {
        Some(lost) => (FailureKind::DeviceLost, format!("{message}; the device is lost: {lost}")),
        None => (kind, message),
    }
}

/// What does not fit, with the limit that leaves so little where it is not the machine.
fn with_limit(key: &CaseKey, kind: FailureKind, message: String) -> String {
    let is_here = kind == FailureKind::DoesNotFit && key.device == "cpu";
    match memory::available_and_why().1.filter(|_| is_here) {
        Some(limit) => format!("{message} (limited to {limit})"),
        None => message,
    }
}

/// Random tokens, different in each sequence: a repeated token would be unlike any text.
fn prompts(case: &Case, vocab: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut prompt = || (0..case.prompt_tokens()).map(|_| rng.random_range(0..vocab as u32)).collect();
    (0..case.batch).map(|_| prompt()).collect()
}

/// Calls the engine; a panic becomes an error.
fn guarded<T, E: Into<IterationStop>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, IterationStop> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(E::into),
        Err(panic) => {
            let message = format!("the engine panicked: {}", panic_message(panic.as_ref()));
            Err(IterationStop::Failed(FailureKind::Crashed, message))
        }
    }
}

/// Times one iteration and checks its work. `go_on` is asked after each token whether to continue; the times are
/// from the start of the iteration.
pub fn time_iteration(
    engine: &mut dyn Engine,
    clock: &dyn Clock,
    case: &Case,
    prompts: &[Vec<u32>],
    go_on: &(dyn Fn(Seconds) -> bool + Sync),
) -> Result<Vec<Seconds>, IterationError> {
    let mut times = Vec::with_capacity(case.steps());
    let start = clock.now();
    let generated = engine.iterate(case, prompts, &mut || {
        let elapsed = clock.now() - start;
        times.push(elapsed);
        if go_on(elapsed) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    engine.synchronize()?;
    check_work(case, &generated, times.len())?;
    Ok(times)
}

/// Throughput is checked work: every token is there, and came from numbers.
fn check_work(case: &Case, generated: &Generated, steps: usize) -> Result<(), IterationError> {
    let complete = generated.tokens.len() == case.batch
        && steps == case.steps()
        && generated.tokens.iter().all(|sequence| sequence.len() == case.gen_tokens());
    if !complete {
        let counts: Vec<usize> = generated.tokens.iter().map(Vec::len).collect();
        return Err(IterationError::WrongTokenCount { counts, steps, asked: case.gen_tokens() });
    }
    if generated.finite { Ok(()) } else { Err(IterationError::NotFinite) }
}

struct Running<'a, 'b> {
    engine: &'a mut dyn Engine,
    key: CaseKey,
    bench: &'a mut CaseContext<'b>,
    observer: &'a mut dyn Observer,
    samples: Vec<SampleRow>,
    /// When the first iteration began.
    origin: Seconds,
}

impl Running<'_, '_> {
    fn run(&mut self) -> Result<CaseResult, IterationStop> {
        let case = self.key.case;
        self.observer.phase(Phase::Loading);
        let (prepared, load) = self.prepare()?;
        let prompts = prompts(&case, self.engine.vocab_size().max(1), self.bench.seed);
        let peak_is_own = self.engine.reset_peak_device_memory() || memory::reset_peak();
        self.origin = self.bench.clock.now();
        let steady = self.warm_up(&prompts, prepared.loaded)?;
        let warmup_iterations = self.samples.len();
        let before = self.bench.activity.counters();
        let (stop_reason, windows, power) = self.measure_with_energy(&prompts)?;
        let counters = before.zip(self.bench.activity.counters());
        let activity = counters.and_then(|(before, after)| before.until(after));
        let stopped = counters.and_then(|(before, after)| before.stopped_until(&after));
        let measured = &self.samples[warmup_iterations..];
        let mut summary = summarise(&case, measured, self.bench.seed);
        summary.metrics.load = self.bench.last_load;
        // The process's memory is the device's on the CPU only.
        let own = || if self.key.device == "cpu" { memory::peak() } else { None };
        summary.metrics.peak_device = self.engine.peak_device_memory().or_else(own);
        if summary.metrics.peak_device.is_none() {
            summary.absent.push(("peak_device_bytes".into(), "nothing counts the memory of the engine there".into()));
        } else if !peak_is_own {
            summary.absent.push(("peak_device_bytes".into(), "it is the peak since the program started".into()));
        }
        let used = power.iter().filter_map(|row| row.memory_used).max_by(|a, b| a.0.total_cmp(&b.0));
        summary.metrics.peak_used = used;
        if used.is_none() {
            summary.absent.push(("peak_used_bytes".into(), "no meter counts the device's memory".into()));
        }
        self.add_roofs(&mut summary, &prepared);
        // Other work for the CPU does not slow a card down, and where it does, the samples show it.
        let activity = activity.filter(|_| self.key.device == "cpu");
        summary.invalid = doubts(measured, steady, activity, &self.bench.limits);
        summary.invalid.extend(device_doubts(&power));
        summary.invalid.extend(prepared.rereads.iter().map(|_| InvalidReason::SlowKernels));
        let quota = deliver(&mut summary, &case, measured, stopped);
        energy::add(&mut summary, windows, self.bench.idle.clone());
        let row = CaseRow {
            key: self.key.clone(),
            outcome: Outcome::Ok,
            reason: None,
            message: String::new(),
            invalid: summary.invalid,
            stop_reason: Some(stop_reason),
            samples: measured.len(),
            warmup_iterations,
            metrics: summary.metrics,
            absent: summary.absent,
            notes: prepared.notes.into_iter().chain(prepared.remarks).chain(prepared.rereads).chain(quota).collect(),
        };
        Ok(CaseResult { row, samples: std::mem::take(&mut self.samples), power, load })
    }

    /// Loads what the case needs; where weights were loaded, times that and lets them write a few words.
    fn prepare(&mut self) -> Result<(Prepared, Option<LoadRecord>), IterationStop> {
        let case = self.key.case;
        let engine = &mut *self.engine;
        // No engine runs an input that its model does not take.
        let task = self.bench.shape.map(|shape| shape.task());
        task.map_or(Ok(()), |task| task.check(&case.input)).map_err(EngineError::Unsupported)?;
        let start = self.bench.clock.now();
        let prepared = guarded(|| engine.prepare(&case))?;
        if !prepared.loaded {
            return Ok((prepared, None));
        }
        let load_s = self.bench.clock.now() - start;
        self.bench.last_load = Some(load_s);
        let sample_text = guarded(|| Ok::<_, EngineError>(engine.sample_text(SAMPLE_PROMPT, SAMPLE_TOKENS)))?;
        let load = LoadRecord {
            quant: case.quant,
            load_s,
            weight_bytes: prepared.weight_bytes,
            notes: prepared.notes.clone(),
            sample_text,
        };
        // Writing a sample uses the cache of the case.
        guarded(|| engine.prepare(&case))?;
        Ok((prepared, Some(load)))
    }

    fn iteration(&mut self, prompts: &[Vec<u32>], warmup: bool) -> Result<Seconds, IterationStop> {
        let (clock, case) = (self.bench.clock, self.key.case);
        let timeout = Seconds(self.bench.limits.timeout_s);
        let interrupted = std::sync::atomic::AtomicBool::new(false);
        let start = clock.now() - self.origin;
        let stop = self.observer.stop_flag();
        let go_on = |elapsed: Seconds| {
            if stop.is_some_and(|flag| flag.load(std::sync::atomic::Ordering::Relaxed)) {
                interrupted.store(true, std::sync::atomic::Ordering::Relaxed);
                return false;
            }
            elapsed <= timeout
        };
        let engine = &mut *self.engine;
        let timed = guarded(|| time_iteration(engine, clock, &case, prompts, &go_on));
        // The observer is asked in any case: it is to know that the stop was seen.
        if self.observer.should_stop() || interrupted.into_inner() {
            return Err(IterationStop::Interrupted);
        }
        let token_times = timed.map_err(|stop| match stop {
            IterationStop::Failed(FailureKind::TimedOut, _) => {
                IterationStop::Failed(FailureKind::TimedOut, format!("an iteration took longer than {timeout}"))
            }
            other => other,
        })?;
        let row = SampleRow { case_id: self.key.id(), iteration: self.samples.len(), warmup, start, token_times };
        let duration = row.e2e().unwrap_or_default();
        self.samples.push(row);
        Ok(duration)
    }

    /// Iterates until steady; `false` if the time ran out first. The first iteration never counts; fresh weights get a
    /// second one and a minimum time.
    fn warm_up(&mut self, prompts: &[Vec<u32>], fresh: bool) -> Result<bool, IterationStop> {
        self.observer.phase(Phase::WarmingUp);
        let limits = self.bench.limits;
        let (least, iterations) = if fresh { (limits.warmup_min_s, 2) } else { (0.0, 1) };
        let begin = self.bench.clock.now();
        let mut state = SteadyState::default();
        loop {
            state.add(self.iteration(prompts, true)?);
            let elapsed = (self.bench.clock.now() - begin).0;
            if elapsed >= least && state.is_steady(limits.warmup_tolerance) {
                return Ok(true);
            }
            if elapsed >= limits.warmup_max_s && self.samples.len() >= iterations {
                return Ok(false);
            }
        }
    }

    /// Measures, with an energy window around it and, where the sensor needs them, more windows after it: the same
    /// work at other phases of the sensor, whose iterations are not samples.
    fn measure_with_energy(
        &mut self,
        prompts: &[Vec<u32>],
    ) -> Result<(StopReason, Vec<CaseWindow>, Vec<PowerRow>), IterationStop> {
        let sensor = self.bench.power.as_ref().map(|source| source.sensor());
        // The least time grows to an energy window only where the limits leave room for one.
        let room = |sensor: &Sensor| self.bench.limits.max_time_s >= sensor.least_window().0;
        let least = sensor.as_ref().filter(|sensor| room(sensor)).map(Sensor::least_window);
        // A quota lets a process run and stand in turns: only many of them show what it delivers.
        let periods = self.bench.activity.quota_period().map_or(0.0, |period| LEAST_PERIODS * period.0);
        let warmup = self.samples.len();
        let opened = self.bench.power.take().map(Sampler::start);
        let measured = self.measure(prompts, Seconds(least.unwrap_or_default().0.max(periods)));
        let (mut windows, mut rows) = (Vec::new(), Vec::new());
        self.close_window(opened, self.samples.len() - warmup, &mut windows, &mut rows);
        let stop_reason = measured?;
        if let (Some(sensor), Some(least), Some(Ok(_))) = (sensor, least, windows.first().map(|w| &w.energy)) {
            for repeat in 1..sensor.windows() {
                self.repeat_window(prompts, least, repeat, &mut windows, &mut rows)?;
            }
        }
        Ok((stop_reason, windows, rows))
    }

    /// One more energy window of the same work, begun at a random phase of the sensor.
    fn repeat_window(
        &mut self,
        prompts: &[Vec<u32>],
        least: Seconds,
        repeat: usize,
        windows: &mut Vec<CaseWindow>,
        rows: &mut Vec<PowerRow>,
    ) -> Result<(), IterationStop> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.bench.seed ^ repeat as u64);
        std::thread::sleep(Duration::from_millis(rng.random_range(0..100)));
        let kept = self.samples.len();
        let opened = self.bench.power.take().map(Sampler::start);
        let begin = self.bench.clock.now();
        let mut done = Ok(());
        while done.is_ok() && self.bench.clock.now() - begin < least {
            done = self.iteration(prompts, false).map(|_| ());
        }
        let iterations = self.samples.len() - kept;
        self.close_window(opened, iterations, windows, rows);
        self.samples.truncate(kept);
        done
    }

    fn measure(&mut self, prompts: &[Vec<u32>], min_time: Seconds) -> Result<StopReason, IterationStop> {
        let limits = self.bench.limits;
        let begin = self.bench.clock.now();
        let (mut ttft, mut tpot) = (Vec::new(), Vec::new());
        loop {
            self.iteration(prompts, false)?;
            if let Some(sample) = self.samples.last() {
                ttft.extend(sample.ttft().map(|v| v.0));
                tpot.extend(sample.tpot().map(|v| v.0));
            }
            let elapsed = self.bench.clock.now() - begin;
            let Progress { stop, half_width } = assess([&ttft, &tpot], elapsed, min_time, &limits);
            self.observer.phase(Phase::Measuring { samples: ttft.len(), half_width });
            if let Some(reason) = stop {
                return Ok(reason);
            }
        }
    }

    /// Closes an energy window around `iterations` and takes the source back.
    fn close_window(
        &mut self,
        opened: Option<Sampler>,
        iterations: usize,
        windows: &mut Vec<CaseWindow>,
        rows: &mut Vec<PowerRow>,
    ) {
        let case = self.key.case;
        // Of a model that generates none, the tokens that it takes.
        let tokens = (case.batch * case.counted_tokens() * iterations) as f64;
        let Some(sampler) = opened else {
            windows.push(CaseWindow { energy: Err(PowerError(self.bench.no_power.clone())), tokens });
            return;
        };
        let (source, trace) = sampler.stop();
        if source.is_none() {
            self.bench.no_power = "the power source crashed in an earlier case".to_string();
        }
        self.bench.power = source;
        let (id, window) = (self.key.id(), windows.len());
        rows.extend(trace.rows.into_iter().map(|row| PowerRow { case_id: id.clone(), window, ..row }));
        windows.push(CaseWindow { energy: trace.window, tokens });
    }

    /// Bytes, operations, and the shares of the roofs that they mean.
    fn add_roofs(&self, summary: &mut Summary, prepared: &Prepared) {
        let case = self.key.case;
        let metrics = &mut summary.metrics;
        metrics.weights = Some(prepared.weight_bytes);
        metrics.cache = Some(prepared.cache_bytes);
        let Some(shape) = self.bench.shape else { return };
        let middle = case.prompt_tokens() + case.gen_tokens() / 2;
        let read = prepared.decode_weight_bytes + Bytes(prepared.cache_token_bytes.0 * (case.batch * middle) as f64);
        let ops = shape.prefill_ops(case.batch, case.prompt_tokens());
        metrics.decode_read = case.generates().then_some(read);
        metrics.prefill_ops = Some(Count(ops));
        let absent = &mut summary.absent;
        let cache = self.bench.cache_bytes;
        match roof(self.bench.ceilings, &self.key.device, CeilingKind::ReadBandwidth) {
            _ if !case.generates() => {
                absent.push(("achieved_bandwidth_fraction".into(), "no tokens are generated".into()));
            }
            _ if read.0 < 2.0 * cache.0 => absent.push((
                "achieved_bandwidth_fraction".into(),
                format!("{read} a step is less than twice the cache of {cache}"),
            )),
            None => absent.push(("achieved_bandwidth_fraction".into(), "ceilings were not measured".into())),
            Some(roof) => {
                metrics.achieved_bandwidth = metrics.tpot.map(|tpot| Fraction(read.0 / tpot.median.0 / roof));
            }
        }
        match arithmetic_roof(self.bench.ceilings, &self.key.device, case.quant) {
            Err(why) => absent.push(("achieved_flops_fraction".into(), why)),
            Ok(roof) => metrics.achieved_flops = metrics.ttft.map(|ttft| Fraction(ops / ttft.median.0 / roof.best)),
        }
    }
}
