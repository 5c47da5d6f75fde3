//! Servers that speak the API oddly: what each means is read, and what cannot be told is not guessed.

use super::support::simulated::{self, Act, ReceivedRequest, Script, Server};
use serde_json::{Value, json};
use sizewell::engine::endpoint::{Api, Endpoint, Location, RequestFormat};
use sizewell::engine::target::{Answer, AnswerWarning, RequestOutcome, Target};
use sizewell::workload::traffic::{PlannedRequest, Prompt};
use std::io::Write;
use std::time::Duration;

/// Tokens of an answer.
const N: usize = 8;

pub fn data(value: Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

pub fn delta(delta: Value, finish: Value) -> Vec<u8> {
    data(json!({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

pub fn token() -> Vec<u8> {
    delta(json!({"content": " w"}), Value::Null)
}

pub fn usage(usage: Value) -> Vec<u8> {
    data(json!({"id": "c", "choices": [], "usage": usage}))
}

pub fn counts(tokens: usize) -> Value {
    json!({"prompt_tokens": 16, "completion_tokens": tokens, "total_tokens": 16 + tokens})
}

/// The end of a whole answer.
pub fn ending() -> Vec<Vec<u8>> {
    vec![delta(json!({}), json!("length")), usage(counts(N)), b"data: [DONE]\n\n".to_vec()]
}

fn tokens(count: usize) -> Vec<Vec<u8>> {
    vec![token(); count]
}

/// Events behind a head, each as a chunk.
pub fn stream(events: Vec<Vec<u8>>) -> Script {
    with_head(&simulated::head(), events)
}

fn with_head(head: &[u8], events: Vec<Vec<u8>>) -> Script {
    let mut bytes = head.to_vec();
    events.iter().for_each(|event| bytes.extend(simulated::chunk(event)));
    bytes.extend(b"0\r\n\r\n");
    vec![Act::Send(bytes)]
}

fn head(more: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{more}Transfer-Encoding: chunked\r\n\r\n").into_bytes()
}

fn planned(text: &str, prompt_tokens: Option<usize>, gen_tokens: usize) -> PlannedRequest {
    PlannedRequest { index: 0, intended_s: 0.0, prompt: Prompt::Text(text.into()), prompt_tokens, gen_tokens }
}

pub fn ask(url: &str, asks: RequestFormat, planned: PlannedRequest) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = Endpoint::new(&Location::parse(url).unwrap(), asks).unwrap();
    let asked =
        async { tokio::time::timeout(Duration::from_secs(20), endpoint.ask(planned, Default::default())).await };
    runtime.block_on(asked).expect("an answer within 20 s")
}

fn answered(script: impl Fn(&ReceivedRequest) -> Script + Send + Sync + 'static) -> Answer {
    let server = Server::start(script);
    ask(&server.url, RequestFormat::new(Api::Chat, "m"), planned("some words", None, N))
}

fn of(events: Vec<Vec<u8>>) -> Answer {
    answered(move |_| stream(events.clone()))
}

/// What is odd about counts; everything here comes at once, which is looked at elsewhere.
fn odd(answer: &Answer) -> Vec<AnswerWarning> {
    answer.warnings.iter().copied().filter(|odd| *odd != AnswerWarning::HandedOver).collect()
}

fn is_whole(name: &str, answer: &Answer) {
    let tokens = answer.output_tokens.map(|(tokens, _)| tokens);
    assert_eq!((answer.outcome, tokens), (RequestOutcome::Ok, Some(N)), "{name}: {}", answer.message);
    assert_eq!((answer.events.len(), answer.prompt_tokens), (N, Some(16)), "{name}");
    assert_eq!(odd(answer), [], "{name}");
}

#[test]
fn every_dialect_is_read_to_its_tokens() {
    let call = json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}]);
    let thoughts = json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]);
    let each = |value: Value| vec![delta(value, Value::Null); N];
    let lines = |from: &str, to: &str| -> Vec<Vec<u8>> {
        let events = [tokens(N), ending()].concat();
        events.iter().map(|event| String::from_utf8_lossy(event).replace(from, to).into_bytes()).collect()
    };
    let nan = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" w\"},\"logprobs\":{\"x\":-Infinity}}]}\n\n"
        .to_vec();
    let half = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" \\ud83d\"}}]}\n\n".to_vec();
    let twice = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" w\",\"content\":\" w\"}}]}\n\n".to_vec();
    let so_far = |i: usize| {
        let said = json!({"role": "assistant", "content": " w".repeat(i + 1)});
        data(json!({"choices": [{"index": 0, "message": said, "finish_reason": "null"}]}))
    };
    let float = json!({"prompt_tokens": 16.0, "completion_tokens": 8.0});
    let null = data(json!({"choices": null, "usage": counts(N)}));
    let finish = || delta(json!({}), json!("length"));
    let done = || b"data: [DONE]\n\n".to_vec();
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("plain", [tokens(N), ending()].concat()),
        ("content as a list", [each(json!({"content": thoughts})), ending()].concat()),
        ("calls of tools", [each(json!({"tool_calls": call})), ending()].concat()),
        ("a call of a function", [each(json!({"function_call": {"name": "f", "arguments": "x"}})), ending()].concat()),
        ("a refusal", [each(json!({"refusal": "no"})), ending()].concat()),
        ("finish_reason is empty", [vec![delta(json!({"content": " w"}), json!("")); N], ending()].concat()),
        ("all of it each time", [(0..N).map(so_far).collect(), ending()].concat()),
        ("all of it once more at the end", {
            let said =
                json!({"choices": [{"index": 0, "message": {"content": " w".repeat(N)}, "finish_reason": "stop"}]});
            [tokens(N), vec![data(said), usage(counts(N))]].concat()
        }),
        ("two events without a line between", {
            let joined = [token(), token()].concat();
            let joined = String::from_utf8(joined).unwrap().replacen("\n\n", "\n", 1).into_bytes();
            [tokens(N - 2), vec![joined], ending()].concat()
        }),
        ("choices null", [tokens(N), vec![finish(), null, done()]].concat()),
        ("counts as floats", [tokens(N), vec![finish(), usage(float), done()]].concat()),
        ("carriage returns", lines("\n", "\r")),
        ("both ends of lines", lines("\n", "\r\n")),
        ("no blank behind the colon", lines("data: ", "data:")),
        ("numbers that are none", [vec![nan; N], ending()].concat()),
        ("halves of characters", [vec![half; N], ending()].concat()),
        ("a key twice", [vec![twice; N], ending()].concat()),
        ("empty data and comments", [vec![b"data:\n\n: ping\n\n".to_vec()], tokens(N), ending()].concat()),
        ("no [DONE]", [tokens(N), vec![finish(), usage(counts(N))]].concat()),
        ("no finish_reason", [tokens(N), vec![usage(counts(N)), done()]].concat()),
        ("usage alone at the end", [tokens(N), vec![usage(counts(N))]].concat()),
        ("an end without an empty line", [tokens(N), vec![usage(counts(N)), b"data: [DONE]".to_vec()]].concat()),
        ("an unknown end, and usage", [tokens(N), vec![delta(json!({}), json!("eleven")), usage(counts(N))]].concat()),
    ];
    for (name, events) in cases {
        is_whole(name, &of(events));
    }
}

#[test]
fn marks_and_types_of_content_change_nothing() {
    // The mark stands before the first event that has a token.
    let mut marked = [tokens(N), ending()].concat();
    marked[0] = [b"\xef\xbb\xbf".as_slice(), &marked[0]].concat();
    is_whole("a byte order mark", &of(marked));
    for kind in ["Content-Type: application/json\r\n", "Content-Type: text/plain\r\n", ""] {
        let head = head(kind);
        is_whole(kind, &answered(move |_| with_head(&head, [tokens(N), ending()].concat())));
    }
}

#[test]
fn packed_streams_are_unpacked() {
    let text = [tokens(N), ending()].concat().concat();
    let gzip = {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&text).unwrap();
        out.finish().unwrap()
    };
    let zlib = {
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&text).unwrap();
        out.finish().unwrap()
    };
    for (name, bytes) in [("gzip", gzip.clone()), ("deflate", zlib)] {
        let head = head(&format!("Content-Type: text/event-stream\r\nContent-Encoding: {name}\r\n"));
        is_whole(name, &answered(move |_| with_head(&head, bytes.chunks(40).map(<[u8]>::to_vec).collect())));
    }
    let head = head("Content-Encoding: br\r\n");
    let answer = answered(move |_| with_head(&head, vec![gzip.clone()]));
    assert!(answer.outcome == RequestOutcome::Malformed && answer.message.contains("packed as br"), "{answer:?}");
}

#[test]
fn errors_within_a_stream_are_errors_in_the_servers_words() {
    let three = || tokens(3);
    let done = || vec![b"data: [DONE]\n\n".to_vec()];
    let in_choice =
        json!({"choices": [{"index": 0, "delta": {}, "error": {"message": "engine is dead"}, "finish_reason": null}]});
    for (name, event) in [
        (
            "vLLM's",
            data(json!({"object": "error", "message": "engine is dead", "type": "InternalServerError", "code": 500})),
        ),
        ("an event of that name", b"event: error\ndata: {\"message\":\"engine is dead\",\"status\":500}\n\n".to_vec()),
        ("a field of that name", b"error: {\"code\":500,\"message\":\"engine is dead\"}\n\n".to_vec()),
        ("FastAPI's", data(json!({"detail": "engine is dead"}))),
        ("a code", data(json!({"code": 503, "message": "engine is dead"}))),
        ("Anthropic's", data(json!({"type": "error", "error": {"type": "api_error", "message": "engine is dead"}}))),
        ("a string in a key", data(json!({"error": "engine is dead"}))),
        ("a string", data(json!("engine is dead"))),
        ("a text", b"data: Error: engine is dead\n\n".to_vec()),
        ("within choices", data(in_choice)),
        (
            "beside choices",
            data(json!({"choices": [{"index": 0, "delta": {}}], "error": {"message": "engine is dead"}})),
        ),
    ] {
        for before in [three(), Vec::new()] {
            let answer = of([before, vec![event.clone()], done()].concat());
            assert_eq!(answer.outcome, RequestOutcome::ServerError, "{name}: {}", answer.message);
            assert!(answer.message.contains("engine is dead"), "{name}: {}", answer.message);
        }
    }
    for reason in ["error", "abort", "network_error"] {
        let answer = of([three(), vec![delta(json!({}), json!(reason))], done()].concat());
        assert!(answer.outcome == RequestOutcome::ServerError && answer.message.contains(reason), "{answer:?}");
    }
    // A status of 200 and an error instead of a stream.
    let answer = answered(|_| vec![Act::Send(simulated::json(200, "{\"error\":{\"message\":\"engine is dead\"}}"))]);
    assert!(answer.outcome == RequestOutcome::ServerError && answer.message == "engine is dead", "{answer:?}");
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 17\r\n\r\n<html>502</html>\n".to_vec();
    let answer = answered(move |_| vec![Act::Send(page.clone())]);
    assert!(answer.outcome == RequestOutcome::Malformed && answer.message.contains("<html>502"), "{answer:?}");
}

#[test]
fn what_breaks_off_is_not_whole() {
    for reason in [json!(""), json!("null"), json!(null), json!("not_finished"), json!("eleven")] {
        let answer = of(vec![delta(json!({"content": " w"}), reason.clone()); 3]);
        assert_eq!(answer.outcome, RequestOutcome::Truncated, "{reason}: {}", answer.message);
    }
    // A count in every event is no end.
    let counted = |i: usize| {
        let choice = json!({"index": 0, "delta": {"content": " w"}, "finish_reason": null});
        data(json!({"choices": [choice], "usage": counts(i + 1)}))
    };
    assert_eq!(of((0..3).map(counted).collect()).outcome, RequestOutcome::Truncated);
    // An event that is cut in its middle is no event.
    let cut = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"cont".to_vec();
    assert_eq!(of([tokens(2), vec![cut]].concat()).outcome, RequestOutcome::Truncated);
    let filtered = of([tokens(1), vec![delta(json!({}), json!("content_filter")), usage(counts(1))]].concat());
    assert_eq!(filtered.outcome, RequestOutcome::Filtered);
}

#[test]
fn tokens_are_those_that_came() {
    let with = |count: Value| of([tokens(N), vec![delta(json!({}), json!("stop")), usage(count)]].concat());
    let seen = |answer: &Answer| answer.output_tokens.map(|(tokens, _)| tokens);
    let hidden = with(
        json!({"prompt_tokens": 16, "completion_tokens": 108, "completion_tokens_details": {"reasoning_tokens": 100}}),
    );
    assert_eq!((seen(&hidden), odd(&hidden)), (Some(8), vec![AnswerWarning::UnseenTokens]));
    assert_eq!(hidden.server_tokens, Some(108));
    let inflated = with(json!({"prompt_tokens": 16, "completion_tokens": 108}));
    assert_eq!((seen(&inflated), odd(&inflated)), (None, vec![AnswerWarning::CountTooHigh]));
    let within = with(
        json!({"prompt_tokens": 16, "completion_tokens": 8, "completion_tokens_details": {"reasoning_tokens": 4}}),
    );
    assert_eq!((seen(&within), odd(&within)), (Some(8), vec![]));
    for count in [json!({"completion_tokens": 0}), json!({"completion_tokens": -1}), json!({})] {
        assert_eq!(seen(&with(count.clone())), None, "{count}");
    }
}

#[test]
fn what_is_handed_over_at_once_shows_no_pace() {
    let wait = Duration::from_millis(30);
    let all: Vec<u8> = [tokens(N), ending()].concat().concat();
    let at_once = answered(move |ask| {
        let bytes = [simulated::head(), simulated::chunk(&all), b"0\r\n\r\n".to_vec()].concat();
        vec![Act::Until(ask.at + wait), Act::Send(bytes)]
    });
    assert_eq!((at_once.after_first, at_once.warnings), (None, vec![AnswerWarning::HandedOver]));
    // The first by itself, and all others together behind it.
    let rest: Vec<u8> = [tokens(N - 1), ending()].concat().concat();
    let held = answered(move |ask| {
        vec![
            Act::Send([simulated::head(), simulated::chunk(&token())].concat()),
            Act::Until(ask.at + wait),
            Act::Send([simulated::chunk(&rest), b"0\r\n\r\n".to_vec()].concat()),
        ]
    });
    assert_eq!((held.after_first, held.warnings), (None, vec![AnswerWarning::HandedOver]));
    let one = of(vec![delta(json!({"content": " w w w w w w w w"}), json!("length")), usage(counts(N))]);
    assert_eq!((one.after_first, one.warnings), (None, vec![AnswerWarning::HandedOver]));
}

#[test]
fn characters_of_prompts_are_no_tokens() {
    let text = "the quick brown fox jumps over the dog";
    let counting = |count: usize, ours: Option<usize>| {
        let body = json!({"data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": count}}).to_string();
        let server = Server::start(move |_| vec![Act::Send(simulated::json(200, &body))]);
        let answer = ask(&server.url, RequestFormat::new(Api::Embeddings, "m"), planned(text, ours, 1));
        assert_eq!(answer.outcome, RequestOutcome::Ok, "{}", answer.message);
        (answer.prompt_tokens, answer.warnings)
    };
    assert_eq!(counting(text.len(), None), (None, vec![AnswerWarning::CountsCharacters]));
    assert_eq!(counting(text.len(), Some(8)), (None, vec![AnswerWarning::CountsCharacters]));
    assert_eq!(counting(400, Some(8)), (None, vec![AnswerWarning::PromptTooHigh]));
    assert_eq!(counting(10, Some(8)), (Some(10), vec![]));
    for (body, outcome) in [
        (r#"{"object":"error","message":"no","code":400}"#, RequestOutcome::ServerError),
        (r#"{"data":[{"embedding":[NaN,0.5]}]}"#, RequestOutcome::Malformed),
    ] {
        let server = Server::start(move |_| vec![Act::Send(simulated::json(200, body))]);
        let answer = ask(&server.url, RequestFormat::new(Api::Embeddings, "m"), planned(text, None, 1));
        assert_eq!(answer.outcome, outcome, "{body}: {}", answer.message);
    }
}
