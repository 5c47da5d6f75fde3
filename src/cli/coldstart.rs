//! `sizewell coldstart`: what passes between starting a process and its first token. Each repeat is a process of its own,
//! once with the weights out of the page cache and once with them in it.

use super::measure_args::{KernelsArg, MeasureArgs};
use super::setup::{cuda_engine, default_folder, model_record, new_record, open_card, warn_of_threads};
use super::stop::{self, stop_on_signal, stop_was_asked};
use super::talk::Talk;
use super::{Exit, output, usage};
use crate::device::{DeviceId, page_cache};
use crate::engine::EngineError;
use crate::engine::backend::threads;
use crate::engine::open::{About, Opened};
use crate::engine::weights::{self as source, Origin, gguf_writer};
use crate::measure::clock::{Clock, SystemClock};
use crate::measure::coldstart::{Phases, phases};
use crate::record::coldstart::{ColdStartRow, PageCache};
use crate::record::{RunFolder, RunStatus, whole};
use crate::report::content;
use crate::units::Seconds;
use crate::workload::{Case, Quant};
use anyhow::Context;
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
#[derive(Debug, Clone, clap::Args)]
struct What {
    /// Preset, GGUF file, folder with config.json and safetensors, or hub id. Of a preset, a file with random weights is
    /// written into the run's folder for as long as it takes.
    #[arg(long, short, value_name = "MODEL")]
    model: String,
    /// Device: `cpu` or `cuda:0`.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceId,
    /// Quantization level; that of the file by default, f16 of a preset.
    #[arg(long, value_parser = Quant::parse_runnable, value_name = "LEVEL")]
    quant: Option<Quant>,
    /// Prompt length of the first request.
    #[arg(long, default_value_t = 64, value_name = "N")]
    prompt: usize,
    /// Threads of the engine; one for each physical core by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// Arguments of `coldstart`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    what: What,
    /// Starts with a cold page cache, and as many with a warm one.
    #[arg(long, default_value_t = 5, value_name = "N")]
    repeat: usize,
    /// Folder for the run; results/DATE-HOST-MODEL-coldstart by default.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of the process that is started.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    what: What,
    /// When it was started, by the machine's clock.
    #[arg(long)]
    begun: f64,
    /// The files of the weights.
    #[arg(long = "file")]
    files: Vec<PathBuf>,
}

fn case(what: &What, quant: Quant) -> Case {
    Case::new(quant, 1, what.prompt, 1)
}

/// The process that is started.
pub fn probe(args: ProbeArgs) -> anyhow::Result<Exit> {
    let entered = SystemClock.now();
    let what = &args.what;
    let threads = what.threads.unwrap_or_else(crate::device::cpu::default_threads);
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { threads::configure(threads, None) };
    let Some(quant) = what.quant else { return usage("--quant is missing") };
    let open = || {
        let failed = |e: String| EngineError::Failed(e);
        let before = SystemClock.now();
        let card = open_card(what.device).map_err(|e| failed(e.to_string()))?;
        let opening = Seconds(if card.is_some() { SystemClock.now().0 - before.0 } else { 0.0 });
        let model = source::open(&what.model, 0, false).map_err(|e| EngineError::Model(e.to_string()))?;
        Ok((Opened::Decoder(Box::new(model)).engine(card, KernelsArg::Own.into())?, opening))
    };
    let measured = phases(&SystemClock, Seconds(args.begun), entered, &args.files, &case(what, quant), open)?;
    output::json(&measured)?;
    Ok(Exit::Done)
}

/// Starts, and shows the phases.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let Args { mut what, repeat, output: folder, json } = args;
    if repeat == 0 || what.prompt == 0 || what.threads == Some(0) {
        return usage("--repeat, --prompt and --threads must be above 0");
    }
    stop_on_signal();
    let engine_threads = what.threads.unwrap_or_else(crate::device::cpu::default_threads);
    let mut model = source::open(&what.model, 42, talk.shows_progress())?;
    let quant = what.quant.or(model.weights.native_quant()).unwrap_or(Quant::F16);
    model.weights.check_quant(quant).or_else(usage)?;
    what.quant = Some(quant);
    let mut record = new_record(&MeasureArgs::default(), engine_threads);
    warn_of_threads(&record.environment, talk);
    if let Some(card) = open_card(what.device)? {
        record.engine = cuda_engine(&card);
    }
    record.model = Some(model_record(About::of(&model))?);
    let path =
        folder.unwrap_or_else(|| default_folder(&record.environment.hostname, &format!("{}-coldstart", model.name)));
    let run = RunFolder::create(&path, &record)?;
    talk.say(format!("{} on {}, into {}", model.name, what.device, path.display()));
    let written = path.join(WEIGHTS);
    let mut removed = None;
    let files = match &model.origin {
        Origin::Files(files) => files.clone(),
        Origin::Embedded(_) => {
            return usage(format!("{} is a part of the program: a cold start needs a model in files", what.model));
        }
        Origin::Seed(_) => {
            talk.say(format!("writing random weights in {quant} to start from"));
            let files = [gguf_writer::temporary(&written), written.clone()];
            // They are of no use without this process.
            removed = Some(stop::at_end(move || {
                files.iter().for_each(|file| {
                    let _ = std::fs::remove_file(file);
                })
            }));
            gguf_writer::write(&written, &model.shape, model.weights.as_mut(), quant, &model.name)?;
            // By its name within the folder, which may have a name that is no text.
            what.model = format!("./{WEIGHTS}");
            vec![written.clone()]
        }
    };
    drop(model);
    let rows = starts(&what, &files, repeat, &path, talk);
    if written.exists() {
        std::fs::remove_file(&written).with_context(|| format!("{} cannot be removed", written.display()))?;
    }
    drop(removed);
    let rows = rows?;
    record.status = if rows.len() == 2 * repeat { RunStatus::Complete } else { RunStatus::Interrupted };
    record.finished_at = Some(crate::record::clock::now());
    run.write_record(&record)?;
    match json {
        true => output::json(&rows)?,
        false => {
            output::table(&content::cold_starts(&rows))?;
            output::text(&format!("\n{}\n", path.display()))?;
        }
    }
    if record.status != RunStatus::Complete {
        return Ok(Exit::Interrupted);
    }
    let failed = rows.iter().all(|row| row.total_s.is_none());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Cold and warm starts in turn, each row durable before the next start.
fn starts(
    what: &What,
    files: &[PathBuf],
    repeat: usize,
    folder: &Path,
    talk: &Talk,
) -> anyhow::Result<Vec<ColdStartRow>> {
    let path = folder.join("coldstart.csv");
    let file = whole::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    let mut writer = csv::Writer::from_writer(file.try_clone()?);
    let mut rows = Vec::new();
    for number in 1..=repeat {
        for cache in [PageCache::Cold, PageCache::Warm] {
            if stop_was_asked() {
                return Ok(rows);
            }
            let row = one(what, files, folder, number, cache);
            if stop_was_asked() {
                // A start that a signal cut short says nothing.
                return Ok(rows);
            }
            if row.outcome != "ok" {
                talk.warn(format!("start {number}: {}", row.outcome));
            }
            writer.serialize(&row)?;
            writer.flush()?;
            file.sync_all()?;
            rows.push(row);
        }
    }
    Ok(rows)
}

fn one(what: &What, files: &[PathBuf], folder: &Path, repeat: usize, cache: PageCache) -> ColdStartRow {
    let prepared = match cache {
        PageCache::Cold => page_cache::evict(files).map_err(|e| e.to_string()),
        PageCache::Warm => {
            crate::measure::coldstart::read_through(files).map(|_| "read before").map_err(|e| e.to_string())
        }
    };
    let cached = page_cache::cached_fraction(files);
    let started = match &prepared {
        Err(why) => Err(why.clone()),
        Ok(_) if cache == PageCache::Cold && cached.is_some_and(|share| share > MOST_CACHED) => Err(format!(
            "the system kept {:.0} % of the weights in memory: the start is not cold",
            100.0 * cached.unwrap_or(0.0)
        )),
        Ok(_) => spawn(what, files, folder, cache).map_err(|e| format!("{e:#}")),
    };
    let phases = started.as_ref().ok().copied();
    ColdStartRow {
        repeat,
        cache,
        cache_method: match (prepared.unwrap_or("none"), cache, what.device) {
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
fn spawn(what: &What, files: &[PathBuf], folder: &Path, cache: PageCache) -> anyhow::Result<Phases> {
    let mut command = Command::new(std::env::current_exe()?);
    if cache == PageCache::Cold {
        command.env(NO_KERNEL_CACHE.0, NO_KERNEL_CACHE.1);
    }
    if what.model == format!("./{WEIGHTS}") {
        command.current_dir(folder);
    }
    command.arg(PROBE_VERB).args(["--model", &what.model, "--device", &what.device.to_string()]);
    command.args(["--prompt", &what.prompt.to_string()]);
    command.args(what.quant.iter().flat_map(|quant| ["--quant".to_string(), quant.to_string()]));
    command.args(what.threads.iter().flat_map(|threads| ["--threads".to_string(), threads.to_string()]));
    for path in files {
        command.arg("--file").arg(std::path::absolute(path)?);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = SystemClock.now();
    let child = command.args(["--begun", &begun.0.to_string()]).spawn()?;
    let watched = stop::Child::watched(child.id());
    let out = child.wait_with_output()?;
    drop(watched);
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        anyhow::bail!("the process ended with {}: {}", out.status, said.lines().last().unwrap_or("").trim());
    }
    serde_json::from_slice(&out.stdout).context("the process said something else than its times")
}
