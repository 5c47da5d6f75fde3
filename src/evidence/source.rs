//! A result file in memory: decompressed, and identified by its contents.

use super::EvidenceError;
use crate::record::FileRecord;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most bytes of a file, decompressed.
const MOST_BYTES: u64 = 4 << 30;
/// What is looked at to recognise a format.
const HEAD: usize = 4096;

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its name and hash.
    pub file: FileRecord,
}

impl Source {
    /// Reads a file, through gzip where its name ends in `.gz`.
    pub fn open(path: &Path) -> Result<Self, EvidenceError> {
        let fail = |message: String| EvidenceError {
            file: path.display().to_string(),
            record: None,
            message,
            unrecognised: false,
        };
        let bytes = std::fs::read(path).map_err(|e| fail(e.to_string()))?;
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        let gzip = path.extension().is_some_and(|e| e == "gz");
        let reader: Box<dyn Read> = match gzip {
            true => Box::new(flate2::read::MultiGzDecoder::new(bytes.as_slice())),
            false => Box::new(bytes.as_slice()),
        };
        let mut text = Vec::new();
        reader.take(MOST_BYTES).read_to_end(&mut text).map_err(|e| fail(format!("cannot be decompressed: {e}")))?;
        let text = String::from_utf8(text).map_err(|e| fail(format!("is not text: {e}")))?;
        let text = text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_string);
        Ok(Self { path: path.to_path_buf(), text, file: FileRecord { name, blake3 } })
    }

    /// A text that did not come from a file.
    pub fn embedded(name: &str, text: &str) -> Self {
        let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
        Self { path: name.into(), text: text.to_string(), file: FileRecord { name: name.to_string(), blake3 } }
    }

    /// Its beginning.
    pub fn head(&self) -> &str {
        let end = self.text.char_indices().map(|(at, _)| at).find(|at| *at >= HEAD).unwrap_or(self.text.len());
        &self.text[..end]
    }

    /// Whether all of these keys stand in its beginning.
    pub fn has(&self, keys: &[&str]) -> bool {
        keys.iter().all(|key| self.head().contains(key))
    }

    /// An error about a record of it.
    pub fn error(&self, record: Option<String>, message: impl ToString) -> EvidenceError {
        EvidenceError {
            file: self.path.display().to_string(),
            record,
            message: message.to_string(),
            unrecognised: false,
        }
    }
}
