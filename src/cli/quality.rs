//! `sizewell quality`: what a quantization or a pruning costs in answers.

use super::catalog::load_catalog;
use super::drift::{self, Baseline};
use super::evaluating::{Rows, evaluate};
use super::measure_args::{KernelsArg, MeasureArgs};
use super::measuring;
use super::progress::stop_on_signal;
use super::setup::{self, model_record, new_record};
use super::talk::Talk;
use super::{Exit, output, usage};
use crate::device::DeviceId;
use crate::engine::candle::opened::About;
use crate::engine::candle::source::{self, OpenedModel, REFERENCE};
use crate::engine::candle::threads;
use crate::quality::compare;
use crate::quality::data::DataSet;
use crate::quality::variant::AskedPruning;
use crate::quality::windows::{Plan, Windows, bos_of};
use crate::quality::{QualityError, Variant};
use crate::record::{CalibrationRecord, ItemRow, QualityRecord, QualityRow, Run, RunFolder, RunStatus, VariantRecord};
use crate::report::content;
use crate::sizing::MachinePrice;
use crate::units::Usd;
use crate::workload::pruning::Method;
use crate::workload::{Quant, chronicle, preset};
use jiff::Timestamp;
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;
use rust_decimal::Decimal;
use std::path::PathBuf;

/// Sequences that Wanda weighs activations on, as many as its authors use.
const CALIBRATION_WINDOWS: usize = 128;
/// The longest window by default.
const CONTEXT: usize = 512;
/// Prompt and tokens of the case that the speed of each level is measured by.
const SPEED_CASE: (usize, usize) = (128, 32);

/// Arguments of `quality`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// GGUF file, folder with config.json and safetensors, hub id, or `reference`, the small model in this program.
    #[arg(long, short, value_name = "MODEL")]
    pub(super) model: String,
    /// Another model to hold it against, such as the f16 file that a quantized one was made of.
    #[arg(long, value_name = "MODEL")]
    pub(super) reference: Option<String>,
    /// Data sets: plain text, or JSON lines (METHODOLOGY.md says which keys); those in this program for `reference`.
    #[arg(long, short, value_delimiter = ',', value_name = "FILE,...")]
    data: Vec<PathBuf>,
    /// Tokens of a window of text; 512 or what the model has by default.
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// How far windows are apart, every token counted once; by default each stands alone and its second half counts, as
    /// with llama.cpp.
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
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
    calibration: Option<PathBuf>,
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
    threads: Option<usize>,
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
    output: Option<PathBuf>,
    /// Show every figure with its interval, and what could have been found, as quality.csv has them.
    #[arg(long)]
    pub(super) details: bool,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// What is asked for, checked.
pub(super) struct Job {
    pub(super) variants: Vec<Variant>,
    pub(super) sets: Vec<DataSet>,
    pub(super) context: usize,
    pub(super) stride: Option<usize>,
    pub(super) bos: Option<u32>,
    pub(super) calibration: Vec<Vec<u32>>,
    pub(super) baseline: Option<Baseline>,
    calibration_record: Option<CalibrationRecord>,
}

/// Evaluates every variant, measures how fast it is, and shows one table.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    if !(args.margin > 0.0 && args.margin < 1.0) {
        return usage("--margin must be between 0 and 1");
    }
    if args.threads == Some(0) {
        return usage("--threads is 0; at least 1 is needed");
    }
    let engine_threads = args.threads.unwrap_or_else(crate::device::cpu::default_threads);
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { threads::configure(engine_threads, None) };
    let model = open(&args.model, args.seed, talk)?;
    let other = args.reference.as_deref().map(|name| open(name, args.seed, talk)).transpose()?;
    if let Some(other) = &other {
        same_vocabulary(&model, other)?;
    }
    let mut job = job(&args, &model, other.as_ref())?;
    stop_on_signal();
    let measure = measure_args(&args, &job, &model)?;
    let folder = if args.no_speed || job.baseline.is_some() {
        new_folder(&measure, &model, engine_threads)?
    } else {
        measured(&measure, engine_threads, talk)?
    };
    let (folder, mut record) = RunFolder::resume(&folder)?;
    let reference_record = other.as_ref().map(About::of).map(model_record).transpose()?;
    let mut rows = Rows::default();
    evaluate(&args, &job, model, other, &folder, &mut rows, talk)?;
    let windows = match job.baseline.take() {
        Some(baseline) => baseline.window(&args, &job, &rows, &record, &folder)?,
        None => Vec::new(),
    };
    record.quality = Some(QualityRecord {
        reference: job.variants[0].quant,
        reference_model: reference_record,
        margin: args.margin,
        data: std::mem::take(&mut rows.data),
        variants: std::mem::take(&mut rows.variants),
        calibration: job.calibration_record.clone(),
        drift: windows.last().cloned(),
    });
    compare::judge(&mut rows.figures);
    folder.write_csv("quality.csv", &QualityRow::HEADER, rows.figures.iter().map(QualityRow::fields))?;
    folder.write_csv(ItemRow::FILE, &ItemRow::HEADER, rows.items.iter().map(ItemRow::fields))?;
    record.status = RunStatus::Complete;
    record.finished_at = Some(Timestamp::now());
    folder.write_record(&record)?;
    let path = folder.path().to_path_buf();
    drop(folder);
    let run = Run::read(&path)?;
    if windows.is_empty() { show(&args, &run, &rows.figures, talk) } else { drift::show(&args, &run, &windows, talk) }
}

fn show(args: &Args, run: &Run, figures: &[QualityRow], talk: &Talk) -> anyhow::Result<Exit> {
    let usd_per_h = usd_per_h(args)?;
    if args.json {
        output::json(&serde_json::json!({
            "run": run.path, "quality": run.record.quality, "figures": figures, "cases": run.cases.iter().map(|row| row.fields()).collect::<Vec<_>>(),
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

fn open(name: &str, seed: u64, talk: &Talk) -> anyhow::Result<OpenedModel> {
    let model = source::open(name, seed, talk.shows_progress())?;
    if model.synthetic {
        return usage(format!("{name} has random weights, whose answers say nothing: name a model with trained ones"));
    }
    let Some(tokenizer) = &model.tokenizer else {
        anyhow::bail!(
            "{name} has no tokenizer (tokenizer.json, or a vocabulary in the GGUF file): text cannot be read"
        );
    };
    let most = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
    if most as usize >= model.shape.vocab_size {
        anyhow::bail!(
            "{name}: its tokenizer has a token {most}, but the model has {} only: they do not belong together",
            model.shape.vocab_size
        );
    }
    Ok(model)
}

fn same_vocabulary(model: &OpenedModel, other: &OpenedModel) -> anyhow::Result<()> {
    let vocabulary = |model: &OpenedModel| model.tokenizer.as_ref().map(|tokenizer| tokenizer.get_vocab(true));
    if model.shape.vocab_size != other.shape.vocab_size || vocabulary(model) != vocabulary(other) {
        return usage(format!(
            "{} and {} have different vocabularies: their answers cannot be compared token by token",
            model.name, other.name
        ));
    }
    Ok(())
}

fn job(args: &Args, model: &OpenedModel, other: Option<&OpenedModel>) -> anyhow::Result<Job> {
    let native = model.weights.native_quant().unwrap_or(Quant::F16);
    let base = other.and_then(|other| other.weights.native_quant());
    let baseline = Baseline::open(args, model)?;
    let variants = match &baseline {
        Some(baseline) => vec![baseline.variant],
        None => variants(args, model, base, native)?,
    };
    let sets = sets(args)?;
    let most = model.shape.max_context.min(other.map_or(usize::MAX, |other| other.shape.max_context));
    let Some(tokenizer) = &model.tokenizer else { return usage("no tokenizer") };
    let bos = bos_of(tokenizer);
    let asked = Plan { context: args.context.unwrap_or(most.min(CONTEXT)), stride: args.stride, bos };
    let Plan { context, stride, .. } = match &baseline {
        Some(baseline) => same_windows(args, baseline, &sets, asked)?,
        None => asked,
    };
    if context < 8 || context > most {
        return usage(format!("--context {context}: a window is of 8 to {most} tokens, which the model has"));
    }
    if stride.is_some_and(|stride| stride == 0 || stride >= context) {
        return usage(format!("--stride must be between 1 and {}", context - 1));
    }
    let wanda = args.prune.iter().any(|asked| asked.pruning.method == Method::Wanda);
    let (calibration, calibration_record) =
        if wanda { calibration(args, model, context, bos)? } else { (Vec::new(), None) };
    Ok(Job { variants, sets, context, stride, bos, calibration, baseline, calibration_record })
}

/// Every kind of data must be one that the baseline has, and its text must have been cut in the same way.
fn same_windows(args: &Args, baseline: &Baseline, sets: &[DataSet], asked: Plan) -> anyhow::Result<Plan> {
    let mut plan = asked;
    for set in sets {
        let data = baseline.data(set.kind)?;
        if let Some(context) = data.context {
            plan = Plan { context, stride: data.stride, bos: asked.bos };
            let other = args.context.is_some_and(|asked| asked != context)
                || (args.stride.is_some() && args.stride != data.stride);
            if other || data.bos != asked.bos {
                return usage(format!(
                    "windows of the baseline have {context} tokens, stride {:?} and begin with {:?}: others cannot be \
                     compared with them",
                    data.stride, data.bos
                ));
            }
        }
    }
    Ok(plan)
}

/// The reference first.
fn variants(args: &Args, model: &OpenedModel, base: Option<Quant>, native: Quant) -> anyhow::Result<Vec<Variant>> {
    let quants = match args.quant.as_slice() {
        [] => {
            // Against another model its level is not one to compare; a quantized file has its own level only.
            let rest = [Quant::Int8, Quant::Int4].into_iter().filter(|quant| *quant != native);
            let all = std::iter::once(native).chain(rest).filter(|quant| Some(*quant) != base);
            all.filter(|quant| model.weights.check_quant(*quant).is_ok()).collect()
        }
        asked => asked.to_vec(),
    };
    for quant in &quants {
        model.weights.check_quant(*quant).or_else(usage)?;
    }
    let Some(first) = base.or(quants.first().copied()) else {
        return usage("no level of this model can be run: name one with --quant");
    };
    if base.is_some() && quants.contains(&first) {
        return usage(format!("--reference is in {first} too: its figures could not be told from those of the model"));
    }
    let mut variants = vec![Variant::plain(first)];
    variants.extend(quants.into_iter().skip(usize::from(base.is_none())).map(Variant::plain));
    for asked in &args.prune {
        let quant = asked.quant.unwrap_or(native);
        model.weights.check_quant(quant).or_else(usage)?;
        variants.push(Variant { quant, pruning: Some(asked.pruning) });
    }
    for (index, variant) in variants.iter().enumerate().skip(1) {
        if variants[..index].contains(variant) {
            return usage(format!("{variant} is named twice"));
        }
    }
    Ok(variants)
}

fn sets(args: &Args) -> anyhow::Result<Vec<DataSet>> {
    let sets: Vec<DataSet> = match (args.data.as_slice(), preset::reference_files()) {
        ([], Some(files)) if args.model == REFERENCE => {
            let mut sets = Vec::new();
            for name in ["text.txt", "choice.jsonl", "generate.jsonl", "pairs.jsonl", "classify.jsonl"] {
                let file = files.get_file(files.path().join(name));
                sets.push(DataSet::embedded(name, file.map_or(&[], |file| file.contents()))?);
            }
            sets
        }
        ([], _) => return usage("--data is missing: a text, or JSON lines of questions (METHODOLOGY.md, section 8)"),
        (paths, _) => paths.iter().map(|path| DataSet::open(path)).collect::<Result<_, _>>()?,
    };
    for (index, set) in sets.iter().enumerate() {
        if sets[..index].iter().any(|other| other.name == set.name || other.kind == set.kind) {
            return usage(format!(
                "{} is of a kind ({}) or name that another set has: a run takes one set of each kind",
                set.location,
                set.kind.name()
            ));
        }
    }
    Ok(sets)
}

/// Windows of text that no evaluation sees.
fn calibration(
    args: &Args,
    model: &OpenedModel,
    context: usize,
    bos: Option<u32>,
) -> anyhow::Result<(Vec<Vec<u32>>, Option<CalibrationRecord>)> {
    let set = match &args.calibration {
        Some(path) if args.data.contains(path) => {
            return usage("--calibration is one of the data sets: Wanda would be judged on what it was fitted to");
        }
        Some(path) => DataSet::open(path)?,
        None if args.model == REFERENCE => {
            let text = chronicle::text(1 << 20, &mut Xoshiro256PlusPlus::seed_from_u64(args.seed.wrapping_add(3)));
            DataSet::embedded("chronicle.txt", text.into_bytes().leak())?
        }
        None => {
            return usage("Wanda needs --calibration FILE: text like the model's use, and not that of the evaluation");
        }
    };
    let Some(tokenizer) = &model.tokenizer else { return usage("no tokenizer") };
    let windows = Windows::new(&set, tokenizer, Plan { context, stride: None, bos })?;
    let windows: Vec<Vec<u32>> =
        windows.take(CALIBRATION_WINDOWS).map(|window| Ok(window?.tokens)).collect::<Result<_, QualityError>>()?;
    if windows.is_empty() {
        anyhow::bail!("{} does not fill a window of {context} tokens", set.location);
    }
    let record = CalibrationRecord { location: set.location.clone(), windows: windows.len(), context };
    Ok((windows, Some(record)))
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
        device: args.device.to_string(),
        kernels: args.kernels,
        quant,
        batch: vec![1],
        prompt: vec![prompt.min(model.shape.max_context / 2)],
        gen_tokens: vec![tokens.min(model.shape.max_context / 4).max(2)],
        threads: args.threads,
        seed: args.seed,
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
        Some(measured) if measured.complete => Ok(measured.run.path.clone()),
        _ => anyhow::bail!("stopped before quality was measured"),
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
