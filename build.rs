//! Tells the program its git revision and what tells this build from
//! another of the same revision.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    for folder in ["models", "workloads", "instance-catalog"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    for file in SOURCES {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rustc-env=SIZEWELL_BUILD={}", build());
    println!("cargo:rustc-env=SIZEWELL_GIT_REVISION={}", git_revision().unwrap_or("unknown".into()));
}

/// What a build is made of.
const SOURCES: [&str; 6] = ["src", "crates", "kernels", "Cargo.toml", "Cargo.lock", "build.rs"];

/// How it is built and of what, in words: measurements of two builds do not belong into one run, though both be of one
/// revision (a debug build, other flags, changes that are not committed).
fn build() -> String {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let compiler = Command::new(of("RUSTC")).arg("--version").output().ok();
    let compiler = compiler.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let compiler: Vec<&str> = compiler.split_whitespace().take(2).collect();
    let with = |name: &str| std::env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
    // What differs from a build with the default features.
    let features = match (with("CUDA"), with("REFERENCE")) {
        (false, true) => "",
        (true, true) => ", with cuda",
        (false, false) => ", without reference",
        (true, false) => ", with cuda, without reference",
    };
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    // Flags may hold paths of this machine: they count, and are not named.
    add(of("CARGO_ENCODED_RUSTFLAGS").as_bytes());
    add(of("CARGO_CFG_TARGET_FEATURE").as_bytes());
    for file in SOURCES.iter().flat_map(|name| files(Path::new(name))) {
        add(file.to_string_lossy().as_bytes());
        add(&std::fs::read(&file).unwrap_or_default());
    }
    format!(
        "{} (optimisation {}) for {}, {}{features}, source {hash:016x}",
        of("PROFILE"),
        of("OPT_LEVEL"),
        of("TARGET"),
        compiler.join(" ")
    )
}

/// A file, or all files of a folder in the order of their names.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_path_buf()] };
    let mut within: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    within.sort();
    within.iter().flat_map(|path| files(path)).collect()
}

/// The commit that is checked out; a package that was built outside of a repository has none.
fn git_revision() -> Option<String> {
    if !Path::new(".git").exists() {
        return None;
    }
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/logs/HEAD");
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let revision = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (output.status.success() && !revision.is_empty()).then_some(revision)
}
