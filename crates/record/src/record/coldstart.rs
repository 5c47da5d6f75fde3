//! coldstart.csv: what passes between starting a process and its first token, each row a fresh process.

use super::reader::{ReadError, Run};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What was in the page cache before a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageCache {
    /// Nothing of the weights.
    Cold,
    /// The weights, from a start just before.
    Warm,
}

/// One start. All times are in seconds and follow each other; their sum is `total_s` but for what passes between them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdStartRow {
    /// From 1.
    pub repeat: usize,
    /// What was in the page cache.
    pub cache: PageCache,
    /// How that was brought about: `drop_caches`, `posix_fadvise`, `read before`; of a cold start on a card also
    /// `CUDA_CACHE_DISABLE=1`, as the driver would else use what it compiled before.
    pub cache_method: String,
    /// `ok`, or why there are no times.
    pub outcome: String,
    /// From the start of the process to its first line of code.
    pub process_s: Option<f64>,
    /// Reading the weights from the disk.
    pub read_s: Option<f64>,
    /// Making the model of them in host memory: parsing, converting, packing.
    pub load_s: Option<f64>,
    /// Copying them to the device, with what its first use takes; absent on the CPU.
    pub copy_s: Option<f64>,
    /// The first pass, which touches everything for the first time.
    pub warm_up_s: Option<f64>,
    /// The first token of a request after that.
    pub first_token_s: Option<f64>,
    /// From the start of the process to that token.
    pub total_s: Option<f64>,
    /// Share of the weights that was in the page cache before the read.
    pub cached_fraction: Option<f64>,
}

/// Reads coldstart.csv of a folder; `None` where there is none.
pub fn read(folder: &Path) -> Result<Option<Vec<ColdStartRow>>, ReadError> {
    let path = folder.join("coldstart.csv");
    if !path.exists() {
        return Ok(None);
    }
    let mut reader = csv::Reader::from_path(&path).map_err(|e| ReadError::new(&path, 0, e))?;
    let mut rows = Vec::new();
    for (index, row) in reader.deserialize().enumerate() {
        let row: ColdStartRow = row.map_err(|e| ReadError::new(&path, index + 2, e))?;
        let times = [row.process_s, row.read_s, row.load_s, row.copy_s, row.warm_up_s, row.first_token_s, row.total_s];
        if times.iter().flatten().any(|t| !(t.is_finite() && *t >= 0.0)) {
            return Err(ReadError::new(&path, index + 2, "a time is not 0 or more"));
        }
        rows.push(row);
    }
    Ok(Some(rows))
}

impl Run {
    /// Starts with a cold page cache, in seconds in all; empty where the run has none.
    pub fn cold_starts(&self) -> Result<Vec<f64>, ReadError> {
        let rows = read(&self.path)?.unwrap_or_default();
        Ok(rows.iter().filter(|row| row.cache == PageCache::Cold).filter_map(|row| row.total_s).collect())
    }
}
