//! The safetensors files of a folder: which of them make up a model, and their headers.

use super::ModelError;
use ::safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of JSON that a header may have; the format itself allows 100 MB.
const MAX_HEADER: u64 = 100 << 20;

/// What holds the bytes of a shard.
pub(super) enum Bytes {
    File(File),
    Embedded(&'static [u8]),
}

impl Bytes {
    fn len(&self) -> std::io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Embedded(bytes) => Ok(bytes.len() as u64),
        }
    }

    pub(crate) fn read_exact_at(&self, out: &mut [u8], offset: u64) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(out, offset),
            Self::Embedded(bytes) => match bytes.get(offset as usize..offset as usize + out.len()) {
                Some(found) => {
                    out.copy_from_slice(found);
                    Ok(())
                }
                None => Err(std::io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }
}

/// One file and where its data begins.
pub(super) struct Shard {
    pub path: PathBuf,
    pub file: Bytes,
    pub data_start: u64,
}

/// The index of a sharded checkpoint.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that make up a model.
pub(super) struct ShardFiles {
    pub files: Vec<PathBuf>,
    /// The index, and the file that it gives each tensor.
    index: Option<(PathBuf, BTreeMap<String, String>)>,
}

const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";

/// The files that the index names, or every safetensors file of the folder.
pub(super) fn shard_files(folder: &Path) -> Result<ShardFiles, ModelError> {
    let index = folder.join(INDEX);
    if index.is_file() {
        let text = std::fs::read_to_string(&index).map_err(|e| ModelError::new(&index, e))?;
        let parsed: Index = serde_json::from_str(&text).map_err(|e| ModelError::new(&index, e))?;
        let names: BTreeSet<String> = parsed.weight_map.values().cloned().collect();
        let file = |name: String| match Path::new(&name).file_name() {
            Some(file) if file.to_str() == Some(&name) => Ok(folder.join(name)),
            _ => Err(ModelError::new(&index, format!("`{name}` is not the name of a file in the folder"))),
        };
        let files = names.into_iter().map(file).collect::<Result<_, _>>()?;
        return Ok(ShardFiles { files, index: Some((index, parsed.weight_map)) });
    }
    let entries = std::fs::read_dir(folder).map_err(|e| ModelError::new(folder, e))?;
    let all = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    // Mistral publishes its weights twice: once more under names of its own.
    let is_copy =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("consolidated"));
    if !files.iter().all(is_copy) {
        files.retain(|path| !is_copy(path));
    }
    if files.is_empty() {
        Err(ModelError::new(folder, "holds no *.safetensors file"))
    } else {
        Ok(ShardFiles { files, index: None })
    }
}

impl ShardFiles {
    /// Holds the tensors that the files have against the index, where there is one. `file_of` gives the file of a tensor.
    pub(crate) fn check_index<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        file_of: &dyn Fn(&str) -> Option<&'a Path>,
    ) -> Result<(), ModelError> {
        let Some((path, map)) = &self.index else { return Ok(()) };
        if !map.values().any(|file| file == WHOLE) && path.with_file_name(WHOLE).is_file() {
            return Err(ModelError::new(
                path,
                format!(
                    "the folder holds {WHOLE} too, which the index does not name: remove the one that is not the model"
                ),
            ));
        }
        let wrong = |message: String| Err(ModelError::new(path, format!("{message}: the index is not of these files")));
        for (name, file) in map {
            let has = file_of(name).and_then(Path::file_name);
            if has != Some(file.as_ref()) {
                let has = has.map_or("no file has it".to_string(), |has| format!("{} does", has.display()));
                return wrong(format!("tensor `{name}` is not in {file}; {has}"));
            }
        }
        let extra = names.filter(|name| !map.contains_key(*name)).min();
        extra.map_or(Ok(()), |name| wrong(format!("it does not name tensor `{name}`, which is in the files")))
    }
}

/// Reads the header of one file and checks each tensor against the file.
pub(super) fn open_shard(path: &Path, file: Bytes) -> Result<(Shard, Vec<(String, TensorInfo)>), ModelError> {
    let fail = |message: String| ModelError::new(path, message);
    let len = file.len().map_err(|e| fail(e.to_string()))?;
    let mut prefix = [0; 8];
    file.read_exact_at(&mut prefix, 0).map_err(|_| fail("the file is truncated: it has no header".to_string()))?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER || header_len + 8 > len {
        return Err(fail(format!("not a safetensors file, or truncated: a header of {header_len} bytes in {len}")));
    }
    let mut header = vec![0; header_len as usize];
    file.read_exact_at(&mut header, 8).map_err(|e| fail(e.to_string()))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|e| fail(format!("the header cannot be read: {e}")))?;
    let Unique = serde_json::from_slice(&header).map_err(|e| fail(format!("the header cannot be read: {e}")))?;
    let data_start = 8 + header_len;
    let mut infos = Vec::new();
    for (name, info) in metadata.tensors() {
        let (start, end) = info.data_offsets;
        let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, dim| bits.checked_mul(*dim));
        if end.checked_sub(start).is_none() || bits.map(|bits| bits / 8) != Some(end - start) {
            return Err(fail(format!("tensor `{name}`: {start}..{end} is not the size of {:?}", info.shape)));
        }
        if end as u64 > len - data_start {
            return Err(fail(format!("the file is truncated: tensor `{name}` ends beyond it")));
        }
        infos.push((name, info.clone()));
    }
    Ok((Shard { path: path.to_path_buf(), file, data_start }, infos))
}

/// An object without the same key twice, of which most readers would keep the last.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Unique;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut keys = HashSet::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    if keys.contains(&key) {
                        return Err(A::Error::custom(format!("tensor `{key}` is listed twice")));
                    }
                    keys.insert(key);
                }
                Ok(Unique)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}
