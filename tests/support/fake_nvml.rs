//! The NVML that plays scripts: `tests/fake_nvml/library.rs`, built by rustc alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The library.
pub fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_nvml/library.rs");
        // Each test program builds its own: they may run at the same time.
        let name = std::env::current_exe().unwrap().file_stem().unwrap().to_string_lossy().into_owned();
        let library = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("libfake-nvml-{name}.so"));
        let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
        let built = Command::new(rustc)
            .args(["--edition", "2024", "--crate-name", "fake_nvml", "--crate-type", "cdylib", "-O", "-o"])
            .args([library.as_os_str(), source.as_ref()])
            .status()
            .unwrap();
        assert!(built.success());
        library
    })
}
