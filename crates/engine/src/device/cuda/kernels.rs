//! The kernels of `kernels/` on a card: the best file that it and its driver take is loaded once, and functions are
//! launched by name.

use super::images::{Form, Image, candidates};
use super::{Card, CudaError, WithOperation};
use cudarc::driver::result::DriverError;
use cudarc::driver::sys::{CUfunction_attribute, CUresult};
use cudarc::driver::{CudaFunction, CudaModule, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Shared memory that a kernel gets without asking.
const USUAL_SHARED_BYTES: u32 = 48 << 10;

/// A module that the driver took, and the functions that were asked for.
pub(super) struct Loaded {
    image: Image,
    module: Arc<CudaModule>,
    functions: HashMap<String, Kernel>,
}

/// A kernel on a card.
#[derive(Debug, Clone)]
pub struct Kernel {
    name: Arc<str>,
    function: CudaFunction,
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// An address on the card, or an unsigned number of 64 bits.
    U64(u64),
    /// An unsigned number of 32 bits.
    U32(u32),
    /// A float of 32 bits.
    F32(f32),
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::U32(value)
    }
}

impl From<usize> for Arg {
    /// Sizes go to kernels in 32 bits; larger ones are a mistake of the caller.
    fn from(value: usize) -> Self {
        Self::U32(u32::try_from(value).expect("a kernel's size fits 32 bits"))
    }
}

impl From<f32> for Arg {
    fn from(value: f32) -> Self {
        Self::F32(value)
    }
}

impl From<&super::Buffer> for Arg {
    fn from(buffer: &super::Buffer) -> Self {
        Self::U64(buffer.at())
    }
}

impl Kernel {
    /// Launches `blocks` of `threads` with `shared` bytes of shared memory.
    ///
    /// # Safety
    /// The arguments must be those of the kernel's source, and every address must be of memory as large as it says.
    pub unsafe fn launch(
        &self,
        card: &Card,
        blocks: (u32, u32, u32),
        threads: u32,
        shared: u32,
        args: &[Arg],
    ) -> Result<(), CudaError> {
        if blocks.0 == 0 || blocks.1 == 0 || blocks.2 == 0 {
            return Ok(());
        }
        let mut launch = card.stream().launch_builder(&self.function);
        for arg in args {
            match arg {
                Arg::U64(value) => launch.arg(value),
                Arg::U32(value) => launch.arg(value),
                Arg::F32(value) => launch.arg(value),
            };
        }
        let config = LaunchConfig { grid_dim: blocks, block_dim: (threads, 1, 1), shared_mem_bytes: shared };
        // SAFETY: as the caller promises.
        unsafe { launch.launch(config) }.during(&self.name).map(|_| ())
    }

    /// Lets the kernel have `bytes` of dynamic shared memory in a block.
    pub fn allow_shared(&self, bytes: u32) -> Result<(), CudaError> {
        if bytes <= USUAL_SHARED_BYTES {
            return Ok(());
        }
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.function.set_attribute(attribute, bytes as i32).during(&self.name)
    }
}

impl Card {
    /// Kernel `name` of `kernels/<source>.cu`.
    pub fn kernel(&self, source: &'static str, name: &str) -> Result<Kernel, CudaError> {
        let mut modules = self.modules.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let loaded = match modules.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.load(source)?),
        };
        if let Some(kernel) = loaded.functions.get(name) {
            return Ok(kernel.clone());
        }
        match loaded.module.load_function(name) {
            Ok(function) => {
                let kernel = Kernel { name: name.into(), function };
                loaded.functions.insert(name.to_string(), kernel.clone());
                Ok(kernel)
            }
            // Newer instructions are left out of the PTX for older targets.
            Err(error) if error.0 == CUresult::CUDA_ERROR_NOT_FOUND => Err(CudaError::Unsupported(format!(
                "kernel {name} needs a newer card than one of compute capability {}.{}, or a newer driver",
                self.facts.capability.0, self.facts.capability.1
            ))),
            Err(error) => Err(CudaError::driver(name, error)),
        }
    }

    /// How this card comes by its kernels, in words: `machine code for sm_90`.
    pub fn kernel_form(&self) -> Result<String, CudaError> {
        // Any file does, as all are carried for the same cards; this is the smallest.
        let Image { form, target, .. } = self.load("latency")?.image;
        Ok(match form {
            Form::MachineCode => format!("machine code for sm_{target}"),
            Form::Ptx => format!("PTX for sm_{target}, compiled by the driver"),
        })
    }

    /// Loads the best file of `source` that the driver takes: an older one refuses newer PTX, and code that it does not
    /// know is left for PTX.
    fn load(&self, source: &'static str) -> Result<Loaded, CudaError> {
        let (major, minor) = self.facts.capability;
        let mut refused = None;
        for image in candidates(source, (major, minor)) {
            match self.load_image(&image) {
                Ok(module) => return Ok(Loaded { image, module, functions: HashMap::new() }),
                Err(error) if may_try_another(&image, error) => refused = Some(error),
                Err(error) => return Err(CudaError::driver(format!("loading {source}.cu"), error)),
            }
        }
        match refused {
            Some(error) => Err(CudaError::driver(format!("loading {source}.cu"), error)),
            None => Err(CudaError::Unsupported(format!(
                "{source}.cu does not run on a card of compute capability {major}.{minor}"
            ))),
        }
    }

    fn load_image(&self, image: &Image) -> Result<Arc<CudaModule>, DriverError> {
        let broken = DriverError(CUresult::CUDA_ERROR_INVALID_IMAGE);
        let mut bytes = image.unpacked().ok_or(broken)?;
        // PTX ends with a zero; a file of machine code says itself how long it is.
        bytes.push(0);
        self.context.load_module(Ptx::from_binary(bytes))
    }
}

/// Whether the driver may take another file although it refused this one.
fn may_try_another(image: &Image, error: DriverError) -> bool {
    use CUresult::*;
    match image.form {
        Form::Ptx => error.0 == CUDA_ERROR_UNSUPPORTED_PTX_VERSION,
        Form::MachineCode => matches!(
            error.0,
            CUDA_ERROR_NO_BINARY_FOR_GPU
                | CUDA_ERROR_INVALID_IMAGE
                | CUDA_ERROR_INVALID_SOURCE
                | CUDA_ERROR_NOT_SUPPORTED
        ),
    }
}
