//! What a profile is asked for.

use crate::device::DeviceId;
use crate::engine::backend::ops::Kernels;
use crate::job::MachineOptions;
use crate::job::error::{JobError, failed, usage};
use crate::job::machine::SEED;
use crate::power::limit::PowerLimit;
use crate::workload::sweep::Grid;
use crate::workload::{CacheType, Quant, Sweep};
use std::path::PathBuf;

/// What to measure, how long, and where it goes.
#[derive(Debug, Clone, Default)]
pub struct ProfileOptions {
    /// The model.
    pub model: Option<String>,
    /// The devices as they were named; the CPU by default.
    pub device: Option<String>,
    /// Whose kernels compute.
    pub kernels: Kernels,
    /// Power limits of the card, each a run of its own.
    pub power_limits: Vec<PowerLimit>,
    /// The sweep.
    pub sweep: SweepOptions,
    /// Seed of random weights, prompts and resampling.
    pub seed: Option<u64>,
    /// Do not measure the ceilings of the machine.
    pub no_ceilings: bool,
    /// Folder for the run; `results/DATE-HOST-MODEL` by default.
    pub output: Option<PathBuf>,
    /// Continue the run in this folder; it says what to measure.
    pub resume: Option<PathBuf>,
    /// The machine.
    pub machine: MachineOptions,
}

/// A named sweep, and what is changed in it: axes that are not empty take the place of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SweepOptions {
    /// A name, or a .toml file.
    pub workload: Option<PathBuf>,
    /// Short for the workload `quick`.
    pub quick: bool,
    /// Quantization levels.
    pub quant: Vec<Quant>,
    /// Batch sizes.
    pub batch: Vec<usize>,
    /// Prompt lengths in tokens.
    pub prompt: Vec<usize>,
    /// Tokens to generate.
    pub gen_tokens: Vec<usize>,
    /// Precisions of the key-value cache.
    pub cache: Vec<CacheType>,
    /// Sides of images in pixels.
    pub image: Vec<usize>,
    /// Most seconds to measure each case.
    pub max_time_s: Option<f64>,
    /// Stop a case when the interval of its medians is within this share.
    pub precision: Option<f64>,
}

impl SweepOptions {
    /// The sweep with what is changed in it.
    pub fn sweep(&self) -> Result<Sweep, JobError> {
        let mut sweep = match self.workload.as_deref() {
            Some(file) if file.extension().is_some_and(|ending| ending == "toml") => {
                let text = std::fs::read_to_string(file).or_else(|e| failed(format!("{}: {e}", file.display())))?;
                Sweep::parse(&file.to_string_lossy(), &text)?
            }
            Some(name) => Sweep::named(&name.to_string_lossy()).or_else(usage)?,
            None => Sweep::named(if self.quick { "quick" } else { "standard" }).or_else(usage)?,
        };
        if !self.quant.is_empty() {
            sweep.quant = self.quant.clone();
        }
        let changed = [&self.batch, &self.prompt, &self.gen_tokens, &self.image].iter().any(|axis| !axis.is_empty());
        let changed = changed || !self.cache.is_empty();
        if changed && let Some(first) = sweep.grid.first().cloned() {
            let axis = |asked: &Vec<usize>, own: Vec<usize>| if asked.is_empty() { own } else { asked.clone() };
            sweep.grid = vec![Grid {
                batch: axis(&self.batch, first.batch),
                prompt: axis(&self.prompt, first.prompt),
                gen_tokens: axis(&self.gen_tokens, first.gen_tokens),
                cache: if self.cache.is_empty() { first.cache } else { self.cache.clone() },
                image: axis(&self.image, first.image),
            }];
        }
        if let Some(seconds) = self.max_time_s {
            sweep.limits.max_time_s = seconds;
        }
        if let Some(precision) = self.precision {
            sweep.limits.precision = precision;
        }
        sweep.validate().or_else(usage)?;
        Ok(sweep)
    }
}

impl ProfileOptions {
    /// The devices that were asked for, as they were named.
    pub fn device(&self) -> &str {
        self.device.as_deref().unwrap_or("cpu")
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(SEED)
    }

    /// The devices, and why there are fewer than asked for.
    pub(super) fn devices(&self) -> Result<(Vec<DeviceId>, Option<String>), JobError> {
        let (devices, remark) = DeviceId::list(self.device())?;
        if !self.power_limits.is_empty() && devices.contains(&DeviceId::Cpu) {
            return usage("--power-limit is for cards: name them with --device cuda:0, or cuda for all of them");
        }
        Ok((devices, remark))
    }

    /// What is measured stands in the folder of a run that is continued.
    pub(super) fn check_resume(&self) -> Result<(), JobError> {
        if self.sweep != SweepOptions::default() || self.model.is_some() {
            return usage("--resume continues what the folder says: leave out --model, --workload, axes and limits");
        }
        Ok(())
    }
}
