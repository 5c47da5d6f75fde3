//! Data sets on the user's disk: plain text, or JSON lines of one of four kinds. They are read a line (or a block of
//! text) at a time, so that their length does not matter; a bad line is named before anything is asked.
//!
//! | kind | keys of a line |
//! |---|---|
//! | choice | `context`, `choices` (two or more), `answer` (index of the right one, from 0) |
//! | generation | `prompt`, `answer`, optionally `stop` (texts that end an answer), `max_tokens` |
//! | pairs | `a`, `b`, `score` (how alike they are, in any unit) |
//! | classification | `text`, `labels` (two or more), `label` (index of the right one, from 0) |
//!
//! Other keys are passed over.

use super::items::{self, DataItem, DataItems};
use super::lines::{Blocks, Lines};
use super::survey::Survey;
use crate::record::evaluation::DataSetKind;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::{Path, PathBuf};
use thiserror::Error;

pub use super::items::{Classification, Generation, MultipleChoice, SentencePair};

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
    pub kind: DataSetKind,
    /// What was found when it was read through; nothing of a text.
    pub survey: Survey,
    source: Source,
}

impl DataSet {
    /// The file at `path`, read through once. JSON lines are told by the ending `.jsonl` (or `.json`), their kind by the
    /// keys of the first.
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
        let mut set =
            Self { name, location: location.to_string(), kind: DataSetKind::Text, survey: Survey::default(), source };
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "json" | "ndjson") => set.kind = set.kind_by_keys()?,
            // What cannot be read is noticed now, and not after hours.
            _ => set.blocks()?.try_for_each(|block| block.map(drop))?,
        }
        set.survey = match set.kind {
            DataSetKind::Text => Survey::default(),
            DataSetKind::Choice => Survey::of::<MultipleChoice>(&set)?,
            DataSetKind::Generation => Survey::of::<Generation>(&set)?,
            DataSetKind::Pairs => Survey::of::<SentencePair>(&set)?,
            DataSetKind::Classification => Survey::of::<Classification>(&set)?,
        };
        Ok(set)
    }

    /// A text that nobody has looked at.
    #[cfg(test)]
    pub(super) fn unread(name: &str, bytes: &'static [u8]) -> Self {
        let (name, location) = (name.to_string(), name.to_string());
        Self { name, location, kind: DataSetKind::Text, survey: Survey::default(), source: Source::Embedded(bytes) }
    }

    pub(super) fn fail(&self, line: usize, message: impl ToString) -> DataError {
        DataError { file: self.location.clone(), line, message: message.to_string() }
    }

    fn reader(&self) -> Result<Box<dyn BufRead + Send>, DataError> {
        match &self.source {
            Source::File(path) if path.is_dir() => Err(self.fail(0, "is a folder; a data set is a file")),
            Source::File(path) => Ok(Box::new(BufReader::new(File::open(path).map_err(|e| self.fail(0, e))?))),
            Source::Embedded(bytes) => Ok(Box::new(Cursor::new(*bytes))),
        }
    }

    pub(super) fn lines(&self) -> Result<Lines<'_>, DataError> {
        Ok(Lines { set: self, reader: self.reader()?, line: 0 })
    }

    /// BLAKE3 of the file.
    pub fn hash(&self) -> Result<String, DataError> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(self.reader()?).map_err(|e| self.fail(0, e))?;
        Ok(hasher.finalize().to_hex().to_string())
    }

    fn kind_by_keys(&self) -> Result<DataSetKind, DataError> {
        let mut lines = self.lines()?;
        let Some(first) = lines.next_line()? else { return Err(self.fail(0, "is empty")) };
        let keys = items::keys(&first).map_err(|why| self.fail(lines.line, why))?;
        items::kind_of(&keys).map_err(|why| self.fail(lines.line, why))
    }

    /// The different items of a set of JSON lines: what asks the same again is passed over.
    pub fn items<T: DataItem>(&self) -> Result<DataItems<'_, T>, DataError> {
        Ok(DataItems { lines: self.lines()?, asked: HashSet::new(), of: std::marker::PhantomData })
    }

    /// The text in blocks of about a mebibyte, each cut behind a line where there is one.
    pub fn blocks(&self) -> Result<Blocks<'_>, DataError> {
        Ok(Blocks::new(self, self.reader()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, text: &'static str) -> Result<DataSet, DataError> {
        DataSet::embedded(name, text.as_bytes())
    }

    fn said(text: &str) -> String {
        set("x.jsonl", text.to_string().leak()).err().map_or(String::new(), |error| error.to_string())
    }

    const GOOD: &str = r#"{"context":"a","choices":["b","c"],"answer":1}"#;

    #[test]
    fn kinds_are_told_by_keys() {
        let kind = |text: &str| set("x.jsonl", text.to_string().leak()).map(|set| set.kind).map_err(|e| e.to_string());
        assert_eq!(set("x.txt", r#"{"a":"x","b":"y","score":1}"#).unwrap().kind, DataSetKind::Text);
        for (text, is) in [
            (r#"{"a":"x","b":"y","score":1}"#, DataSetKind::Pairs),
            (
                r#"{"id":7,"prompt":"x","answer":"y","stop":null,"max_tokens":null,"meta":{"a":[1]}}"#,
                DataSetKind::Generation,
            ),
            // Columns of tables are keys of other kinds now and then: options make a question of choice of it.
            (r#"{"prompt":"x","a":"1","b":"2","context":"c","choices":["1","2"],"answer":0}"#, DataSetKind::Choice),
            (
                r#"{"idx":0,"text":"t","labels":["x","y"],"label":1.0,"split":"test","source":"s"}"#,
                DataSetKind::Classification,
            ),
        ] {
            assert_eq!(kind(text), Ok(is), "{text}");
        }
        assert!(said(r#"{"prompt":"x","answer":"y","a":"1","b":"2","score":1}"#).contains("generation and pairs"));
        assert!(said("{\"question\":1}").contains("x.jsonl:1: a line has the keys"));
        assert!(said("\n\n").contains("is empty"));
        assert!(said(&format!("[{GOOD}]")).contains("x.jsonl:1: begins an array"), "{}", said(&format!("[{GOOD}]")));
        assert!(said("\n{\n\"context\": 1}").contains("x.jsonl:2: is no whole object"));
    }

    #[test]
    fn bad_lines_are_named() {
        for (bad, why) in [
            (r#"{"context":"a","choices":["b"],"answer":0}"#, "at least two"),
            (r#"{"context":"a","choices":["b","c"],"answer":2}"#, "from 0 to 1"),
            (r#"{"context":"a","choices":["b","c"],"answer":-1}"#, "-1 is not the place"),
            (r#"{"context":"a","choices":["b","c"],"answer":"A"}"#, "\"A\" is not the place"),
            (r#"{"context":"a","choices":["b","c"],"answer":"0"}"#, "\"0\" is not the place"),
            (r#"{"context":"a","choices":["b","c"],"answer":true}"#, "true is not the place"),
            (r#"{"context":"a","choices":["b","c"],"answer":null}"#, "null is not the place"),
            (r#"{"context":"a","choices":["b",""],"answer":0}"#, "empty"),
            (
                r#"{"context":"a","choices":["b","c"],"anser":0}"#,
                "missing field `answer`; is it what `anser` is to be?",
            ),
            (
                r#"{"question":"a","choices":["b","c"],"answer":0}"#,
                "missing field `context`; is it what `question` is to be?",
            ),
            (r#"{"context":"a","choices":["b","c"],"answerKey":"B"}"#, "`answer`; is it what `answerKey` is to be?"),
            (r#"{"context":"a","choices":{"text":["b","c"]},"answer":0}"#, "invalid type: map"),
            (r#"{"context":"a","choices":null,"answer":0}"#, "invalid type: null"),
            (r#"{"context":"a","choices":["b","c"],"answer":0,"answer":1}"#, "duplicate field `answer`"),
            (r#"{"context":"a""#, "is no whole object"),
            (r#"{"context":"a \ud83d b","choices":["b","c"],"answer":0}"#, "surrogate"),
            ("7", "is no object"),
            ("\0\0", "NUL byte"),
        ] {
            let error = said(&format!("{GOOD}\n\n{bad}\n"));
            assert!(error.starts_with("x.jsonl:3: ") && error.contains(why), "{error}");
        }
        assert!(DataSet::open(Path::new("/nowhere/x.txt")).is_err());
        let latin = b"{\"a\":\"x\",\"b\":\"y\",\"score\":1}\n\xff\n";
        let error = DataSet::embedded("x.jsonl", latin).err().unwrap().to_string();
        assert!(error.contains("x.jsonl:2: the line is not UTF-8"), "{error}");
    }

    #[test]
    fn a_key_that_is_nearly_one_of_ours_is_an_error_and_others_are_passed_over() {
        let line = |more: &str| format!(r#"{{"prompt":"a","answer":"b",{more}}}"#);
        for (more, why) in [
            (r#""max_token":3"#, "`max_token` is not read; `max_tokens` is"),
            (r#""maxTokens":3"#, "`maxTokens` is not read; `max_tokens` is"),
            (r#""max_new_tokens":3"#, "`max_new_tokens` is not read; `max_tokens` is"),
            (r#""until":["x"]"#, "`until` is not read; `stop` is"),
            (r#""stops":["x"]"#, "`stops` is not read; `stop` is"),
        ] {
            assert!(said(&line(more)).contains(why), "{more}: {}", said(&line(more)));
        }
        for more in [r#""id":1,"split":"x","topic":"y","answers":["b"]"#, r#""stop":["x"],"stops":1,"max_tokens":2"#] {
            assert_eq!(said(&line(more)), "", "{more}");
        }
    }
}
