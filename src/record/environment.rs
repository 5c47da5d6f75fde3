//! Where a run comes from: program, host, CPU, instance.

use crate::units::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All that law 9 asks of a run's origin, but for model, engine and catalog, which have their own records.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this program.
    pub sizewell_version: String,
    /// Git revision that it was built from, or `unknown`.
    pub git_revision: String,
    /// The command line.
    pub argv: Vec<String>,
    /// Name of the host.
    pub hostname: String,
    /// Operating system and kernel.
    pub os: String,
    /// The CPU.
    pub cpu: CpuRecord,
    /// Memory of the machine, or of the container where that is less.
    pub memory_bytes: Bytes,
    /// NUMA nodes.
    pub numa_nodes: usize,
    /// The cloud instance, as far as it can be told without the network.
    pub instance: InstanceRecord,
    /// Load average over a minute when the run began.
    pub load_average: Option<f64>,
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
