//! Tells the engine the version of candle that it is built on, and packs the kernels for cards.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::Path;

fn main() {
    for path in ["../../kernels", "../../Cargo.lock", "build.rs"] {
        println!("cargo:rerun-if-changed={path}");
    }
    pack_ptx().expect("the PTX of kernels/ptx can be packed");
    println!("cargo:rustc-env=SIZEWELL_CANDLE_VERSION={}", candle_version().unwrap_or("unknown".into()));
}

/// Packs each file of kernels/ptx into a folder of the build: it is text, and a seventh of the program as it is.
fn pack_ptx() -> std::io::Result<()> {
    let to = Path::new(&std::env::var("OUT_DIR").unwrap_or_default()).join("ptx");
    // A file that is gone from the sources must not stay in the program.
    let _ = std::fs::remove_dir_all(&to);
    std::fs::create_dir_all(&to)?;
    for file in std::fs::read_dir("../../kernels/ptx")? {
        let path = file?.path();
        let name = format!("{}.gz", path.file_name().unwrap_or_default().to_string_lossy());
        let mut packed = GzEncoder::new(std::fs::File::create(to.join(name))?, Compression::best());
        packed.write_all(&std::fs::read(path)?)?;
        packed.finish()?;
    }
    Ok(())
}

/// The version that Cargo.lock holds for candle-core.
fn candle_version() -> Option<String> {
    let lock = std::fs::read_to_string("../../Cargo.lock").ok()?;
    let after = lock.split("name = \"candle-core\"").nth(1)?;
    Some(after.split("version = \"").nth(1)?.split('"').next()?.to_string())
}
