//! One side of a comparison: a run, or several of the same thing.

use crate::record::{CaseRow, QualityRow, Run, SampleRow};
use crate::workload::Case;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// A run with its raw samples.
#[derive(Debug, Clone, PartialEq)]
pub struct RunWithSamples {
    /// Record and cases.
    pub run: Run,
    /// Measured iterations by case, in the order of time; warm-up left out.
    pub samples: HashMap<String, Vec<SampleRow>>,
    /// Figures of quality.
    pub quality: Vec<QualityRow>,
}

impl RunWithSamples {
    /// Reads a folder; the error says what it lacks.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let run = Run::read(folder).map_err(|e| e.to_string())?;
        if let [_, _, ..] = run.record.import.as_ref().map_or(&[][..], |import| &import.systems) {
            return Err(format!(
                "{} holds several systems: import the files of one system into a folder of its own",
                folder.display()
            ));
        }
        let run = run.into_systems().pop().ok_or_else(|| format!("{} holds no case", folder.display()))?;
        let has_samples = run.path.join("samples.csv").exists();
        let samples = if has_samples { run.samples().map_err(|e| e.to_string())? } else { Vec::new() };
        let quality = run.quality().map_err(|e| e.to_string())?;
        Ok(Self::new(run, samples, quality))
    }

    /// From what a folder holds.
    pub fn new(run: Run, samples: Vec<SampleRow>, quality: Vec<QualityRow>) -> Self {
        let mut by_case: HashMap<String, Vec<SampleRow>> = HashMap::new();
        for sample in samples.into_iter().filter(|sample| !sample.warmup) {
            by_case.entry(sample.case_id.clone()).or_default().push(sample);
        }
        Self { run, samples: by_case, quality }
    }

    /// The row of a case.
    pub fn row(&self, case: Case) -> Option<&CaseRow> {
        self.run.cases.iter().find(|row| row.key.case == case)
    }

    /// The measured iterations of a case.
    pub fn samples_of(&self, case: Case) -> &[SampleRow] {
        self.row(case).and_then(|row| self.samples.get(&row.key.id())).map_or(&[], Vec::as_slice)
    }
}

/// One or several runs of the same thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// At least one.
    pub runs: Vec<RunWithSamples>,
}

impl Side {
    /// Reads folders.
    pub fn read(folders: &[PathBuf]) -> Result<Self, String> {
        let runs = folders.iter().map(|folder| RunWithSamples::read(folder)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = runs.first() else { return Err("there is no run".to_string()) };
        for (index, other) in runs.iter().enumerate().skip(1) {
            let (one, two) = (&first.run.record, &other.run.record);
            let of = |record: &crate::record::RunRecord| {
                let model = record.model.as_ref().map(|model| (model.name.clone(), model.hash.clone()));
                (
                    model,
                    record.engine.identity().to_string(),
                    record.engine.device.clone(),
                    record.engine.hardware.clone(),
                )
            };
            if of(one) != of(two) {
                let (a, b) = (first.run.path.display(), other.run.path.display());
                return Err(format!(
                    "{a} and {b} are not runs of one model on one device: they cannot stand on one side"
                ));
            }
            let same = |taken: &&RunWithSamples| {
                let (a, b) = (&taken.run.record, &other.run.record);
                a.started_at == b.started_at && a.environment.hostname == b.environment.hostname
            };
            if runs[..index].iter().any(|taken| same(&taken)) {
                return Err(format!(
                    "{} was named twice: one run says nothing of how much runs differ",
                    other.run.path.display()
                ));
            }
        }
        Ok(Self { runs })
    }

    /// The first run, which speaks for the others where they are alike.
    pub fn first(&self) -> &RunWithSamples {
        &self.runs[0]
    }

    /// Every case that any of the runs has, in their order.
    pub fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for case in self.runs.iter().flat_map(|taken| taken.run.cases.iter()).map(|row| row.key.case) {
            if !cases.contains(&case) {
                cases.push(case);
            }
        }
        cases
    }

    /// The rows of a case, one from each run that has it.
    pub fn rows(&self, case: Case) -> impl Iterator<Item = &CaseRow> {
        self.runs.iter().filter_map(move |taken| taken.row(case))
    }
}
