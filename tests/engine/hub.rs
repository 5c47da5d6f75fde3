//! Models from a hub, played by a server on this machine: cache, token, endpoint, offline mode, and answers that are
//! wrong.

use crate::support;
use crate::support::http::{Answer, Request, Server};
use crate::support::{shape, tensors, tiny, write_folder};
use candle_core::DType;
use ring::digest::{Digest, SHA256, digest};
use sizewell::workload::Architecture;
use std::collections::HashMap;
use std::path::Path;
use std::process::Output;

fn sha256(bytes: &[u8]) -> Digest {
    digest(&SHA256, bytes)
}

const ID: &str = "owner/tiny-model";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// How the hub should misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Status(u16),
    /// A body that ends before its length.
    Truncated,
    /// Tags that would leave the cache.
    EvilTags,
    /// A list of files that would leave the cache.
    EvilNames,
    /// A redirect to nowhere.
    BareRedirect,
    /// Not JSON.
    Garbage,
    /// Weights that are not those whose SHA-256 is published.
    Corrupt,
}

fn hub(files: HashMap<String, Vec<u8>>, fault: Fault) -> Server {
    Server::start(move |request, address| answer(request, address, &files, fault))
}

fn answer(request: &Request, address: &str, files: &HashMap<String, Vec<u8>>, fault: Fault) -> Answer {
    let path = request.path.as_str();
    let tagged = |answer: Answer, etag: &str| answer.header("x-repo-commit", COMMIT).header("etag", etag);
    match fault {
        Fault::Status(code) => return Answer::new(code, "no"),
        Fault::Garbage if path.starts_with("/api") => return Answer::new(200, "<html>"),
        Fault::BareRedirect if !path.starts_with("/api") => return tagged(Answer::new(302, ""), "abc"),
        _ => {}
    }
    if path.starts_with("/api/models/") {
        let mut names: Vec<&str> = files.keys().map(String::as_str).collect();
        if fault == Fault::EvilNames {
            names.push("../../../evil.safetensors");
        }
        let siblings: Vec<_> = names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        return Answer::new(200, serde_json::json!({ "siblings": siblings, "sha": COMMIT }).to_string());
    }
    let name = path.rsplit('/').next().unwrap_or("");
    let Some(body) = files.get(name) else { return Answer::new(404, "none") };
    let etag = match fault {
        Fault::EvilTags => "../../../../evil".to_string(),
        // The tag of a large file is its SHA-256.
        _ if name.ends_with(".safetensors") || name.ends_with(".gguf") => {
            sha256(body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
        }
        _ => format!("tag-{}", name.replace('.', "-")),
    };
    let mut body = body.clone();
    if fault == Fault::Corrupt && name.ends_with(".safetensors") {
        *body.last_mut().unwrap() ^= 0x11;
    }
    // Weights are served from elsewhere, as the real hub does.
    if name.ends_with(".safetensors") && !path.starts_with("/cdn/") {
        let elsewhere = format!("{}/cdn/{name}", address.replace("127.0.0.1", "localhost"));
        return Answer::new(302, "")
            .header("x-repo-commit", COMMIT)
            .header("x-linked-etag", etag)
            .header("Location", elsewhere);
    }
    // Every request of the client has a range.
    let range = request.header("Range").unwrap_or("bytes=0-").trim_start_matches("bytes=").to_string();
    let (start, end) = range.split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse::<usize>().map_or(body.len(), |end| (end + 1).min(body.len()));
    let part = body[start.min(end)..end].to_vec();
    let cut_at = (fault == Fault::Truncated && part.len() > 1).then_some(part.len() / 2);
    let answer = Answer { cut_at, ..Answer::new(206, part) };
    let range = format!("bytes {start}-{}/{}", end.max(1) - 1, body.len());
    tagged(answer, &format!("\"{etag}\"")).header("Content-Range", range)
}

/// The files of a small model in two shards.
fn model_files() -> HashMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape(Architecture::Qwen3);
    write_folder(dir.path(), &shape, &tensors(&shape), DType::BF16, 2);
    let files = std::fs::read_dir(dir.path()).unwrap().flatten();
    files.map(|f| (f.file_name().to_string_lossy().into_owned(), std::fs::read(f.path()).unwrap())).collect()
}

fn profile(home: &Path, endpoint: &str, model: &str, envs: &[(&str, &str)]) -> Output {
    let (_, workload) = tiny::write(home);
    let mut command = tiny::sizewell();
    command.args(["profile", "--no-ceilings", "--threads", "1", "--batch", "1", "--model", model, "--workload"]);
    command.arg(workload).arg("-o").arg(home.join(format!("run{}", home.read_dir().unwrap().count())));
    command.env("HF_HOME", home.join("hf")).env("HF_ENDPOINT", endpoint).envs(envs.iter().copied());
    command.output().unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn a_sharded_model_is_fetched_once_and_then_used_offline() {
    let home = tempfile::tempdir().unwrap();
    let server = hub(model_files(), Fault::None);
    let out = profile(home.path(), &server.address, ID, &[("HF_TOKEN", "hf_secret_of_mine")]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    let first = server.requests();
    assert!(first.iter().any(|r| r.path.contains("model-00002-of-00002.safetensors")));
    for request in &first {
        let token = request.header("Authorization");
        if request.path.starts_with("/cdn/") {
            assert_eq!(token, None, "the token stays with the hub")
        } else {
            assert_eq!(token, Some("Bearer hf_secret_of_mine"), "{}", request.path)
        }
    }
    let text = stderr(&out) + &String::from_utf8_lossy(&out.stdout);
    assert!(!text.contains("hf_secret"), "{text}");
    for entry in std::fs::read_dir(home.path().join("run2")).unwrap().flatten() {
        assert!(!std::fs::read_to_string(entry.path()).unwrap().contains("hf_secret"), "{:?}", entry.path());
    }
    // A second run fetches no weights again.
    let out = profile(home.path(), &server.address, ID, &[]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    let second = server.requests()[first.len()..].to_vec();
    assert!(second.iter().all(|r| r.path.starts_with("/api/")), "{second:?}");
    // Offline, nothing is asked at all.
    let before = server.requests().len();
    let out = profile(home.path(), &server.address, ID, &[("HF_HUB_OFFLINE", "1")]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    assert_eq!(server.requests().len(), before);
    let out = profile(home.path(), &server.address, "owner/other", &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("`config.json` is not in the cache"), "{}", stderr(&out));
}

#[test]
fn revisions_are_not_mixed() {
    let home = tempfile::tempdir().unwrap();
    let files = model_files();
    let server = hub(files.clone(), Fault::None);
    // An earlier revision left its config behind.
    let repository = home.path().join("hf/hub/models--owner--tiny-model");
    std::fs::create_dir_all(repository.join("snapshots/older")).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), "older").unwrap();
    std::fs::write(repository.join("snapshots/older/config.json"), &files["config.json"]).unwrap();
    let out = profile(home.path(), &server.address, ID, &[]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    assert_eq!(std::fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert!(repository.join("snapshots").join(COMMIT).join("config.json").exists());
}

#[test]
fn a_gguf_file_of_a_repository_is_chosen_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let shape = shape(Architecture::Llama);
    support::write_gguf(&dir.path().join("m.gguf"), &shape, &tensors(&shape), candle_core::quantized::GgmlDType::Q8_0);
    let bytes = std::fs::read(dir.path().join("m.gguf")).unwrap();
    let files = HashMap::from([("a-Q8_0.gguf".to_string(), bytes.clone()), ("b-Q8_0.gguf".to_string(), bytes)]);
    let server = hub(files, Fault::None);
    let home = tempfile::tempdir().unwrap();
    let out = profile(home.path(), &server.address, ID, &[]);
    assert!(stderr(&out).contains("owner/tiny-model:FILE") && stderr(&out).contains("b-Q8_0.gguf"), "{}", stderr(&out));
    let out = profile(home.path(), &server.address, &format!("{ID}:a-Q8_0.gguf"), &[]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    // The only file that the cache has needs no name.
    let out = profile(home.path(), &server.address, ID, &[("HF_HUB_OFFLINE", "TRUE")]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    let out = profile(home.path(), &server.address, &format!("{ID}:c.gguf"), &[]);
    assert!(stderr(&out).contains("no file `c.gguf`"), "{}", stderr(&out));
}

#[test]
fn wrong_answers_are_errors_that_name_the_model() {
    for (fault, part) in [
        (Fault::Status(401), "set HF_TOKEN"),
        (Fault::Status(404), "check the spelling"),
        (Fault::Status(500), "500"),
        (Fault::Garbage, "cannot be fetched"),
        (Fault::BareRedirect, "malformed"),
        (Fault::EvilTags, "its tags are no names"),
        (Fault::Truncated, "cannot be fetched"),
    ] {
        let home = tempfile::tempdir().unwrap();
        let server = hub(model_files(), fault);
        let out = profile(home.path(), &server.address, ID, &[("HF_TOKEN", "hf_secret_of_mine")]);
        let text = stderr(&out);
        assert_eq!(out.status.code(), Some(1), "{fault:?}: {text}");
        assert!(text.contains(ID) && text.contains(part), "{fault:?}: {text}");
        assert!(!text.contains("hf_secret"), "{fault:?}: {text}");
    }
}

#[test]
fn bytes_that_do_not_have_the_published_hash_are_not_kept() {
    let home = tempfile::tempdir().unwrap();
    let files = model_files();
    let server = hub(files.clone(), Fault::Corrupt);
    let out = profile(home.path(), &server.address, ID, &[]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{text}");
    let published: String =
        sha256(&files["model-00001-of-00002.safetensors"]).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.contains("model-00001-of-00002.safetensors") && text.contains(&published), "{text}");
    let blobs = home.path().join("hf/hub/models--owner--tiny-model/blobs");
    let kept: Vec<_> = std::fs::read_dir(&blobs).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(kept.iter().all(|name| name.to_string_lossy().starts_with("tag-")), "{kept:?}");
    // From a hub that sends what it has published, the same command goes well.
    let server = hub(files, Fault::None);
    let out = profile(home.path(), &server.address, ID, &[]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
}

#[test]
fn all_parts_of_a_split_gguf_file_are_fetched() {
    let dir = tempfile::tempdir().unwrap();
    support::write_split_gguf(dir.path(), "m-Q8_0", &shape(Architecture::Llama));
    let files = std::fs::read_dir(dir.path()).unwrap().flatten();
    let files =
        files.map(|f| (f.file_name().to_string_lossy().into_owned(), std::fs::read(f.path()).unwrap())).collect();
    let server = hub(files, Fault::None);
    let home = tempfile::tempdir().unwrap();
    for (model, envs) in [
        (ID.to_string(), [].as_slice()),
        (format!("{ID}:m-Q8_0-00002-of-00002.gguf"), &[]),
        (ID.to_string(), &[("HF_HUB_OFFLINE", "1")]),
    ] {
        let out = profile(home.path(), &server.address, &model, envs);
        assert!(matches!(out.status.code(), Some(0 | 5)), "{model}: {}", stderr(&out));
    }
}

#[test]
fn names_that_would_leave_the_cache_are_ignored() {
    let home = tempfile::tempdir().unwrap();
    let server = hub(model_files(), Fault::EvilNames);
    let out = profile(home.path(), &server.address, ID, &[]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    assert!(!server.requests().iter().any(|r| r.path.contains("evil")));
}

#[test]
fn an_endpoint_that_is_no_address_or_does_not_answer_is_said() {
    let home = tempfile::tempdir().unwrap();
    let out = profile(home.path(), "not an address", ID, &[]);
    assert!(stderr(&out).contains("HF_ENDPOINT: `not an address`"), "{}", stderr(&out));
    // Port 1 of this machine: nothing listens there.
    let out = profile(home.path(), "http://127.0.0.1:1", ID, &[]);
    assert!(stderr(&out).contains("no connection"), "{}", stderr(&out));
}

#[test]
fn a_download_that_broke_off_goes_on_where_it_ended() {
    let home = tempfile::tempdir().unwrap();
    let files = model_files();
    let broken = hub(files.clone(), Fault::Truncated);
    assert_eq!(profile(home.path(), &broken.address, ID, &[]).status.code(), Some(1));
    let server = hub(files, Fault::None);
    let out = profile(home.path(), &server.address, ID, &[]);
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    let ranges: Vec<String> = server.requests().iter().filter_map(|r| r.header("Range").map(str::to_string)).collect();
    assert!(ranges.iter().any(|range| !range.starts_with("bytes=0-")), "{ranges:?}");
}
