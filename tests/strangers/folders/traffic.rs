//! Traces and prompts that others wrote: sent as they are meant, or refused with what to say.

use super::{code, said};
use crate::support::simulated::{self, Act, Server};
use crate::support::tiny::sizewell;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Instant;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/folders").join(name)
}

/// When a request came, and its body.
type Seen = Arc<Mutex<Vec<(Instant, serde_json::Value)>>>;

/// A server that answers at once, and what it was asked.
fn server() -> (Server, Seen) {
    let seen = Seen::default();
    let kept = seen.clone();
    let server = Server::start(move |ask| {
        kept.lock().unwrap().push((ask.at, ask.body.clone()));
        let asked = ask.body["max_tokens"].as_u64().unwrap_or(1) as usize;
        vec![Act::Send(simulated::answer(asked))]
    });
    (server, seen)
}

fn load(url: &str, place: &Path, args: &[&str]) -> Output {
    let mut command = sizewell();
    command.args(["load", "--endpoint", url, "--served-model", "m", "--warm-up", "0", "-o"]).arg(place.join("run"));
    command.args(args).output().unwrap()
}

#[test]
fn a_trace_in_seconds_is_sent_at_its_seconds() {
    let (server, seen) = server();
    let place = tempfile::tempdir().unwrap();
    let trace = case("trace-bailian-seconds.jsonl");
    let out = load(&server.url, place.path(), &["--trace", trace.to_str().unwrap()]);
    assert!(
        said(&out).contains(
            "the trace has 3 requests, 0.600 requests a second over 5.00 s; `timestamp` counts seconds (as in traces of \
             Bailian); the longest gap is 3.00 s"
        ),
        "{}",
        said(&out)
    );
    // The first request of all is only to see that the server is there.
    let seen = seen.lock().unwrap();
    let at: Vec<f64> = seen[1..].iter().map(|(at, _)| (*at - seen[1].0).as_secs_f64()).collect();
    for (at, due) in at.iter().zip([0.0, 2.0, 5.0]) {
        assert!((at - due).abs() < 0.3, "{at} for {due}");
    }
    assert_eq!(seen[1..].iter().map(|(_, body)| body["max_tokens"].as_u64()).collect::<Vec<_>>(), [8, 6, 7].map(Some));
    let record = sizewell::record::Run::read(&place.path().join("run")).unwrap().record;
    assert!(record.traffic.unwrap().notes.iter().any(|note| note.contains("counts seconds")));
}

#[test]
fn every_trace_is_understood_or_asks_for_its_unit() {
    let place = tempfile::tempdir().unwrap();
    // Nobody listens there: what is said of the trace comes before.
    let url = "http://127.0.0.1:9";
    let told = |text: &str, more: &[&str]| {
        let file = place.path().join("trace");
        std::fs::write(&file, text).unwrap();
        let out = load(url, place.path(), &[&["--trace", file.to_str().unwrap()], more].concat());
        (code(&out), said(&out))
    };
    for (name, status, why) in [
        ("ms.jsonl", 1, "over 300 ms; `timestamp` counts milliseconds (as in traces of Mooncake)"),
        (
            "azure.csv",
            1,
            "over 190 ms; `TIMESTAMP` holds dates with their zones; the longest gap is 100 ms; 1 stood behind",
        ),
        ("neg.csv", 1, "2 requests, 0.400 requests a second over 5.00 s"),
        ("epoch.csv", 1, "over 200 ms; `timestamp_s` counts seconds (as its name says, since 1970, from 2023-11-14)"),
        ("gap.csv", 2, "the longest gap is 1700000000 s): --speed plays it faster"),
        ("semi.csv", 2, "fields are to be separated by commas"),
        ("zero.csv", 2, "no request in it"),
    ] {
        let out = load(url, place.path(), &["--trace", case(name).to_str().unwrap()]);
        assert_eq!(code(&out), status, "{name}: {}", said(&out));
        assert!(said(&out).contains(why), "{name}: {}", said(&out));
    }
    let vague = "{\"timestamp\": 1000, \"input_length\": 8, \"output_length\": 4}\n\
                 {\"timestamp\": 3000, \"input_length\": 8, \"output_length\": 4}\n";
    let (status, words) = told(vague, &[]);
    assert!(status == 2 && words.contains("say it with --trace-unit s or --trace-unit ms"), "{words}");
    let (status, words) = told(vague, &["--trace-unit", "ms"]);
    assert!(
        status == 1 && words.contains("over 2.00 s; `timestamp` counts milliseconds (as --trace-unit says)"),
        "{words}"
    );
    let (status, words) = told(vague, &["--trace-unit", "s", "--speed", "100"]);
    assert!(status == 1 && words.contains("over 20.0 s at 100 times its speed; `timestamp` counts seconds"), "{words}");
    let named = "timestamp_s,prompt_tokens,gen_tokens\n1700000000000,8,4\n1700000005000,8,4\n";
    assert!(told(named, &[]).1.contains("counts milliseconds since 1970 by its numbers"));
    assert!(told(named, &["--trace-unit", "ms"]).1.contains("over 5.00 s"));
    let mixed = "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+02:00,8,4\n2024-05-10 00:00:01,8,4\n";
    assert!(told(mixed, &[]).1.contains(":3: a date without a zone stands where"), "{}", told(mixed, &[]).1);
    let zones =
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00+00:00,8,4\n2024-05-09 20:00:02-04:00,8,4\n";
    assert!(told(zones, &[]).1.contains("over 2.00 s"), "{}", told(zones, &[]).1);
    let log = "timestamp_s,prompt_tokens,gen_tokens\n0,8,\n1,8,4\n2,8,4\n";
    assert!(told(log, &[]).1.contains("1 rows without tokens to ask or to answer are left out"));
    assert!(told(&zones.replace("TIMESTAMP", "Timestamp"), &["--trace-unit", "s"]).1.contains("is for numbers"));
}

#[test]
fn conversations_are_prompts_and_tables_are_none() {
    let (server, seen) = server();
    let place = tempfile::tempdir().unwrap();
    let common = ["--api", "completions", "--rate", "50", "--requests", "6", "--prompts"];
    let file = case("sharegpt.json");
    let args = [common.as_slice(), &[file.to_str().unwrap()]].concat();
    let out = load(&server.url, place.path(), &args);
    let asked: Vec<String> =
        seen.lock().unwrap().iter().map(|(_, body)| body["prompt"].as_str().unwrap().to_string()).collect();
    assert!(asked.len() == 7 && asked.iter().all(|prompt| prompt == "hi there"), "{asked:?}: {}", said(&out));
    std::fs::remove_dir_all(place.path().join("run")).unwrap();
    seen.lock().unwrap().clear();
    let file = case("vllm-custom.jsonl");
    let args = [common.as_slice(), &[file.to_str().unwrap()]].concat();
    load(&server.url, place.path(), &args);
    assert!(
        seen.lock().unwrap().iter().all(|(_, body)| body["max_tokens"] == 4),
        "the length of the file is asked for"
    );
    std::fs::remove_dir_all(place.path().join("run")).unwrap();
    let file = case("azure.csv");
    let args = [common.as_slice(), &[file.to_str().unwrap()]].concat();
    let out = load(&server.url, place.path(), &args);
    assert!(code(&out) == 2 && said(&out).contains("azure.csv:1: is a table"), "{}", said(&out));
    assert!(!place.path().join("run").exists(), "nothing was begun");
}
