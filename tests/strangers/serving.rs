//! The port under strangers' requests: lengths that differ, texts that are far too long, bodies of real clients, and a pass
//! that panics.

use serde_json::{Value, json};
use sizewell::engine::EngineError;
use sizewell::engine::backend::ops::Kernels;
use sizewell::engine::scheduler::{BatchModel, Scheduler, Segment};
use sizewell::engine::serve::{ServerState, serve};
use sizewell::engine::session::candle::CandleEngine;
use sizewell::engine::tokenizing::Texts;
use sizewell::engine::weights as source;
use sizewell::workload::Quant;
use std::sync::Arc;

/// A port that serves `model`, until the runtime is dropped.
struct Port {
    _runtime: tokio::runtime::Runtime,
    url: String,
}

impl Port {
    fn of(model: Box<dyn BatchModel>, texts: Texts) -> Self {
        let served = Arc::new(ServerState::new(Scheduler::start(model, 64).unwrap(), texts, "tiny".into()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(serve(listener, served, std::future::pending()));
        Self { _runtime: runtime, url }
    }

    fn agent() -> ureq::Agent {
        ureq::Agent::config_builder().http_status_as_error(false).build().into()
    }

    /// Status and text of an answer; no content type, as curl's `-d` alone sends none of JSON.
    fn post(&self, path: &str, body: &str) -> (u16, String) {
        let mut answer = Self::agent().post(format!("{}{path}", self.url)).send(body).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn completion(&self, body: &Value) -> (u16, Value) {
        let (status, text) = self.post("/v1/completions", &body.to_string());
        (status, serde_json::from_str(&text).unwrap())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let mut answer = Self::agent().get(format!("{}{path}", self.url)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }
}

/// Counts positions; panics where a prompt has a 13 in it, and does not come back where it has a 14.
struct Superstitious;

impl BatchModel for Superstitious {
    fn slots(&self) -> usize {
        4
    }

    fn slot_tokens(&self) -> usize {
        512
    }

    fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, EngineError> {
        let unlucky = |token: u32| segments.iter().any(|segment| segment.tokens.contains(&token));
        if unlucky(13) {
            panic!("chunk size must be non-zero");
        }
        if unlucky(14) {
            std::panic::panic_any("gone".to_string());
        }
        Ok(segments.iter().filter(|s| s.sampled).map(|s| 100 + (s.past + s.tokens.len()) as u32).collect())
    }

    fn recover(&mut self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// One that never comes back.
struct Mortal(Superstitious);

impl BatchModel for Mortal {
    fn slots(&self) -> usize {
        self.0.slots()
    }

    fn slot_tokens(&self) -> usize {
        self.0.slot_tokens()
    }

    fn pass(&mut self, segments: &[Segment<'_>]) -> Result<Vec<u32>, EngineError> {
        self.0.pass(segments)
    }

    fn recover(&mut self) -> Result<(), EngineError> {
        Err(EngineError::Failed("no cache can be made".to_string()))
    }
}

#[test]
fn lengths_that_differ_are_answered_together() {
    let engine = CandleEngine::new(source::open("reference", 1, false).unwrap(), Kernels::Own);
    let (batch, _) = engine.batch_model(Quant::Int8, 4, 400, 64).unwrap();
    let port = Port::of(Box::new(batch), Texts::Words(200));
    let ask = |length: usize, tokens: usize| port.completion(&json!({"prompt": vec![1; length], "max_tokens": tokens}));
    let alone = ask(4, 20);
    // One that decodes beyond 256 positions, and others that are shorter than a panel of 32 and than a stretch.
    let (long, short) = std::thread::scope(|scope| {
        let long = scope.spawn(|| ask(300, 60));
        let short: Vec<_> = [4usize, 1, 40].map(|length| scope.spawn(move || ask(length, 20))).into_iter().collect();
        (long.join().unwrap(), short.into_iter().map(|asked| asked.join().unwrap()).collect::<Vec<_>>())
    });
    assert_eq!((long.0, &long.1["usage"]["completion_tokens"]), (200, &json!(60)), "{}", long.1);
    for (status, answer) in &short {
        assert_eq!((*status, &answer["usage"]["completion_tokens"]), (200, &json!(20)), "{answer}");
    }
    assert_eq!(short[0].1["choices"][0]["text"], alone.1["choices"][0]["text"], "beside others as alone");
    assert_eq!(port.get("/health").1["crashed_passes"], 0);
}

#[test]
fn a_panic_in_a_pass_fails_its_requests_and_the_engine_comes_back() {
    let port = Port::of(Box::new(Superstitious), Texts::Words(200));
    for streams in [false, true] {
        let (status, answer) = port.completion(&json!({"prompt": [1, 13], "max_tokens": 3, "stream": streams}));
        assert_eq!(status, 500);
        assert_eq!(
            answer["error"],
            json!({"message": "a pass of the engine crashed: chunk size must be non-zero", "type": "server_error",
                   "param": null, "code": 500})
        );
    }
    let (status, answer) = port.completion(&json!({"prompt": [1, 2], "max_tokens": 3}));
    assert_eq!((status, &answer["choices"][0]["text"]), (200, &json!(" t102 t103 t104")));
    let (status, health) = port.get("/health");
    assert_eq!((status, &health["status"], &health["crashed_passes"]), (200, &json!("ok"), &json!(2)));
}

#[test]
fn health_says_when_the_engine_is_gone() {
    let port = Port::of(Box::new(Mortal(Superstitious)), Texts::Words(200));
    assert_eq!(port.get("/health").0, 200);
    assert_eq!(
        port.completion(&json!({"prompt": [14], "max_tokens": 3})).1["error"]["message"],
        "a pass of the engine crashed: gone"
    );
    for streams in [false, true] {
        let (status, answer) = port.completion(&json!({"prompt": [1], "max_tokens": 3, "stream": streams}));
        assert_eq!(status, 503, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("did not come back: no cache can be made"));
    }
    let (status, health) = port.get("/health");
    assert_eq!((status, &health["status"], &health["active"]), (503, &json!("failed"), &json!(0)));
    assert!(health["reason"].as_str().unwrap().contains("crashed: gone"), "{health}");
}

#[test]
fn texts_that_are_far_too_long_are_refused_by_their_bytes() {
    let model = source::open("reference", 1, false).unwrap();
    let texts = Texts::of(model.tokenizer.unwrap(), model.shape.vocab_size);
    let port = Port::of(Box::new(Superstitious), texts);
    // Too long for any request: two at once, read to their end so that the answer is seen, and forgotten.
    let huge = json!({"prompt": "ab".repeat(8_000_000), "max_tokens": 1}).to_string();
    let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| port.post("/v1/completions", &huge)));
        both.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for (status, answer) in answers {
        assert_eq!(status, 413);
        assert!(answer.contains("which is more than a context of 512 tokens can need"), "{answer}");
    }
    // Within what a body may have, but not what a context of 512 tokens has.
    let (status, answer) = port.completion(&json!({"prompt": "ab".repeat(250_000), "max_tokens": 1}));
    assert_eq!(status, 400);
    assert!(answer["error"]["message"].as_str().unwrap().contains("exceeds the context of 512"), "{answer}");
    let chat = json!({"messages": [{"role": "user", "content": "ab ".repeat(100_000)}]}).to_string();
    assert_eq!(port.post("/v1/chat/completions", &chat).0, 400);
    let (status, _) = port.completion(&json!({"prompt": "the river", "max_tokens": 1}));
    assert_eq!(status, 200);
}

#[test]
fn what_clients_look_at_is_there() {
    let port = Port::of(Box::new(Superstitious), Texts::Words(200));
    let (status, models) = port.get("/v1/models");
    assert_eq!(
        (status, &models["data"][0]["id"], &models["data"][0]["max_model_len"]),
        (200, &json!("tiny"), &json!(512))
    );
    assert_eq!(port.get("/v1/models/tiny").1["id"], "tiny");
    assert_eq!(port.get("/v1/models/org/other").0, 404);
    assert_eq!(port.get("/version").1["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((port.get("/v1/completions").0, port.get("/metrics").0), (405, 404));
    let events = |body: Value| -> Vec<Value> {
        let (status, text) = port.post("/v1/chat/completions", &body.to_string());
        assert_eq!(status, 200, "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let lines = text.lines().filter_map(|line| line.strip_prefix("data: {"));
        lines.map(|line| serde_json::from_str(&format!("{{{line}")).unwrap()).collect()
    };
    let messages = json!([{"role": "user", "content": "a b"}]);
    let plain = events(json!({"messages": messages, "max_tokens": 2, "stream": true}));
    // The role comes once, as clients add deltas up; every event has a choice unless another was asked for.
    let deltas: Vec<&Value> = plain.iter().map(|event| &event["choices"][0]["delta"]).collect();
    assert_eq!(deltas, [&json!({"role": "assistant", "content": " t103"}), &json!({"content": " t104"}), &json!({})]);
    assert_eq!(plain[2]["choices"][0]["finish_reason"], "length");
    assert_eq!(plain[2]["usage"], json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}));
    let asked =
        json!({"messages": messages, "max_tokens": 2, "stream": true, "stream_options": {"include_usage": true}});
    let asked = events(asked);
    assert_eq!((asked.len(), &asked[3]["choices"], &asked[3]["usage"]), (4, &json!([]), &plain[2]["usage"]));
    assert_eq!(asked[2].get("usage"), None);
    let other = json!({"model": "gpt-4", "messages": messages}).to_string();
    assert_eq!(port.post("/v1/chat/completions", &other).0, 404);
}
