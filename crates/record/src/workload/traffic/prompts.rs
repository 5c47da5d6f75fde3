//! What requests ask: prompts of a file, or made-up ones of given lengths that share as much of their beginning as is
//! asked for and nothing else, so that a prefix cache helps no more than it would in service.

use super::lengths::LengthDistribution;
use super::prompt_file;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use tokenizers::Tokenizer;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Text.
    Text(String),
    /// Tokens, of a model without a vocabulary.
    Tokens(Vec<u32>),
    /// Messages of a chat, as the API has them.
    Messages(Value),
}

/// How made-up prompts are put into words.
#[derive(Clone)]
pub enum Wording {
    /// Common words, about one token each.
    Words,
    /// Words of a vocabulary that are one token each, counted by its tokenizer.
    Vocabulary(Arc<Vocabulary>),
    /// Tokens below this number.
    Tokens(usize),
}

/// A tokenizer and the words that are one token of it.
pub struct Vocabulary {
    tokenizer: Tokenizer,
    words: Vec<String>,
}

/// Words that nearly every vocabulary of English has as one token with the space before.
const WORDS: [&str; 64] = [
    "the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "with", "was", "on", "be", "by", "are", "this",
    "at", "from", "or", "have", "an", "not", "which", "one", "you", "were", "all", "her", "she", "there", "would",
    "their", "we", "him", "been", "has", "when", "who", "will", "no", "more", "if", "out", "so", "up", "said", "what",
    "its", "about", "than", "into", "them", "can", "only", "other", "time", "new", "some", "could", "these", "two",
    "may", "first",
];

/// Words that a vocabulary needs before prompts are made of them.
const ENOUGH_WORDS: usize = 32;

impl Vocabulary {
    /// The words of `tokenizer`.
    pub fn new(tokenizer: Tokenizer) -> Self {
        let alone = |text: &str| tokenizer.encode(text, false).is_ok_and(|encoded| encoded.len() == 1);
        let mut pieces: Vec<(String, u32)> = tokenizer.get_vocab(false).into_iter().collect();
        pieces.sort_by_key(|(_, id)| *id);
        let mut words = Vec::new();
        for (_, id) in pieces {
            let Ok(text) = tokenizer.decode(&[id], true) else { continue };
            let word = text.trim();
            let plain = word.len() >= 2 && word.len() <= 12 && word.bytes().all(|b| b.is_ascii_lowercase());
            if plain && alone(&format!(" {word}")) {
                words.push(word.to_string());
            }
            if words.len() == 4096 {
                break;
            }
        }
        words.dedup();
        if words.len() < ENOUGH_WORDS {
            words = WORDS.iter().map(|word| word.to_string()).collect();
        }
        Self { tokenizer, words }
    }

    /// Tokens of a text, without those that a model puts around it.
    pub fn count(&self, text: &str) -> Option<usize> {
        self.tokenizer.encode(text, false).ok().map(|encoded| encoded.len())
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// Prompts one after the other.
pub struct PromptSource {
    kind: Kind,
    random: Xoshiro256PlusPlus,
    gen_tokens: LengthDistribution,
    count: usize,
    /// What makes the prompts of one run unlike those of another with the same seed.
    nonce: u64,
}

enum Kind {
    Synthetic { wording: Wording, lengths: LengthDistribution, shared: Beginning },
    File { prompts: Vec<(Prompt, Option<usize>)>, vocabulary: Option<Arc<Vocabulary>> },
}

/// The beginning that all prompts have in common.
struct Beginning {
    share: f64,
    words: Vec<usize>,
}

impl PromptSource {
    /// Made-up prompts; `shared` of each (0 to below 1) is a beginning that all have in common. Lengths follow from the seed;
    /// the words behind the common beginning begin with the nonce, as a server may remember prompts of runs before.
    pub fn synthetic(
        wording: Wording,
        lengths: LengthDistribution,
        gen_tokens: LengthDistribution,
        shared: f64,
        (seed, nonce): (u64, u64),
    ) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0xbe61_1141_1164);
        let words = (0..4096).map(|_| random.random_range(0..usize::MAX)).collect();
        let kind = Kind::Synthetic { wording, lengths, shared: Beginning { share: shared, words } };
        Self { kind, random, gen_tokens, count: 0, nonce }
    }

    /// Prompts of a file, in its order and then from its beginning again (a line, a conversation or a record is one).
    pub fn read(
        path: &Path,
        vocabulary: Option<Arc<Vocabulary>>,
        gen_tokens: LengthDistribution,
        seed: u64,
    ) -> Result<Self, String> {
        let count = |text: &str| vocabulary.as_ref().and_then(|vocabulary| vocabulary.count(text));
        let prompts = prompt_file::read(path, &count)?;
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        Ok(Self { kind: Kind::File { prompts, vocabulary }, random, gen_tokens, count: 0, nonce: 0 })
    }

    /// Prompts after which the first comes again; `None` where none does.
    pub fn repeats_after(&self) -> Option<usize> {
        match &self.kind {
            Kind::File { prompts, .. } => Some(prompts.len()),
            Kind::Synthetic { .. } => None,
        }
    }

    /// The next prompt, its tokens as far as they are known, and the tokens to generate. `lengths`, of a trace, outweigh
    /// the distributions.
    pub fn next(&mut self, lengths: Option<(usize, usize)>) -> (Prompt, Option<usize>, usize) {
        let index = self.count;
        self.count += 1;
        let planned = match lengths {
            Some((_, generated)) => generated,
            None => self.gen_tokens.sample(&mut self.random),
        };
        match &self.kind {
            Kind::File { prompts, vocabulary } => {
                let (prompt, own) = &prompts[index % prompts.len()];
                let tokens = match prompt {
                    Prompt::Text(text) => vocabulary.as_ref().and_then(|vocabulary| vocabulary.count(text)),
                    Prompt::Tokens(tokens) => Some(tokens.len()),
                    Prompt::Messages(_) => None,
                };
                (prompt.clone(), tokens, own.unwrap_or(planned))
            }
            Kind::Synthetic { wording, lengths: distribution, shared } => {
                let length = match lengths {
                    Some((prompt, _)) => prompt,
                    None => distribution.sample(&mut self.random),
                };
                let (prompt, tokens) = synthetic(wording, length, shared, (index, self.nonce), &mut self.random);
                (prompt, tokens, planned)
            }
        }
    }
}

/// The word or token at `place` of prompt `index`: of the shared beginning, of the number that makes it unlike all others,
/// or any.
fn word_number(
    place: usize,
    shared: usize,
    (index, nonce): (usize, u64),
    beginning: &Beginning,
    random: &mut impl Rng,
) -> usize {
    if place < shared {
        // The beginning is the same however long a prompt is.
        return beginning.words[place % beginning.words.len()].wrapping_add(place / beginning.words.len());
    }
    match place - shared {
        // A cache that compares whole blocks finds no two alike behind the shared part.
        0 => index.wrapping_add((nonce & 0xffff_ffff) as usize),
        1 => (index / 31).wrapping_add((nonce >> 32 & 0xffff) as usize),
        2 => (index / 997).wrapping_add((nonce >> 48) as usize),
        _ => random.random_range(0..usize::MAX),
    }
}

fn synthetic(
    wording: &Wording,
    length: usize,
    shared: &Beginning,
    number: (usize, u64),
    random: &mut Xoshiro256PlusPlus,
) -> (Prompt, Option<usize>) {
    let common = ((length as f64 * shared.share) as usize).min(length.saturating_sub(1));
    let mut numbers = (0..length).map(|place| word_number(place, common, number, shared, random));
    match wording {
        Wording::Tokens(vocab) => {
            let tokens: Vec<u32> = numbers.map(|number| (number % vocab) as u32).collect();
            let count = tokens.len();
            (Prompt::Tokens(tokens), Some(count))
        }
        Wording::Words => {
            let words: Vec<&str> = numbers.by_ref().map(|number| WORDS[number % WORDS.len()]).collect();
            (Prompt::Text(words.join(" ")), None)
        }
        Wording::Vocabulary(vocabulary) => {
            let words: Vec<&str> =
                numbers.map(|number| vocabulary.words[number % vocabulary.words.len()].as_str()).collect();
            let (text, count) = fitted(vocabulary, words, length, random);
            (Prompt::Text(text), count)
        }
    }
}

/// The words with some taken off or put to their end until the text has `length` tokens; the nearest of a few attempts.
fn fitted<'a>(
    vocabulary: &'a Vocabulary,
    mut words: Vec<&'a str>,
    length: usize,
    random: &mut Xoshiro256PlusPlus,
) -> (String, Option<usize>) {
    let mut nearest: Option<(usize, String, usize)> = None;
    for _ in 0..6 {
        let text = words.join(" ");
        let Some(count) = vocabulary.count(&text) else { return (text, None) };
        let off = count.abs_diff(length);
        if nearest.as_ref().is_none_or(|(least, ..)| off < *least) {
            nearest = Some((off, text, count));
        }
        match count.cmp(&length) {
            std::cmp::Ordering::Equal => break,
            std::cmp::Ordering::Greater => words.truncate(words.len().saturating_sub(off).max(1)),
            std::cmp::Ordering::Less => {
                let more = (0..off).filter_map(|_| vocabulary.words.choose(random));
                words.extend(more.map(String::as_str));
            }
        }
    }
    nearest.map_or((String::new(), None), |(_, text, count)| (text, Some(count)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(prompt: Prompt) -> Vec<u32> {
        match prompt {
            Prompt::Tokens(tokens) => tokens,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn prompts_share_their_beginning_and_nothing_more() {
        let fixed = LengthDistribution::Fixed;
        let mut source = PromptSource::synthetic(Wording::Tokens(50_000), fixed(100), fixed(7), 0.25, (1, 77));
        let drawn: Vec<Vec<u32>> = (0..200).map(|_| tokens(source.next(None).0)).collect();
        for (index, prompt) in drawn.iter().enumerate() {
            assert_eq!((prompt.len(), &prompt[..25]), (100, &drawn[0][..25]));
            for other in &drawn[..index] {
                assert_ne!(prompt[25], other[25]);
            }
        }
        let mut alone = PromptSource::synthetic(Wording::Tokens(50_000), fixed(4), fixed(7), 0.0, (1, 0));
        assert_ne!(tokens(alone.next(None).0)[0], tokens(alone.next(None).0)[0]);
    }

    #[test]
    fn another_run_of_the_same_seed_asks_something_else() {
        let draw = |nonce| {
            let lengths = LengthDistribution::Uniform(20, 60);
            let mut source = PromptSource::synthetic(Wording::Tokens(50_000), lengths, lengths, 0.2, (1, nonce));
            (0..50).map(|_| tokens(source.next(None).0)).collect::<Vec<_>>()
        };
        for (one, other) in draw(123_456).into_iter().zip(draw(987_654_321)) {
            assert_eq!(one.len(), other.len(), "lengths follow from the seed");
            let shared = one.len() / 5;
            assert!(one[..shared] == other[..shared] && one[shared] != other[shared]);
        }
    }

    #[test]
    fn a_trace_gives_the_lengths_and_the_same_seed_the_same_prompts() {
        let draw = |seed| {
            let lengths = LengthDistribution::Normal { mean: 40.0, deviation: 10.0 };
            let mut source = PromptSource::synthetic(Wording::Words, lengths, lengths, 0.0, (seed, 5));
            (source.next(None), source.next(Some((5, 9))))
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        let (_, (prompt, _, generated)) = draw(3);
        assert!(matches!(prompt, Prompt::Text(text) if text.split(' ').count() == 5));
        assert_eq!(generated, 9);
    }

    #[test]
    fn files_are_read_and_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            PromptSource::read(&path, None, LengthDistribution::Fixed(9), 1)
        };
        let mut source =
            read("{\"prompt\": \"a b\", \"max_tokens\": 3}\nplain text\n\n{\"messages\": [{\"role\": \"user\"}]}\n")
                .unwrap();
        let drawn: Vec<_> = (0..4).map(|_| source.next(None)).collect();
        assert_eq!(drawn[0], (Prompt::Text("a b".into()), None, 3));
        assert_eq!(drawn[1], (Prompt::Text("plain text".into()), None, 9));
        assert!(matches!(drawn[2].0, Prompt::Messages(_)));
        assert_eq!(drawn[3], drawn[0]);
        for (bad, why) in [
            ("", "no prompt in it"),
            ("ok\n{\"prompt\": 3}\n", ":2: neither"),
            ("{\"prompt\": \"a\", \"max_tokens\": -1}\n", ":1: max_tokens is -1"),
            ("{\"prompt\"\n", ":1: "),
        ] {
            let error = read(bad).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
    }
}
