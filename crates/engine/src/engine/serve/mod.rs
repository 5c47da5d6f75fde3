//! The engine behind a port that speaks the API of OpenAI, so that other load generators can meet it, and ours by the same
//! way as any server. Answers have the length that is asked for: a model's own end does not cut a measurement short.

mod body;
mod detokenizer;
mod request;
mod stream;

use super::scheduler::Scheduler;
use super::tokenizing::{LongTextLimiter, Texts};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use request::{Limits, ParsedRequest, Refusal};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Large bodies that are in memory at once.
const LARGE_AT_ONCE: usize = 4;

/// What every handler of the server needs.
pub struct ServerState {
    /// Runs it.
    scheduler: Scheduler,
    /// Between texts and tokens.
    texts: Texts,
    /// What it is called.
    model: String,
    limiter: LongTextLimiter,
    large: Semaphore,
}

impl ServerState {
    /// The model `model`, run by `scheduler`.
    pub fn new(scheduler: Scheduler, texts: Texts, model: String) -> Self {
        Self { scheduler, texts, model, limiter: LongTextLimiter::default(), large: Semaphore::new(LARGE_AT_ONCE) }
    }
}

/// Which of the two APIs an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    Chat,
    Completions,
}

/// Serves on `listener` until `stop` is there; requests under way are then dropped.
pub async fn serve(
    listener: TcpListener,
    served: Arc<ServerState>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/health", get(health))
        .route("/version", get(version))
        .route("/v1/models", get(models))
        .route("/v1/models/{*name}", get(model))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .fallback(nothing)
        .method_not_allowed_fallback(other_method)
        .with_state(served);
    let serving = axum::serve(NoDelay(listener), app);
    tokio::select! {
        ended = async { serving.await } => ended,
        () = stop => Ok(()),
    }
}

/// Accepts connections whose small packets are not held back: a token is one.
struct NoDelay(TcpListener);

impl axum::serve::Listener for NoDelay {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        // Without it the connection is only slower.
        let _ = stream.set_nodelay(true);
        (stream, address)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

async fn health(State(served): State<Arc<ServerState>>) -> Response {
    let load = &served.scheduler.load;
    let gone = load.gone();
    let mut health = json!({
        "status": if gone.is_some() { "failed" } else { "ok" },
        "waiting": load.waiting.load(Ordering::Relaxed),
        "active": load.active.load(Ordering::Relaxed),
        "crashed_passes": load.crashes.load(Ordering::Relaxed),
    });
    match gone {
        Some(why) => {
            health["reason"] = json!(why);
            (StatusCode::SERVICE_UNAVAILABLE, Json(health)).into_response()
        }
        None => Json(health).into_response(),
    }
}

async fn version() -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") }))
}

fn about(served: &ServerState) -> Value {
    json!({
        "id": served.model, "object": "model", "created": 0, "owned_by": "sizewell",
        "max_model_len": served.scheduler.slot_tokens,
    })
}

async fn models(State(served): State<Arc<ServerState>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [about(&served)] }))
}

async fn model(State(served): State<Arc<ServerState>>, Path(name): Path<String>) -> Response {
    if name == served.model {
        Json(about(&served)).into_response()
    } else {
        refused(Refusal(StatusCode::NOT_FOUND, format!("the one model here is `{}`", served.model)))
    }
}

async fn nothing() -> Response {
    refused(Refusal(
        StatusCode::NOT_FOUND,
        "there are /v1/chat/completions, /v1/completions, /v1/models, /version, /health".into(),
    ))
}

async fn other_method() -> Response {
    let message = "requests for an answer are sent with POST, others with GET";
    refused(Refusal(StatusCode::METHOD_NOT_ALLOWED, message.to_string()))
}

async fn completions(State(served): State<Arc<ServerState>>, headers: HeaderMap, body: Body) -> Response {
    answer(Api::Completions, served, headers, body).await.unwrap_or_else(refused)
}

async fn chat(State(served): State<Arc<ServerState>>, headers: HeaderMap, body: Body) -> Response {
    answer(Api::Chat, served, headers, body).await.unwrap_or_else(refused)
}

async fn answer(api: Api, served: Arc<ServerState>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let mut whole = body::read(&served, &headers, body).await?;
    let began = Instant::now();
    let (bytes, reading) = (std::mem::take(&mut whole.bytes), served.clone());
    let asked = served.limiter.of(bytes.len(), move || {
        let (texts, context) = (&reading.texts, reading.scheduler.slot_tokens);
        ParsedRequest::read(api, &bytes, &Limits { texts, context, model: &reading.model })
    });
    let asked =
        asked.await.unwrap_or_else(|why| Err(Refusal(StatusCode::BAD_REQUEST, format!("it cannot be read: {why}"))));
    drop(whole);
    let ParsedRequest { prompt, gen_tokens, streams, usage_event } = asked?;
    let tokenize_s = began.elapsed().as_secs_f64();
    let prompt_tokens = prompt.len();
    let events = served.scheduler.submit(prompt, gen_tokens);
    let answering = stream::ResponseStream::new(api, served, events, (prompt_tokens, tokenize_s));
    if streams {
        answering.streamed(usage_event).await
    } else {
        answering.whole().await.map(|whole| Json(whole).into_response())
    }
}

fn refused(Refusal(status, message): Refusal) -> Response {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let body = json!({ "error": { "message": message, "type": kind, "param": null, "code": status.as_u16() } });
    (status, Json(body)).into_response()
}
