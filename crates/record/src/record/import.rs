//! What a run folder says of measurements that another tool made.

use super::run::{EngineRecord, ModelRecord};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where imported measurements come from.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The importer: `llama-bench`, `vllm-serve` and so on.
    pub format: String,
    /// The tool that measured.
    pub tool: String,
    /// Its version or build.
    pub tool_version: Option<String>,
    /// The files that were read.
    pub files: Vec<FileRecord>,
    /// Under which terms they may be passed on, where that is known.
    pub licence: Option<String>,
    /// Records of the files that were left out, by reason.
    pub skipped: Vec<SkippedRecord>,
    /// The systems that were measured: `device` in cases.csv is the id of one of them.
    pub systems: Vec<SystemRecord>,
}

/// A file by name and contents.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct FileRecord {
    /// Its name, without the folder.
    pub name: String,
    /// BLAKE3 of its contents.
    pub blake3: String,
}

/// Records that were left out for one reason.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct SkippedRecord {
    /// Why.
    pub reason: String,
    /// How many.
    pub records: usize,
}

/// One model on one device of one host, asked in one way.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct SystemRecord {
    /// What cases.csv calls it.
    pub id: String,
    /// The system under test.
    pub engine: EngineRecord,
    /// The host.
    pub host: HostRecord,
    /// The model, where its shape is known.
    pub model: Option<ModelRecord>,
    /// How requests arrived: `closed_batch`, `closed_1`, `open_constant`, `open_poisson`, `offline`.
    pub arrival: String,
    /// Whose definitions of TTFT, TPOT, ITL and E2E the numbers follow.
    pub metric_definitions: String,
    /// The importer, where the files are of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The tool, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Its version, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_version: Option<String>,
}

/// Another one's machine, as far as a result file says.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct HostRecord {
    /// Provider, such as `aws`.
    pub provider: Option<String>,
    /// Instance type.
    pub instance_type: Option<String>,
    /// Marketing name of the CPU.
    pub cpu: Option<String>,
    /// Threads that the engine used.
    pub threads: Option<usize>,
    /// Accelerators that the model was spread over; 0 is the CPU.
    pub accelerators: usize,
}
