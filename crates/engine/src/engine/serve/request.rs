//! Reading a request. What would change the answer and is not done here is refused; settings that change its words but not
//! what it costs, such as a temperature, are passed over.

use super::Api;
use crate::engine::tokenizing::{TextError, Texts};
use axum::http::StatusCode;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::Value;
use std::fmt;

/// Tokens of an answer where none are asked for, as the API has it.
const USUAL_TOKENS: usize = 16;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

fn bad<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(StatusCode::BAD_REQUEST, message.into()))
}

impl From<TextError> for Refusal {
    fn from(error: TextError) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// The body of a request, as far as it matters here; what else clients send is passed over.
#[derive(Debug, Deserialize)]
struct Body {
    model: Option<Value>,
    prompt: Option<Prompt>,
    messages: Option<Vec<Message>>,
    #[serde(default, deserialize_with = "whole")]
    max_tokens: Option<usize>,
    #[serde(default, deserialize_with = "whole")]
    max_completion_tokens: Option<usize>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[serde(default, deserialize_with = "whole")]
    n: Option<usize>,
    #[serde(default, deserialize_with = "whole")]
    best_of: Option<usize>,
    stop: Option<Value>,
    echo: Option<Value>,
    logprobs: Option<Value>,
    suffix: Option<Value>,
    tools: Option<Value>,
    functions: Option<Value>,
    response_format: Option<Value>,
    use_beam_search: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
}

/// A number of something: a whole one, however it is written.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = match &value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0),
        _ => None,
    };
    number
        .map(|number| Some(number as usize))
        .ok_or_else(|| D::Error::custom(format!("{value} is no number of tokens or answers")))
}

/// A prompt, alone or as the only one of a list.
#[derive(Debug, PartialEq)]
enum Prompt {
    Text(String),
    Tokens(Vec<u64>),
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PromptVisitor)
    }
}

struct PromptVisitor;

/// What stands in a list.
enum Item {
    Token(u64),
    Prompt(Prompt),
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token or a prompt")
    }

    fn visit_u64<E: de::Error>(self, token: u64) -> Result<Item, E> {
        Ok(Item::Token(token))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
        Ok(Item::Prompt(Prompt::Text(text.to_string())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Item, A::Error> {
        PromptVisitor.visit_seq(seq).map(Item::Prompt)
    }
}

impl<'de> Visitor<'de> for PromptVisitor {
    type Value = Prompt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of tokens")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Prompt, E> {
        Ok(Prompt::Text(text.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Prompt, A::Error> {
        let mut tokens = Vec::new();
        let mut prompt = None;
        while let Some(item) = seq.next_element()? {
            match item {
                Item::Token(token) if prompt.is_none() => tokens.push(token),
                Item::Prompt(one) if prompt.is_none() && tokens.is_empty() => prompt = Some(one),
                _ => return Err(A::Error::custom("prompt: one prompt a request")),
            }
        }
        Ok(prompt.unwrap_or(Prompt::Tokens(tokens)))
    }
}

/// A request, checked.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedRequest {
    /// Tokens of the prompt.
    pub(super) prompt: Vec<u32>,
    /// Tokens to generate.
    pub(super) gen_tokens: usize,
    /// The answer comes as a stream.
    pub(super) streams: bool,
    /// A stream ends with an event of its own for the counts.
    pub(super) usage_event: bool,
}

/// What requests are held to.
pub(super) struct Limits<'a> {
    pub(super) texts: &'a Texts,
    /// Positions of a place in the cache.
    pub(super) context: usize,
    /// What the model is called.
    pub(super) model: &'a str,
}

impl ParsedRequest {
    /// Reads a body.
    pub(super) fn read(api: Api, body: &[u8], limits: &Limits<'_>) -> Result<Self, Refusal> {
        let body: Body = match serde_json::from_slice(body) {
            Ok(body) => body,
            Err(error) => return bad(format!("the body is no request: {error}")),
        };
        body.check(limits.model)?;
        let gen_tokens = body.max_completion_tokens.or(body.max_tokens).unwrap_or(USUAL_TOKENS);
        if gen_tokens == 0 {
            return bad("max_tokens must be above 0");
        }
        let most = limits.context;
        if gen_tokens >= most {
            return bad(format!("{gen_tokens} generated tokens and a prompt exceed the context of {most}"));
        }
        let text = |text: &str| limits.texts.tokens(text, most);
        let prompt = match (api, body.prompt, &body.messages) {
            (Api::Completions, Some(Prompt::Text(prompt)), _) => text(&prompt)?,
            (Api::Completions, Some(Prompt::Tokens(tokens)), _) => known(tokens, limits)?,
            (Api::Chat, _, Some(messages)) => text(&joined(messages)?)?,
            (Api::Completions, None, _) => return bad("prompt is missing"),
            (Api::Chat, _, None) => return bad("messages are missing"),
        };
        if prompt.is_empty() {
            return bad("the prompt has no token");
        }
        if prompt.len().saturating_add(gen_tokens) > most {
            return bad(format!(
                "{} prompt and {gen_tokens} generated tokens exceed the context of {most}",
                prompt.len()
            ));
        }
        let usage_event = body.stream_options.and_then(|options| options.include_usage).unwrap_or(false);
        Ok(Self { prompt, gen_tokens, streams: body.stream.unwrap_or(false), usage_event })
    }
}

impl Body {
    /// Refuses what is not done here.
    fn check(&self, model: &str) -> Result<(), Refusal> {
        match &self.model {
            None | Some(Value::Null) => {}
            Some(Value::String(asked)) if asked.is_empty() || asked == model => {}
            Some(Value::String(asked)) => {
                let asked: String = asked.chars().take(100).collect();
                return Err(Refusal(
                    StatusCode::NOT_FOUND,
                    format!("there is no model `{asked}` here: it is `{model}`"),
                ));
            }
            Some(_) => return bad("model is no text"),
        }
        for (name, count) in [("n", self.n), ("best_of", self.best_of)] {
            if count.is_some_and(|count| count != 1) {
                return bad(format!("{name}: one answer a request"));
            }
        }
        let others = [
            ("stop", &self.stop, "answers have the length that is asked for"),
            ("echo", &self.echo, "an answer is not its prompt"),
            ("logprobs", &self.logprobs, "probabilities are not told"),
            ("suffix", &self.suffix, "text is not filled in"),
            ("tools", &self.tools, "no tools are called"),
            ("functions", &self.functions, "no functions are called"),
            ("response_format", &self.response_format, "answers are plain text"),
            ("use_beam_search", &self.use_beam_search, "answers are the likeliest token after the other"),
        ];
        for (name, value, why) in others {
            if value.as_ref().is_some_and(asks) {
                return bad(format!("{name} is not served here: {why}; leave it out"));
            }
        }
        Ok(())
    }
}

/// Whether a setting asks for anything.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => object.get("type").is_none_or(|kind| kind != "text"),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// Tokens that the model has, of which no more than fit.
fn known(tokens: Vec<u64>, limits: &Limits<'_>) -> Result<Vec<u32>, Refusal> {
    let known = limits.texts.vocab() as u64;
    match tokens.iter().find(|token| **token >= known) {
        Some(token) => bad(format!("there is no token {token}: the model has {known}")),
        None => Ok(tokens.into_iter().map(|token| token as u32).collect()),
    }
}

/// The messages one below the other. A template of the model's own is not applied: the length is what matters here.
fn joined(messages: &[Message]) -> Result<String, Refusal> {
    let mut text = String::new();
    for message in messages {
        let content = match &message.content {
            // Of an assistant that called a tool, or that is to begin.
            None | Some(Value::Null) => String::new(),
            Some(Value::String(content)) => content.clone(),
            Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<Vec<_>, _>>()?.join("\n"),
            Some(_) => return bad("content is neither a text nor a list of parts"),
        };
        text.push_str(&format!("{}: {content}\n", message.role));
    }
    Ok(text)
}

/// The text of a part of a message.
fn part(part: &Value) -> Result<&str, Refusal> {
    match part.as_str().or(part.get("text").and_then(Value::as_str)) {
        Some(text) => Ok(text),
        None => bad("a part of a content has no text: only texts are read here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(api: Api, body: &Value) -> Result<ParsedRequest, Refusal> {
        let limits = Limits { texts: &Texts::Words(100), context: 64, model: "m" };
        ParsedRequest::read(api, body.to_string().as_bytes(), &limits)
    }

    #[test]
    fn requests_of_real_clients_are_read() {
        for (body, gen_tokens, streams, usage_event) in [
            // vLLM's own bench, as it sends its defaults.
            (
                json!({"model": "m", "prompt": "a b", "temperature": 0.0, "repetition_penalty": 1.0, "max_tokens": 8,
                       "logprobs": null, "stream": true, "stream_options": {"include_usage": true}, "ignore_eos": true,
                       "best_of": 1, "use_beam_search": false}),
                8,
                true,
                true,
            ),
            (json!({"prompt": ["a b"], "max_tokens": 8.0, "stop": null, "echo": false}), 8, false, false),
            (json!({"prompt": [1, 2], "n": 1, "stop": [], "stream": null, "stream_options": null}), 16, false, false),
            (json!({"prompt": [[1, 2]], "max_tokens": null, "model": null, "user": "x"}), 16, false, false),
        ] {
            let ask = read(Api::Completions, &body).unwrap();
            assert_eq!((ask.prompt.len(), ask.gen_tokens), (2, gen_tokens), "{body}");
            assert_eq!((ask.streams, ask.usage_event), (streams, usage_event), "{body}");
        }
        let chat = json!({"messages": [
            {"role": "system", "content": [{"type": "text", "text": "a"}, "b"]}, {"role": "assistant", "content": null},
            {"role": "user", "content": "c"}], "max_completion_tokens": 4, "max_tokens": 9,
            "response_format": {"type": "text"}, "tools": [], "tool_choice": "none"});
        let ask = read(Api::Chat, &chat).unwrap();
        assert_eq!((ask.prompt.len(), ask.gen_tokens), (6, 4));
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        for (field, value, said) in [
            ("n", json!(2), "n: one answer"),
            ("best_of", json!(4), "best_of: one answer"),
            ("stop", json!(["\n"]), "stop is not served here"),
            ("stop", json!("x"), "stop is not served here"),
            ("echo", json!(true), "echo"),
            ("logprobs", json!(0), "logprobs"),
            ("tools", json!([{"type": "function"}]), "tools"),
            ("response_format", json!({"type": "json_object"}), "response_format"),
            ("max_tokens", json!(0), "above 0"),
            ("max_tokens", json!(-1), "-1 is no number of tokens"),
            ("max_tokens", json!("5"), "is no number of tokens"),
            ("max_tokens", json!(1e300), "exceed the context of 64"),
            ("max_tokens", json!(u64::MAX), "exceed the context of 64"),
            ("max_tokens", json!(63), "2 prompt and 63 generated tokens exceed the context of 64"),
            ("model", json!("gpt-4"), "there is no model `gpt-4` here: it is `m`"),
            ("model", json!(3), "model is no text"),
            ("prompt", json!(["a", "b"]), "one prompt a request"),
            ("prompt", json!([[1], [2]]), "one prompt a request"),
            ("prompt", json!([1, "a"]), "one prompt a request"),
            ("prompt", json!([100]), "there is no token 100: the model has 100"),
            ("prompt", json!([-1]), "a token or a prompt"),
            ("prompt", json!([]), "has no token"),
            ("prompt", json!({"a": 1}), "a text or a list of tokens"),
            ("prompt", json!("x ".repeat(100)), "100 prompt and 16 generated tokens"),
            ("prompt", json!("x".repeat(100_000)), "a text of 100000 bytes exceeds the context of 64 tokens"),
        ] {
            let mut body = json!({"prompt": "a b"});
            body[field] = value;
            let Refusal(status, why) = read(Api::Completions, &body).unwrap_err();
            assert!(why.contains(said), "{body}: {why}");
            assert_eq!(status, if why.contains("no model") { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST });
        }
        let image = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]});
        assert!(read(Api::Chat, &image).unwrap_err().1.contains("only texts"));
        assert!(read(Api::Chat, &json!({"messages": []})).unwrap_err().1.contains("no token"));
        let deep = format!("{{\"prompt\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        let limits = Limits { texts: &Texts::Words(100), context: 64, model: "m" };
        let Refusal(_, why) = ParsedRequest::read(Api::Completions, deep.as_bytes(), &limits).unwrap_err();
        assert!(why.contains("recursion limit"), "{why}");
    }
}
