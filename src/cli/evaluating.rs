//! Carrying an evaluation out: every variant on every data set, the reference first.

use super::job::Job;
use super::keeping::Keeping;
use super::quality::Args;
use super::setup::open_card;
use super::stop::stop_was_asked;
use super::talk::Talk;
use super::usage;
use crate::engine::Engine;
use crate::engine::backend::ops::Kernels;
use crate::engine::session::{CandleLanguageModel, candle::CandleEngine};
use crate::engine::weights::OpenedModel;
use crate::quality::compare::{Comparing, take_back};
use crate::quality::data::{DataSet, Kind};
use crate::quality::evaluation::Item;
use crate::quality::inputs::Inputs;
use crate::quality::kept::{Begun, Finished};
use crate::quality::text::{self, Against};
use crate::quality::windows::Plan;
use crate::quality::{Evaluation, QualityError, Variant, tasks};
use crate::record::quality::token_counts_file;
use crate::record::{DataRecord, ItemRow, QualityRow, RunFolder, VariantRecord};
use crate::units::{Bytes, Seconds, digits_plain};
use crate::workload::pruning::stored_bytes;
use crate::workload::{Encoding, Quant};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tokenizers::Tokenizer;

/// Fewer tokens than this are too few to rely on (METHOD.md, R-E1).
const TOKENS_ADVISED: usize = 100_000;

/// What the evaluation leaves behind.
#[derive(Default)]
pub struct Rows {
    /// What tells the data of each set from other data.
    pub sketches: Vec<Vec<u64>>,
    pub data: Vec<DataRecord>,
    pub variants: Vec<VariantRecord>,
    pub figures: Vec<QualityRow>,
    pub items: Vec<ItemRow>,
}

impl Rows {
    fn add(&mut self, finished: Finished) -> Vec<Evaluation> {
        self.data.extend(finished.data);
        self.figures.extend(finished.figures);
        self.items.extend(finished.items);
        self.variants.push(finished.record);
        finished.evaluations
    }
}

/// Written after each variant.
pub type Publish<'a> = &'a mut dyn FnMut(&Rows) -> anyhow::Result<Vec<QualityRow>>;

/// Evaluates all variants that are not kept already; each is kept, and published with those before, when it is finished.
#[allow(clippy::too_many_arguments)]
pub fn evaluate(
    args: &Args,
    job: &Job,
    model: OpenedModel,
    other: Option<OpenedModel>,
    keeping: &Keeping<'_>,
    rows: &mut Rows,
    publish: Publish<'_>,
    talk: &Talk,
) -> anyhow::Result<()> {
    let Some(tokenizer) = model.tokenizer.clone() else { return usage("no tokenizer") };
    let vocab = model.shape.vocab_size;
    let mut engine = engine_of(args, model)?;
    let mut reference_engine = other.map(|other| engine_of(args, other)).transpose()?;
    let inputs = inputs(job, &tokenizer, vocab, keeping.folder())?;
    let mut reference: Vec<Evaluation> = Vec::new();
    for (index, variant) in job.variants.iter().enumerate() {
        let kept = keeping.finished(index)?;
        let (is_kept, mut lost) = (kept.is_some(), None);
        let finished = match kept {
            Some(finished) => finished,
            None => {
                talk.say(format!("evaluating {variant}"));
                let engine = match (&mut reference_engine, index) {
                    (Some(other), 0) => other,
                    _ => &mut engine,
                };
                let asking =
                    Asking { args, job, tokenizer: &tokenizer, inputs: &inputs, folder: keeping.folder().path() };
                let mut finished = asking.variant(index, engine, &reference)?;
                keeping.keep(index, &mut finished)?;
                lost = engine.lost();
                finished
            }
        };
        let evaluations = rows.add(finished);
        if index == 0 {
            rows.sketches = evaluations.iter().map(|found| found.sketch.clone()).collect();
            job.sets.iter().zip(&evaluations).for_each(|(set, found)| advise(found, set, talk));
            reference = evaluations;
        }
        if !is_kept && index + 1 < job.variants.len() {
            publish(rows)?;
            if let Some(why) = lost {
                let folder = keeping.folder().path().display();
                anyhow::bail!(
                    "{} was lost in {variant} ({why}): nothing works on it in this process; another one goes on behind it: \
                     sizewell quality --resume {folder}",
                    args.device
                );
            }
        }
    }
    Ok(())
}

/// Everything that a variant is evaluated with.
struct Asking<'a> {
    args: &'a Args,
    job: &'a Job,
    tokenizer: &'a Tokenizer,
    inputs: &'a [Inputs],
    folder: &'a Path,
}

impl Asking<'_> {
    /// The variant at a place against `reference`, which is empty for the reference itself. What a variant cannot do is said
    /// in its row; what is wrong with data or disk concerns all of them.
    fn variant(&self, index: usize, engine: &mut CandleEngine, reference: &[Evaluation]) -> anyhow::Result<Finished> {
        let (job, variant, began) = (self.job, self.job.variants[index], Instant::now());
        let mut language = match engine.language_model(variant.quant, variant.pruning.as_ref(), &job.calibration) {
            Ok(language) => language,
            Err(error) if index > 0 => return Ok(finished(failed(variant, error.to_string()))),
            Err(error) => return Err(error.into()),
        };
        let evaluations = match answers(&mut language, self.tokenizer, job, self.inputs, index == 0, self.folder) {
            Ok(evaluations) => evaluations,
            Err(error @ (QualityError::Engine(_) | QualityError::Other(_))) if index > 0 => {
                return Ok(finished(failed(variant, error.to_string())));
            }
            Err(error) => return Err(error.into()),
        };
        let source = format!("sizewell {}", env!("CARGO_PKG_VERSION"));
        let record = variant_record(variant, &language, began.elapsed().as_secs_f64());
        let mut made = finished(record);
        for (at, (set, own)) in job.sets.iter().zip(&evaluations).enumerate() {
            let (margin, seed) = (self.args.margin, self.args.seed);
            let comparing = Comparing { data: &set.name, variant, margin, seed, source: &source };
            made.figures.extend(match reference.get(at) {
                None => comparing.reference(own),
                Some(reference) => comparing.variant(reference, own),
            });
            made.items.extend(own.items.iter().map(|item| item_row(set, variant, item)));
            if index == 0 {
                made.data.push(data_record(set, own, job)?);
            }
        }
        if index > 0 && variant.pruning.is_none() && made.record.at_level == Some(0.0) {
            take_back(&mut made.figures);
        }
        if index == 0 {
            made.evaluations = evaluations;
        }
        Ok(made)
    }
}

/// A variant without any figure yet.
fn finished(record: VariantRecord) -> Finished {
    let begun = Begun { with: BTreeMap::new() };
    Finished { begun, record, data: Vec::new(), figures: Vec::new(), items: Vec::new(), evaluations: Vec::new() }
}

/// What a variant makes of each data set.
fn answers(
    language: &mut CandleLanguageModel,
    tokenizer: &Tokenizer,
    job: &Job,
    inputs: &[Inputs],
    is_reference: bool,
    folder: &Path,
) -> Result<Vec<Evaluation>, QualityError> {
    let mut told = |_| !stop_was_asked();
    let of = |(set, inputs): (&DataSet, &Inputs)| match set.kind {
        Kind::Text => {
            let kept = folder.join(format!("{}.topk", set.name));
            let plan = Plan { context: job.context, stride: job.stride, bos: job.bos };
            let against = match is_reference {
                true if job.variants.len() == 1 => Against::Alone,
                true => Against::Writing(&kept),
                false => Against::Reading(&kept),
            };
            text::evaluate(language, tokenizer, set, plan, inputs, against, &mut told)
        }
        _ => tasks::evaluate(language, tokenizer, set, inputs, &mut told),
    };
    job.sets.iter().zip(inputs).map(of).collect()
}

/// How often tokens are given: in half of each set, or as the run has it that it is held against.
fn inputs(job: &Job, tokenizer: &Tokenizer, vocab: usize, folder: &RunFolder) -> anyhow::Result<Vec<Inputs>> {
    let mut all = Vec::new();
    for set in &job.sets {
        let recorded = match &job.baseline {
            Some(baseline) => baseline.token_counts(set.kind, vocab)?,
            None => None,
        };
        all.push(match recorded {
            Some(counts) => Inputs::of(counts),
            None => {
                let plan = Plan { context: job.context, stride: job.stride, bos: job.bos };
                let counted = Inputs::counted(set, tokenizer, plan, vocab)?;
                let rows = counted.counts().map(|(token, count)| vec![token.to_string(), count.to_string()]);
                folder.write_csv(&token_counts_file(&set.name), &["token", "count"], rows)?;
                counted
            }
        });
    }
    Ok(all)
}

fn advise(found: &Evaluation, set: &DataSet, talk: &Talk) {
    if let Some(note) = repeats_of_text(found) {
        talk.warn(format!("{}: {note}", set.location));
    }
    if found.kind == Kind::Text && found.samples < TOKENS_ADVISED / 2 {
        talk.warn(format!(
            "{}: {} tokens count; give {TOKENS_ADVISED} or more for figures to rely on",
            set.location, found.samples
        ));
    }
}

/// What is to be said of a text that has parts more than once.
fn repeats_of_text(found: &Evaluation) -> Option<String> {
    (found.kind == Kind::Text && found.repeats > 0).then(|| {
        format!(
            "{} windows repeat what stood in the text before: intervals and tests count {} different ones",
            found.repeats,
            found.items.len()
        )
    })
}

fn engine_of(args: &Args, model: OpenedModel) -> anyhow::Result<CandleEngine> {
    let kernels: Kernels = args.kernels.into();
    Ok(match open_card(args.device)? {
        Some(_) if kernels == Kernels::Own => {
            return usage("quality on a card is measured by candle's kernels: add --kernels candle");
        }
        Some(card) => CandleEngine::on_card(model, card)?,
        None => CandleEngine::new(model, kernels),
    })
}

fn failed(variant: Variant, why: String) -> VariantRecord {
    VariantRecord {
        quant: variant.quant,
        pruning: variant.pruning_name(),
        stored_bytes: Bytes(0.0),
        resident_bytes: Bytes(0.0),
        sparsity: 0.0,
        at_level: None,
        evaluation_s: Seconds(0.0),
        notes: Vec::new(),
        failure: Some(why),
    }
}

fn variant_record(variant: Variant, language: &CandleLanguageModel, seconds: f64) -> VariantRecord {
    let resident = language.matrix_bytes();
    let encoding = variant.quant.nominal_encoding();
    let weights = resident.0 * 8.0 / encoding.bits_per_weight();
    let zeros = language.zeros as f64;
    // Zeros save nothing in blocks, and blocks of several kinds are counted as they are.
    let saved = resident.0 - stored_bytes(weights, zeros, encoding).0;
    let stored = if language.zeros == 0 { resident } else { Bytes(resident.0 - saved.max(0.0)) };
    let (at_level, notes) = at_level(variant, language);
    VariantRecord {
        quant: variant.quant,
        pruning: variant.pruning_name(),
        stored_bytes: stored,
        resident_bytes: resident,
        sparsity: zeros / weights,
        at_level: Some(at_level),
        evaluation_s: Seconds(seconds),
        notes,
        failure: None,
    }
}

/// The share of the weights that are stored at the variant's own level, and what the others are stored as.
fn at_level(variant: Variant, language: &CandleLanguageModel) -> (f64, Vec<String>) {
    let stored = language.stored();
    let all: usize = stored.iter().map(|(_, weights)| weights).sum();
    let share = |weights: usize| weights as f64 / all.max(1) as f64;
    let is_own = |encoding: Encoding| match variant.quant {
        Quant::Q4_0 => encoding == Encoding::Q4_0,
        quant => encoding.quant() == quant,
    };
    let own = stored.iter().filter(|(encoding, _)| is_own(*encoding)).map(|(_, weights)| weights).sum();
    let mut notes = language.notes.clone();
    let others = stored.iter().filter(|(encoding, _)| !is_own(*encoding));
    notes.extend(others.map(|(encoding, weights)| {
        format!("{} % of the weights as {encoding}", digits_plain(share(*weights) * 100.0))
    }));
    (share(own), notes)
}

fn data_record(set: &DataSet, found: &Evaluation, job: &Job) -> anyhow::Result<DataRecord> {
    let of_text = found.kind == Kind::Text;
    let mut notes = set.survey.notes();
    notes.extend(repeats_of_text(found));
    Ok(DataRecord {
        name: set.name.clone(),
        location: set.location.clone(),
        kind: set.kind.name().to_string(),
        hash: set.hash()?,
        samples: found.samples,
        tokens: found.tokens,
        token_hash: found.token_hash.clone(),
        context: of_text.then_some(job.context),
        stride: job.stride.filter(|_| of_text),
        bos: job.bos,
        tail: found.tail,
        repeats: found.repeats,
        notes,
    })
}

fn item_row(set: &DataSet, variant: Variant, item: &Item) -> ItemRow {
    ItemRow {
        data: set.name.clone(),
        quant: variant.quant,
        pruning: variant.pruning_name(),
        hash: format!("{:016x}", item.hash),
        length: item.length,
        outcome: item.outcome,
        weight: item.weight,
        score: item.score,
        target: item.target,
        surprise: item.surprise,
    }
}
