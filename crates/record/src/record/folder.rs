//! Writing a run folder so that a crash at any moment loses at most the case in flight.
//!
//! `run.json` is replaced whole (written beside, synced, renamed). The CSV files only grow: the samples of a case
//! are synced before its row in cases.csv, and the row is what makes the case count. A lock on `run.lock`, which
//! the system drops with the process, keeps two runs apart.

use super::atomic_file;
use super::case_row::CaseRow;
use super::quality_record::finished_file;
use super::reader;
use super::run::RunRecord;
use super::sample::{PowerRow, SampleRow};
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use thiserror::Error;

mod case_in_flight;
mod staged;

pub use case_in_flight::CaseInFlight;

/// How long to wait for a lock that is about to be let go.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// Why a run folder cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// The folder holds a run.
    #[error("{} holds a run already: {}choose another folder with -o", .0.display(), going_on(.0, ", or "))]
    Occupied(PathBuf),
    /// The folder holds rows without a run.
    #[error("{0} holds a {1} that belongs to no run: choose another folder with -o")]
    Foreign(PathBuf, &'static str),
    /// A row that would be refused when it is read.
    #[error("{0} is not written, as its {1} could not be read again: {2}")]
    Impossible(PathBuf, String, String),
    /// Another process writes to it.
    #[error("{0} is in use by another run: wait for it, or choose another folder with -o")]
    Locked(PathBuf),
    /// There is nothing to continue.
    #[error("{0} holds no run.json: there is no run to resume; start one with -o {0}")]
    NotARun(PathBuf),
    /// The disk is full.
    #[error("the disk is full while writing {}: free some space, then {}begin again", .0.display(), going_on(.1, ", or "))]
    DiskFull(PathBuf, PathBuf),
    /// Any other failure of the file system.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    /// A file of the run cannot be read.
    #[error(transparent)]
    Read(#[from] reader::ReadError),
}

/// How the run in a folder is continued, where it can be; not every command can.
fn going_on(folder: &Path, then: &str) -> String {
    let Ok(record) = reader::read_record(folder) else { return String::new() };
    let verb = match (&record.quality, &record.workload) {
        _ if record.traffic.is_some() || record.import.is_some() => return String::new(),
        (Some(_), _) => "quality",
        // Killed between the first variant's file and the record that speaks of it.
        _ if folder.join(finished_file(0)).exists() => "quality",
        (None, Some(_)) => "profile",
        (None, None) => return String::new(),
    };
    format!("continue it with `sizewell {verb} --resume {}`{then}", folder.display())
}

/// An open run folder, locked for this process.
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
    cases: File,
    samples: File,
    power: File,
    /// Cases that have a row already.
    pub done: HashSet<String>,
    /// The case in whose midst an earlier process ended without a word.
    pub died_in: Option<CaseInFlight>,
    /// What had to be repaired when the folder was opened again.
    pub warnings: Vec<String>,
}

impl RunFolder {
    /// Starts a run in `path`, which may exist as long as it holds no run.
    pub fn create(path: &Path, record: &RunRecord) -> Result<Self, FolderError> {
        fs::create_dir_all(path).map_err(|e| FolderError::Io(path.to_path_buf(), e))?;
        let lock = lock(path)?;
        refuse_occupied(path)?;
        // First, so that a run that is killed here can be resumed: what is missing beside it is made then.
        write_run_json(path, record)?;
        let folder = Self {
            cases: start_csv(path, "cases.csv", &CaseRow::header())?,
            samples: start_csv(path, "samples.csv", &SampleRow::HEADER)?,
            power: start_csv(path, "power.csv", &PowerRow::HEADER)?,
            path: path.to_path_buf(),
            _lock: lock,
            done: HashSet::new(),
            died_in: None,
            warnings: Vec::new(),
        };
        Ok(folder)
    }

    /// Opens the run in `path` again and repairs what a crash left half-written.
    pub fn resume(path: &Path) -> Result<(Self, RunRecord), FolderError> {
        if !path.join("run.json").is_file() {
            return Err(FolderError::NotARun(path.to_path_buf()));
        }
        let lock = lock(path)?;
        refuse_links(path)?;
        let record = reader::read_record(path)?;
        let mut warnings = Vec::new();
        for (name, header) in [
            ("cases.csv", CaseRow::header()),
            ("samples.csv", SampleRow::HEADER.to_vec()),
            ("power.csv", PowerRow::HEADER.to_vec()),
        ] {
            warnings.extend(repair(path, name, &header)?);
        }
        let rows = reader::read_cases(path)?;
        let done: HashSet<String> = rows.iter().map(|row| row.key.id()).collect();
        for name in ["samples.csv", "power.csv"] {
            warnings.extend(drop_unfinished(path, name, &done)?);
        }
        let open = |name: &str| {
            let file = path.join(name);
            atomic_file::open(&file, OpenOptions::new().append(true)).map_err(|e| FolderError::Io(file, e))
        };
        let folder = Self {
            cases: open("cases.csv")?,
            samples: open("samples.csv")?,
            power: open("power.csv")?,
            died_in: CaseInFlight::left(path).filter(|case| !done.contains(&case.case_id)),
            path: path.to_path_buf(),
            _lock: lock,
            done,
            warnings,
        };
        Ok((folder, record))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces run.json.
    pub fn write_record(&self, record: &RunRecord) -> Result<(), FolderError> {
        write_run_json(&self.path, record)
    }

    /// Writes a file of the folder whole.
    pub fn write_file(&self, name: &str, contents: &[u8]) -> Result<(), FolderError> {
        write_whole(&self.path, name, contents)
    }

    /// Writes a CSV file of the folder whole.
    pub fn write_csv(
        &self,
        name: &str,
        header: &[&str],
        records: impl Iterator<Item = Vec<String>>,
    ) -> Result<(), FolderError> {
        let header = header.iter().map(|column| column.to_string()).collect();
        let lines = csv_lines(std::iter::once(header).chain(records));
        write_whole(&self.path, name, &lines.map_err(|e| FolderError::Io(self.path.join(name), e))?)
    }

    /// Writes a run that is not measured but read: the folder is there whole or not at all, however the program ends.
    pub fn write_at_once(path: &Path, record: &RunRecord, rows: &[CaseRow]) -> Result<(), FolderError> {
        staged::write(path, record, rows)
    }

    /// Adds rows.
    pub fn append_rows(&mut self, rows: &[CaseRow]) -> Result<(), FolderError> {
        let path = self.path.clone();
        append_rows(&mut self.cases, &path, "cases.csv", rows.iter().map(CaseRow::fields))?;
        self.done.extend(rows.iter().map(|row| row.key.id()));
        Ok(())
    }

    /// Makes a finished case durable: samples and power first, then its row.
    pub fn append(&mut self, row: &CaseRow, samples: &[SampleRow], power: &[PowerRow]) -> Result<(), FolderError> {
        let path = self.path.clone();
        append_rows(&mut self.samples, &path, "samples.csv", samples.iter().map(SampleRow::fields))?;
        append_rows(&mut self.power, &path, "power.csv", power.iter().map(PowerRow::fields))?;
        append_rows(&mut self.cases, &path, "cases.csv", std::iter::once(row.fields()))?;
        self.done.insert(row.key.id());
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, FolderError> {
    let name = path.join("run.lock");
    let io_error = |e| failure(path, "run.lock", e);
    let file =
        atomic_file::open(&name, OpenOptions::new().create(true).truncate(false).write(true)).map_err(io_error)?;
    // A process that was just started by the last owner holds the lock until it has begun its own program.
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < patience => std::thread::sleep(LOCK_PATIENCE / 20),
            Err(TryLockError::WouldBlock) => return Err(FolderError::Locked(path.to_path_buf())),
            Err(TryLockError::Error(e)) => return Err(FolderError::Io(name, e)),
        }
    }
}

fn failure(folder: &Path, name: &str, error: io::Error) -> FolderError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            FolderError::DiskFull(folder.join(name), folder.to_path_buf())
        }
        _ => FolderError::Io(folder.join(name), error),
    }
}

/// One CSV line for each record; line breaks within a field become spaces, so that a line is a record and a
/// half-written one can be told by its missing end.
fn csv_lines(records: impl Iterator<Item = Vec<String>>) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        writer.write_record(record.iter().map(|field| field.replace(['\n', '\r'], " ")))?;
    }
    writer.into_inner().map_err(|e| io::Error::other(e.to_string()))
}

fn append_rows(
    file: &mut File,
    folder: &Path,
    name: &str,
    records: impl Iterator<Item = Vec<String>>,
) -> Result<(), FolderError> {
    let write = || -> io::Result<()> {
        let lines = csv_lines(records)?;
        if lines.is_empty() {
            return Ok(());
        }
        let before = file.metadata()?.len();
        let written = file.write_all(&lines).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line would only be dropped later; the error to report is the one above.
            let _ = file.set_len(before);
        }
        written
    };
    write().map_err(|e| failure(folder, name, e))
}

fn start_csv(folder: &Path, name: &str, header: &[&str]) -> Result<File, FolderError> {
    let fail = |e| failure(folder, name, e);
    let header = header.iter().map(|column| column.to_string()).collect();
    write_whole(folder, name, &csv_lines(std::iter::once(header)).map_err(fail)?)?;
    atomic_file::open(&folder.join(name), OpenOptions::new().append(true)).map_err(fail)
}

fn write_run_json(folder: &Path, record: &RunRecord) -> Result<(), FolderError> {
    let mut text = serde_json::to_string_pretty(record)
        .map_err(|e| FolderError::Io(folder.join("run.json"), io::Error::other(e)))?;
    text.push('\n');
    write_whole(folder, "run.json", text.as_bytes())
}

fn write_whole(folder: &Path, name: &str, contents: &[u8]) -> Result<(), FolderError> {
    atomic_file::write(&folder.join(name), contents).map_err(|e| failure(folder, name, e))
}

/// Files of a run folder that grow or are written once.
const FILES: [&str; 8] = [
    "run.json",
    "cases.csv",
    "samples.csv",
    "power.csv",
    "requests.csv",
    "coldstart.csv",
    "quality.csv",
    "quality_items.csv",
];

/// That nothing of a run folder leads elsewhere.
fn refuse_links(folder: &Path) -> Result<(), FolderError> {
    FILES
        .iter()
        .map(|name| folder.join(name))
        .try_for_each(|file| atomic_file::refuse_link(&file).map_err(|e| FolderError::Io(file, e)))
}

/// That a folder holds no run, nor rows of anybody else.
fn refuse_occupied(folder: &Path) -> Result<(), FolderError> {
    refuse_links(folder)?;
    if folder.join("run.json").exists() {
        return Err(FolderError::Occupied(folder.to_path_buf()));
    }
    // Rows without a run.json are somebody else's; a header alone is nobody's loss.
    let has_rows = |name: &&&str| fs::read_to_string(folder.join(name)).is_ok_and(|text| text.lines().count() > 1);
    match FILES.iter().find(has_rows) {
        Some(name) => Err(FolderError::Foreign(folder.to_path_buf(), name)),
        None => Ok(()),
    }
}

/// Cuts a half-written last line off a CSV file, and writes the header where even that is missing.
fn repair(folder: &Path, name: &str, header: &[&str]) -> Result<Option<String>, FolderError> {
    let path = folder.join(name);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(FolderError::Io(path, e)),
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole == 0 {
        start_csv(folder, name, header)?;
        return Ok((!bytes.is_empty()).then(|| format!("{}: a half-written header was replaced", path.display())));
    }
    let expected = csv_lines(std::iter::once(header.iter().map(|h| h.to_string()).collect()))
        .map_err(|e| FolderError::Io(path.clone(), e))?;
    if !bytes.starts_with(&expected) {
        return Err(FolderError::Read(reader::ReadError::new(
            &path,
            1,
            "the columns are not those of this version of sizewell; a run is resumed by the version that began it",
        )));
    }
    if whole == bytes.len() {
        return Ok(None);
    }
    let file =
        atomic_file::open(&path, OpenOptions::new().write(true)).map_err(|e| FolderError::Io(path.clone(), e))?;
    file.set_len(whole as u64).and_then(|()| file.sync_all()).map_err(|e| failure(folder, name, e))?;
    Ok(Some(format!("{}: a half-written last line was dropped", path.display())))
}

/// Removes the rows of cases that did not finish, so that running them again does not count them twice.
fn drop_unfinished(folder: &Path, name: &str, done: &HashSet<String>) -> Result<Option<String>, FolderError> {
    let path = folder.join(name);
    let text = fs::read(&path).map_err(|e| FolderError::Io(path.clone(), e))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_slice());
    let (mut kept, mut dropped) = (Vec::new(), 0usize);
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(|e| reader::ReadError::new(&path, index + 1, e.to_string()))?;
        if index == 0 || record.get(0).is_some_and(|id| done.contains(id)) {
            kept.push(record.iter().map(str::to_string).collect())
        } else {
            dropped += 1
        }
    }
    if dropped == 0 {
        return Ok(None);
    }
    let lines = csv_lines(kept.into_iter()).map_err(|e| FolderError::Io(path.clone(), e))?;
    write_whole(folder, name, &lines)?;
    Ok(Some(format!("{}: {dropped} rows of a case that did not finish were dropped", path.display())))
}
