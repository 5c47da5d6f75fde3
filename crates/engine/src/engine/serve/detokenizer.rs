//! Tokens as texts, one after the other.

use crate::engine::tokenizing::Texts;

/// The text of tokens as they come: what may still be half a character is held back.
pub(super) struct StreamingDetokenizer {
    texts: Texts,
    tokens: Vec<u32>,
    /// Tokens whose text has been given.
    given: usize,
    /// Where the text that is compared begins: some tokens read differently alone.
    from: usize,
}

impl StreamingDetokenizer {
    pub(super) fn new(texts: Texts) -> Self {
        Self { texts, tokens: Vec::new(), given: 0, from: 0 }
    }

    /// The text that one more token adds; empty where it is half a character.
    pub(super) fn add(&mut self, token: u32) -> String {
        let Texts::Tokenizer { tokenizer, .. } = &self.texts else { return format!(" t{token}") };
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
    fn tokens_of_random_weights_are_words() {
        assert_eq!(StreamingDetokenizer::new(Texts::Words(1000)).add(7), " t7");
    }
}
