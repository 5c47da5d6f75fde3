//! The kernels of `kernels/`, embedded as PTX for several targets: the newest that a card and its driver take is used,
//! and the driver compiles it for the card.

use super::{Card, CudaError, During};
use cudarc::driver::sys::{CUfunction_attribute, CUresult};
use cudarc::driver::{CudaFunction, CudaModule, LaunchConfig, PushKernelArg};
use include_dir::{Dir, include_dir};
use std::collections::HashMap;
use std::sync::Arc;

static PTX: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/kernels/ptx");

/// Shared memory that a kernel gets without asking.
const USUAL_SHARED_BYTES: u32 = 48 << 10;

/// One embedded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PtxFile {
    /// The source without its ending, such as `bandwidth`.
    pub source: &'static str,
    /// The least compute capability, such as 80 for 8.0.
    pub target: u32,
    /// Whether it runs on that capability alone (`sm_90a`).
    pub only: bool,
    /// The PTX.
    pub text: &'static str,
}

/// Every embedded file.
pub static PTX_FILES: std::sync::LazyLock<Vec<PtxFile>> = std::sync::LazyLock::new(|| {
    let read = |file: &'static include_dir::File<'static>| {
        let name = file.path().file_name()?.to_str()?.strip_suffix(".ptx")?;
        let (source, target) = name.split_once(".sm_")?;
        let only = target.ends_with('a');
        Some(PtxFile { source, target: target.trim_end_matches('a').parse().ok()?, only, text: file.contents_utf8()? })
    };
    PTX.files().filter_map(read).collect()
});

/// The files of `source` that a card of `capability` can run, the newest first.
fn candidates(source: &str, capability: (u32, u32)) -> Vec<PtxFile> {
    let own = capability.0 * 10 + capability.1;
    let fits =
        |file: &&PtxFile| file.source == source && if file.only { file.target == own } else { file.target <= own };
    let mut found: Vec<PtxFile> = PTX_FILES.iter().filter(fits).copied().collect();
    found.sort_by_key(|file| std::cmp::Reverse((file.target, file.only)));
    found
}

/// A module that the driver took, and the functions that were asked for.
pub(super) struct Loaded {
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
        if !modules.contains_key(source) {
            modules.insert(source, self.load(source)?);
        }
        let loaded = modules.get_mut(source).expect("it was put there");
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

    /// Loads the newest PTX of `source` that the driver takes; an older driver refuses newer PTX.
    fn load(&self, source: &'static str) -> Result<Loaded, CudaError> {
        let (major, minor) = self.facts.capability;
        let mut refused = None;
        for file in candidates(source, (major, minor)) {
            match self.context.load_module(cudarc::nvrtc::Ptx::from_src(file.text)) {
                Ok(module) => return Ok(Loaded { module, functions: HashMap::new() }),
                Err(error) if error.0 == CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => refused = Some(error),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_target_that_fits_comes_first() {
        let targets = |source, capability| -> Vec<(u32, bool)> {
            candidates(source, capability).iter().map(|file| (file.target, file.only)).collect()
        };
        assert_eq!(targets("bandwidth", (7, 0)), [(70, false)]);
        assert_eq!(targets("bandwidth", (12, 0)), [(70, false)]);
        assert_eq!(targets("bandwidth", (6, 1)), []);
        assert_eq!(targets("wgmma", (9, 0)), [(90, true)]);
        // Instructions of the `a` targets are in no later card.
        assert_eq!(targets("wgmma", (10, 0)), []);
        assert_eq!(targets("tensor", (8, 6)), [(80, false), (75, false)]);
        assert_eq!(targets("no such file", (9, 0)), []);
    }

    #[test]
    fn every_file_names_its_target() {
        assert!(PTX_FILES.len() >= 10);
        for file in PTX_FILES.iter() {
            let target = format!(".target sm_{}{}", file.target, if file.only { "a" } else { "" });
            assert!(file.text.contains(&target), "{} {}", file.source, file.target);
        }
    }
}
