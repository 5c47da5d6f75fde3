//! What `run` and `profile` have in common on the command line.

use super::argv;
use crate::engine::backend::ops::Kernels;
use crate::job::MachineOptions;
use crate::job::profile::{ProfileOptions, SweepOptions};
use crate::power::limit::PowerLimit;
use crate::workload::{CacheType, Quant};
use clap::ValueEnum;
use rust_decimal::Decimal;
use std::path::PathBuf;

/// Kernels on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KernelsArg {
    Own,
    Candle,
}

impl From<KernelsArg> for Kernels {
    fn from(arg: KernelsArg) -> Self {
        match arg {
            KernelsArg::Own => Self::Own,
            KernelsArg::Candle => Self::Candle,
        }
    }
}

/// What to measure, how long, and where it goes.
#[derive(Debug, Clone, clap::Args)]
pub struct MeasureArgs {
    /// Preset, GGUF file, folder with config.json and safetensors, or hub id `owner/name`.
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<String>,
    /// Device to run on: `cpu`, `cuda:0` (`sizewell devices` lists them), `cuda` for every card, `all`, or several with
    /// commas between; the CPU by default. Each is measured alone, in a run of its own.
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Whose kernels compute: this project's, or candle's own, one operation after the other (on cards in builds with
    /// --features cuda only).
    #[arg(long, value_enum, default_value = "own", conflicts_with = "resume")]
    pub kernels: KernelsArg,
    /// Measure at each of these power limits of the card, such as 100%,80%,60% (of its default) or 250W; each is a run of
    /// its own. Needs root and a card that nobody else uses; the limit that was there comes back, even after a crash.
    #[arg(long, value_delimiter = ',', value_name = "LIMIT,...", conflicts_with = "resume")]
    pub power_limit: Vec<PowerLimit>,
    /// Sweep and limits: quick, standard, thorough, or a .toml file.
    #[arg(long, short, value_name = "NAME|FILE", conflicts_with = "quick")]
    pub workload: Option<PathBuf>,
    /// Short for --workload quick.
    #[arg(long)]
    pub quick: bool,
    /// Quantization levels instead of the workload's: f32, bf16, f16, int8, int4 (and q6_k, q5_k, q3_k, q2_k).
    #[arg(long, value_parser = Quant::parse_runnable, value_delimiter = ',', value_name = "LEVEL,...")]
    pub quant: Vec<Quant>,
    /// Batch sizes instead of the workload's.
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub batch: Vec<usize>,
    /// Prompt lengths in tokens instead of the workload's.
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub prompt: Vec<usize>,
    /// Tokens to generate instead of the workload's.
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub gen_tokens: Vec<usize>,
    /// Precisions of the key-value cache to measure each case with: f32, f16, int8; the engine's own choice by default.
    #[arg(long, value_delimiter = ',', value_name = "TYPE,...")]
    pub kv_cache: Vec<CacheType>,
    /// Sides of images in pixels, for models that classify them, instead of the model's own.
    #[arg(long, value_delimiter = ',', value_name = "PIXELS,...")]
    pub image_size: Vec<usize>,
    /// Most seconds to measure each case, warm-up not counted.
    #[arg(long, value_name = "SECONDS")]
    pub max_time: Option<f64>,
    /// Stop a case when the 95 % interval of its medians is within this share, such as 0.02.
    #[arg(long, value_name = "SHARE")]
    pub precision: Option<f64>,
    /// Threads of the engine; one for each physical core by default.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// CPUs to pin the engine to, such as 0-3,8.
    #[arg(long, value_name = "LIST")]
    pub pin: Option<String>,
    /// Seed of random weights, prompts and resampling; 42 by default.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Do not measure the ceilings of the machine (and do not project to other hardware).
    #[arg(long)]
    pub no_ceilings: bool,
    /// The instance that this machine is, such as aws:m7a.large, where it cannot be recognised.
    #[arg(long = "as", value_name = "PROVIDER:TYPE", conflicts_with = "resume")]
    pub instance: Option<String>,
    /// What an hour of this machine costs, in USD.
    #[arg(long, value_name = "USD", conflicts_with = "resume")]
    pub price_per_hour: Option<Decimal>,
    /// Folder for the run; results/DATE-HOST-MODEL by default.
    #[arg(long, short, value_name = "DIR", conflicts_with = "resume")]
    pub output: Option<PathBuf>,
    /// Continue the run in this folder; it says what to measure.
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
}

impl From<MeasureArgs> for ProfileOptions {
    fn from(args: MeasureArgs) -> Self {
        Self {
            model: args.model,
            device: args.device,
            kernels: args.kernels.into(),
            power_limits: args.power_limit,
            sweep: SweepOptions {
                workload: args.workload,
                quick: args.quick,
                quant: args.quant,
                batch: args.batch,
                prompt: args.prompt,
                gen_tokens: args.gen_tokens,
                cache: args.kv_cache,
                image: args.image_size,
                max_time_s: args.max_time,
                precision: args.precision,
            },
            seed: args.seed,
            no_ceilings: args.no_ceilings,
            output: args.output,
            resume: args.resume,
            machine: MachineOptions {
                threads: args.threads,
                pin: args.pin,
                instance: args.instance,
                price_per_hour: args.price_per_hour,
                command_line: argv(),
            },
        }
    }
}
