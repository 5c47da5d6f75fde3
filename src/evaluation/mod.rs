//! (4) Asking a model: data sets past an engine, and what it answers, item by item.
//!
//! Data sets are streamed ([`data`], [`windows`]) past a [`LanguageModel`](crate::engine::language::LanguageModel); of
//! the reference's logits the most probable tokens are kept ([`mod@reference`]), and every variant is asked for how
//! far it is from them ([`text`]) or for its answers ([`tasks`]). What comes of it is an
//! [`Evaluation`](crate::record::Evaluation); what that says is for [`quality`](crate::quality) to judge.

pub mod continuation;
pub mod data;
pub mod inputs;
pub mod items;
pub mod lines;
pub mod reference;
pub mod repeats;
pub mod survey;
pub mod tasks;
pub mod text;
pub mod windows;

use thiserror::Error;

/// Why a model could not be evaluated.
#[derive(Debug, Error)]
pub enum EvaluationError {
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
