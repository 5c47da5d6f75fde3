//! NVIDIA cards to compute on: the driver's library, opened at run time, the kernels of `kernels/` inside of this
//! binary, memory and launches. Nothing of CUDA is needed to build it or to run on a machine without a card.

pub mod blas;
mod buffer;
mod card;
mod driver;
mod graph;
mod images;
mod kernels;
mod pinned;

pub use buffer::Buffer;
pub use card::{Card, CardFacts, list};
pub use driver::{LIBRARY_VARIABLE, count, use_library};
pub use graph::{Graph, Marker};
pub use images::{Form, IMAGES, Image, PTX_VARIABLE};
pub use kernels::{Arg, Kernel};
pub use pinned::Pinned;

use crate::units::Bytes;
use cudarc::driver::DriverError;
use cudarc::driver::sys::CUresult;
use thiserror::Error;

/// Why a card cannot be used, or an operation on it failed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CudaError {
    /// There is no driver, or no card of this number.
    #[error("{0}")]
    Missing(String),
    /// The card's memory is full.
    #[error("the card has no room for another {asked} ({free} of {total} are free)")]
    OutOfMemory {
        /// What was asked for.
        asked: Bytes,
        /// What was free then.
        free: Bytes,
        /// What the card has.
        total: Bytes,
    },
    /// The kernel was not made for so old a card.
    #[error("{0}")]
    Unsupported(String),
    /// The driver refused something.
    #[error("{what}: {why}")]
    Driver {
        /// What was being done.
        what: String,
        /// The driver's word for it.
        why: String,
    },
    /// A kernel wrote something else than it should.
    #[error("wrong result: {0}")]
    WrongResult(String),
}

impl CudaError {
    /// A driver's error while `what` was done.
    pub fn driver(what: impl Into<String>, error: DriverError) -> Self {
        let known = match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Some("out of memory"),
            CUresult::CUDA_ERROR_NO_DEVICE => Some("no card"),
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => Some("the driver is too old for this PTX"),
            CUresult::CUDA_ERROR_ILLEGAL_ADDRESS => Some("a kernel used an address that is not its own"),
            CUresult::CUDA_ERROR_ECC_UNCORRECTABLE => Some("the card's memory has an uncorrectable error"),
            _ => None,
        };
        let why = known.map_or_else(|| format!("{:?}", error.0), |known| format!("{known} ({:?})", error.0));
        Self::Driver { what: what.into(), why }
    }

    /// Whether the card is lost to this process: after such an error every later call fails too.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Driver { why, .. } if ["ILLEGAL", "LAUNCH_FAILED", "ECC", "UNKNOWN", "HARDWARE", "TIMEOUT"]
            .iter().any(|word| why.contains(word)))
    }
}

/// Wraps the result of a driver call with what it was for.
pub(crate) trait During<T> {
    /// The value, or the error with `what` in front.
    fn during(self, what: &str) -> Result<T, CudaError>;
}

impl<T> During<T> for Result<T, DriverError> {
    fn during(self, what: &str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::driver(what, error))
    }
}
