//! What recording costs: the same iterations of a real model, with everything that `profile` does around them
//! (clock readings, checks, activity counters, a power sampler, the stopping rule, rows on disk) and without any of it.
//!
//! `cargo bench --bench overhead [-- ROUNDS [MODEL]]` runs one recorded and two bare loops a round, in turning order, and
//! prints
//! - the share of a recorded loop's time that passes outside of the engine, which is exact but blind to what recording
//!   slows down inside of it,
//! - the ratio of a recorded to a bare loop, with its 95 % interval over the rounds, which sees both, and
//! - the ratio of the two bare loops, which is 1 but for the noise of the machine.

// A program exports nothing.
#![allow(unreachable_pub)]

#[path = "../tests/support/record.rs"]
mod record;

use sizewell::device::activity::ActivityMonitor;
use sizewell::engine::backend::ops::Kernels;
use sizewell::engine::{Engine, EngineError, Generated, Prepared, Step};
use sizewell::engine::{backend::threads, session::candle::CandleEngine, weights as source};
use sizewell::measure::Silent;
use sizewell::measure::profile::profile;
use sizewell::measure::runner::CaseContext;
use sizewell::power::fake::FakePower;
use sizewell::record::{RunFolder, RunRecord};
use sizewell::statistics::bootstrap::{median, median_interval};
use sizewell::units::{Bytes, Joules};
use sizewell::workload::sweep::Grid;
use sizewell::workload::{Case, Quant};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// Iterations of each loop that are measured; one more warms up.
const SAMPLES: usize = 9;
const CASE: Case = Case::new(Quant::Int8, 1, 8, 12);

/// An engine that knows how long its iterations took, without what happened in the steps between them.
struct Timed {
    inner: CandleEngine,
    iterations: usize,
    inside: Duration,
}

impl Engine for Timed {
    fn prepare(&mut self, case: &Case) -> Result<Prepared, EngineError> {
        let start = Instant::now();
        let prepared = self.inner.prepare(case);
        self.inside += start.elapsed();
        prepared
    }

    fn iterate(&mut self, case: &Case, prompts: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError> {
        let start = Instant::now();
        let mut outside = Duration::ZERO;
        let generated = self.inner.iterate(case, prompts, &mut || {
            let begin = Instant::now();
            let flow = step();
            outside += begin.elapsed();
            flow
        });
        self.inside += start.elapsed() - outside;
        self.iterations += 1;
        generated
    }

    fn synchronize(&mut self) -> Result<(), EngineError> {
        self.inner.synchronize()
    }

    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }
}

fn workload(mut record: RunRecord) -> RunRecord {
    let sweep = record.workload.as_mut().expect("the test record has a workload");
    sweep.quant = vec![CASE.quant];
    sweep.grid = vec![Grid {
        batch: vec![1],
        prompt: vec![CASE.prompt_tokens()],
        gen_tokens: vec![CASE.gen_tokens()],
        ..Grid::default()
    }];
    // The first iteration is the warm-up, and only the count ends the measurement.
    sweep.limits.warmup_max_s = 0.0;
    (sweep.limits.min_samples, sweep.limits.max_samples) = (SAMPLES, SAMPLES);
    sweep.limits.max_time_s = 4.9;
    record
}

/// One profiled case: seconds in all and seconds outside of the engine.
fn recorded(engine: &mut Timed, record: &RunRecord, prompts_seed: u64) -> (f64, f64) {
    let place = tempfile::tempdir().expect("a temporary folder");
    let mut record = record.clone();
    let mut folder = RunFolder::create(&place.path().join("run"), &record).expect("a run folder");
    let limits = record.workload.as_ref().map(|w| w.limits).expect("a workload");
    let shape = record.model.as_ref().map(|m| m.shape.clone());
    let mut bench = CaseContext {
        clock: &sizewell::measure::clock::SystemClock,
        limits,
        seed: prompts_seed,
        shape: shape.as_ref(),
        ceilings: &[],
        cache_bytes: Bytes(0.0),
        power: Some(Box::new(FakePower::new(vec![Ok(Joules(1.0))]))),
        no_power: String::new(),
        idle: Err(String::new()),
        activity: ActivityMonitor::new(Path::new("/")),
        last_load: None,
    };
    (engine.iterations, engine.inside) = (0, Duration::ZERO);
    let start = Instant::now();
    profile(engine, &mut folder, &mut record, &mut bench, &mut Silent).expect("a profile");
    let all = start.elapsed();
    (all.as_secs_f64(), (all - engine.inside).as_secs_f64())
}

/// The same iterations by themselves.
fn bare(engine: &mut Timed, iterations: usize) -> f64 {
    let prompts = vec![(0..CASE.prompt_tokens() as u32).map(|i| 3 * i + 1).collect()];
    let start = Instant::now();
    engine.inner.prepare(&CASE).expect("weights");
    for _ in 0..iterations {
        engine.inner.iterate(&CASE, &prompts, &mut || ControlFlow::Continue(())).expect("an iteration");
        engine.inner.synchronize().expect("an end");
    }
    start.elapsed().as_secs_f64()
}

fn main() {
    // `cargo bench` and `cargo test --benches` add flags of their own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let rounds = args.first().and_then(|arg| arg.parse().ok()).unwrap_or(30);
    let model = args.get(1).map_or("smollm2-135m", String::as_str);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // SAFETY: this is the first thing that happens: no other thread is there.
    unsafe { threads::configure(cores, None) };
    let opened = source::open(model, 0, false).unwrap_or_else(|error| panic!("{error}"));
    let mut engine = Timed { inner: CandleEngine::new(opened, Kernels::Own), iterations: 0, inside: Duration::ZERO };
    let record = workload(record::record());
    // The first loads the weights and warms up longer.
    recorded(&mut engine, &record, 1);
    recorded(&mut engine, &record, 1);
    let iterations = engine.iterations;
    let (mut shares, mut ratios, mut control) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut plain = Vec::new();
        let mut whole = 0.0;
        for turn in 0..3 {
            if turn != round % 3 {
                plain.push(bare(&mut engine, iterations));
                continue;
            }
            let (all, outside) = recorded(&mut engine, &record, 1);
            assert_eq!(engine.iterations, iterations, "all loops do the same work");
            shares.push(outside / (all - outside));
            whole = all;
        }
        ratios.push(whole / ((plain[0] + plain[1]) / 2.0));
        control.push(plain[1] / plain[0]);
    }
    let show = |name: &str, values: &[f64]| {
        let (lo, hi) = median_interval(values, 2000, 1).unwrap_or((f64::NAN, f64::NAN));
        let middle = median(values).unwrap_or(f64::NAN);
        println!("{name}: {middle:.5} (95 % interval {lo:.5} to {hi:.5}, {} rounds)", values.len());
    };
    let (prompt_tokens, gen_tokens, quant) = (CASE.prompt_tokens(), CASE.gen_tokens(), CASE.quant);
    println!(
        "{model} {quant}, {prompt_tokens} prompt and {gen_tokens} generated tokens, {iterations} iterations a loop"
    );
    show("time outside of the engine / inside", &shares);
    show("recorded loop / bare loop", &ratios);
    show("bare loop / bare loop", &control);
}
