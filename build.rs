//! Tells the program its git revision and the version of candle that it was built with.

use std::path::Path;
use std::process::Command;

fn main() {
    for folder in ["models", "workloads", "instance-catalog"] {
        println!("cargo:rerun-if-changed={folder}");
    }
    println!("cargo:rerun-if-changed=Cargo.lock");
    println!("cargo:rustc-env=SIZEWELL_CANDLE_VERSION={}", candle_version().unwrap_or("unknown".into()));
    println!("cargo:rustc-env=SIZEWELL_GIT_REVISION={}", git_revision().unwrap_or("unknown".into()));
}

/// The version that Cargo.lock holds for candle-core.
fn candle_version() -> Option<String> {
    let lock = std::fs::read_to_string("Cargo.lock").ok()?;
    let after = lock.split("name = \"candle-core\"").nth(1)?;
    Some(after.split("version = \"").nth(1)?.split('"').next()?.to_string())
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
