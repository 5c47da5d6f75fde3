//! (3) The system under test. An engine runs a batch of prompts and says when each token is there; it measures
//! nothing itself.

pub mod backend;
pub mod endpoint;
pub mod fake;
pub mod language;
pub mod model;
pub mod open;
mod panics;
pub mod rounding;
pub mod scheduler;
pub mod serve;
pub mod session;
pub mod target;
pub mod tokenizing;
pub mod weights;

pub use panics::{caught, panic_message};

use crate::units::{Bytes, Seconds};
use crate::workload::Case;
use std::ops::ControlFlow;
use thiserror::Error;

/// Why an engine could not do what was asked. Each becomes the `reason` of a row.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The case needs more memory than there is.
    #[error("needs about {needed}, but only {available} is available")]
    DoesNotFit {
        /// Weights, cache and working space.
        needed: Bytes,
        /// What the device has free.
        available: Bytes,
    },
    /// The engine or the model cannot do this at all.
    #[error("{0}")]
    Unsupported(String),
    /// The model could not be read.
    #[error("{0}")]
    Model(String),
    /// The caller asked to stop between two tokens.
    #[error("stopped before the last token")]
    Stopped,
    /// The device is lost to this process: nothing works on it until another process begins.
    #[error("{0}")]
    DeviceLost(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Whether to go on after a token.
pub type Step<'a> = &'a mut (dyn FnMut() -> ControlFlow<()> + Send);

/// What loading the weights of a case gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prepared {
    /// Weights were read or made anew for this case, rather than kept from the one before.
    pub loaded: bool,
    /// Bytes of the weights as stored.
    pub weight_bytes: Bytes,
    /// Bytes of weights that one decode step reads.
    pub decode_weight_bytes: Bytes,
    /// Bytes of the key-value cache.
    pub cache_bytes: Bytes,
    /// Bytes of one position of a sequence in the cache.
    pub cache_token_bytes: Bytes,
    /// What the user should know of the weights, such as a block type that had to give way to another.
    pub notes: Vec<String>,
    /// What the user should know of how the case is computed, such as whose matrix product it is.
    pub remarks: Vec<String>,
    /// What the engine does with the weights more than once, where it does: the device can do better than this case shows.
    pub rereads: Option<String>,
}

/// What one iteration produced, so that the runner can check that the work was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The tokens of each sequence.
    pub tokens: Vec<Vec<u32>>,
    /// Every logit that a token was chosen from was a finite number.
    pub finite: bool,
}

/// A system under test.
pub trait Engine {
    /// Makes the engine ready for `case`: weights at its quantization, a cache for its batch and context.
    fn prepare(&mut self, case: &Case) -> Result<Prepared, EngineError>;

    /// Runs one batch: prefill, then greedy decoding until every sequence has `gen_tokens` tokens. Calls `step`
    /// each time that all sequences have one more token on the host, the first time after the prefill.
    fn iterate(&mut self, case: &Case, prompts: &[Vec<u32>], step: Step<'_>) -> Result<Generated, EngineError>;

    /// Returns when all work handed to the device is done.
    fn synchronize(&mut self) -> Result<(), EngineError>;

    /// Tokens in the vocabulary, for prompts made of random ones.
    fn vocab_size(&self) -> usize;

    /// Tells `told(blocks done, blocks)` while weights load.
    fn on_load(&mut self, _told: Box<dyn FnMut(usize, usize) + Send>) {}

    /// The most memory of the device since [`Engine::reset_peak_device_memory`]; `None` where that of the process is
    /// the device's.
    fn peak_device_memory(&mut self) -> Option<Bytes> {
        None
    }

    /// Starts a new peak; `false` where the device's memory is the process's.
    fn reset_peak_device_memory(&mut self) -> bool {
        false
    }

    /// Time that copies to the device have taken so far; `None` where the weights stay on the host.
    fn copy_time(&self) -> Option<Seconds> {
        None
    }

    /// Why the device is lost to this process, where it is: asked after a failure, and never of a CPU.
    fn lost(&mut self) -> Option<String> {
        None
    }

    /// What the loaded weights make of `prompt`, greedily, so that a person can see that they work. `None` where
    /// the weights are random or there is no tokenizer. Invalidates what `prepare` set up.
    fn sample_text(&mut self, _prompt: &str, _tokens: usize) -> Option<String> {
        None
    }
}
