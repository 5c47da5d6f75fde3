//! (7) What a quantization or a pruning costs in answers.
//!
//! Data sets are streamed ([`data`], [`windows`]) past a [`LanguageModel`](crate::engine::language::LanguageModel); of
//! the reference's logits the most probable tokens are kept ([`mod@reference`]), and every variant is held against them
//! ([`text`]) or against the reference's answers ([`tasks`]). [`compare`] makes figures with intervals and verdicts of
//! both.

pub mod compare;
pub mod continuation;
pub mod data;
pub mod drift;
pub mod drift_outcome;
pub mod evaluation;
pub mod inputs;
pub mod items;
pub mod kept;
pub mod lines;
pub mod reference;
pub mod repeats;
pub mod survey;
pub mod tasks;
pub mod text;
pub mod variant;
pub mod windows;

pub use evaluation::Evaluation;
pub use variant::Variant;

use thiserror::Error;

/// Why quality could not be measured.
#[derive(Debug, Error)]
pub enum QualityError {
    /// A data set cannot be read; says where.
    #[error(transparent)]
    Data(#[from] data::DataError),
    /// The engine could not do it.
    #[error(transparent)]
    Engine(#[from] crate::engine::EngineError),
    /// A file of its own could not be read or written.
    #[error("{0}: {1}")]
    Io(String, std::io::Error),
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}
