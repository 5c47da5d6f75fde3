//! Setting a measurement up and carrying it out: what `run` and `profile` do before they show anything.

use super::measure_args::MeasureArgs;
use super::progress::{Progress, stop_on_signal};
use super::talk::Talk;
use super::{Exit, usage};
use crate::device::activity::ActivityMonitor;
use crate::device::ceilings::{self, Settings};
use crate::device::cuda::{self, Card, CudaError};
use crate::device::inventory;
use crate::engine::Engine;
use crate::engine::candle::cpu::dot::cpu_level;
use crate::engine::candle::cuda::CudaEngine;
use crate::engine::candle::{CANDLE_VERSION, CandleEngine, source, threads};
use crate::measure::clock::SystemClock;
use crate::measure::overhead;
use crate::measure::profile::profile;
use crate::measure::runner::Bench;
use crate::power::{self, PowerSource};
use crate::record::run::{EngineRecord, ModelRecord, SCHEMA_VERSION};
use crate::record::{Ceiling, Outcome, Run, RunFolder, RunRecord, RunStatus};
use crate::units::{Bytes, Seconds, Watts};
use crate::workload::Sweep;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the idle power is read for.
const IDLE_TIME: Seconds = Seconds(10.0);

/// What a measurement came to.
pub struct Measured {
    /// The folder as it is now.
    pub run: Run,
    /// Every case has a row.
    pub complete: bool,
}

impl Measured {
    /// The exit status that the cases deserve.
    pub fn exit(&self) -> Exit {
        let ok: Vec<_> = self.run.cases.iter().filter(|row| row.outcome == Outcome::Ok).collect();
        match (self.complete, ok.is_empty(), ok.iter().any(|row| row.is_valid())) {
            (false, _, _) | (true, true, _) => Exit::Failed,
            (true, false, false) => Exit::InvalidMeasurement,
            (true, false, true) => Exit::Done,
        }
    }

    /// Says what the user should know of it.
    pub fn speak(&self, talk: &Talk) {
        let folder = self.run.path.display();
        if !self.complete {
            talk.say(format!("stopped; continue with --resume {folder}"));
        } else if self.run.cases.iter().all(|row| row.outcome != Outcome::Ok) {
            talk.say(format!("no case could be measured; {folder}/cases.csv says why"));
        }
    }
}

/// Measures what the arguments ask for, in a new folder or in one that is to be continued.
pub fn measure(args: &MeasureArgs, default_model: Option<&str>, talk: &Talk) -> anyhow::Result<Measured> {
    args.check()?;
    let engine_threads = args.engine_threads()?;
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { threads::configure(engine_threads, args.pin.as_deref()) };
    stop_on_signal();
    let (mut folder, mut record, mut engine) = match &args.resume {
        Some(path) => resume(path, args, engine_threads, talk)?,
        None => start(args, default_model, engine_threads, talk)?,
    };
    // Ceilings of a run that was begun without stay away: its cases would not have their shares alike.
    if record.ceilings.is_empty() && !args.no_ceilings && folder.done.is_empty() {
        let quick = record.workload.as_ref().is_some_and(|w| w.limits.max_time_s <= 5.0);
        let seconds_each = if quick { 0.25 } else { 0.7 };
        match card_of(&record.engine.device) {
            None => record.ceilings = measure_ceilings(engine_threads, seconds_each, talk),
            Some(index) => {
                let measured = measure_card(index, seconds_each, talk)?;
                (record.ceilings, record.ceilings_absent) = (measured.ceilings, measured.absent);
            }
        }
        folder.write_record(&record)?;
    }
    let complete = sweep(&mut folder, &mut record, engine.as_mut(), talk)?;
    drop(engine);
    let path = folder.path().to_path_buf();
    drop(folder);
    Ok(Measured { run: Run::read(&path)?, complete })
}

fn sweep(folder: &mut RunFolder, record: &mut RunRecord, engine: &mut dyn Engine, talk: &Talk) -> anyhow::Result<bool> {
    let mut progress = Progress::new(talk);
    engine.on_load(progress.loading());
    let (mut power, power_record) = power::open(Path::new("/"), &record.engine.device);
    let limits = record.workload.as_ref().map(|w| w.limits);
    let Some(limits) = limits else { return usage("the run has no workload: it holds ceilings only") };
    let idle = idle_power(power.as_deref_mut(), record.power.idle_w, limits.max_time_s, talk);
    record.power.idle_w = idle.as_ref().ok().copied();
    let shape = record.model.as_ref().map(|m| m.shape.clone());
    let measured_ceilings: Vec<Ceiling> = record.ceilings.clone();
    let cpu_cache = record.environment.cpu.caches_bytes.last().copied();
    let card_cache = card_of(&record.engine.device)
        .and_then(|index| cuda::list().ok()?.get(index).map(|card| Bytes(card.l2_bytes as f64)));
    let mut bench = Bench {
        clock: &SystemClock,
        limits,
        seed: record.seed,
        shape: shape.as_ref(),
        ceilings: &measured_ceilings,
        cache_bytes: card_cache.or(cpu_cache).unwrap_or(Bytes(0.0)),
        power,
        no_power: power_record.reason.clone().unwrap_or_default(),
        idle,
        activity: ActivityMonitor::new(Path::new("/")),
        last_load: None,
    };
    let complete = profile(engine, folder, record, &mut bench, &mut progress);
    progress.finish();
    Ok(complete?)
}

/// The power of the device with nothing to do, where it is not known yet and cases will be long enough for an energy.
fn idle_power(
    source: Option<&mut (dyn PowerSource + 'static)>,
    known: Option<Watts>,
    max_time_s: f64,
    talk: &Talk,
) -> Result<Watts, String> {
    let Some(source) = source else { return Err("there is no power meter".to_string()) };
    if let Some(known) = known {
        return Ok(known);
    }
    if max_time_s < source.sensor().least_window().0 {
        return Err("idle power was not waited for: cases are too short for an energy".to_string());
    }
    talk.say(format!("reading idle power for {IDLE_TIME}"));
    power::idle(source, IDLE_TIME).map_err(|error| format!("idle power could not be read: {error}"))
}

/// Measures the ceilings of the CPU with something to look at.
pub fn measure_ceilings(threads: usize, seconds_each: f64, talk: &Talk) -> Vec<Ceiling> {
    talk.say(format!("measuring the ceilings of this machine on {threads} threads"));
    let settings = Settings { threads, time_each: Duration::from_secs_f64(seconds_each) };
    ceilings::measure(&settings, &mut |_, _| ())
}

/// Measures the ceilings of a card, and says what could not be measured.
pub fn measure_card(index: usize, seconds_each: f64, talk: &Talk) -> Result<ceilings::cuda::Measured, CudaError> {
    let card = Card::open(index)?;
    talk.say(format!("measuring the ceilings of cuda:{index} ({})", card.facts.name));
    let measured = ceilings::cuda::measure(&card, Duration::from_secs_f64(seconds_each));
    for absent in &measured.absent {
        talk.warn(absent);
    }
    Ok(measured)
}

fn start(
    args: &MeasureArgs,
    default_model: Option<&str>,
    engine_threads: usize,
    talk: &Talk,
) -> anyhow::Result<(RunFolder, RunRecord, Box<dyn Engine>)> {
    let Some(model) = args.model.as_deref().or(default_model) else {
        return usage("--model is missing: name a preset (sizewell models list), a file, a folder or a hub id");
    };
    let sweep = args.sweep()?;
    let model = source::open(model, args.seed, talk.shows_progress())?;
    let sweep = with_native_levels(sweep, args, &model);
    let mut record = new_record(args, engine_threads);
    let card = open_card(&args.device)?;
    if let Some(card) = &card {
        record.engine = cuda_engine(card);
        (_, record.power) = power::open(Path::new("/"), &record.engine.device);
    }
    record.model = Some(ModelRecord {
        name: model.name.clone(),
        kind: model.kind.to_string(),
        location: model.location.clone(),
        synthetic: model.synthetic,
        hash: model.hash.clone(),
        parameters: model.shape.parameters(),
        shape: model.shape.clone(),
    });
    record.workload = Some(sweep);
    record.overhead = overhead::measure();
    let path = match &args.output {
        Some(path) => path.clone(),
        None => default_folder(&record.environment.hostname, &model.name),
    };
    let folder = RunFolder::create(&path, &record)?;
    let hardware = record.engine.hardware.as_ref().unwrap_or(&record.environment.cpu.model);
    talk.say(format!("{} on {hardware}, into {}", model.name, path.display()));
    if card.is_none() && cuda::count().is_ok_and(|cards| cards > 0) {
        talk.say("this machine has an NVIDIA card, which --device cuda:0 would use");
    }
    if let Some(overhead) = record.overhead {
        talk.say(format!("the measuring loop costs {} a token", overhead.per_token_s));
    }
    Ok((folder, record, engine_of(card, model)))
}

/// The card that a device's name means; `None` for the CPU.
fn card_of(device: &str) -> Option<usize> {
    device.strip_prefix("cuda:").and_then(|index| index.parse().ok())
}

fn open_card(device: &str) -> Result<Option<Arc<Card>>, CudaError> {
    card_of(device).map(|index| Card::open(index).map(Arc::new)).transpose()
}

fn engine_of(card: Option<Arc<Card>>, model: source::OpenedModel) -> Box<dyn Engine> {
    match card {
        Some(card) => Box::new(CudaEngine::new(card, model)),
        None => Box::new(CandleEngine::new(model)),
    }
}

/// What computes on a card.
fn cuda_engine(card: &Card) -> EngineRecord {
    let (major, minor) = card.facts.capability;
    let gemm = match cuda::blas::Blas::open(card) {
        Ok(_) => "cuBLASLt",
        Err(_) => "the project's own kernel",
    };
    EngineRecord {
        name: "candle".to_string(),
        version: CANDLE_VERSION.to_string(),
        device: format!("cuda:{}", card.facts.index),
        hardware: Some(card.facts.name.clone()),
        kernels: format!("fused PTX kernels on compute capability {major}.{minor}, matrix products by {gemm}"),
        compute_type: "16-bit activations and KV cache, f32 residual".to_string(),
    }
}

/// A quantized file cannot be run at higher precision: where the user named no levels, those of the workload that the
/// file can be are kept, and its own is added.
fn with_native_levels(mut sweep: Sweep, args: &MeasureArgs, model: &source::OpenedModel) -> Sweep {
    if args.quant.is_empty()
        && let Some(native) = model.weights.native_quant()
        && !sweep.quant.iter().all(|quant| model.weights.check_quant(*quant).is_ok())
    {
        sweep.quant.retain(|quant| model.weights.check_quant(*quant).is_ok());
        if !sweep.quant.contains(&native) {
            sweep.quant.insert(0, native);
        }
    }
    sweep
}

/// A record of this machine and program, with nothing measured yet.
pub fn new_record(args: &MeasureArgs, engine_threads: usize) -> RunRecord {
    let mut environment = inventory::environment(std::env::args().collect(), engine_threads, args.pin.clone());
    if let Ok(machine) = args.machine() {
        if let Some((provider, instance_type)) = machine.instance {
            environment.instance.provider = Some(provider);
            environment.instance.instance_type = Some(instance_type);
            environment.instance.known_from = "--as".to_string();
        }
        environment.instance.usd_per_hour = machine.usd_per_h.map(|price| price.0);
    }
    let (_, power) = power::open(Path::new("/"), "cpu");
    RunRecord {
        schema_version: SCHEMA_VERSION,
        status: RunStatus::Running,
        started_at: Timestamp::now(),
        finished_at: None,
        environment,
        engine: EngineRecord {
            name: "candle".to_string(),
            version: CANDLE_VERSION.to_string(),
            device: "cpu".to_string(),
            hardware: None,
            kernels: format!("{:?}", cpu_level()).to_lowercase(),
            compute_type: "f32 activations and KV cache".to_string(),
        },
        model: None,
        workload: None,
        seed: args.seed,
        arrival: "closed_batch".to_string(),
        metric_definitions: "vLLM and MLPerf: TPOT = (E2E - TTFT) / (n - 1), ITL = pooled gaps (METHODOLOGY.md)"
            .to_string(),
        ceilings: Vec::new(),
        ceilings_absent: Vec::new(),
        power,
        loads: Vec::new(),
        overhead: None,
    }
}

fn resume(
    path: &Path,
    args: &MeasureArgs,
    engine_threads: usize,
    talk: &Talk,
) -> anyhow::Result<(RunFolder, RunRecord, Box<dyn Engine>)> {
    let asked =
        !args.quant.is_empty() || !args.batch.is_empty() || !args.prompt.is_empty() || !args.gen_tokens.is_empty();
    let limits = args.max_time.is_some() || args.precision.is_some();
    if asked || limits || args.workload.is_some() || args.quick || args.model.is_some() {
        return usage("--resume continues what the folder says: leave out --model, --workload, axes and limits");
    }
    let (folder, mut record) = RunFolder::resume(path)?;
    for warning in &folder.warnings {
        talk.warn(warning);
    }
    let Some(known) = &record.model else { return usage(format!("{} holds ceilings only", path.display())) };
    let here = inventory::environment(Vec::new(), engine_threads, args.pin.clone());
    let there = &record.environment;
    if (&here.cpu.model, here.cpu.engine_threads) != (&there.cpu.model, there.cpu.engine_threads) {
        anyhow::bail!(
            "{} was begun on {} with {} threads; here it is {} with {}: cases of both cannot stand in one run",
            path.display(),
            there.cpu.model,
            there.cpu.engine_threads,
            here.cpu.model,
            here.cpu.engine_threads
        );
    }
    let name = known.location.clone().unwrap_or(known.name.clone());
    let model = source::open(&name, record.seed, talk.shows_progress())?;
    if model.hash != known.hash {
        anyhow::bail!("{name} is not the model that the run was begun with (its hash differs)");
    }
    talk.say(format!("continuing {}: {} cases are done", path.display(), folder.done.len()));
    record.status = RunStatus::Running;
    let card = open_card(&record.engine.device)?;
    let hardware = card.as_ref().map(|card| card.facts.name.clone());
    if hardware != record.engine.hardware {
        let names = [&hardware, &record.engine.hardware].map(|name| name.as_deref().unwrap_or("the CPU").to_string());
        anyhow::bail!("{} was begun on {}; {} is {} here", path.display(), names[1], record.engine.device, names[0]);
    }
    Ok((folder, record, engine_of(card, model)))
}

/// `results/DATE-HOST-MODEL`, with a number behind it where that is taken.
pub fn default_folder(hostname: &str, model: &str) -> PathBuf {
    let date = super::today();
    let plain: String = format!("{date}-{hostname}-{model}")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let base = Path::new("results").join(plain);
    let numbered = (2..).map(|n| PathBuf::from(format!("{}-{n}", base.display())));
    std::iter::once(base.clone()).chain(numbered).find(|path| !path.exists()).unwrap_or(base)
}
