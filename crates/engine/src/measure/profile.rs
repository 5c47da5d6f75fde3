//! The loop over a sweep: each case that has no row yet is run, and its row made durable before the next one begins.

use super::Observer;
use super::runner::{CaseContext, run_case};
use crate::device::limits;
use crate::engine::Engine;
use crate::record::folder::{CaseInFlight, FolderError};
use crate::record::{CaseKey, CaseRow, FailureKind, InvalidReason, Outcome, RunFolder, RunRecord, RunStatus};
use std::path::Path;

/// A case in which the process died so often is not begun again, where nobody can say what killed it.
const MOST_ATTEMPTS: u32 = 3;

/// How a sweep ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Every case has a row.
    Complete,
    /// The user stopped it.
    Stopped,
    /// The device was lost in a case, whose row says how; no other case can be run by this process.
    DeviceLost {
        /// The case.
        case: String,
        /// What happened.
        why: String,
        /// Cases that were not run and have no row.
        left: usize,
    },
}

/// Runs the cases of the record's workload into `folder`.
pub fn profile(
    engine: &mut dyn Engine,
    folder: &mut RunFolder,
    record: &mut RunRecord,
    bench: &mut CaseContext<'_>,
    observer: &mut dyn Observer,
) -> Result<End, FolderError> {
    let keys = case_keys(record);
    let total = keys.len();
    for (index, key) in keys.into_iter().enumerate() {
        if folder.done.contains(&key.id()) {
            continue;
        }
        if observer.should_stop() {
            finish(folder, record, RunStatus::Interrupted)?;
            return Ok(End::Stopped);
        }
        observer.case_started(index, total, &key);
        let earlier = folder.died_in.take_if(|case| case.case_id == key.id());
        let out_of_memory = limits::out_of_memory(Path::new("/"));
        if let Some(why) = earlier.as_ref().and_then(|earlier| deadly(earlier, out_of_memory)) {
            let row = CaseRow::unmeasured(key, FailureKind::Killed, why);
            folder.append(&row, &[], &[])?;
            folder.nothing_begun();
            observer.case_finished(&row);
            continue;
        }
        let times = earlier.map_or(0, |earlier| earlier.times) + 1;
        folder.begin(&CaseInFlight { case_id: key.id(), times, out_of_memory })?;
        let Some(mut result) = run_case(engine, key, bench, observer) else {
            folder.nothing_begun();
            finish(folder, record, RunStatus::Interrupted)?;
            return Ok(End::Stopped);
        };
        doubt_of_threads(record, &mut result.row);
        result.row = result.row.believable();
        if let Some(load) = result.load {
            record.loads.retain(|known| known.quant != load.quant);
            record.loads.push(load);
            folder.write_record(record)?;
        }
        folder.append(&result.row, &result.samples, &result.power)?;
        folder.nothing_begun();
        observer.case_finished(&result.row);
        if result.row.reason == Some(FailureKind::DeviceLost) {
            return lost(folder, record, &result.row);
        }
    }
    finish(folder, record, RunStatus::Complete)?;
    Ok(End::Complete)
}

/// Ends a sweep whose device was lost: the other cases would fail for what happened in this one.
fn lost(folder: &RunFolder, record: &mut RunRecord, row: &CaseRow) -> Result<End, FolderError> {
    let left = case_keys(record).iter().filter(|key| !folder.done.contains(&key.id())).count();
    finish(folder, record, if left == 0 { RunStatus::Complete } else { RunStatus::Interrupted })?;
    Ok(End::DeviceLost { case: row.key.case.to_string(), why: row.message.clone(), left })
}

/// Why a case in whose midst an earlier process died is not begun again; `None` where it may have been chance.
fn deadly(earlier: &CaseInFlight, out_of_memory: Option<u64>) -> Option<String> {
    let counts = earlier.out_of_memory.zip(out_of_memory);
    let killed = counts.is_some_and(|(then, now)| now > then);
    // Nothing was killed for want of memory: somebody ended the process, as they may do again.
    let ended = counts.is_some_and(|(then, now)| now == then);
    let advice = "choose smaller cases, or a machine or a container with more memory";
    match (killed, !ended && earlier.times >= MOST_ATTEMPTS) {
        (true, _) => Some(format!("out of memory: the system killed the process in this case; {advice}")),
        (false, true) => Some(format!(
            "the process was killed {} times in this case, probably for want of memory; {advice}",
            earlier.times
        )),
        (false, false) => None,
    }
}

/// More threads than can run at once make a case doubtful.
fn doubt_of_threads(record: &RunRecord, row: &mut CaseRow) {
    let crowded = record.environment.crowded().filter(|_| row.outcome == Outcome::Ok && row.key.device == "cpu");
    if let Some(why) = crowded {
        row.invalid.push(InvalidReason::TooManyThreads);
        row.notes.push(why);
    }
}

fn finish(folder: &RunFolder, record: &mut RunRecord, status: RunStatus) -> Result<(), FolderError> {
    record.status = status;
    record.finished_at = Some(crate::record::clock::now());
    folder.write_record(record)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_was_killed_for_memory_is_not_begun_again_and_chance_has_three_goes() {
        let earlier = |times, out_of_memory| CaseInFlight { case_id: "c".into(), times, out_of_memory };
        assert!(deadly(&earlier(1, Some(4)), Some(5)).unwrap().contains("out of memory"));
        assert_eq!(deadly(&earlier(9, Some(4)), Some(4)), None, "somebody else ended it");
        assert_eq!(deadly(&earlier(2, None), Some(4)), None);
        assert_eq!(deadly(&earlier(2, Some(9)), Some(1)), None, "another container counts anew");
        assert!(deadly(&earlier(3, Some(9)), Some(1)).unwrap().contains("killed 3 times"));
        assert!(deadly(&earlier(3, None), Some(4)).unwrap().contains("killed 3 times"));
    }
}
