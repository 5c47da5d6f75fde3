//! The measuring loop on an engine that plays a script on a clock that stands still: what it records, when it stops, and
//! what becomes of failures.

use sizewell::device::activity::ActivityMonitor;
use sizewell::engine::fake::{FakeEngine, Fault};
use sizewell::measure::clock::FakeClock;
use sizewell::measure::profile::{End, case_keys, profile};
use sizewell::measure::runner::{CaseContext, CaseResult, run_case};
use sizewell::measure::{Observer, Phase, Silent};
use sizewell::power::fake::FakePower;
use sizewell::record::{CaseKey, CaseRow, FailureKind, InvalidReason, Outcome, Run, RunFolder, RunStatus, StopReason};
use sizewell::units::{Bytes, Joules, Seconds};
use sizewell::workload::{Case, Input, Limits, Preset, Quant};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::record::{limits, record};

const CASE: Case = Case::new(Quant::F16, 4, 100, 11);

fn key(case: Case) -> CaseKey {
    CaseKey { engine: "fake".into(), model: "m".into(), device: "cpu".into(), case, arrival: None }
}

/// An engine of 0.5 s to the first token and 0.05 s for each other: 1 s an iteration.
fn engine(clock: &FakeClock) -> FakeEngine {
    let clock = clock.clone();
    FakeEngine::new(Arc::new(move |by| clock.advance(by)), Seconds(0.5), Seconds(0.05))
}

fn bench<'a>(clock: &'a FakeClock, limits: Limits, nowhere: &Path) -> CaseContext<'a> {
    CaseContext {
        clock,
        limits,
        seed: 1,
        shape: None,
        ceilings: &[],
        cache_bytes: Bytes(0.0),
        power: None,
        no_power: "no meter here".into(),
        idle: Err("not waited for".into()),
        activity: ActivityMonitor::new(nowhere),
        last_load: None,
    }
}

fn run(engine: &mut FakeEngine, clock: &FakeClock, limits: Limits) -> CaseResult {
    let nowhere = tempfile::tempdir().unwrap();
    run_case(engine, key(CASE), &mut bench(clock, limits, nowhere.path()), &mut Silent).unwrap()
}

#[test]
fn metrics_are_what_the_engine_took() {
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    let result = run(&mut engine, &clock, limits());
    let CaseRow { outcome, metrics, stop_reason, samples, warmup_iterations, .. } = &result.row;
    assert_eq!((*outcome, *stop_reason), (Outcome::Ok, Some(StopReason::Converged)));
    assert!(result.row.is_valid());
    // 10 samples are the least that can converge; four iterations warm up: one that never counts, and three alike.
    assert_eq!((*samples, *warmup_iterations), (10, 4));
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    close(metrics.ttft.unwrap().median.0, 0.5);
    close(metrics.tpot.unwrap().median.0, 0.05);
    close(metrics.itl.unwrap().median.0, 0.05);
    close(metrics.e2e.unwrap().median.0, 1.0);
    close(metrics.prefill_tokens_per_s.unwrap().value.0, 800.0);
    close(metrics.decode_tokens_per_s.unwrap().value.0, 80.0);
    close(metrics.requests_per_s.unwrap().value.0, 4.0);
    close(metrics.load.unwrap().0, 1.0);
    assert_eq!(result.load.unwrap().quant, Quant::F16);
    assert_eq!(result.samples.len(), 14);
    assert_eq!(result.samples.iter().filter(|s| s.warmup).count(), 4);
    assert_eq!(result.row.why_absent("energy_j"), Some("no meter here"));
}

#[test]
fn a_recording_is_skipped_by_an_engine_that_transcribes_none() {
    let (clock, nowhere) = (FakeClock::default(), tempfile::tempdir().unwrap());
    let shape = Preset::named("smollm2-135m").unwrap().shape;
    let input = Input::Audio { seconds: 30, gen_tokens: NonZeroUsize::MIN };
    let mut bench = Bench { shape: Some(&shape), ..bench(&clock, limits(), nowhere.path()) };
    let mut engine = engine(&clock);
    let row = run_case(&mut engine, key(Case { input, ..CASE }), &mut bench, &mut Silent).unwrap().row;
    assert_eq!((row.outcome, row.reason), (Outcome::Skipped, Some(FailureKind::Unsupported)));
    assert_eq!(row.message, "a recording is not supported: the model generates text");
}

#[test]
fn warm_up_lasts_until_iterations_agree() {
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    // The first pass takes six times as long, the second twice.
    engine.duration = Arc::new(|iteration, step| {
        let factor = [6.0, 2.0, 1.2].get(iteration).copied().unwrap_or(1.0);
        Seconds(if step == 0 { 0.5 } else { 0.05 } * factor)
    });
    let result = run(&mut engine, &clock, limits());
    assert_eq!(result.row.warmup_iterations, 6);
    assert!((result.row.metrics.e2e.unwrap().median.0 - 1.0).abs() < 1e-9);
    assert!(result.row.is_valid());
}

#[test]
fn an_engine_that_never_settles_is_unsteady() {
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    engine.duration =
        Arc::new(|iteration, step| Seconds(if step == 0 { 0.5 } else { 0.05 } * (1.0 + 0.06 * iteration as f64)));
    let limits = Limits { warmup_max_s: 4.0, ..limits() };
    let result = run(&mut engine, &clock, limits);
    assert!(result.row.invalid.contains(&InvalidReason::Unsteady), "{:?}", result.row.invalid);
    assert!(!result.row.is_valid());
}

#[test]
fn noise_stops_at_the_time_limit() {
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    engine.duration = Arc::new(|iteration, step| {
        Seconds(if step == 0 { 0.5 } else { 0.05 } * (1.0 + 0.5 * ((iteration * 7) % 4) as f64))
    });
    let result = run(&mut engine, &clock, limits());
    assert_eq!(result.row.stop_reason, Some(StopReason::TimeLimit));
    assert!(result.row.invalid.contains(&InvalidReason::Noisy));
}

#[test]
fn a_failure_is_a_row_with_its_reason() {
    for (fault, reason, outcome) in [
        (Fault::DoesNotFit, FailureKind::DoesNotFit, Outcome::Skipped),
        (Fault::Fails, FailureKind::EngineError, Outcome::Failed),
        (Fault::Panics, FailureKind::Crashed, Outcome::Failed),
        (Fault::DropsAToken, FailureKind::WrongTokenCount, Outcome::Failed),
        (Fault::NotFinite, FailureKind::NotFinite, Outcome::Failed),
    ] {
        let clock = FakeClock::default();
        let mut engine = engine(&clock);
        engine.fault = Arc::new(move |_| fault);
        let row = run(&mut engine, &clock, limits()).row;
        assert_eq!((row.reason, row.outcome), (Some(reason), outcome), "{fault:?}");
        assert!(!row.message.is_empty() && row.metrics.ttft.is_none());
    }
}

#[test]
fn an_iteration_that_takes_too_long_is_timed_out() {
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    let row = run(&mut engine, &clock, Limits { timeout_s: 0.7, ..limits() }).row;
    assert_eq!(row.reason, Some(FailureKind::TimedOut));
    assert!(row.message.contains("longer than 700 ms"), "{}", row.message);
}

#[test]
fn energy_is_that_of_the_window_or_absent_with_a_reason() {
    let nowhere = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    let mut bench = bench(&clock, limits(), nowhere.path());
    let power = FakePower::new(vec![Ok(Joules(5.0)), Ok(Joules(8.0))]);
    bench.power = Some(Box::new(power.clone()));
    let result = run_case(&mut engine, key(CASE), &mut bench, &mut Silent).unwrap();
    // The fake clock leaps, so that the real window is too short for an energy.
    assert!(result.row.why_absent("energy_j").unwrap().starts_with("window_too_short"));
    assert_eq!(result.row.metrics.energy, None);
    assert!(power.reads() >= 2 && result.power.len() >= 2);
    assert!(bench.power.is_some(), "the source is there for the next case");
}

/// Stops after a number of phases.
struct Impatient {
    phases: AtomicUsize,
    most: usize,
    stop: AtomicBool,
}

impl Observer for Impatient {
    fn phase(&mut self, _: Phase) {
        if self.phases.fetch_add(1, Ordering::Relaxed) + 1 >= self.most {
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn stop_flag(&self) -> Option<&AtomicBool> {
        Some(&self.stop)
    }
}

fn profiled(folder: &Path, engine: &mut FakeEngine, clock: &FakeClock, observer: &mut dyn Observer) -> bool {
    let nowhere = tempfile::tempdir().unwrap();
    let (mut folder, mut record) = if folder.join("run.json").exists() {
        RunFolder::resume(folder).unwrap()
    } else {
        let record = record();
        (RunFolder::create(folder, &record).unwrap(), record)
    };
    let limits = record.workload.as_ref().unwrap().limits;
    let end = profile(engine, &mut folder, &mut record, &mut bench(clock, limits, nowhere.path()), observer).unwrap();
    end == End::Complete
}

#[test]
fn a_sweep_goes_on_after_failures() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    engine.fault = Arc::new(|case| match (case.quant, case.batch) {
        (Quant::F16, 4) => Fault::Panics,
        (Quant::Int8, 1) => Fault::DoesNotFit,
        _ => Fault::None,
    });
    assert!(profiled(folder.path(), &mut engine, &clock, &mut Silent));
    let run = Run::read(folder.path()).unwrap();
    assert_eq!(run.record.status, RunStatus::Complete);
    let outcomes: Vec<Outcome> = run.cases.iter().map(|row| row.outcome).collect();
    assert_eq!(outcomes, [Outcome::Ok, Outcome::Failed, Outcome::Skipped, Outcome::Ok]);
    let ids: Vec<String> = run.cases.iter().map(|row| row.key.id()).collect();
    assert_eq!(ids, case_keys(&run.record).iter().map(CaseKey::id).collect::<Vec<_>>());
}

#[test]
fn an_interrupted_sweep_keeps_what_it_has_and_continues() {
    let folder = tempfile::tempdir().unwrap();
    let clock = FakeClock::default();
    let mut engine = engine(&clock);
    let mut observer = Impatient { phases: AtomicUsize::new(0), most: 20, stop: AtomicBool::new(false) };
    assert!(!profiled(folder.path(), &mut engine, &clock, &mut observer));
    let run = Run::read(folder.path()).unwrap();
    assert_eq!(run.record.status, RunStatus::Interrupted);
    let kept = run.cases.len();
    assert!((1..4).contains(&kept), "{kept}");
    assert!(profiled(folder.path(), &mut engine, &clock, &mut Silent));
    let run = Run::read(folder.path()).unwrap();
    assert_eq!((run.cases.len(), run.record.status), (4, RunStatus::Complete));
    let prepared =
        engine.calls.lock().unwrap().iter().filter(|call| call.as_str() == "prepare f16 b1 p100 g11").count();
    assert_eq!(prepared, 2, "a case that was done (prepared twice: its load writes a sample) is not run again");
}

#[test]
fn what_cannot_be_is_a_failure_and_not_a_run_that_nobody_can_read() {
    let work = tempfile::tempdir().unwrap();
    let (path, clock) = (work.path().join("run"), FakeClock::default());
    // Every token is there as soon as it is asked for.
    let moving = clock.clone();
    let mut engine = FakeEngine::new(Arc::new(move |by| moving.advance(by)), Seconds(0.5), Seconds(0.0));
    assert!(profiled(&path, &mut engine, &clock, &mut Silent));
    let run = Run::read(&path).unwrap();
    assert!(!run.cases.is_empty());
    for row in &run.cases {
        assert_eq!(row.reason, Some(FailureKind::EngineError), "{row:?}");
        assert!(row.message.ends_with("column `decode_tokens_per_s`: inf is not a finite number"), "{}", row.message);
    }
}
