//! Reading a streamed answer: when each event with text came, what the server says of tokens, and how it ended.

use super::answer::error_text;
use super::sse::{Events, Fault};
use crate::engine::target::{Answer, CountedBy, FirstToken, RequestOutcome, shortened};
use crate::record::PhaseTimes;
use crate::workload::traffic::prompts::Vocabulary;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;
use std::time::{Duration, Instant};

/// How long the end of a stream is waited for behind the end of its answer.
const PATIENCE_BEHIND: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    usage: Option<Usage>,
    error: Option<Value>,
    timings: Option<Timings>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    /// Thinking is generated too; vLLM sends it under both of its names.
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
    tool_calls: Option<Value>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<usize>,
    completion_tokens: Option<usize>,
}

/// What llama.cpp's server adds, and ours with two more.
#[derive(Deserialize)]
struct Timings {
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
    queue_ms: Option<f64>,
    tokenize_ms: Option<f64>,
}

/// An answer as far as it has come.
struct Reading<'a> {
    answer: Answer,
    text: String,
    vocabulary: Option<&'a Vocabulary>,
    first: &'a FirstToken,
    finished: bool,
    done: bool,
    timings: Option<Timings>,
}

/// Reads the answer to its end.
pub(super) async fn read(
    response: hyper::Response<Incoming>,
    vocabulary: Option<&Vocabulary>,
    first: &FirstToken,
) -> Answer {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if kind.starts_with("application/json") {
        let why = "the server sent its answer at once although a stream was asked for";
        return Answer::failed(RequestOutcome::NotStreamed, why);
    }
    let mut reading = Reading {
        answer: Answer::failed(RequestOutcome::Ok, ""),
        text: String::new(),
        vocabulary,
        first,
        finished: false,
        done: false,
        timings: None,
    };
    let mut events = Events::default();
    let mut body = response.into_body();
    loop {
        // Behind the end of the answer only the end of the stream is waited for, so that the connection can be used again;
        // a server that holds it open or breaks it there has answered all the same.
        let frame = match reading.done {
            false => body.frame().await,
            true => tokio::time::timeout(PATIENCE_BEHIND, body.frame()).await.ok().flatten().filter(Result::is_ok),
        };
        let Some(frame) = frame else { break };
        let data = match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => data,
            Ok(Err(_)) => continue,
            Err(error) => return reading.broken(RequestOutcome::Truncated, format!("the stream broke off: {error}")),
        };
        let now = Instant::now();
        let mut fault = None;
        let read = events.push(&data, |event| fault = fault.take().or(reading.event(event, now)));
        let fault = fault.or(read.err().map(|fault| match fault {
            Fault::TooLong => (RequestOutcome::TooLong, "a line that never ends".to_string()),
            Fault::BadUtf8 => (RequestOutcome::BadUtf8, "a line that is not UTF-8".to_string()),
        }));
        if let Some((outcome, why)) = fault {
            return reading.broken(outcome, why);
        }
    }
    reading.ended()
}

impl Reading<'_> {
    /// Takes an event; gives what is wrong with it.
    fn event(&mut self, event: &str, now: Instant) -> Option<(RequestOutcome, String)> {
        if event.trim() == "[DONE]" {
            self.done = true;
            return None;
        }
        let chunk: Chunk<'_> = match serde_json::from_str(event) {
            Ok(chunk) => chunk,
            Err(error) => {
                return Some((RequestOutcome::Malformed, format!("an event that is not JSON of the API: {error}")));
            }
        };
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Some((
                RequestOutcome::ServerError,
                error_text(&error.to_string()).trim_start_matches(": ").to_string(),
            ));
        }
        let mut has_text = false;
        for choice in chunk.choices {
            let delta = choice.delta.map(|d| (d.content, d.reasoning_content.or(d.reasoning), d.tool_calls));
            let (content, reasoning, calls) = delta.unwrap_or_default();
            for text in [choice.text, content, reasoning].into_iter().flatten().filter(|text| !text.is_empty()) {
                has_text = true;
                if self.vocabulary.is_some() {
                    self.text.push_str(&text);
                }
            }
            has_text |=
                calls.is_some_and(|calls| calls.as_array().is_none_or(|calls| !calls.is_empty()) && !calls.is_null());
            self.finished |= choice.finish_reason.is_some();
        }
        if has_text {
            self.first.came(now);
            self.answer.events.push(now);
        }
        if let Some(usage) = chunk.usage {
            self.answer.prompt_tokens = usage.prompt_tokens.or(self.answer.prompt_tokens);
            let counted = usage.completion_tokens.map(|count| (count, CountedBy::Server));
            self.answer.output_tokens = counted.or(self.answer.output_tokens);
        }
        self.timings = chunk.timings.or(self.timings.take());
        None
    }

    fn broken(mut self, outcome: RequestOutcome, message: String) -> Answer {
        self.answer.outcome = outcome;
        self.answer.message = shortened(&message);
        self.answer
    }

    fn ended(mut self) -> Answer {
        if let Some(count) = self.vocabulary.and_then(|vocabulary| vocabulary.count(&self.text)) {
            self.answer.server_tokens = self.answer.output_tokens.map(|(count, _)| count);
            self.answer.output_tokens = Some((count, CountedBy::Tokenizer));
        }
        let first = self.answer.events.first().zip(self.answer.events.last());
        if let (Some(timings), Some((first, last))) = (self.timings.take(), first) {
            let decode_s = (*last - *first).as_secs_f64();
            let seconds = |ms: Option<f64>| ms.filter(|ms| ms.is_finite() && *ms >= 0.0).unwrap_or(0.0) * 1e-3;
            if timings.predicted_ms.is_some() {
                self.answer.phases = Some(PhaseTimes {
                    tokenize_s: seconds(timings.tokenize_ms),
                    queue_s: seconds(timings.queue_ms),
                    prefill_s: seconds(timings.prompt_ms),
                    decode_s,
                    transfer_s: 0.0,
                });
            }
        }
        match (self.finished || self.done, self.answer.events.is_empty()) {
            (false, _) => self.broken(RequestOutcome::Truncated, "the stream ended before the answer did".to_string()),
            (true, true) => self.broken(RequestOutcome::Empty, "the answer has no text".to_string()),
            (true, false) => self.answer,
        }
    }
}
