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
mod pool;

pub use buffer::Buffer;
pub use card::{Card, CardFacts, list};
pub use driver::{LIBRARY_VARIABLE, count, use_library};
pub use graph::{Graph, Marker};
pub use images::{Form, IMAGES, Image, PTX_VARIABLE};
pub use kernels::{Arg, Kernel};
pub use pinned::Pinned;
pub use pool::{LEAST_BYTES, POOLS_VARIABLE};

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
        /// What this process had in buffers there.
        held: Bytes,
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
    /// The card is lost to this process: every later call fails too, until another process begins.
    #[error("{what}: {why}")]
    Lost {
        /// What was being done.
        what: String,
        /// The driver's word for it.
        why: String,
    },
    /// What the host makes ready for a card could not be made.
    #[error("{0}")]
    Host(String),
    /// A kernel wrote something else than it should.
    #[error("wrong result: {0}")]
    WrongResult(String),
}

impl From<candle_core::Error> for CudaError {
    fn from(error: candle_core::Error) -> Self {
        Self::Host(error.to_string())
    }
}

/// Errors after which nothing works any more in this process: those of which the CUDA driver API says that they leave it "in
/// an inconsistent state", those of memory and links that cannot be corrected, a context or driver that is gone, and the error
/// that has no name. By their numbers, as older toolkits do not name all of them.
const LOST: [u32; 18] = [
    4,   // DEINITIALIZED
    214, // ECC_UNCORRECTABLE
    220, // NVLINK_UNCORRECTABLE
    226, // CONTAINED
    700, // ILLEGAL_ADDRESS
    702, // LAUNCH_TIMEOUT
    709, // CONTEXT_IS_DESTROYED
    710, // ASSERT
    714, // HARDWARE_STACK_ERROR
    715, // ILLEGAL_INSTRUCTION
    716, // MISALIGNED_ADDRESS
    717, // INVALID_ADDRESS_SPACE
    718, // INVALID_PC
    719, // LAUNCH_FAILED
    721, // TENSOR_MEMORY_LEAK
    810, // MPS_CLIENT_TERMINATED
    911, // EXTERNAL_DEVICE
    999, // UNKNOWN
];

impl CudaError {
    /// A driver's error while `what` was done.
    pub fn driver(what: impl Into<String>, error: DriverError) -> Self {
        let known = match error.0 {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY => Some("out of memory"),
            CUresult::CUDA_ERROR_NO_DEVICE => Some("no card"),
            CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => Some("the driver is too old for this PTX"),
            CUresult::CUDA_ERROR_ILLEGAL_ADDRESS => Some("a kernel used an address that is not its own"),
            CUresult::CUDA_ERROR_MISALIGNED_ADDRESS => Some("a kernel used an address that is not aligned"),
            CUresult::CUDA_ERROR_LAUNCH_TIMEOUT => Some("a kernel ran longer than the system lets it"),
            CUresult::CUDA_ERROR_ECC_UNCORRECTABLE => Some("the card's memory has an uncorrectable error"),
            _ => None,
        };
        let why = known.map_or_else(|| format!("{:?}", error.0), |known| format!("{known} ({:?})", error.0));
        if LOST.contains(&(error.0 as u32)) {
            Self::Lost { what: what.into(), why }
        } else {
            Self::Driver { what: what.into(), why }
        }
    }

    /// Whether the card is lost to this process: after such an error every later call fails too.
    pub fn is_sticky(&self) -> bool {
        matches!(self, Self::Lost { .. })
    }
}

/// Wraps the result of a driver call with what it was for.
pub(crate) trait WithOperation<T> {
    /// The value, or the error with `what` in front.
    fn during(self, what: &str) -> Result<T, CudaError>;
}

impl<T> WithOperation<T> for Result<T, DriverError> {
    fn during(self, what: &str) -> Result<T, CudaError> {
        self.map_err(|error| CudaError::driver(what, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_errors_that_leave_nothing_working_lose_the_card() {
        use CUresult::*;
        let lost = |code| CudaError::driver("a step", DriverError(code)).is_sticky();
        for code in [
            CUDA_ERROR_ILLEGAL_ADDRESS,
            CUDA_ERROR_MISALIGNED_ADDRESS,
            CUDA_ERROR_INVALID_PC,
            CUDA_ERROR_INVALID_ADDRESS_SPACE,
            CUDA_ERROR_ASSERT,
            CUDA_ERROR_LAUNCH_TIMEOUT,
            CUDA_ERROR_ECC_UNCORRECTABLE,
            CUDA_ERROR_NVLINK_UNCORRECTABLE,
            CUDA_ERROR_EXTERNAL_DEVICE,
            CUDA_ERROR_UNKNOWN,
        ] {
            assert!(lost(code), "{code:?}");
        }
        for code in [
            CUDA_ERROR_INVALID_VALUE,
            CUDA_ERROR_OUT_OF_MEMORY,
            CUDA_ERROR_ILLEGAL_STATE,
            CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
            CUDA_ERROR_TIMEOUT,
            CUDA_ERROR_NOT_SUPPORTED,
            CUDA_ERROR_SYSTEM_NOT_READY,
            CUDA_ERROR_SYSTEM_DRIVER_MISMATCH,
            CUDA_ERROR_STREAM_CAPTURE_INVALIDATED,
        ] {
            assert!(!lost(code), "{code:?}");
        }
        let error = CudaError::driver("running a kernel", DriverError(CUDA_ERROR_MISALIGNED_ADDRESS));
        assert!(error.to_string().ends_with("is not aligned (CUDA_ERROR_MISALIGNED_ADDRESS)"), "{error}");
    }
}
