//! `sizewell quality`: what a quantization or a pruning costs in answers.

use super::catalog::load_catalog;
use super::drift;
use super::evaluating::{Rows, evaluate};
use super::job::{Job, job, open, same_vocabulary};
use super::keeping::{self, Keeping};
use super::measure_args::{KernelsArg, MeasureArgs};
use super::measuring;
use super::setup::{self, model_record, new_record};
use super::stop::{end_on_signal, goes_on_by, stop_on_signal};
use super::talk::Talk;
use super::{Exit, output, usage};
use crate::device::DeviceId;
use crate::engine::backend::threads;
use crate::engine::open::About;
use crate::engine::weights::OpenedModel;
use crate::measure::profile::End;
use crate::quality::QualityError;
use crate::quality::compare;
use crate::quality::variant::AskedPruning;
use crate::record::{
    ItemRow, ModelRecord, QualityRecord, QualityRow, Run, RunFolder, RunRecord, RunStatus, VariantRecord,
};
use crate::report::content;
use crate::sizing::MachinePrice;
use crate::units::Usd;
use crate::workload::Quant;
use rust_decimal::Decimal;
use std::path::{Path, PathBuf};

/// Prompt and tokens of the case that the speed of each level is measured by.
const SPEED_CASE: (usize, usize) = (128, 32);

/// What a run is begun with, and goes on with.
const BEGUN_WITH: [&str; 19] = [
    "model",
    "reference",
    "data",
    "context",
    "stride",
    "quant",
    "prune",
    "calibration",
    "margin",
    "device",
    "kernels",
    "threads",
    "seed",
    "no_speed",
    "baseline",
    "watch",
    "instance",
    "price_per_hour",
    "output",
];

/// Arguments of `quality`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// GGUF file, folder with config.json and safetensors, hub id, or `reference`, the small model in this program.
    #[arg(long, short, value_name = "MODEL", default_value = "", hide_default_value = true)]
    pub(super) model: String,
    /// Another model to hold it against, such as the f16 file that a quantized one was made of.
    #[arg(long, value_name = "MODEL")]
    pub(super) reference: Option<String>,
    /// Data sets: plain text, or JSON lines (METHODOLOGY.md says which keys); those in this program for `reference`.
    #[arg(long, short, value_delimiter = ',', value_name = "FILE,...")]
    pub(super) data: Vec<PathBuf>,
    /// Tokens of a window of text; 512 or what the model has by default.
    #[arg(long, value_name = "N")]
    pub(super) context: Option<usize>,
    /// How far windows are apart, every token counted once; by default each stands alone and its second half counts, as
    /// with llama.cpp.
    #[arg(long, value_name = "N")]
    pub(super) stride: Option<usize>,
    /// Levels to compare, the reference first: f32, bf16, f16, int8, q6_k, q5_k, int4, q4_0, q3_k, q2_k. By default the
    /// file's own, int8 and int4.
    #[arg(long, value_parser = Quant::parse_runnable, value_delimiter = ',', value_name = "LEVEL,...")]
    pub(super) quant: Vec<Quant>,
    /// Prunings to compare, such as wanda:0.5 or magnitude:2:4, stored at the level of the reference or another:
    /// wanda:0.5@int4.
    #[arg(long, value_delimiter = ',', value_name = "PRUNING,...")]
    pub(super) prune: Vec<AskedPruning>,
    /// Text that Wanda weighs activations by; not that of the evaluation.
    #[arg(long, value_name = "FILE")]
    pub(super) calibration: Option<PathBuf>,
    /// The change that sample sizes are counted for: a share of right answers, or of the perplexity.
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    pub(super) margin: f64,
    /// Device: `cpu` or `cuda:0` (with --kernels candle).
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub(super) device: DeviceId,
    /// Whose kernels compute.
    #[arg(long, value_enum, default_value = "own")]
    pub(super) kernels: KernelsArg,
    /// Threads of the engine; one for each physical core by default.
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// Seed of resampling.
    #[arg(long, default_value_t = 42)]
    pub(super) seed: u64,
    /// Do not measure how fast each level is.
    #[arg(long)]
    no_speed: bool,
    /// A run of `quality` to hold the model, or its data, of today against: what has changed since?
    #[arg(long, value_name = "RUN")]
    pub(super) baseline: Option<PathBuf>,
    /// History to append this window to; three flagged windows in succession are an alarm (exit status 3).
    #[arg(long, requires = "baseline", value_name = "FILE")]
    pub(super) watch: Option<PathBuf>,
    /// The instance that this machine is, such as aws:m7a.large.
    #[arg(long = "as", value_name = "PROVIDER:TYPE")]
    instance: Option<String>,
    /// What an hour of this machine costs, in USD.
    #[arg(long, value_name = "USD")]
    price_per_hour: Option<Decimal>,
    /// Folder for the run; results/DATE-HOST-MODEL-quality by default.
    #[arg(long, short, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// Continue the run in this folder behind the variants that are finished; it says what is compared with what.
    #[arg(long, value_name = "DIR", conflicts_with_all = BEGUN_WITH)]
    resume: Option<PathBuf>,
    /// Show every figure with its interval, and what could have been found, as quality.csv has them.
    #[arg(long)]
    pub(super) details: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Evaluates every variant, measures how fast it is, and shows one table.
pub fn run(mut args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let resumed = args.resume.take();
    if let Some(folder) = &resumed {
        args = keeping::asked_by(folder, &args)?;
    }
    if args.model.is_empty() {
        return usage("--model is missing: a GGUF file, a folder, a hub id, or `reference`");
    }
    if !(args.margin > 0.0 && args.margin < 1.0) {
        return usage("--margin must be between 0 and 1");
    }
    if args.threads == Some(0) {
        return usage("--threads is 0; at least 1 is needed");
    }
    let engine_threads = args.threads.unwrap_or_else(crate::device::cpu::default_threads);
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { threads::configure(engine_threads, None) };
    // There is nothing to keep yet.
    end_on_signal();
    let model = open(&args.model, args.seed, talk)?;
    let other = args.reference.as_deref().map(|name| open(name, args.seed, talk)).transpose()?;
    if let Some(other) = &other {
        same_vocabulary(&model, other)?;
    }
    let mut job = job(&args, &model, other.as_ref())?;
    job.sets.iter().flat_map(|set| set.survey.notes().into_iter().map(move |note| (set, note))).for_each(
        |(set, note)| {
            talk.warn(format!("{}: {note}", set.location));
        },
    );
    stop_on_signal();
    let folder = begun_or_continued(resumed.as_deref(), &args, &job, &model, engine_threads, talk)?;
    goes_on_by(format!("sizewell quality --resume {}", folder.display()));
    let (folder, mut record) = RunFolder::resume(&folder)?;
    let reference_record = other.as_ref().map(About::of).map(model_record).transpose()?;
    let keeping = Keeping::new(&folder, &job, &record, reference_record.as_ref())?;
    // The speed of the levels may be known by now, and their quality is not.
    (record.status, record.finished_at) = (RunStatus::Running, None);
    folder.write_record(&record)?;
    let mut rows = Rows::default();
    let reference_model = reference_record.as_ref();
    let mut so_far = |rows: &Rows| publish(&folder, &mut record, rows, (&args, &job), reference_model);
    if let Err(error) = evaluate(&args, &job, model, other, &keeping, &mut rows, &mut so_far, talk) {
        return Err(stopped(error, &folder, &mut record, job.variants.len()));
    }
    let windows = match job.baseline.take() {
        Some(baseline) => baseline.window(&args, &job, &rows, &record, &folder)?,
        None => Vec::new(),
    };
    let figures = publish(&folder, &mut record, &rows, (&args, &job), reference_model)?;
    if let Some(quality) = &mut record.quality {
        quality.drift = windows.last().cloned();
    }
    (record.status, record.finished_at) = (RunStatus::Complete, Some(crate::record::clock::now()));
    folder.write_record(&record)?;
    keeping.forget();
    let path = folder.path().to_path_buf();
    drop(folder);
    let run = Run::read(&path)?;
    if windows.is_empty() { show(&args, &run, &figures, talk) } else { drift::show(&args, &run, &windows, talk) }
}

/// The folder of the run: a new one, with the speed of the levels where that is asked for, or one that goes on.
fn begun_or_continued(
    resumed: Option<&Path>,
    args: &Args,
    job: &Job,
    model: &OpenedModel,
    engine_threads: usize,
    talk: &Talk,
) -> anyhow::Result<PathBuf> {
    match resumed {
        Some(path) => {
            if let Some(left) = keeping::speed_left(path, args)? {
                measured(&left, engine_threads, talk)?;
            }
            talk.say(format!("continuing {}: {} variants are finished", path.display(), keeping::finished(path)));
            Ok(path.to_path_buf())
        }
        None => {
            let measure = measure_args(args, job, model)?;
            match args.no_speed || job.baseline.is_some() {
                true => new_folder(&measure, model, engine_threads),
                false => measured(&measure, engine_threads, talk),
            }
        }
    }
}

/// Writes what is known so far, judged: the files of a run that is killed hold the variants that are finished.
fn publish(
    folder: &RunFolder,
    record: &mut RunRecord,
    rows: &Rows,
    (args, job): (&Args, &Job),
    reference_model: Option<&ModelRecord>,
) -> anyhow::Result<Vec<QualityRow>> {
    let mut figures = rows.figures.clone();
    compare::judge(&mut figures);
    record.quality = Some(QualityRecord {
        reference: job.variants[0].quant,
        reference_model: reference_model.cloned(),
        margin: args.margin,
        data: rows.data.clone(),
        variants: rows.variants.clone(),
        calibration: job.calibration_record.clone(),
        drift: None,
    });
    folder.write_csv("quality.csv", &QualityRow::HEADER, figures.iter().map(QualityRow::fields))?;
    folder.write_csv(ItemRow::FILE, &ItemRow::HEADER, rows.items.iter().map(ItemRow::fields))?;
    folder.write_record(record)?;
    Ok(figures)
}

/// The error with what is kept and how to go on, where the user stopped it.
fn stopped(error: anyhow::Error, folder: &RunFolder, record: &mut RunRecord, variants: usize) -> anyhow::Error {
    if !matches!(error.downcast_ref(), Some(QualityError::Stopped)) {
        return error;
    }
    record.status = RunStatus::Interrupted;
    if let Err(error) = folder.write_record(record) {
        return error.into();
    }
    let path = folder.path();
    let kept = keeping::finished(path);
    anyhow::anyhow!(
        "stopped: {kept} of {variants} variants are finished and kept; go on with: sizewell quality --resume {}",
        path.display()
    )
}

fn show(args: &Args, run: &Run, figures: &[QualityRow], talk: &Talk) -> anyhow::Result<Exit> {
    let usd_per_h = usd_per_h(args)?;
    if args.json {
        output::json(&serde_json::json!({
            "run": run.path.display().to_string(), "quality": run.record.quality, "figures": figures, "cases": run.cases.iter().map(|row| row.fields()).collect::<Vec<_>>(),
        }))?;
    } else {
        output::table(&content::quality::variants(run, figures, usd_per_h))?;
        if args.details {
            output::table(&content::quality::figures(figures))?;
        }
        output::text(&format!("\n{}\n", run.path.display()))?;
    }
    let failed = run.record.quality.iter().flat_map(|quality| &quality.variants).filter(|v| v.failure.is_some());
    let failed: Vec<String> = failed.map(VariantRecord::name).collect();
    if !failed.is_empty() {
        talk.warn(format!("not evaluated: {}", failed.join(", ")));
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

/// What an hour of this machine costs: as it was said, else as the catalog has it of the instance that was named.
fn usd_per_h(args: &Args) -> anyhow::Result<Option<f64>> {
    if let Some(usd) = args.price_per_hour {
        return Ok(Some(Usd(usd).to_f64()));
    }
    let Some(text) = &args.instance else { return Ok(None) };
    let (provider, name) = MachinePrice::parse_instance(text).or_else(usage)?;
    Ok(load_catalog(None)?.on_demand_usd_per_h(&provider, &name))
}

/// How the speed of the levels is measured: batch 1, a short prompt.
fn measure_args(args: &Args, job: &Job, model: &OpenedModel) -> anyhow::Result<MeasureArgs> {
    let mut quant: Vec<Quant> = Vec::new();
    for variant in job.variants.iter().skip(usize::from(args.reference.is_some())) {
        if variant.pruning.is_none() && !quant.contains(&variant.quant) {
            quant.push(variant.quant);
        }
    }
    let (prompt, tokens) = SPEED_CASE;
    let output = match &args.output {
        Some(path) => path.clone(),
        None => {
            let record = new_record(&MeasureArgs::default(), 1);
            setup::default_folder(&record.environment.hostname, &format!("{}-quality", model.name))
        }
    };
    Ok(MeasureArgs {
        model: Some(args.model.clone()),
        device: Some(args.device.to_string()),
        kernels: args.kernels,
        quant,
        batch: vec![1],
        prompt: vec![prompt.min(model.shape.max_context / 2)],
        gen_tokens: vec![tokens.min(model.shape.max_context / 4).max(2)],
        threads: args.threads,
        seed: Some(args.seed),
        no_ceilings: true,
        quick: true,
        instance: args.instance.clone(),
        price_per_hour: args.price_per_hour,
        output: Some(output),
        ..MeasureArgs::default()
    })
}

fn measured(measure: &MeasureArgs, engine_threads: usize, talk: &Talk) -> anyhow::Result<PathBuf> {
    measure.check()?;
    let series = measuring::measure_configured(measure, None, engine_threads, talk)?;
    match series.measured.first() {
        Some(measured) if measured.end == End::Complete => Ok(measured.run.path.clone()),
        Some(measured) => anyhow::bail!(
            "stopped before quality was measured; go on with: sizewell quality --resume {}",
            measured.run.path.display()
        ),
        None => anyhow::bail!("stopped before anything was measured"),
    }
}

/// A run folder without cases.
fn new_folder(measure: &MeasureArgs, model: &OpenedModel, engine_threads: usize) -> anyhow::Result<PathBuf> {
    let mut record = new_record(measure, engine_threads);
    record.model = Some(model_record(About::of(model))?);
    let path = measure.output.clone().unwrap_or_default();
    RunFolder::create(&path, &record)?;
    Ok(path)
}
