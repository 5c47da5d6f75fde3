//! A run record for tests.

use sizewell::record::environment::CpuRecord;
use sizewell::record::run::{EngineRecord, ModelRecord, PowerRecord, SCHEMA_VERSION};
use sizewell::record::{Basis, Environment, RunRecord, RunStatus};
use sizewell::workload::sweep::Grid;
use sizewell::workload::{Limits, Preset, Quant, Sweep};

pub fn limits() -> Limits {
    Limits {
        warmup_min_s: 0.0,
        warmup_max_s: 20.0,
        warmup_tolerance: 0.03,
        min_samples: 10,
        max_samples: 100,
        min_time_s: 0.0,
        max_time_s: 30.0,
        precision: 0.02,
        timeout_s: 100.0,
    }
}

/// Two levels at two batch sizes.
pub fn record() -> RunRecord {
    let preset = Preset::named("smollm2-135m").unwrap();
    RunRecord {
        basis: Basis::Measured,
        accelerators: 0,
        import: None,
        schema_version: SCHEMA_VERSION,
        status: RunStatus::Running,
        started_at: "2026-11-23T10:00:00Z".parse().unwrap(),
        finished_at: None,
        environment: Environment {
            hostname: "host".into(),
            cpu: CpuRecord { engine_threads: 2, ..CpuRecord::default() },
            ..Environment::default()
        },
        engine: EngineRecord { name: "fake".into(), device: "cpu".into(), ..EngineRecord::default() },
        model: Some(ModelRecord {
            name: preset.name,
            kind: "preset".into(),
            location: None,
            synthetic: true,
            hash: "0".into(),
            parameters: preset.shape.parameters(),
            shape: preset.shape,
        }),
        workload: Some(Sweep {
            name: "test".into(),
            about: "test".into(),
            quant: vec![Quant::F16, Quant::Int8],
            grid: vec![Grid { batch: vec![1, 4], prompt: vec![100], gen_tokens: vec![11], ..Grid::default() }],
            limits: limits(),
        }),
        seed: 1,
        arrival: "closed_batch".into(),
        metric_definitions: "test".into(),
        ceilings: Vec::new(),
        ceilings_absent: Vec::new(),
        power: PowerRecord { source: "none".into(), reason: Some("test".into()), ..PowerRecord::default() },
        loads: Vec::new(),
        overhead: None,
        quality: None,
        traffic: None,
    }
}
