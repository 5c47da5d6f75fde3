//! What is here, what is not, and why: the facts behind `sizewell devices` and every record's environment.

use super::cuda::{self, CardFacts, CudaError};
use super::limits::Limits;
use super::{cpu, instance, memory, nvidia};
use crate::record::environment::{Environment, GpuRecord, Partition};
use crate::units::Bytes;
use std::path::Path;

/// The name of this machine.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Describes the machine and the program. `engine_threads` and `pinned_to` are as chosen on the command line.
pub fn environment(argv: Vec<String>, engine_threads: usize, pinned_to: Option<String>) -> Environment {
    let root = Path::new("/");
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let mut cpu = cpu::describe(root);
    cpu.engine_threads = engine_threads;
    cpu.pinned_to = pinned_to;
    Environment {
        sizewell_version: env!("CARGO_PKG_VERSION").to_string(),
        git_revision: crate::record::program::current().git_revision.to_string(),
        build: crate::record::program::current().build.map(str::to_string),
        argv,
        hostname: hostname(),
        machine: machine(root),
        os: format!("{} {} ({})", text(uname.sysname()), text(uname.release()), distribution(root)),
        cpu,
        memory_bytes: memory::total(),
        limits: Limits::read(root).record(memory::machine(), &cpu::online(root)),
        numa_nodes: numa_nodes(root),
        instance: instance::recognise(root),
        load_average: cpu::read(root.join("proc/loadavg")).and_then(|t| t.split(' ').next()?.parse().ok()),
        gpus: nvidia::nvml().and_then(nvidia::cards).unwrap_or_default(),
    }
}

/// A hash of the system's identity (machine-id(5)), which itself should not leave the machine.
fn machine(root: &Path) -> Option<String> {
    let id = std::fs::read_to_string(root.join("etc/machine-id")).ok()?;
    let id = id.trim();
    let hash = blake3::derive_key("sizewell run.json environment.machine", id.as_bytes());
    (!id.is_empty()).then(|| blake3::Hash::from_bytes(hash).to_hex()[..12].to_string())
}

fn distribution(root: &Path) -> String {
    let release = std::fs::read_to_string(root.join("etc/os-release")).unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("unknown distribution").trim_matches('"').to_string()
}

fn numa_nodes(root: &Path) -> usize {
    let nodes = std::fs::read_dir(root.join("sys/devices/system/node")).into_iter().flatten().flatten();
    let is_node = |name: &str| name.strip_prefix("node").is_some_and(|n| n.parse::<usize>().is_ok());
    nodes.filter(|entry| entry.file_name().to_str().is_some_and(is_node)).count().max(1)
}

/// A device that a run can be made on, or why it cannot.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DeviceEntry {
    /// What `--device` takes.
    pub id: String,
    /// What it is.
    pub name: String,
    /// Its memory.
    pub memory_bytes: Option<Bytes>,
    /// Whether this build can run on it.
    pub usable: bool,
    /// Why not, or what is missing.
    pub remark: Option<String>,
}

/// The devices of this machine.
pub fn devices() -> Vec<DeviceEntry> {
    let cpu = cpu::describe(Path::new("/"));
    let mut all = vec![DeviceEntry {
        id: "cpu".to_string(),
        name: format!("{} ({} cores, {} threads)", cpu.model, cpu.cores, cpu.threads),
        memory_bytes: Some(memory::total()),
        usable: true,
        remark: None,
    }];
    all.extend(cards(cuda::list(), nvidia::nvml().and_then(nvidia::cards)));
    all
}

/// NVIDIA cards in the order of CUDA, with what NVML knows of them; or one entry that says what is missing.
fn cards(found: Result<Vec<CardFacts>, CudaError>, known: Result<Vec<GpuRecord>, String>) -> Vec<DeviceEntry> {
    match found {
        Ok(cards) if !cards.is_empty() => cards.iter().map(|card| entry(card, known.as_deref())).collect(),
        other => {
            let remark = other.err().map_or("the driver is there and sees no card".to_string(), |why| why.to_string());
            let name = "no NVIDIA GPU".to_string();
            vec![DeviceEntry { id: "cuda".to_string(), name, memory_bytes: None, usable: false, remark: Some(remark) }]
        }
    }
}

/// The oldest compute capability that the kernels are made for.
const OLDEST: (u32, u32) = (7, 0);

fn entry(card: &CardFacts, known: Result<&[GpuRecord], &String>) -> DeviceEntry {
    let usable = card.capability >= OLDEST;
    let (major, minor) = card.capability;
    let remark = match known {
        _ if !usable => {
            Some(format!("compute capability {major}.{minor} is below the {}.{} that is needed", OLDEST.0, OLDEST.1))
        }
        Err(why) => Some(format!("its power cannot be read: {why}")),
        Ok(all) => match all.iter().find(|gpu| gpu.pci_bus_id.as_deref() == Some(card.pci_bus_id.as_str())) {
            None => Some("its power cannot be read: NVML does not know it".to_string()),
            Some(gpu) => gpu.memory_fault().or(gpu.partition.map(|partition| match partition {
                Partition::Mig => "split (MIG): power cannot be read".to_string(),
                Partition::Vgpu => "a virtual GPU: power cannot be read".to_string(),
            })),
        },
    };
    DeviceEntry {
        id: format!("cuda:{}", card.index),
        name: card.name.clone(),
        memory_bytes: Some(card.memory),
        usable,
        remark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::environment::MemoryErrors;

    #[test]
    fn cards_are_listed_with_what_is_missing() {
        let remark = |found: &[DeviceEntry]| found[0].remark.clone().unwrap();
        assert!(remark(&cards(Err(CudaError::Missing("no NVIDIA driver".into())), Ok(vec![]))).contains("driver"));
        assert!(remark(&cards(Ok(Vec::new()), Ok(vec![]))).contains("no card"));
        let card = CardFacts {
            index: 1,
            name: "NVIDIA L4".into(),
            pci_bus_id: "00000000:31:00.0".into(),
            capability: (8, 9),
            memory: Bytes(24e9),
            multiprocessors: 58,
            l2_bytes: 48 << 20,
            shared_bytes: 99 << 10,
            clock_hz: 2e9,
        };
        // NVML counts the same card as its first.
        let known = GpuRecord { pci_bus_id: Some("00000000:31:00.0".into()), ..GpuRecord::default() };
        let found = cards(Ok(vec![card.clone()]), Ok(vec![known.clone()]));
        assert_eq!((found[0].id.as_str(), found[0].usable, &found[0].remark), ("cuda:1", true, &None));
        let split = GpuRecord { partition: Some(Partition::Mig), ..known };
        assert!(remark(&cards(Ok(vec![card.clone()]), Ok(vec![split]))).contains("MIG"));
        assert!(remark(&cards(Ok(vec![card.clone()]), Ok(vec![]))).contains("NVML does not know"));
        let errors = Some(MemoryErrors { repair_pending: Some(true), ..MemoryErrors::default() });
        let sick =
            GpuRecord { pci_bus_id: Some(card.pci_bus_id.clone()), memory_errors: errors, ..GpuRecord::default() };
        assert!(remark(&cards(Ok(vec![card.clone()]), Ok(vec![sick]))).contains("reset the card"));
        let old = CardFacts { capability: (6, 1), ..card };
        assert!(!cards(Ok(vec![old]), Err("no NVML".into()))[0].usable);
    }
}
