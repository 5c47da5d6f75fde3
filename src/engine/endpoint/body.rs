//! The bodies of requests.

use crate::workload::traffic::{Planned, Prompt};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;
use std::str::FromStr;

/// An API of OpenAI that others speak too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`, as a stream.
    Chat,
    /// `/v1/completions`, as a stream.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
}

impl Api {
    /// Its path.
    pub fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// Answers come token by token.
    pub fn streams(self) -> bool {
        self != Self::Embeddings
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Chat => "chat",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
        })
    }
}

impl FromStr for Api {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "chat" => Ok(Self::Chat),
            "completions" => Ok(Self::Completions),
            "embeddings" => Ok(Self::Embeddings),
            other => Err(format!("`{other}` is none of chat, completions, embeddings")),
        }
    }
}

/// What is asked for beside the prompt.
#[derive(Clone, Copy)]
pub(super) struct Wishes<'a> {
    pub(super) ignore_eos: bool,
    pub(super) model: &'a str,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Value>,
    max_tokens: usize,
    temperature: f64,
    stream: bool,
    stream_options: StreamOptions,
    /// vLLM, SGLang and llama.cpp go on behind the end that the model would make; vLLM also takes a least number.
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_tokens: Option<usize>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

/// The body of a request; the error says why a prompt cannot be asked in this way.
pub(super) fn body(api: Api, planned: &Planned, wishes: Wishes<'_>) -> Result<Vec<u8>, String> {
    let text = |prompt: &Prompt| match prompt {
        Prompt::Text(text) => Ok(Value::from(text.as_str())),
        Prompt::Tokens(tokens) => Ok(Value::from(tokens.as_slice())),
        Prompt::Messages(_) => Err(format!("messages of a chat cannot be asked of {api}: --api chat")),
    };
    let (prompt, messages) = match (api, &planned.prompt) {
        (Api::Embeddings, prompt) => {
            let body = json!({ "model": wishes.model, "input": [text(prompt)?] });
            return serde_json::to_vec(&body).map_err(|e| e.to_string());
        }
        (Api::Completions, prompt) => (Some(text(prompt)?), None),
        (Api::Chat, Prompt::Messages(messages)) => (None, Some(messages.clone())),
        (Api::Chat, Prompt::Text(text)) => (None, Some(json!([{ "role": "user", "content": text }]))),
        (Api::Chat, Prompt::Tokens(_)) => return Err("tokens cannot be asked of a chat: --api completions".to_string()),
    };
    let body = Body {
        model: wishes.model,
        prompt,
        messages,
        max_tokens: planned.gen_tokens,
        temperature: 0.0,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        ignore_eos: wishes.ignore_eos.then_some(true),
        min_tokens: wishes.ignore_eos.then_some(planned.gen_tokens),
    };
    serde_json::to_vec(&body).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(prompt: Prompt) -> Planned {
        Planned { index: 0, intended_s: 0.0, prompt, prompt_tokens: None, gen_tokens: 7 }
    }

    #[test]
    fn bodies_are_what_the_apis_take() {
        let wishes = Wishes { ignore_eos: true, model: "m" };
        let of =
            |api, prompt| -> Value { serde_json::from_slice(&body(api, &planned(prompt), wishes).unwrap()).unwrap() };
        let chat = of(Api::Chat, Prompt::Text("hi".into()));
        assert_eq!(chat["messages"], json!([{ "role": "user", "content": "hi" }]));
        assert_eq!(
            (&chat["max_tokens"], &chat["ignore_eos"], &chat["min_tokens"]),
            (&json!(7), &json!(true), &json!(7))
        );
        assert_eq!(chat["stream_options"], json!({ "include_usage": true }));
        assert_eq!(of(Api::Completions, Prompt::Tokens(vec![1, 2]))["prompt"], json!([1, 2]));
        assert_eq!(of(Api::Embeddings, Prompt::Text("hi".into())), json!({ "model": "m", "input": ["hi"] }));
        assert!(body(Api::Chat, &planned(Prompt::Tokens(vec![1])), wishes).is_err());
        let plain =
            body(Api::Chat, &planned(Prompt::Text("x".into())), Wishes { ignore_eos: false, model: "m" }).unwrap();
        assert!(!String::from_utf8(plain).unwrap().contains("ignore_eos"));
    }
}
