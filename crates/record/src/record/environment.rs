//! Where a run comes from: program, host, CPU, instance.

use crate::units::{Bytes, Quantity, Seconds, Watts, digits_plain};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a run comes from: machine, system and program; model, engine and catalog have their own records.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub sizewell_version: String,
    /// Git revision that it was built from, or `unknown`.
    pub git_revision: String,
    /// What tells this build from another of the same revision: profile, target, compiler, and a hash of the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<String>,
    /// The command line.
    pub argv: Vec<String>,
    /// Name of the host.
    pub hostname: String,
    /// What tells this machine from another of the same name: a hash of its system's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Operating system and kernel.
    pub os: String,
    /// The CPU.
    pub cpu: CpuRecord,
    /// Memory of the machine, or of the container where that is less.
    pub memory_bytes: Bytes,
    /// What this process may use of the machine, where that is less than all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsRecord>,
    /// NUMA nodes.
    pub numa_nodes: usize,
    /// The cloud instance, as far as it can be told without the network.
    pub instance: InstanceRecord,
    /// Load average over a minute when the run began.
    pub load_average: Option<f64>,
    /// NVIDIA cards of the machine, whether the run uses them or not.
    #[serde(default)]
    pub gpus: Vec<GpuRecord>,
}

impl Environment {
    /// CPUs that the engine can run on at once: those that it is pinned to, or all that it may use.
    fn cpus(&self) -> usize {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            Some(last.saturating_sub(first) + 1)
        };
        let pinned = self.cpu.pinned_to.as_ref().map(|list| list.split(',').filter_map(range).sum());
        pinned.filter(|count| *count > 0).unwrap_or(self.cpu.threads)
    }

    /// CPUs' worth of time that the process could use: its hardware threads, or less by a quota.
    pub fn usable_cpus(&self) -> f64 {
        let quota = self.limits.as_ref().and_then(|limits| limits.cpu_quota);
        quota.map_or(self.cpu.threads as f64, |quota| quota.min(self.cpu.threads as f64))
    }

    /// Why the engine's threads are more than can run at once, where they are, and what to do.
    pub fn crowded(&self) -> Option<String> {
        let (threads, cpus) = (self.cpu.engine_threads, self.cpus());
        if cpus > 0 && threads > cpus {
            let many = if cpus == 1 { "" } else { "s" };
            return Some(format!(
                "{threads} threads share {cpus} CPU{many}: they take turns, and are no faster; --threads {cpus} is the most that \
                 run at once"
            ));
        }
        let limits = self.limits.as_ref()?;
        let quota = limits.cpu_quota.filter(|quota| threads > 1 && threads as f64 > *quota)?;
        Some(format!(
            "{threads} threads share a quota of {} CPUs ({}): all of them stand when it is used up; --threads {} is the most that \
             run all the time",
            digits_plain(quota),
            limits.cpu_quota_from.as_deref().unwrap_or("of another system"),
            whole_cpus(quota)
        ))
    }
}

/// Threads that a quota lets run all the time: its whole CPUs, and one at least. One more would have all of them stopped
/// within each period, and threads that work together wait for each other at every step.
pub fn whole_cpus(quota: f64) -> usize {
    (quota + 1e-9).floor().max(1.0) as usize
}

/// What the system grants a process of its machine: by control groups (containers), and by limits of processes.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct LimitsRecord {
    /// CPUs' worth of time that the process may use, such as 0.5; absent without a quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<f64>,
    /// The period of the quota: when it is used up, all threads stand until the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota_period_s: Option<Seconds>,
    /// The file that sets the quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_quota_from: Option<String>,
    /// CPUs of the process's group, such as `0-3,8`, where they are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpuset: Option<String>,
    /// The lowest limit of memory; absent where it is not below the machine's memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<Bytes>,
    /// What was used of it when the run began, without cached files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<Bytes>,
    /// The file or the limit of the process that sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_from: Option<String>,
    /// Memory that may be swapped out; 0 where none may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap_bytes: Option<Bytes>,
}

impl LimitsRecord {
    /// What two runs under the same limits have in common: all but what was used when they began.
    pub fn lasting(&self) -> Self {
        Self { memory_used_bytes: None, ..self.clone() }
    }

    /// The quota of CPU time.
    pub fn cpus_in_words(&self) -> Option<String> {
        self.cpu_quota.map(|cpus| format!("{} CPUs", digits_plain(cpus)))
    }

    /// On one line.
    pub fn in_words(&self) -> String {
        let from = |from: &Option<String>| from.as_ref().map_or(String::new(), |from| format!(" ({from})"));
        let quota = self.cpu_quota.map(|cpus| {
            let period = self.cpu_quota_period_s.map_or(String::new(), |period| format!(" every {period}"));
            format!("{} CPUs' time{period}{}", digits_plain(cpus), from(&self.cpu_quota_from))
        });
        let cpuset = self.cpuset.as_ref().map(|set| format!("CPUs {set}"));
        let memory = self.memory_bytes.map(|limit| {
            let used = self.memory_used_bytes.map_or(String::new(), |used| format!(", {} of it used", used.human()));
            format!("{} of memory{used}{}", limit.human(), from(&self.memory_from))
        });
        let swap = self
            .swap_bytes
            .map(|swap| if swap.0 > 0.0 { format!("{} of swap", swap.human()) } else { "no swap".to_string() });
        [quota, cpuset, memory, swap].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// The CPU as the system describes it.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct CpuRecord {
    /// Marketing name.
    pub model: String,
    /// `GenuineIntel`, `AuthenticAMD`, `ARM` and so on.
    pub vendor: String,
    /// Family, model number and stepping, which tell apart what one marketing name covers.
    pub signature: String,
    /// Instruction set architecture: `x86_64`, `aarch64`.
    pub arch: String,
    /// Sockets.
    pub sockets: usize,
    /// Physical cores that the process may use.
    pub cores: usize,
    /// Hardware threads that the process may use.
    pub threads: usize,
    /// Instruction sets that matter to the kernels.
    pub features: Vec<String>,
    /// Data cache sizes from the first level on, of one core's share or of the whole where it is shared.
    pub caches_bytes: Vec<Bytes>,
    /// The hypervisor, where there is one.
    pub hypervisor: Option<String>,
    /// Frequency governor of the first core.
    pub governor: Option<String>,
    /// Highest clock of the first core.
    pub max_clock_mhz: Option<f64>,
    /// Threads that the engine uses.
    pub engine_threads: usize,
    /// CPUs that the engine is pinned to.
    pub pinned_to: Option<String>,
}

/// An NVIDIA card as the driver describes it. What it does not say is absent.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct GpuRecord {
    /// Its number, as in `cuda:0`.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: Option<String>,
    /// Its place on the bus.
    pub pci_bus_id: Option<String>,
    /// Generation.
    pub architecture: Option<String>,
    /// CUDA compute capability, such as `9.0`.
    pub compute_capability: Option<String>,
    /// Memory, as the driver counts it.
    pub memory_bytes: Option<Bytes>,
    /// Version of the driver.
    pub driver: Option<String>,
    /// CUDA version that the driver offers.
    pub cuda: Option<String>,
    /// Power limit in force.
    pub power_limit_w: Option<Watts>,
    /// Power limit of the board.
    pub default_power_limit_w: Option<Watts>,
    /// Lowest limit that can be set.
    pub least_power_limit_w: Option<Watts>,
    /// Highest limit that can be set.
    pub most_power_limit_w: Option<Watts>,
    /// Highest clock of the multiprocessors.
    pub max_sm_clock_mhz: Option<f64>,
    /// Highest clock of the memory.
    pub max_memory_clock_mhz: Option<f64>,
    /// Error correction of the memory is on.
    pub ecc: Option<bool>,
    /// What error correction has found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_errors: Option<MemoryErrors>,
    /// The driver stays loaded between uses.
    pub persistence: Option<bool>,
    /// Link to the host at the moment, such as `gen5 x16`.
    pub pcie: Option<String>,
    /// The card is shared by the hardware.
    pub partition: Option<Partition>,
}

/// Errors of a card's memory, and the rows that replace those that failed. What the driver does not say is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, JsonSchema, Serialize, Deserialize)]
pub struct MemoryErrors {
    /// Errors since the driver was loaded that could not be corrected.
    pub uncorrected: Option<u64>,
    /// Rows that were replaced after errors.
    pub remapped_rows: Option<u32>,
    /// Rows or pages that will be replaced when the card is reset.
    pub repair_pending: Option<bool>,
    /// A row could not be replaced.
    pub repair_failed: Option<bool>,
}

impl GpuRecord {
    /// What is wrong with the card's memory, with the remedy.
    pub fn memory_fault(&self) -> Option<String> {
        let errors = self.memory_errors?;
        if errors.repair_failed == Some(true) {
            return Some("a row of its memory failed and could not be replaced: have the card exchanged".to_string());
        }
        if errors.repair_pending == Some(true) {
            return Some("a part of its memory failed and waits to be replaced: reset the card".to_string());
        }
        errors.uncorrected.filter(|count| *count > 0).map(|count| {
            let what = if count == 1 { "error" } else { "errors" };
            format!("{count} {what} of its memory could not be corrected since the driver was loaded: reset the card")
        })
    }
}

/// How a card is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partition {
    /// Multi-instance GPU.
    Mig,
    /// A virtual GPU.
    Vgpu,
}

/// A cloud instance.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct InstanceRecord {
    /// Provider, such as `aws`.
    pub provider: Option<String>,
    /// Instance type, such as `m7a.large`.
    pub instance_type: Option<String>,
    /// How it is known: `dmi`, `--as`, or why it is not.
    pub known_from: String,
    /// What the user pays for this machine, where they said so.
    #[schemars(with = "Option<String>")]
    pub usd_per_hour: Option<rust_decimal::Decimal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(threads: usize, cpus: usize, quota: Option<f64>, pinned: Option<&str>) -> Environment {
        let limits =
            LimitsRecord { cpu_quota: quota, cpu_quota_from: Some("/cpu.max".into()), ..LimitsRecord::default() };
        let cpu = CpuRecord { threads: cpus, engine_threads: threads, ..CpuRecord::default() };
        let cpu = CpuRecord { pinned_to: pinned.map(str::to_string), ..cpu };
        Environment { cpu, limits: Some(limits), ..Environment::default() }
    }

    #[test]
    fn faults_of_a_cards_memory_are_named_the_worst_first() {
        let fault = |errors| GpuRecord { memory_errors: Some(errors), ..GpuRecord::default() }.memory_fault();
        let well = MemoryErrors { uncorrected: Some(0), remapped_rows: Some(2), ..MemoryErrors::default() };
        assert_eq!(fault(well), None, "rows that were replaced do their work");
        let two = MemoryErrors { uncorrected: Some(2), ..well };
        assert!(fault(two).unwrap().starts_with("2 errors of its memory"));
        let pending = MemoryErrors { repair_pending: Some(true), ..two };
        assert!(fault(pending).unwrap().contains("waits to be replaced"));
        assert!(fault(MemoryErrors { repair_failed: Some(true), ..pending }).unwrap().contains("exchanged"));
        assert_eq!(GpuRecord::default().memory_fault(), None);
    }

    #[test]
    fn more_threads_than_can_run_are_named_with_the_remedy() {
        assert_eq!(with(2, 2, None, None).crowded(), None);
        assert_eq!(with(2, 0, None, None).crowded(), None, "nobody counted the CPUs");
        assert!(with(8, 2, None, None).crowded().unwrap().contains("8 threads share 2 CPUs"));
        assert!(with(2, 4, None, Some("3")).crowded().unwrap().contains("2 threads share 1 CPU:"));
        assert_eq!(with(4, 8, None, Some("0-2,5")).crowded(), None);
        let why = with(2, 4, Some(1.5), None).crowded().unwrap();
        assert!(why.contains("a quota of 1.5 CPUs (/cpu.max)") && why.contains("--threads 1 "), "{why}");
        assert_eq!(with(2, 4, Some(2.0), None).crowded(), None);
        assert_eq!(with(1, 4, Some(0.05), None).crowded(), None, "there is no less than one");
        assert_eq!(with(1, 4, Some(0.05), None).usable_cpus(), 0.05);
        assert_eq!(with(1, 4, Some(8.0), None).usable_cpus(), 4.0);
    }
}
