//! A result file in memory: decompressed, and identified by its contents.

use super::{EvidenceError, json};
use crate::data_file::bounded;
use crate::record::FileRecord;
use std::path::{Path, PathBuf};

/// What is looked at to recognise a format.
const HEAD: usize = 4096;
/// Lines of a log before a table, of which each is looked at.
const MOST_LOG: usize = 2000;

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// Its name and hash.
    pub file: FileRecord,
    /// Where its records begin, behind a log.
    start: usize,
    json: bool,
}

impl Source {
    /// Reads a file, through gzip where it is packed with it.
    pub fn open(path: &Path) -> Result<Self, EvidenceError> {
        let fail = |message: String| EvidenceError {
            file: path.display().to_string(),
            record: None,
            message,
            unrecognised: false,
        };
        let bytes = bounded::file(path, bounded::MOST_TEXT).map_err(fail)?;
        let blake3 = blake3::hash(&bytes).to_hex().to_string();
        let name = path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned());
        if let Some(kind) = packed(&bytes) {
            return Err(fail(format!("it is {kind}: unpack it, and give the file inside")));
        }
        let named_gzip = path.extension().is_some_and(|e| e == "gz");
        let text = if named_gzip || bytes.starts_with(&[0x1f, 0x8b]) {
            let reader = flate2::read::MultiGzDecoder::new(bytes.as_slice());
            let unpacked = bounded::unpacked(reader, bounded::MOST_TEXT, bytes.len() as u64);
            unpacked.map_err(|e| fail(format!("cannot be decompressed: {e}")))?
        } else {
            bytes
        };
        let text = bounded::utf8(text).map_err(|e| fail(format!("is not text: {e}")))?;
        Ok(Self::of(path.to_path_buf(), text, FileRecord { name, blake3 }))
    }

    /// A text that did not come from a file.
    pub fn embedded(name: &str, text: &str) -> Self {
        let blake3 = blake3::hash(text.as_bytes()).to_hex().to_string();
        Self::of(name.into(), text.to_string(), FileRecord { name: name.to_string(), blake3 })
    }

    fn of(path: PathBuf, text: String, file: FileRecord) -> Self {
        let table = table(&text);
        let records = json::first(&text).filter(|at| table.is_none_or(|table| *at < table));
        let start = records.or(table).unwrap_or(0);
        Self { path, text, file, start, json: records.is_some() }
    }

    /// The same file with its records in another tool's words.
    pub fn derived(&self, records: &[serde_json::Value]) -> Self {
        let text = serde_json::Value::from(records).to_string();
        Self::of(self.path.clone(), text, self.file.clone())
    }

    /// Whether its records are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Its records, without the log before them.
    pub fn records_text(&self) -> &str {
        &self.text[self.start..]
    }

    /// The beginning of its records.
    pub fn head(&self) -> &str {
        let text = self.records_text();
        let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= HEAD).unwrap_or(text.len());
        &text[..end]
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

/// Containers that are no text, by their first bytes.
fn packed(bytes: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 7] = [
        (b"PK\x03\x04", "a zip archive or a workbook"),
        (b"\x28\xb5\x2f\xfd", "packed with zstd"),
        (b"\xfd7zXZ\0", "packed with xz"),
        (b"BZh", "packed with bzip2"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"PAR1", "a Parquet file"),
        (b"SQLite format 3\0", "a SQLite database"),
    ];
    kinds.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| kind)
}

/// Where the header of a CSV table begins, behind a log: the first line of several names.
fn table(text: &str) -> Option<usize> {
    let mut at = 0;
    text.split_inclusive('\n').take(MOST_LOG).find_map(|line| {
        let start = at;
        at += line.len();
        is_header(line.trim()).then_some(start)
    })
}

fn is_header(line: &str) -> bool {
    let name = |field: &str| {
        let field = field.trim().trim_matches('"');
        field.chars().any(char::is_alphabetic) && !field.contains(['{', '}', '[', ':', '=', '`', '|'])
    };
    [',', ';', '\t'].into_iter().any(|delimiter| {
        let mut fields = line.split(delimiter);
        line.matches(delimiter).count() >= 2 && fields.all(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_behind_a_log() {
        let log = "ggml_cuda_init: found 1 CUDA devices:\n  Device 0: NVIDIA L4, compute capability 8.9, VMM: yes\n";
        let of = |text: &str| Source::embedded("a", text);
        let json = of(&format!("{log}{{\"a\": 1, \"b,c,d\": 2}}\n"));
        assert!(json.is_json() && json.head().starts_with("{\"a\""));
        let csv = of(&format!("{log}build,model size,t/s\nx,{{\"a\": 1}},3\n{{\"a\"\n"));
        assert!(!csv.is_json() && csv.head().starts_with("build,"));
        let long = of(&format!("{}[\n{{\"a\": 1}}]", log.repeat(100)));
        assert!(long.is_json() && long.has(&["\"a\""]));
    }

    #[test]
    fn other_containers_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let said = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Source::open(&path).unwrap_err().to_string()
        };
        assert!(said(b"PK\x03\x04abc").contains("a zip archive or a workbook: unpack it"));
        assert!(said(b"PAR1abc").contains("a Parquet file"));
        assert!(said(b"{\n\"a\": \"\xe9\"}").contains("byte 0xe9 on line 2 is not UTF-8: the file is in Latin-1"));
    }
}
