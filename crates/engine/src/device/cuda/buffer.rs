//! Memory of a card.

use super::pool::{self, Allocated};
use super::{Card, CudaError, WithOperation};
use cudarc::driver::{CudaStream, DeviceRepr, result};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes on a card; freed when dropped.
#[derive(Debug)]
pub struct Buffer {
    address: u64,
    size: usize,
    /// It is from the driver's pool, and goes back there.
    pooled: bool,
    stream: Arc<CudaStream>,
    allocated: Arc<Allocated>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.allocated.now.fetch_sub(self.size, Ordering::Relaxed);
        pool::free(&self.stream, self.address, self.pooled);
    }
}

impl Buffer {
    pub(super) fn new(address: u64, size: usize, pooled: bool, card: &Card) -> Self {
        Self { address, size, pooled, stream: card.stream().clone(), allocated: card.allocated.clone() }
    }

    /// Where it begins, for the arguments of a kernel.
    pub fn at(&self) -> u64 {
        self.address
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets every byte to `value`. Outputs are poisoned so, that what was not written shows.
    pub fn fill(&mut self, value: u8) -> Result<(), CudaError> {
        self.stream.context().bind_to_thread().during("using the card")?;
        // SAFETY: the range is this buffer's own.
        unsafe { result::memset_d8_async(self.address, value, self.len(), self.stream.cu_stream()) }
            .during("filling memory")
    }

    /// Copies `values` to the start of it.
    ///
    /// Panics where they are larger than the buffer: sizes are the caller's own arithmetic.
    pub fn upload<T: DeviceRepr>(&mut self, values: &[T]) -> Result<(), CudaError> {
        self.upload_at(0, values)
    }

    /// Copies `values` to the bytes from `offset` on; returns when the host may change them.
    pub fn upload_at<T: DeviceRepr>(&mut self, offset: usize, values: &[T]) -> Result<(), CudaError> {
        assert!(
            offset + size_of_val(values) <= self.len(),
            "{} bytes at {offset} of {}",
            size_of_val(values),
            self.len()
        );
        self.stream.context().bind_to_thread().during("using the card")?;
        let began = std::time::Instant::now();
        // SAFETY: the range was checked; the copy is waited for before the borrow ends.
        unsafe { result::memcpy_htod_async(self.address + offset as u64, values, self.stream.cu_stream()) }
            .during("copying to the card")?;
        let done = self.stream.synchronize().during("copying to the card");
        self.allocated.uploading_ns.fetch_add(began.elapsed().as_nanos() as u64, Ordering::Relaxed);
        done
    }

    /// The first `count` values of it, when all work before is done.
    pub fn download<T: DeviceRepr + Clone + Default>(&self, count: usize) -> Result<Vec<T>, CudaError> {
        self.download_at(0, count)
    }

    /// `count` values from byte `offset` on.
    pub fn download_at<T: DeviceRepr + Clone + Default>(
        &self,
        offset: usize,
        count: usize,
    ) -> Result<Vec<T>, CudaError> {
        let mut values = vec![T::default(); count];
        self.download_into(offset, &mut values)?;
        Ok(values)
    }

    /// Fills `values` from byte `offset` on, when all work before is done.
    pub fn download_into<T: DeviceRepr>(&self, offset: usize, values: &mut [T]) -> Result<(), CudaError> {
        assert!(
            offset + size_of_val(values) <= self.len(),
            "{} bytes at {offset} of {}",
            size_of_val(values),
            self.len()
        );
        self.stream.context().bind_to_thread().during("using the card")?;
        // SAFETY: the range was checked; the copy is waited for before the borrow ends.
        unsafe { result::memcpy_dtoh_async(values, self.address + offset as u64, self.stream.cu_stream()) }
            .during("copying from the card")?;
        self.stream.synchronize().during("copying from the card")
    }
}

impl Card {
    /// Memory of `bytes` bytes that holds 0xff everywhere, which is no number in any float format.
    pub fn poisoned(&self, bytes: usize) -> Result<Buffer, CudaError> {
        let mut buffer = self.alloc(bytes)?;
        buffer.fill(0xff)?;
        Ok(buffer)
    }

    /// Memory of `bytes` zeros.
    pub fn zeros(&self, bytes: usize) -> Result<Buffer, CudaError> {
        let mut buffer = self.alloc(bytes)?;
        buffer.fill(0)?;
        Ok(buffer)
    }

    /// Memory with a copy of `values`.
    pub fn with<T: DeviceRepr>(&self, values: &[T]) -> Result<Buffer, CudaError> {
        let mut buffer = self.alloc(size_of_val(values))?;
        buffer.upload(values)?;
        Ok(buffer)
    }
}
