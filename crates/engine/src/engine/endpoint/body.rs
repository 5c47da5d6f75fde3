//! The bodies of requests.

use crate::names::none_of;
use crate::workload::traffic::{PlannedRequest, Prompt};
use serde::Serialize;
use serde_json::{Value, json};
use std::str::FromStr;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// An API of OpenAI that others speak too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase", parse_err_ty = String, parse_err_fn = none_of::<Api>)]
pub enum Api {
    /// `/v1/chat/completions`, as a stream.
    Chat,
    /// `/v1/completions`, as a stream.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
}

impl Api {
    /// The end of its address.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
            Self::Embeddings => "/embeddings",
        }
    }

    /// Answers come token by token.
    pub fn streams(self) -> bool {
        self != Self::Embeddings
    }
}

/// What stands for the length that is asked for in a patch of bodies.
pub const TOKENS: &str = "{tokens}";
/// Keys by which servers are told how long an answer may be.
const LENGTHS: [&str; 5] = ["max_completion_tokens", "max_tokens", "max_new_tokens", "max_output_tokens", "n_predict"];
/// Keys that a load test makes itself.
const OWN: [&str; 4] = ["messages", "prompt", "input", "stream"];

/// Changes to the body of each request: a JSON merge patch (RFC 7396), in which null takes a key out.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch(Value);

impl FromStr for Patch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let patch: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        let Some(object) = patch.as_object() else {
            return Err("not an object such as {\"temperature\":1,\"stream_options\":null}".to_string());
        };
        if let Some(own) = OWN.iter().find(|own| object.contains_key(**own)) {
            return Err(format!("`{own}` is made by the load test itself: leave it out"));
        }
        for key in ["n", "best_of"] {
            if object.get(key).is_some_and(|count| !count.is_null() && count.as_u64() != Some(1)) {
                return Err(format!("`{key}`: times are those of one answer a request: leave it out"));
            }
        }
        Ok(Self(patch))
    }
}

impl Patch {
    /// The length that it asks for in place of the planned one, where it gives a number.
    pub fn length(&self) -> Option<usize> {
        LENGTHS.iter().find_map(|key| self.0.get(*key)?.as_u64()).map(|length| length as usize)
    }

    /// Its secrets, which must stand nowhere.
    pub fn secrets(&self) -> Vec<super::Key> {
        let object = self.0.as_object().into_iter().flatten();
        let secret = |(name, value): (&String, &Value)| {
            let value = value.as_str().filter(|value| super::secret::is_secret(name, value))?;
            super::Key::hiding(value)
        };
        object.filter_map(secret).collect()
    }

    fn applied(&self, body: &mut Value, tokens: usize) {
        merge(body, &self.0, tokens);
    }
}

fn merge(target: &mut Value, patch: &Value, tokens: usize) {
    let Value::Object(changes) = patch else {
        *target = if patch == TOKENS { Value::from(tokens) } else { patch.clone() };
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(object) = target else { return };
    for (key, change) in changes {
        if change.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), change, tokens);
        }
    }
}

/// What a request asks for beside its prompt.
#[derive(Clone, Copy)]
pub(super) struct RequestOptions<'a> {
    pub(super) ignore_eos: bool,
    pub(super) model: &'a str,
    pub(super) patch: Option<&'a Patch>,
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
pub(super) fn body(api: Api, planned: &PlannedRequest, options: RequestOptions<'_>) -> Result<Vec<u8>, String> {
    let text = |prompt: &Prompt| match prompt {
        Prompt::Text(text) => Ok(Value::from(text.as_str())),
        Prompt::Tokens(tokens) => Ok(Value::from(tokens.as_slice())),
        Prompt::Messages(_) => Err(format!("messages of a chat cannot be asked of {api}: --api chat")),
    };
    let (prompt, messages) = match (api, &planned.prompt) {
        (Api::Embeddings, prompt) => {
            let body = json!({ "model": options.model, "input": [text(prompt)?] });
            return patched(&body, planned, options.patch);
        }
        (Api::Completions, prompt) => (Some(text(prompt)?), None),
        (Api::Chat, Prompt::Messages(messages)) => (None, Some(messages.clone())),
        (Api::Chat, Prompt::Text(text)) => (None, Some(json!([{ "role": "user", "content": text }]))),
        (Api::Chat, Prompt::Tokens(_)) => return Err("tokens cannot be asked of a chat: --api completions".to_string()),
    };
    let body = Body {
        model: options.model,
        prompt,
        messages,
        max_tokens: planned.gen_tokens,
        temperature: 0.0,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        ignore_eos: options.ignore_eos.then_some(true),
        min_tokens: options.ignore_eos.then_some(planned.gen_tokens),
    };
    patched(&body, planned, options.patch)
}

fn patched(body: &impl Serialize, planned: &PlannedRequest, patch: Option<&Patch>) -> Result<Vec<u8>, String> {
    let Some(patch) = patch else { return serde_json::to_vec(body).map_err(|e| e.to_string()) };
    let mut body = serde_json::to_value(body).map_err(|e| e.to_string())?;
    patch.applied(&mut body, planned.gen_tokens);
    serde_json::to_vec(&body).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(prompt: Prompt) -> PlannedRequest {
        PlannedRequest { index: 0, intended_s: 0.0, prompt, prompt_tokens: None, gen_tokens: 7 }
    }

    #[test]
    fn bodies_are_what_the_apis_take() {
        let options = RequestOptions { ignore_eos: true, model: "m", patch: None };
        let of =
            |api, prompt| -> Value { serde_json::from_slice(&body(api, &planned(prompt), options).unwrap()).unwrap() };
        let chat = of(Api::Chat, Prompt::Text("hi".into()));
        assert_eq!(chat["messages"], json!([{ "role": "user", "content": "hi" }]));
        assert_eq!(
            (&chat["max_tokens"], &chat["ignore_eos"], &chat["min_tokens"]),
            (&json!(7), &json!(true), &json!(7))
        );
        assert_eq!(chat["stream_options"], json!({ "include_usage": true }));
        assert_eq!(of(Api::Completions, Prompt::Tokens(vec![1, 2]))["prompt"], json!([1, 2]));
        assert_eq!(of(Api::Embeddings, Prompt::Text("hi".into())), json!({ "model": "m", "input": ["hi"] }));
        assert!(body(Api::Chat, &planned(Prompt::Tokens(vec![1])), options).is_err());
        let plain = RequestOptions { ignore_eos: false, ..options };
        let plain = body(Api::Chat, &planned(Prompt::Text("x".into())), plain).unwrap();
        assert!(!String::from_utf8(plain).unwrap().contains("ignore_eos"));
    }

    #[test]
    fn a_patch_changes_adds_and_takes_out() {
        let text = r#"{"max_completion_tokens":"{tokens}","max_tokens":null,"stream_options":null,"temperature":1,"a":{"b":null,"c":2}}"#;
        let patch: Patch = text.parse().unwrap();
        let options = RequestOptions { ignore_eos: false, model: "m", patch: Some(&patch) };
        let body = body(Api::Chat, &planned(Prompt::Text("hi".into())), options).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let expected = json!({
            "model": "m", "messages": [{ "role": "user", "content": "hi" }], "stream": true,
            "max_completion_tokens": 7, "temperature": 1, "a": { "c": 2 },
        });
        assert_eq!(body, expected);
        assert_eq!(patch.length(), None);
        let fixed: Patch = r#"{"max_completion_tokens":8,"max_tokens":null}"#.parse().unwrap();
        assert_eq!((fixed.length(), fixed.secrets().len()), (Some(8), 0));
        let secret: Patch = r#"{"api_key":"hunter2","user":"me"}"#.parse().unwrap();
        assert_eq!(secret.secrets().len(), 1);
        for bad in ["[]", "{", "3", r#"{"stream":false}"#, r#"{"n":2}"#, r#"{"messages":[]}"#] {
            assert!(bad.parse::<Patch>().is_err(), "{bad}");
        }
    }
}
