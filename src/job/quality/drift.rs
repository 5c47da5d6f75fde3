//! What has changed since a recorded run, and the history that a daily job keeps.

use super::evaluate::EvaluationOutput;
use super::options::QualityOptions;
use super::request::Request;
use crate::engine::weights::OpenedModel;
use crate::job::error::{JobError, failed, usage};
use crate::job::{Reporter, Status};
use crate::quality::drift::{ALPHA, DriftData, DriftSettings, compare};
use crate::record::drift::{CONFIRMING, append_history, read_history, streaks};
use crate::record::evaluation::DataSetKind;
use crate::record::{BaselineRecord, DataRecord, DriftWindow, ItemRow, QualityRecord, Run, RunFolder, RunRecord};
use crate::workload::Variant;
use std::fs::OpenOptions;
use std::path::Path;

/// A recorded run to hold a model against, and the windows that were held against it before.
pub(super) struct Baseline {
    run: Run,
    quality: QualityRecord,
    record: BaselineRecord,
    items: Vec<ItemRow>,
    history: Vec<DriftWindow>,
    /// What is evaluated today.
    pub(super) variant: Variant,
}

impl Baseline {
    /// The run that `--baseline` names, if any.
    pub(super) fn open(options: &QualityOptions, model: &OpenedModel) -> Result<Option<Self>, JobError> {
        let Some(path) = &options.baseline else { return Ok(None) };
        if options.reference.is_some() || !options.prune.is_empty() || options.quant.len() > 1 {
            return usage(
                "--baseline watches one level of one model: leave out --reference and --prune, and name one --quant",
            );
        }
        let run = Run::read(path)?;
        let Some(quality) = run.record.quality.clone() else {
            return failed(format!(
                "{} holds no figures of quality: `sizewell quality` makes a run that does",
                path.display()
            ));
        };
        let (quant, pruning) = match options.quant.first() {
            // The same level if the run has it, else its reference.
            Some(asked) if quality.variants.iter().any(|v| v.quant == *asked && v.pruning.is_empty()) => {
                (*asked, String::new())
            }
            _ => (quality.reference, String::new()),
        };
        let today = options.quant.first().copied().unwrap_or(quant);
        model.weights.check_quant(today).or_else(usage)?;
        let mut items = run.quality_items()?;
        items.retain(|item| item.quant == quant && item.pruning == pruning);
        let Some(old) = &run.record.model else { return failed(format!("{} names no model", path.display())) };
        if old.shape.vocab_size != model.shape.vocab_size {
            return usage(format!(
                "{} has {} tokens and the model of --baseline {}: their figures cannot be compared",
                model.name, model.shape.vocab_size, old.shape.vocab_size
            ));
        }
        let record = BaselineRecord {
            location: path.display().to_string(),
            id: identity(&items),
            model: old.name.clone(),
            model_hash: old.hash.clone(),
            quant,
            pruning,
        };
        let history = options.watch.as_deref().map_or(Ok(Vec::new()), |file| earlier(file, &record))?;
        Ok(Some(Self { quality, items, history, record, variant: Variant::plain(today), run }))
    }

    /// What the run says of its data of a kind.
    pub(super) fn data(&self, kind: DataSetKind) -> Result<&DataRecord, JobError> {
        let own = &self.quality.data;
        match own.iter().find(|data| data.kind == kind.name()) {
            Some(data) => Ok(data),
            None => {
                let kinds: Vec<&str> = own.iter().map(|data| data.kind.as_str()).collect();
                usage(format!(
                    "{} has no data of the kind {}: it has {}",
                    self.record.location,
                    kind.name(),
                    kinds.join(", ")
                ))
            }
        }
    }

    /// How often its inputs had each token; `None` where it does not say.
    pub(super) fn token_counts(&self, kind: DataSetKind, vocab: usize) -> Result<Option<Vec<u64>>, JobError> {
        let known = self.run.token_counts(&self.data(kind)?.name)?;
        let mut counts = vec![0; vocab];
        for (token, count) in &known {
            match counts.get_mut(*token as usize) {
                Some(place) => *place = *count,
                None => return failed(format!("{}: token {token} is not one of {vocab}", self.record.location)),
            }
        }
        Ok((!known.is_empty()).then_some(counts))
    }

    /// Holds what was evaluated today against the run, and keeps the window in the history.
    pub(super) fn window(
        mut self,
        options: &QualityOptions,
        request: &Request,
        rows: &EvaluationOutput,
        run: &RunRecord,
        folder: &RunFolder,
    ) -> Result<Vec<DriftWindow>, JobError> {
        let mut sets = Vec::new();
        for ((set, today), sketch) in request.sets.iter().zip(&rows.data).zip(&rows.sketches) {
            let before = &self.data(set.kind)?.name;
            sets.push(DriftData {
                data: set.name.clone(),
                kind: set.kind,
                hash: today.hash.clone(),
                sketch: sketch.clone(),
                before: self.items.iter().filter(|item| item.data == *before).collect(),
                after: rows.items.iter().filter(|item| item.data == set.name).collect(),
            });
        }
        let sets = compare(&sets, DriftSettings { alpha: ALPHA, seed: options.seed, critical_values: true });
        let model = run.model.as_ref();
        self.history.push(DriftWindow {
            at: crate::record::clock::now(),
            baseline: self.record,
            run: folder.path().display().to_string(),
            model: model.map_or(String::new(), |model| model.name.clone()),
            model_hash: model.map_or(String::new(), |model| model.hash.clone()),
            quant: self.variant.quant,
            alpha: ALPHA,
            sets,
            alarms: Vec::new(),
        });
        let alarms = streaks(&self.history).into_iter().filter(|(_, count)| *count >= CONFIRMING);
        let alarms: Vec<String> = alarms.map(|(what, _)| what).collect();
        if let Some(window) = self.history.last_mut() {
            window.alarms = alarms;
            if let Some(file) = &options.watch {
                append_history(file, window).or_else(|e| failed(format!("{}: {e}", file.display())))?;
            }
        }
        let lines: Result<Vec<String>, _> = self.history.iter().map(serde_json::to_string).collect();
        folder.write_file(DriftWindow::FILE, (lines?.join("\n") + "\n").as_bytes())?;
        Ok(self.history)
    }
}

fn identity(items: &[ItemRow]) -> String {
    let mut hasher = blake3::Hasher::new();
    items.iter().flat_map(ItemRow::fields).for_each(|field| {
        hasher.update(field.as_bytes());
        hasher.update(&[0]);
    });
    hasher.finalize().to_hex()[..16].to_string()
}

fn earlier(file: &Path, baseline: &BaselineRecord) -> Result<Vec<DriftWindow>, JobError> {
    let history = read_history(file)?;
    // What cannot be written is said before hours of evaluation.
    let writable = OpenOptions::new().create(true).append(true).open(file);
    drop(writable.or_else(|e| failed(format!("{}: {e}", file.display())))?);
    match history.iter().find(|window| window.baseline.id != baseline.id) {
        Some(other) => usage(format!(
            "{} watches another baseline ({}): give a file of its own for {}",
            file.display(),
            other.baseline.location,
            baseline.location
        )),
        None => Ok(history),
    }
}

/// Says what should be known of the last window: whether there is an alarm.
pub(super) fn conclude(last: &DriftWindow, reporter: &dyn Reporter) -> Status {
    match (last.alarms.is_empty(), last.is_tested()) {
        (false, _) => {
            reporter.warning(&format!("alarm: {}", last.alarms.join("; ")));
            Status::Rejected
        }
        (true, true) => Status::Done,
        (true, false) => {
            reporter.warning("nothing could be tested; the notes say why");
            Status::CannotTell
        }
    }
}
