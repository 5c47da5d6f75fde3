//! `sizewell quality`: what a quantization or a pruning costs in answers.

use super::catalog::load_catalog;
use super::console::Console;
use super::measure_args::KernelsArg;
use super::{Cli, Command, Exit, argv, configure_threads, drift, output, signals, usage};
use crate::device::DeviceId;
use crate::job::quality::{self, Evaluated, QualityOptions};
use crate::job::{MachineOptions, Stop};
use crate::report::content;
use crate::sizing::MachinePrice;
use crate::units::Usd;
use crate::workload::Quant;
use crate::workload::variant::PruningRequest;
use clap::Parser;
use rust_decimal::Decimal;
use std::path::PathBuf;

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
    model: String,
    /// Another model to hold it against, such as the f16 file that a quantized one was made of.
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    /// Data sets: plain text, or JSON lines (docs/method/quality.md#data-sets says which keys); those in this program for `reference`.
    #[arg(long, short, value_delimiter = ',', value_name = "FILE,...")]
    data: Vec<PathBuf>,
    /// Tokens of a window of text; 512 or what the model has by default.
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// How far windows are apart, every token counted once; by default each stands alone and its second half counts, as
    /// with llama.cpp.
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    /// Levels to compare, the reference first: f32, bf16, f16, int8, q6_k, q5_k, int4, q4_0, q3_k, q2_k; and, rounded as
    /// cards and checkpoints round them, fp8, fp8_tensor, fp8_block, w8a8, w8a16, w4a16, awq, gptq, bnb-nf4, mxfp4, nvfp4a16,
    /// nvfp4. By default the file's own, int8 and int4.
    #[arg(long, value_parser = Quant::parse_answering, value_delimiter = ',', value_name = "LEVEL,...")]
    quant: Vec<Quant>,
    /// Prunings to compare, such as wanda:0.5 or magnitude:2:4, stored at the level of the reference or another:
    /// wanda:0.5@int4.
    #[arg(long, value_delimiter = ',', value_name = "PRUNING,...")]
    prune: Vec<PruningRequest>,
    /// Text that Wanda weighs activations by; not that of the evaluation.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    /// The change that sample sizes are counted for: a share of right answers, or of the perplexity.
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    margin: f64,
    /// Device: `cpu` or `cuda:0`.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: DeviceId,
    /// Whose kernels compute.
    #[arg(long, value_enum, default_value = "own")]
    kernels: KernelsArg,
    /// Threads of the engine; one for each physical core by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Seed of resampling.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Do not measure how fast each level is.
    #[arg(long)]
    no_speed: bool,
    /// A run of `quality` to hold the model, or its data, of today against: what has changed since?
    #[arg(long, value_name = "RUN")]
    baseline: Option<PathBuf>,
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

impl From<&Args> for QualityOptions {
    fn from(args: &Args) -> Self {
        Self {
            model: args.model.clone(),
            reference: args.reference.clone(),
            data: args.data.clone(),
            context: args.context,
            stride: args.stride,
            quant: args.quant.clone(),
            prune: args.prune.clone(),
            calibration: args.calibration.clone(),
            margin: args.margin,
            device: args.device,
            kernels: args.kernels.into(),
            seed: args.seed,
            no_speed: args.no_speed,
            baseline: args.baseline.clone(),
            watch: args.watch.clone(),
            output: args.output.clone(),
            resume: args.resume.clone(),
            machine: MachineOptions {
                threads: args.threads,
                pin: None,
                instance: args.instance.clone(),
                price_per_hour: args.price_per_hour,
                command_line: argv(),
            },
        }
    }
}

/// Evaluates every variant, measures how fast it is, and shows one table.
pub(crate) fn run(mut args: Args, console: &Console, stop: &Stop) -> anyhow::Result<Exit> {
    let options = match args.resume.take() {
        Some(folder) => quality::begun_with(&folder, |argv| {
            let begun = begun_by(argv)?;
            // How it is shown is as this command says.
            args = Args { details: args.details, json: args.json, ..begun };
            Some(QualityOptions::from(&args))
        })?,
        None => QualityOptions::from(&args),
    };
    options.check()?;
    configure_threads(options.machine.engine_threads()?, None);
    signals::hear(stop);
    let evaluated = quality::run(&options, console, stop)?;
    if evaluated.windows.is_empty() {
        show(&args, &evaluated)?
    } else {
        drift::show(&args, &evaluated.run, &evaluated.windows)?
    }
    Ok(evaluated.conclude(console).into())
}

/// The arguments of a command line of `quality`.
fn begun_by(argv: &[String]) -> Option<Args> {
    match Cli::try_parse_from(argv).ok()?.command {
        Command::Quality(args) => Some(args),
        _ => None,
    }
}

fn show(args: &Args, evaluated: &Evaluated) -> anyhow::Result<()> {
    let Evaluated { run, figures, .. } = evaluated;
    let usd_per_h = usd_per_h(args)?;
    if args.json {
        return output::json(&serde_json::json!({
            "run": run.path.display().to_string(), "quality": run.record.quality, "figures": figures, "cases": run.cases.iter().map(|row| row.fields()).collect::<Vec<_>>(),
        }));
    }
    output::table(&content::quality::variants(run, figures, usd_per_h))?;
    if args.details {
        output::table(&content::quality::figures(figures))?;
    }
    output::text(&format!("\n{}\n", run.path.display()))
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
