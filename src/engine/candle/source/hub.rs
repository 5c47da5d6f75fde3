//! Models from a Hugging Face hub, through hf-hub and its cache.
//!
//! `HF_HOME` (or `HF_HUB_CACHE`) says where the cache is, `HF_ENDPOINT` which hub, `HF_TOKEN` (or the token file
//! of the cache) who asks; with `HF_HUB_OFFLINE=1` only the cache is read.

use super::{ModelError, OpenedModel, gguf, safetensors};
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo};
use std::collections::BTreeSet;
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

/// Where files come from.
enum Files {
    Online(ApiRepo),
    Offline(hf_hub::CacheRepo),
}

impl Files {
    fn get(&self, hub_id: &str, file: &str) -> Result<PathBuf, ModelError> {
        match self {
            Self::Online(repo) => guarded(hub_id, || repo.get(file)),
            Self::Offline(cache) => cache.get(file).ok_or_else(|| {
                ModelError::new(hub_id, format!("`{file}` is not in the cache, and HF_HUB_OFFLINE is set"))
            }),
        }
    }
}

/// Fetches what is missing from the cache, then opens it.
pub fn open(model: &str, show_progress: bool) -> Result<OpenedModel, ModelError> {
    let (id, wanted) = split(model);
    let cache = match std::env::var("HF_HUB_CACHE") {
        Ok(path) if !path.is_empty() => Cache::new(PathBuf::from(path)),
        _ => Cache::from_env(),
    };
    let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| !matches!(v.as_str(), "" | "0" | "false" | "no"));
    let mut opened = match offline {
        true => from_cache(model, id, wanted, Files::Offline(cache.repo(Repo::model(id.to_string()))))?,
        false => from_hub(model, id, wanted, cache, show_progress)?,
    };
    opened.name = id.rsplit('/').next().unwrap_or(id).to_string();
    opened.kind = "hub";
    opened.location = Some(model.to_string());
    Ok(opened)
}

/// Offline: whatever the cache has of the repository.
fn from_cache(model: &str, id: &str, wanted: Option<&str>, files: Files) -> Result<OpenedModel, ModelError> {
    if let Some(file) = wanted {
        return gguf::open(&files.get(id, file)?);
    }
    let config = files.get(model, "config.json")?;
    let folder = config.parent().unwrap_or(Path::new("."));
    safetensors::open(folder, "hub")
}

fn from_hub(
    model: &str,
    id: &str,
    wanted: Option<&str>,
    cache: Cache,
    show_progress: bool,
) -> Result<OpenedModel, ModelError> {
    let api = client(id, cache, show_progress)?;
    let repo = api.model(id.to_string());
    let info = guarded(id, || repo.info())?;
    let listed: BTreeSet<String> =
        info.siblings.into_iter().map(|s| s.rfilename).filter(|name| is_plain_file(name)).collect();
    let files = Files::Online(repo);
    let ggufs: Vec<&String> = listed.iter().filter(|name| name.ends_with(".gguf")).collect();
    match wanted {
        Some(file) if listed.contains(file) => return gguf::open(&files.get(id, file)?),
        Some(file) => return Err(ModelError::new(model, format!("the repository has no file `{file}`"))),
        None => {}
    }
    let shards: Vec<&String> =
        listed.iter().filter(|name| name.ends_with(".safetensors") && !name.contains('/')).collect();
    if shards.is_empty() {
        return match ggufs.as_slice() {
            [] => Err(ModelError::new(id, "the repository has neither safetensors nor GGUF files")),
            [one] => gguf::open(&files.get(id, one)?),
            many => {
                let names: Vec<&str> = many.iter().map(|name| name.as_str()).collect();
                let message = format!("choose one of its GGUF files as `{id}:FILE`: {}", names.join(", "));
                Err(ModelError::new(id, message))
            }
        };
    }
    let config = files.get(id, "config.json")?;
    for optional in ["model.safetensors.index.json", "tokenizer.json"] {
        if listed.contains(optional) {
            files.get(id, optional)?;
        }
    }
    // A repository may hold the same weights twice: in shards, and consolidated.
    let sharded = listed.contains("model.safetensors.index.json");
    for shard in shards.iter().filter(|name| !sharded || name.contains("-of-")) {
        files.get(id, shard)?;
    }
    safetensors::open(config.parent().unwrap_or(Path::new(".")), "hub")
}

fn client(id: &str, cache: Cache, show_progress: bool) -> Result<Api, ModelError> {
    let mut builder = ApiBuilder::from_cache(cache).with_progress(show_progress).with_retries(2);
    if let Ok(endpoint) = std::env::var("HF_ENDPOINT")
        && !endpoint.is_empty()
    {
        let is_url = endpoint.starts_with("https://") || endpoint.starts_with("http://");
        if !is_url || endpoint.parse::<ureq::http::Uri>().is_err() {
            return Err(ModelError::new("HF_ENDPOINT", format!("`{endpoint}` is not an http(s) address")));
        }
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_string());
    }
    if let Ok(token) = std::env::var("HF_TOKEN")
        && !token.trim().is_empty()
    {
        builder = builder.with_token(Some(token.trim().to_string()));
    }
    builder.build().map_err(|e| hub_error(id, e))
}

/// Runs a call of the hub client. It panics on some malformed answers of a server (a redirect without a target,
/// say), which must not take the program down.
fn guarded<T>(id: &str, call: impl FnOnce() -> Result<T, ApiError>) -> Result<T, ModelError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)) {
        Ok(answer) => answer.map_err(|e| hub_error(id, e)),
        Err(_) => Err(ModelError::new(id, "the hub's answer was malformed")),
    }
}

/// The error with what can be done about it. No message carries the token: it travels in a header only.
fn hub_error(id: &str, error: ApiError) -> ModelError {
    let advice = match &error {
        ApiError::RequestError(inner) => match inner.as_ref() {
            ureq::Error::StatusCode(401 | 403) => "; the model may be gated: accept its terms and set HF_TOKEN",
            ureq::Error::StatusCode(404) => "; check the spelling, or set HF_TOKEN if it is private",
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::Io(_) => {
                "; no connection: set HF_HUB_OFFLINE=1 to use what the cache has, or give a file"
            }
            _ => "",
        },
        _ => "",
    };
    ModelError::new(id, format!("cannot be fetched: {error}{advice}"))
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
