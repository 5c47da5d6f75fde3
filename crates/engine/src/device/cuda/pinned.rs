//! Page-locked host memory, which the card copies from and to by itself.

use super::{Buffer, Card, CudaError, WithOperation};
use cudarc::driver::sys;
use cudarc::driver::{CudaContext, CudaStream, result};
use std::sync::Arc;

/// Words of page-locked memory.
pub struct Pinned {
    at: *mut u32,
    words: usize,
    // Locked memory belongs to the context.
    context: Arc<CudaContext>,
}

// SAFETY: it is plain memory that this value alone owns.
unsafe impl Send for Pinned {}

impl Pinned {
    /// `bytes` bytes, zeroed.
    pub fn new(card: &Card, bytes: usize) -> Result<Self, CudaError> {
        card.context().bind_to_thread().during("using the card")?;
        let mut at = std::ptr::null_mut();
        // SAFETY: the driver writes the address of that many bytes.
        unsafe { sys::cuMemHostAlloc(&mut at, bytes.max(4), 0).result().during("locking host memory")? };
        let pinned = Self { at: at.cast(), words: bytes / 4, context: card.context().clone() };
        // SAFETY: the memory was just allocated, and no one else has it.
        unsafe { pinned.at.write_bytes(0, pinned.words) };
        Ok(pinned)
    }

    /// The words. Copies to them must have been waited for.
    pub fn words(&self) -> &[u32] {
        // SAFETY: initialised in `new`, of this length.
        unsafe { std::slice::from_raw_parts(self.at, self.words) }
    }

    /// The words, to be changed.
    pub fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: as in `words`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.words) }
    }

    /// Begins to copy all of it to `to`. It must not be changed before the stream is through.
    pub fn send(&self, stream: &CudaStream, to: &mut Buffer) -> Result<(), CudaError> {
        assert!(self.words * 4 <= to.len());
        // SAFETY: both ranges are as long as the copy.
        unsafe { result::memcpy_htod_async(to.at(), self.words(), stream.cu_stream()) }.during("copying to the card")
    }

    /// Begins to fill all of it from `from`.
    pub fn receive(&mut self, stream: &CudaStream, from: &Buffer) -> Result<(), CudaError> {
        assert!(self.words * 4 <= from.len());
        // SAFETY: both ranges are as long as the copy.
        unsafe { result::memcpy_dtoh_async(self.words_mut(), from.at(), stream.cu_stream()) }
            .during("copying from the card")
    }

    /// Waits for a stream.
    pub fn wait(stream: &CudaStream) -> Result<(), CudaError> {
        stream.synchronize().during("waiting for a copy")
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The card may still be copying; nothing can be done about an error here.
        let _ = self.context.synchronize();
        // SAFETY: it came from cuMemHostAlloc and is freed once.
        let _ = unsafe { sys::cuMemFreeHost(self.at.cast()) };
    }
}

impl Card {
    /// Another stream of the card, for copies in the other direction.
    pub fn second_stream(&self) -> Result<Arc<CudaStream>, CudaError> {
        self.context().new_stream().during("making a stream")
    }
}
