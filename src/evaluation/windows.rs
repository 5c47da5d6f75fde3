//! A text as windows of tokens, a few at a time.

use super::data::{DataError, DataSet};
use super::lines::Blocks;
use std::collections::VecDeque;
use tokenizers::Tokenizer;

/// How a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windowing {
    /// Tokens of a window.
    pub context: usize,
    /// How far windows are apart. `None`: as far as they are long, and only the second half of each counts (as
    /// llama.cpp's perplexity does). Else every token counts once, with at least `context - stride` tokens before it
    /// (as Hugging Face's guide does).
    pub stride: Option<usize>,
    /// What every window (without a stride) or the text (with one) begins with, where the tokenizer asks for it.
    pub bos: Option<u32>,
}

/// A window and which part of it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// The first token that counts; never 0, as nothing says how probable that is.
    pub first: usize,
    /// The token of the text that what the window begins with stands in place of.
    pub replaced: Option<u32>,
}

impl Window {
    /// The positions whose logits say how probable the tokens that count are.
    pub fn positions(&self) -> std::ops::Range<usize> {
        self.first - 1..self.tokens.len() - 1
    }

    /// The tokens of the text that no window before had.
    pub fn new_tokens(&self, plan: Windowing) -> Vec<u32> {
        match (plan.stride, self.replaced) {
            (Some(_), _) => self.tokens[self.first..].to_vec(),
            (None, Some(replaced)) => std::iter::once(replaced).chain(self.tokens[1..].iter().copied()).collect(),
            (None, None) => self.tokens.clone(),
        }
    }

    /// Tokens that count.
    pub fn counted(&self) -> usize {
        self.tokens.len() - self.first
    }
}

/// What the tokenizer puts before a text, if anything.
pub fn bos_of(tokenizer: &Tokenizer) -> Option<u32> {
    let with = tokenizer.encode("a", true).ok()?;
    let without = tokenizer.encode("a", false).ok()?;
    let first = *with.get_ids().first()?;
    (with.len() > without.len() && without.get_ids().first() != Some(&first)).then_some(first)
}

/// Tokens of `text` and nothing else.
pub fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, String> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|e| format!("cannot be tokenized: {e}"))?;
    Ok(encoding.get_ids().to_vec())
}

/// The windows of a text, one after the other.
pub struct Windows<'a> {
    set: &'a DataSet,
    blocks: Blocks<'a>,
    tokenizer: &'a Tokenizer,
    plan: Windowing,
    /// Tokens that no window begins behind.
    waiting: VecDeque<u32>,
    /// How many of them were in a window before.
    seen: usize,
    ended: bool,
    /// BLAKE3 of all tokens so far, as little-endian 32-bit numbers.
    hasher: blake3::Hasher,
    /// Tokens so far.
    pub tokens: usize,
}

impl<'a> Windows<'a> {
    /// Of `set`, by `plan`.
    pub fn new(set: &'a DataSet, tokenizer: &'a Tokenizer, plan: Windowing) -> Result<Self, DataError> {
        Ok(Self {
            set,
            blocks: set.blocks()?,
            tokenizer,
            plan,
            waiting: plan.bos.into_iter().collect(),
            seen: 0,
            ended: false,
            hasher: blake3::Hasher::new(),
            tokens: 0,
        })
    }

    /// The hash of all tokens that were read.
    pub fn token_hash(&self) -> String {
        self.hasher.finalize().to_hex()[..16].to_string()
    }

    fn fill(&mut self) -> Result<(), DataError> {
        while !self.ended && self.waiting.len() < self.plan.context {
            match self.blocks.next() {
                None => self.ended = true,
                Some(block) => {
                    let fail = |message| DataError { file: self.set.location.clone(), line: 0, message };
                    let ids = encode(self.tokenizer, &block?).map_err(fail)?;
                    for id in &ids {
                        self.hasher.update(&id.to_le_bytes());
                    }
                    self.tokens += ids.len();
                    self.waiting.extend(ids);
                }
            }
        }
        Ok(())
    }

    fn next_window(&mut self) -> Option<Window> {
        let Windowing { context, stride, bos } = self.plan;
        match stride {
            None => {
                if self.waiting.len() < context {
                    return None;
                }
                let mut tokens: Vec<u32> = self.waiting.drain(..context).collect();
                let replaced = bos.map(|bos| std::mem::replace(&mut tokens[0], bos));
                Some(Window { tokens, first: context / 2 + 1, replaced })
            }
            Some(stride) => {
                let len = self.waiting.len().min(context);
                // The very first token is not counted, and none twice.
                let first = self.seen.max(1);
                if len <= first {
                    return None;
                }
                let tokens: Vec<u32> = self.waiting.iter().take(len).copied().collect();
                self.waiting.drain(..stride.min(len));
                self.seen = len - stride.min(len);
                Some(Window { tokens, first, replaced: None })
            }
        }
    }
}

impl Iterator for Windows<'_> {
    type Item = Result<Window, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.fill() {
            Ok(()) => self.next_window().map(Ok),
            Err(error) => {
                self.ended = true;
                self.waiting.clear();
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokenizers::models::wordlevel::WordLevel;
    use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

    /// Words `0`, `1`, ... are their own numbers.
    fn tokenizer() -> Tokenizer {
        let vocab = (0..1000u32).map(|id| (id.to_string(), id)).collect();
        let model = WordLevel::builder().vocab(vocab).unk_token("0".to_string()).build().unwrap();
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
        tokenizer
    }

    fn cut(count: usize, plan: Windowing) -> Vec<Window> {
        let text: String = (1..=count).map(|id| format!("{id} ")).collect();
        let set = DataSet::embedded("x.txt", text.leak().as_bytes()).unwrap();
        let tokenizer = tokenizer();
        Windows::new(&set, &tokenizer, plan).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn half_of_each_window_counts_without_a_stride() {
        let windows = cut(11, Windowing { context: 4, stride: None, bos: Some(900) });
        let tokens: Vec<_> = windows.iter().map(|window| window.tokens.clone()).collect();
        assert_eq!(tokens, [vec![900, 1, 2, 3], vec![900, 5, 6, 7], vec![900, 9, 10, 11]]);
        assert!(windows.iter().all(|window| window.positions() == (2..3)));
    }

    #[test]
    fn a_text_that_is_too_short_has_no_window() {
        assert!(cut(3, Windowing { context: 8, stride: None, bos: None }).is_empty());
        assert!(cut(0, Windowing { context: 8, stride: Some(4), bos: Some(1) }).is_empty());
        assert_eq!(cut(1, Windowing { context: 8, stride: Some(4), bos: Some(900) })[0].counted(), 1);
    }

    proptest! {
        #[test]
        fn with_a_stride_every_token_counts_once(count in 0usize..200, context in 2usize..40, share in 0.05f64..1.0) {
            let stride = ((context as f64 * share) as usize).clamp(1, context - 1);
            let windows = cut(count, Windowing { context, stride: Some(stride), bos: Some(900) });
            let counted: Vec<u32> = windows.iter().flat_map(|w| w.tokens[w.first..].to_vec()).collect();
            prop_assert_eq!(counted, (1..=count as u32).collect::<Vec<_>>());
            prop_assert!(windows.iter().skip(1).all(|w| w.first >= context - stride));
        }
    }
}
