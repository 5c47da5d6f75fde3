//! A server that speaks the API of OpenAI: chat and plain completions as a stream, and embeddings.

mod answer;
mod body;
mod delivery;
mod description;
mod events;
mod fault;
mod field_text;
mod finish;
mod json_repair;
pub mod location;
mod secret;
mod sse;
mod tls;
mod tokens;
mod unpack;

pub use body::{Api, Patch, TOKENS};
pub use description::ServerDescription;
pub use location::Location;
pub use secret::Key;
pub use tls::Trust;

use super::target::{Answer, FirstToken, PendingRequest, RequestOutcome, Target};
use crate::workload::traffic::{PlannedRequest, prompts::Vocabulary};
use body::RequestOptions;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most of a body that says what went wrong which is read.
const MOST_OF_AN_ERROR: usize = 64 << 10;

/// The form of requests to a server: API, streaming, key.
#[derive(Clone)]
pub struct RequestFormat {
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
    /// Changes to each body.
    pub patch: Option<Patch>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// What else must not be repeated of what a server says.
    pub secrets: Vec<Key>,
}

impl RequestFormat {
    /// As most servers are asked: an API, a model, whole lengths.
    pub fn new(api: Api, model: impl Into<String>) -> Self {
        Self {
            api,
            model: model.into(),
            ignore_eos: true,
            vocabulary: None,
            key: None,
            patch: None,
            trust: Trust::System,
            secrets: Vec::new(),
        }
    }

    /// What a server says, without secrets.
    fn hidden(&self, text: &str) -> String {
        let keys = self.key.iter().chain(&self.secrets);
        keys.fold(text.to_string(), |text, key| key.hidden_in(&text))
    }
}

type Http = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// The server.
#[derive(Clone)]
pub struct Endpoint {
    http: Http,
    uri: Uri,
    format: Arc<RequestFormat>,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// A client for the server at `location`. Nothing is sent yet.
    pub fn new(location: &Location, format: RequestFormat) -> Result<Self, String> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(Duration::from_secs(10)));
        let connector = format.trust.connector(tcp)?;
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(usize::MAX)
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_timer(TokioTimer::new())
            .build(connector);
        let uri = location.of(format.api)?;
        let authorization = format.key.as_ref().map(Key::header).transpose()?;
        Ok(Self { http, uri, format: Arc::new(format), authorization })
    }

    /// A request without a body.
    fn bare(&self, method: Method, uri: Uri) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder().method(method).uri(uri).header(ACCEPT_ENCODING, "identity");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        request.body(Full::new(Bytes::new())).map_err(|e| e.to_string())
    }

    /// The error says why it cannot be asked.
    fn request(&self, planned: &PlannedRequest) -> Result<Request<Full<Bytes>>, String> {
        let RequestFormat { ignore_eos, ref model, ref patch, api, .. } = *self.format;
        let options = RequestOptions { ignore_eos, model, patch: patch.as_ref() };
        let body = body::body(api, planned, options)?;
        let accepted = if api.streams() { "text/event-stream" } else { "application/json" };
        let mut request = self.bare(Method::POST, self.uri.clone())?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accepted));
        *request.body_mut() = Full::new(Bytes::from(body));
        Ok(request)
    }

    async fn asked(self, planned: PlannedRequest, first: Arc<FirstToken>) -> Answer {
        let request = match self.request(&planned) {
            Ok(request) => request,
            Err(why) => return Answer::failed(RequestOutcome::GeneratorError, why),
        };
        let (at, asked) = (Instant::now(), planned.gen_tokens);
        let mut answer = match self.http.request(request).await {
            Err(error) => unsent(&error),
            Ok(response) if response.status() != StatusCode::OK => refused(response).await,
            Ok(response) if self.format.api.streams() => {
                let with =
                    events::ReadOptions { vocabulary: self.format.vocabulary.as_deref(), first: &first, asked, at };
                events::read(response, with).await
            }
            Ok(response) => answer::read_embeddings(response).await,
        };
        let (prompt_tokens, odd) = tokens::of_prompt(self.format.api, &planned, answer.prompt_tokens);
        answer.prompt_tokens = prompt_tokens;
        answer.warnings.extend(odd);
        if !answer.message.is_empty() {
            answer.message = self.format.hidden(&answer.message);
        }
        answer
    }

    /// The same for another model.
    pub fn with_model(self, model: String) -> Self {
        let format = RequestFormat { model, ..(*self.format).clone() };
        Self { format: Arc::new(format), ..self }
    }
}

impl Target for Endpoint {
    fn ask(&self, request: PlannedRequest, first: Arc<FirstToken>) -> PendingRequest {
        Box::pin(self.clone().asked(request, first))
    }
}

/// What a request came to that got no answer.
fn unsent(error: &hyper_util::client::legacy::Error) -> Answer {
    let io = causes(error).find_map(|cause| cause.downcast_ref::<std::io::Error>());
    let no_files = io.and_then(std::io::Error::raw_os_error).is_some_and(|code| [23, 24, 99].contains(&code));
    let words = causes(error).last().map_or(error.to_string(), |cause| cause.to_string()) + tls::hint(error);
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
    let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).map(fault::one_line);
    let text = match unpack::whole(response, MOST_OF_AN_ERROR).await {
        Ok(body) => String::from_utf8_lossy(&body).into_owned(),
        Err(_) => String::new(),
    };
    let said = match to.filter(|_| status.is_redirection()) {
        // It may carry a secret in its query, and what stands there is of no use here.
        Some(to) => {
            let to = to.split(['?', '#']).next().unwrap_or("");
            format!(": the server sends requests on to {to}: give that address as --endpoint")
        }
        None => fault::error_text(&text),
    };
    Answer::failed(RequestOutcome::BadStatus, format!("status {}{said}", status.as_u16()))
}
