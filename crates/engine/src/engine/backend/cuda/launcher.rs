//! Launching kernels by name. A step can be rehearsed: the same code runs, and instead of being launched each kernel is only
//! loaded, which may mean that the driver compiles it. What is timed later finds all of them loaded, and no list of them has
//! to be kept beside the code that launches them.

use crate::device::cuda::{Arg, Card, CudaError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kernels of a card; clones rehearse together.
#[derive(Clone)]
pub(super) struct Launcher {
    card: Arc<Card>,
    rehearses: Arc<AtomicBool>,
}

impl Launcher {
    /// Of `card`.
    pub(crate) fn new(card: Arc<Card>) -> Self {
        Self { card, rehearses: Arc::default() }
    }

    /// The card.
    pub(crate) fn card(&self) -> &Arc<Card> {
        &self.card
    }

    /// Whether nothing is to reach the card now.
    pub(crate) fn rehearses(&self) -> bool {
        self.rehearses.load(Ordering::Relaxed)
    }

    /// Loads what `work` would launch.
    pub(crate) fn rehearse(&self, work: impl FnOnce() -> Result<(), CudaError>) -> Result<(), CudaError> {
        self.rehearses.store(true, Ordering::Relaxed);
        let worked = work();
        self.rehearses.store(false, Ordering::Relaxed);
        worked
    }

    /// Launches kernel `name` of `kernels/<source>.cu` with `shared` bytes of dynamic shared memory.
    ///
    /// # Safety
    /// As [`crate::device::cuda::Kernel::launch`].
    pub(crate) unsafe fn launch(
        &self,
        (source, name): (&'static str, &str),
        blocks: (usize, usize, usize),
        threads: u32,
        shared: u32,
        args: &[Arg],
    ) -> Result<(), CudaError> {
        let kernel = self.card.kernel(source, name)?;
        kernel.allow_shared(shared)?;
        if self.rehearses() {
            return Ok(());
        }
        let blocks = (blocks.0 as u32, blocks.1 as u32, blocks.2 as u32);
        // SAFETY: as the caller promises.
        unsafe { kernel.launch(&self.card, blocks, threads, shared, args) }
    }
}
