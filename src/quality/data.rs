//! Data sets on the user's disk: plain text, or JSON lines of one of four kinds. They are read a line (or a block of
//! text) at a time, so that their length does not matter; a bad line is named.
//!
//! | kind | keys of a line |
//! |---|---|
//! | choice | `context`, `choices` (two or more), `answer` (index of the right one, from 0) |
//! | generation | `prompt`, `answer`, optionally `stop` (texts that end an answer), `max_tokens` |
//! | pairs | `a`, `b`, `score` (how alike they are, in any unit) |
//! | classification | `text`, `labels` (two or more), `label` (index of the right one, from 0) |

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Bytes of a line; a file that is not of lines is noticed by this.
const MOST_LINE: u64 = 16 << 20;
/// Bytes of text that are tokenized at once.
const BLOCK: usize = 1 << 20;

/// A data set that cannot be read.
#[derive(Debug, Error)]
#[error("{file}{}: {message}", match .line { 0 => String::new(), line => format!(":{line}") })]
pub struct DataError {
    /// Which file.
    pub file: String,
    /// Which line, from 1; 0 where there is none.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// What a data set asks of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// How probable is this text?
    Text,
    /// Which of these goes on?
    Choice,
    /// What comes next, word for word?
    Generation,
    /// How alike are these two?
    Pairs,
    /// Which label belongs to this?
    Classification,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 5] = [Self::Text, Self::Choice, Self::Generation, Self::Pairs, Self::Classification];

    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Choice => "choice",
            Self::Generation => "generation",
            Self::Pairs => "pairs",
            Self::Classification => "classification",
        }
    }
}

/// A question with its possible continuations.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// What comes before.
    pub context: String,
    /// What may follow.
    pub choices: Vec<String>,
    /// Which does.
    pub answer: usize,
}

/// A prompt with the one right continuation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// What comes before.
    pub prompt: String,
    /// What has to follow, apart from spaces around it.
    pub answer: String,
    /// Texts that end an answer.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Most tokens of an answer.
    #[serde(default = "default_max_tokens")]
    pub max_tokens: usize,
}

fn default_max_tokens() -> usize {
    16
}

/// Two sentences.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// One.
    pub a: String,
    /// The other.
    pub b: String,
    /// How alike people find them.
    pub score: f64,
}

/// A text with its label.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    /// What comes before the label.
    pub text: String,
    /// All labels, as they would follow the text.
    pub labels: Vec<String>,
    /// The right one.
    pub label: usize,
}

enum Source {
    File(PathBuf),
    Embedded(&'static [u8]),
}

/// A data set.
pub struct DataSet {
    /// Its name in records: that of the file without its ending.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// What it asks.
    pub kind: Kind,
    source: Source,
}

impl DataSet {
    /// The file at `path`. JSON lines are told by the ending `.jsonl` (or `.json`), their kind by the keys of the first.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        Self::new(&path.display().to_string(), Source::File(path.to_path_buf()))
    }

    /// A file that the program carries.
    pub fn embedded(name: &str, bytes: &'static [u8]) -> Result<Self, DataError> {
        Self::new(name, Source::Embedded(bytes))
    }

    fn new(location: &str, source: Source) -> Result<Self, DataError> {
        let path = Path::new(location);
        let name = path.file_stem().map_or("data".to_string(), |stem| stem.to_string_lossy().into_owned());
        let mut set = Self { name, location: location.to_string(), kind: Kind::Text, source };
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "json" | "ndjson") => set.kind = set.kind_by_keys()?,
            // A file that cannot be opened is noticed now.
            _ => drop(set.reader()?),
        }
        Ok(set)
    }

    fn fail(&self, line: usize, message: impl ToString) -> DataError {
        DataError { file: self.location.clone(), line, message: message.to_string() }
    }

    fn reader(&self) -> Result<Box<dyn BufRead + Send>, DataError> {
        match &self.source {
            Source::File(path) if path.is_dir() => Err(self.fail(0, "is a folder; a data set is a file")),
            Source::File(path) => Ok(Box::new(BufReader::new(File::open(path).map_err(|e| self.fail(0, e))?))),
            Source::Embedded(bytes) => Ok(Box::new(Cursor::new(*bytes))),
        }
    }

    /// BLAKE3 of the file.
    pub fn hash(&self) -> Result<String, DataError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(self.reader()?).map_err(|e| self.fail(0, e))?;
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn kind_by_keys(&self) -> Result<Kind, DataError> {
        let mut lines = Lines { set: self, reader: self.reader()?, line: 0 };
        let Some(first) = lines.next_line()? else { return Err(self.fail(0, "is empty")) };
        let value: serde_json::Value = serde_json::from_str(&first).map_err(|e| self.fail(lines.line, e))?;
        let has = |key: &str| value.get(key).is_some();
        match () {
            () if has("choices") => Ok(Kind::Choice),
            () if has("labels") => Ok(Kind::Classification),
            () if has("prompt") => Ok(Kind::Generation),
            () if has("a") && has("b") => Ok(Kind::Pairs),
            () => {
                let message = "a line has the keys context, choices, answer; or prompt, answer; or a, b, score; or text, \
                               labels, label (METHODOLOGY.md)";
                Err(self.fail(lines.line, message))
            }
        }
    }

    /// The items of a set of JSON lines.
    pub fn items<T: DeserializeOwned + Check>(&self) -> Result<Items<'_, T>, DataError> {
        Ok(Items { lines: Lines { set: self, reader: self.reader()?, line: 0 }, of: std::marker::PhantomData })
    }

    /// The text in blocks of about a mebibyte, each cut behind a line where there is one.
    pub fn blocks(&self) -> Result<Blocks<'_>, DataError> {
        Ok(Blocks { set: self, reader: self.reader()?, rest: Vec::new(), ended: false })
    }
}

/// Checks what a type alone does not.
pub trait Check {
    /// What is wrong with the item.
    fn check(&self) -> Result<(), String>;
}

fn check_index(what: &str, index: usize, options: &[String]) -> Result<(), String> {
    match options.len() {
        0 | 1 => Err(format!("there are {} options; at least two are needed", options.len())),
        count if index >= count => Err(format!("`{what}` is {index}, but options are counted from 0 to {}", count - 1)),
        _ if options.iter().any(String::is_empty) => Err("an option is empty".to_string()),
        _ => Ok(()),
    }
}

impl Check for Choice {
    fn check(&self) -> Result<(), String> {
        check_index("answer", self.answer, &self.choices)
    }
}

impl Check for Labelled {
    fn check(&self) -> Result<(), String> {
        check_index("label", self.label, &self.labels)
    }
}

impl Check for Generation {
    fn check(&self) -> Result<(), String> {
        match (self.prompt.is_empty(), self.answer.trim().is_empty(), self.max_tokens) {
            (true, ..) => Err("`prompt` is empty".to_string()),
            (_, true, _) => Err("`answer` is empty".to_string()),
            (.., 1..=4096) => Ok(()),
            (.., other) => Err(format!("`max_tokens` is {other}; it must be between 1 and 4096")),
        }
    }
}

impl Check for Pair {
    fn check(&self) -> Result<(), String> {
        match (self.a.is_empty() || self.b.is_empty(), self.score.is_finite()) {
            (true, _) => Err("a sentence is empty".to_string()),
            (_, false) => Err("`score` is not a number".to_string()),
            _ => Ok(()),
        }
    }
}

struct Lines<'a> {
    set: &'a DataSet,
    reader: Box<dyn BufRead + Send>,
    line: usize,
}

impl Lines<'_> {
    /// The next line that is not blank; `None` at the end.
    fn next_line(&mut self) -> Result<Option<String>, DataError> {
        loop {
            let mut bytes = Vec::new();
            self.line += 1;
            let mut limited = self.reader.by_ref().take(MOST_LINE);
            let read = limited.read_until(b'\n', &mut bytes).map_err(|e| self.set.fail(self.line, e))?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 == MOST_LINE && bytes.last() != Some(&b'\n') {
                return Err(self.set.fail(self.line, "the line is longer than 16 MiB"));
            }
            let text = String::from_utf8(bytes).map_err(|_| self.set.fail(self.line, "the line is not UTF-8"))?;
            let text = text.trim_start_matches('\u{feff}').trim();
            if !text.is_empty() {
                return Ok(Some(text.to_string()));
            }
        }
    }
}

/// Items, one after the other.
pub struct Items<'a, T> {
    lines: Lines<'a>,
    of: std::marker::PhantomData<T>,
}

impl<T: DeserializeOwned + Check> Iterator for Items<'_, T> {
    type Item = Result<T, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = match self.lines.next_line() {
            Ok(text) => text?,
            Err(error) => return Some(Err(error)),
        };
        let fail = |message: String| self.lines.set.fail(self.lines.line, message);
        let item: Result<T, DataError> = serde_json::from_str(&text).map_err(|e| fail(e.to_string()));
        Some(item.and_then(|item| item.check().map_err(fail).map(|()| item)))
    }
}

/// Blocks of text, one after the other.
pub struct Blocks<'a> {
    set: &'a DataSet,
    reader: Box<dyn BufRead + Send>,
    /// What was read behind the last cut.
    rest: Vec<u8>,
    ended: bool,
}

impl Iterator for Blocks<'_> {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let mut bytes = std::mem::take(&mut self.rest);
        let more = (BLOCK - bytes.len().min(BLOCK)) as u64;
        match self.reader.by_ref().take(more).read_to_end(&mut bytes) {
            Err(error) => {
                self.ended = true;
                return Some(Err(self.set.fail(0, error)));
            }
            Ok(read) if (read as u64) < more => self.ended = true,
            Ok(_) => self.rest = bytes.split_off(cut(&bytes)),
        }
        if bytes.is_empty() {
            return None;
        }
        Some(String::from_utf8(bytes).map_err(|error| {
            self.ended = true;
            self.set.fail(0, format!("is not UTF-8 text ({error})"))
        }))
    }
}

/// Where a full block is cut: behind its last line, or before its last space, or before a character that is not whole.
fn cut(bytes: &[u8]) -> usize {
    let behind_line = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
    let before_space = || bytes.iter().rposition(|byte| *byte == b' ').filter(|at| *at > 0);
    let before_character = || bytes.iter().rposition(|byte| *byte & 0xC0 != 0x80).filter(|at| *at > 0);
    behind_line.or_else(before_space).or_else(before_character).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, text: &'static str) -> Result<DataSet, DataError> {
        DataSet::embedded(name, text.as_bytes())
    }

    #[test]
    fn kinds_are_told_by_keys_and_bad_lines_are_named() {
        let good = r#"{"context":"a","choices":["b","c"],"answer":1}"#;
        assert_eq!(set("x.jsonl", r#"{"a":"x","b":"y","score":1}"#).unwrap().kind, Kind::Pairs);
        assert_eq!(set("x.txt", r#"{"a":"x","b":"y","score":1}"#).unwrap().kind, Kind::Text);
        assert!(
            set("x.jsonl", "{\"question\":1}").err().unwrap().to_string().contains("x.jsonl:1: a line has the keys")
        );
        assert!(set("x.jsonl", "\n\n").err().unwrap().to_string().contains("is empty"));
        for (bad, said) in [
            (r#"{"context":"a","choices":["b"],"answer":0}"#, "at least two"),
            (r#"{"context":"a","choices":["b","c"],"answer":2}"#, "from 0 to 1"),
            (r#"{"context":"a","choices":["b","c"],"answer":-1}"#, "invalid value"),
            (r#"{"context":"a","choices":["b",""],"answer":0}"#, "empty"),
            (r#"{"context":"a","choices":["b","c"],"anser":0}"#, "anser"),
            (r#"{"context":"a""#, "EOF"),
        ] {
            let text: &'static str = format!("{good}\n\n{bad}\n").leak();
            let set = set("x.jsonl", text).unwrap();
            let mut items = set.items::<Choice>().unwrap();
            assert!(items.next().unwrap().is_ok());
            let error = items.next().unwrap().unwrap_err().to_string();
            assert!(error.starts_with("x.jsonl:3: ") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn blocks_are_the_whole_text() {
        for text in ["", "short", &"a line of it\n".repeat(200_000), &"word ".repeat(400_000), &"é".repeat(1_100_000)]
        {
            let set = set("x.txt", text.to_string().leak()).unwrap();
            let blocks: Vec<String> = set.blocks().unwrap().map(Result::unwrap).collect();
            assert_eq!(blocks.concat(), text);
            assert!(blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK));
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error() {
        let set = DataSet::embedded("x.txt", b"abc\xff\xfe").unwrap();
        let blocks: Vec<_> = set.blocks().unwrap().collect();
        assert!(blocks[0].as_ref().unwrap_err().to_string().contains("not UTF-8") && blocks.len() == 1);
        let set = DataSet::embedded("x.jsonl", b"{\"a\":\"x\",\"b\":\"y\",\"score\":1}\n\xff\n").unwrap();
        assert!(
            set.items::<Pair>()
                .unwrap()
                .nth(1)
                .unwrap()
                .unwrap_err()
                .to_string()
                .contains("x.jsonl:2: the line is not UTF-8")
        );
        assert!(DataSet::open(Path::new("/nowhere/x.txt")).is_err());
    }
}
