//! What `quality` keeps of each variant that is finished, and how a run that was stopped or killed goes on behind it.

use super::job::Job;
use super::measure_args::MeasureArgs;
use super::quality::Args;
use super::{Cli, Command, usage};
use crate::measure::profile::case_keys;
use crate::quality::kept::{Begun, Finished, file_name};
use crate::record::{ModelRecord, RunFolder, RunRecord, RunStatus};
use clap::Parser;
use std::collections::BTreeMap;
use std::path::Path;

/// The arguments that the run in `folder` was begun with; how it is shown is as this command says.
pub(super) fn asked_by(folder: &Path, now: &Args) -> anyhow::Result<Args> {
    // Opened as a run that goes on is, so that what is no run says so.
    let (open, record) = RunFolder::resume(folder)?;
    drop(open);
    let argv = &record.environment.argv;
    let begun = Cli::try_parse_from(argv).ok().map(|cli| cli.command);
    let Some(Command::Quality(mut args)) = begun else {
        return usage(format!(
            "{} was not begun by `sizewell quality` ({}): continue it with the command that began it",
            folder.display(),
            argv.join(" ")
        ));
    };
    if record.status == RunStatus::Complete && record.quality.is_some() && finished(folder) == 0 {
        return usage(format!("{} is complete: there is nothing to continue", folder.display()));
    }
    args.output = Some(folder.to_path_buf());
    (args.details, args.json) = (now.details, now.json);
    Ok(args)
}

/// How many variants of the run in `folder` are kept.
pub(super) fn finished(folder: &Path) -> usize {
    (0..).take_while(|index| folder.join(file_name(*index)).exists()).count()
}

/// What continues measuring the speed of the levels, where that is not done.
pub(super) fn speed_left(folder: &Path, args: &Args) -> anyhow::Result<Option<MeasureArgs>> {
    let (open, record) = RunFolder::resume(folder)?;
    let left = case_keys(&record).iter().any(|key| !open.done.contains(&key.id()));
    Ok(left.then(|| MeasureArgs {
        resume: Some(folder.to_path_buf()),
        threads: args.threads,
        no_ceilings: true,
        ..MeasureArgs::default()
    }))
}

/// The files of finished variants.
pub(super) struct Keeping<'a> {
    folder: &'a RunFolder,
    begun: Begun,
}

impl<'a> Keeping<'a> {
    /// For a run that is begun, or goes on, with these.
    pub(super) fn new(
        folder: &'a RunFolder,
        job: &Job,
        record: &RunRecord,
        reference: Option<&ModelRecord>,
    ) -> anyhow::Result<Self> {
        let program = format!("{} ({})", env!("CARGO_PKG_VERSION"), env!("SIZEWELL_GIT_REVISION"));
        let cpu = &record.environment.cpu;
        let mut with = BTreeMap::from([
            ("sizewell".to_string(), program),
            ("kernels".to_string(), crate::engine::backend::cpu::simd::Level::best().name().to_string()),
            ("threads".to_string(), cpu.engine_threads.to_string()),
        ]);
        with.extend(job.model_hash.clone().map(|hash| ("model".to_string(), hash)));
        with.extend(reference.map(|model| ("reference model".to_string(), model.hash.clone())));
        for set in job.sets.iter().chain(&job.calibration_set) {
            with.insert(set.location.clone(), set.hash()?);
        }
        Ok(Self { folder, begun: Begun { with } })
    }

    /// Where the run is.
    pub(super) fn folder(&self) -> &RunFolder {
        self.folder
    }

    /// What is kept of the variant at this place; an error where it was evaluated with anything else.
    pub(super) fn finished(&self, index: usize) -> anyhow::Result<Option<Finished>> {
        let path = self.folder.path().join(file_name(index));
        let Some(finished) = Finished::read(&path).map_err(anyhow::Error::msg)? else { return Ok(None) };
        match finished.begun.differs_from(&self.begun) {
            None => Ok(Some(finished)),
            Some(other) => anyhow::bail!(
                "{} cannot go on, as its variants would not be comparable: {other}; start another run with -o",
                self.folder.path().display()
            ),
        }
    }

    /// Makes a finished variant durable.
    pub(super) fn keep(&self, index: usize, finished: &mut Finished) -> anyhow::Result<()> {
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
