//! cuBLASLt, where it is installed: the vendor's own matrix product.

#[cfg(not(feature = "cuda"))]
mod places;

use super::{Card, CudaError};
use cudarc::cublaslt::{CudaBlasLT, Matmul, MatmulConfig};
use cudarc::driver::CudaStream;
use half::{bf16, f16};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The library's file, where it is neither in the linker's places nor in the usual ones.
#[cfg(not(feature = "cuda"))]
pub const LIBRARY_VARIABLE: &str = "SIZEWELL_CUBLASLT";

/// Bytes that cudarc takes for the library's workspace on a card of this compute capability.
pub(super) fn workspace(capability: (u32, u32)) -> usize {
    if capability.0 >= 9 { 32 << 20 } else { 4 << 20 }
}

/// Numbers of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

/// The library, with a workspace on one card.
pub struct Blas {
    handle: ManuallyDrop<CudaBlasLT>,
    stream: Arc<CudaStream>,
}

impl Drop for Blas {
    fn drop(&mut self) {
        // cudarc panics where the library cannot be closed, as on a card that is lost; the process gives that back.
        if self.stream.synchronize().is_ok() {
            // SAFETY: nothing uses it after this.
            unsafe { ManuallyDrop::drop(&mut self.handle) };
        }
    }
}

impl Blas {
    /// Opens the library for `card`; an error says that it is not there, or why it does not start.
    pub fn open(card: &Card) -> Result<Self, CudaError> {
        probe()?;
        // cudarc panics where the workspace does not fit, and says so of nothing: it is tried first.
        drop(card.alloc(workspace(card.facts.capability))?);
        let failed = |why: String| CudaError::Driver { what: "starting cuBLASLt".to_string(), why };
        // cudarc panics where a function is missing, as in a library of another generation.
        match catch_unwind(AssertUnwindSafe(|| CudaBlasLT::new(card.stream().clone()))) {
            Ok(Ok(handle)) => Ok(Self { handle: ManuallyDrop::new(handle), stream: card.stream().clone() }),
            Ok(Err(error)) => Err(failed(format!("{:?}", error.0))),
            Err(panic) => Err(failed(in_words(panic))),
        }
    }

    /// `d = a b^T`: `a` of `(m, k)`, `b` of `(n, k)`, `d` of `(m, n)`, all in rows; sums in `f32`. Matrices are given by
    /// their addresses.
    ///
    /// # Safety
    /// The addresses must be of memory of this card that holds the matrices.
    #[allow(clippy::too_many_arguments, reason = "a matrix product has three matrices and three sizes")]
    pub unsafe fn gemm(
        &self,
        format: Format,
        d: u64,
        a: u64,
        b: u64,
        m: usize,
        n: usize,
        k: usize,
    ) -> Result<(), CudaError> {
        // The library counts in columns: d^T of (n, m) is b of (n, k) transposed back, times a^T.
        let config = MatmulConfig {
            transa: true,
            transb: false,
            transc: false,
            m: n as u64,
            n: m as u64,
            k: k as u64,
            alpha: 1.0,
            lda: k as i64,
            ldb: k as i64,
            beta: 0.0,
            ldc: n as i64,
            stride_a: None,
            stride_b: None,
            stride_c: None,
            stride_bias: None,
            batch_size: None,
        };
        let result = match format {
            // SAFETY: the matrices have these sizes in this format, as the caller promises.
            Format::F16 => unsafe { self.run::<f16>(config, d, a, b, (m, n, k)) },
            // SAFETY: as above.
            Format::Bf16 => unsafe { self.run::<bf16>(config, d, a, b, (m, n, k)) },
        };
        result.map_err(|why| CudaError::Driver { what: "a product by cuBLASLt".to_string(), why })
    }

    unsafe fn run<T>(
        &self,
        config: MatmulConfig,
        d: u64,
        a: u64,
        b: u64,
        (m, n, k): (usize, usize, usize),
    ) -> Result<(), String>
    where
        CudaBlasLT: Matmul<T>,
    {
        // SAFETY: as the caller of `gemm` promises; the memory stays its owner's, so the slices are let go unfreed.
        unsafe {
            let (a, b) = (self.stream.upgrade_device_ptr::<T>(a, m * k), self.stream.upgrade_device_ptr::<T>(b, n * k));
            let mut d = self.stream.upgrade_device_ptr::<T>(d, m * n);
            let result = self.handle.matmul(config, &b, &a, &mut d, None, None);
            let _ = (a.leak(), b.leak(), d.leak());
            result.map_err(|error| format!("{error:?}"))
        }
    }
}

/// What a panic of cudarc says.
fn in_words(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    text.unwrap_or_else(|| "the library lacks a function".to_string())
}

/// Where the library is found, once for the process; cudarc, which panics where it finds none, then finds the same one.
#[cfg(not(feature = "cuda"))]
fn probe() -> Result<(), CudaError> {
    static FOUND: std::sync::OnceLock<Result<(), String>> = std::sync::OnceLock::new();
    FOUND.get_or_init(find).clone().map_err(CudaError::Missing)
}

/// Loads the library that the variable names, or the linker's own, or the first that can be loaded of other places. It
/// stays loaded, so that cudarc, which asks by names alone, gets it by the name that it has in itself.
#[cfg(not(feature = "cuda"))]
fn find() -> Result<(), String> {
    if let Some(path) = std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()) {
        return load(path.as_ref()).map_err(|why| format!("{LIBRARY_VARIABLE}: {why}"));
    }
    if by_name().is_some() {
        return Ok(());
    }
    let places = places::Places { variable: &|name| std::env::var_os(name), root: std::path::Path::new("/") };
    let newest = super::driver::cuda_generation().map_err(|e| e.to_string())?;
    let mut refused = Vec::new();
    for path in places.candidates(newest) {
        match load(&path) {
            Ok(()) => return Ok(()),
            Err(why) => refused.push(why),
        }
    }
    let hint = format!(
        "cuBLASLt is not installed (libcublasLt.so of the CUDA toolkit; PyPI's nvidia-cublas has it; \
         {LIBRARY_VARIABLE} names it elsewhere)"
    );
    Err(if refused.is_empty() { hint } else { format!("{hint}; {}", refused.join("; ")) })
}

/// Loads the library at `path` for good, and sees that it is what its name finds from then on.
#[cfg(not(feature = "cuda"))]
fn load(path: &std::path::Path) -> Result<(), String> {
    // SAFETY: loading runs the initialisers of NVIDIA's library.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| format!("{}: {e}", path.display()))?;
    let own = handle(library);
    match by_name() {
        Some(found) if found == own => Ok(()),
        Some(_) => Err(format!("{}: the linker finds another one first; LD_LIBRARY_PATH decides", path.display())),
        None => Err(format!("{}: it is of a generation of CUDA that is not known", path.display())),
    }
}

/// The library that cudarc finds, as the linker numbers it.
#[cfg(not(feature = "cuda"))]
fn by_name() -> Option<usize> {
    let names = cudarc::get_lib_name_candidates("cublasLt");
    // SAFETY: as in `load`.
    names.iter().find_map(|name| unsafe { libloading::Library::new(name) }.ok()).map(handle)
}

/// The linker's number of a library, which is the same for the same file. The library is never unloaded.
#[cfg(not(feature = "cuda"))]
fn handle(library: libloading::Library) -> usize {
    #[cfg(unix)]
    let number = libloading::os::unix::Library::from(library).into_raw() as usize;
    #[cfg(windows)]
    let number = libloading::os::windows::Library::from(library).into_raw() as usize;
    number
}

/// Linked, so it is there.
#[cfg(feature = "cuda")]
fn probe() -> Result<(), CudaError> {
    Ok(())
}
