//! What is here, what is not, and why: the facts behind `sizewell devices` and every record's environment.

use super::{cpu, instance, memory};
use crate::record::environment::Environment;
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
    all.extend(nvidia(Path::new("/")));
    all
}

/// NVIDIA cards that the driver lists under `/proc`.
fn nvidia(root: &Path) -> Vec<DeviceEntry> {
    let cards = root.join("proc/driver/nvidia/gpus");
    let mut names: Vec<String> = std::fs::read_dir(&cards)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path().join("information")).ok()?;
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
            Some(model.trim().to_string())
        })
        .collect();
    names.sort();
    let found = !names.is_empty();
    let mut entries: Vec<DeviceEntry> = names
        .into_iter()
        .enumerate()
        .map(|(index, name)| DeviceEntry {
            id: format!("cuda:{index}"),
            name,
            memory_bytes: None,
            usable: false,
            remark: Some("this version measures on the CPU only".to_string()),
        })
        .collect();
    if !found {
        entries.push(DeviceEntry {
            id: "cuda".to_string(),
            name: "no NVIDIA GPU".to_string(),
            memory_bytes: None,
            usable: false,
            remark: Some("/proc/driver/nvidia is absent: no card, or its driver is not loaded".to_string()),
        });
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_listed_with_what_is_missing() {
        let root = tempfile::tempdir().unwrap();
        assert!(nvidia(root.path())[0].remark.as_ref().unwrap().contains("driver"));
        let card = root.path().join("proc/driver/nvidia/gpus/0000:00:1e.0");
        std::fs::create_dir_all(&card).unwrap();
        std::fs::write(card.join("information"), "Model: \t\t NVIDIA L4\nIRQ: 1\n").unwrap();
        let found = nvidia(root.path());
        assert_eq!((found[0].id.as_str(), found[0].name.as_str()), ("cuda:0", "NVIDIA L4"));
        assert!(!found[0].usable);
    }
}
