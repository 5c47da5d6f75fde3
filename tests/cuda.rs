//! Everything above the driver of an NVIDIA card, on a fake driver that runs the kernels on the CPU. What it cannot
//! show is speed, and what a real chip or driver does otherwise.

mod support;

use sizewell::device::ceilings::cuda::{Measured, measure};
use sizewell::device::cuda::{self, Arg, Card, CudaError, PTX_FILES};
use sizewell::record::CeilingKind;
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

#[test]
fn every_kernel_of_the_sources_is_in_the_ptx() {
    let Some((card, _one)) = card() else { return };
    for file in PTX_FILES.iter().filter(|file| !file.only) {
        let names = file.text.split(".entry ").skip(1).map(|rest| rest.split(['(', '\n']).next().unwrap());
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
fn every_ceiling_is_measured_and_its_results_are_right() {
    let Some((card, _one)) = card() else { return };
    let Measured { ceilings, absent } = measure(&card, Duration::ZERO);
    assert_eq!(absent, [] as [&str; 0]);
    use CeilingKind::*;
    for kind in [
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
