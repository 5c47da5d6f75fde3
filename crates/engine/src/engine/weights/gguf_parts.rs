//! The files of a model in GGUF files: one, or the parts that a split one lies in beside each other, `NAME-00001-of-00003.gguf`
//! and so on, each with tensors of its own and the first with the metadata of all.

use super::ModelError;
use super::gguf_header::{self, TensorEntry};
use super::gguf_metadata::Metadata;
use candle_core::quantized::gguf_file::Content;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufReader, Seek};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The most parts that a model may be in.
const MOST_PARTS: usize = 1 << 10;

/// The open files of a model.
pub(super) struct Parts {
    /// What the model is called.
    pub name: String,
    /// The files, the first part first.
    pub files: Vec<(PathBuf, File)>,
    /// The tensors of all, each with the part that holds it.
    pub tensors: HashMap<String, TensorEntry>,
    /// The header of the first.
    pub content: Content,
}

/// What one file says of the model that it is a part of.
struct Split {
    /// From 0.
    number: usize,
    count: usize,
    /// Tensors of all parts.
    tensors: Option<usize>,
}

struct Opened {
    file: File,
    tensors: HashMap<String, TensorEntry>,
    content: Content,
}

impl Opened {
    fn open(path: &Path) -> Result<Self, ModelError> {
        let fail = |message: String| ModelError::new(path, message);
        let file = File::open(path).map_err(|e| fail(e.to_string()))?;
        let mut reader = BufReader::new(&file);
        let tensors = gguf_header::check(&mut reader).map_err(fail)?;
        reader.rewind().map_err(|e| fail(e.to_string()))?;
        // Candle's error may carry a stack trace behind its first line.
        let first_line = |e: candle_core::Error| e.to_string().lines().next().unwrap_or_default().to_string();
        let content = Content::read(&mut reader).map_err(|e| fail(first_line(e)))?;
        Ok(Self { file, tensors, content })
    }

    /// What the metadata says of a split; a model in one file may say so too.
    fn split(&self) -> Result<Option<Split>, String> {
        let metadata = Metadata { values: &self.content.metadata, tensors: &self.tensors };
        match metadata.size("split.count")? {
            None | Some(0 | 1) => Ok(None),
            Some(count) if count > MOST_PARTS => {
                Err(format!("metadata `split.count` is {count}; at most {MOST_PARTS} can be"))
            }
            Some(count) => Ok(Some(Split {
                number: metadata.size("split.no")?.ok_or("metadata `split.no` is missing")?,
                count,
                tensors: metadata.size("split.tensors.count")?,
            })),
        }
    }
}

/// A file name `NAME-00001-of-00003.gguf`: `NAME`, 1 and 3.
pub(super) fn part_of(file: &OsStr) -> Option<(&OsStr, usize, usize)> {
    let stem = file.as_bytes().strip_suffix(b".gguf")?;
    let (stem, count) = stem.split_at_checked(stem.len().checked_sub(9)?)?;
    let (name, number) = stem.split_at_checked(stem.len().checked_sub(6)?)?;
    let digits = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<usize>().ok();
    let (count, number) = (digits(count.strip_prefix(b"-of-")?)?, digits(number.strip_prefix(b"-")?)?);
    (!name.is_empty() && (1..=count).contains(&number)).then_some((OsStr::from_bytes(name), number, count))
}

/// The file names of all parts of a model of which `file` is one; only `file` where it is no part.
pub(super) fn all_parts(file: &OsStr) -> Vec<OsString> {
    match part_of(file) {
        Some((name, _, count)) if count <= MOST_PARTS => {
            (1..=count).map(|number| part_name(name, number, count)).collect()
        }
        _ => vec![file.to_os_string()],
    }
}

fn part_name(name: &OsStr, number: usize, count: usize) -> OsString {
    OsString::from_vec([name.as_bytes(), format!("-{number:05}-of-{count:05}.gguf").as_bytes()].concat())
}

const MERGE: &str = "give the first of the parts, all beside each other under their own names, or merge them with \
                     llama-gguf-split --merge";

/// Opens the model that `path` holds or is a part of.
pub(super) fn open(path: &Path) -> Result<Parts, ModelError> {
    let fail = |message: String| ModelError::new(path, message);
    let opened = Opened::open(path)?;
    let Some(split) = opened.split().map_err(fail)? else {
        let name = path.file_stem().map_or("model".into(), |stem| stem.to_string_lossy().into_owned());
        let Opened { file, tensors, content } = opened;
        return Ok(Parts { name, files: vec![(path.to_path_buf(), file)], tensors, content });
    };
    let known = path.file_name().and_then(part_of);
    let Some((name, _, _)) = known.filter(|(_, number, count)| (*number, *count) == (split.number + 1, split.count))
    else {
        return Err(fail(format!(
            "it is part {} of {} of a split model, but is not called so (NAME-{:05}-of-{:05}.gguf): {MERGE}",
            split.number + 1,
            split.count,
            split.number + 1,
            split.count
        )));
    };
    let beside = |number| path.with_file_name(part_name(name, number, split.count));
    let missing: Vec<String> =
        (1..=split.count).map(beside).filter(|part| !part.is_file()).map(|part| file_name(&part)).collect();
    if !missing.is_empty() {
        return Err(fail(format!(
            "it is one of {} parts, and {} are not beside it: {MERGE}",
            split.count,
            missing.join(", ")
        )));
    }
    let (first, number) = match split.number {
        0 => (opened, 0),
        number => (Opened::open(&beside(1))?, number),
    };
    gather(name.to_string_lossy().into_owned(), first, &Split { number, ..split }, &beside)
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |name| name.to_string_lossy().into_owned())
}

/// Puts the parts behind the first together; each must be the part that its name says.
fn gather(name: String, first: Opened, split: &Split, beside: &dyn Fn(usize) -> PathBuf) -> Result<Parts, ModelError> {
    let Opened { file, tensors, content } = first;
    let mut parts = Parts { name, files: vec![(beside(1), file)], tensors, content };
    for number in 2..=split.count {
        let path = beside(number);
        let fail = |message: String| ModelError::new(&path, message);
        let opened = Opened::open(&path)?;
        match opened.split().map_err(fail)? {
            Some(found) if (found.number + 1, found.count) == (number, split.count) => {}
            _ => {
                return Err(fail(format!(
                    "is not part {number} of {} by its metadata (`split.no`, `split.count`)",
                    split.count
                )));
            }
        }
        for (name, entry) in opened.tensors {
            if parts.tensors.contains_key(&name) {
                return Err(fail(format!("tensor `{name}` is in another part too")));
            }
            parts.tensors.insert(name, TensorEntry { part: number - 1, ..entry });
        }
        parts.files.push((path, opened.file));
    }
    match split.tensors.filter(|tensors| *tensors != parts.tensors.len()) {
        None => Ok(parts),
        Some(tensors) => Err(ModelError::new(
            beside(1),
            format!("the parts hold {} tensors, but `split.tensors.count` is {tensors}", parts.tensors.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let part = |name: &'static str| {
            part_of(OsStr::new(name)).map(|(n, number, count)| (n.to_str().unwrap(), number, count))
        };
        assert_eq!(part("a-Q4_K-00002-of-00003.gguf"), Some(("a-Q4_K", 2, 3)));
        for other in
            ["a.gguf", "-00001-of-00002.gguf", "a-00003-of-00002.gguf", "a-0001-of-0002.gguf", "a-00001-of-00002"]
        {
            assert_eq!(part(other), None, "{other}");
        }
        assert_eq!(all_parts(OsStr::new("m-00002-of-00002.gguf")), ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]);
        assert_eq!(all_parts(OsStr::new("m.gguf")), ["m.gguf"]);
    }
}
