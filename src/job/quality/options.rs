//! What an evaluation is asked for.

use crate::device::DeviceId;
use crate::engine::backend::ops::Kernels;
use crate::job::MachineOptions;
use crate::job::error::{JobError, usage};
use crate::workload::Quant;
use crate::workload::variant::PruningRequest;
use std::path::PathBuf;

/// What is compared with what, and how.
#[derive(Debug, Clone)]
pub struct QualityOptions {
    /// The model.
    pub model: String,
    /// Another model to hold it against.
    pub reference: Option<String>,
    /// Data sets; those in the program for the model that it carries.
    pub data: Vec<PathBuf>,
    /// Tokens of a window of text; 512 or what the model has by default.
    pub context: Option<usize>,
    /// How far windows are apart; by default each stands alone.
    pub stride: Option<usize>,
    /// Levels to compare, the reference first.
    pub quant: Vec<Quant>,
    /// Prunings to compare.
    pub prune: Vec<PruningRequest>,
    /// Text that Wanda weighs activations by.
    pub calibration: Option<PathBuf>,
    /// The change that sample sizes are counted for.
    pub margin: f64,
    /// The device.
    pub device: DeviceId,
    /// Whose kernels compute.
    pub kernels: Kernels,
    /// Seed of resampling.
    pub seed: u64,
    /// Do not measure how fast each level is.
    pub no_speed: bool,
    /// A run to hold the model, or its data, of today against.
    pub baseline: Option<PathBuf>,
    /// History to append this window to.
    pub watch: Option<PathBuf>,
    /// Folder for the run; `results/DATE-HOST-MODEL-quality` by default.
    pub output: Option<PathBuf>,
    /// Continue the run in this folder.
    pub resume: Option<PathBuf>,
    /// The machine.
    pub machine: MachineOptions,
}

impl QualityOptions {
    /// Checks what can be said before anything is opened.
    pub fn check(&self) -> Result<(), JobError> {
        if self.model.is_empty() {
            return usage("--model is missing: a GGUF file, a folder, a hub id, or `reference`");
        }
        if !(self.margin > 0.0 && self.margin < 1.0) {
            return usage("--margin must be between 0 and 1");
        }
        self.machine.engine_threads().map(|_| ())
    }
}
