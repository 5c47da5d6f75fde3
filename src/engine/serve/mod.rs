//! The engine behind a port that speaks the API of OpenAI, so that other load generators can meet it, and ours by the same
//! way as any server. Answers have the length that is asked for: a model's own end does not cut a measurement short.

mod ask;
mod stream;
mod text;

pub use text::Texts;

use super::scheduler::Scheduler;
use ask::{Ask, Refusal};
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::net::TcpListener;

/// The largest body of a request.
const MOST_OF_A_BODY: usize = 32 << 20;

/// What is served.
pub struct Served {
    /// Runs it.
    pub scheduler: Scheduler,
    /// Between texts and tokens.
    pub texts: Texts,
    /// What it is called.
    pub model: String,
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
    served: Arc<Served>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let app = Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/completions", post(completions))
        .route("/v1/chat/completions", post(chat))
        .fallback(nothing)
        .layer(DefaultBodyLimit::max(MOST_OF_A_BODY))
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

async fn health(State(served): State<Arc<Served>>) -> Json<Value> {
    let load = &served.scheduler.load;
    Json(json!({
        "status": "ok",
        "waiting": load.waiting.load(Ordering::Relaxed),
        "active": load.active.load(Ordering::Relaxed),
    }))
}

async fn models(State(served): State<Arc<Served>>) -> Json<Value> {
    Json(json!({ "object": "list", "data": [{ "id": served.model, "object": "model", "owned_by": "sizewell" }] }))
}

async fn nothing() -> Response {
    refused(Refusal(
        StatusCode::NOT_FOUND,
        "there are /v1/chat/completions, /v1/completions, /v1/models, /health".into(),
    ))
}

async fn completions(served: State<Arc<Served>>, body: Result<Json<Ask>, JsonRejection>) -> Response {
    answer(Api::Completions, served, body).await
}

async fn chat(served: State<Arc<Served>>, body: Result<Json<Ask>, JsonRejection>) -> Response {
    answer(Api::Chat, served, body).await
}

async fn answer(api: Api, State(served): State<Arc<Served>>, body: Result<Json<Ask>, JsonRejection>) -> Response {
    let ask = match body {
        Ok(Json(ask)) => ask,
        Err(error) => return refused(Refusal(error.status(), error.body_text())),
    };
    let began = Instant::now();
    let (prompt, gen_tokens) = match ask.tokens(api, &served) {
        Ok(tokens) => tokens,
        Err(refusal) => return refused(refusal),
    };
    let tokenize_s = began.elapsed().as_secs_f64();
    let prompt_tokens = prompt.len();
    let told = served.scheduler.submit(prompt, gen_tokens);
    let answering = stream::Answering::new(api, served, told, prompt_tokens, tokenize_s);
    match ask.streams() {
        true => answering.streamed(),
        false => match answering.whole().await {
            Ok(whole) => Json(whole).into_response(),
            Err(refusal) => refused(refusal),
        },
    }
}

fn refused(Refusal(status, message): Refusal) -> Response {
    let body = json!({ "error": { "message": message, "type": "invalid_request_error", "code": status.as_u16() } });
    (status, Json(body)).into_response()
}
