//! One card: its facts, its stream, its memory, and time as it counts it.

use super::driver::{count, driver};
use super::kernels::Loaded;
use super::pool::{Allocated, Pool};
use super::{CudaError, WithOperation, blas};
use crate::units::{Bytes, Seconds};
use cudarc::driver::result::device;
use cudarc::driver::sys::{CUdevice_attribute as Attribute, CUevent_flags};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

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
    pub(super) pool: Pool,
    blas: OnceLock<Result<blas::Blas, CudaError>>,
}

/// The cards that this process has open.
static OPEN: Mutex<Vec<(usize, Weak<Card>)>> = Mutex::new(Vec::new());

impl Card {
    /// Time that copies from the host have taken since the card was opened.
    pub fn upload_time(&self) -> Seconds {
        Seconds(self.allocated.uploading_ns.load(Ordering::Relaxed) as f64 * 1e-9)
    }

    /// Card `index`, shared by all of this process that have it at the same time: kernels are compiled for it once.
    pub fn shared(index: usize) -> Result<Arc<Self>, CudaError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(card) = open.iter().find(|(of, _)| *of == index).and_then(|(_, card)| card.upgrade()) {
            return Ok(card);
        }
        let card = Arc::new(Self::open(index)?);
        open.retain(|(of, _)| *of != index);
        open.push((index, Arc::downgrade(&card)));
        Ok(card)
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
        let pool = Pool::of(&stream)?;
        let (modules, allocated, blas) = (Mutex::default(), Arc::default(), OnceLock::new());
        Ok(Self { facts, context, stream, modules, begin, end, allocated, pool, blas })
    }

    /// The vendor's matrix product on this card, or why there is none: whoever computes and whoever says what computes asks
    /// here, and is told the same.
    pub fn blas(&self) -> Result<&blas::Blas, &CudaError> {
        self.blas.get_or_init(|| self.open_blas()).as_ref()
    }

    fn open_blas(&self) -> Result<blas::Blas, CudaError> {
        // cudarc takes the workspace of the library from the pool wherever the driver says that it has one, and panics where
        // it does not get it.
        if let Some(why) = self.no_pool() {
            return Err(CudaError::Unsupported(format!("cuBLASLt is not used without the driver's pool ({why})")));
        }
        blas::Blas::open(self)
    }

    /// Why the card is lost to this process, where it is. Asked after a failure whose own words may not tell, such as those of
    /// a library.
    pub fn lost(&self) -> Option<CudaError> {
        self.synchronize().err().filter(CudaError::is_sticky)
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
