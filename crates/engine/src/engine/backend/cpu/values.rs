//! The numbers behind tensors, and places that workers write.

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// A pointer that workers write disjoint parts of.
#[derive(Clone, Copy)]
pub(super) struct SharedMut(pub(super) *mut f32);
// SAFETY: every user writes elements that no other worker touches.
unsafe impl Send for SharedMut {}
// SAFETY: as above.
unsafe impl Sync for SharedMut {}

impl SharedMut {
    /// The pointer `offset` elements in.
    ///
    /// # Safety
    /// `offset` must be within the allocation.
    pub(super) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

/// The contiguous `f32` values behind a layout, and its `(rows, last dimension)`.
pub(super) fn contiguous_f32<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<(&'a [f32], usize, usize)> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("the kernels of this engine take contiguous tensors, not {layout:?}");
    };
    let cols = *layout.dims().last().unwrap_or(&1);
    let values = &storage.as_slice::<f32>()?[start..end];
    Ok((values, values.len() / cols.max(1), cols))
}

/// The `f32` values of a tensor on the CPU, without a copy.
pub fn with_f32_values<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(look(&storage.as_slice::<f32>()?[start..end])),
        _ => {
            drop(storage);
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            Ok(look(&values))
        }
    }
}
