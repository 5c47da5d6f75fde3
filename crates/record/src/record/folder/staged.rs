//! A run folder that comes to be at once: made under another name, which a reader does not look at, and renamed when it is
//! whole. A program that is killed leaves that other name, and the next attempt takes it over.

use super::{FolderError, RunFolder, failure, lock, refuse_occupied, write_run_json};
use crate::record::case_row::CaseRow;
use crate::record::plausible;
use crate::record::run::RunRecord;
use crate::record::sample::{PowerRow, SampleRow};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where it is made within a folder that is there already.
const WITHIN: &str = ".run.new";
/// In the order in which they are put in place: run.json is what makes a folder a run.
const PARTS: [&str; 4] = ["samples.csv", "power.csv", "cases.csv", "run.json"];

/// Writes the run.
pub(super) fn write(path: &Path, record: &RunRecord, rows: &[CaseRow]) -> Result<(), FolderError> {
    if let Some((row, why)) = rows.iter().find_map(|row| Some((row, plausible::fault(row)?))) {
        return Err(FolderError::Impossible(path.to_path_buf(), row.key.id(), why));
    }
    if path.exists() { within(path, record, rows) } else { beside(path, record, rows) }
}

/// Into a folder that is there: file by file.
fn within(path: &Path, record: &RunRecord, rows: &[CaseRow]) -> Result<(), FolderError> {
    let _lock = lock(path)?;
    refuse_occupied(path)?;
    let made = path.join(WITHIN);
    make(&made, record, rows)?;
    for name in PARTS {
        fs::rename(made.join(name), path.join(name)).map_err(|e| failure(path, name, e))?;
    }
    let fail = |e| FolderError::Io(path.to_path_buf(), e);
    fs::remove_dir_all(&made).map_err(fail)?;
    File::open(path).and_then(|folder| folder.sync_all()).map_err(fail)
}

/// As a folder of its own, renamed when it is whole.
fn beside(path: &Path, record: &RunRecord, rows: &[CaseRow]) -> Result<(), FolderError> {
    let fail = |e| FolderError::Io(path.to_path_buf(), e);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(fail)?;
    let made = name_beside(path);
    make_folder(&made)?;
    // Another import into the same folder has the same name for it.
    let _lock = lock(&made).map_err(|error| match error {
        FolderError::Locked(_) => FolderError::Locked(path.to_path_buf()),
        other => other,
    })?;
    if path.exists() {
        // Another was quicker: the folder that was locked is that one, or one that is not needed.
        let _ = fs::remove_dir_all(&made);
        refuse_occupied(path)?;
        return within(path, record, rows);
    }
    make(&made, record, rows)?;
    fs::rename(&made, path).map_err(fail)?;
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(fail)
}

fn name_beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or(path.as_os_str()));
    name.push(".new");
    path.with_file_name(name)
}

/// The folder of this name, which is ours: what stands in it is from an attempt that was killed.
fn make_folder(made: &Path) -> Result<(), FolderError> {
    let fail = |e| FolderError::Io(made.to_path_buf(), e);
    match fs::create_dir(made) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_folder = fs::symlink_metadata(made).map_err(fail)?.is_dir();
            if is_folder { Ok(()) } else { Err(fail(error)) }
        }
        other => other.map_err(fail),
    }
}

fn make(made: &Path, record: &RunRecord, rows: &[CaseRow]) -> Result<(), FolderError> {
    make_folder(made)?;
    write_run_json(made, record)?;
    let start = |name, header: &[&str]| super::start_csv(made, name, header);
    let mut folder = RunFolder {
        cases: start("cases.csv", &CaseRow::header())?,
        samples: start("samples.csv", &SampleRow::HEADER)?,
        power: start("power.csv", &PowerRow::HEADER)?,
        path: made.to_path_buf(),
        _lock: File::open(made).map_err(|e| FolderError::Io(made.to_path_buf(), e))?,
        died_in: None,
        done: HashSet::new(),
        warnings: Vec::new(),
    };
    folder.append_rows(rows)
}
