//! Files of prompts: JSON lines with `prompt`, `messages` or ShareGPT's `conversations`, a JSON array of such, or text with a
//! prompt a line. A file of another form is refused: as lines of text it would ask a server something that nobody meant.

use super::lengths::LONGEST;
use super::prompts::Prompt;
use crate::data_file::bounded;
use serde_json::Value;
use std::path::Path;

/// A prompt, and the tokens to generate where the file says them.
type PromptWithLength = (Prompt, Option<usize>);
/// Counts the tokens of a text, where that can be done.
type Count<'a> = &'a dyn Fn(&str) -> Option<usize>;

/// Keys of the tokens to generate, by their name in several tools.
const LENGTHS: [&str; 5] = ["max_tokens", "gen_tokens", "output_tokens", "max_completion_tokens", "output_len"];
/// Columns by which a table is told from a text.
const COLUMNS: [&str; 14] = [
    "prompt",
    "messages",
    "conversations",
    "max_tokens",
    "prompt_tokens",
    "gen_tokens",
    "output_tokens",
    "timestamp",
    "timestamp_s",
    "timestamp_ms",
    "contexttokens",
    "generatedtokens",
    "request tokens",
    "response tokens",
];

/// Reads a file; the error names file, line or entry, and what is wrong.
pub(super) fn read(path: &Path, count: Count<'_>) -> Result<Vec<PromptWithLength>, String> {
    let name = path.display();
    let text = bounded::text(path, bounded::MOST_TEXT).map_err(|e| format!("{name}: {e}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let prompts = match text.trim_start().chars().next() {
        // A prompt of text may begin with a bracket; a whole file that is JSON is no text.
        Some('[') if ending == "json" || serde_json::from_str::<Vec<Value>>(text).is_ok_and(|list| is_list(&list)) => {
            array(text, count)
        }
        Some('{') if ending == "json" && text.trim().lines().count() > 1 && is_json(text) => {
            Err((0, "is one JSON object: prompts are JSON lines, or a JSON array of objects".to_string()))
        }
        _ if ["csv", "tsv"].contains(&ending.as_str()) || is_table(text) => Err((
            1,
            "is a table: prompts are JSON lines with `prompt`, or text with one a line; --trace takes lengths".into(),
        )),
        _ => lines(text, count),
    };
    let prompts = prompts.map_err(|(line, why)| match line {
        0 => format!("{name}: {why}"),
        line => format!("{name}:{line}: {why}"),
    })?;
    if prompts.is_empty() {
        return Err(format!("{name}: no prompt in it"));
    }
    Ok(prompts)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// A list of objects or texts; one line of numbers in brackets may be a prompt.
fn is_list(list: &[Value]) -> bool {
    list.is_empty() || list.iter().any(|value| value.is_object() || value.is_string() || value.is_array())
}

/// A first line that names columns.
fn is_table(text: &str) -> bool {
    let first = text.lines().next().unwrap_or("").to_lowercase();
    [',', ';', '\t'].iter().any(|comma| {
        let names: Vec<&str> = first.split(*comma).map(|name| name.trim().trim_matches('"')).collect();
        names.len() > 1 && names.iter().any(|name| COLUMNS.contains(name))
    })
}

fn array(text: &str, count: Count<'_>) -> Result<Vec<PromptWithLength>, (usize, String)> {
    let list: Vec<Value> = serde_json::from_str(text).map_err(|e| (e.line(), e.to_string()))?;
    let entry = |(index, value): (usize, &Value)| {
        prompt(value, count).map_err(|why| (0, format!("entry {}: {why}", index + 1)))
    };
    list.iter().enumerate().map(entry).collect()
}

fn lines(text: &str, count: Count<'_>) -> Result<Vec<PromptWithLength>, (usize, String)> {
    let mut prompts = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |why: String| (index + 1, why);
        let begin = line.trim_start();
        prompts.push(match begin.chars().next() {
            Some('{') => {
                let value: Value = serde_json::from_str(line).map_err(|e| at(e.to_string()))?;
                prompt(&value, count).map_err(at)?
            }
            Some('[') if serde_json::from_str::<Vec<Value>>(begin).is_ok_and(|list| is_list(&list)) => {
                return Err(at("a JSON array is no prompt: an object with `prompt` or `messages` is".to_string()));
            }
            _ => (Prompt::Text(line.to_string()), None),
        });
    }
    Ok(prompts)
}

/// The prompt of a JSON value.
fn prompt(value: &Value, count: Count<'_>) -> Result<PromptWithLength, String> {
    let text = |text: &str| match text.trim() {
        "" => Err("the prompt is empty".to_string()),
        _ => Ok(Prompt::Text(text.to_string())),
    };
    if let Value::String(own) = value {
        return Ok((text(own)?, None));
    }
    let length = length(value)?;
    match (value.get("prompt"), value.get("messages"), value.get("conversations").or(value.get("conversation"))) {
        (Some(Value::String(own)), None, None) => Ok((text(own)?, length)),
        (None, Some(messages @ Value::Array(list)), None) if !list.is_empty() => {
            Ok((Prompt::Messages(messages.clone()), length))
        }
        (None, None, Some(Value::Array(turns))) => {
            let (asked, answered) = turns_of(turns)?;
            Ok((text(asked)?, length.or(answered.and_then(count).filter(|tokens| *tokens > 0))))
        }
        _ => Err("neither a `prompt` that is a text nor a list of `messages` or `conversations`".to_string()),
    }
}

/// What was asked first in a conversation, and what was answered to it.
fn turns_of(turns: &[Value]) -> Result<(&str, Option<&str>), String> {
    let by = |turn: &Value, names: &[&str]| {
        let name = turn.get("from").or(turn.get("role")).and_then(Value::as_str);
        name.is_some_and(|name| names.contains(&name.to_lowercase().as_str()))
    };
    fn words(turn: &Value) -> Option<&str> {
        turn.get("value").or(turn.get("content")).and_then(Value::as_str)
    }
    let first = turns.iter().position(|turn| by(turn, &["human", "user"]) && words(turn).is_some());
    let Some(first) = first else { return Err("no turn of a `human` or `user` in the conversation".to_string()) };
    let answer =
        turns.get(first + 1).filter(|turn| by(turn, &["gpt", "assistant", "chatgpt", "bing", "bard", "model"]));
    Ok((words(&turns[first]).unwrap_or(""), answer.and_then(words)))
}

fn length(value: &Value) -> Result<Option<usize>, String> {
    let Some((name, length)) = LENGTHS.iter().find_map(|name| Some((name, value.get(name)?))) else { return Ok(None) };
    match length.as_u64() {
        Some(length) if length > 0 && length <= LONGEST as u64 => Ok(Some(length as usize)),
        _ if length.is_null() => Ok(None),
        _ => Err(format!("{name} is {length}; it must be a whole number above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(name: &str, text: &str) -> Result<Vec<PromptWithLength>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path, &|text| Some(text.split(' ').count()))
    }

    fn text(text: &str) -> Prompt {
        Prompt::Text(text.to_string())
    }

    #[test]
    fn conversations_are_read_with_the_length_of_their_answers() {
        let talk = r#"{"id": "x", "conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "hi there"},
            {"from": "gpt", "value": "yo and more"}, {"from": "human", "value": "second"}]}"#;
        let expected = vec![(text("hi there"), Some(3)); 2];
        assert_eq!(from("sharegpt.json", &format!("[{talk}, {talk}]")), Ok(expected.clone()));
        // A name says nothing of what is in it.
        assert_eq!(from("prompts.txt", &format!("\u{feff} [{talk},\n{talk}]")), Ok(expected.clone()));
        let line = talk.replace('\n', " ");
        assert_eq!(from("a.jsonl", &format!("{line}\n{line}\n")), Ok(expected));
        let mixed = from("a.json", "[\"one\", {\"prompt\": \"two\", \"output_tokens\": 4}]");
        assert_eq!(mixed, Ok(vec![(text("one"), None), (text("two"), Some(4))]));
        assert_eq!(from("a.jsonl", "\u{feff}{\"prompt\": \"a b\"}\n"), Ok(vec![(text("a b"), None)]));
        assert_eq!(
            from("a.txt", "[INST] hello [/INST]\r\nworld, again\n"),
            Ok(vec![(text("[INST] hello [/INST]"), None), (text("world, again"), None)])
        );
    }

    #[test]
    fn what_is_no_list_of_prompts_is_refused() {
        for (name, body, why) in [
            ("a.json", "[{\"prompt\": \"a\"}, {\"text\": \"b\"}]", "entry 2: neither a `prompt`"),
            ("a.json", "[{\"prompt\": \"a\"}, {\n", ":2: EOF"),
            ("a.json", "{\n\"data\": [\"a\"]}", "is one JSON object"),
            ("a.json", "[]", "no prompt in it"),
            ("a", "[[1, 2], [3]]", "entry 1: neither"),
            ("a.jsonl", "{\"prompt\": \"a\"}\n[\"b\", \"c\"]\n", ":2: a JSON array is no prompt"),
            ("a.csv", "question\nwhy\n", "is a table"),
            ("a", "prompt,max_tokens\nhi,3\n", ":1: is a table"),
            ("a", "TIMESTAMP;ContextTokens;GeneratedTokens\n1;2;3\n", "--trace takes lengths"),
            ("a.jsonl", "{\"prompt\": \"\"}\n", ":1: the prompt is empty"),
            ("a.jsonl", "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"x\"}]}\n", "no turn of a `human`"),
            ("a.jsonl", "{\"prompt\": \"a\", \"output_tokens\": 0}\n", "output_tokens is 0"),
        ] {
            let error = from(name, body).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
    }
}
