//! requests.csv: one row a request of a load test.

use super::atomic_file;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What became of one request, as it is kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestRow {
    /// The step, from 0.
    pub step: usize,
    /// Its number within the step.
    pub index: usize,
    /// `warm_up` or `measured`.
    pub phase: &'static str,
    /// Seconds from the start of the step at which it was due.
    pub intended_s: f64,
    /// When it was sent, likewise.
    pub sent_s: f64,
    /// When the first token came.
    pub first_s: Option<f64>,
    /// When the last token came.
    pub last_s: Option<f64>,
    /// Tokens of the prompt.
    pub prompt_tokens: Option<usize>,
    /// Tokens that were asked for.
    pub asked_tokens: usize,
    /// Tokens that came.
    pub output_tokens: Option<usize>,
    /// Events with text.
    pub events: usize,
    /// `ok` or what went wrong.
    pub outcome: &'static str,
    /// What went wrong in words.
    pub message: String,
}

impl RequestRow {
    /// The columns.
    pub const HEADER: [&'static str; 13] = [
        "step",
        "index",
        "phase",
        "intended_s",
        "sent_s",
        "first_token_s",
        "last_token_s",
        "prompt_tokens",
        "asked_tokens",
        "output_tokens",
        "events",
        "outcome",
        "message",
    ];

    /// The fields under them; what is absent is empty.
    pub fn fields(&self) -> [String; 13] {
        let time = |time: Option<f64>| time.map_or(String::new(), |t| format!("{t:.6}"));
        let count = |count: Option<usize>| count.map_or(String::new(), |n| n.to_string());
        [
            self.step.to_string(),
            self.index.to_string(),
            self.phase.to_string(),
            time(Some(self.intended_s)),
            time(Some(self.sent_s)),
            time(self.first_s),
            time(self.last_s),
            count(self.prompt_tokens),
            self.asked_tokens.to_string(),
            count(self.output_tokens),
            self.events.to_string(),
            self.outcome.to_string(),
            self.message.replace(['\n', '\r'], " "),
        ]
    }
}

/// requests.csv while a load test runs: it only grows, and what is in it is on disk at most a second later.
pub struct RequestLog {
    path: PathBuf,
    writer: csv::Writer<BufWriter<File>>,
    flushed: Instant,
}

impl RequestLog {
    /// The file's name within a run folder.
    pub const FILE: &'static str = "requests.csv";

    /// Starts the file in `folder`.
    pub fn create(folder: &Path) -> io::Result<Self> {
        let path = folder.join(Self::FILE);
        let mut writer = csv::Writer::from_writer(BufWriter::with_capacity(256 << 10, atomic_file::create(&path)?));
        writer.write_record(RequestRow::HEADER)?;
        let mut log = Self { path, writer, flushed: Instant::now() };
        log.flush()?;
        Ok(log)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a row.
    pub fn add(&mut self, row: &RequestRow) -> io::Result<()> {
        self.writer.write_record(row.fields())?;
        if self.flushed.elapsed() > Duration::from_secs(1) { self.flush() } else { Ok(()) }
    }

    /// Hands all rows to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.writer.flush()
    }

    /// Makes all of it durable.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()?;
        let writer = self.writer.into_inner().map_err(|e| io::Error::other(e.to_string()))?;
        let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}
