//! cuBLASLt, where it is installed: the vendor's own matrix product.

use super::{Card, CudaError};
use cudarc::cublaslt::{CudaBlasLT, Matmul, MatmulConfig};
use cudarc::driver::CudaStream;
use half::{bf16, f16};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The most that the library's workspace takes: 32 MiB from the Hopper generation on, less before.
pub(super) const WORKSPACE: usize = 32 << 20;

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
    /// Opens the library for `card`; an error says that it is not there.
    pub fn open(card: &Card) -> Result<Self, CudaError> {
        probe()?;
        let failed = |why: String| CudaError::Driver { what: "starting cuBLASLt".to_string(), why };
        // cudarc panics where a function is missing, as in a library of another generation.
        match catch_unwind(AssertUnwindSafe(|| CudaBlasLT::new(card.stream().clone()))) {
            Ok(Ok(handle)) => Ok(Self { handle: ManuallyDrop::new(handle), stream: card.stream().clone() }),
            Ok(Err(error)) => Err(failed(format!("{error:?}"))),
            Err(_) => Err(failed("the library lacks a function".to_string())),
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
            Format::F16 => unsafe { self.run::<f16>(config, d, a, b, (m, n, k)) },
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

/// Looks for the library before cudarc does, which panics where it is missing.
#[cfg(not(feature = "cuda"))]
fn probe() -> Result<(), CudaError> {
    let names = cudarc::get_lib_name_candidates("cublasLt");
    // SAFETY: loading runs the initialisers of NVIDIA's library.
    if names.iter().any(|name| unsafe { libloading::Library::new(name) }.is_ok()) {
        return Ok(());
    }
    let hint = "cuBLASLt is not installed (libcublasLt.so of the CUDA toolkit; PyPI's nvidia-cublas has it)";
    Err(CudaError::Missing(hint.to_string()))
}

/// Linked, so it is there.
#[cfg(feature = "cuda")]
fn probe() -> Result<(), CudaError> {
    Ok(())
}
