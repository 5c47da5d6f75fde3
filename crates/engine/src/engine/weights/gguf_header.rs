//! A walk over the header of a GGUF file that checks every count, length and offset against the file before
//! anything is allocated from it. Candle's reader bounds its reads too, but not what they add up to in memory.
//!
//! Format: the GGUF specification, versions 2 and 3 (ggml `docs/gguf.md`).

use crate::workload::Encoding;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};

/// Elements of arrays in the metadata, all arrays together. The largest real vocabulary has about 260 thousand
/// tokens, each with a text, a score and a type, and about as many merges.
const MAX_ARRAY_ELEMENTS: u64 = 1 << 24;
/// Bytes of one string. Chat templates are the longest real ones.
const MAX_STRING: u64 = 1 << 24;
const MAX_TENSORS: u64 = 1 << 20;
const MAX_METADATA: u64 = 1 << 16;
const MAX_WEIGHTS: u64 = 1 << 44;

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TensorEntry {
    /// Rows times columns from the outside in: `[rows, cols]`, `[len]`.
    pub dims: Vec<usize>,
    /// How it is stored, or the number of a type that candle cannot read.
    pub encoding: Result<Encoding, u32>,
    /// Offset in the file.
    pub start: u64,
    /// Bytes; 0 for a type that is not known.
    pub bytes: usize,
    /// Which of the files of a split model holds it, from 0.
    pub part: usize,
}

/// Checks the header and lists the tensors. The error says what is wrong, without the file's name.
pub(crate) fn check<R: Read + Seek>(reader: &mut R) -> Result<HashMap<String, TensorEntry>, String> {
    let file_len = reader.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
    reader.seek(SeekFrom::Start(0)).map_err(|e| e.to_string())?;
    let mut walk = HeaderReader { reader, at: 0, file_len, array_elements: 0, alignment: 32 };
    if &walk.bytes::<4>("the magic")? != b"GGUF" {
        return Err("not a GGUF file: it does not begin with `GGUF`".to_string());
    }
    match walk.u32("the version")? {
        2 | 3 => {}
        version if matches!(version.swap_bytes(), 1..=3) => {
            return Err(
                "the file is big-endian, which is not supported: convert it with gguf-convert-endian, from the \
                        Python package gguf"
                    .to_string(),
            );
        }
        version => return Err(format!("GGUF version {version} is not supported; versions 2 and 3 are")),
    }
    let tensors = walk.count("tensors", MAX_TENSORS)?;
    let metadata = walk.count("metadata entries", MAX_METADATA)?;
    let mut keys = HashSet::new();
    for index in 0..metadata {
        let key = walk.string(&format!("the key of metadata entry {index}"))?;
        if keys.contains(&key) {
            return Err(format!("metadata `{key}` is there twice"));
        }
        let kind = walk.u32(&key)?;
        walk.value(&key, kind, 0)?;
        keys.insert(key);
    }
    let mut entries = HashMap::new();
    for index in 0..tensors {
        let (name, entry) = walk.tensor(index)?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(format!("tensor `{name}` is listed twice"));
        }
    }
    let data_start = walk.at.next_multiple_of(walk.alignment);
    for (name, entry) in &mut entries {
        place(name, entry, data_start, walk.alignment, file_len)?;
    }
    let end = entries.values().map(|entry| entry.start + entry.bytes as u64).max().unwrap_or(data_start);
    for end in [end, end.next_multiple_of(walk.alignment)] {
        if begins_another(reader, end) {
            return Err(format!(
                "another GGUF file begins at byte {end}: the parts of a split model set end to end are not a model; merge \
                 them with llama-gguf-split --merge, or keep them apart and give the first"
            ));
        }
    }
    Ok(entries)
}

/// Whether what stands behind the tensors begins like a GGUF file.
fn begins_another<R: Read + Seek>(reader: &mut R, at: u64) -> bool {
    let mut magic = [0; 4];
    reader.seek(SeekFrom::Start(at)).is_ok() && reader.read_exact(&mut magic).is_ok() && &magic == b"GGUF"
}

/// Turns the offset within the data part into one within the file, and checks that the tensor ends in it.
fn place(name: &str, entry: &mut TensorEntry, data_start: u64, alignment: u64, file_len: u64) -> Result<(), String> {
    if !entry.start.is_multiple_of(alignment) {
        return Err(format!("tensor `{name}` starts at {}, which is not a multiple of {alignment}", entry.start));
    }
    let end = data_start.checked_add(entry.start).and_then(|s| s.checked_add(entry.bytes as u64));
    match end {
        Some(end) if end <= file_len => {
            entry.start += data_start;
            Ok(())
        }
        _ => Err(format!(
            "the file is truncated: tensor `{name}` needs {} bytes from {} on, but the file has {file_len}",
            entry.bytes,
            data_start.saturating_add(entry.start)
        )),
    }
}

struct HeaderReader<'a, R> {
    reader: &'a mut R,
    at: u64,
    file_len: u64,
    array_elements: u64,
    alignment: u64,
}

impl<R: Read + Seek> HeaderReader<'_, R> {
    fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let mut buffer = [0; N];
        self.reader.read_exact(&mut buffer).map_err(|_| self.truncated(what))?;
        self.at += N as u64;
        Ok(buffer)
    }

    fn truncated(&self, what: &str) -> String {
        format!("the file is truncated: it ends at byte {} within {what}", self.file_len)
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.bytes(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.bytes(what)?))
    }

    fn count(&mut self, what: &str, most: u64) -> Result<u64, String> {
        let count = self.u64(&format!("the number of {what}"))?;
        if count > most {
            return Err(format!("the header claims {count} {what}; at most {most} are plausible"));
        }
        Ok(count)
    }

    /// Skips `len` bytes that must be in the file.
    fn skip(&mut self, len: u64, what: &str) -> Result<(), String> {
        match self.at.checked_add(len) {
            Some(end) if end <= self.file_len => {
                self.reader.seek(SeekFrom::Start(end)).map_err(|e| e.to_string())?;
                self.at = end;
                Ok(())
            }
            _ => Err(self.truncated(what)),
        }
    }

    fn string_len(&mut self, what: &str) -> Result<u64, String> {
        let len = self.u64(what)?;
        if len > MAX_STRING {
            return Err(format!("{what} claims to be {len} bytes long; at most {MAX_STRING} are plausible"));
        }
        Ok(len)
    }

    fn string(&mut self, what: &str) -> Result<String, String> {
        let len = self.string_len(what)?;
        if self.at + len > self.file_len {
            return Err(self.truncated(what));
        }
        let mut text = vec![0; len as usize];
        self.reader.read_exact(&mut text).map_err(|_| self.truncated(what))?;
        self.at += len;
        String::from_utf8(text).map_err(|_| format!("{what} is not UTF-8"))
    }

    /// Walks over a value of type `kind`.
    fn value(&mut self, key: &str, kind: u32, depth: u32) -> Result<(), String> {
        let what = format!("the value of `{key}`");
        match kind {
            0 | 1 | 7 => self.skip(1, &what),
            2 | 3 => self.skip(2, &what),
            4 if key == "general.alignment" => {
                let alignment = self.u32(&what)?;
                if !alignment.is_power_of_two() || !(4..=1 << 20).contains(&alignment) {
                    return Err(format!("general.alignment is {alignment}; it must be a power of two from 4 on"));
                }
                self.alignment = alignment as u64;
                Ok(())
            }
            _ if key == "general.alignment" => Err("general.alignment must be a 32-bit number".to_string()),
            4..=6 => self.skip(4, &what),
            10..=12 => self.skip(8, &what),
            8 => {
                let len = self.string_len(&what)?;
                self.skip(len, &what)
            }
            9 if depth >= 4 => Err(format!("{what} nests arrays more than 4 deep")),
            9 => self.array(key, depth),
            other => Err(format!("{what} has the unknown type {other}")),
        }
    }

    fn array(&mut self, key: &str, depth: u32) -> Result<(), String> {
        let what = format!("the array `{key}`");
        let kind = self.u32(&what)?;
        let len = self.u64(&what)?;
        self.array_elements = self.array_elements.saturating_add(len);
        if self.array_elements > MAX_ARRAY_ELEMENTS {
            return Err(format!("{what} claims {len} elements; more than {MAX_ARRAY_ELEMENTS} are not plausible"));
        }
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            _ => 0,
        };
        if size > 0 {
            return self.skip(len * size, &what);
        }
        for _ in 0..len {
            self.value(key, kind, depth + 1)?;
        }
        Ok(())
    }

    fn tensor(&mut self, index: u64) -> Result<(String, TensorEntry), String> {
        let name = self.string(&format!("the name of tensor {index}"))?;
        let what = format!("the entry of tensor `{name}`");
        let rank = self.u32(&what)?;
        if rank == 0 || rank > 4 {
            return Err(format!("tensor `{name}` has {rank} dimensions; 1 to 4 are possible"));
        }
        let mut dims = Vec::new();
        let mut weights = 1u64;
        for _ in 0..rank {
            let dim = self.u64(&what)?;
            weights = match weights.checked_mul(dim) {
                Some(product) if product <= MAX_WEIGHTS && dim > 0 => product,
                _ => return Err(format!("tensor `{name}` has a dimension of {dim}, which is not plausible")),
            };
            dims.push(dim as usize);
        }
        let encoding = encoding(self.u32(&what)?);
        let start = self.u64(&what)?;
        // GGUF lists the fastest dimension first.
        let row_len = dims[0];
        dims.reverse();
        let bytes = match encoding {
            Err(_) => 0,
            Ok(encoding) => {
                let (len, _) = encoding.block();
                if !row_len.is_multiple_of(len) {
                    return Err(format!(
                        "tensor `{name}` has rows of {row_len}, which blocks of {encoding} ({len} weights) do not divide"
                    ));
                }
                encoding.matrix_bytes(weights as usize / row_len, row_len).0 as usize
            }
        };
        Ok((name, TensorEntry { dims, encoding, start, bytes, part: 0 }))
    }
}

/// The encodings that candle reads, by GGML's type numbers.
fn encoding(number: u32) -> Result<Encoding, u32> {
    Ok(match number {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        10 => Encoding::Q2K,
        11 => Encoding::Q3K,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        30 => Encoding::Bf16,
        other => return Err(other),
    })
}
