//! What `quality` keeps of each variant that is finished, and how a run that was stopped or killed goes on behind it.

use super::options::QualityOptions;
use super::request::Request;
use crate::job::engine::cpu_kernels;
use crate::job::error::{JobError, failed, usage};
use crate::job::machine::MachineOptions;
use crate::job::profile::ProfileOptions;
use crate::measure::profile::case_keys;
use crate::record::finished::{EvaluationSettings, FinishedVariant, file_name};
use crate::record::{ModelRecord, RunFolder, RunRecord, RunStatus};
use std::collections::BTreeMap;
use std::path::Path;

/// The options that the run in `folder` was begun with, which `parse` reads from a command line where it is one of `quality`.
pub fn begun_with(
    folder: &Path,
    parse: impl FnOnce(&[String]) -> Option<QualityOptions>,
) -> Result<QualityOptions, JobError> {
    // Opened as a run that goes on is, so that what is no run says so.
    let (open, record) = RunFolder::resume(folder)?;
    drop(open);
    let argv = &record.environment.argv;
    let Some(options) = parse(argv) else {
        return usage(format!(
            "{} was not begun by `sizewell quality` ({}): continue it with the command that began it",
            folder.display(),
            argv.join(" ")
        ));
    };
    if record.status == RunStatus::Complete && record.quality.is_some() && finished(folder) == 0 {
        return usage(format!("{} is complete: there is nothing to continue", folder.display()));
    }
    Ok(QualityOptions { output: Some(folder.to_path_buf()), resume: Some(folder.to_path_buf()), ..options })
}

/// How many variants of the run in `folder` are kept.
pub(super) fn finished(folder: &Path) -> usize {
    (0..).take_while(|index| folder.join(file_name(*index)).exists()).count()
}

/// What continues measuring the speed of the levels, where that is not done.
pub(super) fn speed_left(folder: &Path, options: &QualityOptions) -> Result<Option<ProfileOptions>, JobError> {
    let (open, record) = RunFolder::resume(folder)?;
    let left = case_keys(&record).iter().any(|key| !open.done.contains(&key.id()));
    Ok(left.then(|| ProfileOptions {
        resume: Some(folder.to_path_buf()),
        no_ceilings: true,
        machine: MachineOptions { threads: options.machine.threads, ..MachineOptions::default() },
        ..ProfileOptions::default()
    }))
}

/// The files of finished variants, from which an evaluation that was cut off goes on.
pub(super) struct VariantCheckpoints<'a> {
    folder: &'a RunFolder,
    begun: EvaluationSettings,
}

impl<'a> VariantCheckpoints<'a> {
    /// For a run that is begun, or goes on, with these.
    pub(super) fn new(
        folder: &'a RunFolder,
        request: &Request,
        record: &RunRecord,
        reference: Option<&ModelRecord>,
    ) -> Result<Self, JobError> {
        let program = format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("SIZEWELL_GIT_REVISION"));
        let cpu = &record.environment.cpu;
        let mut with = BTreeMap::from([
            ("sizewell".to_string(), program),
            ("kernels".to_string(), cpu_kernels().to_string()),
            ("threads".to_string(), cpu.engine_threads.to_string()),
        ]);
        with.extend(request.model_hash.clone().map(|hash| ("model".to_string(), hash)));
        with.extend(reference.map(|model| ("reference model".to_string(), model.hash.clone())));
        for set in request.sets.iter().chain(&request.calibration_set) {
            with.insert(set.location.clone(), set.hash()?);
        }
        Ok(Self { folder, begun: EvaluationSettings { with } })
    }

    /// Where the run is.
    pub(super) fn folder(&self) -> &RunFolder {
        self.folder
    }

    /// What is kept of the variant at this place; an error where it was evaluated with anything else.
    pub(super) fn finished(&self, index: usize) -> Result<Option<FinishedVariant>, JobError> {
        let path = self.folder.path().join(file_name(index));
        let Some(finished) = FinishedVariant::read(&path).map_err(anyhow::Error::msg)? else { return Ok(None) };
        match finished.begun.differs_from(&self.begun) {
            None => Ok(Some(finished)),
            Some(other) => failed(format!(
                "{} cannot go on, as its variants would not be comparable: {other}; start another run with -o",
                self.folder.path().display()
            )),
        }
    }

    /// Makes a finished variant durable.
    pub(super) fn keep(&self, index: usize, finished: &mut FinishedVariant) -> Result<(), JobError> {
        finished.begun = self.begun.clone();
        let text = finished.to_text().map_err(anyhow::Error::msg)?;
        Ok(self.folder.write_file(&file_name(index), text.as_bytes())?)
    }

    /// Removes what is kept of a run that is whole.
    pub(super) fn forget(&self) {
        // The last first: were this stopped, what is left would be the first ones, which go on.
        for index in (0..finished(self.folder.path())).rev() {
            let _ = std::fs::remove_file(self.folder.path().join(file_name(index)));
        }
    }
}
