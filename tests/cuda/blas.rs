//! cuBLASLt, found where it is put and asked for the right product: a library of its name that computes in columns, as the
//! real one does.

use super::support::fake_cuda;
use half::{bf16, f16};
use sizewell::device::cuda::blas::{Blas, Format};
use sizewell::device::cuda::{Card, LIBRARY_VARIABLE};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the library at `path` with the name in itself that the real one of this generation has.
fn build(path: &Path, generation: u32, more: &[&str]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_cuda/cublaslt.cpp");
    let built = Command::new(std::env::var("CXX").unwrap_or("c++".to_string()))
        .args(["-std=c++20", "-O1", "-w", "-fPIC", "-shared", "-fvisibility=hidden", "-o"])
        .arg(path)
        .arg(format!("-Wl,-soname,libcublasLt.so.{generation}"))
        .args(more)
        .arg(source)
        .status();
    assert!(built.unwrap().success());
}

/// Set in the processes that run [`a_product_or_why_not`].
const ASKED: &str = "SIZEWELL_TEST_BLAS";

/// What [`a_product_or_why_not`] says in a process of its own with these variables: a library is loaded once.
fn asked(driver: &Path, variables: &[(&str, PathBuf)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "blas::a_product_or_why_not", "--nocapture"])
        .env(LIBRARY_VARIABLE, driver)
        .env(ASKED, "1");
    for name in
        ["SIZEWELL_CUBLASLT", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "HOME", "LD_LIBRARY_PATH"]
    {
        command.env_remove(name);
    }
    command.env("PATH", "/nonexistent").envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_library_is_found_where_packages_and_variables_put_it() {
    let Some(driver) = fake_cuda::library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let nothing = asked(driver, &[]);
    if !nothing.contains("cuBLASLt is not installed") {
        return eprintln!("skipped: this machine has a cuBLASLt of its own");
    }
    assert!(nothing.contains("SIZEWELL_CUBLASLT names it elsewhere"), "{nothing}");
    let package = root.join("my env/lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13");
    build(&package, 13, &[]);
    let active = ("VIRTUAL_ENV", root.join("my env"));
    assert!(asked(driver, std::slice::from_ref(&active)).contains("f16 right, bf16 right"));
    // Not by a driver that is older than it.
    let old = asked(driver, &[active.clone(), ("FAKE_CUDA_VERSION", "12040".into())]);
    assert!(old.contains("cuBLASLt is not installed"), "{old}");
    let elsewhere = root.join("blas/libcublasLt.so.12");
    build(&elsewhere, 12, &[]);
    assert!(asked(driver, &[("SIZEWELL_CUBLASLT", elsewhere)]).contains("f16 right, bf16 right"));
    let wrong = asked(driver, &[("SIZEWELL_CUBLASLT", root.join("none.so")), active.clone()]);
    assert!(wrong.contains("SIZEWELL_CUBLASLT: ") && wrong.contains("none.so"), "{wrong}");
    // A name that cudarc does not know would be its panic.
    let future = root.join("blas/libcublasLt.so.99");
    build(&future, 99, &[]);
    let future = asked(driver, &[("SIZEWELL_CUBLASLT", future)]);
    assert!(future.contains("of a generation of CUDA that is not known"), "{future}");
    // Found, and no use: the reason is the library's or the card's.
    let empty = root.join("empty/libcublasLt.so.13");
    build(&empty, 13, &["-DEMPTY"]);
    let empty = asked(driver, &[("SIZEWELL_CUBLASLT", empty)]);
    assert!(empty.contains("starting cuBLASLt: ") && empty.contains("cublasLtCreate"), "{empty}");
    let full = asked(driver, &[active, ("FAKE_CUDA_MEMORY", "1048576".into())]);
    assert!(full.contains("the card has no room for another 4.00 MiB"), "{full}");
}

/// Numbers that 16 bits hold as they are, and so do their products.
fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step) % 7) as f32 - 3.0).collect()
}

/// `a b^T` of (3, 7) and (5, 7) by the library, against the sums themselves.
fn product(card: &Card, blas: &Blas, format: Format) {
    let (m, n, k) = (3, 5, 7);
    let (a, b) = (numbers(m * k, 5), numbers(n * k, 3));
    let to = |v: &f32| match format {
        Format::F16 => f16::from_f32(*v).to_bits(),
        Format::Bf16 => bf16::from_f32(*v).to_bits(),
    };
    let from = |bits: &u16| match format {
        Format::F16 => f16::from_bits(*bits).to_f32(),
        Format::Bf16 => bf16::from_bits(*bits).to_f32(),
    };
    let on_card = |values: &[f32]| card.with(&values.iter().map(to).collect::<Vec<u16>>()).unwrap();
    let (on_a, on_b) = (on_card(&a), on_card(&b));
    let d = card.poisoned(m * n * 2).unwrap();
    // SAFETY: the matrices are of these sizes.
    unsafe { blas.gemm(format, d.at(), on_a.at(), on_b.at(), m, n, k) }.unwrap();
    let found: Vec<f32> = d.download::<u16>(m * n).unwrap().iter().map(from).collect();
    let sum = |row: usize, column: usize| (0..k).map(|i| a[row * k + i] * b[column * k + i]).sum::<f32>();
    let expected: Vec<f32> = (0..m * n).map(|i| sum(i / n, i % n)).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_product_or_why_not() {
    if std::env::var_os(ASKED).is_none() {
        return eprintln!("skipped: the test above runs it, in processes of their own");
    }
    let card = Card::open(0).unwrap();
    match Blas::open(&card) {
        Ok(blas) => {
            product(&card, &blas, Format::F16);
            product(&card, &blas, Format::Bf16);
            println!("f16 right, bf16 right");
        }
        Err(why) => println!("{why}"),
    }
}
