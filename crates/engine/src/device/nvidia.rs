//! NVIDIA cards as NVML describes them. The library comes with the driver and is opened at run time: a machine
//! without it gets an error that says what is missing.

use crate::record::environment::{GpuRecord, MemoryErrors, Partition};
use crate::units::{Bytes, Watts};
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, GpuVirtualizationMode, MemoryError};
use nvml_wrapper::error::{NvmlError, nvml_try};
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};
use std::path::Path;
use std::sync::{Mutex, OnceLock};

/// Where NVML is looked for instead of the linker's places: WSL and containers have it elsewhere, tests bring their own.
pub const LIBRARY_VARIABLE: &str = "SIZEWELL_NVML";
/// What the driver's package calls the library; the name without a version is only in development packages.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// NVML, opened once for the process.
pub fn nvml() -> Result<&'static Nvml, String> {
    static OPENED: OnceLock<Result<Nvml, String>> = OnceLock::new();
    static OPENING: Mutex<()> = Mutex::new(());
    let _one = OPENING.lock();
    let opened = OPENED.get_or_init(|| {
        let library = std::env::var_os(LIBRARY_VARIABLE).unwrap_or_else(|| LIBRARY.into());
        open(Path::new(&library))
    });
    opened.as_ref().map_err(String::clone)
}

/// Opens the NVML at `library`. The error says what to do.
pub fn open(library: &Path) -> Result<Nvml, String> {
    Nvml::builder().lib_path(library.as_os_str()).init().map_err(|error| match error {
        NvmlError::LibloadingError(_) => {
            format!(
                "no NVIDIA driver: {} is not there (install the driver, or give a container its GPUs)",
                library.display()
            )
        }
        NvmlError::DriverNotLoaded => "the NVIDIA driver is installed but not loaded: no card, or reboot".to_string(),
        NvmlError::NoPermission => "the NVIDIA devices may not be opened: check the rights of /dev/nvidia*".to_string(),
        other => format!("NVML does not start: {other}"),
    })
}

/// What is not supported is absent; everything else that fails is an error.
fn supported<T>(result: Result<T, NvmlError>) -> Option<T> {
    result.ok()
}

/// Facts of every card that NVML sees.
pub fn cards(nvml: &Nvml) -> Result<Vec<GpuRecord>, String> {
    let count = nvml.device_count().map_err(|e| format!("NVML does not count its cards: {e}"))?;
    (0..count)
        .map(|index| {
            let card = nvml.device_by_index(index).map_err(|e| format!("card {index} cannot be opened: {e}"))?;
            Ok(describe(nvml, &card, index as usize))
        })
        .collect()
}

fn describe(nvml: &Nvml, card: &Device<'_>, index: usize) -> GpuRecord {
    let watts = |milliwatts: Option<u32>| milliwatts.map(|mw| Watts(mw as f64 / 1000.0));
    let limits = supported(card.power_management_limit_constraints());
    let capability = supported(card.cuda_compute_capability());
    let pci = supported(card.pci_info());
    GpuRecord {
        index,
        name: supported(card.name()).unwrap_or("unnamed".to_string()),
        uuid: supported(card.uuid()),
        pci_bus_id: pci.as_ref().map(|pci| pci.bus_id.clone()),
        architecture: supported(card.architecture()).map(|a| a.to_string()),
        compute_capability: capability.map(|c| format!("{}.{}", c.major, c.minor)),
        memory_bytes: supported(card.memory_info()).map(|m| Bytes(m.total as f64)),
        driver: supported(nvml.sys_driver_version()),
        cuda: supported(nvml.sys_cuda_driver_version())
            .map(|v| format!("{}.{}", cuda_driver_version_major(v), cuda_driver_version_minor(v))),
        power_limit_w: watts(supported(card.enforced_power_limit())),
        default_power_limit_w: watts(supported(card.power_management_limit_default())),
        least_power_limit_w: watts(limits.as_ref().map(|l| l.min_limit)),
        most_power_limit_w: watts(limits.as_ref().map(|l| l.max_limit)),
        max_sm_clock_mhz: supported(card.max_clock_info(Clock::SM)).map(f64::from),
        max_memory_clock_mhz: supported(card.max_clock_info(Clock::Memory)).map(f64::from),
        ecc: supported(card.is_ecc_enabled()).map(|ecc| ecc.currently_enabled),
        memory_errors: memory_errors(card),
        persistence: supported(card.is_in_persistent_mode()),
        pcie: supported(card.current_pcie_link_gen())
            .zip(supported(card.current_pcie_link_width()))
            .map(|(generation, width)| format!("gen{generation} x{width}")),
        partition: partition(card),
    }
}

/// What error correction has found; `None` where the card tells nothing of it.
fn memory_errors(card: &Device<'_>) -> Option<MemoryErrors> {
    let rows = remapped_rows(card);
    // Cards before Ampere retire whole pages.
    let retiring = || supported(card.are_pages_pending_retired());
    let errors = MemoryErrors {
        uncorrected: supported(card.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile)),
        remapped_rows: rows.map(|[corrected, uncorrected, ..]| corrected + uncorrected),
        repair_pending: rows.map(|[_, _, pending, _]| pending != 0).or_else(retiring),
        repair_failed: rows.map(|[.., failed]| failed != 0),
    };
    (errors != MemoryErrors::default()).then_some(errors)
}

/// Rows replaced after errors that could and that could not be corrected, whether some wait for it, and whether some could not
/// be replaced.
fn remapped_rows(card: &Device<'_>) -> Option<[u32; 4]> {
    let ask = card.nvml().lib().nvmlDeviceGetRemappedRows.as_ref().ok()?;
    let mut rows = [0; 4];
    let [corrected, uncorrected, pending, failed] = &mut rows;
    // SAFETY: the handle is that of an open card, and each pointer is of a number.
    let code = unsafe { ask(card.handle(), corrected, uncorrected, pending, failed) };
    supported(nvml_try(code)).map(|()| rows)
}

/// Whether the card is shared by the hardware: then its meters do not tell whose the power is.
pub fn partition(card: &Device<'_>) -> Option<Partition> {
    if supported(card.mig_mode()).is_some_and(|mode| mode.current == 1) {
        return Some(Partition::Mig);
    }
    match supported(card.virtualization_mode()) {
        Some(GpuVirtualizationMode::Vgpu | GpuVirtualizationMode::HostVgpu) => Some(Partition::Vgpu),
        _ => None,
    }
}

/// Numbers by which NVML knows this process, besides its own: in a container it may list those of the host.
static ALIASES: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Processes other than this one that compute on the card. `None` where NVML does not say.
pub fn foreign_processes(card: &Device<'_>) -> Option<Vec<u32>> {
    let aliases = ALIASES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Some(foreign(pids(card)?, std::process::id(), &aliases))
}

fn pids(card: &Device<'_>) -> Option<Vec<u32>> {
    Some(supported(card.running_compute_processes())?.iter().map(|process| process.pid).collect())
}

fn foreign(pids: Vec<u32>, own: u32, aliases: &[u32]) -> Vec<u32> {
    pids.into_iter().filter(|pid| *pid != own && !aliases.contains(pid)).collect()
}

/// Lets `open` begin to compute on `cuda:index`, and learns from the process that appears what NVML calls this one.
pub fn while_opening<T>(index: u32, open: impl FnOnce() -> T) -> T {
    let card = nvml().ok().and_then(|nvml| nvml.device_by_index(index_in_nvml(nvml, index)).ok());
    let before = card.as_ref().and_then(pids);
    let opened = open();
    if let (Some(before), Some(after)) = (before, card.as_ref().and_then(pids)) {
        let mut aliases = ALIASES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        aliases.extend(alias(&before, &after, std::process::id()));
    }
    opened
}

/// The one process that is new, where none of them has the number of this one.
fn alias(before: &[u32], after: &[u32], own: u32) -> Option<u32> {
    let mut new = after.iter().copied().filter(|pid| !before.contains(pid));
    match (new.next(), new.next()) {
        (Some(one), None) if !after.contains(&own) => Some(one),
        _ => None,
    }
}

/// The number that NVML gives to `cuda:index`. NVML counts every card in the order of the bus; CUDA counts the visible
/// ones, by default the fastest first. Without CUDA to ask, both are taken for the same.
pub fn index_in_nvml(nvml: &Nvml, index: u32) -> u32 {
    let cards = super::cuda::list().unwrap_or_default();
    let Some(card) = cards.get(index as usize) else { return index };
    nvml.device_by_pci_bus_id(card.pci_bus_id.as_str()).and_then(|found| found.index()).unwrap_or(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_not_foreign_to_itself_whatever_it_is_called() {
        assert_eq!(foreign(vec![7, 9], 7, &[]), [9]);
        assert_eq!(foreign(vec![31_007, 9], 7, &[31_007]), [9]);
        // It came when this one opened the card.
        assert_eq!(alias(&[9], &[9, 31_007], 7), Some(31_007));
        assert_eq!(alias(&[9], &[9, 7], 7), None);
        // Which of two it is cannot be told, and nothing new is nobody.
        assert_eq!((alias(&[], &[1, 2], 7), alias(&[9], &[9], 7)), (None, None));
    }
}
