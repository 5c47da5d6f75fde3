//! Answers, token by token or whole.

use super::ask::Refusal;
use super::text::Unfolding;
use super::{Api, Served};
use crate::engine::scheduler::Told;
use crate::record::PhaseTimes;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::UnboundedReceiver;

/// Numbers of answers.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An answer that is being made.
pub(super) struct Answering {
    api: Api,
    model: String,
    id: String,
    created: i64,
    told: UnboundedReceiver<Told>,
    unfolding: Unfolding,
    prompt_tokens: usize,
    tokenize_s: f64,
    made: usize,
    ended: bool,
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

impl Answering {
    pub(super) fn new(
        api: Api,
        served: Arc<Served>,
        told: UnboundedReceiver<Told>,
        prompt_tokens: usize,
        tokenize_s: f64,
    ) -> Self {
        let kind = if api == Api::Chat { "chatcmpl" } else { "cmpl" };
        Self {
            api,
            model: served.model.clone(),
            id: format!("{kind}-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            created: crate::record::clock::now().as_second(),
            told,
            unfolding: Unfolding::new(served.texts.clone()),
            prompt_tokens,
            tokenize_s,
            made: 0,
            ended: false,
        }
    }

    fn envelope(&self, choices: Value, streamed: bool) -> Value {
        let object = match (self.api, streamed) {
            (Api::Completions, _) => "text_completion",
            (Api::Chat, true) => "chat.completion.chunk",
            (Api::Chat, false) => "chat.completion",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.made,
            "total_tokens": self.prompt_tokens + self.made,
        })
    }

    /// Where the time went, by the names that llama.cpp's server has for it and two more.
    fn timings(&self, phases: &PhaseTimes) -> Value {
        json!({
            "prompt_n": self.prompt_tokens, "prompt_ms": phases.prefill_s * 1e3,
            "predicted_n": self.made, "predicted_ms": phases.decode_s * 1e3,
            "queue_ms": phases.queue_s * 1e3, "tokenize_ms": self.tokenize_s * 1e3,
        })
    }

    fn choice(&self, text: &str, finish: Option<&str>) -> Value {
        match self.api {
            Api::Chat => json!([{ "index": 0, "delta": { "content": text }, "finish_reason": finish }]),
            Api::Completions => json!([{ "index": 0, "text": text, "finish_reason": finish }]),
        }
    }

    /// The next events; `None` behind the last.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        while !self.ended {
            let bytes = match self.told.recv().await {
                Some(Told::Token(token)) => {
                    self.made += 1;
                    match self.unfolding.add(token) {
                        text if text.is_empty() => continue,
                        text => event(&self.envelope(self.choice(&text, None), true)),
                    }
                }
                Some(Told::Done(phases)) => {
                    self.ended = true;
                    let last = event(&self.envelope(self.choice("", Some("length")), true));
                    let mut usage = self.envelope(json!([]), true);
                    usage["usage"] = self.usage();
                    usage["timings"] = self.timings(&phases);
                    Bytes::from([&last[..], &event(&usage)[..], b"data: [DONE]\n\n"].concat())
                }
                Some(Told::Failed(why)) => {
                    self.ended = true;
                    event(&json!({ "error": { "message": why, "type": "server_error" } }))
                }
                None => {
                    self.ended = true;
                    event(&json!({ "error": { "message": "the engine has stopped", "type": "server_error" } }))
                }
            };
            return Some((Ok(bytes), self));
        }
        None
    }

    /// As a stream of events.
    pub(super) fn streamed(self) -> Response {
        let body = Body::from_stream(futures_util::stream::unfold(self, Self::next));
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        (headers, body).into_response()
    }

    /// All at once.
    pub(super) async fn whole(mut self) -> Result<Value, Refusal> {
        let mut text = String::new();
        while let Some(told) = self.told.recv().await {
            match told {
                Told::Token(token) => {
                    self.made += 1;
                    text.push_str(&self.unfolding.add(token));
                }
                Told::Done(phases) => {
                    let choices = match self.api {
                        Api::Chat => json!([{
                            "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "length",
                        }]),
                        Api::Completions => self.choice(&text, Some("length")),
                    };
                    let mut whole = self.envelope(choices, false);
                    whole["usage"] = self.usage();
                    whole["timings"] = self.timings(&phases);
                    return Ok(whole);
                }
                Told::Failed(why) => return Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, why)),
            }
        }
        Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the engine has stopped".to_string()))
    }
}
