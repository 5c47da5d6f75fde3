//! Answers, token by token or whole.

use super::detokenizer::StreamingDetokenizer;
use super::request::Refusal;
use super::{Api, ServerState};
use crate::engine::scheduler::SequenceEvent;
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

/// An answer that is being written, event by event or whole.
pub(super) struct ResponseStream {
    api: Api,
    model: String,
    id: String,
    created: i64,
    events: UnboundedReceiver<SequenceEvent>,
    detokenizer: StreamingDetokenizer,
    prompt_tokens: usize,
    tokenize_s: f64,
    made: usize,
    ended: bool,
    /// Some text was passed on.
    spoke: bool,
    /// What was told already, and is to be passed on first.
    first: Option<SequenceEvent>,
    /// The counts come in an event of their own.
    usage_event: bool,
    /// Whether the engine has ended, where nothing comes any more.
    served: Arc<ServerState>,
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

impl ResponseStream {
    pub(super) fn new(
        api: Api,
        served: Arc<ServerState>,
        events: UnboundedReceiver<SequenceEvent>,
        (prompt_tokens, tokenize_s): (usize, f64),
    ) -> Self {
        let kind = if api == Api::Chat { "chatcmpl" } else { "cmpl" };
        Self {
            api,
            model: served.model.clone(),
            id: format!("{kind}-{}", NEXT.fetch_add(1, Ordering::Relaxed)),
            created: crate::record::clock::now().as_second(),
            events,
            detokenizer: StreamingDetokenizer::new(served.texts.clone()),
            prompt_tokens,
            tokenize_s,
            made: 0,
            ended: false,
            spoke: false,
            first: None,
            usage_event: false,
            served,
        }
    }

    /// What the engine tells next; that it has stopped, where it tells nothing more.
    async fn next_event(&mut self) -> SequenceEvent {
        match self.first.take() {
            Some(events) => events,
            None => self.events.recv().await.unwrap_or(SequenceEvent::Failed("the engine has stopped".to_string())),
        }
    }

    /// A failure of the engine as an answer.
    fn failure(&self, why: String) -> Refusal {
        let status = match self.served.scheduler.load.gone() {
            Some(_) => StatusCode::SERVICE_UNAVAILABLE,
            None => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal(status, why)
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
            Api::Chat => {
                let delta = match (text.is_empty(), self.spoke) {
                    (true, _) => json!({}),
                    // Clients put deltas together, the role too: it comes once.
                    (false, false) => json!({ "role": "assistant", "content": text }),
                    (false, true) => json!({ "content": text }),
                };
                json!([{ "index": 0, "delta": delta, "finish_reason": finish }])
            }
            Api::Completions => json!([{ "index": 0, "text": text, "finish_reason": finish }]),
        }
    }

    /// The next events; `None` behind the last.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        while !self.ended {
            let bytes = match self.next_event().await {
                SequenceEvent::Token(token) => {
                    self.made += 1;
                    match self.detokenizer.add(token) {
                        text if text.is_empty() => continue,
                        text => {
                            let choice = self.choice(&text, None);
                            self.spoke = true;
                            event(&self.envelope(choice, true))
                        }
                    }
                }
                SequenceEvent::Done(phases) => {
                    self.ended = true;
                    self.last_events(&phases)
                }
                SequenceEvent::Failed(why) => {
                    self.ended = true;
                    event(&json!({ "error": { "message": why, "type": "server_error", "code": 500 } }))
                }
            };
            return Some((Ok(bytes), self));
        }
        None
    }

    /// The end of a stream: why it ended, and the counts, which clients that did not ask for an event of their own (it has no
    /// choice in it) find beside that.
    fn last_events(&self, phases: &PhaseTimes) -> Bytes {
        let mut last = self.envelope(self.choice("", Some("length")), true);
        let mut usage = self.envelope(json!([]), true);
        let counted = if self.usage_event { &mut usage } else { &mut last };
        counted["usage"] = self.usage();
        counted["timings"] = self.timings(phases);
        let usage = if self.usage_event { event(&usage) } else { Bytes::new() };
        Bytes::from([&event(&last)[..], &usage[..], b"data: [DONE]\n\n"].concat())
    }

    /// As a stream of events. One that fails before its first token is no stream but an error.
    pub(super) async fn streamed(mut self, usage_event: bool) -> Result<Response, Refusal> {
        self.usage_event = usage_event;
        match self.next_event().await {
            SequenceEvent::Failed(why) => return Err(self.failure(why)),
            events => self.first = Some(events),
        }
        let body = Body::from_stream(futures_util::stream::unfold(self, Self::next));
        let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
        Ok((headers, body).into_response())
    }

    /// All at once.
    pub(super) async fn whole(mut self) -> Result<Value, Refusal> {
        let mut text = String::new();
        loop {
            match self.next_event().await {
                SequenceEvent::Token(token) => {
                    self.made += 1;
                    text.push_str(&self.detokenizer.add(token));
                }
                SequenceEvent::Done(phases) => {
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
                SequenceEvent::Failed(why) => return Err(self.failure(why)),
            }
        }
    }
}
