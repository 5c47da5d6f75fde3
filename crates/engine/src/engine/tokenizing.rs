//! Tokens of texts that strangers send. A text costs hundreds of times its size in memory while it is tokenized, and as much
//! time: one that cannot fit the context is known for that by its bytes, or by the tokens of its beginning, and long ones are
//! tokenized apart from the threads that answer others, a few at a time.

use std::sync::Arc;
use thiserror::Error;
use tokenizers::Tokenizer;
use tokio::sync::Semaphore;

/// Texts of up to so many bytes are tokenized where they are: that takes a millisecond.
pub const SHORT: usize = 8 << 10;
/// Long texts that are tokenized at once.
const AT_ONCE: usize = 2;
/// Bytes of a token that hardly any text has more of, in the mean. A longer text is first judged by its beginning.
const MANY_BYTES: usize = 8;
/// The longest word of random weights' texts, where words are tokens.
const WORD_BYTES: usize = 64;

/// Why a text has no tokens.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// It cannot fit the context.
    #[error("{0}")]
    TooLong(String),
    /// The tokenizer cannot read it.
    #[error("the text cannot be tokenized: {0}")]
    Unreadable(String),
    /// There is no tokenizer.
    #[error("the model has no vocabulary: its prompts are tokens")]
    NoVocabulary,
}

/// How texts become tokens, and tokens texts.
#[derive(Clone)]
pub enum Texts {
    /// By the model's tokenizer.
    Tokenizer {
        /// The tokenizer.
        tokenizer: Arc<Tokenizer>,
        /// Tokens of the model.
        vocab: usize,
        /// Bytes of the longest token.
        longest: usize,
    },
    /// Of random weights: each word is a token, and each token a word.
    Words(usize),
}

impl Texts {
    /// By the tokenizer of a model with `vocab` tokens.
    pub fn of(tokenizer: Tokenizer, vocab: usize) -> Self {
        let longest = tokenizer.get_vocab(true).keys().map(String::len).max().unwrap_or(1).max(1);
        Self::Tokenizer { tokenizer: Arc::new(tokenizer), vocab, longest }
    }

    /// Tokens that there are.
    pub fn vocab(&self) -> usize {
        match self {
            Self::Tokenizer { vocab, .. } | Self::Words(vocab) => *vocab,
        }
    }

    /// Bytes of the longest text that can have no more than `most` tokens.
    pub fn most_bytes(&self, most: usize) -> usize {
        let longest = match self {
            Self::Tokenizer { longest, .. } => *longest,
            Self::Words(_) => WORD_BYTES,
        };
        longest.saturating_mul(most)
    }

    /// The tokens of a text, of which there may be up to `most` and hardly more: whether the rest of the request leaves room
    /// for them is for the caller to say.
    pub fn tokens(&self, text: &str, most: usize) -> Result<Vec<u32>, TextError> {
        let most_bytes = self.most_bytes(most);
        if text.len() > most_bytes {
            return Err(TextError::TooLong(format!(
                "a text of {} bytes exceeds the context of {most} tokens, which {most_bytes} bytes may have at most",
                text.len()
            )));
        }
        match self {
            Self::Tokenizer { tokenizer, .. } => bounded(tokenizer, text, most),
            Self::Words(vocab) => Ok(text.split_whitespace().map(|word| number(word, *vocab)).collect()),
        }
    }
}

/// The tokens of a text, judged by beginnings of it first where it is long. The tokens of a beginning are those of the text
/// but for a few at its end, so that one with a quarter more than fit says that all of it has too many.
fn bounded(tokenizer: &Tokenizer, text: &str, most: usize) -> Result<Vec<u32>, TextError> {
    let encode = |text: &str| match tokenizer.encode(text, true) {
        Ok(encoded) => Ok(encoded.get_ids().to_vec()),
        Err(error) => Err(TextError::Unreadable(error.to_string())),
    };
    let enough = most.saturating_add(most / 4 + 64);
    let mut bytes = MANY_BYTES.saturating_mul(enough);
    while bytes < text.len() {
        let end = text.floor_char_boundary(bytes);
        let count = encode(&text[..end])?.len();
        if count > enough {
            return Err(TextError::TooLong(format!(
                "a text of {} bytes, the first {end} of which are {count} tokens, exceeds the context of {most}",
                text.len()
            )));
        }
        bytes = bytes.saturating_mul(2);
    }
    encode(text)
}

/// A number below `vocab` that is the word's own (FNV-1a).
fn number(word: &str, vocab: usize) -> u32 {
    let hash =
        word.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3));
    (hash % vocab.max(1) as u64) as u32
}

/// Limits how many long texts are tokenized at once, each on a thread that nobody else waits for.
#[derive(Clone)]
pub struct LongTextLimiter(Arc<Semaphore>);

impl Default for LongTextLimiter {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl LongTextLimiter {
    /// Does `work` on a text of so many bytes: here where that is short, else on a thread that nobody else waits for, when
    /// it is its turn. The error is what the work panicked with.
    pub async fn of<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        if bytes <= SHORT {
            return super::caught(work);
        }
        // Nobody closes it.
        let turn = self.0.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let done = super::caught(work);
            drop(turn);
            done
        });
        done.await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokenizers::models::wordlevel::WordLevel;
    use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;

    /// Words `0` to `999` are their own numbers; what is none of them is 0.
    fn texts() -> Texts {
        let vocab = (0..1000u32).map(|id| (id.to_string(), id)).collect();
        let model = WordLevel::builder().vocab(vocab).unk_token("0".to_string()).build().unwrap();
        let mut tokenizer = Tokenizer::new(model);
        tokenizer.with_pre_tokenizer(Some(WhitespaceSplit));
        Texts::of(tokenizer, 1000)
    }

    #[test]
    fn words_are_tokens_of_their_own() {
        let texts = Texts::Words(1000);
        let tokens = texts.tokens("one two  one\nthree", 9).unwrap();
        assert_eq!((tokens.len(), tokens[0]), (4, tokens[2]));
        assert!(tokens.iter().all(|token| *token < 1000) && tokens[0] != tokens[1]);
        assert!(matches!(texts.tokens(&"ab".repeat(1 << 20), 9), Err(TextError::TooLong(_))));
    }

    #[test]
    fn a_text_that_cannot_fit_is_refused_by_its_bytes_or_its_beginning() {
        let texts = texts();
        assert_eq!(texts.most_bytes(100), 300);
        assert_eq!(texts.tokens("7 8 9", 100).unwrap(), [7, 8, 9]);
        // The caller counts what is hardly too long.
        assert_eq!(texts.tokens(&"7 ".repeat(120), 100).unwrap().len(), 120);
        let error = texts.tokens(&"7 ".repeat(200), 100).unwrap_err().to_string();
        assert_eq!(error, "a text of 400 bytes exceeds the context of 100 tokens, which 300 bytes may have at most");
        // Of a vocabulary with one very long token, bytes alone say little.
        let Texts::Tokenizer { tokenizer, vocab, .. } = texts else { unreachable!() };
        let texts = Texts::Tokenizer { tokenizer, vocab, longest: 1000 };
        let error = texts.tokens(&"7 ".repeat(20_000), 100).unwrap_err().to_string();
        assert!(error.contains("the first 1512 of which are 756 tokens, exceeds the context of 100"), "{error}");
        // A long text of few tokens is none that is too long.
        let text = format!("5 {} 6", " ".repeat(20_000));
        assert_eq!(texts.tokens(&text, 100).unwrap(), [5, 6]);
        // Nor is it cut within a character.
        assert_eq!(texts.tokens(&"\u{20ac}".repeat(3_000), 100).unwrap(), [0]);
    }

    #[test]
    fn long_texts_are_worked_on_apart_and_a_panic_is_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (limiter, at_once, most) =
                (LongTextLimiter::default(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let one = || {
                let (at_once, most) = (at_once.clone(), most.clone());
                limiter.of(SHORT + 1, move || {
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(5));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                })
            };
            // On one thread, which is free while they run.
            let all = futures_util::future::join_all((0..8).map(|_| one()));
            assert!(all.await.into_iter().all(|done| done == Ok(())));
            assert!((1..=AT_ONCE).contains(&most.load(Ordering::SeqCst)));
            assert_eq!(limiter.of(1, || -> usize { panic!("odd text") }).await, Err("odd text".to_string()));
            assert_eq!(limiter.of(SHORT + 1, || -> usize { panic!("odd text") }).await, Err("odd text".to_string()));
            assert_eq!(limiter.of(SHORT + 1, || 3).await, Ok(3));
        });
    }
}
