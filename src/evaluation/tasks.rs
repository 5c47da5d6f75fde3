//! Questions with right answers: multiple choice, short generations, pairs of sentences, labels.

use super::EvaluationError;
use super::continuation::{Continuation, log_likelihoods};
use super::data::{Classification, DataError, DataSet, Generation, MultipleChoice, SentencePair};
use super::inputs::TokenFrequencies;
use super::items::{DataItem, DataItems, hash_of};
use super::text::Progress;
use super::windows::{bos_of, encode};
use crate::engine::language::LanguageModel;
use crate::record::evaluation::{Aggregation, DataSetKind, Evaluation, ItemResult, ItemizedFigure};
use std::collections::{BTreeMap, HashSet};
use tokenizers::Tokenizer;

/// Items that are read and run together.
const AT_ONCE: usize = 64;
/// Sentences among which nearest neighbours are looked for.
const MOST_SENTENCES: usize = 2_000;

/// Runs a set of questions through `model`.
pub fn evaluate(
    model: &mut dyn LanguageModel,
    tokenizer: &Tokenizer,
    set: &DataSet,
    inputs: &TokenFrequencies,
    progress: Progress<'_>,
) -> Result<Evaluation, EvaluationError> {
    let mut evaluation = Evaluation::new(set.kind);
    let asking = TaskContext { model, tokenizer, inputs };
    match set.kind {
        DataSetKind::Choice => choices(asking, set.items()?, &mut evaluation, progress)?,
        DataSetKind::Generation => generations(asking, set.items()?, &mut evaluation, progress)?,
        DataSetKind::Pairs => pairs(asking, set.items()?, &mut evaluation, progress)?,
        DataSetKind::Classification => labels(asking, set.items()?, &mut evaluation, progress)?,
        DataSetKind::Text => return Err(EvaluationError::Other("a text has no questions".to_string())),
    }
    evaluation.samples = evaluation.items.len();
    evaluation.repeats = set.survey.repeats;
    evaluation.sketch = set.survey.sketch.clone();
    Ok(evaluation)
}

/// Who is asked, and how texts become tokens.
struct TaskContext<'a> {
    model: &'a mut dyn LanguageModel,
    tokenizer: &'a Tokenizer,
    inputs: &'a TokenFrequencies,
}

/// The next few items.
fn some<T: DataItem>(items: &mut DataItems<'_, T>) -> Result<Vec<T>, DataError> {
    items.by_ref().take(AT_ONCE).collect()
}

fn go_on(progress: Progress<'_>, done: usize) -> Result<(), EvaluationError> {
    if progress(done) { Ok(()) } else { Err(EvaluationError::Stopped) }
}

fn binary(metric: &'static str, right: Vec<bool>) -> ItemizedFigure {
    let parts = right.into_iter().map(|right| (f64::from(u8::from(right)), 1.0)).collect();
    ItemizedFigure {
        metric: metric.into(),
        higher_is_better: true,
        summary: Aggregation::Binary,
        from_reference: false,
        parts,
    }
}

/// Index of the largest, the first where several are equal, and how far the next is below.
fn best(values: &[f64]) -> (usize, f64) {
    let (mut best, mut most, mut second) = (0, f64::NEG_INFINITY, f64::NEG_INFINITY);
    for (index, value) in values.iter().enumerate() {
        if *value > most {
            (second, most, best) = (most, *value, index);
        } else if *value > second {
            second = *value;
        }
    }
    (best, most - second)
}

/// A text with what may follow it, one of which is right.
trait Options: DataItem {
    /// The text, what may follow, and which of it does.
    fn parts(&self) -> (&str, &[String], usize);
}

impl Options for MultipleChoice {
    fn parts(&self) -> (&str, &[String], usize) {
        (&self.context, &self.choices, self.answer)
    }
}

impl Options for Classification {
    fn parts(&self) -> (&str, &[String], usize) {
        (&self.text, &self.labels, self.label)
    }
}

/// Asks for the log-likelihood of every option, shows `each` those of an item, and takes the most probable for the answer.
fn most_probable<T: Options>(
    asking: TaskContext<'_>,
    mut items: DataItems<'_, T>,
    evaluation: &mut Evaluation,
    progress: Progress<'_>,
    mut each: impl FnMut(&T, &[f64]),
) -> Result<(), EvaluationError> {
    loop {
        let batch = some(&mut items)?;
        if batch.is_empty() {
            return Ok(());
        }
        let requests: Vec<Continuation> = batch
            .iter()
            .flat_map(|item| {
                let (context, options, _) = item.parts();
                options.iter().map(move |continuation| Continuation { context, continuation })
            })
            .collect();
        let mut sums = log_likelihoods(asking.model, asking.tokenizer, &requests)?.into_iter();
        for item in &batch {
            let (_, options, right) = item.parts();
            let (length, surprise) = asking.inputs.of_item(asking.tokenizer, item)?;
            let sums: Vec<f64> = sums.by_ref().take(options.len()).collect();
            let (chosen, margin) = best(&sums);
            each(item, &sums);
            evaluation.items.push(ItemResult {
                hash: item.hash(),
                length,
                outcome: f64::from(u8::from(chosen == right)),
                weight: 1.0,
                score: margin,
                answer: chosen as u64,
                target: None,
                surprise,
            });
        }
        go_on(progress, evaluation.items.len())?;
    }
}

/// lm-eval's `acc` (the most probable choice) and `acc_norm` (the most probable one a character).
fn choices(
    asking: TaskContext<'_>,
    items: DataItems<'_, MultipleChoice>,
    evaluation: &mut Evaluation,
    progress: Progress<'_>,
) -> Result<(), EvaluationError> {
    let (mut right, mut right_by_length) = (Vec::new(), Vec::new());
    most_probable(asking, items, evaluation, progress, |item, sums| {
        let a_character = sums.iter().zip(&item.choices).map(|(sum, choice)| sum / choice.chars().count() as f64);
        right.push(best(sums).0 == item.answer);
        right_by_length.push(best(&a_character.collect::<Vec<_>>()).0 == item.answer);
    })?;
    evaluation.series = vec![binary("choice_accuracy", right), binary("choice_accuracy_norm", right_by_length)];
    Ok(())
}

fn labels(
    asking: TaskContext<'_>,
    items: DataItems<'_, Classification>,
    evaluation: &mut Evaluation,
    progress: Progress<'_>,
) -> Result<(), EvaluationError> {
    let (mut first, mut among_five) = (Vec::new(), Vec::new());
    most_probable(asking, items, evaluation, progress, |item, sums| {
        first.push(best(sums).0 == item.label);
        among_five.push(sums.iter().filter(|sum| **sum > sums[item.label]).count() < 5);
    })?;
    evaluation.series = vec![binary("top1_accuracy", first), binary("top5_accuracy", among_five)];
    Ok(())
}

/// Which item, and its tokens.
type Prompt = (usize, Vec<u32>);

fn generations(
    asking: TaskContext<'_>,
    mut items: DataItems<'_, Generation>,
    evaluation: &mut Evaluation,
    progress: Progress<'_>,
) -> Result<(), EvaluationError> {
    let TaskContext { model, tokenizer, inputs } = asking;
    let bos = bos_of(tokenizer);
    let mut right = Vec::new();
    loop {
        let batch = some(&mut items)?;
        if batch.is_empty() {
            break;
        }
        // Prompts of one length run together.
        let mut by_length: BTreeMap<(usize, usize), Vec<Prompt>> = BTreeMap::new();
        for (index, item) in batch.iter().enumerate() {
            let mut ids: Vec<u32> = bos.into_iter().collect();
            ids.extend(encode(tokenizer, &item.prompt).map_err(EvaluationError::Other)?);
            let room = model.max_context().saturating_sub(item.max_tokens);
            if ids.is_empty() || room == 0 {
                let what = format!("a prompt without tokens, or no room for {} tokens", item.max_tokens);
                return Err(EvaluationError::Other(what));
            }
            let ids = ids[ids.len().saturating_sub(room)..].to_vec();
            by_length.entry((ids.len(), item.max_tokens)).or_default().push((index, ids));
        }
        let mut answers = vec![String::new(); batch.len()];
        for ((_, most), group) in by_length {
            let (indices, prompts): (Vec<usize>, Vec<Vec<u32>>) = group.into_iter().unzip();
            for (index, tokens) in indices.into_iter().zip(model.generate(&prompts, most)?) {
                let text = tokenizer.decode(&tokens, true).map_err(|e| EvaluationError::Other(e.to_string()))?;
                answers[index] = until_stop(&text, &batch[index].stop);
            }
        }
        for (item, answer) in batch.iter().zip(answers) {
            let exact = answer == item.answer.trim();
            right.push(exact);
            let (length, surprise) = inputs.of_item(tokenizer, item)?;
            evaluation.items.push(ItemResult {
                hash: item.hash(),
                length,
                outcome: f64::from(u8::from(exact)),
                weight: 1.0,
                score: answer.chars().count() as f64,
                answer: hash_of(&[answer.as_bytes()]),
                target: None,
                surprise,
            });
        }
        go_on(progress, evaluation.items.len())?;
    }
    evaluation.series = vec![binary("exact_match", right)];
    Ok(())
}

/// A text up to the first of `stops`, without the spaces around it.
fn until_stop(text: &str, stops: &[String]) -> String {
    let end = stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    text[..end.unwrap_or(text.len())].trim().to_string()
}

/// Sentences as the mean of the last block's output over their tokens, likeness as the cosine.
fn pairs(
    asking: TaskContext<'_>,
    mut items: DataItems<'_, SentencePair>,
    evaluation: &mut Evaluation,
    progress: Progress<'_>,
) -> Result<(), EvaluationError> {
    let TaskContext { model, tokenizer, inputs } = asking;
    let bos = bos_of(tokenizer);
    // A sentence that comes in several pairs is its own nearest neighbour, whatever the model: it counts once.
    let (mut sentences, mut known): (Vec<Vec<f32>>, HashSet<u64>) = (Vec::new(), HashSet::new());
    loop {
        let batch = some(&mut items)?;
        if batch.is_empty() {
            break;
        }
        let most = model.max_context();
        let tokens = batch
            .iter()
            .flat_map(|item| [&item.a, &item.b])
            .map(|text| {
                let mut ids: Vec<u32> = bos.into_iter().collect();
                ids.extend(encode(tokenizer, text).map_err(EvaluationError::Other)?);
                ids.truncate(most);
                if ids.is_empty() { Err(EvaluationError::Other(format!("`{text}` has no tokens"))) } else { Ok(ids) }
            })
            .collect::<Result<Vec<_>, EvaluationError>>()?;
        let mut vectors = Vec::with_capacity(tokens.len());
        for some in tokens.chunks(16) {
            vectors.extend(model.embed(some)?);
        }
        for ((item, both), ids) in batch.iter().zip(vectors.chunks(2)).zip(tokens.chunks(2)) {
            let alike = cosine(&both[0], &both[1]);
            let (_, surprise) = inputs.of_item(tokenizer, item)?;
            evaluation.pairs.push((alike, item.score));
            evaluation.items.push(ItemResult {
                hash: item.hash(),
                length: (ids[0].len() + ids[1].len()) as f64,
                outcome: alike,
                weight: 1.0,
                score: alike,
                answer: 0,
                target: Some(item.score),
                surprise,
            });
        }
        let texts = batch.iter().flat_map(|item| [&item.a, &item.b]);
        for (vector, text) in vectors.into_iter().zip(texts) {
            if sentences.len() < MOST_SENTENCES && known.insert(hash_of(&[text.as_bytes()])) {
                sentences.push(vector);
            }
        }
        go_on(progress, evaluation.items.len())?;
    }
    evaluation.neighbours = neighbours(&sentences);
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| *a as f64 * *b as f64).sum() };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { dot(a, b) / lengths } else { 0.0 }
}

/// The nearest other sentence of each.
fn neighbours(sentences: &[Vec<f32>]) -> Vec<u64> {
    use rayon::prelude::*;
    let nearest = |(index, sentence): (usize, &Vec<f32>)| {
        let others = sentences.iter().enumerate().filter(|(other, _)| *other != index);
        let alike = others.map(|(other, vector)| (other, cosine(sentence, vector)));
        alike.fold((0, f64::NEG_INFINITY), |most, next| if next.1 > most.1 { next } else { most }).0 as u64
    };
    sentences.par_iter().enumerate().map(nearest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_at_the_first_stop() {
        let stops = [".".to_string(), " under".to_string(), String::new()];
        assert_eq!(until_stop(" 24 coins. The road", &stops), "24 coins");
        assert_eq!(until_stop(" sea under a.", &stops), "sea");
        assert_eq!(until_stop("none", &stops), "none");
    }

    #[test]
    fn the_best_is_the_first_of_equals() {
        assert_eq!(best(&[-3.0, -1.0, -2.0]), (1, 1.0));
        assert_eq!(best(&[-1.0, -1.0]), (0, 0.0));
    }

    #[test]
    fn the_nearest_is_another() {
        let sentences = [vec![1.0, 0.0], vec![0.9, 0.1], vec![0.0, 1.0], vec![0.1, 0.8]];
        assert_eq!(neighbours(&sentences), [1, 0, 3, 2]);
    }
}
