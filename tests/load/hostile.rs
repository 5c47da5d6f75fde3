//! Servers that misbehave: each kind is an outcome of its own, counts against every limit, and ends no run.

use crate::support::simulated::{self, Act, ReceivedRequest, Script, Server};
use sizewell::engine::endpoint::{Api, Endpoint, Location, RequestFormat};
use sizewell::engine::target::{RequestOutcome, Target};
use sizewell::measure::load::{End, Generator, Load, LoadObserver, Slo, StepPlan};
use sizewell::record::StepVerdict;
use sizewell::workload::traffic::{Arrivals, LengthDistribution, PlannedRequest, Prompt, PromptSource, Wording};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Silent;
impl LoadObserver for Silent {}

fn endpoint(url: &str, api: Api) -> Endpoint {
    let asks = RequestFormat::new(api, "m");
    Endpoint::new(&Location::parse(url).unwrap(), asks).unwrap()
}

fn ask_with_timeout(url: &str, api: Api, seconds: f64) -> Option<(RequestOutcome, String)> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let endpoint = endpoint(url, api);
    let planned = PlannedRequest {
        index: 0,
        intended_s: 0.0,
        prompt: Prompt::Text("a b".into()),
        prompt_tokens: None,
        gen_tokens: 3,
    };
    let asked = async {
        tokio::time::timeout(Duration::from_secs_f64(seconds), endpoint.ask(planned, Default::default())).await
    };
    let answer = runtime.block_on(asked).ok()?;
    Some((answer.outcome, answer.message))
}

fn outcome(api: Api, script: impl Fn(&ReceivedRequest) -> Script + Send + Sync + 'static) -> (RequestOutcome, String) {
    let server = Server::start(script);
    ask_with_timeout(&server.url, api, 20.0).unwrap()
}

fn stream(parts: &[&[u8]]) -> Script {
    let mut bytes = simulated::head();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    vec![Act::Send(bytes), Act::Close]
}

#[test]
fn each_way_to_fail_is_told_apart() {
    use RequestOutcome::*;
    let token = simulated::token("x");
    let huge = simulated::chunk(&vec![b'x'; 2 << 20]);
    let cases: Vec<(RequestOutcome, &str, Script)> = vec![
        (Truncated, "stream", stream(&[&token])),
        (Truncated, "before the answer did", stream(&[&token, b"0\r\n\r\n"])),
        (Malformed, "not JSON", stream(&[&simulated::event("{\"choices\": [")])),
        (Malformed, "not JSON", stream(&[&simulated::event("[1, 2]")])),
        (BadUtf8, "UTF-8", stream(&[&simulated::chunk(b"data: \xff\xfe\n\n")])),
        (TooLong, "never ends", stream(&[&huge])),
        (ServerError, "out of blocks", stream(&[&simulated::event("{\"error\":{\"message\":\"out of blocks\"}}")])),
        (Empty, "no text", stream(&[&simulated::ending(3, 0)])),
        (
            BadStatus,
            "status 503: overloaded",
            vec![Act::Send(simulated::json(503, "{\"error\":{\"message\":\"overloaded\"}}"))],
        ),
        (BadStatus, "status 200?", vec![Act::Send(simulated::json(429, ""))]),
        (NotStreamed, "at once", vec![Act::Send(simulated::json(200, "{\"choices\":[]}"))]),
        (Disconnected, "", vec![Act::Close]),
        (Disconnected, "", vec![Act::Send(b"what is this\r\n\r\n".to_vec()), Act::Close]),
    ];
    for (expected, words, script) in cases {
        let script = std::sync::Mutex::new(Some(script));
        // A request on a connection that breaks is sent once more by the client: the second gets the same.
        let (got, said) = outcome(Api::Completions, move |_| script.lock().unwrap().take().unwrap_or(vec![Act::Close]));
        assert_eq!(got, expected, "{said}");
        assert!(said.contains(words) || words == "status 200?", "{expected:?}: {said}");
    }
    let (got, said) = ask_with_timeout("http://127.0.0.1:1", Api::Chat, 20.0).unwrap();
    assert_eq!(got, Unreachable, "{said}");
}

#[test]
fn an_answer_is_whole_when_it_says_so() {
    // Behind [DONE] a server may hold the connection open, or drop it without the last chunk.
    let said: Vec<u8> = [simulated::head(), simulated::token("x"), simulated::event("[DONE]")].concat();
    let (held, dropped) = (said.clone(), said);
    let began = Instant::now();
    let (got, why) = outcome(Api::Completions, move |ask| {
        vec![Act::Send(held.clone()), Act::Until(ask.at + Duration::from_secs(30))]
    });
    assert!(got == RequestOutcome::Ok && began.elapsed() < Duration::from_secs(5), "{got:?} {why}");
    let (got, why) = outcome(Api::Completions, move |_| vec![Act::Send(dropped.clone()), Act::Close]);
    assert_eq!(got, RequestOutcome::Ok, "{why}");
    // vLLM sends thoughts under two names; an empty list of calls is no token.
    let delta = |fields: &str| {
        simulated::event(&format!("{{\"choices\":[{{\"index\":0,\"delta\":{{{fields}}},\"finish_reason\":null}}]}}"))
    };
    let thinks = delta("\"content\":null,\"reasoning\":\"hm\",\"reasoning_content\":\"hm\"");
    let nothing = delta("\"content\":\"\",\"tool_calls\":[]");
    let bytes: Vec<u8> = [simulated::head(), nothing.clone(), thinks, nothing, simulated::ending(3, 1)].concat();
    let server = Server::start(move |_| vec![Act::Send(bytes.clone())]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let planned = PlannedRequest {
        index: 0,
        intended_s: 0.0,
        prompt: Prompt::Text("a".into()),
        prompt_tokens: None,
        gen_tokens: 1,
    };
    let answer = runtime.block_on(endpoint(&server.url, Api::Chat).ask(planned, Default::default()));
    assert_eq!((answer.outcome, answer.events.len()), (RequestOutcome::Ok, 1), "{}", answer.message);
}

#[test]
fn what_a_server_says_is_kept_short() {
    let page = format!("{{\"choices\": \"{}\\u001b[2J\"}}", "x".repeat(200_000));
    let (got, why) = outcome(Api::Completions, move |_| stream(&[&simulated::event(&page)]));
    assert!(got == RequestOutcome::Malformed && why.len() < 400 && !why.contains('\u{1b}'), "{got:?} {}", why.len());
}

#[test]
fn a_step_that_is_cut_off_charges_only_what_is_known() {
    // The first token comes at once, the rest much later: a limit on TTFT is kept by all, those that were cut off too.
    let server = Server::start(|ask| {
        vec![
            Act::Send([simulated::head(), simulated::token("x")].concat()),
            Act::Until(ask.at + Duration::from_secs(5)),
            Act::Send([simulated::token("x"), simulated::ending(4, 2)].concat()),
        ]
    });
    struct Soon(Instant);
    impl LoadObserver for Soon {
        fn reason_to_stop(&self) -> Option<String> {
            (self.0.elapsed() > Duration::from_secs(2)).then(|| "enough".to_string())
        }
    }
    let plan = StepPlan { timeout: Duration::from_secs(60), ..plan(20.0, 10_000, "ttft_p90=500ms,e2e_p90=60s", false) };
    let record = generator(&server).run(&plan, &mut Soon(Instant::now()));
    assert!(record.outcomes["cut"] > 20, "{:?}", record.outcomes);
    assert!(record.terms[0].requests > 20 && record.terms[0].beyond == 0, "{:?}", record.terms);
}

#[test]
fn good_answers_are_read_in_every_dialect() {
    let chat = |content: &str| {
        simulated::event(&format!("{{\"choices\":[{{\"index\":0,\"delta\":{content},\"finish_reason\":null}}]}}"))
    };
    // The role comes first and is no token; thinking is.
    let vllm = [
        chat("{\"role\":\"assistant\",\"content\":\"\"}"),
        chat("{\"reasoning_content\":\"hm\"}"),
        chat("{\"content\":\"yes\"}"),
    ];
    let mut parts: Vec<&[u8]> = vllm.iter().map(Vec::as_slice).collect();
    let ending = simulated::ending(7, 2);
    parts.push(&ending);
    let bytes = stream(&parts);
    let bytes = std::sync::Mutex::new(Some(bytes));
    let server = Server::start(move |_| bytes.lock().unwrap().take().unwrap_or_default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let planned = PlannedRequest {
        index: 0,
        intended_s: 0.0,
        prompt: Prompt::Text("a".into()),
        prompt_tokens: None,
        gen_tokens: 3,
    };
    let answer = runtime.block_on(endpoint(&server.url, Api::Chat).ask(planned, Default::default()));
    assert_eq!((answer.outcome, answer.events.len(), answer.prompt_tokens), (RequestOutcome::Ok, 2, Some(7)));
    assert_eq!(answer.output_tokens.map(|(count, _)| count), Some(2));

    let (got, said) = outcome(Api::Embeddings, |ask| {
        assert_eq!(ask.path, "/v1/embeddings");
        vec![Act::Send(simulated::json(200, "{\"data\":[{\"embedding\":[0.5]}],\"usage\":{\"prompt_tokens\":4}}"))]
    });
    assert_eq!(got, RequestOutcome::Ok, "{said}");
    for (body, expected) in [("{\"data\":[]}", RequestOutcome::Empty), ("{", RequestOutcome::Malformed)] {
        assert_eq!(outcome(Api::Embeddings, move |_| vec![Act::Send(simulated::json(200, body))]).0, expected);
    }
}

fn plan(rate: f64, requests: usize, slo: &str, early: bool) -> StepPlan {
    StepPlan {
        step: 0,
        load: Load::Open { arrivals: Arrivals::Constant, rate },
        end: End { requests: Some(requests), seconds: None },
        warm_up_s: 0.0,
        timeout: Duration::from_millis(700),
        slo: slo.parse::<Slo>().unwrap(),
        seed: 1,
        may_end_early: early,
    }
}

fn generator(server: &Server) -> Generator {
    let fixed = LengthDistribution::Fixed;
    let prompts = PromptSource::synthetic(Wording::Words, fixed(4), fixed(1), 0.0, (1, 0));
    Generator::new(Arc::new(endpoint(&server.url, Api::Completions)), prompts, 2).unwrap()
}

#[test]
fn trickles_time_out_and_failures_count_against_every_limit() {
    // Of ten requests, one trickles for ever, one is refused, one breaks off.
    let server = Server::start(|ask| match ask.order % 10 {
        3 => {
            let mut script = vec![Act::Send(simulated::head())];
            for i in 0..100 {
                script.extend([Act::Until(ask.at + Duration::from_millis(50 * i)), Act::Send(simulated::token("x"))]);
            }
            script
        }
        5 => vec![Act::Send(simulated::json(429, "{\"error\":{\"message\":\"slow down\"}}"))],
        7 => stream(&[&simulated::token("x")]),
        _ => vec![Act::Send(simulated::answer(1))],
    });
    let record = generator(&server).run(&plan(100.0, 200, "e2e_p90=500ms", false), &mut Silent);
    let count = |name: &str| record.outcomes.get(name).copied().unwrap_or(0);
    assert_eq!((count("timeout"), count("bad_status"), count("truncated"), count("ok")), (20, 20, 20, 140));
    assert_eq!((record.requests, record.terms[0].beyond), (200, 60));
    assert!((record.goodput - 0.7).abs() < 1e-9);
    assert_eq!(record.verdict, Some(StepVerdict::Breaks));
    assert!(record.messages.iter().any(|message| message.contains("slow down")), "{:?}", record.messages);
}

#[test]
fn a_server_that_falls_behind_is_left_early() {
    let places = simulated::Places::new(1);
    let server = Server::start(move |ask| {
        vec![Act::Until(places.done(ask.at, Duration::from_millis(20))), Act::Send(simulated::answer(1))]
    });
    let began = Instant::now();
    let plan = StepPlan { timeout: Duration::from_secs(60), ..plan(200.0, 20_000, "e2e_p90=200ms", true) };
    let record = generator(&server).run(&plan, &mut Silent);
    assert!(began.elapsed() < Duration::from_secs(40), "100 s of requests were planned");
    assert!(record.cut_short.is_some() && record.verdict == Some(StepVerdict::Breaks));
    assert!(record.outcomes.get("cut").is_some_and(|cut| *cut > 0), "those under way are neither answered nor failed");
}

fn sizewell() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sizewell"))
}

#[test]
fn a_key_is_sent_and_never_written() {
    let server = Server::start(|ask| match ask.authorization.as_deref() {
        Some("Bearer sk-secret-12345678") => vec![Act::Send(simulated::answer(2))],
        other => {
            let repeated = other.unwrap_or("").replace("Bearer ", "");
            let said = format!("{{\"error\":{{\"message\":\"bad key {repeated}, that is {}****\"}}}}", &repeated[..7]);
            vec![Act::Send(simulated::json(401, &said))]
        }
    });
    let folder = tempfile::tempdir().unwrap();
    for (key, status) in [("sk-secret-12345678", 0), ("sk-secret-99999999", 1)] {
        let out = folder.path().join(key.len().to_string() + &status.to_string());
        let run = sizewell()
            .args(["load", "--endpoint", &server.url, "--api", "completions", "--rate", "50", "--requests", "60"])
            .args(["--warm-up", "0", "--api-key-env", "MY_KEY", "-o"])
            .arg(&out)
            .env("MY_KEY", key)
            .output()
            .unwrap();
        let code = run.status.code().unwrap();
        assert!(code == status || (status == 0 && code == 5), "{}", String::from_utf8_lossy(&run.stderr));
        let mut written = [run.stdout, run.stderr].concat();
        for file in std::fs::read_dir(&out).into_iter().flatten().flatten() {
            written.extend(std::fs::read(file.path()).unwrap());
        }
        assert!(!String::from_utf8_lossy(&written).contains("sk-secret"), "{}", String::from_utf8_lossy(&written));
    }
}

#[test]
fn wrong_usage_is_said_before_anything_is_sent() {
    let server = Server::start(|_| vec![Act::Send(simulated::answer(1))]);
    for (args, why) in [
        (vec!["--rate", "0"], "--rate must be above 0"),
        (vec![], "say how requests come"),
        (vec!["--rate", "5", "--slo", "p99=3s"], "not a limit"),
        (vec!["--find-limit", "--slo", ""], "--find-limit needs limits"),
        (vec!["--rate", "5", "--prompt", "0"], "number of tokens"),
        (vec!["--rate", "5", "--arrivals", "often"], "none of poisson"),
        (vec!["--rate", "5", "--shared-prefix", "2"], "--shared-prefix"),
        (vec!["--rate", "5", "--api-key-env", "NOT_THERE_AT_ALL"], "there is no environment variable NOT_THERE_AT_ALL"),
        (vec!["--trace", "no-such-file.csv"], "no-such-file.csv"),
        (vec!["--rate", "5", "--timeout", "soon"], "--timeout"),
    ] {
        let run = sizewell().args(["load", "--endpoint", &server.url]).args(&args).output().unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let secret =
        sizewell().args(["load", "--endpoint", "http://me:hunter2@127.0.0.1:1", "--rate", "5"]).output().unwrap();
    assert_eq!(secret.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&secret.stderr).contains("hunter2"));
    assert_eq!(server.asks.load(std::sync::atomic::Ordering::SeqCst), 0);
}
