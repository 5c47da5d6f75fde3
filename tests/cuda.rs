//! Everything above the driver of an NVIDIA card, on a fake driver that runs the kernels on the CPU. What it cannot
//! show is speed, and what a real chip or driver does otherwise.

// A program exports nothing.
#![allow(unreachable_pub)]

#[cfg(unix)]
#[path = "cuda/blas.rs"]
mod blas;
#[cfg(target_os = "linux")]
#[path = "cuda/gpu_table.rs"]
mod gpu_table;
#[cfg(target_os = "linux")]
#[path = "cuda/gpu_verify.rs"]
mod gpu_verify;
mod support;

use sizewell::device::ceilings::cuda::{Measured, measure};
use sizewell::device::cuda::{self, Arg, Card, CudaError, Form, IMAGES, Image};
use sizewell::record::{CeilingKind, FailureKind, InvalidReason, Outcome, Run, RunStatus};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::Duration;

/// The fake card, for one test at a time: its memory is small. `None` where there is no fake.
fn card() -> Option<(Card, MutexGuard<'static, ()>)> {
    static ONE: Mutex<()> = Mutex::new(());
    static USED: OnceLock<bool> = OnceLock::new();
    let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let used = *USED.get_or_init(|| match support::fake_cuda::library() {
        Some(library) => {
            cuda::use_library(library).unwrap();
            true
        }
        None => false,
    });
    used.then(|| (Card::open(0).unwrap(), one))
}

/// The program with the fake driver and these settings of it.
fn sizewell(settings: &[(&str, &str)], arguments: &[&str]) -> Option<std::process::Output> {
    let library = support::fake_cuda::library()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_sizewell"));
    command.args(arguments).env(cuda::LIBRARY_VARIABLE, library).env("SIZEWELL_NVML", "/nonexistent");
    Some(command.envs(settings.iter().copied()).output().unwrap())
}

#[test]
fn memory_is_bounded_checked_and_given_back() {
    let Some((card, _one)) = card() else { return };
    assert_eq!((card.facts.name.as_str(), card.facts.capability), ("Fake GPU 0", (8, 9)));
    let (free, total) = card.memory().unwrap();
    let mut buffer = card.with(&[1u32, 2, 3, 4, 5]).unwrap();
    assert_eq!(buffer.download::<u32>(5).unwrap(), [1, 2, 3, 4, 5]);
    buffer.upload_at(4, &[9u32]).unwrap();
    assert_eq!(buffer.download_at::<u32>(4, 2).unwrap(), [9, 3]);
    buffer.fill(0xff).unwrap();
    assert!(buffer.download::<f32>(5).unwrap().iter().all(|value| value.is_nan()));
    match card.alloc(total.0 as usize * 2) {
        Err(CudaError::OutOfMemory { asked, .. }) => assert_eq!(asked.0, total.0 * 2.0),
        other => panic!("{other:?}"),
    }
    drop(buffer);
    assert_eq!(card.memory().unwrap().0, free);
}

fn ptx() -> impl Iterator<Item = &'static Image> {
    IMAGES.iter().filter(|image| image.form == Form::Ptx)
}

fn text(ptx: &Image) -> String {
    String::from_utf8(ptx.unpacked().unwrap()).unwrap()
}

#[test]
fn every_kernel_of_the_sources_is_in_the_ptx() {
    let Some((card, _one)) = card() else { return };
    for file in ptx().filter(|file| !file.only) {
        let text = text(file);
        let names = text.split(".entry ").skip(1).map(|rest| rest.split(['(', '\n']).next().unwrap());
        for name in names {
            card.kernel(file.source, name).unwrap_or_else(|e| panic!("{} {name}: {e}", file.source));
        }
    }
    assert!(matches!(card.kernel("bandwidth", "no_such"), Err(CudaError::Unsupported(_))));
    assert!(matches!(card.kernel("no_such", "no_such"), Err(CudaError::Unsupported(_))));
    // Made for one chip alone.
    assert!(matches!(card.kernel("wgmma", "tensor_wgmma_bf16"), Err(CudaError::Unsupported(_))));
}

#[test]
fn the_ptx_is_made_from_these_sources() {
    use ring::digest::{SHA256, digest};
    let kernels = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let common = std::fs::read(kernels.join("common.cuh")).unwrap();
    for file in ptx() {
        let source = std::fs::read(kernels.join(format!("{}.cu", file.source))).unwrap();
        let hash = digest(&SHA256, &[common.as_slice(), source.as_slice()].concat());
        let hex: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let text = text(file);
        let first = text.lines().next().unwrap();
        assert_eq!(
            first,
            format!("// sha256 {hex} of common.cuh and {}.cu", file.source),
            "{}.cu has changed: run scripts/kernels-ptx",
            file.source
        );
    }
    for source in std::fs::read_dir(&kernels).unwrap().flatten().map(|entry| entry.path()) {
        let name = source.file_stem().unwrap().to_string_lossy().into_owned();
        let made = ptx().any(|file| file.source == name);
        assert!(made || source.extension().is_none_or(|e| e != "cu"), "{name}.cu has no PTX: run scripts/kernels-ptx");
    }
}

#[test]
fn every_ceiling_is_measured_and_its_results_are_right() {
    let Some((card, _one)) = card() else { return };
    let Measured { ceilings, absent } = measure(&card, Duration::ZERO);
    // The vendor's library is not made for a fake card; whether it is installed is the machine's affair.
    assert!(absent.iter().all(|why| why.contains("cuBLASLt")), "{absent:?}");
    use CeilingKind::*;
    for kind in [
        GemvF16,
        GemvBf16,
        GemvInt8,
        GemvInt4,
        GemmF16,
        GemmBf16,
        ReadBandwidth,
        WriteBandwidth,
        CopyBandwidth,
        TriadBandwidth,
        L2Bandwidth,
        MemoryLatency,
        L2Latency,
        LaunchTime,
        FmaF32,
        FmaF16,
        FmaBf16,
        TensorF16,
        TensorBf16,
        TensorTf32,
        TensorInt8,
        TensorInt4,
        TensorFp8,
        ToDevicePinned,
        FromDevicePinned,
        BothWaysPinned,
        ToDevicePageable,
        FromDevicePageable,
    ] {
        let found = ceilings.iter().find(|c| c.kind == kind).unwrap_or_else(|| panic!("{kind:?} is missing"));
        assert_eq!(found.device, "cuda:0");
        assert!(found.best > 0.0 && found.best.is_finite(), "{kind:?} {}", found.best);
    }
    let how = |kind| ceilings.iter().find(|c| c.kind == kind).unwrap().how.as_str();
    // What `int4` of a sweep is stored in, and a rate that launches are no part of.
    assert!(how(GemvInt4).starts_with("Q4_K by the project's own kernel"), "{}", how(GemvInt4));
    assert!(how(TensorBf16).contains("by the difference of launches of"), "{}", how(TensorBf16));
}

#[test]
fn a_wrong_argument_is_an_error_and_not_a_crash() {
    let Some((card, _one)) = card() else { return };
    let kernel = card.kernel("latency", "empty").unwrap();
    // SAFETY: the kernel has no arguments.
    let refused = unsafe { kernel.launch(&card, (1, 1, 1), 4096, 0, &[]) };
    assert!(matches!(refused, Err(CudaError::Driver { .. })), "{refused:?}");
    // SAFETY: as above; more shared memory than any card has.
    assert!(unsafe { kernel.launch(&card, (1, 1, 1), 32, 300 << 10, &[Arg::U32(0)]) }.is_err());
}

/// What `sizewell ceilings --json` prints of a card with these settings: kind, bound and how of each row; and stderr.
fn ceilings(settings: &[(&str, &str)]) -> Option<(Vec<[String; 3]>, String)> {
    let output = sizewell(settings, &["ceilings", "--device", "cuda:0", "--time", "0.001", "--json"])?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(rows.iter().all(|row| row["device"] == "cuda:0"));
    let text = |row: &serde_json::Value| ["kind", "bound", "how"].map(|key| row[key].as_str().unwrap().to_string());
    Some((rows.iter().map(text).collect(), stderr))
}

/// The bounds of a kind, in the order that its rows were measured in.
fn bounds<'a>(rows: &'a [[String; 3]], kind: &str) -> Vec<&'a str> {
    rows.iter().filter(|row| row[0] == kind).map(|row| row[1].as_str()).collect()
}

#[test]
fn a_hopper_card_has_its_own_instructions_and_the_others_are_lower_bounds() {
    let Some((rows, stderr)) = ceilings(&[("FAKE_CUDA_SM", "90"), ("FAKE_CUDA_POOLS", "1")]) else { return };
    assert_eq!(rows.len(), 32, "{rows:?}");
    for kind in ["tensor_f16", "tensor_bf16", "tensor_fp8", "tensor_int8"] {
        assert_eq!(bounds(&rows, kind), ["lower", "roof"], "{kind}");
        let wgmma = rows.iter().filter(|row| row[0] == kind && row[2].starts_with("wgmma"));
        assert_eq!(wgmma.count(), 1, "{kind}");
    }
    assert_eq!(bounds(&rows, "tensor_tf32"), ["lower"]);
    // There is no cuBLASLt for it: that is said, not hidden, and what stands in for it is no roof.
    assert_eq!(bounds(&rows, "gemm_bf16"), ["lower"]);
    assert!(stderr.contains("GEMM bf16 by cuBLASLt"), "{stderr}");
}

#[test]
fn cards_before_and_after_hopper_have_what_they_have() {
    let Some((turing, stderr)) = ceilings(&[("FAKE_CUDA_SM", "75"), ("FAKE_CUDA_POOLS", "1")]) else { return };
    assert_eq!(bounds(&turing, "tensor_f16"), ["roof"]);
    assert!(bounds(&turing, "tensor_bf16").is_empty() && bounds(&turing, "gemm_f16").is_empty(), "{turing:?}");
    assert!(stderr.contains("gemm.cu does not run on a card of compute capability 7.5"), "{stderr}");
    let (ampere, _) = ceilings(&[("FAKE_CUDA_SM", "80"), ("FAKE_CUDA_POOLS", "1")]).unwrap();
    assert_eq!([bounds(&ampere, "tensor_bf16"), bounds(&ampere, "tensor_int4")], [["roof"], ["roof"]]);
    assert!(bounds(&ampere, "tensor_fp8").is_empty() && bounds(&ampere, "gemv_bf16") == ["lower"], "{ampere:?}");
}

#[test]
fn a_lower_bound_is_printed_as_one() {
    let arguments = ["ceilings", "--device", "cuda:0", "--time", "0.001"];
    let Some(output) = sizewell(&[("FAKE_CUDA_SM", "100")], &arguments) else { return };
    let screen = String::from_utf8_lossy(&output.stdout);
    let row = screen.lines().find(|line| line.contains("tensor bf16")).unwrap();
    assert_eq!(row.matches("at least ").count(), 2, "{row}");
    // The column of how is as wide as the screen leaves it.
    let words = screen.replace(['│', '┆'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("tcgen05"), "{screen}");
    assert!(words.contains("absent: cuda:0: GEMM bf16 by cuBLASLt"), "{screen}");
    assert!(words.contains("no share of such a figure is given"), "{screen}");
}

#[test]
fn what_is_missing_is_said_with_what_to_do() {
    let Some(none) = sizewell(&[("FAKE_CUDA_CARDS", "0")], &["ceilings", "--device", "cuda:0"]) else { return };
    assert_eq!(none.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&none.stderr).contains("sees no card"));
    let third = sizewell(&[("FAKE_CUDA_CARDS", "2")], &["ceilings", "--device", "cuda:2"]).unwrap();
    assert!(String::from_utf8_lossy(&third.stderr).contains("shows 2 cards"));
    let wrong = sizewell(&[], &["ceilings", "--device", "gpu"]).unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    // candle's own kernels come with a feature only.
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let arguments = ["profile", "--model", "smollm2-135m", "--device", "cuda:0", "--kernels", "candle", "-o"];
    let candle = sizewell(&[], &[&arguments[..], &[output.to_str().unwrap()]].concat()).unwrap();
    let stderr = String::from_utf8_lossy(&candle.stderr);
    assert!(candle.status.code() == Some(1) && stderr.contains("build it with --features cuda"), "{stderr}");
    assert!(!output.exists());
    let devices = sizewell(&[("FAKE_CUDA_CARDS", "2"), ("FAKE_CUDA_SM", "61")], &["devices", "--json"]).unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&devices.stdout).unwrap();
    assert_eq!(listed["devices"][2]["id"], "cuda:1");
    assert_eq!(listed["devices"][2]["usable"], false);
    assert!(listed["devices"][2]["remark"].as_str().unwrap().contains("6.1"));
}

#[test]
fn an_older_driver_and_an_older_card_get_what_they_take() {
    // PTX 8.0 is what a driver for CUDA 12.0 takes: the products of 8-bit floats came later.
    let old = [("FAKE_CUDA_CODE", "0"), ("FAKE_CUDA_PTX", "80"), ("FAKE_CUDA_VERSION", "12000")];
    let Some(output) = sizewell(&old, &["ceilings", "--device", "cuda:0", "--time", "0.01", "--json"]) else { return };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(stdout.contains("tensor_int8") && !stdout.contains("tensor_fp8"));
    assert!(stderr.contains("tensor fp8: kernel tensor_e4m3 needs a newer card"), "{stderr}");
    let older = [("FAKE_CUDA_PTX", "70"), ("FAKE_CUDA_CODE", "0")];
    let older = sizewell(&older, &["ceilings", "--device", "cuda:0"]).unwrap();
    assert!(String::from_utf8_lossy(&older.stderr).contains("the driver is too old for this PTX"));
    let volta = [("FAKE_CUDA_SM", "70")];
    let volta = sizewell(&volta, &["ceilings", "--device", "cuda:0", "--time", "0.01", "--json"]).unwrap();
    let stdout = String::from_utf8_lossy(&volta.stdout);
    assert!(stdout.contains("fma_f16") && !stdout.contains("fma_bf16") && !stdout.contains("tensor_"), "{stdout}");
}

#[test]
fn a_model_is_profiled_priced_and_reported_on_a_card() {
    let Some(library) = support::fake_cuda::library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (preset, workload) = support::tiny::write(folder.path());
    let text = std::fs::read_to_string(&workload).unwrap();
    // A fake card is as slow as the machine is busy.
    let text = text.replace("timeout_s = 10.0", "timeout_s = 120.0");
    let text = text.replace("batch = [1, 2, 4]", "batch = [1, 9]").replace("prompt = [8]", "prompt = [2]");
    std::fs::write(&workload, text).unwrap();
    let output = folder.path().join("run");
    let run = support::tiny::sizewell()
        .args(["run", "--device", "cuda:0", "--no-ceilings", "--price-per-hour", "1.5", "--model"])
        .arg(&preset)
        .arg("--workload")
        .arg(&workload)
        .arg("-o")
        .arg(&output)
        .env(cuda::LIBRARY_VARIABLE, library)
        .env("SIZEWELL_NVML", "/nonexistent")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    // 5: the fake takes its time, and not always the same.
    assert!(matches!(run.status.code(), Some(0 | 5)), "{stderr}");
    let cases = std::fs::read_to_string(output.join("cases.csv")).unwrap();
    assert_eq!(cases.matches(",ok,").count(), 4, "{cases}");
    assert!(cases.lines().skip(1).all(|line| line.contains("cuda:0")), "{cases}");
    // From batch 9 on the weights are read twice: such a row is in doubt, and says so to whoever would buy by it.
    for row in Run::read(&output).unwrap().cases {
        let is_slow = row.invalid.contains(&InvalidReason::SlowKernels);
        assert_eq!(is_slow, row.key.case.batch == 9, "{}", row.key.case);
        let said = row.notes.iter().any(|note| note == "a decode step of batch 9 reads the weights 2 times");
        assert_eq!(said, is_slow, "{:?}", row.notes);
    }
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(output.join("run.json")).unwrap()).unwrap();
    assert_eq!(record["engine"]["hardware"], "Fake GPU 0");
    assert!(record["power"]["reason"].as_str().unwrap().contains("no NVIDIA driver"));
    let screen = String::from_utf8_lossy(&run.stdout);
    assert!(screen.contains("Fake GPU 0") && screen.contains("Cheapest measured"), "{screen}");
    assert!(screen.contains("slow_kernels"), "{screen}");
}

/// A program on the fake card, with these settings of it.
fn on_card(mut command: Command, settings: &[(&str, &str)]) -> Option<(Option<i32>, String)> {
    command.env(cuda::LIBRARY_VARIABLE, support::fake_cuda::library()?).env("SIZEWELL_NVML", "/nonexistent");
    let output = command.envs(settings.iter().copied()).output().unwrap();
    Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn a_card_that_is_lost_ends_the_run_and_another_process_goes_on_behind_the_case() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    // The 40th kernel uses an address that is not aligned: nothing works after it.
    let lost = [("FAKE_CUDA_FAIL", "launch:40:716")];
    let mut command = support::tiny::profile(folder.path(), &output);
    command.args(["--device", "cuda:0", "--quant", "f16"]);
    let Some((status, stderr)) = on_card(command, &lost) else { return };
    assert_eq!(status, Some(1), "{stderr}");
    let next = format!("sizewell profile --resume {}", output.display());
    assert!(stderr.contains("cuda:0 was lost in f16 b1") && stderr.contains("not aligned"), "{stderr}");
    assert!(stderr.contains("2 more cases were not run") && stderr.contains(&next), "{stderr}");
    let run = Run::read(&output).unwrap();
    assert_eq!((run.cases.len(), run.record.status), (1, RunStatus::Interrupted));
    // It is lost again, in the next case: no case is begun twice.
    let resume = || {
        let mut command = support::tiny::sizewell();
        command.args(["profile", "--no-ceilings", "--threads", "2", "--resume"]).arg(&output);
        command
    };
    assert_eq!(on_card(resume(), &lost).unwrap().0, Some(1));
    let (status, stderr) = on_card(resume(), &[]).unwrap();
    assert!(matches!(status, Some(0 | 5)), "{stderr}");
    let run = Run::read(&output).unwrap();
    let ends: Vec<_> = run.cases.iter().map(|row| (row.key.case.batch, row.reason)).collect();
    let lost = Some(FailureKind::DeviceLost);
    assert_eq!((ends, run.record.status), (vec![(1, lost), (2, lost), (4, None)], RunStatus::Complete));
    assert!(run.cases[1].message.contains("CUDA_ERROR_MISALIGNED_ADDRESS"), "{}", run.cases[1].message);
}

#[test]
fn where_one_card_is_lost_no_run_begins_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let mut command = support::tiny::profile(folder.path(), &output);
    command.args(["--device", "cuda", "--quant", "f16", "--batch", "1"]);
    let settings = [("FAKE_CUDA_FAIL", "launch:40:719"), ("FAKE_CUDA_CARDS", "2")];
    let Some((status, stderr)) = on_card(command, &settings) else { return };
    assert!(status == Some(1) && stderr.contains("cuda:1: not begun"), "{stderr}");
    assert_eq!(Run::read(&output.join("cuda-0")).unwrap().cases[0].reason, Some(FailureKind::DeviceLost));
    assert!(!output.join("cuda-1").exists());
}

#[test]
fn a_card_that_is_lost_while_its_ceilings_are_measured_has_no_cases() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("run");
    let (preset, workload) = support::tiny::write(folder.path());
    let mut command = support::tiny::sizewell();
    command.args(["profile", "--device", "cuda:0", "--quant", "f16", "--batch", "1", "--model"]).arg(preset);
    command.arg("--workload").arg(workload).arg("-o").arg(&output);
    let lost = [("FAKE_CUDA_FAIL", "launch:5:700")];
    let Some((status, stderr)) = on_card(command, &lost) else { return };
    assert!(status == Some(1) && stderr.contains("--no-ceilings"), "{stderr}");
    assert!(Run::read(&output).unwrap().cases.is_empty(), "{stderr}");
    let alone = sizewell(&lost, &["ceilings", "--device", "cuda:0", "--time", "0.01"]).unwrap();
    let stderr = String::from_utf8_lossy(&alone.stderr);
    assert!(alone.status.code() == Some(1) && stderr.contains("latency: not tried after"), "{stderr}");
}

#[test]
fn where_the_pool_refuses_memory_comes_piece_by_piece_and_the_record_says_so() {
    for (setting, why) in [
        (("FAKE_CUDA_POOLS", "refuse"), "allocating from the driver's pool: CUDA_ERROR_NOT_SUPPORTED"),
        ((cuda::POOLS_VARIABLE, "0"), "SIZEWELL_CUDA_POOLS=0"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("run");
        let mut command = support::tiny::profile(folder.path(), &output);
        command.args(["--device", "cuda:0", "--quant", "f16", "--batch", "1"]);
        let Some((status, stderr)) = on_card(command, &[setting]) else { return };
        assert!(matches!(status, Some(0 | 5)), "{stderr}");
        let run = Run::read(&output).unwrap();
        assert_eq!(run.cases[0].outcome, Outcome::Ok);
        assert!(run.cases[0].metrics.peak_device.unwrap().0 > 0.0);
        let kernels = run.record.engine.kernels;
        assert!(kernels.ends_with(&format!(", memory piece by piece as its pool is not used ({why})")), "{kernels}");
    }
}

#[test]
fn a_cold_start_uses_nothing_that_the_driver_kept_and_code_of_the_card_where_it_can() {
    let Some(library) = support::fake_cuda::library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (preset, _) = support::tiny::write(folder.path());
    let starts = |name: &str, settings: &[(&str, &str)]| {
        let (output, log) = (folder.path().join(name), folder.path().join(format!("{name}.log")));
        let done = support::tiny::sizewell()
            .args(["coldstart", "--device", "cuda:0", "--repeat", "1", "--prompt", "4", "--model"])
            .arg(&preset)
            .arg("-o")
            .arg(&output)
            .env(cuda::LIBRARY_VARIABLE, library)
            .env("FAKE_CUDA_LOG", &log)
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let rows = sizewell::record::coldstart::read(&output).unwrap().unwrap();
        let record = std::fs::read_to_string(output.join("run.json")).unwrap();
        (rows, std::fs::read_to_string(log).unwrap(), record)
    };
    let (rows, log, record) = starts("code", &[("FAKE_CUDA_SM", "90")]);
    let [cold, warm] = &rows[..] else { panic!("{rows:?}") };
    // A file system without a disk under it cannot forget: then nothing was started cold.
    let was_cold = cold.outcome == "ok";
    assert_eq!(log.contains("start without a cache"), was_cold, "{log}");
    assert!(!was_cold || cold.cache_method.ends_with(", CUDA_CACHE_DISABLE=1"), "{cold:?}");
    assert_eq!((warm.outcome.as_str(), warm.cache_method.as_str()), ("ok", "read before"));
    assert!(log.contains("machine code for sm_90") && !log.contains("PTX"), "{log}");
    assert!(record.contains("fused kernels (machine code for sm_90) on compute capability 9.0"), "{record}");
    // Where it may not, the driver compiles.
    let (rows, log, record) = starts("ptx", &[("FAKE_CUDA_SM", "90"), ("SIZEWELL_PTX", "1")]);
    assert_eq!(rows[1].outcome, "ok", "{rows:?}");
    assert!(log.contains("PTX") && !log.contains("machine code"), "{log}");
    assert!(record.contains("fused kernels (PTX for sm_70, compiled by the driver)"), "{record}");
}
