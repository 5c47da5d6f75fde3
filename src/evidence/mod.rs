//! (6) What other tools measured: their result files, read into run folders of basis `imported`.
//!
//! Each importer knows one format by its keys. Unknown keys pass, a needed one that is missing is named with its record,
//! units become SI, and the tool, its version, the way in which requests arrived and whose definitions the numbers follow
//! are kept, so that what cannot be compared is not.

mod aiperf;
mod bundled;
mod gather;
mod guidellm;
mod inferencex;
mod llama_bench;
mod mlperf;
mod model;
mod observed;
mod optimum;
mod source;
mod sparecores;
mod value;
mod vllm_serve;
mod write;

pub use bundled::bundled;
pub use observed::Overrides;
pub use source::Source;
pub use write::write;

use crate::record::{Run, SkippedRecord};
use observed::Observed;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A result file that could not be read.
#[derive(Debug, Error)]
#[error("{file}{}: {message}", match .record { Some(record) => format!(", {record}"), None => String::new() })]
pub struct EvidenceError {
    /// The file.
    pub file: String,
    /// Which of its records.
    pub record: Option<String>,
    /// What is wrong, and what to do about it.
    pub message: String,
    /// It is a file of another kind.
    pub unrecognised: bool,
}

/// What an importer found in a file.
#[derive(Debug, Default)]
struct Found {
    tool_version: Option<String>,
    observed: Vec<Observed>,
    licence: Option<String>,
    skipped: BTreeMap<String, usize>,
}

impl Found {
    fn skip(&mut self, reason: impl Into<String>) {
        *self.skipped.entry(reason.into()).or_default() += 1;
    }
}

/// One format.
trait Importer: Sync {
    /// The name on the command line.
    fn name(&self) -> &'static str;
    /// The tool that writes it.
    fn tool(&self) -> &'static str;
    /// Whether a file looks like it.
    fn recognises(&self, source: &Source) -> bool;
    /// Reads it; the error names the record and the key.
    fn read(&self, source: &Source) -> Result<Found, EvidenceError>;
}

/// All formats, the more particular ones first.
static IMPORTERS: [&dyn Importer; 9] = [
    &sparecores::Llama,
    &sparecores::Vllm,
    &llama_bench::LlamaBench,
    &vllm_serve::VllmServe,
    &aiperf::Aiperf,
    &guidellm::Guidellm,
    &inferencex::InferenceX,
    &optimum::Optimum,
    &mlperf::Mlperf,
];

/// The names of the formats, each with its tool.
pub fn formats() -> Vec<(&'static str, &'static str)> {
    IMPORTERS.iter().map(|importer| (importer.name(), importer.tool())).collect()
}

/// Runs of basis `imported`, one for each system that the files speak of. Without a `format` each file is recognised by
/// its keys.
pub fn read(paths: &[PathBuf], format: Option<&str>, overrides: &Overrides) -> Result<Vec<Run>, EvidenceError> {
    let mut runs = Vec::new();
    for path in paths {
        let source = Source::open(path)?;
        runs.extend(read_source(&source, format, overrides)?);
    }
    Ok(runs)
}

/// Reads folders of runs and result files alike: a folder is a run folder, measured or imported. Files of other kinds
/// among them are left out, and said in the second part, unless there is nothing else.
pub fn read_any(paths: &[PathBuf]) -> anyhow::Result<(Vec<Run>, Vec<String>)> {
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for path in paths {
        if path.is_dir() {
            runs.extend(Run::read_systems(path)?);
            continue;
        }
        match read(std::slice::from_ref(path), None, &Overrides::default()) {
            Ok(read) => runs.extend(read),
            Err(error) if error.unrecognised && paths.len() > 1 => left_out.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    match (runs.is_empty(), left_out.first()) {
        (true, Some(first)) => Err(anyhow::anyhow!("{first}")),
        _ => Ok((runs, left_out)),
    }
}

fn read_source(source: &Source, format: Option<&str>, overrides: &Overrides) -> Result<Vec<Run>, EvidenceError> {
    let known = || formats().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let importer = match format {
        Some(name) => IMPORTERS.iter().find(|importer| importer.name() == name).ok_or_else(|| {
            source.error(None, format!("`{name}` is not a format that can be imported; there are {}", known()))
        })?,
        None => IMPORTERS.iter().find(|importer| importer.recognises(source)).ok_or_else(|| EvidenceError {
            unrecognised: true,
            ..source.error(
                None,
                format!(
                    "it is not recognised as a result of any of {} (`sizewell import` takes the format's name)",
                    known()
                ),
            )
        })?,
    };
    let mut found = importer.read(source)?;
    let named = std::mem::take(&mut found.observed);
    for mut observed in named {
        observed.apply(overrides);
        match observed.quant {
            Some(_) if !observed.case().is_possible() => found.skip("of a batch and lengths that cannot be"),
            Some(_) => found.observed.push(observed),
            None => found.skip("whose precision is not named or has no level here (--quant says it)"),
        }
    }
    if found.observed.is_empty() {
        let why: Vec<String> = found.skipped.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let why = if why.is_empty() { String::new() } else { format!(" (left out: {})", why.join("; ")) };
        return Err(source.error(None, format!("there is no measurement in it{why}")));
    }
    Ok(gather::runs(source, importer.name(), importer.tool(), overrides.model.as_deref(), found))
}

/// What was left out of imported runs, by reason.
pub fn skipped(runs: &[Run]) -> Vec<SkippedRecord> {
    let mut files: BTreeMap<&Path, &[SkippedRecord]> = BTreeMap::new();
    for run in runs {
        if let Some(import) = &run.record.import {
            files.insert(&run.path, &import.skipped);
        }
    }
    files.into_values().flatten().cloned().collect()
}
