//! What a server says of itself where it is asked: its engine and version, and of the model its place, precision and longest
//! context. Engines answer at different addresses; what is not there is not known.

use super::Endpoint;
use super::json_repair::repaired;
use super::location::Location;
use super::unpack::whole;
use hyper::{Method, StatusCode, Uri};
use serde_json::Value;
use std::time::Duration;

/// How long one address is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most of an answer that is read.
const MOST: usize = 1 << 20;

/// What a server says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerDescription {
    /// The engine, in lower case: `vllm`, `llama.cpp`.
    pub engine: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// File, folder or hub id of the model.
    pub place: Option<String>,
    /// The precision of its weights, in the server's words.
    pub dtype: Option<String>,
    /// How the weights are quantized, in the server's words.
    pub quantization: Option<String>,
    /// The longest context that it serves.
    pub max_context: Option<usize>,
    /// Parameters of the model.
    pub parameters: Option<f64>,
}

/// A text that says something.
fn text(value: &Value, key: &str) -> Option<String> {
    let text = value.get(key)?.as_str()?.trim();
    (!["", "auto", "none", "null", "unknown"].contains(&text.to_lowercase().as_str()))
        .then(|| super::fault::one_line(text))
}

fn size(value: &Value, keys: &[&str]) -> Option<usize> {
    keys.iter().find_map(|key| value.get(*key)?.as_u64()).filter(|size| *size > 0).map(|size| size as usize)
}

impl ServerDescription {
    /// What the entry of a model in `/v1/models` says.
    pub fn of_model(entry: &Value) -> Self {
        let owner = text(entry, "owned_by").map(|owner| owner.to_lowercase());
        let engine = owner.and_then(|owner| match owner.as_str() {
            "vllm" | "sglang" | "infinity" | "lmdeploy" => Some(owner),
            "llamacpp" => Some("llama.cpp".to_string()),
            _ => None,
        });
        let meta = entry.get("meta").unwrap_or(&Value::Null);
        let id = text(entry, "id");
        Self {
            engine,
            version: None,
            // A server that calls a model by its place says so twice.
            place: text(entry, "root").or(id.filter(|id| id.contains('/'))),
            dtype: text(entry, "dtype").or_else(|| text(entry, "torch_dtype")),
            quantization: text(entry, "quantization"),
            max_context: size(entry, &["max_model_len", "max_context_length", "context_length", "context_window"])
                .or_else(|| size(meta, &["n_ctx", "n_ctx_train"])),
            parameters: meta.get("n_params").and_then(Value::as_f64).filter(|count| *count > 0.0),
        }
    }

    /// What an answer at `path` says, where it is one of an engine's.
    fn of_path(path: &str, value: &Value) -> Option<Self> {
        let known = |engine: Option<&str>| Self { engine: engine.map(str::to_string), ..Self::default() };
        let version = || text(value, "version");
        Some(match path {
            "/version" => Self { version: Some(version()?), ..known(None) },
            "/get_server_info" if version().is_none() && text(value, "model_path").is_none() => return None,
            "/get_server_info" => Self {
                version: version(),
                place: text(value, "model_path"),
                dtype: text(value, "dtype"),
                quantization: text(value, "quantization"),
                max_context: size(value, &["context_length"]),
                ..known(Some("sglang"))
            },
            "/info" => {
                let is_embedder = value.get("max_input_length").is_some() && value.get("model_type").is_some();
                Self {
                    version: version(),
                    place: Some(text(value, "model_id")?),
                    dtype: text(value, "model_dtype"),
                    max_context: size(value, &["max_total_tokens", "max_input_length", "max_input_tokens"]),
                    ..known(Some(if is_embedder { "tei" } else { "tgi" }))
                }
            }
            "/props" => {
                let settings = value.get("default_generation_settings")?;
                Self {
                    version: text(value, "build_info"),
                    place: text(value, "model_path"),
                    max_context: size(settings, &["n_ctx"]),
                    ..known(Some("llama.cpp"))
                }
            }
            "/api/version" => Self { version: Some(version()?), ..known(Some("ollama")) },
            "/openapi.json" => {
                let info = value.get("info")?;
                let title = text(info, "title")?.to_lowercase();
                let engine =
                    ["infinity", "lmdeploy", "text generation inference"].into_iter().find(|e| title.contains(e))?;
                Self { version: text(info, "version"), ..known(Some(engine)) }
            }
            _ => return None,
        })
    }

    /// The same, with what `more` knows beyond it.
    fn and(self, more: Self) -> Self {
        Self {
            engine: self.engine.or(more.engine),
            version: self.version.or(more.version),
            place: self.place.or(more.place),
            dtype: self.dtype.or(more.dtype),
            quantization: self.quantization.or(more.quantization),
            max_context: self.max_context.or(more.max_context),
            parameters: self.parameters.or(more.parameters),
        }
    }
}

/// Where engines say what they are; the first that answers is the one.
const PATHS: [&str; 6] = ["/get_server_info", "/info", "/props", "/api/version", "/version", "/openapi.json"];

impl Endpoint {
    async fn value(&self, uri: Uri) -> Option<Value> {
        let request = self.bare(Method::GET, uri).ok()?;
        let response = tokio::time::timeout(PATIENCE, self.http.request(request)).await.ok()?.ok()?;
        if response.status() != StatusCode::OK {
            let _ = whole(response, MOST).await;
            return Some(Value::Null);
        }
        let body = tokio::time::timeout(PATIENCE, whole(response, MOST)).await.ok()?.ok()?;
        Some(serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// What the server says of itself and of the model. One address after the other, on one connection: some servers have but
    /// one. A server that does not answer at all is asked no further.
    pub async fn about(&self, location: &Location, model: &str) -> ServerDescription {
        let list = match location.models() {
            Ok(uri) => self.value(uri).await,
            Err(_) => None,
        };
        let entry = list.as_ref().and_then(|list| {
            list.get("data")?.as_array()?.iter().find(|entry| text(entry, "id").as_deref() == Some(model))
        });
        let mut about = entry.map(ServerDescription::of_model).unwrap_or_default();
        // vLLM's says no more than its version.
        let paths = if about.engine.as_deref() == Some("vllm") { &["/version"][..] } else { &PATHS[..] };
        for path in paths {
            let Ok(uri) = location.beside(path) else { break };
            let Some(value) = self.value(uri).await else { break };
            if let Some(more) = ServerDescription::of_path(path, &value) {
                about = about.and(more);
                break;
            }
        }
        about
    }

    /// Models that the server says it has; the error is what it says instead. A query that an API needs is in the way of some
    /// lists: they are asked for without it then.
    pub async fn models(&self, location: &Location) -> Result<Vec<String>, String> {
        let listed = self.listed(location).await;
        match (&listed, location.without_query()) {
            (Err(_), Some(plain)) => self.listed(&plain).await.or(listed),
            _ => listed,
        }
    }

    async fn listed(&self, location: &Location) -> Result<Vec<String>, String> {
        let request = self.bare(Method::GET, location.models()?)?;
        let hidden = |text: String| self.format.hidden(&text);
        let response = self.http.request(request).await.map_err(|e| hidden(super::unsent(&e).message))?;
        if response.status() != StatusCode::OK {
            return Err(hidden(super::refused(response).await.message));
        }
        let body = whole(response, MOST).await.map_err(super::unpack::BodyError::words)?;
        let text = String::from_utf8_lossy(&body);
        let text = text.trim_start_matches('\u{feff}');
        let list: Value =
            serde_json::from_str(repaired(text).as_deref().unwrap_or(text)).map_err(|e| format!("not JSON: {e}"))?;
        let models = list.get("data").or(list.get("models")).unwrap_or(&list);
        let named = |model: &Value| match model {
            Value::String(name) => Some(name.clone()),
            model => ["id", "name", "model"].iter().find_map(|key| text_of(model, key)),
        };
        Ok(models.as_array().map_or(Vec::new(), |models| models.iter().filter_map(named).collect()))
    }
}

fn text_of(value: &Value, key: &str) -> Option<String> {
    Some(value.get(key)?.as_str()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn engines_say_what_they_are() {
        let model =
            json!({"id": "m", "object": "model", "owned_by": "vllm", "root": "/models/x", "max_model_len": 2048});
        let about = ServerDescription::of_model(&model);
        assert_eq!(
            (about.engine.as_deref(), about.max_context, about.place.as_deref()),
            (Some("vllm"), Some(2048), Some("/models/x"))
        );
        let model =
            json!({"id": "q.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 32768, "n_params": 494032768}});
        let about = ServerDescription::of_model(&model);
        assert_eq!((about.engine.as_deref(), about.parameters), (Some("llama.cpp"), Some(494_032_768.0)));
    }

    #[test]
    fn engines_say_it_at_paths_of_their_own() {
        for (path, value, engine, version, dtype) in [
            ("/version", json!({"version": "0.32.0"}), None, Some("0.32.0"), None),
            (
                "/info",
                json!({"model_id": "a/b", "model_dtype": "float16", "version": "1.5.0", "max_input_length": 512, "model_type": {"embedding": {}}}),
                Some("tei"),
                Some("1.5.0"),
                Some("float16"),
            ),
            (
                "/info",
                json!({"model_id": "a/b", "model_dtype": "torch.bfloat16", "version": "3.0.1", "max_total_tokens": 4096}),
                Some("tgi"),
                Some("3.0.1"),
                Some("torch.bfloat16"),
            ),
            (
                "/props",
                json!({"build_info": "b4000-abc", "model_path": "/m/x-Q4_K_M.gguf", "default_generation_settings": {"n_ctx": 4096}}),
                Some("llama.cpp"),
                Some("b4000-abc"),
                None,
            ),
            (
                "/get_server_info",
                json!({"version": "0.4.6", "model_path": "a/b", "dtype": "auto", "quantization": "fp8"}),
                Some("sglang"),
                Some("0.4.6"),
                None,
            ),
            ("/api/version", json!({"version": "0.5.1"}), Some("ollama"), Some("0.5.1"), None),
            (
                "/openapi.json",
                json!({"info": {"title": "Infinity - Embedding Inference Server", "version": "0.0.78"}}),
                Some("infinity"),
                Some("0.0.78"),
                None,
            ),
        ] {
            let about = ServerDescription::of_path(path, &value).unwrap();
            let said = (about.engine.as_deref(), about.version.as_deref(), about.dtype.as_deref());
            assert_eq!(said, (engine, version, dtype), "{path}");
        }
        for (path, value) in [
            ("/version", json!({})),
            ("/info", json!({"a": 1})),
            ("/openapi.json", json!({"info": {"title": "FastAPI"}})),
        ] {
            assert_eq!(ServerDescription::of_path(path, &value), None, "{path}");
        }
    }
}
