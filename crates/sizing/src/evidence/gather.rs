//! Measurements of one system belong together: one run for each.

use super::ImportedFile;
use super::model;
use super::observed::Observed;
use super::source::Source;
use crate::record::environment::Environment;
use crate::record::plausible;
use crate::record::run::{PowerRecord, SCHEMA_VERSION};
use crate::record::{
    Basis, CaseKey, CaseRow, EngineRecord, ImportRecord, InvalidReason, Outcome, Run, RunRecord, RunStatus,
    SkippedRecord, SystemRecord,
};
use crate::workload::ModelShape;
use jiff::Timestamp;
use std::collections::HashMap;

/// What tells one system from another.
fn identity(o: &Observed) -> impl PartialEq + '_ {
    let engine = (&o.engine, &o.engine_version, &o.kernels, &o.compute_type, &o.settings);
    (engine, o.device, &o.hardware, &o.host, &o.model, &o.arrival, o.definitions)
}

fn same_system(a: &Observed, b: &Observed) -> bool {
    identity(a) == identity(b)
}

/// The runs of a file, in the order in which their systems appear in it.
pub(crate) fn runs(
    source: &Source,
    format: &str,
    tool: &str,
    shape: Option<&ModelShape>,
    found: ImportedFile,
) -> Vec<Run> {
    let skipped =
        found.skipped.into_iter().map(|(reason, records)| SkippedRecord { reason, records }).collect::<Vec<_>>();
    let import = ImportRecord {
        format: format.to_string(),
        tool: tool.to_string(),
        tool_version: found.tool_version,
        files: vec![source.file.clone()],
        licence: found.licence,
        skipped,
        systems: Vec::new(),
    };
    let base = record(import);
    let mut groups: Vec<Vec<Observed>> = Vec::new();
    let mut places: HashMap<(Option<String>, Option<String>, String), Vec<usize>> = HashMap::new();
    for observed in found.observed {
        let key = (observed.host.instance_type.clone(), observed.hardware.clone(), observed.model.clone());
        let known = places.entry(key).or_default();
        match known.iter().find(|place| same_system(&groups[**place][0], &observed)) {
            Some(place) => groups[*place].push(observed),
            None => {
                known.push(groups.len());
                groups.push(vec![observed]);
            }
        }
    }
    groups.into_iter().map(|group| run(source, &base, shape, group)).collect()
}

fn run(source: &Source, base: &RunRecord, shape: Option<&ModelShape>, group: Vec<Observed>) -> Run {
    let first = &group[0];
    let system = SystemRecord {
        id: String::new(),
        engine: EngineRecord {
            name: first.engine.clone(),
            version: first.engine_version.clone(),
            device: first.device.to_string(),
            hardware: first.hardware.clone(),
            kernels: first.kernels.clone(),
            compute_type: first.compute_type.clone(),
            settings: first.settings.clone(),
        },
        host: first.host.clone(),
        model: model::record(&first.model, first.parameters, shape),
        arrival: first.arrival.clone(),
        metric_definitions: first.definitions.to_string(),
        ..SystemRecord::default()
    };
    let import = base.import.clone().unwrap_or_default();
    let record = base.of_system(system, import);
    Run { path: source.path.clone(), record, cases: group.into_iter().map(case_row).collect() }
}

/// What is said of a measurement in which requests failed.
fn failures(observed: &mut Observed) -> Vec<InvalidReason> {
    let Observed { failed, samples, .. } = *observed;
    if failed == 0 {
        return Vec::new();
    }
    let note = format!("{failed} of {} requests failed", failed + samples);
    if !observed.notes.contains(&note) {
        observed.notes.push(note);
    }
    InvalidReason::of_failures(failed as u64, (failed + samples) as u64).into_iter().collect()
}

/// Why a measurement cannot be what was measured; `None` where nothing speaks against it.
pub(crate) fn fault(observed: &Observed) -> Option<String> {
    plausible::fault(&case_row(observed.clone()))
}

fn case_row(mut observed: Observed) -> CaseRow {
    let case = observed.case();
    let invalid = failures(&mut observed);
    CaseRow {
        key: CaseKey {
            engine: observed.engine,
            model: observed.model,
            device: observed.device.to_string(),
            case,
            arrival: None,
        },
        outcome: Outcome::Ok,
        reason: None,
        message: String::new(),
        invalid,
        stop_reason: None,
        samples: observed.samples,
        warmup_iterations: 0,
        metrics: observed.metrics,
        absent: observed.absent,
        notes: observed.notes,
    }
}

fn record(import: ImportRecord) -> RunRecord {
    RunRecord {
        schema_version: SCHEMA_VERSION,
        status: RunStatus::Complete,
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: None,
        environment: Environment {
            sizewell_version: env!("CARGO_PKG_VERSION").to_string(),
            git_revision: crate::record::program::current().git_revision.to_string(),
            ..Environment::default()
        },
        engine: EngineRecord::default(),
        model: None,
        workload: None,
        seed: 0,
        arrival: String::new(),
        metric_definitions: String::new(),
        ceilings: Vec::new(),
        ceilings_absent: Vec::new(),
        power: PowerRecord {
            source: "none".to_string(),
            reason: Some("imported".to_string()),
            ..PowerRecord::default()
        },
        loads: Vec::new(),
        overhead: None,
        quality: None,
        traffic: None,
        basis: Basis::Imported,
        accelerators: 0,
        import: Some(import),
    }
}
