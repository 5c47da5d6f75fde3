//! What a quantization or a pruning costs in answers: every variant is evaluated and kept when it is finished, and its speed
//! measured.

mod checkpoints;
mod drift;
mod evaluate;
mod options;
mod request;

pub use checkpoints::begun_with;
pub use options::QualityOptions;

use super::engine::model_record;
use super::error::{JobError, failed};
use super::machine::default_folder;
use super::profile::{self, ProfileOptions, SweepOptions};
use super::{Context, Reporter, Status, Stop};
use crate::device::inventory;
use crate::engine::weights::ModelDescription;
use crate::engine::weights::OpenedModel;
use crate::measure::profile::End;
use crate::quality::compare;
use crate::record::{
    DriftWindow, ItemRow, ModelRecord, QualityRecord, QualityRow, Run, RunFolder, RunRecord, RunStatus, VariantRecord,
    clock,
};
use crate::workload::Quant;
use checkpoints::VariantCheckpoints;
use evaluate::{Evaluating, EvaluationOutput};
use request::{Request, open, same_vocabulary};
use std::path::PathBuf;

/// Prompt and tokens of the case that the speed of each level is measured by.
const SPEED_CASE: (usize, usize) = (128, 32);

/// What was evaluated.
#[derive(Debug)]
pub struct Evaluated {
    /// The run.
    pub run: Run,
    /// Its figures, judged.
    pub figures: Vec<QualityRow>,
    /// The windows that were held against a baseline, the last of today; none without one.
    pub windows: Vec<DriftWindow>,
}

impl Evaluated {
    /// Says what should be known of it, and how it ended.
    pub fn conclude(&self, reporter: &dyn Reporter) -> Status {
        match self.windows.last() {
            Some(last) => drift::conclude(last, reporter),
            None => self.conclude_variants(reporter),
        }
    }

    fn conclude_variants(&self, reporter: &dyn Reporter) -> Status {
        let variants = self.run.record.quality.iter().flat_map(|quality| &quality.variants);
        let failed: Vec<String> = variants.filter(|v| v.failure.is_some()).map(VariantRecord::name).collect();
        if failed.is_empty() {
            return Status::Done;
        }
        reporter.warning(&format!("not evaluated: {}", failed.join(", ")));
        Status::Failed
    }
}

/// Evaluates every variant, and measures how fast it is.
pub fn run(options: &QualityOptions, reporter: &dyn Reporter, stop: &Stop) -> Result<Evaluated, JobError> {
    options.check()?;
    let (engine_threads, context) = (options.machine.engine_threads()?, Context { reporter, stop });
    let model = open(&options.model, options.seed, context)?;
    let other = options.reference.as_deref().map(|name| open(name, options.seed, context)).transpose()?;
    if let Some(other) = &other {
        same_vocabulary(&model, other)?;
    }
    let mut request = Request::new(options, &model, other.as_ref())?;
    for set in &request.sets {
        set.survey.notes().iter().for_each(|note| context.warn(format!("{}: {note}", set.location)));
    }
    // Before, there is nothing to keep.
    stop.heed();
    let folder = begun_or_continued(options, &request, &model, engine_threads, context)?;
    stop.goes_on_by(format!("sizewell quality --resume {}", folder.display()));
    let (folder, mut record) = RunFolder::resume(&folder)?;
    let reference = other.as_ref().map(ModelDescription::of).map(model_record).transpose()?;
    let checkpoints = VariantCheckpoints::new(&folder, &request, &record, reference.as_ref())?;
    // The speed of the levels may be known by now, and their quality is not.
    (record.status, record.finished_at) = (RunStatus::Running, None);
    folder.write_record(&record)?;
    let mut rows = EvaluationOutput::default();
    let evaluating = Evaluating { options, request: &request, checkpoints: &checkpoints, context };
    let publishing = Publishing { folder: &folder, request: &request, reference: reference.as_ref(), options };
    if let Err(error) = evaluating.run(model, other, &mut rows, &mut |rows| publishing.publish(&mut record, rows)) {
        return Err(stopped(error, &folder, &mut record, request.variants.len()));
    }
    let windows = match request.baseline.take() {
        Some(baseline) => baseline.window(options, &request, &rows, &record, &folder)?,
        None => Vec::new(),
    };
    let publishing = Publishing { folder: &folder, request: &request, reference: reference.as_ref(), options };
    let figures = publishing.publish(&mut record, &rows)?;
    if let Some(quality) = &mut record.quality {
        quality.drift = windows.last().cloned();
    }
    (record.status, record.finished_at) = (RunStatus::Complete, Some(clock::now()));
    folder.write_record(&record)?;
    checkpoints.forget();
    let path = folder.path().to_path_buf();
    drop(folder);
    Ok(Evaluated { run: Run::read(&path)?, figures, windows })
}

/// The folder of the run: a new one, with the speed of the levels where that is asked for, or one that goes on.
fn begun_or_continued(
    options: &QualityOptions,
    request: &Request,
    model: &OpenedModel,
    engine_threads: usize,
    context: Context<'_>,
) -> Result<PathBuf, JobError> {
    if let Some(path) = &options.resume {
        if let Some(left) = checkpoints::speed_left(path, options)? {
            speed(&left, engine_threads, context)?;
        }
        let finished = checkpoints::finished(path);
        context.note(format!("continuing {}: {finished} variants are finished", path.display()));
        return Ok(path.clone());
    }
    let folder = options
        .output
        .clone()
        .unwrap_or_else(|| default_folder(&inventory::hostname(), &format!("{}-quality", model.name)));
    if !options.no_speed && request.baseline.is_none() {
        return speed(&speed_options(options, request, model, folder), engine_threads, context);
    }
    let mut record = options.machine.new_record(options.seed, engine_threads);
    record.model = Some(model_record(ModelDescription::of(model))?);
    RunFolder::create(&folder, &record)?;
    Ok(folder)
}

/// How the speed of the levels is measured: batch 1, a short prompt.
fn speed_options(options: &QualityOptions, request: &Request, model: &OpenedModel, folder: PathBuf) -> ProfileOptions {
    let mut quant: Vec<Quant> = Vec::new();
    for variant in request.variants.iter().skip(usize::from(options.reference.is_some())) {
        // What is only rounded here runs elsewhere: its speed is that of a card, and is imported.
        if variant.pruning.is_none() && variant.quant.is_runnable() && !quant.contains(&variant.quant) {
            quant.push(variant.quant);
        }
    }
    let (prompt, tokens) = SPEED_CASE;
    ProfileOptions {
        model: Some(options.model.clone()),
        device: Some(options.device.to_string()),
        kernels: options.kernels,
        sweep: SweepOptions {
            quick: true,
            quant,
            batch: vec![1],
            prompt: vec![prompt.min(model.shape.max_context / 2)],
            gen_tokens: vec![tokens.min(model.shape.max_context / 4).max(2)],
            ..SweepOptions::default()
        },
        seed: Some(options.seed),
        no_ceilings: true,
        output: Some(folder),
        machine: options.machine.clone(),
        ..ProfileOptions::default()
    }
}

/// Measures the speed of the levels, and gives back the folder.
fn speed(options: &ProfileOptions, engine_threads: usize, context: Context<'_>) -> Result<PathBuf, JobError> {
    let series = profile::measure(options, engine_threads, context)?;
    let Some(measured) = series.measured.first() else {
        return Err(JobError::Interrupted("stopped before anything was measured".to_string()));
    };
    let next = || {
        let folder = measured.run.path.display();
        format!("stopped before quality was measured; go on with: sizewell quality --resume {folder}")
    };
    match measured.end {
        End::Complete => Ok(measured.run.path.clone()),
        End::Stopped => Err(JobError::Interrupted(next())),
        End::DeviceLost { .. } => failed(next()),
    }
}

/// Where what is known of a run goes.
struct Publishing<'a> {
    folder: &'a RunFolder,
    request: &'a Request,
    reference: Option<&'a ModelRecord>,
    options: &'a QualityOptions,
}

impl Publishing<'_> {
    /// Writes what is known so far, judged: the files of a run that is killed hold the variants that are finished.
    fn publish(&self, record: &mut RunRecord, rows: &EvaluationOutput) -> Result<Vec<QualityRow>, JobError> {
        let mut figures = rows.figures.clone();
        compare::assign_verdicts(&mut figures);
        record.quality = Some(QualityRecord {
            reference: self.request.variants[0].quant,
            reference_model: self.reference.cloned(),
            margin: self.options.margin,
            data: rows.data.clone(),
            variants: rows.variants.clone(),
            calibration: self.request.calibration_record.clone(),
            drift: None,
        });
        self.folder.write_csv("quality.csv", &QualityRow::HEADER, figures.iter().map(QualityRow::fields))?;
        self.folder.write_csv(ItemRow::FILE, &ItemRow::HEADER, rows.items.iter().map(ItemRow::fields))?;
        self.folder.write_record(record)?;
        Ok(figures)
    }
}

/// The error with what is kept and how to go on, where it was stopped.
fn stopped(error: JobError, folder: &RunFolder, record: &mut RunRecord, variants: usize) -> JobError {
    if !matches!(error, JobError::Interrupted(_)) {
        return error;
    }
    record.status = RunStatus::Interrupted;
    if let Err(error) = folder.write_record(record) {
        return error.into();
    }
    let path = folder.path();
    let kept = checkpoints::finished(path);
    JobError::Interrupted(format!(
        "stopped: {kept} of {variants} variants are finished and kept; go on with: sizewell quality --resume {}",
        path.display()
    ))
}
