//! The loop over a sweep: each case that has no row yet is run, and its row made durable before the next one begins.

use super::Observer;
use super::runner::{Bench, run_case};
use crate::engine::Engine;
use crate::record::folder::FolderError;
use crate::record::{CaseKey, RunFolder, RunRecord, RunStatus};

/// Runs the cases of the record's workload into `folder`. Returns whether all of them have a row now; `false` means
/// that the user stopped it.
pub fn profile(
    engine: &mut dyn Engine,
    folder: &mut RunFolder,
    record: &mut RunRecord,
    bench: &mut Bench<'_>,
    observer: &mut dyn Observer,
) -> Result<bool, FolderError> {
    let keys = case_keys(record);
    let total = keys.len();
    for (index, key) in keys.into_iter().enumerate() {
        if folder.done.contains(&key.id()) {
            continue;
        }
        if observer.should_stop() {
            return finish(folder, record, RunStatus::Interrupted);
        }
        observer.case_started(index, total, &key);
        let Some(result) = run_case(engine, key, bench, observer) else {
            return finish(folder, record, RunStatus::Interrupted);
        };
        if let Some(load) = result.load {
            record.loads.retain(|known| known.quant != load.quant);
            record.loads.push(load);
            folder.write_record(record)?;
        }
        folder.append(&result.row, &result.samples, &result.power)?;
        observer.case_finished(&result.row);
    }
    finish(folder, record, RunStatus::Complete)
}

fn finish(folder: &RunFolder, record: &mut RunRecord, status: RunStatus) -> Result<bool, FolderError> {
    record.status = status;
    record.finished_at = Some(crate::record::clock::now());
    folder.write_record(record)?;
    Ok(status == RunStatus::Complete)
}

/// The identities of all cases that the record sets out to measure.
pub fn case_keys(record: &RunRecord) -> Vec<CaseKey> {
    let (Some(workload), Some(model)) = (&record.workload, &record.model) else { return Vec::new() };
    workload
        .cases()
        .into_iter()
        .map(|case| CaseKey {
            engine: record.engine.name.clone(),
            model: model.name.clone(),
            device: record.engine.device.clone(),
            case,
            arrival: None,
        })
        .collect()
}
