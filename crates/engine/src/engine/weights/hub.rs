//! Models from a Hugging Face hub, kept in the cache that hf-hub and the Python tools share.
//!
//! `HF_HOME` (or `HF_HUB_CACHE`) says where the cache is, `HF_ENDPOINT` which hub, `HF_TOKEN` (or the token file of the
//! cache) who asks; with `HF_HUB_OFFLINE=1` only the cache is read.

use super::hub_download::Client;
use super::{ModelError, OpenedModel, folder, gguf, gguf_parts};
use hf_hub::{Cache, CacheRepo, Repo};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Whether `model` has the form `owner/name` or `owner/name:file.gguf`.
pub fn is_hub_id(model: &str) -> bool {
    let (id, file) = split(model);
    let part = |text: &str| {
        !text.is_empty()
            && !text.starts_with(['.', '-'])
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
            && !text.contains("..")
    };
    let parts: Vec<&str> = id.split('/').collect();
    parts.len() == 2 && parts.iter().all(|p| part(p)) && file.is_none_or(is_plain_file)
}

/// A file name that cannot leave the folder that it is put into.
fn is_plain_file(name: &str) -> bool {
    !name.is_empty()
        && Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)))
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

fn split(model: &str) -> (&str, Option<&str>) {
    match model.split_once(':') {
        Some((id, file)) => (id, Some(file)),
        None => (model, None),
    }
}

fn filled(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|v| v.trim().to_string()).filter(|v| !v.is_empty())
}

/// Where the files of a repository come from: the cache, and the hub for what is not in it.
struct Files<'a> {
    id: &'a str,
    cache: CacheRepo,
    /// The cache's folder of revisions.
    refs: PathBuf,
    client: Option<Client>,
}

impl Files<'_> {
    fn get(&self, file: &str) -> Result<PathBuf, ModelError> {
        match (self.cache.get(file), &self.client) {
            (Some(path), _) => Ok(path),
            (None, Some(client)) => client.download(self.id, file, &self.cache),
            (None, None) => {
                Err(ModelError::new(self.id, format!("`{file}` is not in the cache, and HF_HUB_OFFLINE is set")))
            }
        }
    }

    /// A GGUF file, with the parts beside it where it is one of a split model: the path of `file`.
    fn gguf(&self, file: &str) -> Result<PathBuf, ModelError> {
        let (folder, name) = file.rsplit_once('/').map_or(("", file), |(folder, name)| (folder, name));
        let parts = gguf_parts::all_parts(OsStr::new(name));
        let within = |part: &OsString| match folder {
            "" => part.to_string_lossy().into_owned(),
            folder => format!("{folder}/{}", part.to_string_lossy()),
        };
        let folder = self.snapshot(&parts.iter().map(within).collect::<Vec<_>>())?;
        Ok(folder.join(name))
    }

    /// The folder that holds all of `names`, of one revision: where the hub moved on while some were in the cache, a
    /// download moves the cache on too, and the others are fetched again.
    fn snapshot(&self, names: &[String]) -> Result<PathBuf, ModelError> {
        for _ in 0..3 {
            let paths = names.iter().map(|name| self.get(name)).collect::<Result<Vec<_>, _>>()?;
            let folders: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
            if let (1, Some(folder)) = (folders.len(), folders.first()) {
                return Ok(folder.to_path_buf());
            }
        }
        Err(ModelError::new(self.id, "its revision changes while it is being downloaded: try again"))
    }
}

/// What a repository has been found to hold, in the cache by now.
pub enum Fetched {
    /// A GGUF file.
    Gguf(PathBuf),
    /// A folder with config.json and safetensors files.
    Folder(PathBuf),
}

/// The last part of a hub id, which a model is called by.
pub fn name(model: &str) -> String {
    let (id, _) = split(model);
    id.rsplit('/').next().unwrap_or(id).to_string()
}

/// Fetches what is missing from the cache, then opens it.
pub fn open(model: &str, show_progress: bool) -> Result<OpenedModel, ModelError> {
    let opened = match fetch(model, show_progress)? {
        Fetched::Gguf(file) => gguf::open(&file)?,
        Fetched::Folder(folder) => folder::open(&folder, "hub")?,
    };
    Ok(OpenedModel { name: name(model), kind: "hub", location: Some(model.to_string()), ..opened })
}

/// The repository `id`: the cache of this machine, and the hub unless the environment says that there is none.
fn files(id: &str, show_progress: bool) -> Result<Files<'_>, ModelError> {
    let cache = match (filled("HF_HUB_CACHE"), filled("HF_HOME"), filled("HOME")) {
        (Some(path), _, _) => Cache::new(PathBuf::from(path)),
        (None, None, None) => {
            return Err(ModelError::new(id, "HOME is not set: set HF_HOME to a folder for the cache"));
        }
        _ => Cache::from_env(),
    };
    let offline =
        filled("HF_HUB_OFFLINE").is_some_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()));
    let token = filled("HF_TOKEN").or(cache.token());
    let client = if offline { None } else { Some(Client::new(filled("HF_ENDPOINT"), token, show_progress)?) };
    let repo = Repo::model(id.to_string());
    let refs = cache.path().join(repo.folder_name()).join("refs");
    Ok(Files { id, cache: cache.repo(repo), refs, client })
}

/// The config.json of a model, from the cache or fetched into it.
pub(super) fn config(model: &str, show_progress: bool) -> Result<PathBuf, ModelError> {
    let (id, wanted) = split(model);
    match wanted {
        None => files(id, show_progress)?.get("config.json"),
        Some(file) => {
            let message = format!("the sizes of `{file}` stand in the file itself: download it and give the file");
            Err(ModelError::new(id, message))
        }
    }
}

/// Fetches what is missing from the cache.
pub fn fetch(model: &str, show_progress: bool) -> Result<Fetched, ModelError> {
    let (id, wanted) = split(model);
    let files = files(id, show_progress)?;
    match (wanted, &files.client) {
        (Some(file), None) => files.gguf(file).map(Fetched::Gguf),
        (None, None) => from_cache(&files),
        (wanted, Some(client)) => {
            let listed = client.list(id)?.into_iter().filter(|name| is_plain_file(name)).collect();
            from_hub(&files, wanted, &listed)
        }
    }
}

/// Chooses among the files of a repository: the one that was asked for, else safetensors, else its only GGUF file.
fn from_hub(files: &Files<'_>, wanted: Option<&str>, listed: &BTreeSet<String>) -> Result<Fetched, ModelError> {
    let fail = |message: String| Err(ModelError::new(files.id, message));
    match wanted {
        Some(file) if listed.contains(file) => return files.gguf(file).map(Fetched::Gguf),
        Some(file) => return fail(format!("the repository has no file `{file}`")),
        None => {}
    }
    let shards: Vec<&String> =
        listed.iter().filter(|name| name.ends_with(".safetensors") && !name.contains('/')).collect();
    if shards.is_empty() {
        // Of a split model, the first part stands for all.
        let is_further = |name: &&str| gguf_parts::part_of(OsStr::new(name)).is_some_and(|(_, number, _)| number > 1);
        let ggufs = listed.iter().map(String::as_str).filter(|name| name.ends_with(".gguf"));
        let ggufs: Vec<&str> = ggufs.filter(|name| !is_further(name)).collect();
        return match ggufs.as_slice() {
            [] => fail("the repository has neither safetensors nor GGUF files".to_string()),
            [one] => files.gguf(one).map(Fetched::Gguf),
            many => fail(format!("choose one of its GGUF files as `{}:FILE`: {}", files.id, many.join(", "))),
        };
    }
    let mut needed = vec!["config.json"];
    needed.extend(["model.safetensors.index.json", "tokenizer.json"].into_iter().filter(|name| listed.contains(*name)));
    // A repository may hold the same weights twice: in shards, and consolidated.
    let sharded = listed.contains("model.safetensors.index.json");
    needed.extend(shards.iter().map(|name| name.as_str()).filter(|name| !sharded || name.contains("-of-")));
    let needed: Vec<String> = needed.into_iter().map(String::from).collect();
    let folder = files.snapshot(&needed)?;
    // What sentence encoders say of how tokens become one vector; deeper in the folder.
    for name in ["modules.json", "1_Pooling/config.json"].into_iter().filter(|name| listed.contains(*name)) {
        files.get(name)?;
    }
    Ok(Fetched::Folder(folder))
}

/// Opens what the cache has, as there is no hub to ask: safetensors, else its only GGUF file.
fn from_cache(files: &Files<'_>) -> Result<Fetched, ModelError> {
    let missing = match files.get("config.json") {
        Ok(config) => return Ok(Fetched::Folder(config.parent().unwrap_or(Path::new(".")).to_path_buf())),
        Err(missing) => missing,
    };
    let commit = std::fs::read_to_string(files.refs.join("main")).unwrap_or_default();
    let snapshot = files.cache.pointer_path(commit.trim());
    let entries = std::fs::read_dir(&snapshot).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_further =
        |path: &PathBuf| path.file_name().and_then(gguf_parts::part_of).is_some_and(|(_, number, _)| number > 1);
    let ggufs = entries.filter(|path| path.extension().is_some_and(|e| e == "gguf"));
    let ggufs: Vec<PathBuf> = ggufs.filter(|path| !is_further(path)).collect();
    match ggufs.as_slice() {
        [one] => Ok(Fetched::Gguf(one.clone())),
        [] => Err(missing),
        _ => Err(ModelError::new(
            files.id,
            format!("the cache has several GGUF files: choose one as `{}:FILE`", files.id),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hub_ids_are_told_from_other_names() {
        for good in ["meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-0.5B", "a/b:c-Q4_K_M.gguf"] {
            assert!(is_hub_id(good), "{good}");
        }
        for bad in ["smollm2-135m", "../../etc", "a/b/c", "a/..", "/abs/path", "a/b:../c", "a b/c", "-a/b"] {
            assert!(!is_hub_id(bad), "{bad}");
        }
    }
}
