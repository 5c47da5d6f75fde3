//! Between texts and tokens.

use std::sync::Arc;
use tokenizers::Tokenizer;

/// How texts become tokens and tokens texts.
#[derive(Clone)]
pub enum Texts {
    /// By the model's tokenizer.
    Tokenizer(Arc<Tokenizer>, usize),
    /// Of random weights: each word is a token, and each token a word.
    Words(usize),
}

impl Texts {
    /// Tokens that there are.
    pub fn vocab(&self) -> usize {
        match self {
            Self::Tokenizer(_, vocab) | Self::Words(vocab) => *vocab,
        }
    }

    /// The tokens of a text.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, String> {
        match self {
            Self::Tokenizer(tokenizer, _) => {
                tokenizer.encode(text, true).map(|encoded| encoded.get_ids().to_vec()).map_err(|e| e.to_string())
            }
            Self::Words(vocab) => Ok(text.split_whitespace().map(|word| number(word, *vocab)).collect()),
        }
    }
}

/// A number below `vocab` that is the word's own (FNV-1a).
fn number(word: &str, vocab: usize) -> u32 {
    let hash =
        word.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3));
    (hash % vocab.max(1) as u64) as u32
}

/// The text of tokens as they come: what may still be half a character is held back.
pub(super) struct Unfolding {
    texts: Texts,
    tokens: Vec<u32>,
    /// Tokens whose text has been given.
    given: usize,
    /// Where the text that is compared begins: some tokens read differently alone.
    from: usize,
}

impl Unfolding {
    pub(super) fn new(texts: Texts) -> Self {
        Self { texts, tokens: Vec::new(), given: 0, from: 0 }
    }

    /// The text that one more token adds; empty where it is half a character.
    pub(super) fn add(&mut self, token: u32) -> String {
        let Texts::Tokenizer(tokenizer, _) = &self.texts else { return format!(" t{token}") };
        self.tokens.push(token);
        let text = |range: &[u32]| tokenizer.decode(range, false).unwrap_or_default();
        let before = text(&self.tokens[self.from..self.given]);
        let now = text(&self.tokens[self.from..]);
        if now.ends_with('\u{fffd}') || now.len() <= before.len() {
            return String::new();
        }
        self.from = self.given;
        self.given = self.tokens.len();
        now.get(before.len()..).unwrap_or_default().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_tokens_of_their_own() {
        let texts = Texts::Words(1000);
        let tokens = texts.tokens("one two  one\nthree").unwrap();
        assert_eq!((tokens.len(), tokens[0]), (4, tokens[2]));
        assert!(tokens.iter().all(|token| *token < 1000) && tokens[0] != tokens[1]);
        assert_eq!(Unfolding::new(texts).add(7), " t7");
    }
}
