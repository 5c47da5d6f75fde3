//! Memory of a card: from the driver's pool, in the order of the stream, or piece by piece where there is no pool or where
//! it refuses. Some virtual machines and sandboxes say that they have pools and then refuse to allocate from them.

use super::{Buffer, Card, CudaError, WithOperation};
use crate::units::Bytes;
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaStream, DriverError, result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Set to 0, memory is allocated piece by piece although the driver has a pool.
pub const POOLS_VARIABLE: &str = "SIZEWELL_CUDA_POOLS";
/// The least that is asked for: an empty buffer has an address too.
pub const LEAST_BYTES: usize = 16;
/// The most bytes of a pool that were in use.
const HIGHEST_USE: sys::CUmemPool_attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;

/// Where memory comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pool {
    /// The driver's pool.
    Used,
    /// Piece by piece, as the driver has no pool here.
    Absent,
    /// Piece by piece, although the driver says that it has a pool; why.
    Refused(String),
}

impl Pool {
    /// Asks the driver for a few bytes of its pool.
    pub(crate) fn of(stream: &Arc<CudaStream>) -> Result<Self, CudaError> {
        if !stream.context().has_async_alloc() {
            return Ok(Self::Absent);
        }
        if std::env::var_os(POOLS_VARIABLE).is_some_and(|value| value == "0") {
            return Ok(Self::Refused(format!("{POOLS_VARIABLE}=0")));
        }
        match allocate(stream, LEAST_BYTES, true) {
            Ok(at) => {
                free(stream, at, true);
                Ok(Self::Used)
            }
            // Full is not refused.
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(Self::Used),
            Err(error) => match CudaError::driver("allocating from the driver's pool", error) {
                lost @ CudaError::Lost { .. } => Err(lost),
                refused => Ok(Self::Refused(refused.to_string())),
            },
        }
    }
}

/// Bytes in buffers now, and the most since the last reset.
#[derive(Debug, Default)]
pub(super) struct Allocated {
    pub now: AtomicUsize,
    peak: AtomicUsize,
    /// Time in copies to the card.
    pub uploading_ns: AtomicU64,
}

/// The address of `bytes` bytes whose content is not set.
fn allocate(stream: &CudaStream, bytes: usize, pooled: bool) -> Result<u64, DriverError> {
    stream.context().bind_to_thread()?;
    // SAFETY: bytes have no invalid values; whoever reads them has written or filled them before.
    unsafe { if pooled { result::malloc_async(stream.cu_stream(), bytes) } else { result::malloc_sync(bytes) } }
}

/// Gives back what [`allocate`] gave, in the same way. Nothing can be done about an error: a card that is lost says so at the
/// next call.
pub(super) fn free(stream: &CudaStream, at: u64, pooled: bool) {
    let _ = stream.context().bind_to_thread();
    // SAFETY: it was allocated in the same way, and its one owner gives it up.
    let _ = unsafe {
        if pooled {
            result::free_async(at, stream.cu_stream())
        } else {
            let _ = stream.synchronize();
            result::free_sync(at)
        }
    };
}

impl Card {
    /// Memory whose content is not set.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer, CudaError> {
        let (size, pooled) = (bytes.max(LEAST_BYTES), self.pool == Pool::Used);
        match allocate(self.stream(), size, pooled) {
            Ok(at) => {
                let now = self.allocated.now.fetch_add(size, Ordering::Relaxed) + size;
                self.allocated.peak.fetch_max(now, Ordering::Relaxed);
                Ok(Buffer::new(at, size, pooled, self))
            }
            Err(DriverError(CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let (free, total) = self.memory()?;
                Err(CudaError::OutOfMemory { asked: Bytes(bytes as f64), free, total, held: self.held() })
            }
            Err(error) => Err(CudaError::driver("allocating memory", error)),
        }
    }

    /// Why memory does not come from the driver's pool, although the driver says that it has one.
    pub fn no_pool(&self) -> Option<&str> {
        match &self.pool {
            Pool::Refused(why) => Some(why),
            Pool::Used | Pool::Absent => None,
        }
    }

    /// Free and total memory.
    pub fn memory(&self) -> Result<(Bytes, Bytes), CudaError> {
        let (free, total) = self.context.mem_get_info().during("asking for free memory")?;
        Ok((Bytes(free as f64), Bytes(total as f64)))
    }

    /// Bytes in the buffers of this card now.
    pub fn held(&self) -> Bytes {
        Bytes(self.allocated.now.load(Ordering::Relaxed) as f64)
    }

    /// The most bytes that buffers held at once since [`Card::reset_allocated_peak`].
    pub fn allocated_peak(&self) -> Bytes {
        Bytes(self.allocated.peak.load(Ordering::Relaxed) as f64)
    }

    /// Starts a new peak.
    pub fn reset_allocated_peak(&self) {
        self.allocated.peak.store(self.allocated.now.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Hands freed memory back to the driver: it keeps a pool that NVML counts as used.
    pub fn trim(&self) -> Result<(), CudaError> {
        if self.pool != Pool::Used {
            return Ok(());
        }
        self.synchronize()?;
        let pool = self.default_pool()?;
        // SAFETY: nothing of it is in use by work that has not ended.
        unsafe { sys::cuMemPoolTrimTo(pool, 0) }.result().during("trimming the pool")
    }

    /// The most bytes that were in use at once in the driver's own pool, of whatever library of this process, since
    /// [`Card::reset_pool_peak`].
    pub fn pool_peak(&self) -> Result<Bytes, CudaError> {
        let mut bytes: u64 = 0;
        let pool = self.default_pool()?;
        // SAFETY: this attribute is a number of 64 bits.
        unsafe { sys::cuMemPoolGetAttribute(pool, HIGHEST_USE, (&raw mut bytes).cast()) }
            .result()
            .during("asking the pool")?;
        Ok(Bytes(bytes as f64))
    }

    /// Starts a new peak.
    pub fn reset_pool_peak(&self) -> Result<(), CudaError> {
        let mut zero: u64 = 0;
        let pool = self.default_pool()?;
        // SAFETY: as above; 0 is the one value that may be set.
        unsafe { sys::cuMemPoolSetAttribute(pool, HIGHEST_USE, (&raw mut zero).cast()) }
            .result()
            .during("asking the pool")
    }

    /// The pool that memory comes from; an error where it comes piece by piece, which no pool counts.
    fn default_pool(&self) -> Result<sys::CUmemoryPool, CudaError> {
        if self.pool != Pool::Used {
            return Err(CudaError::Unsupported("the driver has no pool of memory here".to_string()));
        }
        self.context.bind_to_thread().during("using the card")?;
        let mut pool = std::ptr::null_mut();
        // SAFETY: the pool belongs to the device and lives as long.
        unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, self.context.cu_device()) }
            .result()
            .during("finding the pool")?;
        Ok(pool)
    }
}
