//! What is here, what is not, and why: the facts behind `sizewell devices` and every record's environment.

use super::{cpu, instance, memory, nvidia};
use crate::record::environment::{Environment, GpuRecord, Partition};
use crate::units::Bytes;
use std::path::Path;

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
        git_revision: env!("SIZEWELL_GIT_REVISION").to_string(),
        argv,
        hostname: text(uname.nodename()),
        os: format!("{} {} ({})", text(uname.sysname()), text(uname.release()), distribution(root)),
        cpu,
        memory_bytes: memory::total(),
        numa_nodes: numa_nodes(root),
        instance: instance::recognise(root),
        load_average: cpu::read(root.join("proc/loadavg")).and_then(|t| t.split(' ').next()?.parse().ok()),
        gpus: nvidia::nvml().and_then(nvidia::cards).unwrap_or_default(),
    }
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
    all.extend(cards(nvidia::nvml().and_then(nvidia::cards)));
    all
}

/// NVIDIA cards, or one entry that says what is missing.
fn cards(found: Result<Vec<GpuRecord>, String>) -> Vec<DeviceEntry> {
    let missing = |remark: String| {
        let name = "no NVIDIA GPU".to_string();
        vec![DeviceEntry { id: "cuda".to_string(), name, memory_bytes: None, usable: false, remark: Some(remark) }]
    };
    match found {
        Err(why) => missing(why),
        Ok(cards) if cards.is_empty() => missing("the driver is there and sees no card".to_string()),
        Ok(cards) => cards.into_iter().map(entry).collect(),
    }
}

fn entry(card: GpuRecord) -> DeviceEntry {
    let partition = card.partition.map(|partition| match partition {
        Partition::Mig => "split (MIG): power cannot be read",
        Partition::Vgpu => "a virtual GPU: power cannot be read",
    });
    DeviceEntry {
        id: format!("cuda:{}", card.index),
        name: card.name,
        memory_bytes: card.memory_bytes,
        usable: false,
        remark: Some(partition.unwrap_or("this build measures on the CPU only").to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_listed_with_what_is_missing() {
        assert!(cards(Err("no NVIDIA driver".into()))[0].remark.as_ref().unwrap().contains("driver"));
        assert!(cards(Ok(Vec::new()))[0].remark.as_ref().unwrap().contains("no card"));
        let card = GpuRecord { name: "NVIDIA L4".into(), index: 1, ..GpuRecord::default() };
        let found = cards(Ok(vec![card.clone(), GpuRecord { partition: Some(Partition::Mig), ..card }]));
        assert_eq!((found[0].id.as_str(), found[0].name.as_str()), ("cuda:1", "NVIDIA L4"));
        assert!(found[1].remark.as_ref().unwrap().contains("MIG"));
    }
}
