//! What JSON lines ask: four kinds of items, which of them ask the same, and what a whole set of them is like.

use super::data::DataError;
use super::lines::{Lines, plain};
use crate::record::evaluation::DataSetKind;
use serde::de::{DeserializeOwned, Error, IgnoredAny};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, HashSet};

/// A question with its possible continuations.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MultipleChoice {
    /// What comes before.
    pub context: String,
    /// What may follow.
    pub choices: Vec<String>,
    /// Which does.
    #[serde(deserialize_with = "place")]
    pub answer: usize,
}

/// A prompt with the one right continuation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Generation {
    /// What comes before.
    pub prompt: String,
    /// What has to follow, apart from spaces around it.
    pub answer: String,
    /// Texts that end an answer.
    #[serde(default, deserialize_with = "or_default")]
    pub stop: Vec<String>,
    /// Most tokens of an answer.
    #[serde(default = "default_max_tokens", deserialize_with = "max_tokens")]
    pub max_tokens: usize,
}

fn default_max_tokens() -> usize {
    16
}

/// Tables write `null` where a row has no value.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn max_tokens<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    Ok(Option::<usize>::deserialize(from)?.unwrap_or_else(default_max_tokens))
}

/// Two sentences.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SentencePair {
    /// One.
    pub a: String,
    /// The other.
    pub b: String,
    /// How alike people find them.
    pub score: f64,
}

/// A text with its label.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Classification {
    /// What comes before the label.
    pub text: String,
    /// All labels, as they would follow the text.
    pub labels: Vec<String>,
    /// The right one.
    #[serde(deserialize_with = "place")]
    pub label: usize,
}

/// The place of an option. Letters, texts and counts from 1 cannot be told from each other, and are none.
fn place<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    let value = serde_json::Value::deserialize(from)?;
    let whole = value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0 && *number < 1e9);
    match whole {
        Some(number) => Ok(number as usize),
        None => Err(D::Error::custom(format!("{value} is not the place of the right option, a number from 0"))),
    }
}

/// An item of a data set.
pub trait DataItem: DeserializeOwned {
    /// Keys that a line must have.
    const NEEDED: &'static [&'static str];
    /// Keys that it may have.
    const OPTIONAL: &'static [&'static str] = &[];

    /// Texts are read as [`plain`] ones.
    fn tidy(&mut self);
    /// What is wrong with the item.
    fn check(&self) -> Result<(), String>;
    /// Of all that makes it what it is, in records.
    fn hash(&self) -> u64;
    /// Of what a model is asked: a second item of the same says nothing more about any model.
    fn question(&self) -> u64;
    /// Of what is right.
    fn right(&self) -> u64;
    /// The texts that a model is given.
    fn given(&self) -> Vec<&str>;
    /// The options and the place of the right one, where there are some.
    fn options(&self) -> Option<(&[String], usize)> {
        None
    }
}

fn tidy_all<'a>(texts: impl IntoIterator<Item = &'a mut String>) {
    for text in texts {
        if let std::borrow::Cow::Owned(tidied) = plain(text) {
            *text = tidied;
        }
    }
}

fn check_index(what: &str, index: usize, options: &[String]) -> Result<(), String> {
    match options.len() {
        0 | 1 => Err(format!("there are {} options; at least two are needed", options.len())),
        count if index >= count => Err(format!("`{what}` is {index}, but options are counted from 0 to {}", count - 1)),
        _ if options.iter().any(String::is_empty) => Err("an option is empty".to_string()),
        _ => Ok(()),
    }
}

/// The order of options changes nothing: each is asked for alone.
fn question_of(context: &str, options: &[String]) -> u64 {
    let mut sorted: Vec<&str> = options.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let parts: Vec<&[u8]> = std::iter::once(context).chain(sorted).map(str::as_bytes).collect();
    hash_of(&parts)
}

fn right_of(options: &[String], index: usize) -> u64 {
    hash_of(&[options.get(index).map_or(&[][..], |option| option.as_bytes())])
}

impl DataItem for MultipleChoice {
    const NEEDED: &'static [&'static str] = &["context", "choices", "answer"];

    fn tidy(&mut self) {
        tidy_all(std::iter::once(&mut self.context).chain(&mut self.choices));
    }

    fn check(&self) -> Result<(), String> {
        check_index("answer", self.answer, &self.choices)
    }

    fn hash(&self) -> u64 {
        hash_of(&[self.context.as_bytes(), self.choices.join("\0").as_bytes()])
    }

    fn question(&self) -> u64 {
        question_of(&self.context, &self.choices)
    }

    fn right(&self) -> u64 {
        right_of(&self.choices, self.answer)
    }

    fn given(&self) -> Vec<&str> {
        vec![&self.context]
    }

    fn options(&self) -> Option<(&[String], usize)> {
        Some((&self.choices, self.answer))
    }
}

impl DataItem for Classification {
    const NEEDED: &'static [&'static str] = &["text", "labels", "label"];

    fn tidy(&mut self) {
        tidy_all(std::iter::once(&mut self.text).chain(&mut self.labels));
    }

    fn check(&self) -> Result<(), String> {
        check_index("label", self.label, &self.labels)
    }

    fn hash(&self) -> u64 {
        hash_of(&[self.text.as_bytes(), self.labels.join("\0").as_bytes()])
    }

    fn question(&self) -> u64 {
        question_of(&self.text, &self.labels)
    }

    fn right(&self) -> u64 {
        right_of(&self.labels, self.label)
    }

    fn given(&self) -> Vec<&str> {
        vec![&self.text]
    }

    fn options(&self) -> Option<(&[String], usize)> {
        Some((&self.labels, self.label))
    }
}

impl DataItem for Generation {
    const NEEDED: &'static [&'static str] = &["prompt", "answer"];
    const OPTIONAL: &'static [&'static str] = &["stop", "max_tokens"];

    fn tidy(&mut self) {
        tidy_all([&mut self.prompt, &mut self.answer].into_iter().chain(&mut self.stop));
    }

    fn check(&self) -> Result<(), String> {
        match (self.prompt.is_empty(), self.answer.trim().is_empty(), self.max_tokens) {
            (true, ..) => Err("`prompt` is empty".to_string()),
            (_, true, _) => Err("`answer` is empty".to_string()),
            (.., 1..=4096) => Ok(()),
            (.., other) => Err(format!("`max_tokens` is {other}; it must be between 1 and 4096")),
        }
    }

    fn hash(&self) -> u64 {
        hash_of(&[self.prompt.as_bytes(), self.answer.as_bytes()])
    }

    fn question(&self) -> u64 {
        hash_of(&[self.prompt.as_bytes()])
    }

    fn right(&self) -> u64 {
        hash_of(&[self.answer.trim().as_bytes()])
    }

    fn given(&self) -> Vec<&str> {
        vec![&self.prompt]
    }
}

impl DataItem for SentencePair {
    const NEEDED: &'static [&'static str] = &["a", "b", "score"];

    fn tidy(&mut self) {
        tidy_all([&mut self.a, &mut self.b]);
    }

    fn check(&self) -> Result<(), String> {
        match (self.a.is_empty() || self.b.is_empty(), self.score.is_finite()) {
            (true, _) => Err("a sentence is empty".to_string()),
            (_, false) => Err("`score` is not a number".to_string()),
            _ => Ok(()),
        }
    }

    fn hash(&self) -> u64 {
        hash_of(&[self.a.as_bytes(), self.b.as_bytes()])
    }

    /// Likeness does not know which is which.
    fn question(&self) -> u64 {
        let (first, second) = if self.a <= self.b { (&self.a, &self.b) } else { (&self.b, &self.a) };
        hash_of(&[first.as_bytes(), second.as_bytes()])
    }

    fn right(&self) -> u64 {
        hash_of(&[&self.score.to_le_bytes()])
    }

    fn given(&self) -> Vec<&str> {
        vec![&self.a, &self.b]
    }
}

/// The keys of a line.
pub(super) fn keys(line: &str) -> Result<Vec<String>, String> {
    if line.starts_with('[') {
        return Err("begins an array; a data set has one object a line: jq -c '.[]' makes lines of it".to_string());
    }
    if !line.starts_with('{') {
        return Err("is no object; a data set has one JSON object a line".to_string());
    }
    let object: BTreeMap<String, IgnoredAny> = serde_json::from_str(line).map_err(|error| {
        if error.is_eof() {
            "is no whole object; a data set has one a line: jq -c . puts each on one".to_string()
        } else {
            in_line(&error)
        }
    })?;
    Ok(object.into_keys().collect())
}

/// An error of a text that is one line: serde_json would call it line 1.
fn in_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let said = match text.split(" at line ").next().unwrap_or(&text) {
        escape if escape.contains("hex escape") => {
            "half of a character: a surrogate such as \\ud83d without its other half"
        }
        said => said,
    };
    format!("{said} (column {})", error.column())
}

/// Which kind these keys are of.
pub(super) fn kind_of(keys: &[String]) -> Result<DataSetKind, String> {
    let has = |needed: &[&str]| needed.iter().all(|need| keys.iter().any(|key| key == need));
    // Options make a question of it, whatever other columns a table has.
    let ranks = [
        [(DataSetKind::Choice, MultipleChoice::NEEDED), (DataSetKind::Classification, Classification::NEEDED)],
        [(DataSetKind::Generation, Generation::NEEDED), (DataSetKind::Pairs, SentencePair::NEEDED)],
    ];
    for rank in ranks {
        match rank.map(|(kind, needed)| (kind, has(needed))) {
            [(first, true), (second, true)] => {
                return Err(format!("has the keys of {} and {}: leave those of one out", first.name(), second.name()));
            }
            [(kind, true), _] | [_, (kind, true)] => return Ok(kind),
            _ => {}
        }
    }
    // What is nearly of a kind is told which key it lacks.
    let nearly = [
        ("choices", DataSetKind::Choice),
        ("labels", DataSetKind::Classification),
        ("prompt", DataSetKind::Generation),
        ("a", DataSetKind::Pairs),
    ];
    match nearly.into_iter().find(|(key, _)| has(&[key])) {
        Some((_, kind)) => Ok(kind),
        None => {
            Err("a line has the keys context, choices, answer; or prompt, answer; or a, b, score; or text, labels, \
                     label (docs/method/quality.md#data-sets)"
                .to_string())
        }
    }
}

/// What other programs call keys that are optional here: passed over, they would change what is asked.
const ALSO_CALLED: [(&str, &str); 6] = [
    ("max_new_tokens", "max_tokens"),
    ("max_gen_toks", "max_tokens"),
    ("max_length", "max_tokens"),
    ("until", "stop"),
    ("stop_sequences", "stop"),
    ("stop_words", "stop"),
];

/// What well-known sets and their exports call the keys that a line must have: named where one is missing, and not taken for
/// it, as their values are letters, texts or numbers from 1 as often as places.
const CALLED_ELSEWHERE: [(&str, &str); 14] = [
    ("question", "context"),
    ("query", "context"),
    ("ctx", "context"),
    ("options", "choices"),
    ("endings", "choices"),
    ("answerKey", "answer"),
    ("answer_index", "answer"),
    ("gold", "answer"),
    ("target", "answer"),
    ("label", "answer"),
    ("sentence1", "a"),
    ("sentence2", "b"),
    ("similarity_score", "score"),
    ("sentence", "text"),
];

/// The key of `absent` that `key` is nearly.
fn nearly<'a>(key: &str, absent: &[&'a str]) -> Option<&'a str> {
    let bare = |text: &str| text.to_lowercase().replace(['_', '-', ' '], "");
    let near = |known: &&&str| {
        let most = if known.len() < 8 { 1 } else { 2 };
        bare(key) == bare(known)
            || (known.len() > 3 && strsim::damerau_levenshtein(&key.to_lowercase(), known) <= most)
            || ALSO_CALLED.contains(&(key, **known))
    };
    absent.iter().find(near).copied()
}

fn parsed<T: DataItem>(line: &str) -> Result<T, String> {
    let keys = keys(line)?;
    let absent = |known: &'static [&'static str]| -> Vec<&'static str> {
        known.iter().copied().filter(|known| !keys.iter().any(|key| key == known)).collect()
    };
    let (missing, unused) = (absent(T::NEEDED), absent(T::OPTIONAL));
    let others =
        || keys.iter().filter(|key| !T::NEEDED.contains(&key.as_str()) && !T::OPTIONAL.contains(&key.as_str()));
    if let Some(missing) = missing.first() {
        let is_meant = |key: &&String| {
            CALLED_ELSEWHERE.contains(&(key.as_str(), missing))
                || nearly(key, &[missing]).is_some()
                || strsim::jaro_winkler(key, missing) > 0.8
        };
        let meant = others().find(is_meant);
        let meant = meant.map_or(String::new(), |key| format!("; is it what `{key}` is to be?"));
        return Err(format!("missing field `{missing}`{meant}"));
    }
    if let Some((key, near)) = others().find_map(|key| Some((key, nearly(key, &unused)?))) {
        return Err(format!("`{key}` is not read; `{near}` is: rename it, or leave it out"));
    }
    let mut item: T = serde_json::from_str(line).map_err(|error| in_line(&error))?;
    item.tidy();
    item.check().map(|()| item)
}

/// Different items, one after the other.
pub struct DataItems<'a, T> {
    pub(super) lines: Lines<'a>,
    pub(super) asked: HashSet<u64>,
    pub(super) of: std::marker::PhantomData<T>,
}

impl<T: DataItem> DataItems<'_, T> {
    /// The next item, whether or not it asks what another did.
    pub(super) fn any(&mut self) -> Option<Result<T, DataError>> {
        match self.lines.next_line() {
            Ok(text) => Some(parsed(&text?).map_err(|why| self.lines.set.fail(self.lines.line, why))),
            Err(error) => Some(Err(error)),
        }
    }
}

impl<T: DataItem> Iterator for DataItems<'_, T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.any()? {
                Ok(item) if !self.asked.insert(item.question()) => {}
                found => return Some(found),
            }
        }
    }
}

/// A 64-bit hash of what a model was given.
pub fn hash_of(parts: &[&[u8]]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let bytes = hasher.finalize();
    u64::from_le_bytes(bytes.as_bytes()[..8].try_into().unwrap_or_default())
}
