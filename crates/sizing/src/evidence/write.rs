//! Imported runs as a run folder: one folder for a file, its systems listed in run.json.

use super::Evidence;
use crate::record::folder::FolderError;
use crate::record::{CaseRow, HostRecord, ImportRecord, Run, RunFolder, RunRecord, SystemRecord};
use std::path::Path;

/// Writes runs that were read from result files into a new folder.
pub fn write(folder: &Path, reading: &Evidence, argv: Vec<String>, now: jiff::Timestamp) -> Result<(), FolderError> {
    let runs = &reading.runs;
    let Some(first) = runs.first() else { return Ok(()) };
    let mut import = ImportRecord {
        files: Vec::new(),
        skipped: reading.all_skipped(),
        ..first.record.import.clone().unwrap_or_default()
    };
    let mut rows: Vec<CaseRow> = Vec::new();
    let format = |run: &Run| run.record.import.as_ref().map(|part| (part.format.clone(), part.tool_version.clone()));
    let several = runs.iter().any(|run| format(run) != format(first));
    if several {
        (import.format, import.tool, import.tool_version) = ("several".into(), "several".into(), None);
    }
    for (index, run) in runs.iter().enumerate() {
        let id = format!("s{}", index + 1);
        for part in run.record.import.iter() {
            import
                .files
                .extend(part.files.iter().filter(|file| !import.files.contains(file)).cloned().collect::<Vec<_>>());
        }
        rows.extend(run.cases.iter().map(|row| {
            let mut row = row.clone();
            row.key.device = id.clone();
            row
        }));
        import.systems.push(system(id, &run.record, several));
    }
    let mut record =
        RunRecord { import: Some(import), started_at: now, finished_at: Some(now), ..first.record.clone() };
    record.environment.argv = argv;
    // What differs from system to system stands in their list.
    record.environment.cpu.model = String::new();
    record.environment.instance.provider = None;
    record.environment.instance.instance_type = None;
    record.model = None;
    RunFolder::write_at_once(folder, &record, &rows)
}

fn system(id: String, record: &RunRecord, several: bool) -> SystemRecord {
    let environment = &record.environment;
    let part = record.import.as_ref().filter(|_| several);
    SystemRecord {
        id,
        engine: record.engine.clone(),
        host: HostRecord {
            provider: environment.instance.provider.clone(),
            instance_type: environment.instance.instance_type.clone(),
            cpu: Some(environment.cpu.model.clone()).filter(|cpu| !cpu.is_empty()),
            threads: Some(environment.cpu.engine_threads).filter(|threads| *threads > 0),
            accelerators: record.accelerators,
        },
        model: record.model.clone(),
        arrival: record.arrival.clone(),
        metric_definitions: record.metric_definitions.clone(),
        format: part.map(|part| part.format.clone()),
        tool: part.map(|part| part.tool.clone()),
        tool_version: part.and_then(|part| part.tool_version.clone()),
    }
}
