//! The case that is being measured, noted beside the run: where the process is killed in its midst, the next one knows which
//! case it was, and does not run into the same end for ever.

use super::{FolderError, RunFolder, failure};
use crate::record::atomic_file;
use std::fs;
use std::path::Path;

const NAME: &str = "case-in-flight";

/// The case that is being measured; where it is left in a folder, the process died in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseInFlight {
    /// The case.
    pub case_id: String,
    /// How often it was begun.
    pub times: u32,
    /// Processes that the system had killed for want of memory when it was begun, where it counts them.
    pub out_of_memory: Option<u64>,
}

impl CaseInFlight {
    /// What an earlier process left behind in a folder; nothing where it is not whole.
    pub(super) fn left(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(NAME)).ok()?;
        let mut lines = text.lines();
        let (case_id, times, killed) = (lines.next()?.to_string(), lines.next()?.parse().ok()?, lines.next()?);
        Some(Self { case_id, times, out_of_memory: killed.parse().ok() })
    }
}

impl RunFolder {
    /// Notes that a case begins.
    pub fn begin(&self, case: &CaseInFlight) -> Result<(), FolderError> {
        let killed = case.out_of_memory.map_or("-".to_string(), |count| count.to_string());
        let text = format!("{}\n{}\n{killed}\n", case.case_id, case.times);
        atomic_file::write(&self.path.join(NAME), text.as_bytes()).map_err(|e| failure(&self.path, NAME, e))
    }

    /// Notes that no case is under way.
    pub fn nothing_begun(&self) {
        // Where it cannot be removed, the next run finds a case that has a row.
        let _ = fs::remove_file(self.path.join(NAME));
    }
}
