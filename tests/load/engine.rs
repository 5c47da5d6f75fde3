//! The engine under load: continuous batching gives the tokens that each sequence gets alone, the port speaks the API that
//! our own client reads, and traffic agrees with a batch sweep.

use sizewell::engine::backend::ops::Kernels;
use sizewell::engine::endpoint::{Api, Endpoint, Location, RequestFormat};
use sizewell::engine::language::LanguageModel;
use sizewell::engine::scheduler::{BatchModel, Scheduler, Segment, SequenceEvent};
use sizewell::engine::serve::{ServerState, serve};
use sizewell::engine::session::candle::CandleEngine;
use sizewell::engine::target::{CountedBy, RequestOutcome, Target};
use sizewell::engine::tokenizing::Texts;
use sizewell::engine::weights as source;
use sizewell::engine::{Engine, EngineError};
use sizewell::workload::traffic::{PlannedRequest, Prompt};
use sizewell::workload::{Case, Quant};
use std::sync::Arc;
use std::time::Duration;

fn engine(kernels: Kernels) -> CandleEngine {
    CandleEngine::new(source::open("reference", 1, false).unwrap(), kernels)
}

fn prompts() -> Vec<Vec<u32>> {
    [3usize, 17, 40, 9, 1, 64]
        .iter()
        .map(|length| (0..*length).map(|i| (i * 7 + length) as u32 % 200).collect())
        .collect()
}

#[test]
fn sequences_in_a_batch_get_the_tokens_that_they_get_alone() {
    for kernels in [Kernels::Own, Kernels::Candle] {
        let mut alone = engine(kernels).language_model(Quant::F32, None, &[]).unwrap();
        let expected: Vec<Vec<u32>> = prompts()
            .iter()
            .map(|prompt| alone.generate(std::slice::from_ref(prompt), 12).unwrap().remove(0))
            .collect();
        let (batch, limited) = engine(kernels).batch_model(Quant::F32, 3, 96, 16).unwrap();
        assert_eq!((batch.slots(), batch.slot_tokens(), limited), (3, 96, false));
        let scheduler = Scheduler::start(Box::new(batch), 16).unwrap();
        let told: Vec<_> = prompts().into_iter().map(|prompt| scheduler.submit(prompt, 12)).collect();
        for (mut told, expected) in told.into_iter().zip(expected) {
            let mut tokens = Vec::new();
            while let Some(SequenceEvent::Token(token)) = told.blocking_recv() {
                tokens.push(token);
            }
            assert_eq!(tokens, expected, "{kernels:?}");
        }
    }
}

#[test]
fn a_pass_beyond_a_place_is_an_error_and_not_a_crash() {
    let (mut batch, _) = engine(Kernels::Own).batch_model(Quant::F32, 2, 8, 8).unwrap();
    let pass = |tokens: &'static [u32], row, past| [Segment { row, past, tokens, sampled: true }];
    assert!(batch.pass(&pass(&[1, 2, 3], 0, 6)).is_err());
    assert!(batch.pass(&pass(&[], 0, 0)).is_err());
    assert_eq!(batch.pass(&pass(&[1, 2, 3], 1, 0)).unwrap().len(), 1);
    let too_long = engine(Kernels::Own).batch_model(Quant::F32, 2, 1 << 24, 8);
    assert!(matches!(too_long.err(), Some(EngineError::Unsupported(_))));
}

fn planned(prompt: Prompt, gen_tokens: usize) -> PlannedRequest {
    PlannedRequest { index: 0, intended_s: 0.0, prompt, prompt_tokens: None, gen_tokens }
}

#[test]
fn our_client_meets_our_port() {
    let (batch, _) = engine(Kernels::Own).batch_model(Quant::F32, 4, 128, 32).unwrap();
    let model = source::open("reference", 1, false).unwrap();
    let texts = Texts::of(model.tokenizer.unwrap(), model.shape.vocab_size);
    let scheduler = Scheduler::start(Box::new(batch), 32).unwrap();
    let served = Arc::new(ServerState::new(scheduler, texts, "reference".into()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = Location::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(serve(listener, served, std::future::pending()));
        for api in [Api::Completions, Api::Chat] {
            let asks = RequestFormat::new(api, "");
            let endpoint = Endpoint::new(&location, asks).unwrap();
            assert_eq!(endpoint.models(&location).await.unwrap(), ["reference"]);
            let answer = endpoint.ask(planned(Prompt::Text("the river ".into()), 20), Default::default()).await;
            assert_eq!((answer.outcome, answer.message.as_str()), (RequestOutcome::Ok, ""));
            assert_eq!(answer.output_tokens, Some((20, CountedBy::Server)));
            assert!(answer.prompt_tokens.unwrap() >= 2 && !answer.events.is_empty());
            assert!(answer.phases.unwrap().decode_s > 0.0);
            let long = endpoint.ask(planned(Prompt::Text("the river ".into()), 500), Default::default()).await;
            assert_eq!(long.outcome, RequestOutcome::BadStatus);
            assert!(long.message.contains("exceed the context of 128"), "{}", long.message);
        }
        // Plain HTTP: an answer at once, and what is no request.
        let url = location.to_string();
        let (status, body) = post(&url, "/v1/completions", "{\"prompt\":[5,6,7],\"max_tokens\":4}").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &body["usage"]["completion_tokens"]), (200, &serde_json::json!(4)));
        for (path, body, expected) in [
            ("/v1/completions", "{", 400),
            ("/v1/completions", "{\"max_tokens\":4}", 400),
            ("/v1/completions", "{\"prompt\":[999999],\"max_tokens\":4}", 400),
            ("/v1/completions", "{\"prompt\":\"\",\"max_tokens\":0}", 400),
            ("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":3}]}", 400),
            ("/v1/nothing", "{}", 404),
        ] {
            let (status, said) = post(&url, path, body).await;
            assert_eq!(status, expected, "{path} {body}: {said}");
        }
    });
}

async fn post(url: &str, path: &str, body: &str) -> (u16, String) {
    let (url, body) = (format!("{url}{path}"), body.to_string());
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response = agent.post(&url).header("Content-Type", "application/json").send(body).unwrap();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap())
    });
    asked.await.unwrap()
}

#[test]
fn traffic_agrees_with_a_batch_sweep() {
    // Decoding eight sequences together makes about as many tokens a second whichever way the batch came about. Machines
    // are shared: one attempt of three has to agree.
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let case = Case::new(Quant::F32, 8, 32, 64);
        let mut sweep = engine(Kernels::Own);
        sweep.prepare(&case).unwrap();
        let prompts: Vec<Vec<u32>> = (0..8).map(|i| vec![i + 1; 32]).collect();
        let mut go_on = || std::ops::ControlFlow::Continue(());
        sweep.iterate(&case, &prompts, &mut go_on).unwrap();
        let began = std::time::Instant::now();
        sweep.iterate(&case, &prompts, &mut go_on).unwrap();
        let alone = began.elapsed();
        let (batch, _) = engine(Kernels::Own).batch_model(Quant::F32, 8, 96, 256).unwrap();
        let scheduler = Scheduler::start(Box::new(batch), 256).unwrap();
        let run = || {
            let began = std::time::Instant::now();
            let told: Vec<_> = prompts.iter().map(|prompt| scheduler.submit(prompt.clone(), 64)).collect();
            for mut told in told {
                while let Some(SequenceEvent::Token(_)) = told.blocking_recv() {}
            }
            began.elapsed()
        };
        run();
        let ratio = run().div_duration_f64(alone);
        if (0.6..1.5).contains(&ratio) {
            return;
        }
        ratios.push(ratio);
        std::thread::sleep(Duration::from_millis(300));
    }
    panic!("scheduler / sweep: {ratios:?}");
}
