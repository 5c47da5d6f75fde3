//! Vocabularies: a tokenizer.json, or the one in the metadata of a GGUF file. The library panics on some files that are wrong;
//! here that is an error like any other.

use super::{ModelError, spm};
use crate::engine::caught;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::tokenizer::TokenizerFromGguf;
use std::path::Path;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;

/// The tokenizer that `make` gives, tried on a few letters, as some that are wrong can be made but not used.
fn tried(make: impl FnOnce() -> Result<Tokenizer, String>) -> Result<Tokenizer, String> {
    let made = caught(|| {
        let tokenizer = make()?;
        if let Ok(encoded) = tokenizer.encode("a b", true) {
            let _ = tokenizer.decode(encoded.get_ids(), true);
        }
        Ok(tokenizer)
    });
    made.and_then(|made| made)
}

/// The tokenizer of a `tokenizer.json` file. The error names the file.
pub fn read_tokenizer(path: &Path) -> Result<Tokenizer, ModelError> {
    let bytes = std::fs::read(path).map_err(|e| ModelError::new(path, e))?;
    from_bytes(&bytes).map_err(|message| ModelError::new(path, message))
}

/// The tokenizer of the text of a `tokenizer.json` file.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Tokenizer, String> {
    tried(|| Tokenizer::from_bytes(bytes).map_err(|e| e.to_string()))
        .map_err(|message| format!("not a tokenizer: {message}"))
}

/// The vocabulary of a GGUF file, where there is one of a kind that we know.
pub(super) fn of_gguf(mut content: Content) -> Result<Option<Tokenizer>, String> {
    let fail = |message: String| format!("the vocabulary cannot be used: {message}");
    match content.metadata.get("tokenizer.ggml.model").and_then(|kind| kind.to_string().ok()).map(String::as_str) {
        Some("gpt2") => match Cut::of(&mut content) {
            Some(cut) => tried(|| cut.tokenizer(&content)).map(Some).map_err(fail),
            None => Ok(None),
        },
        Some("llama") => {
            let model = spm::tokenizer(&content.metadata)?;
            tried(|| Ok(model)).map(Some).map_err(fail)
        }
        _ => Ok(None),
    }
}

/// How a byte-level vocabulary cuts text into words before it joins bytes (`tokenizer.ggml.pre`). Candle's reader takes the
/// rule of GPT-2, with a space before the text, for every name that it does not know, which other text follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Gpt2,
    /// Each digit by itself, then the rule of GPT-2.
    Digits,
    /// By a rule that candle's reader has.
    Candle,
}

const PRE: &str = "tokenizer.ggml.pre";

impl Cut {
    /// The rule that the metadata names, by the names that llama.cpp gives them; `None` where it is one that is not known
    /// here, and the vocabulary cannot be used. What follows from the name by llama.cpp's rules is added to the metadata.
    fn of(content: &mut Content) -> Option<Self> {
        let metadata = &mut content.metadata;
        let name = metadata.get(PRE).and_then(|name| name.to_string().ok()).cloned();
        match name.as_deref() {
            None | Some("gpt-2" | "gpt2" | "jina-es" | "jina-de" | "phi-2" | "olmo" | "mpt") => Some(Self::Gpt2),
            Some("smollm" | "starcoder" | "refact" | "command-r" | "codeshell") => Some(Self::Digits),
            Some("smaug-bpe") => Some(Self::Candle),
            Some("llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "lfm2") => {
                metadata.insert(PRE.to_string(), Value::String("llama3".to_string()));
                metadata.entry("tokenizer.ggml.ignore_merges".to_string()).or_insert(Value::Bool(true));
                metadata.entry("tokenizer.ggml.add_bos_token".to_string()).or_insert(Value::Bool(true));
                Some(Self::Candle)
            }
            Some("qwen2" | "deepseek-r1-qwen" | "megrez") => {
                metadata.insert(PRE.to_string(), Value::String("qwen2".to_string()));
                Some(Self::Candle)
            }
            Some(_) => None,
        }
    }

    fn tokenizer(self, content: &Content) -> Result<Tokenizer, String> {
        let mut tokenizer = Tokenizer::from_gguf(content).map_err(|e| e.to_string())?;
        let words = ByteLevel::new(false, true, true);
        match self {
            Self::Candle => {}
            Self::Gpt2 => {
                tokenizer.with_pre_tokenizer(Some(words));
            }
            Self::Digits => {
                tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![Digits::new(true).into(), words.into()])));
            }
        }
        Ok(tokenizer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::gguf_file::VersionedMagic;
    use std::collections::HashMap;

    /// A byte-level vocabulary of letters, digits, a space and `12`, cut by the rule `pre`.
    fn content(pre: Option<&str>) -> Content {
        let text = |items: &[&str]| Value::Array(items.iter().map(|item| Value::String(item.to_string())).collect());
        let mut metadata = HashMap::from([
            ("tokenizer.ggml.model".to_string(), Value::String("gpt2".to_string())),
            ("tokenizer.ggml.tokens".to_string(), text(&["a", "1", "2", "\u{120}", "12", "\u{120}a", "<s>"])),
            ("tokenizer.ggml.merges".to_string(), text(&["1 2", "\u{120} a"])),
            ("tokenizer.ggml.bos_token_id".to_string(), Value::U32(6)),
        ]);
        if let Some(pre) = pre {
            metadata.insert(PRE.to_string(), Value::String(pre.to_string()));
        }
        Content { magic: VersionedMagic::GgufV3, metadata, tensor_infos: HashMap::new(), tensor_data_offset: 0 }
    }

    fn tokens(pre: Option<&str>, text: &str) -> Vec<String> {
        of_gguf(content(pre)).unwrap().unwrap().encode(text, true).unwrap().get_tokens().to_vec()
    }

    #[test]
    fn text_is_cut_as_the_vocabulary_asks() {
        // No space comes before the text, and each digit stands by itself where it should.
        assert_eq!(tokens(None, "a12 a"), ["a", "12", "\u{120}a"]);
        assert_eq!(tokens(Some("gpt-2"), "a12 a"), ["a", "12", "\u{120}a"]);
        assert_eq!(tokens(Some("smollm"), "a12 a"), ["a", "1", "2", "\u{120}a"]);
        assert_eq!(tokens(Some("qwen2"), "a12 a"), ["a", "1", "2", "\u{120}a"]);
        // Llama 3 begins every text with a token of its own, and keeps up to three digits together.
        assert_eq!(tokens(Some("llama-bpe"), "a12 a"), ["<s>", "a", "12", "\u{120}a"]);
        assert!(of_gguf(content(Some("tekken"))).unwrap().is_none());
    }

    #[test]
    fn a_panic_of_the_library_is_an_error() {
        let merges =
            r#"{"model":{"type":"BPE","continuing_subword_prefix":"abc","vocab":{"a":0,"b":1},"merges":[["a","b"]]}}"#;
        for text in [merges, r#"{"version":"1.0","model":{"type":"BPE","vocab":{},"merges":[]},"decoder":{"type":"#] {
            let message = from_bytes(text.as_bytes()).unwrap_err();
            assert!(message.starts_with("not a tokenizer: ") && !message.contains('\n'), "{message}");
        }
        assert_eq!(caught(|| panic!("one\ntwo")), Err::<(), _>("one".to_string()));
    }
}
