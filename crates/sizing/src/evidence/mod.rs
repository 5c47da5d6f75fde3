//! (6) What other tools measured: their result files, read into run folders of basis `imported`.
//!
//! Each importer knows one format by its keys. Unknown keys pass, a needed one that is missing is named with its record,
//! units become SI, and the tool, its version, the way in which requests arrived and whose definitions the numbers follow
//! are kept, so that what cannot be compared is not.

mod aiperf;
mod batched_bench;
mod bundled;
mod device;
mod gather;
mod genai_bench;
mod guidellm;
mod in_flight;
mod inference_benchmarker;
mod inference_perf;
mod inferencex;
mod inferencex_rows;
mod json;
mod json_value;
mod known;
mod level;
mod llama_bench;
mod llama_device;
mod llama_text;
mod llmd;
mod llmperf;
mod ml_energy;
mod mlperf;
mod model;
mod observed;
mod optimum;
mod served;
mod settings;
mod sglang;
mod source;
mod sparecores;
mod trtllm;
mod value;
mod vllm_serve;
mod write;

pub use bundled::bundled;
pub use level::within as level_within;
pub use model::record as model_named;
pub use observed::Overrides;
pub use source::Source;
pub use write::write;

use crate::record::systems::gathered;
use crate::record::{FileRecord, Run, SkippedRecord};
use observed::Observed;
use std::collections::BTreeMap;
use std::path::PathBuf;
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
struct ImportedFile {
    tool_version: Option<String>,
    observed: Vec<Observed>,
    licence: Option<String>,
    skipped: BTreeMap<String, usize>,
}

impl ImportedFile {
    fn skip(&mut self, reason: impl Into<String>) {
        self.skip_many(reason, 1);
    }

    /// Adds a measurement, or counts why it is left out.
    fn add(&mut self, observed: Result<Observed, impl Into<String>>) {
        match observed {
            Ok(observed) => self.observed.push(observed),
            Err(why) => self.skip(why),
        }
    }

    /// Adds what was found in the same file by other words.
    fn take(&mut self, other: Self) {
        self.tool_version = other.tool_version.or(self.tool_version.take());
        self.licence = self.licence.take().or(other.licence);
        self.observed.extend(other.observed);
        for (reason, records) in other.skipped {
            self.skip_many(reason, records);
        }
    }

    fn skip_many(&mut self, reason: impl Into<String>, records: usize) {
        *self.skipped.entry(reason.into()).or_default() += records;
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
    fn read(&self, source: &Source) -> Result<ImportedFile, EvidenceError>;
}

/// All formats, the more particular ones first.
static IMPORTERS: [&dyn Importer; 21] = [
    &sparecores::Llama,
    &sparecores::Vllm,
    &llama_text::Sql,
    &llama_bench::LlamaBench,
    &llama_text::Markdown,
    &batched_bench::BatchedBench,
    &ml_energy::MlEnergy,
    &sglang::Sglang,
    &vllm_serve::VllmServe,
    &aiperf::Aiperf,
    &guidellm::Guidellm,
    &inference_benchmarker::InferenceBenchmarker,
    &genai_bench::GenaiBench,
    &trtllm::Trtllm,
    &llmperf::Llmperf,
    &inference_perf::InferencePerf,
    &llmd::LlmD,
    &inferencex::InferenceX,
    &inferencex_rows::InferenceXRows,
    &optimum::Optimum,
    &mlperf::Mlperf,
];

/// The names of the formats, each with its tool.
pub fn formats() -> Vec<(&'static str, &'static str)> {
    IMPORTERS.iter().map(|importer| (importer.name(), importer.tool())).collect()
}

/// The measurements that result files hold.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Runs of basis `imported`, one for each system over all files.
    pub runs: Vec<Run>,
    /// Records that were left out, by reason.
    pub skipped: Vec<SkippedRecord>,
    /// Files that could not be read at all, each with the reason.
    pub left_out: Vec<EvidenceError>,
}

impl Evidence {
    /// What was left out, records and files: a file is one entry of its own.
    pub fn all_skipped(&self) -> Vec<SkippedRecord> {
        let files = self.left_out.iter().map(|error| SkippedRecord { reason: format!("file: {error}"), records: 1 });
        self.skipped.iter().cloned().chain(files).collect()
    }
}

/// Reads result files; without a `format` each is recognised by its keys. Systems are grouped by what they are, over all
/// files, so that one sweep in several files is one sweep whatever their order. A file that cannot be read is left out and
/// said, unless there is nothing else: then it is the error.
pub fn read_files(paths: &[PathBuf], format: Option<&str>, overrides: &Overrides) -> Result<Evidence, EvidenceError> {
    let mut reading = Evidence::default();
    let mut seen: Vec<FileRecord> = Vec::new();
    for path in paths {
        let read = Source::open(path).and_then(|source| {
            let again = seen.iter().any(|known| known.blake3 == source.file.blake3);
            seen.push(source.file.clone());
            // The same contents again say nothing new.
            if again { Ok((Vec::new(), Vec::new())) } else { read_source(&source, format, overrides) }
        });
        match read {
            Ok((runs, skipped)) => {
                reading.runs.extend(runs);
                for more in skipped {
                    match reading.skipped.iter_mut().find(|known| known.reason == more.reason) {
                        Some(known) => known.records += more.records,
                        None => reading.skipped.push(more),
                    }
                }
            }
            Err(error) => reading.left_out.push(error),
        }
    }
    if reading.runs.is_empty() && !reading.left_out.is_empty() {
        return Err(reading.left_out.swap_remove(0));
    }
    reading.runs = gathered(reading.runs);
    Ok(reading)
}

/// The runs of [`read_files`].
pub fn read(paths: &[PathBuf], format: Option<&str>, overrides: &Overrides) -> Result<Vec<Run>, EvidenceError> {
    Ok(read_files(paths, format, overrides)?.runs)
}

/// Reads folders of runs and result files alike: a folder is a run folder, measured or imported. Files of other kinds
/// among them and records that cannot be read are left out, and said in the second part, unless there is nothing else.
pub fn read_any(paths: &[PathBuf]) -> anyhow::Result<(Vec<Run>, Vec<String>)> {
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.iter().cloned().partition(|path| path.is_dir());
    let mut runs = Vec::new();
    for folder in &folders {
        runs.extend(Run::read_systems(folder)?);
    }
    let mut left_out = Vec::new();
    match read_files(&files, None, &Overrides::default()) {
        Ok(reading) => {
            runs.extend(reading.runs);
            left_out.extend(reading.left_out.iter().map(|error| error.to_string()));
            left_out.extend(reading.skipped.iter().map(|skip| format!("{} {}", skip.records, skip.reason)));
        }
        Err(error) if error.unrecognised && !runs.is_empty() => left_out.push(error.to_string()),
        Err(error) => return Err(error.into()),
    }
    Ok((gathered(runs), left_out))
}

/// What a file holds, and what of it was left out.
type Read = (Vec<Run>, Vec<SkippedRecord>);

fn read_source(source: &Source, format: Option<&str>, overrides: &Overrides) -> Result<Read, EvidenceError> {
    let known = || formats().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let importer = match format {
        Some(name) => IMPORTERS.iter().find(|importer| importer.name() == name).ok_or_else(|| {
            source.error(None, format!("`{name}` is not a format that can be imported; there are {}", known()))
        })?,
        None => IMPORTERS.iter().find(|importer| importer.recognises(source)).ok_or_else(|| {
            let not_known = || {
                format!(
                    "it is not recognised as a result of any of {} (`sizewell import` takes the format's name)",
                    known()
                )
            };
            let message = known::named(source).unwrap_or_else(not_known);
            EvidenceError { unrecognised: true, ..source.error(None, message) }
        })?,
    };
    let mut found = importer.read(source)?;
    let named = std::mem::take(&mut found.observed);
    for mut observed in named {
        // Of a tool that does not say what it ran on.
        if observed.device.is_empty() && overrides.hardware.is_some() {
            observed.device = "cuda";
        }
        observed.apply(overrides);
        if let Some(model) = overrides.model.as_ref().filter(|_| observed.model.is_empty()) {
            observed.model = model.clone();
        }
        match observed.quant {
            _ if observed.model.is_empty() => found.skip("whose model the file does not name (--model says it)"),
            _ if observed.device.is_empty() => {
                found.skip("whose device the file does not name (--hardware says it: a card's name, or cpu)");
            }
            Some(_) if !observed.case().is_possible() => found.skip("of a batch and lengths that cannot be"),
            Some(_) => match gather::fault(&observed) {
                Some(why) => found.skip(format!("that cannot be: {why}")),
                None => found.observed.push(observed),
            },
            None => found.skip("whose precision is not named (--quant says it)"),
        }
    }
    if found.observed.is_empty() {
        let why: Vec<String> = found.skipped.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let why = if why.is_empty() { String::new() } else { format!(" (left out: {})", why.join("; ")) };
        return Err(source.error(None, format!("there is no measurement in it{why}")));
    }
    let skipped =
        found.skipped.iter().map(|(reason, records)| SkippedRecord { reason: reason.clone(), records: *records });
    let skipped = skipped.collect();
    Ok((gather::runs(source, importer.name(), importer.tool(), model::asked(overrides).as_ref(), found), skipped))
}

/// Remarks on where the user's word outweighs what a file says, each once.
pub fn contradictions(runs: &[Run]) -> Vec<String> {
    let notes = runs.iter().flat_map(|run| &run.cases).flat_map(|row| &row.notes);
    let said: std::collections::BTreeSet<&String> =
        notes.filter(|note| note.starts_with("--") && note.contains(observed::OUTWEIGHS)).collect();
    said.into_iter().cloned().collect()
}
