//! The driver's library that runs the kernels on the CPU: built from `tests/fake_cuda/` and `kernels/` by a C++
//! compiler, where there is one.

use sizewell::device::cuda::{self, Card};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Set, the tests run on the machine's own first card instead of the fake: `scripts/gpu-verify` does so.
pub const REAL: &str = "SIZEWELL_GPU_TESTS";

/// The fake card, for one test at a time. `None` where there is no fake.
pub fn card() -> Option<(Arc<Card>, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    static USED: OnceLock<bool> = OnceLock::new();
    let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let used = *USED.get_or_init(|| {
        if std::env::var_os(REAL).is_some() {
            return true;
        }
        let library = library();
        library.inspect(|library| cuda::use_library(library).unwrap()).is_some()
    });
    used.then(|| (Arc::new(Card::open(0).unwrap()), one))
}

/// The library; `None`, with the reason on stderr, where it cannot be had.
pub fn library() -> Option<&'static Path> {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).as_deref()
}

fn build() -> Option<PathBuf> {
    if cfg!(feature = "cuda") {
        eprintln!("skipped: with candle's CUDA backend the driver is linked, not looked for");
        return None;
    }
    let compiler = std::env::var("CXX").unwrap_or("c++".to_string());
    if Command::new(&compiler).arg("--version").output().is_err() {
        eprintln!("skipped: there is no C++ compiler ({compiler}) to build the fake driver with");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Whoever comes first builds it for all test programs: they may run at the same time, so it appears when it is whole.
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fake-cuda-{:016x}", fingerprint(&compiler, root)));
    let name = "libcuda.so";
    if built.join(name).exists() {
        return Some(built.join(name));
    }
    let folder = built.with_extension(std::process::id().to_string());
    assert!(Command::new(root.join("tests/fake_cuda/build")).arg(&folder).status().unwrap().success());
    if std::fs::rename(&folder, &built).is_err() {
        // Another program was faster.
        assert!(built.join(name).exists());
        let _ = std::fs::remove_dir_all(&folder);
    }
    Some(built.join(name))
}

/// Tells one library from another: the compiler, and the files that it and the script read.
fn fingerprint(compiler: &str, root: &Path) -> u64 {
    let version = Command::new(compiler).arg("--version").output().unwrap().stdout;
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    for folder in ["kernels", "tests/fake_cuda"] {
        let mut files: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            (file, std::fs::read(file).unwrap()).hash(&mut hasher);
        }
    }
    hasher.finish()
}
