//! Reading run folders, whoever wrote them: an error names file and line.

use super::case_row::CaseRow;
use super::import::ImportRecord;
use super::record_fault;
use super::run::{RunRecord, RunStatus, SCHEMA_VERSION};
use super::sample::{PowerRow, SampleRow};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A file of a run folder that could not be read.
#[derive(Debug, Error)]
#[error("{}{}: {message}", .file.display(), match .line { 0 => String::new(), line => format!(":{line}") })]
pub struct ReadError {
    /// Which file.
    pub file: PathBuf,
    /// Which line, from 1; 0 where there is none.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

impl ReadError {
    /// An error at `line` of `file`.
    pub fn new(file: &Path, line: usize, message: impl ToString) -> Self {
        Self { file: file.to_path_buf(), line, message: message.to_string() }
    }
}

/// A run folder in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The folder.
    pub path: PathBuf,
    /// run.json.
    pub record: RunRecord,
    /// cases.csv.
    pub cases: Vec<CaseRow>,
}

impl Run {
    /// Reads run.json and cases.csv of a folder.
    pub fn read(folder: &Path) -> Result<Self, ReadError> {
        let record = read_record(folder)?;
        // Of a run that was complete, no row was ever being written.
        if record.status == RunStatus::Complete {
            ends_whole(&folder.join("cases.csv"))?;
        }
        Ok(Self { path: folder.to_path_buf(), record, cases: read_cases(folder)? })
    }

    /// Reads a folder as one run for each system that was measured: an imported folder may hold many.
    pub fn read_systems(folder: &Path) -> Result<Vec<Self>, ReadError> {
        Ok(Self::read(folder)?.into_systems())
    }

    /// One run for each system of an imported one; itself where it was measured here.
    pub fn into_systems(mut self) -> Vec<Self> {
        // Taken out, as every system gets the rest of the record.
        let import = match self.record.import.take() {
            Some(import) if !import.systems.is_empty() => import,
            import => {
                self.record.import = import;
                return vec![self];
            }
        };
        let mut cases: HashMap<String, Vec<CaseRow>> = HashMap::new();
        for row in self.cases {
            cases.entry(row.key.device.clone()).or_default().push(row);
        }
        let ImportRecord { systems, .. } = &import;
        let systems = systems.clone();
        let common = ImportRecord { systems: Vec::new(), ..import };
        systems
            .into_iter()
            .filter_map(|system| {
                let mut rows = cases.remove(&system.id)?;
                let record = self.record.of_system(system, common.clone());
                for row in &mut rows {
                    row.key.device = record.engine.device.clone();
                }
                Some(Self { path: self.path.clone(), record, cases: rows })
            })
            .collect()
    }

    /// Reads samples.csv.
    pub fn samples(&self) -> Result<Vec<SampleRow>, ReadError> {
        read_rows(&self.path.join("samples.csv"), SampleRow::from_fields)
    }

    /// Reads power.csv; empty where there is none, as in a run that another program made.
    pub fn power(&self) -> Result<Vec<PowerRow>, ReadError> {
        let path = self.path.join("power.csv");
        if path.exists() { read_rows(&path, PowerRow::from_fields) } else { Ok(Vec::new()) }
    }
}

/// Reads run.json.
pub fn read_record(folder: &Path) -> Result<RunRecord, ReadError> {
    let path = folder.join("run.json");
    if path.exists() && !path.is_file() {
        return Err(ReadError::new(&path, 0, "is no file: not a run of sizewell"));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| {
        let hint = if folder.is_dir() { "" } else { "; a run is a folder such as results/2026-11-23-host-model" };
        ReadError::new(&path, 0, format!("{e}{hint}"))
    })?;
    let at = |e: serde_json::Error| ReadError::new(&path, e.line(), e);
    // The version first: a newer file may not parse as ours at all.
    let value: serde_json::Value = serde_json::from_str(&text).map_err(at)?;
    match value.get("schema_version").map(|version| (version, version.as_u64())) {
        Some((_, Some(version))) if (1..=SCHEMA_VERSION as u64).contains(&version) => {}
        Some((_, Some(version))) if version > 0 => {
            let message =
                format!("schema version {version} is newer than this program's {SCHEMA_VERSION}: update sizewell");
            return Err(ReadError::new(&path, 0, message));
        }
        Some((other, _)) => {
            let message = format!("`schema_version` is {other}: not a run of sizewell");
            return Err(ReadError::new(&path, 0, message));
        }
        None => return Err(ReadError::new(&path, 0, "`schema_version` is missing: not a run of sizewell")),
    }
    let record: RunRecord = serde_json::from_str(&text).map_err(at)?;
    match record_fault::fault(&text, &value, &record) {
        Some(fault) => Err(ReadError::new(&path, fault.line, fault.message)),
        None => Ok(record),
    }
}

/// That the last line of a CSV file has its end.
fn ends_whole(path: &Path) -> Result<(), ReadError> {
    let fail = |e: std::io::Error| ReadError::new(path, 0, e);
    if ends_with_newline(&File::open(path).map_err(fail)?).map_err(fail)? {
        return Ok(());
    }
    let line = std::fs::read(path).map_err(fail)?.iter().filter(|byte| **byte == b'\n').count() + 1;
    let message = "the last line has no end, though the run is complete: add the line break if the line is whole, or \
                   remove it";
    Err(ReadError::new(path, line, message))
}

/// Reads cases.csv. A last line without its end is left out: it is of a case that did not finish.
pub fn read_cases(folder: &Path) -> Result<Vec<CaseRow>, ReadError> {
    read_rows(&folder.join("cases.csv"), CaseRow::from_fields)
}

pub(super) fn read_rows<T>(
    path: &Path,
    parse: fn(&HashMap<String, String>) -> Result<T, String>,
) -> Result<Vec<T>, ReadError> {
    let file = File::open(path).map_err(|e| ReadError::new(path, 0, e))?;
    let ends_whole = ends_with_newline(&file).map_err(|e| ReadError::new(path, 0, e))?;
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(std::io::BufReader::new(file));
    let header = reader.headers().map_err(|e| ReadError::new(path, 1, e))?.clone();
    let named: HashSet<&str> = header.iter().collect();
    if named.len() < header.len() {
        let twice = header.iter().enumerate().find(|(index, name)| header.iter().take(*index).any(|n| n == *name));
        let name = twice.map_or("", |(_, name)| name);
        return Err(ReadError::new(path, 1, format!("column `{name}` stands twice: which of them counts?")));
    }
    let mut rows = Vec::new();
    let mut records = reader.records().enumerate().peekable();
    while let Some((index, record)) = records.next() {
        if records.peek().is_none() && !ends_whole {
            break;
        }
        let record = record.map_err(|e| ReadError::new(path, index + 2, e))?;
        // Where a field holds a line break, a record is more than one line.
        let line = record.position().map_or(index + 2, |position| position.line() as usize);
        if record.len() != header.len() {
            let message = format!("{} fields under {} columns", record.len(), header.len());
            return Err(ReadError::new(path, line, message));
        }
        let fields = header.iter().map(str::to_string).zip(record.iter().map(str::to_string)).collect();
        rows.push(parse(&fields).map_err(|message| ReadError::new(path, line, message))?);
    }
    Ok(rows)
}

fn ends_with_newline(file: &File) -> std::io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = file;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(last == *b"\n")
}
