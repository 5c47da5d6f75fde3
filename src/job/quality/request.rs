//! What `quality` is asked to compare, checked before anything runs.

use super::drift::Baseline;
use super::options::QualityOptions;
use crate::engine::weights::ModelDescription;
use crate::engine::weights::{self as source, OpenedModel, REFERENCE};
use crate::evaluation::EvaluationError;
use crate::evaluation::data::DataSet;
use crate::evaluation::windows::{Windowing, Windows, bos_of};
use crate::job::Context;
use crate::job::error::{JobError, failed, usage};
use crate::record::CalibrationRecord;
use crate::workload::Variant;
use crate::workload::pruning::Method;
use crate::workload::{ModelShape, Quant, chronicle, model::preset};
use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Sequences that Wanda weighs activations on, as many as its authors use.
const CALIBRATION_WINDOWS: usize = 128;
/// The longest window by default.
const CONTEXT: usize = 512;

/// What is asked for, checked.
pub(super) struct Request {
    /// The sizes of the model.
    pub(super) shape: ModelShape,
    pub(super) variants: Vec<Variant>,
    pub(super) sets: Vec<DataSet>,
    pub(super) context: usize,
    pub(super) stride: Option<usize>,
    pub(super) bos: Option<u32>,
    pub(super) calibration: Vec<Vec<u32>>,
    pub(super) calibration_set: Option<DataSet>,
    pub(super) baseline: Option<Baseline>,
    /// Of the model's weights.
    pub(super) model_hash: Option<String>,
    pub(super) calibration_record: Option<CalibrationRecord>,
}

/// The model that `name` is, whose answers say something and whose text can be read.
pub(super) fn open(name: &str, seed: u64, context: Context<'_>) -> Result<OpenedModel, JobError> {
    let model = source::open_decoder(name, seed, context.reporter.shows_progress())?;
    if model.synthetic {
        return usage(format!("{name} has random weights, whose answers say nothing: name a model with trained ones"));
    }
    let Some(tokenizer) = &model.tokenizer else {
        return failed(format!(
            "{name} has no tokenizer (tokenizer.json, or a vocabulary in the GGUF file): text cannot be read"
        ));
    };
    let most = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
    if most as usize >= model.shape.vocab_size {
        return failed(format!(
            "{name}: its tokenizer has a token {most}, but the model has {} only: they do not belong together",
            model.shape.vocab_size
        ));
    }
    Ok(model)
}

/// An error where two models do not have the same tokens.
pub(super) fn same_vocabulary(model: &OpenedModel, other: &OpenedModel) -> Result<(), JobError> {
    let vocabulary = |model: &OpenedModel| model.tokenizer.as_ref().map(|tokenizer| tokenizer.get_vocab(true));
    if model.shape.vocab_size != other.shape.vocab_size || vocabulary(model) != vocabulary(other) {
        return usage(format!(
            "{} and {} have different vocabularies: their answers cannot be compared token by token",
            model.name, other.name
        ));
    }
    Ok(())
}

impl Request {
    /// What the options ask for; everything that can be wrong with it is said here.
    pub(super) fn new(
        options: &QualityOptions,
        model: &OpenedModel,
        other: Option<&OpenedModel>,
    ) -> Result<Self, JobError> {
        let native = model.weights.native_quant().unwrap_or(Quant::F16);
        let base = other.and_then(|other| other.weights.native_quant());
        let baseline = Baseline::open(options, model)?;
        let variants = match &baseline {
            Some(baseline) => vec![baseline.variant],
            None => variants(options, model, base, native)?,
        };
        let sets = sets(options)?;
        let most = model.shape.max_context.min(other.map_or(usize::MAX, |other| other.shape.max_context));
        let Some(tokenizer) = &model.tokenizer else { return usage("no tokenizer") };
        let bos = bos_of(tokenizer);
        let asked = Windowing { context: options.context.unwrap_or(most.min(CONTEXT)), stride: options.stride, bos };
        let Windowing { context, stride, .. } = match &baseline {
            Some(baseline) => same_windows(options, baseline, &sets, asked)?,
            None => asked,
        };
        if context < 8 || context > most {
            return usage(format!("--context {context}: a window is of 8 to {most} tokens, which the model has"));
        }
        if stride.is_some_and(|stride| stride == 0 || stride >= context) {
            return usage(format!("--stride must be between 1 and {}", context - 1));
        }
        let wanda = options.prune.iter().any(|asked| asked.pruning.method == Method::Wanda);
        let (calibration, calibration_record, calibration_set) =
            if wanda { calibration(options, model, &sets, context, bos)? } else { (Vec::new(), None, None) };
        let model_hash = ModelDescription::of(model).origin.hash().ok();
        Ok(Self {
            variants,
            shape: model.shape.clone(),
            sets,
            context,
            stride,
            bos,
            calibration,
            calibration_set,
            baseline,
            model_hash,
            calibration_record,
        })
    }

    /// How text is cut into windows.
    pub(super) fn plan(&self) -> Windowing {
        Windowing { context: self.context, stride: self.stride, bos: self.bos }
    }
}

/// Every kind of data must be one that the baseline has, and its text must have been cut in the same way.
fn same_windows(
    options: &QualityOptions,
    baseline: &Baseline,
    sets: &[DataSet],
    asked: Windowing,
) -> Result<Windowing, JobError> {
    let mut plan = asked;
    for set in sets {
        let data = baseline.data(set.kind)?;
        if let Some(context) = data.context {
            plan = Windowing { context, stride: data.stride, bos: asked.bos };
            let other = options.context.is_some_and(|asked| asked != context)
                || (options.stride.is_some() && options.stride != data.stride);
            if other || data.bos != asked.bos {
                return usage(format!(
                    "windows of the baseline have {context} tokens, stride {:?} and begin with {:?}: others cannot be \
                     compared with them",
                    data.stride, data.bos
                ));
            }
        }
    }
    Ok(plan)
}

/// The reference first.
fn variants(
    options: &QualityOptions,
    model: &OpenedModel,
    base: Option<Quant>,
    native: Quant,
) -> Result<Vec<Variant>, JobError> {
    let quants = match options.quant.as_slice() {
        [] => {
            // Against another model its level is not one to compare; a quantized file has its own level only.
            let rest = [Quant::Int8, Quant::Int4].into_iter().filter(|quant| *quant != native);
            let all = std::iter::once(native).chain(rest).filter(|quant| Some(*quant) != base);
            all.filter(|quant| model.weights.check_quant(*quant).is_ok()).collect()
        }
        asked => asked.to_vec(),
    };
    for quant in &quants {
        model.weights.check_quant(*quant).or_else(usage)?;
    }
    let Some(first) = base.or(quants.first().copied()) else {
        return usage("no level of this model can be run: name one with --quant");
    };
    if base.is_some() && quants.contains(&first) {
        return usage(format!("--reference is in {first} too: its figures could not be told from those of the model"));
    }
    let mut variants = vec![Variant::plain(first)];
    variants.extend(quants.into_iter().skip(usize::from(base.is_none())).map(Variant::plain));
    for asked in &options.prune {
        let quant = asked.quant.unwrap_or(native);
        model.weights.check_quant(quant).or_else(usage)?;
        variants.push(Variant { quant, pruning: Some(asked.pruning) });
    }
    for (index, variant) in variants.iter().enumerate().skip(1) {
        if variants[..index].contains(variant) {
            return usage(format!("{variant} is named twice"));
        }
    }
    Ok(variants)
}

/// The data sets, one of each kind.
fn sets(options: &QualityOptions) -> Result<Vec<DataSet>, JobError> {
    let sets: Vec<DataSet> = match (options.data.as_slice(), preset::reference_files()) {
        ([], Some(files)) if options.model == REFERENCE => {
            let mut sets = Vec::new();
            for name in ["text.txt", "choice.jsonl", "generate.jsonl", "pairs.jsonl", "classify.jsonl"] {
                let file = files.get_file(files.path().join(name));
                sets.push(DataSet::embedded(name, file.map_or(&[], |file| file.contents()))?);
            }
            sets
        }
        ([], _) => {
            return usage("--data is missing: a text, or JSON lines of questions (docs/method/quality.md#data-sets)");
        }
        (paths, _) => paths.iter().map(|path| DataSet::open(path)).collect::<Result<_, _>>()?,
    };
    for (index, set) in sets.iter().enumerate() {
        if sets[..index].iter().any(|other| other.name == set.name || other.kind == set.kind) {
            return usage(format!(
                "{} is of a kind ({}) or name that another set has: a run takes one set of each kind",
                set.location,
                set.kind.name()
            ));
        }
    }
    Ok(sets)
}

/// Windows of text, what a record says of it, and where it is from.
type Calibration = (Vec<Vec<u32>>, Option<CalibrationRecord>, Option<DataSet>);

/// Windows of text that no evaluation sees.
fn calibration(
    options: &QualityOptions,
    model: &OpenedModel,
    sets: &[DataSet],
    context: usize,
    bos: Option<u32>,
) -> Result<Calibration, JobError> {
    let set = match &options.calibration {
        Some(path) => DataSet::open(path)?,
        None if options.model == REFERENCE => {
            let text = chronicle::text(1 << 20, &mut Xoshiro256PlusPlus::seed_from_u64(options.seed.wrapping_add(3)));
            DataSet::embedded("chronicle.txt", text.into_bytes().leak())?
        }
        None => {
            return usage("Wanda needs --calibration FILE: text like the model's use, and not that of the evaluation");
        }
    };
    let hash = set.hash()?;
    for other in sets {
        // By what is in it: a copy, or another way to the same file, is the same text.
        if other.hash()? == hash {
            return usage("--calibration is one of the data sets: Wanda would be judged on what it was fitted to");
        }
    }
    let Some(tokenizer) = &model.tokenizer else { return usage("no tokenizer") };
    let windows = Windows::new(&set, tokenizer, Windowing { context, stride: None, bos })?;
    let windows: Vec<Vec<u32>> =
        windows.take(CALIBRATION_WINDOWS).map(|window| Ok(window?.tokens)).collect::<Result<_, EvaluationError>>()?;
    if windows.is_empty() {
        return failed(format!("{} does not fill a window of {context} tokens", set.location));
    }
    let record = CalibrationRecord { location: set.location.clone(), windows: windows.len(), context };
    Ok((windows, Some(record), Some(set)))
}
