//! The driver's library that runs the kernels on the CPU: built from `tests/fake_cuda/` and `kernels/` by a C++
//! compiler, where there is one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// How it is compiled: for this very machine, as half floats would be functions else; products and sums are fused where
/// the kernels say so, nowhere else. Checks of `longjmp` know nothing of fibers.
const OPTIONS: [&str; 9] = [
    "-std=c++20",
    "-O1",
    "-march=native",
    "-ffp-contract=off",
    "-U_FORTIFY_SOURCE",
    "-w",
    "-fPIC",
    "-fvisibility=hidden",
    "-DSIZEWELL_HOST",
];

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
    let sources = sources(root);
    // Whoever comes first builds it for all test programs: they may run at the same time, so it appears when it is whole.
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fake-cuda-{:016x}", fingerprint(&compiler, root)));
    let name = "libcuda.so";
    if built.join(name).exists() {
        return Some(built.join(name));
    }
    let folder = built.with_extension(std::process::id().to_string());
    std::fs::create_dir_all(&folder).unwrap();
    let compiling: Vec<_> = sources
        .iter()
        .map(|source| {
            let object = folder.join(format!("{}.o", source.file_name().unwrap().to_string_lossy()));
            let child = Command::new(&compiler)
                .args(OPTIONS)
                .arg("-I")
                .args([root.join("kernels"), "-I".into(), root.join("tests/fake_cuda")])
                .args(["-x".as_ref(), "c++".as_ref(), "-c".as_ref(), source.as_os_str(), "-o".as_ref()])
                .arg(&object)
                .spawn()
                .unwrap();
            (object, child)
        })
        .collect();
    let library = folder.join(name);
    let mut link = Command::new(&compiler);
    // The name by which a library that is loaded already is found again.
    link.args(["-shared", "-Wl,-soname,libcuda.so", "-o"]).arg(&library);
    for (object, mut child) in compiling {
        assert!(child.wait().unwrap().success(), "{} does not compile", object.display());
        link.arg(object);
    }
    assert!(link.status().unwrap().success());
    if std::fs::rename(&folder, &built).is_err() {
        // Another program was faster.
        assert!(built.join(name).exists());
        let _ = std::fs::remove_dir_all(&folder);
    }
    Some(built.join(name))
}

/// The kernels, and what plays the driver.
fn sources(root: &Path) -> Vec<PathBuf> {
    let kernels = std::fs::read_dir(root.join("kernels")).unwrap().flatten().map(|entry| entry.path());
    kernels
        .filter(|path| path.extension().is_some_and(|e| e == "cu"))
        .chain([root.join("tests/fake_cuda/driver.cpp")])
        .collect()
}

/// Tells one library from another: the compiler, its options, and the files that it reads.
fn fingerprint(compiler: &str, root: &Path) -> u64 {
    let version = Command::new(compiler).arg("--version").output().unwrap().stdout;
    let mut hasher = DefaultHasher::new();
    (version, OPTIONS).hash(&mut hasher);
    for folder in ["kernels", "tests/fake_cuda"] {
        let mut files: Vec<_> = std::fs::read_dir(root.join(folder)).unwrap().flatten().map(|e| e.path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.is_file()) {
            (file, std::fs::read(file).unwrap()).hash(&mut hasher);
        }
    }
    hasher.finish()
}
