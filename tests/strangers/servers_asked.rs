//! How strangers' servers are asked, and what a run says of them: bodies, addresses, certificates, what is served.

use super::servers::{ask, counts, delta, stream, token, usage};
use super::support::simulated::{self, Act, Script, Server};
use serde_json::{Value, json};
use sizewell::engine::endpoint::{Api, RequestFormat, Trust};
use sizewell::engine::target::{Answer, RequestOutcome};
use sizewell::workload::traffic::{PlannedRequest, Prompt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn load(endpoint: &str, out: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sizewell"));
    command.args(["load", "--endpoint", endpoint, "--gen-tokens", "8", "--prompt", "16", "--warm-up", "0", "--json"]);
    command.args(["--rate", "100", "--arrivals", "constant", "--requests", "40", "-o"]).arg(out).args(args);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// run.json of a run, with the status that it ended with; one that is late on a busy machine is invalid, and says the same.
fn record(out: &Path, output: &Output, statuses: &[i32]) -> Value {
    let status = output.status.code().unwrap();
    assert!(statuses.contains(&status) || status == 5, "{status}: {}", said(output));
    serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).unwrap()).unwrap()
}

fn whole() -> Script {
    stream([vec![token(); 8], vec![delta(json!({}), json!("length")), usage(counts(8))]].concat())
}

fn refusal(status: u16, why: &str) -> Script {
    vec![Act::Send(simulated::json(status, &json!({"error": {"message": why}}).to_string()))]
}

#[test]
fn errors_and_cuts_break_what_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    // The first request, which tries whether the server is there, is answered.
    let error = super::servers::data(json!({"object": "error", "message": "CUDA out of memory", "code": 500}));
    let cut = vec![delta(json!({"content": " w"}), json!("")); 3];
    let failing = [vec![token(); 3], vec![error.clone()]].concat();
    let filtered = vec![token(), delta(json!({}), json!("content_filter"))];
    for (outcome, events) in [("truncated", cut), ("server_error", failing), ("content_filter", filtered)] {
        let server = Server::start(move |ask| if ask.order % 2 == 0 { whole() } else { stream(events.clone()) });
        let out = folder.path().join(outcome);
        let run = load(&server.url, &out, &["--slo", "e2e_p90=10s"]);
        let step = &record(&out, &run, &[3])["traffic"]["steps"][0];
        assert_eq!((&step["outcomes"][outcome], &step["outcomes"]["ok"]), (&json!(20), &json!(20)), "{step}");
        assert_eq!(step["verdict"], "breaks");
        let noted = step["answer_notes"].to_string();
        assert_eq!(
            noted.contains("20 of 40 requests were ended by the server's content filter"),
            outcome == "content_filter"
        );
    }
    let server = Server::start(move |_| stream(vec![error.clone()]));
    let run = load(&server.url, &folder.path().join("none"), &[]);
    assert!(run.status.code() == Some(1) && said(&run).contains("CUDA out of memory"), "{}", said(&run));
}

#[test]
fn no_limit_on_a_pace_that_is_not_seen_is_kept() {
    let all: Vec<u8> = [vec![token(); 8], vec![delta(json!({}), json!("length")), usage(counts(8))]].concat().concat();
    let server = Server::start(move |ask| {
        let bytes = [simulated::head(), simulated::chunk(&all), b"0\r\n\r\n".to_vec()].concat();
        vec![Act::Until(ask.at + std::time::Duration::from_millis(5)), Act::Send(bytes)]
    });
    let folder = tempfile::tempdir().unwrap();
    for (name, slo) in [("tpot", "tpot=1s"), ("goodput", "tpot=1s,e2e=60s,goodput=50%")] {
        let out = folder.path().join(name);
        let run = load(&server.url, &out, &["--slo", slo]);
        let record = record(&out, &run, &[4]);
        let step = &record["traffic"]["steps"][0];
        assert_eq!((&step["tpot_s"]["count"], &step["verdict"]), (&json!(0), &Value::Null), "{step}");
        assert_eq!((&step["terms"][0]["requests"], &step["terms"][0]["unseen"]), (&json!(0), &json!(40)));
        assert!(step["answer_notes"].to_string().contains("40 of 40 answers were handed over at once"), "{step}");
        if run.status.code() == Some(4) {
            assert!(said(&run).contains("cannot be told"), "{}", said(&run));
        }
    }
    let run = load(&server.url, &folder.path().join("e2e"), &["--slo", "e2e=60s"]);
    assert!([0, 5].contains(&run.status.code().unwrap()), "{}", said(&run));
    let args = ["load", "--endpoint", &server.url, "--find-limit", "--slo", "tpot=1s", "--gen-tokens", "8", "-o"];
    let found = Command::new(env!("CARGO_BIN_EXE_sizewell")).args(args).arg(folder.path().join("f")).output().unwrap();
    assert!(found.status.code() == Some(1) && said(&found).contains("handed over at once"), "{}", said(&found));
}

#[test]
fn bodies_are_changed_for_servers_that_refuse_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|ask| match &ask.body {
        body if body.get("max_tokens").is_some() => refusal(400, "Unsupported parameter: 'max_tokens'"),
        body if body.get("stream_options").is_some() => refusal(422, "stream_options: extra fields not permitted"),
        body if body["max_completion_tokens"] == 8 => whole(),
        body => refusal(400, &body.to_string()),
    });
    let refused = load(&server.url, &folder.path().join("a"), &[]);
    assert!(refused.status.code() == Some(1) && said(&refused).contains("--body-json"), "{}", said(&refused));
    for (name, patch) in [
        ("b", r#"{"max_completion_tokens":8,"max_tokens":null,"stream_options":null}"#),
        ("c", r#"{"max_completion_tokens":"{tokens}","max_tokens":null,"stream_options":null}"#),
    ] {
        let out = folder.path().join(name);
        let run = load(&server.url, &out, &["--body-json", patch]);
        let step = &record(&out, &run, &[0])["traffic"]["steps"][0];
        assert_eq!((&step["outcomes"]["ok"], &step["asked_tokens"]), (&json!(40), &json!(8.0)), "{step}");
    }
    for (patch, why) in [("{", "not JSON"), ("[1]", "not an object"), (r#"{"stream":false}"#, "`stream`")] {
        let run = load(&server.url, &folder.path().join("d"), &["--body-json", patch]);
        assert!(run.status.code() == Some(2) && said(&run).contains(why), "{}", said(&run));
    }
}

#[test]
fn addresses_are_asked_as_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|ask| match ask.path.as_str() {
        "/ok/api/paas/v4/chat/completions" | "/ok/v1/chat/completions?api-version=1&key=hunter2hunter2" => whole(),
        "/moved/v1/chat/completions" => {
            let head = "HTTP/1.1 307 X\r\nLocation: https://there.example/v1/chat/completions?x=1\r\nContent-Length: 0\r\n\r\n";
            vec![Act::Send(head.as_bytes().to_vec())]
        }
        other => refusal(404, other),
    });
    for (name, place) in [("a", "/ok/api/paas/v4/chat/completions"), ("b", "/ok/api/paas/v4/")] {
        let out = folder.path().join(name);
        let run = load(&format!("{}{place}", server.url), &out, &[]);
        assert_eq!(record(&out, &run, &[0])["traffic"]["steps"][0]["outcomes"]["ok"], 40);
    }
    let out = folder.path().join("c");
    let run = load(&format!("{}/ok?api-version=1&key=hunter2hunter2", server.url), &out, &[]);
    let written = record(&out, &run, &[0]).to_string() + &said(&run) + &String::from_utf8_lossy(&run.stdout);
    assert!(written.contains("?api-version=1&key=[key]") && !written.contains("hunter2"), "{written}");
    let moved = load(&format!("{}/moved", server.url), &folder.path().join("d"), &[]);
    let words = said(&moved);
    assert!(moved.status.code() == Some(1) && words.contains("https://there.example/v1/chat/completions:"), "{words}");
    let other = load(&format!("{}/v1/responses", server.url), &folder.path().join("e"), &[]);
    assert!(other.status.code() == Some(2) && said(&other).contains("/responses is an API"), "{}", said(&other));
}

/// A server that says of itself what engines say.
fn speaking(said: &'static [(&'static str, &'static str)]) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                let mut part = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut part) {
                    seen.extend_from_slice(&part[..read]);
                    let text = String::from_utf8_lossy(&seen).into_owned();
                    let Some(end) = text.find("\r\n\r\n") else { continue };
                    let length = text
                        .to_lowercase()
                        .split("content-length: ")
                        .nth(1)
                        .map_or(0, |rest| rest.split("\r\n").next().unwrap().trim().parse().unwrap());
                    if seen.len() < end + 4 + length {
                        continue;
                    }
                    let path = text.split(' ').nth(1).unwrap().to_string();
                    let answer = match said.iter().find(|(known, _)| *known == path) {
                        Some((_, body)) => simulated::json(200, body),
                        None if text.starts_with("GET") => simulated::json(404, "{}"),
                        None => match whole().pop() {
                            Some(Act::Send(bytes)) => bytes,
                            _ => Vec::new(),
                        },
                    };
                    seen.clear();
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn what_is_served_is_taken_from_those_who_know() {
    const CONFIG: &str = r#"{"model_type":"llama","hidden_size":64,"intermediate_size":128,"num_hidden_layers":2,
        "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":100,"max_position_embeddings":256,"rms_norm_eps":1e-5,
        "torch_dtype":"bfloat16"}"#;
    let folder = tempfile::tempdir().unwrap();
    let vllm = speaking(&[
        ("/v1/models", r#"{"data":[{"id":"mine","owned_by":"vllm","root":"/nowhere/mine","max_model_len":2048}]}"#),
        ("/version", r#"{"version":"0.32.0"}"#),
    ]);
    let out = folder.path().join("a");
    let unsaid = record(&out, &load(&vllm, &out, &[]), &[0]);
    assert_eq!((&unsaid["engine"]["name"], &unsaid["engine"]["version"]), (&json!("vllm"), &json!("0.32.0")));
    assert_eq!((&unsaid["engine"]["settings"]["max_context"], &unsaid["model"]), (&json!("2048"), &Value::Null));
    let notes = unsaid["traffic"]["notes"].to_string();
    assert!(notes.contains("--quant names it") && notes.contains("--model takes its config.json"), "{notes}");
    // What nobody says is unknown.
    let rows = std::fs::read_to_string(out.join("cases.csv")).unwrap();
    assert!(rows.contains(",precision@unknown,") && !rows.contains(",f16,"), "{rows}");

    let config = folder.path().join("config.json");
    std::fs::write(&config, CONFIG).unwrap();
    let out = folder.path().join("b");
    let told = record(&out, &load(&vllm, &out, &["--model", config.to_str().unwrap()]), &[0]);
    assert_eq!((&told["model"]["name"], &told["model"]["shape"]["hidden_size"]), (&json!("mine"), &json!(64)));
    assert!(std::fs::read_to_string(out.join("cases.csv")).unwrap().contains(",bf16,"));

    let tei = speaking(&[
        ("/v1/models", r#"{"data":[{"id":"Qwen/Qwen2.5-0.5B-Instruct"}]}"#),
        (
            "/info",
            r#"{"model_id":"Qwen/Qwen2.5-0.5B-Instruct","model_dtype":"float16","version":"3.1.0","max_total_tokens":4096}"#,
        ),
    ]);
    let out = folder.path().join("c");
    let tgi = record(&out, &load(&tei, &out, &[]), &[0]);
    assert_eq!((&tgi["engine"]["name"], &tgi["engine"]["version"]), (&json!("tgi"), &json!("3.1.0")));
    assert_eq!(tgi["model"]["shape"]["layers"], 24, "a preset by its name");
    assert!(std::fs::read_to_string(out.join("cases.csv")).unwrap().contains(",f16,"));
    let bad = load(&vllm, &folder.path().join("d"), &["--model", "no-such-model"]);
    assert!(bad.status.code() == Some(2) && said(&bad).contains("--model"), "{}", said(&bad));
}

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/servers").join(name)
}

/// A server whose certificate it has signed itself, made for these tests alone and for no other use.
async fn secured() -> std::net::SocketAddr {
    let certificate = CertificateDer::from_pem_file(case("self-signed.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(case("self-signed.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (listener, acceptor) =
        (tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap(), TlsAcceptor::from(Arc::new(config)));
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut part = vec![0; 65536];
                let _ = stream.read(&mut part).await;
                for act in whole() {
                    if let Act::Send(bytes) = act {
                        let _ = stream.write_all(&bytes).await;
                    }
                }
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

#[test]
fn certificates_are_believed_as_far_as_asked() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = runtime.block_on(secured());
    let asked = |scheme: &str, trust: Trust| -> Answer {
        let prompt = Prompt::Text("a b".into());
        let planned = PlannedRequest { index: 0, intended_s: 0.0, prompt, prompt_tokens: None, gen_tokens: 8 };
        ask(&format!("{scheme}://{address}"), RequestFormat { trust, ..RequestFormat::new(Api::Chat, "m") }, planned)
    };
    let refused = asked("https", Trust::System);
    assert_eq!(refused.outcome, RequestOutcome::Unreachable);
    assert!(
        refused.message.contains("--ca-cert FILE") && refused.message.contains("--insecure"),
        "{}",
        refused.message
    );
    for trust in [Trust::file(&case("self-signed.pem")).unwrap(), Trust::Anything] {
        let answer = asked("https", trust);
        assert_eq!((answer.outcome, answer.events.len()), (RequestOutcome::Ok, 8), "{}", answer.message);
    }
    assert!(Trust::file(&case("self-signed.key")).unwrap_err().contains("no certificate in it"));
}
