//! Answers that come at once.

use super::fault::told;
use super::json_repair::repaired;
use super::tokens::Usage;
use super::unpack::{BodyError, whole};
use crate::engine::target::{Answer, RequestOutcome};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::Value;
use std::time::Instant;

/// The largest body of embeddings that is read.
const MOST_OF_A_BODY: usize = 64 << 20;

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Embedding {
    embedding: Value,
}

pub(super) async fn read_embeddings(response: hyper::Response<Incoming>) -> Answer {
    let body = match whole(response, MOST_OF_A_BODY).await {
        Ok(body) => body,
        Err(why @ BodyError::TooLong) => return Answer::failed(RequestOutcome::TooLong, why.words()),
        Err(why @ BodyError::Broken(_)) => return Answer::failed(RequestOutcome::Truncated, why.words()),
        Err(why @ BodyError::Packed(_)) => return Answer::failed(RequestOutcome::Malformed, why.words()),
    };
    let now = Instant::now();
    let text = String::from_utf8_lossy(&body);
    let text = text.trim_start_matches('\u{feff}');
    let read: Embeddings = match serde_json::from_str(text).or_else(|error| {
        // Numbers that are none are an answer, though not a good one: that is said below.
        repaired(text).map_or(Err(error), |text| serde_json::from_str(&text))
    }) {
        Ok(read) => read,
        Err(error) => {
            return match serde_json::from_str::<Value>(text).ok().as_ref().and_then(told) {
                Some(said) => Answer::failed(RequestOutcome::ServerError, said),
                None => Answer::failed(RequestOutcome::Malformed, format!("not an answer of the API: {error}")),
            };
        }
    };
    let filled = |one: &Embedding| match &one.embedding {
        Value::Array(numbers) => !numbers.is_empty(),
        Value::String(base64) => !base64.is_empty(),
        _ => false,
    };
    let first = read.data.first().filter(|one| filled(one));
    match first {
        None => Answer::failed(RequestOutcome::Empty, "the answer has no embedding"),
        Some(Embedding { embedding: Value::Array(numbers) }) if numbers.iter().any(Value::is_null) => {
            Answer::failed(RequestOutcome::Malformed, "the embedding has numbers that are none (NaN, infinity or null)")
        }
        Some(_) => Answer {
            whole: Some(now),
            prompt_tokens: read.usage.and_then(|usage| Usage::of(&usage).prompt),
            ..Answer::failed(RequestOutcome::Ok, "")
        },
    }
}
