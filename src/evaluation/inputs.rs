//! How rare the tokens are that a model is given, which tells inputs of another kind without asking any model. Where
//! frequencies are counted, half of the items (by their hash) are counted and the other half is weighed, so that those
//! and later items of the same kind are alike; items that were counted themselves would seem too common.

use super::EvaluationError;
use super::data::{Classification, DataError, DataSet, Generation, MultipleChoice, SentencePair};
use super::items::{DataItem, hash_of};
use super::windows::{Windowing, Windows, encode};
use crate::record::evaluation::DataSetKind;
use tokenizers::Tokenizer;

/// What stands for a token that was never counted.
const UNSEEN: f64 = 0.5;

/// Of a window of a text.
pub fn hash_of_tokens(tokens: &[u32]) -> u64 {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    hash_of(&[&bytes])
}

/// How often each token was given.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenFrequencies {
    counts: Vec<u64>,
    total: f64,
    /// The counts are of the items at hand, half of which are in them.
    own: bool,
}

impl TokenFrequencies {
    /// Counted on half of the items of `set`.
    pub fn counted(
        set: &DataSet,
        tokenizer: &Tokenizer,
        plan: Windowing,
        vocab: usize,
    ) -> Result<Self, EvaluationError> {
        let mut counts = vec![0; vocab];
        match set.kind {
            DataSetKind::Text => {
                for window in Windows::new(set, tokenizer, plan)? {
                    let tokens = window?.tokens;
                    if is_counted(hash_of_tokens(&tokens)) {
                        count(&mut counts, &tokens);
                    }
                }
            }
            DataSetKind::Choice => count_items::<MultipleChoice>(set, tokenizer, &mut counts)?,
            DataSetKind::Generation => count_items::<Generation>(set, tokenizer, &mut counts)?,
            DataSetKind::Pairs => count_items::<SentencePair>(set, tokenizer, &mut counts)?,
            DataSetKind::Classification => count_items::<Classification>(set, tokenizer, &mut counts)?,
        }
        Ok(Self { own: true, ..Self::of(counts) })
    }

    /// By counts of other items.
    pub fn of(counts: Vec<u64>) -> Self {
        let total = counts.iter().sum::<u64>() as f64;
        Self { counts, total, own: false }
    }

    /// Every token that was counted, with how often.
    pub fn counts(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// The mean of minus the logarithm of the tokens' frequencies, in nats; `None` for an item that was counted, for
    /// none, and where nothing was counted.
    pub fn surprise(&self, hash: u64, tokens: &[u32]) -> Option<f64> {
        if tokens.is_empty() || self.total == 0.0 || (self.own && is_counted(hash)) {
            return None;
        }
        let all = self.total + UNSEEN * self.counts.len() as f64;
        let rarity = |token: &u32| {
            let count = self.counts.get(*token as usize).copied().unwrap_or(0) as f64;
            -((count + UNSEEN) / all).ln()
        };
        Some(tokens.iter().map(rarity).sum::<f64>() / tokens.len() as f64)
    }

    /// How many tokens an item gives, and how rare they are.
    pub fn of_item(&self, tokenizer: &Tokenizer, item: &impl DataItem) -> Result<(f64, Option<f64>), EvaluationError> {
        let tokens = tokens_of(tokenizer, item).map_err(EvaluationError::Other)?;
        Ok((tokens.len() as f64, self.surprise(item.hash(), &tokens)))
    }
}

fn is_counted(hash: u64) -> bool {
    hash.is_multiple_of(2)
}

fn count(counts: &mut [u64], tokens: &[u32]) {
    for token in tokens {
        if let Some(count) = counts.get_mut(*token as usize) {
            *count += 1;
        }
    }
}

fn tokens_of(tokenizer: &Tokenizer, item: &impl DataItem) -> Result<Vec<u32>, String> {
    let mut tokens = Vec::new();
    for text in item.given() {
        tokens.extend(encode(tokenizer, text)?);
    }
    Ok(tokens)
}

fn count_items<T: DataItem>(set: &DataSet, tokenizer: &Tokenizer, counts: &mut [u64]) -> Result<(), EvaluationError> {
    for item in set.items::<T>()? {
        let item = item?;
        if is_counted(item.hash()) {
            let fail = |message| DataError { file: set.location.clone(), line: 0, message };
            count(counts, &tokens_of(tokenizer, &item).map_err(fail)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_tokens_surprise_more_and_counted_items_are_not_weighed() {
        let inputs = TokenFrequencies::of(vec![90, 9, 1, 0]);
        let [common, rare, unseen] = [[0, 0], [2, 2], [3, 3]].map(|tokens| inputs.surprise(2, &tokens).unwrap());
        assert!(common < rare && rare < unseen, "{common} {rare} {unseen}");
        assert!((common + (90.5f64 / 102.0).ln()).abs() < 1e-12);
        let own = TokenFrequencies { own: true, ..inputs.clone() };
        assert_eq!((own.surprise(2, &[0]), own.surprise(3, &[0])), (None, inputs.surprise(3, &[0])));
        assert_eq!(inputs.surprise(1, &[]), None);
        assert_eq!(TokenFrequencies::of(vec![0; 4]).surprise(1, &[0]), None);
    }
}
