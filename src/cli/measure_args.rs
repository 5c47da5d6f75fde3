//! What `run` and `profile` have in common on the command line.

use super::usage;
use crate::device::{DeviceId, DeviceListError, cpu};
use crate::engine::backend::ops::Kernels;
use crate::power::limit::PowerLimit;
use crate::units::Usd;
use crate::workload::sweep::Grid;
use crate::workload::{CacheType, Quant, Sweep};
use clap::ValueEnum;
use rust_decimal::Decimal;
use std::path::PathBuf;

/// The seed where none is given.
const SEED: u64 = 42;

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

impl MeasureArgs {
    /// The sweep with what the command line changes in it.
    pub fn sweep(&self) -> anyhow::Result<Sweep> {
        let mut sweep = match self.workload.as_deref() {
            Some(file) if file.extension().is_some_and(|ending| ending == "toml") => {
                let text = std::fs::read_to_string(file).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
                Sweep::parse(&file.to_string_lossy(), &text)?
            }
            Some(name) => Sweep::named(&name.to_string_lossy()).or_else(usage)?,
            None => Sweep::named(if self.quick { "quick" } else { "standard" }).or_else(usage)?,
        };
        if !self.quant.is_empty() {
            sweep.quant = self.quant.clone();
        }
        let changed =
            [&self.batch, &self.prompt, &self.gen_tokens, &self.image_size].iter().any(|axis| !axis.is_empty());
        let changed = changed || !self.kv_cache.is_empty();
        if changed && let Some(first) = sweep.grid.first().cloned() {
            let axis = |asked: &Vec<usize>, own: Vec<usize>| if asked.is_empty() { own } else { asked.clone() };
            sweep.grid = vec![Grid {
                batch: axis(&self.batch, first.batch),
                prompt: axis(&self.prompt, first.prompt),
                gen_tokens: axis(&self.gen_tokens, first.gen_tokens),
                cache: if self.kv_cache.is_empty() { first.cache } else { self.kv_cache.clone() },
                image: axis(&self.image_size, first.image),
            }];
        }
        if let Some(seconds) = self.max_time {
            sweep.limits.max_time_s = seconds;
        }
        if let Some(precision) = self.precision {
            sweep.limits.precision = precision;
        }
        sweep.validate().or_else(usage)?;
        Ok(sweep)
    }

    /// The devices that were asked for, as they were named.
    pub fn device(&self) -> &str {
        self.device.as_deref().unwrap_or("cpu")
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(SEED)
    }

    /// The number of threads, checked.
    pub fn engine_threads(&self) -> anyhow::Result<usize> {
        match (self.threads, &self.pin) {
            (Some(0), _) => usage("--threads is 0; at least 1 is needed"),
            (Some(threads), _) => Ok(threads),
            (None, Some(list)) => Ok(self.pinned(list)?.len()),
            (None, None) => Ok(cpu::default_threads()),
        }
    }

    fn pinned(&self, list: &str) -> anyhow::Result<Vec<usize>> {
        let cpus = cpu::parse_cpu_list(list).or_else(usage)?;
        let allowed = cpu::allowed_cpus();
        match cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(missing) => usage(format!("--pin {list}: there is no CPU {missing} to run on")),
            None => Ok(cpus),
        }
    }

    /// The devices, and why there are fewer than asked for.
    pub fn devices(&self) -> anyhow::Result<(Vec<DeviceId>, Option<String>)> {
        let (devices, remark) = match DeviceId::list(self.device()) {
            Err(error @ DeviceListError::Unknown(_)) => return usage(format!("--device {error}")),
            other => other?,
        };
        if !self.power_limit.is_empty() && devices.contains(&DeviceId::Cpu) {
            return usage("--power-limit is for cards: name them with --device cuda:0, or cuda for all of them");
        }
        Ok((devices, remark))
    }

    /// Checks what only another part of the program would notice later.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(list) = &self.pin {
            self.pinned(list)?;
        }
        if self.price_per_hour.is_some_and(|price| price <= Decimal::ZERO) {
            return usage("--price-per-hour must be above 0");
        }
        self.machine().map(|_| ())
    }

    /// What the user says of this machine's price.
    pub fn machine(&self) -> anyhow::Result<crate::sizing::MachinePrice> {
        let instance = match &self.instance {
            Some(text) => Some(crate::sizing::MachinePrice::parse_instance(text).or_else(usage)?),
            None => None,
        };
        Ok(crate::sizing::MachinePrice { instance, usd_per_h: self.price_per_hour.map(Usd) })
    }
}

impl Default for MeasureArgs {
    /// What the command line has when nothing is given.
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: MeasureArgs,
        }
        <Only as clap::Parser>::parse_from(["sizewell"]).args
    }
}
