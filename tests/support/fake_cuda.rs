//! The driver's library that runs the kernels on the CPU: built from `tests/fake_cuda/` and `kernels/` by a C++
//! compiler, where there is one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
    // Each test program builds its own: they may run at the same time.
    let name = std::env::current_exe().unwrap().file_stem().unwrap().to_string_lossy().into_owned();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fake-cuda-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    let kernels = std::fs::read_dir(root.join("kernels")).unwrap().flatten().map(|entry| entry.path());
    let sources = kernels
        .filter(|path| path.extension().is_some_and(|e| e == "cu"))
        .chain([root.join("tests/fake_cuda/driver.cpp")]);
    let compiling: Vec<_> = sources
        .map(|source| {
            let object = folder.join(format!("{}.o", source.file_name().unwrap().to_string_lossy()));
            let child = Command::new(&compiler)
                .args(["-std=c++20", "-O1", "-w", "-fPIC", "-fvisibility=hidden", "-DSIZEWELL_HOST", "-I"])
                .args([root.join("kernels"), "-I".into(), root.join("tests/fake_cuda")])
                .args(["-x".as_ref(), "c++".as_ref(), "-c".as_ref(), source.as_os_str(), "-o".as_ref()])
                .arg(&object)
                .spawn()
                .unwrap();
            (object, child)
        })
        .collect();
    let library = folder.join("libcuda.so");
    let mut link = Command::new(&compiler);
    // The name by which a library that is loaded already is found again.
    link.args(["-shared", "-Wl,-soname,libcuda.so", "-o"]).arg(&library);
    for (object, mut child) in compiling {
        assert!(child.wait().unwrap().success(), "{} does not compile", object.display());
        link.arg(object);
    }
    assert!(link.status().unwrap().success());
    Some(library)
}
