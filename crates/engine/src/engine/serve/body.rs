//! Bodies of requests, held to what can be a request to this model.

use super::ServerState;
use super::request::Refusal;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use futures_util::StreamExt;
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// The largest body that is read, whatever the model's context.
const MOST: usize = 32 << 20;
/// The largest that is read in any case: names, settings and messages take room too.
const LEAST: usize = 1 << 20;
/// Bytes of JSON for a byte of text, at most: `\u001f`.
const ESCAPED: usize = 6;
/// A body that is too large is read on, and forgotten, up to so much: a client that is cut off while it sends sees a broken
/// connection and not why.
const MOST_FORGOTTEN: usize = 256 << 20;
/// How long a body may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one that is too large may take.
const PATIENCE_FORGOTTEN: Duration = Duration::from_secs(20);

/// The whole body of a request; large ones hold a permit of those that may be in memory at once.
pub(super) struct FullBody<'a> {
    pub(super) bytes: Vec<u8>,
    _place: Option<SemaphorePermit<'a>>,
}

/// The largest body that can be a request.
pub(super) fn most(served: &ServerState) -> usize {
    let text = served.texts.most_bytes(served.scheduler.slot_tokens);
    text.saturating_mul(ESCAPED).saturating_add(LEAST / 2).clamp(LEAST, MOST)
}

fn too_large(most: usize, tokens: usize) -> Refusal {
    Refusal(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body has more than {most} bytes, which is more than a context of {tokens} tokens can need"),
    )
}

/// Reads a body.
pub(super) async fn read<'a>(
    served: &'a ServerState,
    headers: &HeaderMap,
    body: Body,
) -> Result<FullBody<'a>, Refusal> {
    let most = most(served);
    let refusal = || too_large(most, served.scheduler.slot_tokens);
    let said = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > most as u64) && headers.contains_key(header::EXPECT) {
        // It waits to be told whether to send it.
        return Err(refusal());
    }
    let slow = || {
        let seconds = PATIENCE.as_secs();
        Refusal(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {seconds} s"))
    };
    match tokio::time::timeout(PATIENCE, kept(served, body, most)).await {
        Err(_) => Err(slow()),
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(Some(rest))) => {
            let _ = tokio::time::timeout(PATIENCE_FORGOTTEN, forgotten(rest)).await;
            Err(refusal())
        }
        Ok(Err(None)) => Err(Refusal(StatusCode::BAD_REQUEST, "the body was cut off".to_string())),
    }
}

/// The body; what is left of one that is too large, and nothing of one that is cut off.
async fn kept(
    served: &ServerState,
    body: Body,
    most: usize,
) -> Result<FullBody<'_>, Option<axum::body::BodyDataStream>> {
    let mut stream = body.into_data_stream();
    let mut whole = FullBody { bytes: Vec::new(), _place: None };
    while let Some(chunk) = stream.next().await {
        let Ok(chunk) = chunk else { return Err(None) };
        let bytes = whole.bytes.len() + chunk.len();
        if bytes > most {
            return Err(Some(stream));
        }
        if bytes > LEAST && whole._place.is_none() {
            whole._place = served.large.acquire().await.ok();
        }
        whole.bytes.extend_from_slice(&chunk);
    }
    Ok(whole)
}

async fn forgotten(mut stream: axum::body::BodyDataStream) {
    let mut bytes = 0;
    while let Some(Ok(chunk)) = stream.next().await {
        bytes += chunk.len();
        if bytes > MOST_FORGOTTEN {
            return;
        }
    }
}
