//! Listing and downloading files of a hub into hf-hub's cache.
//!
//! hf-hub 0.5 has a client too, but it sends the token to whatever host the hub redirects weights to, never times out,
//! and panics on some malformed answers; so the cache's layout and names are hf-hub's, and the requests are here.

use super::ModelError;
use hf_hub::CacheRepo;
use indicatif::{ProgressBar, ProgressStyle};
use ring::digest;
use serde::Deserialize;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

/// The hub that is asked when `HF_ENDPOINT` is not set.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const MAX_REDIRECTS: usize = 5;
/// Bytes of the answer that lists a repository.
const MAX_LIST: u64 = 64 << 20;
/// Slowest download that is waited for, in bytes per second.
const SLOWEST: u64 = 50_000;

/// Talks to a hub.
pub(crate) struct Client {
    endpoint: String,
    token: Option<String>,
    show_progress: bool,
}

/// What the hub says of a file before it sends it.
struct Tagged {
    etag: String,
    commit: String,
}

#[derive(Deserialize)]
struct Listing {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

fn agent(body: Duration) -> Agent {
    let config = Agent::config_builder()
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_recv_body(Some(body))
        .user_agent(concat!("sizewell/", env!("CARGO_PKG_VERSION")));
    config.build().into()
}

fn host(address: &str) -> Option<(String, Option<u16>)> {
    let uri: Uri = address.parse().ok()?;
    Some((uri.host()?.to_lowercase(), uri.port_u16()))
}

impl Client {
    /// A client for `endpoint`, or the usual hub.
    pub(crate) fn new(
        endpoint: Option<String>,
        token: Option<String>,
        show_progress: bool,
    ) -> Result<Self, ModelError> {
        let endpoint = endpoint.unwrap_or(DEFAULT_ENDPOINT.to_string());
        let is_web = endpoint.starts_with("https://") || endpoint.starts_with("http://");
        if !is_web || host(&endpoint).is_none() {
            return Err(ModelError::new("HF_ENDPOINT", format!("`{endpoint}` is not an http(s) address")));
        }
        Ok(Self { endpoint: endpoint.trim_end_matches('/').to_string(), token, show_progress })
    }

    /// Sends a request and follows redirects; the token goes to the hub's own host only. The second part has the tags
    /// of the first answer that had any: only the hub itself sends those.
    fn get(
        &self,
        url: &str,
        range: Option<String>,
        body: Duration,
    ) -> Result<(Response<Body>, Option<Tagged>), String> {
        let mut url = url.to_string();
        let mut tagged = None;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = agent(body).get(&url);
            if let Some(token) = &self.token
                && host(&url) == host(&self.endpoint)
            {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            if let Some(range) = &range {
                request = request.header("Range", format!("bytes={range}"));
            }
            let response = request.call().map_err(|e| unreachable(&e))?;
            tagged = tagged.or(tags(&response)?);
            if !response.status().is_redirection() {
                return match response.status().as_u16() {
                    200..=299 => Ok((response, tagged)),
                    status => Err(refused(status)),
                };
            }
            url = target(&url, &response)?;
        }
        Err("the hub redirects in circles".to_string())
    }

    /// The names of the files of a model.
    pub(crate) fn list(&self, id: &str) -> Result<Vec<String>, ModelError> {
        let fail = |message: String| ModelError::new(id, format!("cannot be fetched: {message}"));
        let url = format!("{}/api/models/{id}/revision/main", self.endpoint);
        let (response, _) = self.get(&url, None, Duration::from_secs(60)).map_err(fail)?;
        let text = response.into_body().into_with_config().limit(MAX_LIST).read_to_string();
        let text = text.map_err(|e| fail(e.to_string()))?;
        let listing: Listing =
            serde_json::from_str(&text).map_err(|e| fail(format!("the hub's answer was malformed: {e}")))?;
        Ok(listing.siblings.into_iter().map(|sibling| sibling.rfilename).collect())
    }

    /// Downloads a file into the cache; a download that broke off goes on where it ended.
    pub(crate) fn download(&self, id: &str, file: &str, cache: &CacheRepo) -> Result<PathBuf, ModelError> {
        let place = format!("{id}/{file}");
        self.try_download(id, file, cache)
            .map_err(|message| ModelError::new(place, format!("cannot be fetched: {message}")))
    }

    fn try_download(&self, id: &str, file: &str, cache: &CacheRepo) -> Result<PathBuf, String> {
        let text = |e: io::Error| e.to_string();
        let url = format!("{}/{id}/resolve/main/{file}", self.endpoint);
        // One byte first: the name of the part depends on what the hub says of the file.
        let (first, tagged) = self.get(&url, Some("0-0".to_string()), Duration::from_secs(60))?;
        let tagged = tagged.ok_or("the hub's answer was malformed: it has no tags")?;
        let size = size(&first).ok_or("the hub's answer was malformed: it has no size")?;
        drop(first);
        let blob = blob_path(cache, &tagged.etag);
        fs::create_dir_all(blob.parent().unwrap_or(Path::new("."))).map_err(text)?;
        if blob.metadata().map_or(0, |m| m.len()) != size {
            self.fill(&url, (size, &tagged.etag), file, &blob)?;
        }
        let pointer = cache.pointer_path(&tagged.commit).join(file);
        fs::create_dir_all(pointer.parent().unwrap_or(Path::new("."))).map_err(text)?;
        if !pointer.exists() {
            let depth = file.matches('/').count() + 2;
            let up: PathBuf = std::iter::repeat_n("..", depth).collect();
            std::os::unix::fs::symlink(up.join("blobs").join(&tagged.etag), &pointer).map_err(text)?;
        }
        cache.create_ref(&tagged.commit).map_err(text)?;
        Ok(pointer)
    }

    /// Downloads what is missing of a blob, then puts it in place, if it is what the hub has published under this tag.
    fn fill(&self, url: &str, (size, tag): (u64, &str), file: &str, blob: &Path) -> Result<(), String> {
        let part = blob.with_extension("part");
        let open = || -> io::Result<File> {
            let out = OpenOptions::new().create(true).append(true).open(&part)?;
            out.lock()?;
            if out.metadata()?.len() > size {
                out.set_len(0)?;
            }
            Ok(out)
        };
        let mut out = open().map_err(|e| e.to_string())?;
        let start = out.metadata().map_err(|e| e.to_string())?.len();
        if start < size {
            let patience = Duration::from_secs(60 + (size - start) / SLOWEST);
            let (response, _) = self.get(url, Some(format!("{start}-")), patience)?;
            if start > 0 && response.status() != 206 {
                out.set_len(0).map_err(|e| e.to_string())?;
            }
            let bar = self.bar(size, file);
            bar.set_position(start);
            let body = response.into_body().into_reader();
            let copied = io::copy(&mut bar.wrap_read(body.take(size)), &mut out);
            bar.finish_and_clear();
            copied.map_err(|e| format!("{e}; run again to go on from there"))?;
        }
        let have = out.metadata().map_err(|e| e.to_string())?.len();
        if have != size {
            return Err(format!("{have} bytes came instead of {size}; run again to go on from there"));
        }
        if let Err(message) = check_hash(&part, tag) {
            let _ = fs::remove_file(&part);
            return Err(message);
        }
        fs::rename(&part, blob).map_err(|e| e.to_string())
    }

    fn bar(&self, size: u64, file: &str) -> ProgressBar {
        if !self.show_progress {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(size).with_message(file.to_string());
        match ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes} {bytes_per_sec} {wide_msg}") {
            Ok(style) => bar.with_style(style.progress_chars("##-")),
            Err(_) => bar,
        }
    }
}

fn text_header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// Tag and commit of an answer. They become names in the cache, so they must be names.
fn tags(response: &Response<Body>) -> Result<Option<Tagged>, String> {
    let etag = text_header(response, "x-linked-etag").or(text_header(response, "etag"));
    let (Some(etag), Some(commit)) = (etag, text_header(response, "x-repo-commit")) else { return Ok(None) };
    let etag = etag.trim_start_matches("W/").trim_matches('"').to_string();
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if is_name(&etag) && is_name(commit) {
        Ok(Some(Tagged { etag, commit: commit.to_string() }))
    } else {
        Err("the hub's answer was malformed: its tags are no names".to_string())
    }
}

/// Where a file with this tag is kept: beside the snapshots.
fn blob_path(cache: &CacheRepo, etag: &str) -> PathBuf {
    cache.pointer_path("").with_file_name("blobs").join(etag)
}

/// Holds a file against its tag. That of a large one is its SHA-256; that of a small one is a Git hash (40 digits), which is
/// not checked, as what is wrong in a config or vocabulary shows when it is read.
fn check_hash(file: &Path, tag: &str) -> Result<(), String> {
    if tag.len() != 64 || !tag.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut hasher = digest::Context::new(&digest::SHA256);
    let mut file = File::open(file).map_err(|e| e.to_string())?;
    let mut bytes = vec![0; 1 << 20];
    loop {
        match file.read(&mut bytes).map_err(|e| e.to_string())? {
            0 => break,
            read => hasher.update(&bytes[..read]),
        }
    }
    let found: String = hasher.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    if found.eq_ignore_ascii_case(tag) {
        Ok(())
    } else {
        Err(format!(
            "what came has the SHA-256 {found}, but the hub has published {tag}: it was changed on the way, and is not kept; \
             run again to fetch it anew"
        ))
    }
}

/// The size of the whole file: behind the slash of `Content-Range`, or the length of a whole answer.
fn size(response: &Response<Body>) -> Option<u64> {
    match text_header(response, "Content-Range") {
        Some(range) => range.rsplit('/').next()?.trim().parse().ok(),
        None => text_header(response, "Content-Length")?.trim().parse().ok(),
    }
}

/// Where a redirect leads.
fn target(url: &str, response: &Response<Body>) -> Result<String, String> {
    let location = text_header(response, "Location").ok_or("the hub's answer was malformed: a redirect to nowhere")?;
    if location.starts_with("http://") || location.starts_with("https://") {
        return Ok(location.to_string());
    }
    let base: Uri = url.parse().map_err(|_| "the hub's answer was malformed".to_string())?;
    match (base.scheme_str(), base.authority(), location.starts_with('/')) {
        (Some(scheme), Some(authority), true) => Ok(format!("{scheme}://{authority}{location}")),
        _ => Err(format!("the hub's answer was malformed: a redirect to `{location}`")),
    }
}

fn refused(status: u16) -> String {
    match status {
        401 | 403 => format!("the hub answers {status}: the model may be gated, accept its terms and set HF_TOKEN"),
        404 => "the hub answers 404: check the spelling, or set HF_TOKEN if it is private".to_string(),
        _ => format!("the hub answers {status}"),
    }
}

/// A connection error; no message carries the token, which travels in a header only.
fn unreachable(error: &ureq::Error) -> String {
    format!("{error}; no connection: set HF_HUB_OFFLINE=1 to use what the cache has, or give a file")
}
