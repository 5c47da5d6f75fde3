//! run.json: where a run comes from and what it set out to do.

use super::ceiling::Ceiling;
use super::environment::Environment;
use super::import::{ImportRecord, SystemRecord};
use super::outcome::Basis;
use super::quality_record::QualityRecord;
use super::traffic::TrafficRecord;
use crate::units::{Bytes, Seconds, Watts};
use crate::workload::{ModelShape, Quant, Sweep, Task};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the run folder's layout. A reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// How far a run got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Under way, or killed.
    Running,
    /// Stopped before its end: by the user, or as its device was lost.
    Interrupted,
    /// All cases have a row.
    Complete,
}

/// The contents of run.json.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// How far it got.
    pub status: RunStatus,
    /// When it began.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When it ended.
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Host, CPU, instance, program.
    pub environment: Environment,
    /// The system under test.
    pub engine: EngineRecord,
    /// The model; absent where only ceilings were measured.
    pub model: Option<ModelRecord>,
    /// What was to be measured; absent where only ceilings were measured.
    pub workload: Option<Sweep>,
    /// Seed of random weights, prompts and resampling.
    pub seed: u64,
    /// How requests arrive: `closed_batch` is one batch after the other, without waiting.
    pub arrival: String,
    /// Whose definitions of TTFT, TPOT, ITL and E2E the numbers follow.
    pub metric_definitions: String,
    /// Measured roofs of the device.
    pub ceilings: Vec<Ceiling>,
    /// Ceilings that could not be measured, each with the reason.
    #[serde(default)]
    pub ceilings_absent: Vec<String>,
    /// Where energy comes from, or why there is none.
    pub power: PowerRecord,
    /// One entry for each level of weights that was loaded.
    pub loads: Vec<LoadRecord>,
    /// What the measuring loop itself costs.
    pub overhead: Option<OverheadRecord>,
    /// By whom it was measured.
    #[serde(default)]
    pub basis: Basis,
    /// Accelerators that the model was spread over, where another tool did so; 0 is one, or the CPU.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub accelerators: usize,
    /// Of an imported run: the tool, its files and the systems that it measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportRecord>,
    /// How quality was measured, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<QualityRecord>,
    /// What a load test found, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<TrafficRecord>,
}

/// The system under test.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct EngineRecord {
    /// `sizewell` where the kernels of this program compute, `candle-ops` where candle's own do; that of another tool in what
    /// is imported. Older records call the first `candle`.
    pub name: String,
    /// Its version: that of this program, or of candle.
    pub version: String,
    /// `cpu`, `cuda:0`.
    pub device: String,
    /// The name of the device, where it is not the CPU.
    #[serde(default)]
    pub hardware: Option<String>,
    /// Code path of the kernels that were chosen at run time.
    pub kernels: String,
    /// Type of activations and key-value cache.
    pub compute_type: String,
    /// Whatever else tells this system from another of the same engine, device and model: `backend`, `cache_k`, `cache_v`,
    /// `draft_model`, `speculation`, `expert_parallel`, `split_mode` and so on, as another tool's file says it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

/// The name of the engine whose kernels are this program's own.
pub const OWN_ENGINE: &str = "sizewell";

/// The name of the engine that computes by candle's own kernels: what it measures is not mixed with the other's.
pub const BY_CANDLE: &str = "candle-ops";

/// What the own engine was called before.
const OWN_ENGINE_BEFORE: &str = "candle";

/// The engine that a name in a record is of, whatever it was called when the record was written: two with one identity are
/// one engine. candle's own kernels were never called `candle` in a record.
pub fn engine_identity(name: &str) -> &str {
    if name == OWN_ENGINE_BEFORE { OWN_ENGINE } else { name }
}

impl EngineRecord {
    /// Tells this engine from others, in records of every age.
    pub fn identity(&self) -> &str {
        engine_identity(&self.name)
    }

    /// Its settings in one line: `backend=Vulkan, cache_k=q8_0`; empty where there are none.
    pub fn settings_in_words(&self) -> String {
        self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
    }
}

/// The model under test.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Its name.
    pub name: String,
    /// `preset`, `gguf`, `safetensors` or `hub`.
    pub kind: String,
    /// File, folder or hub id.
    pub location: Option<String>,
    /// Weights are seeded random numbers.
    pub synthetic: bool,
    /// BLAKE3 of the weight files, or of the preset and seed.
    pub hash: String,
    /// Parameters.
    pub parameters: f64,
    /// The sizes.
    pub shape: ModelShape,
}

/// Where energy figures come from.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct PowerRecord {
    /// `rapl`, `nvml` or `none`.
    pub source: String,
    /// Why there is none.
    pub reason: Option<String>,
    /// What is read, such as `package-0`.
    pub zones: Vec<String>,
    /// What is known of the sensor.
    #[serde(default)]
    pub sensor: Option<SensorRecord>,
    /// Power of the device before the run, with nothing to do; absent where it was not waited for or did not settle.
    #[serde(default)]
    pub idle_w: Option<Watts>,
    /// How that was read, or why it is absent although it was waited for.
    #[serde(default)]
    pub idle: Option<IdleRecord>,
    /// Power of a card that holds the model of the last case and waits: what a server without requests draws. It is above
    /// the idle power, as an open card keeps its clocks up. Absent on a CPU, where both are one.
    #[serde(default)]
    pub waiting_w: Option<Watts>,
    /// The power limit that was set for this run (`--power-limit`); absent where the card kept its own.
    #[serde(default)]
    pub limit_w: Option<Watts>,
}

/// The source that reads cards.
pub const NVML: &str = "nvml";

impl PowerRecord {
    /// Power of the device while a server on it waits for requests; absent where only the bare card was read.
    pub fn waiting(&self) -> Option<Watts> {
        let bare_card = self.source == NVML && self.idle.as_ref().is_some_and(|idle| !idle.card_open);
        self.waiting_w.or(self.idle_w.filter(|_| !bare_card))
    }
}

/// How the idle power was read.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct IdleRecord {
    /// How long it took: ten seconds of a device at rest, and what came before them.
    pub waited_s: Seconds,
    /// Performance state of the device then: 0 for the highest clocks; absent where it has none.
    #[serde(default)]
    pub performance_state: Option<u32>,
    /// This program held the card by then, which keeps the clocks of many cards up: a waiting server does so too.
    pub card_open: bool,
    /// Why there is no figure.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A power sensor.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct SensorRecord {
    /// Where energy is from: `rapl`, `nvml_total_energy`, `nvml_instant`, `nvml_average`.
    pub method: String,
    /// Time between two changes of its value, as found when the run began.
    pub update_period_s: Seconds,
    /// Each reading of power is a mean over this long.
    pub averaging_s: Seconds,
    /// It looks at the power a part of the time only; windows are repeated at different phases.
    pub part_time: bool,
    /// How far off sensors of this kind can be, as a share.
    pub error: Option<f64>,
}

/// One load of weights.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct LoadRecord {
    /// The level.
    pub quant: Quant,
    /// How long it took.
    pub load_s: Seconds,
    /// Bytes as stored.
    pub weight_bytes: Bytes,
    /// Which matrices got another encoding than the level's own.
    pub notes: Vec<String>,
    /// A few greedy tokens after a fixed prompt, where the weights are real.
    pub sample_text: Option<String>,
}

/// What the measuring loop itself costs, as measured on an engine that does nothing.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct OverheadRecord {
    /// Added to each iteration.
    pub per_iteration_s: Seconds,
    /// Added to each token.
    pub per_token_s: Seconds,
}

impl RunRecord {
    /// What its model does; of a model that is not known, that it generates text.
    pub fn task(&self) -> Task {
        self.model.as_ref().map_or(Task::Generate, |model| model.shape.task())
    }

    /// The record of one system of an imported run, as if it had been imported alone.
    pub fn of_system(&self, system: SystemRecord, import: ImportRecord) -> Self {
        let SystemRecord { engine, host, model, arrival, metric_definitions, format, tool, tool_version, id: _ } =
            system;
        let import = ImportRecord {
            tool_version: if format.is_some() { tool_version } else { import.tool_version },
            format: format.unwrap_or(import.format),
            tool: tool.unwrap_or(import.tool),
            ..import
        };
        let mut record = Self { engine, model, arrival, metric_definitions, import: Some(import), ..self.clone() };
        let environment = &mut record.environment;
        environment.cpu.model = host.cpu.unwrap_or_default();
        environment.cpu.engine_threads = host.threads.unwrap_or_default();
        environment.cpu.threads = host.threads.unwrap_or_default();
        environment.cpu.cores = host.threads.unwrap_or_default();
        environment.instance.provider = host.provider;
        environment.instance.instance_type = host.instance_type;
        record.accelerators = host.accelerators;
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_one_whatever_it_was_called() {
        let named = |name: &str| EngineRecord { name: name.into(), ..EngineRecord::default() };
        assert_eq!(named("candle").identity(), named(OWN_ENGINE).identity());
        for other in [BY_CANDLE, "vllm", "llama.cpp", ""] {
            assert_eq!(named(other).identity(), other);
        }
    }

    #[test]
    fn what_a_bare_card_draws_is_not_what_a_server_draws_that_waits() {
        let idle = |card_open| IdleRecord { card_open, ..IdleRecord::default() };
        let card = PowerRecord { source: NVML.into(), idle_w: Some(Watts(30.0)), ..PowerRecord::default() };
        // Of records from before, which read it with the card open.
        assert_eq!(card.waiting(), Some(Watts(30.0)));
        assert_eq!(PowerRecord { idle: Some(idle(true)), ..card.clone() }.waiting(), Some(Watts(30.0)));
        let bare = PowerRecord { idle: Some(idle(false)), ..card };
        assert_eq!(bare.waiting(), None);
        assert_eq!(PowerRecord { waiting_w: Some(Watts(110.0)), ..bare.clone() }.waiting(), Some(Watts(110.0)));
        // A CPU is never opened.
        assert_eq!(PowerRecord { source: "rapl".into(), ..bare }.waiting(), Some(Watts(30.0)));
    }
}
