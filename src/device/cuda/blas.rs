//! cuBLASLt, where it is installed: the vendor's own matrix product.

use super::{Buffer, Card, CudaError};
use cudarc::cublaslt::{CudaBlasLT, Matmul, MatmulConfig};
use half::{bf16, f16};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
    handle: CudaBlasLT,
}

impl Blas {
    /// Opens the library for `card`; an error says that it is not there.
    pub fn open(card: &Card) -> Result<Self, CudaError> {
        probe()?;
        let failed = |why: String| CudaError::Driver { what: "starting cuBLASLt".to_string(), why };
        // cudarc panics where a function is missing, as in a library of another generation.
        match catch_unwind(AssertUnwindSafe(|| CudaBlasLT::new(card.stream().clone()))) {
            Ok(Ok(handle)) => Ok(Self { handle }),
            Ok(Err(error)) => Err(failed(format!("{error:?}"))),
            Err(_) => Err(failed("the library lacks a function".to_string())),
        }
    }

    /// `d = a b^T`: `a` of `(m, k)`, `b` of `(n, k)`, `d` of `(m, n)`, all in rows; sums in `f32`.
    #[allow(clippy::too_many_arguments, reason = "a matrix product has three matrices and three sizes")]
    pub fn gemm(
        &self,
        format: Format,
        d: &mut Buffer,
        a: &Buffer,
        b: &Buffer,
        m: usize,
        n: usize,
        k: usize,
    ) -> Result<(), CudaError> {
        assert!(a.len() >= m * k * 2 && b.len() >= n * k * 2 && d.len() >= m * n * 2);
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
            Format::F16 => self.run::<f16>(config, d, a, b, (m, n, k)),
            Format::Bf16 => self.run::<bf16>(config, d, a, b, (m, n, k)),
        };
        result.map_err(|why| CudaError::Driver { what: "a product by cuBLASLt".to_string(), why })
    }

    fn run<T>(
        &self,
        config: MatmulConfig,
        d: &mut Buffer,
        a: &Buffer,
        b: &Buffer,
        (m, n, k): (usize, usize, usize),
    ) -> Result<(), String>
    where
        CudaBlasLT: Matmul<T>,
    {
        let short = || "a matrix is shorter than its sizes".to_string();
        // SAFETY: any bits are a number of 16 bits.
        let (a, b) = unsafe {
            (a.slice().transmute::<T>(m * k).ok_or_else(short)?, b.slice().transmute::<T>(n * k).ok_or_else(short)?)
        };
        // SAFETY: as above.
        let mut d = unsafe { d.slice_mut().transmute_mut::<T>(m * n).ok_or_else(short)? };
        // SAFETY: the sizes were checked by the caller.
        unsafe { self.handle.matmul(config, &b, &a, &mut d, None, None) }.map_err(|error| format!("{error:?}"))
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
