//! Answers that come at once, and what servers say when something is wrong.

use crate::engine::target::{Answer, RequestOutcome};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use std::time::Instant;

/// The largest body of embeddings that is read.
const MOST_OF_A_BODY: usize = 64 << 20;
/// The most of an error's text that is kept.
const MOST_OF_A_MESSAGE: usize = 300;

/// What a body says went wrong, as `: text`; empty where it says nothing.
pub(super) fn error_text(body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let inner = parsed.as_ref().map(|value| value.get("error").unwrap_or(value));
    let message = inner.and_then(|error| error.get("message").or(error.get("detail")).unwrap_or(error).as_str());
    let text = message.unwrap_or(body).split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = text.chars().take(MOST_OF_A_MESSAGE).collect();
    if short.is_empty() { short } else { format!(": {short}") }
}

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Embedding {
    embedding: Value,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<usize>,
}

pub(super) async fn read_embeddings(response: hyper::Response<Incoming>) -> Answer {
    let body = match Limited::new(response.into_body(), MOST_OF_A_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return Answer::failed(RequestOutcome::TooLong, "a body that is too long for embeddings");
        }
        Err(error) => return Answer::failed(RequestOutcome::Truncated, format!("the body broke off: {error}")),
    };
    let now = Instant::now();
    let read: Embeddings = match serde_json::from_slice(&body) {
        Ok(read) => read,
        Err(error) => return Answer::failed(RequestOutcome::Malformed, format!("not an answer of the API: {error}")),
    };
    let filled = |one: &Embedding| match &one.embedding {
        Value::Array(numbers) => !numbers.is_empty(),
        Value::String(base64) => !base64.is_empty(),
        _ => false,
    };
    match read.data.first().is_some_and(filled) {
        false => Answer::failed(RequestOutcome::Empty, "the answer has no embedding"),
        true => Answer {
            whole: Some(now),
            prompt_tokens: read.usage.and_then(|usage| usage.prompt_tokens),
            ..Answer::failed(RequestOutcome::Ok, "")
        },
    }
}

#[cfg(test)]
mod tests {
    use super::error_text;

    #[test]
    fn what_servers_say_is_found() {
        assert_eq!(error_text(r#"{"error":{"message":"no such\nmodel","code":404}}"#), ": no such model");
        assert_eq!(error_text(r#"{"error":"busy"}"#), ": busy");
        assert_eq!(error_text(r#"{"detail":"Not Found"}"#), ": Not Found");
        assert_eq!(error_text("<html>\n502"), ": <html> 502");
        assert_eq!(error_text(""), "");
        assert_eq!(error_text(&"x".repeat(9999)).len(), 302);
    }
}
