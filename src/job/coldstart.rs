//! What passes between starting a process and its first token. Each repeat is a process of its own, once with the weights
//! out of the page cache and once with them in it.

use super::engine::{model_record, open_card};
use super::error::{JobError, failed, usage};
use super::machine::{SEED, default_folder, warn_of_threads};
use super::stop::AtEnd;
use super::{Context, MachineOptions, Reporter, Status, Stop};
use crate::device::{DeviceId, cpu, page_cache};
use crate::engine::EngineError;
use crate::engine::backend::ops::Kernels;
use crate::engine::open::describe;
use crate::engine::weights::ModelDescription;
use crate::engine::weights::{self as source, OpenedModel, Origin, gguf_writer};
use crate::measure::clock::{Clock, SystemClock};
use crate::measure::coldstart::{Phases, phases, read_through};
use crate::record::coldstart::{ColdStartRow, PageCache};
use crate::record::{RunFolder, RunStatus, atomic_file, clock};
use crate::units::Seconds;
use crate::workload::{Case, Quant};
use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The verb of the process that is started.
pub const PROBE_VERB: &str = "coldstart-probe";
/// The file that a preset's random weights are written to, for as long as it takes.
const WEIGHTS: &str = "weights.gguf";
/// What makes the driver compile kernels anew: a fresh container has nothing of what it keeps in a home folder.
const NO_KERNEL_CACHE: (&str, &str) = ("CUDA_CACHE_DISABLE", "1");
/// More of the weights than this in memory before a cold start: it was none.
const MOST_CACHED: f64 = 0.05;

/// What is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// The model. Of a preset, a file with random weights is written into the run's folder for as long as it takes.
    pub model: String,
    /// The device.
    pub device: DeviceId,
    /// Its level; that of the file by default, f16 of a preset.
    pub quant: Option<Quant>,
    /// Prompt length of the first request.
    pub prompt: usize,
    /// Threads of the engine; one for each physical core by default.
    pub threads: Option<usize>,
}

impl Start {
    /// Threads of the engine.
    pub fn engine_threads(&self) -> usize {
        self.threads.unwrap_or_else(cpu::default_threads)
    }
}

/// What is started how often.
#[derive(Debug, Clone)]
pub struct ColdStartOptions {
    /// What is started.
    pub start: Start,
    /// Starts with a cold page cache, and as many with a warm one.
    pub repeat: usize,
    /// Folder for the run; `results/DATE-HOST-MODEL-coldstart` by default.
    pub output: Option<PathBuf>,
    /// The machine.
    pub machine: MachineOptions,
}

impl ColdStartOptions {
    /// Checks the numbers.
    pub fn check(&self) -> Result<(), JobError> {
        if self.repeat == 0 || self.start.prompt == 0 || self.start.threads == Some(0) {
            return usage("--repeat, --prompt and --threads must be above 0");
        }
        Ok(())
    }
}

/// Starts that were measured.
#[derive(Debug)]
pub struct ColdStarts {
    /// One for each start.
    pub rows: Vec<ColdStartRow>,
    /// The folder of the run.
    pub folder: PathBuf,
    is_complete: bool,
}

impl ColdStarts {
    /// How it ended.
    pub fn status(&self) -> Status {
        match (self.is_complete, self.rows.iter().all(|row| row.total_s.is_none())) {
            (false, _) => Status::Interrupted,
            (true, true) => Status::Failed,
            (true, false) => Status::Done,
        }
    }
}

/// What the process that is started does: it was begun at `begun` and came to itself at `entered`, by the machine's clock.
pub fn probe(start: &Start, begun: f64, entered: Seconds, files: &[PathBuf]) -> Result<Phases, JobError> {
    let Some(quant) = start.quant else { return usage("--quant is missing") };
    let case = Case::new(quant, 1, start.prompt, 1);
    let open = || {
        let before = SystemClock.now();
        let card = open_card(start.device).map_err(|e| EngineError::Failed(e.to_string()))?;
        let opening = Seconds(if card.is_some() { SystemClock.now().0 - before.0 } else { 0.0 });
        let model = source::open_decoder(&start.model, 0, false).map_err(|e| EngineError::Model(e.to_string()))?;
        Ok((model.engine(card, Kernels::Own)?, opening))
    };
    Ok(phases(&SystemClock, Seconds(begun), entered, files, &case, open)?)
}

/// Starts the model again and again, and writes down the phases of each start.
pub fn run(options: ColdStartOptions, reporter: &dyn Reporter, stop: &Stop) -> Result<ColdStarts, JobError> {
    options.check()?;
    let ColdStartOptions { mut start, repeat, output, machine } = options;
    let context = Context { reporter, stop };
    stop.heed();
    let mut model = source::open_decoder(&start.model, 42, reporter.shows_progress())?;
    let quant = start.quant.or(model.weights.native_quant()).unwrap_or(Quant::F16);
    model.weights.check_quant(quant).or_else(usage)?;
    start.quant = Some(quant);
    let mut record = machine.new_record(SEED, start.engine_threads());
    warn_of_threads(&record.environment, context);
    if let Some(card) = open_card(start.device)? {
        record.engine = describe(Some(&card), Kernels::Own);
    }
    record.model = Some(model_record(ModelDescription::of(&model))?);
    let folder =
        output.unwrap_or_else(|| default_folder(&record.environment.hostname, &format!("{}-coldstart", model.name)));
    let run = RunFolder::create(&folder, &record)?;
    context.note(format!("{} on {}, into {}", model.name, start.device, folder.display()));
    let (files, removed) = files(&mut start, &mut model, quant, &folder, context)?;
    drop(model);
    let rows = starts(&start, &files, repeat, &folder, context);
    let written = folder.join(WEIGHTS);
    if written.exists() {
        std::fs::remove_file(&written).with_context(|| format!("{} cannot be removed", written.display()))?;
    }
    drop(removed);
    let rows = rows?;
    let is_complete = rows.len() == 2 * repeat;
    record.status = if is_complete { RunStatus::Complete } else { RunStatus::Interrupted };
    record.finished_at = Some(clock::now());
    run.write_record(&record)?;
    Ok(ColdStarts { rows, folder, is_complete })
}

/// The files that the model is started from; those that are written for it are removed where the process ends before.
fn files(
    start: &mut Start,
    model: &mut OpenedModel,
    quant: Quant,
    folder: &Path,
    context: Context<'_>,
) -> Result<(Vec<PathBuf>, Option<AtEnd>), JobError> {
    match &model.origin {
        Origin::Files(files) => Ok((files.clone(), None)),
        Origin::Embedded(_) => {
            usage(format!("{} is a part of the program: a cold start needs a model in files", start.model))
        }
        Origin::Seed(_) => {
            context.note(format!("writing random weights in {quant} to start from"));
            let written = folder.join(WEIGHTS);
            let files = [gguf_writer::temporary(&written), written.clone()];
            // They are of no use without this process.
            let removed = context.stop.at_end(move || {
                files.iter().for_each(|file| {
                    let _ = std::fs::remove_file(file);
                })
            });
            gguf_writer::write(&written, &model.shape, model.weights.as_mut(), quant, &model.name)?;
            // By its name within the folder, which may have a name that is no text.
            start.model = format!("./{WEIGHTS}");
            Ok((vec![written], Some(removed)))
        }
    }
}

/// Cold and warm starts in turn, each row durable before the next start.
fn starts(
    start: &Start,
    files: &[PathBuf],
    repeat: usize,
    folder: &Path,
    context: Context<'_>,
) -> Result<Vec<ColdStartRow>, JobError> {
    let path = folder.join("coldstart.csv");
    let file = atomic_file::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    let mut writer = csv::Writer::from_writer(file.try_clone()?);
    let mut rows = Vec::new();
    for number in 1..=repeat {
        for cache in [PageCache::Cold, PageCache::Warm] {
            if context.stop.is_asked() {
                return Ok(rows);
            }
            let row = one(start, files, folder, (number, cache), context.stop);
            if context.stop.is_asked() {
                // A start that a signal cut short says nothing.
                return Ok(rows);
            }
            if row.outcome != "ok" {
                context.warn(format!("start {number}: {}", row.outcome));
            }
            writer.serialize(&row)?;
            writer.flush()?;
            file.sync_all()?;
            rows.push(row);
        }
    }
    Ok(rows)
}

fn one(
    start: &Start,
    files: &[PathBuf],
    folder: &Path,
    (repeat, cache): (usize, PageCache),
    stop: &Stop,
) -> ColdStartRow {
    let prepared = match cache {
        PageCache::Cold => page_cache::evict(files).map_err(|e| e.to_string()),
        PageCache::Warm => read_through(files).map(|_| "read before").map_err(|e| e.to_string()),
    };
    let cached = page_cache::cached_fraction(files);
    let started = match &prepared {
        Err(why) => Err(why.clone()),
        Ok(_) if cache == PageCache::Cold && cached.is_some_and(|share| share > MOST_CACHED) => Err(format!(
            "the system kept {:.0} % of the weights in memory: the start is not cold",
            100.0 * cached.unwrap_or(0.0)
        )),
        Ok(_) => spawn(start, files, folder, cache, stop).map_err(|e| format!("{e:#}")),
    };
    let phases = started.as_ref().ok().copied();
    ColdStartRow {
        repeat,
        cache,
        cache_method: match (prepared.unwrap_or("none"), cache, start.device) {
            (method, PageCache::Cold, DeviceId::Cuda(_)) => {
                format!("{method}, {}={}", NO_KERNEL_CACHE.0, NO_KERNEL_CACHE.1)
            }
            (method, ..) => method.to_string(),
        },
        outcome: started.err().unwrap_or("ok".to_string()),
        process_s: phases.map(|p| p.process_s),
        read_s: phases.map(|p| p.read_s),
        load_s: phases.map(|p| p.load_s),
        copy_s: phases.and_then(|p| p.copy_s),
        warm_up_s: phases.map(|p| p.warm_up_s),
        first_token_s: phases.map(|p| p.first_token_s),
        total_s: phases.map(|p| p.total_s),
        cached_fraction: cached,
    }
}

/// Starts the process and reads what it says.
fn spawn(start: &Start, files: &[PathBuf], folder: &Path, cache: PageCache, stop: &Stop) -> Result<Phases, JobError> {
    let mut command = Command::new(std::env::current_exe()?);
    if cache == PageCache::Cold {
        command.env(NO_KERNEL_CACHE.0, NO_KERNEL_CACHE.1);
    }
    if start.model == format!("./{WEIGHTS}") {
        command.current_dir(folder);
    }
    command.arg(PROBE_VERB).args(["--model", &start.model, "--device", &start.device.to_string()]);
    command.args(["--prompt", &start.prompt.to_string()]);
    command.args(start.quant.iter().flat_map(|quant| ["--quant".to_string(), quant.to_string()]));
    command.args(start.threads.iter().flat_map(|threads| ["--threads".to_string(), threads.to_string()]));
    for path in files {
        command.arg("--file").arg(std::path::absolute(path)?);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = SystemClock.now();
    let child = command.args(["--begun", &begun.0.to_string()]).spawn()?;
    let watched = stop.child(child.id());
    let out = child.wait_with_output()?;
    drop(watched);
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        let last = said.lines().last().unwrap_or("").trim();
        return failed(format!("the process ended with {}: {last}", out.status));
    }
    Ok(serde_json::from_slice(&out.stdout).context("the process said something else than its times")?)
}
