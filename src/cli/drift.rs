//! `sizewell quality --baseline`: what has changed since a recorded run, and the history that a daily job keeps.

use super::evaluating::Rows;
use super::job::Job;
use super::quality::Args;
use super::talk::Talk;
use super::{Exit, output, usage};
use crate::engine::weights::OpenedModel;
use crate::quality::Variant;
use crate::quality::data::Kind;
use crate::quality::drift::{ALPHA, Compared, Testing, compare};
use crate::record::drift::{CONFIRMING, append_history, read_history, streaks};
use crate::record::{BaselineRecord, DataRecord, DriftWindow, ItemRow, QualityRecord, Run, RunFolder, RunRecord};
use crate::report::content::{drift as tables, quality};
use crate::report::plot::history;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

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
    pub(super) fn open(args: &Args, model: &OpenedModel) -> anyhow::Result<Option<Self>> {
        let Some(path) = &args.baseline else { return Ok(None) };
        if args.reference.is_some() || !args.prune.is_empty() || args.quant.len() > 1 {
            return usage(
                "--baseline watches one level of one model: leave out --reference and --prune, and name one --quant",
            );
        }
        let run = Run::read(path)?;
        let Some(quality) = run.record.quality.clone() else {
            anyhow::bail!("{} holds no figures of quality: `sizewell quality` makes a run that does", path.display());
        };
        let (quant, pruning) = match args.quant.first() {
            // The same level if the run has it, else its reference.
            Some(asked) if quality.variants.iter().any(|v| v.quant == *asked && v.pruning.is_empty()) => {
                (*asked, String::new())
            }
            _ => (quality.reference, String::new()),
        };
        let today = args.quant.first().copied().unwrap_or(quant);
        model.weights.check_quant(today).or_else(usage)?;
        let mut items = run.quality_items()?;
        items.retain(|item| item.quant == quant && item.pruning == pruning);
        let Some(old) = &run.record.model else { anyhow::bail!("{} names no model", path.display()) };
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
        let history = args.watch.as_deref().map_or(Ok(Vec::new()), |file| earlier(file, &record))?;
        Ok(Some(Self { quality, items, history, record, variant: Variant::plain(today), run }))
    }

    /// What the run says of its data of a kind.
    pub(super) fn data(&self, kind: Kind) -> anyhow::Result<&DataRecord> {
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
    pub(super) fn token_counts(&self, kind: Kind, vocab: usize) -> anyhow::Result<Option<Vec<u64>>> {
        let known = self.run.token_counts(&self.data(kind)?.name)?;
        let mut counts = vec![0; vocab];
        for (token, count) in &known {
            match counts.get_mut(*token as usize) {
                Some(place) => *place = *count,
                None => anyhow::bail!("{}: token {token} is not one of {vocab}", self.record.location),
            }
        }
        Ok((!known.is_empty()).then_some(counts))
    }

    /// Holds what was evaluated today against the run, and keeps the window in the history.
    pub(super) fn window(
        mut self,
        args: &Args,
        job: &Job,
        rows: &Rows,
        run: &RunRecord,
        folder: &RunFolder,
    ) -> anyhow::Result<Vec<DriftWindow>> {
        let mut sets = Vec::new();
        for ((set, today), sketch) in job.sets.iter().zip(&rows.data).zip(&rows.sketches) {
            let before = &self.data(set.kind)?.name;
            sets.push(Compared {
                data: set.name.clone(),
                kind: set.kind,
                hash: today.hash.clone(),
                sketch: sketch.clone(),
                before: self.items.iter().filter(|item| item.data == *before).collect(),
                after: rows.items.iter().filter(|item| item.data == set.name).collect(),
            });
        }
        let sets = compare(&sets, Testing { alpha: ALPHA, seed: args.seed, critical_values: true });
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
            if let Some(file) = &args.watch {
                append_history(file, window).map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?;
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

fn earlier(file: &Path, baseline: &BaselineRecord) -> anyhow::Result<Vec<DriftWindow>> {
    let history = read_history(file)?;
    // What cannot be written is said before hours of evaluation.
    let writable = OpenOptions::new().create(true).append(true).open(file);
    drop(writable.map_err(|e| anyhow::anyhow!("{}: {e}", file.display()))?);
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

/// Shows the last window, draws the history beside its file, and says by the exit status whether there is an alarm.
pub(super) fn show(args: &Args, run: &Run, windows: &[DriftWindow], talk: &Talk) -> anyhow::Result<Exit> {
    let Some(last) = windows.last() else { return usage("no window") };
    let plots = match &args.watch {
        Some(file) => draw(file, windows)?,
        None => Vec::new(),
    };
    if args.json {
        output::json(&serde_json::json!({
            "run": run.path.display().to_string(), "window": windows.len(), "drift": last, "streaks": streaks(windows), "plots": plots.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut table = tables::window(windows);
        table.notes.extend(run.record.quality.iter().flat_map(quality::of_data));
        output::table(&table)?;
        if args.details {
            output::table(&tables::tests(last))?;
        }
        plots.iter().try_for_each(|path| output::text(&format!("{}\n", path.display())))?;
        output::text(&format!("\n{}\n", run.path.display()))?;
    }
    Ok(match (last.alarms.is_empty(), last.is_tested()) {
        (false, _) => {
            talk.warn(format!("alarm: {}", last.alarms.join("; ")));
            Exit::GateFailed
        }
        (true, true) => Exit::Done,
        (true, false) => {
            talk.warn("nothing could be tested; the notes say why");
            Exit::GateCannotTell
        }
    })
}

/// The plots of a history, beside its file.
fn draw(file: &Path, windows: &[DriftWindow]) -> anyhow::Result<Vec<PathBuf>> {
    let stem = file.file_stem().map_or("history".to_string(), |stem| stem.to_string_lossy().into_owned());
    let mut paths = Vec::new();
    for plot in history::plots(windows) {
        let path = file.with_file_name(format!("{stem}-{}.svg", plot.name));
        output::file(&path, plot.svg.as_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}
