//! Where a run comes from: program, host, CPU, instance.

use crate::units::{Bytes, Seconds, Watts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All that law 9 asks of a run's origin, but for model, engine and catalog, which have their own records.
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
    /// The driver stays loaded between uses.
    pub persistence: Option<bool>,
    /// Link to the host at the moment, such as `gen5 x16`.
    pub pcie: Option<String>,
    /// The card is shared by the hardware.
    pub partition: Option<Partition>,
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
