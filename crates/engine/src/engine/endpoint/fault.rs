//! What servers say when something is wrong: in a body of its own, or within a stream that began well. There is no one shape
//! for it; what all have in common is that it is no part of an answer.

use serde_json::Value;

/// The most of an error's text that is kept.
const MOST_OF_A_MESSAGE: usize = 300;

/// Keys that hold what went wrong and nothing else.
const ERRORS: [&str; 7] = ["error", "errors", "exception", "fault", "error_msg", "error_message", "errorMessage"];
/// Keys that hold a number of the kind of HTTP's.
const CODES: [&str; 7] = ["code", "status", "status_code", "statusCode", "error_code", "errorCode", "http_status"];
/// Keys by which an error is put into words, the best first.
const WORDS: [&str; 11] = [
    "message",
    "msg",
    "detail",
    "details",
    "error_msg",
    "error_message",
    "errorMessage",
    "status_msg",
    "reason",
    "description",
    "title",
];

/// What a body says went wrong, as `: text`; empty where it says nothing.
pub(crate) fn error_text(body: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(body.trim_start_matches('\u{feff}')).ok();
    let text = match &parsed {
        Some(value) => told(value).unwrap_or_else(|| words(value)),
        None => body.to_string(),
    };
    let text = one_line(&text);
    if text.is_empty() { text } else { format!(": {text}") }
}

/// A text on one line, not too much of it.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.chars().take(MOST_OF_A_MESSAGE).collect()
}

/// An error of which a value speaks that is no part of an answer, in the server's words; `None` where it speaks of none.
pub(crate) fn told(value: &Value) -> Option<String> {
    let Some(object) = value.as_object() else {
        return value.as_str().filter(|text| !text.trim().is_empty()).map(one_line);
    };
    if let Some(error) = ERRORS.iter().filter_map(|key| object.get(*key)).find(|error| says_something(error)) {
        // `true` says that there is one, and something beside it says which.
        let text = if error.is_boolean() || error.is_number() { words(value) } else { words(error) };
        return Some(one_line(&text));
    }
    let choices = object.get("choices").and_then(Value::as_array).filter(|choices| !choices.is_empty());
    if let Some(choices) = choices {
        let within = |choice: &Value| {
            let places = [Some(choice), choice.get("delta"), choice.get("message")];
            let found = places.into_iter().flatten().find_map(|place| place.get("error").filter(|e| says_something(e)));
            found.map(|error| one_line(&words(error)))
        };
        return choices.iter().find_map(within);
    }
    is_error(object).then(|| one_line(&words(value)))
}

/// Whether an object that is no part of an answer is an error.
fn is_error(object: &serde_json::Map<String, Value>) -> bool {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or("").to_lowercase();
    if ["object", "type", "event", "status"].iter().any(|key| {
        let text = text(key);
        text.ends_with("error") || text.ends_with("exception") || text == "failed" || text == "fail"
    }) {
        return true;
    }
    if let Some(status) = object.get("base_resp").and_then(|base| base.get("status_code")).and_then(Value::as_i64) {
        return status != 0;
    }
    let is_part =
        ["usage", "timings", "data", "choices"].iter().any(|key| object.get(*key).is_some_and(says_something));
    let refused = CODES.iter().filter_map(|key| object.get(*key)).any(is_refusal);
    if is_part {
        return refused && object.contains_key("message");
    }
    let is_named = !text("code").is_empty() && object.get("message").is_some();
    refused
        || is_named
        || ["detail", "message", "msg"].iter().any(|key| match object.get(*key) {
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(other) => *key == "detail" && says_something(other),
            None => false,
        })
}

fn is_refusal(code: &Value) -> bool {
    let number = code.as_f64().or_else(|| code.as_str()?.trim().parse().ok());
    number.is_some_and(|number| number >= 400.0)
}

/// Neither null, nor empty, nor a zero, nor a friendly word.
fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !matches!(text.trim().to_lowercase().as_str(), "" | "none" | "null" | "ok" | "success"),
        Value::Array(list) => list.iter().any(says_something),
        // An error of code 0 without a word is none.
        Value::Object(object) => object.values().any(says_something),
    }
}

/// An error in words.
fn words(error: &Value) -> String {
    match error {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().take(3).map(words).collect::<Vec<_>>().join("; "),
        Value::Object(object) => {
            let nested = ["error", "errors", "base_resp"].iter().filter_map(|key| object.get(*key));
            let said = WORDS.iter().filter_map(|key| object.get(*key)).chain(nested).find(|said| says_something(said));
            let Some(said) = said else { return error.to_string() };
            // FastAPI says in a list where in a body something is wrong.
            let place: Vec<String> = object.get("loc").and_then(Value::as_array).map_or(Vec::new(), |place| {
                place.iter().map(|part| part.as_str().map_or(part.to_string(), str::to_string)).collect()
            });
            if place.is_empty() { words(said) } else { format!("{}: {}", place.join("."), words(said)) }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_servers_say_is_found() {
        assert_eq!(error_text(r#"{"error":{"message":"no such\nmodel","code":404}}"#), ": no such model");
        assert_eq!(error_text(r#"{"error":"busy"}"#), ": busy");
        assert_eq!(error_text(r#"{"detail":"Not Found"}"#), ": Not Found");
        assert_eq!(
            error_text(r#"{"detail":[{"loc":["body","stream_options"],"msg":"extra fields not permitted"}]}"#),
            ": body.stream_options: extra fields not permitted"
        );
        assert_eq!(error_text("<html>\n502"), ": <html> 502");
        assert_eq!(error_text(""), "");
        assert_eq!(error_text(&"x".repeat(9999)).len(), 302);
    }

    #[test]
    fn errors_within_a_stream_are_told_from_its_parts() {
        for (event, said) in [
            (json!({"error": {"message": "out of blocks"}}), "out of blocks"),
            (json!({"error": "busy"}), "busy"),
            (json!({"error": true, "message": "gone"}), "gone"),
            (
                json!({"object": "error", "message": "CUDA out of memory", "type": "InternalServerError", "code": 500}),
                "CUDA out of memory",
            ),
            (json!({"message": "engine is dead", "status": 500}), "engine is dead"),
            (json!({"detail": "no worker"}), "no worker"),
            (json!({"code": 503, "message": "overloaded"}), "overloaded"),
            (json!({"code": "InternalError.Algo", "message": "inference failed"}), "inference failed"),
            (json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), "Overloaded"),
            (json!({"errors": [{"message": "a"}, {"message": "b"}]}), "a; b"),
            (json!({"base_resp": {"status_code": 1004, "status_msg": "no balance"}}), "no balance"),
            (json!({"error_code": 336100, "error_msg": "try again"}), "try again"),
            (
                json!({"id": "x", "choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "upstream"}}]}),
                "upstream",
            ),
            (json!({"choices": [], "usage": null, "message": "gone", "code": 500}), "gone"),
            (json!("Internal Server Error"), "Internal Server Error"),
        ] {
            assert_eq!(told(&event).as_deref(), Some(said), "{event}");
        }
        for part in [
            json!({"choices": [{"index": 0, "delta": {"content": "error"}, "finish_reason": null}], "error": null}),
            json!({"choices": [], "usage": {"completion_tokens": 3}}),
            json!({"choices": null, "usage": {"completion_tokens": 3}, "error": {"code": 0, "message": ""}}),
            json!({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]}),
            json!({"type": "ping"}),
            json!({"id": "x", "object": "chat.completion.chunk", "error": ""}),
            json!({"timings": {"predicted_ms": 3}, "code": 0}),
            json!({}),
        ] {
            assert_eq!(told(&part), None, "{part}");
        }
    }
}
