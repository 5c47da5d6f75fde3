//! How probable texts are behind others: what multiple choice and classification are decided by.

use super::EvaluationError;
use super::reference::log_sum_exp;
use super::windows::{bos_of, encode};
use crate::engine::language::{LanguageModel, SequencePosition};
use std::collections::HashMap;
use tokenizers::Tokenizer;

/// Tokens that run together, the filling counted.
const TOKENS_AT_ONCE: usize = 4096;

/// A text behind another.
#[derive(Debug, Clone, Copy)]
pub struct Continuation<'a> {
    /// What comes before.
    pub context: &'a str,
    /// What follows.
    pub continuation: &'a str,
}

/// A request in tokens: all but the last as the model gets them, and those whose probability is asked for.
struct Encoded {
    input: Vec<u32>,
    continuation: Vec<u32>,
}

/// Tokens of a context and of what follows. As lm-eval does, both are tokenized together, spaces at the end of the context
/// belong to what follows, and where all is too long for the model, its beginning is left out.
fn encoded(
    request: Continuation<'_>,
    tokenizer: &Tokenizer,
    bos: Option<u32>,
    most: usize,
) -> Result<Encoded, EvaluationError> {
    let fail = EvaluationError::Other;
    let context = request.context.trim_end();
    let whole = format!("{}{}", request.context, request.continuation);
    let mut before: Vec<u32> = bos.into_iter().collect();
    before.extend(encode(tokenizer, context).map_err(fail)?);
    let mut all: Vec<u32> = bos.into_iter().collect();
    all.extend(encode(tokenizer, &whole).map_err(fail)?);
    // Without a beginning there has to be something that comes before the first token.
    if before.is_empty() {
        before.push(0);
        all.insert(0, 0);
    }
    // Where the tokens of the context change with what follows, at least one is left to be asked for.
    let from = before.len().min(all.len().saturating_sub(1));
    let continuation = all[from..].to_vec();
    if continuation.len() >= most {
        return Err(fail(format!("an answer of {} tokens does not fit a context of {most}", continuation.len())));
    }
    all.pop();
    let input = all[all.len().saturating_sub(most)..].to_vec();
    Ok(Encoded { input, continuation })
}

/// The log-likelihood of each continuation, in nats.
pub fn log_likelihoods(
    model: &mut dyn LanguageModel,
    tokenizer: &Tokenizer,
    requests: &[Continuation<'_>],
) -> Result<Vec<f64>, EvaluationError> {
    let (bos, most) = (bos_of(tokenizer), model.max_context());
    // Answers of one token behind the same context need one pass.
    let mut inputs: HashMap<Vec<u32>, Vec<(usize, Vec<u32>)>> = HashMap::new();
    for (index, request) in requests.iter().enumerate() {
        let Encoded { input, continuation } = encoded(*request, tokenizer, bos, most)?;
        inputs.entry(input).or_default().push((index, continuation));
    }
    let mut inputs: Vec<_> = inputs.into_iter().collect();
    // Long ones first, and in an order that does not depend on hashing.
    inputs.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then(a.1[0].0.cmp(&b.1[0].0)));
    let mut sums = vec![0.0; requests.len()];
    while !inputs.is_empty() {
        let count = (TOKENS_AT_ONCE / inputs[0].0.len()).clamp(1, inputs.len());
        let batch: Vec<_> = inputs.drain(..count).collect();
        add(model, batch, &mut sums)?;
    }
    if sums.iter().all(|sum| sum.is_finite()) {
        Ok(sums)
    } else {
        Err(EvaluationError::Other(
            "the model gives probabilities that are no numbers: its weights do not work at this level".to_string(),
        ))
    }
}

type Batch = Vec<(Vec<u32>, Vec<(usize, Vec<u32>)>)>;

fn add(model: &mut dyn LanguageModel, batch: Batch, sums: &mut [f64]) -> Result<(), EvaluationError> {
    let (sequences, asked): (Vec<Vec<u32>>, Vec<_>) = batch.into_iter().unzip();
    // Each place once, with all that is asked about it.
    let mut places = Vec::new();
    let mut wanted: Vec<Vec<(usize, u32)>> = Vec::new();
    for (sequence, asked) in asked.iter().enumerate() {
        let longest = asked.iter().map(|(_, continuation)| continuation.len()).max().unwrap_or(0);
        let end = sequences[sequence].len();
        for back in (0..longest).rev() {
            places.push(SequencePosition { sequence, position: end - 1 - back });
            let at = |(index, continuation): &(usize, Vec<u32>)| {
                let token = continuation.len().checked_sub(back + 1)?;
                Some((*index, continuation[token]))
            };
            wanted.push(asked.iter().filter_map(at).collect());
        }
    }
    let vocab = model.vocab_size();
    model.logits(&sequences, &places, &mut |first, values| {
        for (logits, wanted) in values.chunks_exact(vocab).zip(&wanted[first..]) {
            let log_sum = log_sum_exp(logits);
            wanted.iter().for_each(|(index, token)| sums[*index] += logits[*token as usize] as f64 - log_sum);
        }
    })?;
    Ok(())
}
