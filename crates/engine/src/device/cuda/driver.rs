//! The driver's library, looked for before anything of cudarc is called: cudarc panics where it is missing.

use super::CudaError;
use cudarc::driver::sys::{CUevent, CUresult};
use libloading::Library;
use std::ffi::OsStr;
use std::sync::OnceLock;

/// Where the driver is looked for instead of the linker's places: tests bring their own.
pub const LIBRARY_VARIABLE: &str = "SIZEWELL_CUDA";
/// Names of the driver's library, the usual one first.
const LIBRARIES: [&str; 3] = ["libcuda.so.1", "libcuda.so", "nvcuda.dll"];

static OPENED: OnceLock<Result<Driver, String>> = OnceLock::new();

type ElapsedTime = unsafe extern "C" fn(*mut f32, CUevent, CUevent) -> CUresult;

/// What is taken from the library by hand.
pub(super) struct Driver {
    /// `cuEventElapsedTime`: cudarc takes the form of CUDA 12.8 and later, which older drivers do not have.
    pub elapsed_time: ElapsedTime,
    // Functions of a library are good for as long as it is loaded.
    _library: Library,
}

/// The driver, opened once for the process, or what is missing.
pub(super) fn driver() -> Result<&'static Driver, CudaError> {
    OPENED.get_or_init(|| open(load()?)).as_ref().map_err(|why| CudaError::Missing(why.clone()))
}

/// Uses the library at `path` for this process instead. Returns what is wrong with it, or that another is in use.
pub fn use_library(path: &std::path::Path) -> Result<(), CudaError> {
    let mut used = false;
    let opened = OPENED.get_or_init(|| {
        used = true;
        // SAFETY: as in `load`.
        let library = unsafe { Library::new(path) }.map_err(|e| format!("{}: {e}", path.display()))?;
        open(library)
    });
    match (opened, used) {
        (Err(why), _) => Err(CudaError::Missing(why.clone())),
        (Ok(_), false) => Err(CudaError::Missing("another driver's library is in use".to_string())),
        (Ok(_), true) => Ok(()),
    }
}

fn open(library: Library) -> Result<Driver, String> {
    let missing = |error: libloading::Error| format!("the NVIDIA driver's library is not one: {error}");
    // SAFETY: the signatures are those of cuda.h, unchanged since CUDA 3.
    unsafe {
        let elapsed_time = *library.get::<ElapsedTime>(b"cuEventElapsedTime\0").map_err(missing)?;
        Ok(Driver { elapsed_time, _library: library })
    }
}

/// Loads the library. One that is named by the variable is then what cudarc finds too, as the linker knows it by its
/// own name from then on.
fn load() -> Result<Library, String> {
    let no_driver = "no NVIDIA driver: libcuda.so.1 is not there (install the driver, or give a container its GPUs)";
    let open = |name: &OsStr| {
        // SAFETY: loading runs the library's initialisers, which is what a driver is for.
        unsafe { Library::new(name) }
    };
    match std::env::var_os(LIBRARY_VARIABLE) {
        Some(path) => open(&path).map_err(|e| format!("{LIBRARY_VARIABLE}={}: {e}", path.to_string_lossy())),
        None => LIBRARIES.iter().find_map(|name| open(name.as_ref()).ok()).ok_or_else(|| no_driver.to_string()),
    }
}

/// How many cards the driver shows to this process, `CUDA_VISIBLE_DEVICES` applied.
pub fn count() -> Result<usize, CudaError> {
    use super::WithOperation;
    driver()?;
    match cudarc::driver::result::init() {
        Ok(()) => {}
        Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => {
            return Err(CudaError::Missing("the driver is there and sees no card".to_string()));
        }
        Err(error) => return Err(CudaError::driver("starting the driver", error)),
    }
    let count = cudarc::driver::result::device::get_count().during("counting the cards")?;
    Ok(count.max(0) as usize)
}

/// The generation of CUDA that the driver is for, such as 13: it takes libraries of this one and older ones.
#[cfg(not(feature = "cuda"))]
pub(super) fn cuda_generation() -> Result<u32, CudaError> {
    use super::WithOperation;
    driver()?;
    let mut version = 0;
    // SAFETY: the driver is there, and writes one number.
    unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut version) }.result().during("asking the driver's version")?;
    Ok((version / 1000).max(0) as u32)
}
