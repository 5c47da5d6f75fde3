//! A server that speaks the API of OpenAI: chat and plain completions as a stream, and embeddings.

mod answer;
mod body;
mod events;
pub mod location;
mod secret;
mod sse;

pub use body::Api;
pub use location::Location;
pub use secret::Key;

use super::target::{Answer, Asking, FirstToken, RequestOutcome, Target};
use crate::workload::traffic::{Planned, prompts::Vocabulary};
use body::Wishes;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::time::Duration;

/// The most of a body that says what went wrong which is read.
const MOST_OF_AN_ERROR: usize = 64 << 10;

/// How a server is asked.
#[derive(Clone)]
pub struct Asks {
    /// Which API.
    pub api: Api,
    /// The model as the server calls it.
    pub model: String,
    /// Ask for the whole length even where the model would end sooner.
    pub ignore_eos: bool,
    /// Counts the tokens of answers.
    pub vocabulary: Option<Arc<Vocabulary>>,
    /// The key.
    pub key: Option<Key>,
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The server.
#[derive(Clone)]
pub struct Endpoint {
    http: Http,
    uri: Uri,
    asks: Arc<Asks>,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// A client for the server at `location`. Nothing is sent yet.
    pub fn new(location: &Location, asks: Asks) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        // The system's roots know an office's own authority; a container may have none.
        let builder = match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(builder) => builder,
            Err(_) => HttpsConnectorBuilder::new().with_webpki_roots(),
        };
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(usize::MAX)
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(TokioTimer::new())
            .build(connector);
        let uri = location.of(asks.api.path())?;
        let authorization = asks.key.as_ref().map(Key::header).transpose()?;
        Ok(Self { http, uri, asks: Arc::new(asks), authorization })
    }

    /// The error says why it cannot be asked.
    fn request(&self, planned: &Planned) -> Result<Request<Full<Bytes>>, String> {
        let wishes = Wishes { ignore_eos: self.asks.ignore_eos, model: &self.asks.model };
        let body = body::body(self.asks.api, planned, wishes)?;
        let accepted = if self.asks.api.streams() { "text/event-stream" } else { "application/json" };
        let mut request = Request::builder().method(Method::POST).uri(self.uri.clone());
        request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT, accepted);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())
    }

    async fn asked(self, planned: Planned, first: Arc<FirstToken>) -> Answer {
        let request = match self.request(&planned) {
            Ok(request) => request,
            Err(why) => return Answer::failed(RequestOutcome::GeneratorError, why),
        };
        let answer = match self.http.request(request).await {
            Err(error) => unsent(&error),
            Ok(response) if response.status() != StatusCode::OK => refused(response).await,
            Ok(response) if self.asks.api.streams() => {
                events::read(response, self.asks.vocabulary.as_deref(), &first).await
            }
            Ok(response) => answer::read_embeddings(response).await,
        };
        match &self.asks.key {
            Some(key) if !answer.message.is_empty() => Answer { message: key.hidden_in(&answer.message), ..answer },
            _ => answer,
        }
    }
}

impl Target for Endpoint {
    fn ask(&self, request: Planned, first: Arc<FirstToken>) -> Asking {
        Box::pin(self.clone().asked(request, first))
    }
}

/// What a request came to that got no answer.
fn unsent(error: &hyper_util::client::legacy::Error) -> Answer {
    let io = causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
    let no_files = io.and_then(std::io::Error::raw_os_error).is_some_and(|code| [23, 24, 99].contains(&code));
    let words = causes(error).last().map_or(error.to_string(), |cause| cause.to_string());
    match (no_files, error.is_connect()) {
        (true, _) => Answer::failed(RequestOutcome::GeneratorError, words),
        (false, true) => Answer::failed(RequestOutcome::Unreachable, words),
        (false, false) => Answer::failed(RequestOutcome::Disconnected, words),
    }
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// What a server said with a status other than 200.
async fn refused(response: hyper::Response<hyper::body::Incoming>) -> Answer {
    let status = response.status();
    let body = http_body_util::Limited::new(response.into_body(), MOST_OF_AN_ERROR);
    let text = match body.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
        Err(_) => String::new(),
    };
    let said = answer::error_text(&text);
    Answer::failed(RequestOutcome::BadStatus, format!("status {}{said}", status.as_u16()))
}

impl Endpoint {
    /// Models that the server says it has; the error is what it says instead.
    pub async fn models(&self, location: &Location) -> Result<Vec<String>, String> {
        let mut request = Request::builder().method(Method::GET).uri(location.of("/v1/models")?);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        let request = request.body(Full::new(Bytes::new())).map_err(|e| e.to_string())?;
        let hidden = |text: String| self.asks.key.as_ref().map_or(text.clone(), |key| key.hidden_in(&text));
        let response = self.http.request(request).await.map_err(|e| hidden(unsent(&e).message))?;
        if response.status() != StatusCode::OK {
            return Err(hidden(refused(response).await.message));
        }
        let body = http_body_util::Limited::new(response.into_body(), 1 << 20);
        let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
        let list: serde_json::Value = serde_json::from_slice(&body).map_err(|e| format!("/v1/models: {e}"))?;
        let data = list.get("data").and_then(|data| data.as_array()).cloned().unwrap_or_default();
        Ok(data.iter().filter_map(|model| Some(model.get("id")?.as_str()?.to_string())).collect())
    }

    /// The same for another model.
    pub fn with_model(self, model: String) -> Self {
        let asks = Asks { model, ..(*self.asks).clone() };
        Self { asks: Arc::new(asks), ..self }
    }
}
