//! A text: perplexity, and how far a variant's probabilities are from the reference's.

use super::EvaluationError;
use super::data::DataSet;
use super::inputs::{TokenFrequencies, hash_of_tokens};
use super::reference::{DistributionReader, DistributionWriter, TokenDistribution, log_sum_exp};
use super::repeats::RepeatDetector;
use super::windows::{Window, Windowing, Windows};
use crate::engine::language::{LanguageModel, SequencePosition};
use crate::record::evaluation::{Aggregation, DataSetKind, Evaluation, ItemResult, ItemizedFigure, ScalarFigure};
use hdrhistogram::Histogram;
use rayon::prelude::*;
use std::path::Path;
use tokenizers::Tokenizer;

/// Tokens that run together.
const TOKENS_AT_ONCE: usize = 4096;
/// The most entries that windows are summed up in, so that memory is bounded.
pub const MOST_ITEMS: usize = 4096;
/// Nats are counted in billionths.
const NANO: f64 = 1e9;

/// Whether the reference's distributions are being written or read.
pub enum ReferenceLogits<'a> {
    /// This is the reference.
    Write(&'a Path),
    /// This is held against it.
    Read(&'a Path),
    /// Nothing will be held against this.
    Unused,
}

/// Called now and then with how many tokens (or items) have counted; `false` stops.
pub type Progress<'a> = &'a mut dyn FnMut(usize) -> bool;

/// Sums over windows that follow each other; twice as many to an entry each time that there would be too many entries.
/// A window that repeats an earlier one is added to that one's entry, as it is nothing that could have come out otherwise.
pub struct WindowSums {
    per_item: usize,
    open: usize,
    rows: Vec<EntrySums>,
    repeats: RepeatDetector,
    /// Windows that repeat an earlier one.
    repeated: usize,
}

/// Sums of one entry.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EntrySums {
    hash: u64,
    length: f64,
    counted: f64,
    nats: f64,
    divergence: f64,
    agreed: f64,
    surprise: f64,
    /// Tokens that `surprise` is over.
    weighed: f64,
}

impl WindowSums {
    /// Of windows that each bring so many tokens.
    fn new(tokens: usize) -> Self {
        Self { per_item: 1, open: 0, rows: Vec::new(), repeats: RepeatDetector::new(tokens), repeated: 0 }
    }

    /// Adds a window whose new tokens are `tokens`.
    fn push(&mut self, row: EntrySums, tokens: &[u32]) {
        let next = if self.open == 0 { self.rows.len() } else { self.rows.len() - 1 };
        let known = self.repeats.read(tokens, next);
        if let Some(known) = known.and_then(|known| self.rows.get_mut(known)) {
            *known = EntrySums { hash: known.hash, ..known.with(&row) };
            self.repeated += 1;
            return;
        }
        if self.open == 0 {
            if self.rows.len() == MOST_ITEMS {
                self.rows =
                    self.rows.chunks(2).map(|pair| pair.iter().fold(EntrySums::default(), EntrySums::with)).collect();
                self.per_item *= 2;
                self.repeats.halve();
            }
            self.rows.push(EntrySums::default());
        }
        if let Some(last) = self.rows.last_mut() {
            *last = last.with(&row);
        }
        self.open = (self.open + 1) % self.per_item;
    }
}

impl EntrySums {
    fn with(self, other: &EntrySums) -> EntrySums {
        EntrySums {
            hash: self.hash.rotate_left(1) ^ other.hash,
            length: self.length + other.length,
            counted: self.counted + other.counted,
            nats: self.nats + other.nats,
            divergence: self.divergence + other.divergence,
            agreed: self.agreed + other.agreed,
            surprise: self.surprise + other.surprise,
            weighed: self.weighed + other.weighed,
        }
    }
}

/// What was found at one place.
enum TokenResult {
    Reference(TokenDistribution),
    Variant { target: f64, divergence: f64, agreed: bool },
}

/// Runs the text through `model`, writing the reference's distributions or reading them.
pub fn evaluate(
    model: &mut dyn LanguageModel,
    tokenizer: &Tokenizer,
    set: &DataSet,
    plan: Windowing,
    inputs: &TokenFrequencies,
    against: ReferenceLogits<'_>,
    progress: Progress<'_>,
) -> Result<Evaluation, EvaluationError> {
    let mut pass = Pass::new(model.vocab_size(), plan, against)?;
    let mut windows = Windows::new(set, tokenizer, plan)?;
    let at_once = (TOKENS_AT_ONCE / plan.context).max(1);
    loop {
        let batch: Vec<Window> = windows.by_ref().take(at_once).collect::<Result<_, _>>()?;
        if batch.is_empty() {
            break;
        }
        pass.batch(model, &batch, inputs)?;
        if !progress(pass.counted) {
            return Err(EvaluationError::Stopped);
        }
    }
    if pass.counted == 0 {
        return Err(EvaluationError::Other(format!(
            "{}: {} tokens do not fill a window of {}; give more text or a smaller --context",
            set.location, windows.tokens, plan.context
        )));
    }
    let (tokens, token_hash) = (windows.tokens, windows.token_hash());
    Ok(Evaluation { tokens: Some(tokens), token_hash: Some(token_hash), ..pass.finish()? })
}

/// One pass over a text.
struct Pass {
    vocab: usize,
    writer: Option<DistributionWriter>,
    reader: Option<DistributionReader>,
    file: String,
    folded: WindowSums,
    plan: Windowing,
    /// Divergences, in billionths of a nat.
    divergences: Histogram<u64>,
    tail: f64,
    counted: usize,
}

impl Pass {
    fn new(vocab: usize, plan: Windowing, against: ReferenceLogits<'_>) -> Result<Self, EvaluationError> {
        let file = match &against {
            ReferenceLogits::Write(path) | ReferenceLogits::Read(path) => path.display().to_string(),
            ReferenceLogits::Unused => String::new(),
        };
        let io = |error| EvaluationError::Io(file.clone(), error);
        let (writer, reader) = match against {
            ReferenceLogits::Write(path) => (Some(DistributionWriter::create(path, vocab).map_err(io)?), None),
            ReferenceLogits::Unused => (None, None),
            ReferenceLogits::Read(path) => (None, Some(DistributionReader::open(path, vocab).map_err(io)?)),
        };
        let divergences = Histogram::new_with_bounds(1, (1000.0 * NANO) as u64, 3)
            .map_err(|error| EvaluationError::Other(error.to_string()))?;
        let folded = WindowSums::new(plan.stride.unwrap_or(plan.context));
        Ok(Self { vocab, writer, reader, file, folded, plan, divergences, tail: 0.0, counted: 0 })
    }

    fn batch(
        &mut self,
        model: &mut dyn LanguageModel,
        batch: &[Window],
        inputs: &TokenFrequencies,
    ) -> Result<(), EvaluationError> {
        let places: Vec<SequencePosition> = batch
            .iter()
            .enumerate()
            .flat_map(|(sequence, window)| {
                window.positions().map(move |position| SequencePosition { sequence, position })
            })
            .collect();
        let targets: Vec<u32> = places.iter().map(|at| batch[at.sequence].tokens[at.position + 1]).collect();
        let kept: Option<Vec<TokenDistribution>> = match &mut self.reader {
            None => None,
            Some(reader) => Some(
                places
                    .iter()
                    .map(|_| reader.read())
                    .collect::<std::io::Result<_>>()
                    .map_err(|e| EvaluationError::Io(self.file.clone(), e))?,
            ),
        };
        let sequences: Vec<Vec<u32>> = batch.iter().map(|window| window.tokens.clone()).collect();
        let (vocab, mut found) = (self.vocab, Vec::with_capacity(places.len()));
        model.logits(&sequences, &places, &mut |first, values| {
            let rows = values.par_chunks_exact(vocab).enumerate();
            found.par_extend(rows.map(|(row, logits)| {
                let at = first + row;
                match &kept {
                    None => TokenResult::Reference(TokenDistribution::of(logits, targets[at])),
                    Some(kept) => against_reference(&kept[at], logits, targets[at]),
                }
            }));
        })?;
        let mut found = found.into_iter();
        for window in batch {
            let (hash, length) = (hash_of_tokens(&window.tokens), window.tokens.len() as f64);
            let mut row = EntrySums { hash, length, ..EntrySums::default() };
            if let Some(surprise) = inputs.surprise(hash, &window.tokens) {
                (row.surprise, row.weighed) = (surprise * length, length);
            }
            for found in found.by_ref().take(window.counted()) {
                self.count(found, &mut row)?;
            }
            self.folded.push(row, &window.new_tokens(self.plan));
        }
        Ok(())
    }

    fn count(&mut self, found: TokenResult, row: &mut EntrySums) -> Result<(), EvaluationError> {
        row.counted += 1.0;
        self.counted += 1;
        let target = match found {
            TokenResult::Reference(distribution) => {
                self.tail += distribution.tail();
                row.agreed += 1.0;
                if let Some(writer) = &mut self.writer {
                    writer.push(&distribution).map_err(|e| EvaluationError::Io(self.file.clone(), e))?;
                }
                distribution.target as f64
            }
            TokenResult::Variant { target, divergence, agreed } => {
                row.divergence += divergence;
                row.agreed += f64::from(u8::from(agreed));
                // Smaller than a billionth is a billionth.
                self.divergences.saturating_record((divergence * NANO) as u64);
                target
            }
        };
        if !target.is_finite() {
            return Err(EvaluationError::Other(
                "the model gives probabilities that are no numbers: its weights do not work at this level".to_string(),
            ));
        }
        row.nats -= target;
        Ok(())
    }

    fn finish(self) -> Result<Evaluation, EvaluationError> {
        let rows = &self.folded.rows;
        let parts = |of: fn(&EntrySums) -> f64| rows.iter().map(|row| (of(row), row.counted)).collect();
        let series = |metric: &'static str, higher_is_better, summary, from_reference, of| ItemizedFigure {
            metric: metric.into(),
            higher_is_better,
            summary,
            from_reference,
            parts: parts(of),
        };
        let item = |row: &EntrySums| ItemResult {
            hash: row.hash,
            length: row.length,
            outcome: row.nats,
            weight: row.counted,
            score: -row.nats / row.counted,
            answer: 0,
            target: None,
            surprise: (row.weighed > 0.0).then(|| row.surprise / row.weighed),
        };
        let mut evaluation = Evaluation {
            items: rows.iter().map(item).collect(),
            series: vec![
                series("perplexity", false, Aggregation::Exponential, false, |row| row.nats),
                series("kl_divergence_mean", false, Aggregation::Mean, true, |row| row.divergence),
                series("top1_agreement", true, Aggregation::Mean, true, |row| row.agreed),
            ],
            samples: self.counted,
            repeats: self.folded.repeated,
            sketch: self.folded.repeats.sketch(),
            ..Evaluation::new(DataSetKind::Text)
        };
        let alone = self.reader.is_none();
        match self.writer {
            None if alone => {}
            Some(writer) => {
                evaluation.tail = Some(self.tail / self.counted as f64);
                writer.finish().map_err(|e| EvaluationError::Io(self.file, e))?;
            }
            None => evaluation.singles.push(ScalarFigure {
                metric: "kl_divergence_p999".into(),
                higher_is_better: false,
                value: self.divergences.value_at_quantile(0.999) as f64 / NANO,
            }),
        }
        Ok(evaluation)
    }
}

fn against_reference(kept: &TokenDistribution, logits: &[f32], target: u32) -> TokenResult {
    let log_sum = log_sum_exp(logits);
    let divergence = kept.divergence(logits, log_sum);
    // The first of several equal ones, as the reference has it.
    let first = logits
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |most, (index, logit)| if *logit > most.1 { (index, *logit) } else { most });
    let agreed = kept.top.first().is_some_and(|(index, _)| *index as usize == first.0);
    TokenResult::Variant { target: logits[target as usize] as f64 - log_sum, divergence, agreed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_folded_so_that_memory_is_bounded() {
        let mut folded = WindowSums::new(1);
        for index in 0..20_000 {
            folded.push(EntrySums { counted: 1.0, nats: f64::from(index), ..EntrySums::default() }, &[index]);
        }
        assert!(folded.rows.len() <= MOST_ITEMS && folded.rows.len() > MOST_ITEMS / 4, "{}", folded.rows.len());
        assert_eq!(folded.rows.iter().map(|row| row.counted).sum::<f64>(), 20_000.0);
        let (first, rest) = folded.rows.split_first().unwrap();
        assert!(rest[..rest.len() - 1].iter().all(|row| row.counted == first.counted));
    }
}
