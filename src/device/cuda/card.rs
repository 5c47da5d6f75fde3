//! One card: its facts, its stream, its memory, and time as it counts it.

use super::driver::{count, driver};
use super::kernels::Loaded;
use super::{Buffer, CudaError, During};
use crate::units::{Bytes, Seconds};
use cudarc::driver::result::device;
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUevent_flags, CUresult};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The most bytes of a pool that were in use.
const HIGHEST_USE: sys::CUmemPool_attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;

/// What the driver says of a card.
#[derive(Debug, Clone, PartialEq)]
pub struct CardFacts {
    /// Its number among the cards that this process sees.
    pub index: usize,
    /// Its name, such as `NVIDIA H200`.
    pub name: String,
    /// Its address on the bus, as NVML writes it too: NVML counts cards in the order of the bus, CUDA may not.
    pub pci_bus_id: String,
    /// Major and minor compute capability.
    pub capability: (u32, u32),
    /// Its memory.
    pub memory: Bytes,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of the second-level cache.
    pub l2_bytes: usize,
    /// Shared memory that one block can ask for.
    pub shared_bytes: usize,
    /// Highest clock of the multiprocessors in Hz.
    pub clock_hz: f64,
}

/// A card with a stream of its own, and the kernels that were loaded for it.
pub struct Card {
    /// What it is.
    pub facts: CardFacts,
    pub(super) context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    pub(super) modules: Mutex<HashMap<&'static str, Loaded>>,
    begin: CudaEvent,
    end: CudaEvent,
    /// Bytes in buffers now, and the most since the last reset.
    pub(super) allocated: Arc<Allocated>,
}

/// Bytes in buffers.
#[derive(Debug, Default)]
pub(super) struct Allocated {
    pub now: AtomicUsize,
    peak: AtomicUsize,
    /// Time in copies to the card.
    pub uploading_ns: AtomicU64,
}

impl Card {
    /// Time that copies from the host have taken since the card was opened.
    pub fn upload_time(&self) -> Seconds {
        Seconds(self.allocated.uploading_ns.load(Ordering::Relaxed) as f64 * 1e-9)
    }

    /// Opens card `index`.
    pub fn open(index: usize) -> Result<Self, CudaError> {
        let cards = count()?;
        if index >= cards {
            let what = if cards == 1 { "one card" } else { "cards" };
            return Err(CudaError::Missing(format!("there is no cuda:{index}: the driver shows {cards} {what}")));
        }
        let context = CudaContext::new(index).during("opening the card")?;
        // One stream does everything, in order: cudarc need not order it with events, which a graph could not hold.
        // SAFETY: no second stream shares memory with it without waiting.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().during("making a stream")?;
        let facts = facts(index)?;
        let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).during("making an event");
        let (begin, end) = (event()?, event()?);
        Ok(Self { facts, context, stream, modules: Mutex::default(), begin, end, allocated: Arc::default() })
    }

    /// The stream that everything runs on.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// The driver's context.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }

    /// Waits until all work is done. Errors of kernels show here.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().during("running a kernel")
    }

    /// Free and total memory.
    pub fn memory(&self) -> Result<(Bytes, Bytes), CudaError> {
        let (free, total) = self.context.mem_get_info().during("asking for free memory")?;
        Ok((Bytes(free as f64), Bytes(total as f64)))
    }

    /// Memory whose content is not set.
    pub fn alloc(&self, bytes: usize) -> Result<Buffer, CudaError> {
        // SAFETY: bytes have no invalid values; whoever reads them has written or filled them before.
        match unsafe { self.stream.alloc::<u8>(bytes.max(16)) } {
            Ok(slice) => {
                let now = self.allocated.now.fetch_add(slice.len(), Ordering::Relaxed) + slice.len();
                self.allocated.peak.fetch_max(now, Ordering::Relaxed);
                Ok(Buffer::new(slice, self.stream.clone(), self.allocated.clone()))
            }
            Err(error) if error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, total) = self.memory()?;
                Err(CudaError::OutOfMemory { asked: Bytes(bytes as f64), free, total })
            }
            Err(error) => Err(CudaError::driver("allocating memory", error)),
        }
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
        if !self.context.has_async_alloc() {
            return Ok(());
        }
        self.synchronize()?;
        let pool = self.pool()?;
        // SAFETY: nothing of it is in use by work that has not ended.
        unsafe { sys::cuMemPoolTrimTo(pool, 0) }.result().during("trimming the pool")
    }

    /// The most bytes that were in use at once in the driver's own pool, of whatever library of this process, since
    /// [`Card::reset_pool_peak`].
    pub fn pool_peak(&self) -> Result<Bytes, CudaError> {
        let mut bytes: u64 = 0;
        let pool = self.pool()?;
        // SAFETY: this attribute is a number of 64 bits.
        unsafe { sys::cuMemPoolGetAttribute(pool, HIGHEST_USE, (&raw mut bytes).cast()) }
            .result()
            .during("asking the pool")?;
        Ok(Bytes(bytes as f64))
    }

    /// Starts a new peak.
    pub fn reset_pool_peak(&self) -> Result<(), CudaError> {
        let mut zero: u64 = 0;
        let pool = self.pool()?;
        // SAFETY: as above; 0 is the one value that may be set.
        unsafe { sys::cuMemPoolSetAttribute(pool, HIGHEST_USE, (&raw mut zero).cast()) }
            .result()
            .during("asking the pool")
    }

    fn pool(&self) -> Result<sys::CUmemoryPool, CudaError> {
        self.context.bind_to_thread().during("using the card")?;
        let mut pool = std::ptr::null_mut();
        // SAFETY: the pool belongs to the device and lives as long.
        unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, self.context.cu_device()) }
            .result()
            .during("finding the pool")?;
        Ok(pool)
    }

    /// Time that the card takes for what `work` launches, by its own events.
    pub fn time(&self, work: impl FnOnce() -> Result<(), CudaError>) -> Result<Seconds, CudaError> {
        self.begin.record(&self.stream).during("recording an event")?;
        work()?;
        self.end.record(&self.stream).during("recording an event")?;
        self.end.synchronize().during("running a kernel")?;
        elapsed(&self.begin, &self.end)
    }
}

/// Time between two events that have passed.
fn elapsed(begin: &CudaEvent, end: &CudaEvent) -> Result<Seconds, CudaError> {
    let mut milliseconds = 0f32;
    // SAFETY: both events are alive and were made with timing.
    let result = unsafe { (driver()?.elapsed_time)(&mut milliseconds, begin.cu_event(), end.cu_event()) };
    result.result().during("reading the time")?;
    Ok(Seconds(milliseconds as f64 / 1000.0))
}

/// The cards that the driver shows to this process. Nothing is started on them.
pub fn list() -> Result<Vec<CardFacts>, CudaError> {
    (0..count()?).map(facts).collect()
}

/// What card `index` is; the driver must have been started.
fn facts(index: usize) -> Result<CardFacts, CudaError> {
    let device = device::get(index as i32).during("opening the card")?;
    let attribute = |which| {
        // SAFETY: the device is one that the driver gave.
        let value = unsafe { device::get_attribute(device, which) };
        value.during("asking what the card is").map(|v| v.max(0))
    };
    let number = |which| attribute(which).map(|v| v as usize);
    Ok(CardFacts {
        index,
        name: device::get_name(device).during("asking what the card is")?,
        // SAFETY: as above.
        memory: Bytes(unsafe { device::total_mem(device) }.during("asking what the card is")? as f64),
        pci_bus_id: format!(
            "{:08X}:{:02X}:{:02X}.0",
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_BUS_ID)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID)?
        ),
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)? as u32,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)? as u32,
        ),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)? as u32,
        l2_bytes: number(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        shared_bytes: number(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        clock_hz: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)? as f64 * 1e3,
    })
}
