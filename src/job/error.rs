//! Why a job came to no result. What decides how a command goes on or ends is a variant; its words are for people.

use crate::device::DeviceListError;
use crate::device::cuda::CudaError;
use crate::engine::EngineError;
use crate::engine::weights::ModelError;
use crate::evaluation::EvaluationError;
use crate::evaluation::data::DataError;
use crate::power::PowerError;
use crate::record::folder::FolderError;
use crate::record::reader::ReadError;
use thiserror::Error;

/// Why a job came to no result.
#[derive(Debug, Error)]
pub enum JobError {
    /// What is asked for cannot be, on whatever machine.
    #[error("{0}")]
    Usage(String),
    /// It was stopped before its end; says what is kept and how to go on.
    #[error("{0}")]
    Interrupted(String),
    /// A card cannot be used.
    #[error(transparent)]
    Card(CudaError),
    /// A card was lost to this process; says what was being done, and how to go on without it.
    #[error("{doing}: {error}")]
    CardLost {
        /// What was being done when it was lost.
        doing: String,
        /// What the driver says.
        error: CudaError,
    },
    /// Anything else, with its causes.
    #[error(transparent)]
    Failed(anyhow::Error),
}

impl JobError {
    /// Whether a card is lost to this process by it: nothing else works on one until another process begins.
    pub fn loses_a_card(&self) -> bool {
        match self {
            Self::Card(error) | Self::CardLost { error, .. } => error.is_sticky(),
            Self::Usage(_) | Self::Interrupted(_) | Self::Failed(_) => false,
        }
    }
}

/// A usage error as a result.
pub fn usage<T>(message: impl Into<String>) -> Result<T, JobError> {
    Err(JobError::Usage(message.into()))
}

/// A failure as a result.
pub(super) fn failed<T>(message: impl Into<String>) -> Result<T, JobError> {
    Err(JobError::Failed(anyhow::Error::msg(message.into())))
}

impl From<CudaError> for JobError {
    fn from(error: CudaError) -> Self {
        Self::Card(error)
    }
}

impl From<DeviceListError> for JobError {
    /// A name that no device has is the user's; cards that cannot be counted are the machine's.
    fn from(error: DeviceListError) -> Self {
        match error {
            DeviceListError::Unknown(_) => Self::Usage(format!("--device {error}")),
            DeviceListError::Cuda(error) => Self::Card(error),
        }
    }
}

impl From<EvaluationError> for JobError {
    fn from(error: EvaluationError) -> Self {
        match error {
            EvaluationError::Stopped => Self::Interrupted(error.to_string()),
            other => Self::Failed(other.into()),
        }
    }
}

/// Errors of which a job only says what they are.
macro_rules! failures {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for JobError {
            fn from(error: $error) -> Self {
                Self::Failed(error.into())
            }
        })*
    };
}

failures!(
    anyhow::Error,
    crate::data_file::DataFileError,
    csv::Error,
    DataError,
    EngineError,
    FolderError,
    ModelError,
    PowerError,
    ReadError,
    serde_json::Error,
    std::io::Error,
);
