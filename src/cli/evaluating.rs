//! Carrying an evaluation out: every variant on every data set, the reference first.

use super::progress::stop_was_asked;
use super::quality::{Args, Job};
use super::setup::open_card;
use super::talk::Talk;
use super::usage;
use crate::engine::candle::ops::Kernels;
use crate::engine::candle::source::OpenedModel;
use crate::engine::candle::{CandleEngine, CandleLanguageModel};
use crate::quality::compare::Comparing;
use crate::quality::data::{DataSet, Kind};
use crate::quality::evaluation::Item;
use crate::quality::inputs::Inputs;
use crate::quality::text::{self, Against};
use crate::quality::windows::Plan;
use crate::quality::{Evaluation, QualityError, Variant, tasks};
use crate::record::quality::token_counts_file;
use crate::record::{DataRecord, ItemRow, QualityRow, RunFolder, VariantRecord};
use crate::units::{Bytes, Seconds};
use crate::workload::pruning::stored_bytes;
use std::path::Path;
use std::time::Instant;
use tokenizers::Tokenizer;

/// Fewer tokens than this are too few to rely on (METHOD.md, R-E1).
const TOKENS_ADVISED: usize = 100_000;

/// What the evaluation leaves behind.
#[derive(Default)]
pub struct Rows {
    pub data: Vec<DataRecord>,
    pub variants: Vec<VariantRecord>,
    pub figures: Vec<QualityRow>,
    pub items: Vec<ItemRow>,
}

/// Evaluates all variants; what was done before an error is in `rows`.
pub fn evaluate(
    args: &Args,
    job: &Job,
    model: OpenedModel,
    other: Option<OpenedModel>,
    folder: &RunFolder,
    rows: &mut Rows,
    talk: &Talk,
) -> anyhow::Result<()> {
    let Some(tokenizer) = model.tokenizer.clone() else { return usage("no tokenizer") };
    let vocab = model.shape.vocab_size;
    let mut engine = engine_of(args, model)?;
    let mut reference_engine = other.map(|other| engine_of(args, other)).transpose()?;
    let inputs = inputs(job, &tokenizer, vocab, folder)?;
    let mut reference: Vec<Evaluation> = Vec::new();
    for (index, variant) in job.variants.iter().enumerate() {
        let began = Instant::now();
        talk.say(format!("evaluating {variant}"));
        let engine = match (&mut reference_engine, index) {
            (Some(other), 0) => other,
            _ => &mut engine,
        };
        let mut language = match engine.language_model(variant.quant, variant.pruning.as_ref(), &job.calibration) {
            Ok(language) => language,
            Err(error) if index > 0 => {
                rows.variants.push(failed(*variant, error.to_string()));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let evaluations = match answers(&mut language, &tokenizer, job, &inputs, index == 0, folder.path()) {
            Ok(evaluations) => evaluations,
            // What a variant cannot do is said in its row; what is wrong with data or disk concerns all of them.
            Err(error @ (QualityError::Engine(_) | QualityError::Other(_))) if index > 0 => {
                rows.variants.push(failed(*variant, error.to_string()));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if index == 0 {
            for (set, found) in job.sets.iter().zip(&evaluations) {
                rows.data.push(data_record(set, found, job)?);
                advise(found, set, talk);
            }
        }
        let source = format!("sizewell {}", env!("CARGO_PKG_VERSION"));
        for (at, (set, own)) in job.sets.iter().zip(&evaluations).enumerate() {
            let comparing =
                Comparing { data: &set.name, variant: *variant, margin: args.margin, seed: args.seed, source: &source };
            rows.figures.extend(match reference.get(at) {
                None => comparing.reference(own),
                Some(reference) => comparing.variant(reference, own),
            });
            rows.items.extend(own.items.iter().map(|item| item_row(set, *variant, item)));
        }
        rows.variants.push(variant_record(*variant, &language, began.elapsed().as_secs_f64()));
        if index == 0 {
            reference = evaluations;
        }
    }
    Ok(())
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
    if found.kind == Kind::Text && found.samples < TOKENS_ADVISED / 2 {
        talk.warn(format!(
            "{}: {} tokens count; give {TOKENS_ADVISED} or more for figures to rely on",
            set.location, found.samples
        ));
    }
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
    VariantRecord {
        quant: variant.quant,
        pruning: variant.pruning_name(),
        stored_bytes: stored,
        resident_bytes: resident,
        sparsity: zeros / weights,
        evaluation_s: Seconds(seconds),
        notes: language.notes.clone(),
        failure: None,
    }
}

fn data_record(set: &DataSet, found: &Evaluation, job: &Job) -> anyhow::Result<DataRecord> {
    let of_text = found.kind == Kind::Text;
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
