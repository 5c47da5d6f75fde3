//! Reading a request.

use super::{Api, Served};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

/// Tokens of an answer where none are asked for, as the API has it.
const USUAL_TOKENS: usize = 16;

/// Why a request is not answered.
pub(super) struct Refusal(pub(super) StatusCode, pub(super) String);

fn bad<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal(StatusCode::BAD_REQUEST, message.into()))
}

/// The body of a request, as far as it matters here; what else clients send is passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Ask {
    prompt: Option<Value>,
    messages: Option<Vec<Message>>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    #[serde(default)]
    stream: bool,
    n: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Value,
}

impl Ask {
    pub(super) fn streams(&self) -> bool {
        self.stream
    }

    /// The tokens of the prompt, and how many to generate.
    pub(super) fn tokens(&self, api: Api, served: &Served) -> Result<(Vec<u32>, usize), Refusal> {
        if self.n.is_some_and(|n| n != 1) {
            return bad("n: one answer a request");
        }
        let gen_tokens = self.max_completion_tokens.or(self.max_tokens).unwrap_or(USUAL_TOKENS);
        if gen_tokens == 0 {
            return bad("max_tokens must be above 0");
        }
        let prompt = match (api, &self.prompt, &self.messages) {
            (Api::Completions, Some(prompt), _) => prompt_tokens(prompt, served)?,
            (Api::Chat, _, Some(messages)) => served.texts.tokens(&joined(messages)?).or_else(bad)?,
            (Api::Completions, None, _) => return bad("prompt is missing"),
            (Api::Chat, _, None) => return bad("messages are missing"),
        };
        let (context, most) = (prompt.len().saturating_add(gen_tokens), served.scheduler.slot_tokens);
        if prompt.is_empty() {
            return bad("the prompt has no token");
        }
        if context > most {
            return bad(format!(
                "{} prompt and {gen_tokens} generated tokens exceed the context of {most}",
                prompt.len()
            ));
        }
        Ok((prompt, gen_tokens))
    }
}

/// A prompt as a text or as tokens, alone or as the only one of a list.
fn prompt_tokens(prompt: &Value, served: &Served) -> Result<Vec<u32>, Refusal> {
    match prompt {
        Value::String(text) => served.texts.tokens(text).or_else(bad),
        Value::Array(list) if list.len() == 1 && !list[0].is_number() => prompt_tokens(&list[0], served),
        Value::Array(list) if list.iter().all(Value::is_u64) => {
            let known = served.texts.vocab() as u64;
            let token = |value: &Value| value.as_u64().filter(|token| *token < known).map(|token| token as u32);
            list.iter()
                .map(token)
                .collect::<Option<_>>()
                .map_or_else(|| bad(format!("a token is not below {known}")), Ok)
        }
        _ => bad("prompt is neither a text nor a list of tokens"),
    }
}

/// The messages one below the other. A template of the model's own is not applied: the length is what matters here.
fn joined(messages: &[Message]) -> Result<String, Refusal> {
    let mut text = String::new();
    for message in messages {
        let content = match &message.content {
            Value::String(content) => content.clone(),
            Value::Array(parts) => {
                parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect::<Vec<_>>().join("\n")
            }
            _ => return bad("content is neither a text nor a list of parts"),
        };
        text.push_str(&format!("{}: {content}\n", message.role));
    }
    Ok(text)
}
