//! Carrying an evaluation out: every variant on every data set, the reference first.

use super::checkpoints::VariantCheckpoints;
use super::options::QualityOptions;
use super::request::Request;
use crate::engine::language::HeldWeights;
use crate::engine::open::LanguageEngine;
use crate::engine::weights::OpenedModel;
use crate::evaluation::data::DataSet;
use crate::evaluation::inputs::TokenFrequencies;
use crate::evaluation::text::{self, ReferenceLogits};
use crate::evaluation::{EvaluationError, tasks};
use crate::job::Context;
use crate::job::engine::answering;
use crate::job::error::{JobError, failed, usage};
use crate::quality::compare::{Comparison, withdraw_tests};
use crate::record::Evaluation;
use crate::record::evaluation::{DataSetKind, ItemResult};
use crate::record::finished::{EvaluationSettings, FinishedVariant};
use crate::record::quality::token_counts_file;
use crate::record::{DataRecord, ItemRow, QualityRow, RunFolder, VariantRecord};
use crate::units::{Bytes, Seconds, digits_plain};
use crate::workload::Variant;
use crate::workload::pruning::stored_bytes;
use crate::workload::{Encoding, ModelShape, Quant};
use std::collections::BTreeMap;
use std::time::Instant;
use tokenizers::Tokenizer;

/// Fewer tokens than this are too few to rely on.
const TOKENS_ADVISED: usize = 100_000;

/// The rows that an evaluation gives.
#[derive(Default)]
pub(super) struct EvaluationOutput {
    /// What tells the data of each set from other data.
    pub(super) sketches: Vec<Vec<u64>>,
    pub(super) data: Vec<DataRecord>,
    pub(super) variants: Vec<VariantRecord>,
    pub(super) figures: Vec<QualityRow>,
    pub(super) items: Vec<ItemRow>,
}

impl EvaluationOutput {
    fn add(&mut self, finished: FinishedVariant) -> Vec<Evaluation> {
        self.data.extend(finished.data);
        self.figures.extend(finished.figures);
        self.items.extend(finished.items);
        self.variants.push(finished.record);
        finished.evaluations
    }
}

/// Written after each variant.
pub(super) type Publish<'a> = &'a mut dyn FnMut(&EvaluationOutput) -> Result<Vec<QualityRow>, JobError>;

/// An evaluation under way.
pub(super) struct Evaluating<'a> {
    pub(super) options: &'a QualityOptions,
    pub(super) request: &'a Request,
    pub(super) checkpoints: &'a VariantCheckpoints<'a>,
    pub(super) context: Context<'a>,
}

impl Evaluating<'_> {
    /// Evaluates all variants that are not kept already; each is kept, and published with those before, when it is finished.
    pub(super) fn run(
        &self,
        model: OpenedModel,
        other: Option<OpenedModel>,
        rows: &mut EvaluationOutput,
        publish: Publish<'_>,
    ) -> Result<(), JobError> {
        let Self { options, request, checkpoints, context } = *self;
        let Some(tokenizer) = model.tokenizer.clone() else { return usage("no tokenizer") };
        let vocab = model.shape.vocab_size;
        let engine = |model| answering(model, options.device, options.kernels);
        let (mut own, mut reference_engine) = (engine(model)?, other.map(engine).transpose()?);
        let inputs = inputs(request, &tokenizer, vocab, checkpoints.folder())?;
        let evaluation =
            EvaluationContext { options, request, tokenizer: &tokenizer, inputs: &inputs, checkpoints, context };
        let mut reference: Vec<Evaluation> = Vec::new();
        for (index, variant) in request.variants.iter().enumerate() {
            let kept = checkpoints.finished(index)?;
            let (is_kept, mut lost) = (kept.is_some(), None);
            let finished = match kept {
                Some(finished) => finished,
                None => {
                    context.note(format!("evaluating {variant}"));
                    let engine = match (&mut reference_engine, index) {
                        (Some(other), 0) => other,
                        _ => &mut own,
                    };
                    let mut finished = evaluation.variant(index, engine, &reference)?;
                    checkpoints.keep(index, &mut finished)?;
                    lost = engine.lost();
                    finished
                }
            };
            let evaluations = rows.add(finished);
            if index == 0 {
                rows.sketches = evaluations.iter().map(|found| found.sketch.clone()).collect();
                request.sets.iter().zip(&evaluations).for_each(|(set, found)| advise(found, set, context));
                reference = evaluations;
            }
            if !is_kept && index + 1 < request.variants.len() {
                publish(rows)?;
                if let Some(why) = lost {
                    return self.lost_in(variant, &why);
                }
            }
        }
        Ok(())
    }

    fn lost_in(&self, variant: &Variant, why: &str) -> Result<(), JobError> {
        failed(format!(
            "{} was lost in {variant} ({why}): nothing works on it in this process; another one goes on behind it: \
             sizewell quality --resume {}",
            self.options.device,
            self.checkpoints.folder().path().display()
        ))
    }
}

/// Everything that a variant is evaluated with.
struct EvaluationContext<'a> {
    options: &'a QualityOptions,
    request: &'a Request,
    tokenizer: &'a Tokenizer,
    inputs: &'a [TokenFrequencies],
    checkpoints: &'a VariantCheckpoints<'a>,
    context: Context<'a>,
}

impl EvaluationContext<'_> {
    /// The variant at a place against `reference`, which is empty for the reference itself. What a variant cannot do is said
    /// in its row; what is wrong with data or disk concerns all of them.
    fn variant(
        &self,
        index: usize,
        engine: &mut LanguageEngine,
        reference: &[Evaluation],
    ) -> Result<FinishedVariant, JobError> {
        let (request, variant, began) = (self.request, self.request.variants[index], Instant::now());
        let mut language = match engine.language_model(variant.quant, variant.pruning.as_ref(), &request.calibration) {
            Ok(language) => language,
            Err(error) if index > 0 => return Ok(finished(not_evaluated(variant, error.to_string()))),
            Err(error) => return Err(error.into()),
        };
        let evaluations = match self.answers(language.as_mut(), index == 0) {
            Ok(evaluations) => evaluations,
            Err(error @ (EvaluationError::Engine(_) | EvaluationError::Other(_))) if index > 0 => {
                return Ok(finished(not_evaluated(variant, error.to_string())));
            }
            Err(error) => return Err(error.into()),
        };
        let source = format!("sizewell {}", env!("CARGO_PKG_VERSION"));
        let record = variant_record(variant, &request.shape, language.as_ref(), began.elapsed().as_secs_f64());
        let mut made = finished(record);
        for (at, (set, own)) in request.sets.iter().zip(&evaluations).enumerate() {
            let (margin, seed) = (self.options.margin, self.options.seed);
            let comparing = Comparison { data: &set.name, variant, margin, seed, source: &source };
            made.figures.extend(match reference.get(at) {
                None => comparing.reference(own),
                Some(reference) => comparing.variant(reference, own),
            });
            made.items.extend(own.items.iter().map(|item| item_row(set, variant, item)));
            if index == 0 {
                made.data.push(data_record(set, own, request)?);
            }
        }
        if index > 0 && variant.pruning.is_none() && made.record.at_level == Some(0.0) {
            withdraw_tests(&mut made.figures);
        }
        if index == 0 {
            made.evaluations = evaluations;
        }
        Ok(made)
    }

    /// What a variant makes of each data set.
    fn answers(&self, language: &mut dyn HeldWeights, is_reference: bool) -> Result<Vec<Evaluation>, EvaluationError> {
        let (request, folder) = (self.request, self.checkpoints.folder().path());
        let mut goes_on = |_| !self.context.stop.is_asked();
        let of = |(set, inputs): (&DataSet, &TokenFrequencies)| match set.kind {
            DataSetKind::Text => {
                let kept = folder.join(format!("{}.topk", set.name));
                let against = match is_reference {
                    true if request.variants.len() == 1 => ReferenceLogits::Unused,
                    true => ReferenceLogits::Write(&kept),
                    false => ReferenceLogits::Read(&kept),
                };
                text::evaluate(language, self.tokenizer, set, request.plan(), inputs, against, &mut goes_on)
            }
            _ => tasks::evaluate(language, self.tokenizer, set, inputs, &mut goes_on),
        };
        request.sets.iter().zip(self.inputs).map(of).collect()
    }
}

/// A variant without any figure yet.
fn finished(record: VariantRecord) -> FinishedVariant {
    let begun = EvaluationSettings { with: BTreeMap::new() };
    FinishedVariant { begun, record, data: Vec::new(), figures: Vec::new(), items: Vec::new(), evaluations: Vec::new() }
}

/// How often tokens are given: in half of each set, or as the run has it that it is held against.
fn inputs(
    request: &Request,
    tokenizer: &Tokenizer,
    vocab: usize,
    folder: &RunFolder,
) -> Result<Vec<TokenFrequencies>, JobError> {
    let mut all = Vec::new();
    for set in &request.sets {
        let recorded = match &request.baseline {
            Some(baseline) => baseline.token_counts(set.kind, vocab)?,
            None => None,
        };
        all.push(match recorded {
            Some(counts) => TokenFrequencies::of(counts),
            None => {
                let counted = TokenFrequencies::counted(set, tokenizer, request.plan(), vocab)?;
                let rows = counted.counts().map(|(token, count)| vec![token.to_string(), count.to_string()]);
                folder.write_csv(&token_counts_file(&set.name), &["token", "count"], rows)?;
                counted
            }
        });
    }
    Ok(all)
}

fn advise(found: &Evaluation, set: &DataSet, context: Context<'_>) {
    if let Some(note) = repeats_of_text(found) {
        context.warn(format!("{}: {note}", set.location));
    }
    if found.kind == DataSetKind::Text && found.samples < TOKENS_ADVISED / 2 {
        context.warn(format!(
            "{}: {} tokens count; give {TOKENS_ADVISED} or more for figures to rely on",
            set.location, found.samples
        ));
    }
}

/// What is to be said of a text that has parts more than once.
fn repeats_of_text(found: &Evaluation) -> Option<String> {
    (found.kind == DataSetKind::Text && found.repeats > 0).then(|| {
        format!(
            "{} windows repeat what stood in the text before: intervals and tests count {} different ones",
            found.repeats,
            found.items.len()
        )
    })
}

fn not_evaluated(variant: Variant, why: String) -> VariantRecord {
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

fn variant_record(variant: Variant, shape: &ModelShape, language: &dyn HeldWeights, seconds: f64) -> VariantRecord {
    let resident = language.matrix_bytes();
    if variant.quant.scheme().is_some() {
        return VariantRecord {
            // What a checkpoint of the level takes; here its numbers are held in 32 bits.
            stored_bytes: shape.weight_bytes(variant.quant),
            resident_bytes: resident,
            at_level: Some(1.0),
            evaluation_s: Seconds(seconds),
            notes: language.notes().to_vec(),
            failure: None,
            ..not_evaluated(variant, String::new())
        };
    }
    let encoding = variant.quant.nominal_encoding();
    let weights = resident.0 * 8.0 / encoding.bits_per_weight();
    let zeros = language.zeros() as f64;
    // Zeros save nothing in blocks, and blocks of several kinds are counted as they are.
    let saved = resident.0 - stored_bytes(weights, zeros, encoding).0;
    let stored = if language.zeros() == 0 { resident } else { Bytes(resident.0 - saved.max(0.0)) };
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
fn at_level(variant: Variant, language: &dyn HeldWeights) -> (f64, Vec<String>) {
    let stored = language.stored();
    let all: usize = stored.iter().map(|(_, weights)| weights).sum();
    let share = |weights: usize| weights as f64 / all.max(1) as f64;
    let is_own = |encoding: Encoding| match variant.quant {
        Quant::Q4_0 => encoding == Encoding::Q4_0,
        quant => encoding.quant() == quant,
    };
    let own = stored.iter().filter(|(encoding, _)| is_own(*encoding)).map(|(_, weights)| weights).sum();
    let mut notes = language.notes().to_vec();
    let others = stored.iter().filter(|(encoding, _)| !is_own(*encoding));
    notes.extend(others.map(|(encoding, weights)| {
        format!("{} % of the weights as {encoding}", digits_plain(share(*weights) * 100.0))
    }));
    (share(own), notes)
}

fn data_record(set: &DataSet, found: &Evaluation, request: &Request) -> Result<DataRecord, JobError> {
    let of_text = found.kind == DataSetKind::Text;
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
        context: of_text.then_some(request.context),
        stride: request.stride.filter(|_| of_text),
        bos: request.bos,
        tail: found.tail,
        repeats: found.repeats,
        notes,
    })
}

fn item_row(set: &DataSet, variant: Variant, item: &ItemResult) -> ItemRow {
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
