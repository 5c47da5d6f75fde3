//! The SentencePiece vocabulary of a GGUF file (`tokenizer.ggml.model = llama`) as a byte-pair tokenizer.
//!
//! SentencePiece merges the pair whose piece has the highest score; byte-pair encoding merges the pair that is
//! earliest in a list. Listing every split of every piece in the order of the scores makes the two agree.

use candle_core::quantized::gguf_file::Value;
use std::collections::HashMap;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence as Normalizers};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// What SentencePiece writes for a space.
const SPACE: &str = "\u{2581}";
/// `tokenizer.ggml.token_type` of control tokens.
const CONTROL: i64 = 3;

/// Builds the tokenizer. The error names the metadata key that is wrong.
pub fn tokenizer(metadata: &HashMap<String, Value>) -> Result<Tokenizer, String> {
    let pieces = strings(metadata, "tokenizer.ggml.tokens")?;
    let scores = numbers(metadata, "tokenizer.ggml.scores")?;
    if scores.len() != pieces.len() {
        return Err(format!("tokenizer.ggml.scores has {} entries for {} tokens", scores.len(), pieces.len()));
    }
    let vocab: Vocab = pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), id as u32)).collect();
    let merges = merges(&pieces, &scores, &vocab)?;
    let unknown = id(metadata, "tokenizer.ggml.unknown_token_id", &pieces).unwrap_or("<unk>".to_string());
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .byte_fallback(true)
        .fuse_unk(true)
        .unk_token(unknown)
        .build()
        .map_err(|e| format!("the vocabulary cannot be used: {e}"))?;
    let mut tokenizer = Tokenizer::new(model);
    add_text_rules(&mut tokenizer, flag(metadata, "tokenizer.ggml.add_space_prefix", true))
        .map_err(|e| format!("the vocabulary cannot be used: {e}"))?;
    if flag(metadata, "tokenizer.ggml.add_bos_token", true) {
        add_first_token(&mut tokenizer, metadata, &pieces)?;
    }
    let kinds = match metadata.get("tokenizer.ggml.token_type") {
        Some(_) => numbers(metadata, "tokenizer.ggml.token_type")?,
        None => Vec::new(),
    };
    let control = pieces.iter().zip(&kinds).filter(|(_, kind)| **kind as i64 == CONTROL);
    let special: Vec<AddedToken> = control.map(|(piece, _)| AddedToken::from(piece.clone(), true)).collect();
    tokenizer.add_special_tokens(special).map_err(|e| format!("the control tokens cannot be used: {e}"))?;
    Ok(tokenizer)
}

/// The longest piece, in bytes. SentencePiece makes pieces of 16 characters, but for what a user adds.
const LONGEST_PIECE: usize = 1 << 10;
/// Bytes that all ways to put pieces together may take. Vocabularies of 256 thousand pieces take some 20 million.
const MOST_MERGED: usize = 1 << 28;

/// Every way to put a piece together from two others, best score first. Work and memory are bounded by the two limits above:
/// the error says which of them a vocabulary breaks.
fn merges(pieces: &[String], scores: &[f64], vocab: &Vocab) -> Result<Vec<(String, String)>, String> {
    if let Some((id, piece)) = pieces.iter().enumerate().find(|(_, piece)| piece.len() > LONGEST_PIECE) {
        return Err(format!(
            "tokenizer.ggml.tokens: token {id} is {} bytes long; at most {LONGEST_PIECE} are plausible",
            piece.len()
        ));
    }
    // Only splits into two lengths that pieces have are looked up.
    let mut is_length = vec![false; LONGEST_PIECE + 1];
    pieces.iter().for_each(|piece| is_length[piece.len()] = true);
    let mut merges: Vec<(f64, usize, &str, &str)> = Vec::new();
    let mut bytes = 0;
    for (id, piece) in pieces.iter().enumerate() {
        for (at, _) in piece.char_indices().skip(1).filter(|(at, _)| is_length[*at] && is_length[piece.len() - at]) {
            let (left, right) = piece.split_at(at);
            if vocab.contains_key(left) && vocab.contains_key(right) {
                bytes += piece.len();
                merges.push((scores[id], id, left, right));
            }
        }
        if bytes > MOST_MERGED {
            return Err(
                "tokenizer.ggml.tokens: the pieces can be put together in more ways than are plausible".to_string()
            );
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    Ok(merges.into_iter().map(|(_, _, left, right)| (left.to_string(), right.to_string())).collect())
}

fn add_text_rules(tokenizer: &mut Tokenizer, space_first: bool) -> tokenizers::Result<()> {
    let mut rules: Vec<NormalizerWrapper> = Vec::new();
    if space_first {
        rules.push(Prepend::new(SPACE.to_string()).into());
    }
    rules.push(Replace::new(" ", SPACE)?.into());
    tokenizer.with_normalizer(Some(Normalizers::new(rules)))?;
    let mut back = vec![Replace::new(SPACE, " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if space_first {
        back.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(Decoders::new(back)));
    Ok(())
}

fn add_first_token(
    tokenizer: &mut Tokenizer,
    metadata: &HashMap<String, Value>,
    pieces: &[String],
) -> Result<(), String> {
    let key = "tokenizer.ggml.bos_token_id";
    let Some(first) = id(metadata, key, pieces) else {
        return Err(format!("{key} is not the number of a token"));
    };
    let number = pieces.iter().position(|piece| *piece == first).unwrap_or(0) as u32;
    let template = TemplateProcessing::builder()
        .try_single(vec![first.clone(), "$0".to_string()])
        .and_then(|t| t.special_tokens(vec![(first, number)]).build().map_err(|e| e.to_string()))
        .map_err(|e| format!("{key}: {e}"))?;
    tokenizer.with_post_processor(Some(template));
    Ok(())
}

fn array<'a>(metadata: &'a HashMap<String, Value>, key: &str) -> Result<&'a [Value], String> {
    match metadata.get(key) {
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(format!("{key} is not an array")),
        None => Err(format!("{key} is missing")),
    }
}

fn strings(metadata: &HashMap<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let text = |value: &Value| value.to_string().cloned().map_err(|_| format!("{key} holds something else than text"));
    array(metadata, key)?.iter().map(text).collect()
}

fn numbers(metadata: &HashMap<String, Value>, key: &str) -> Result<Vec<f64>, String> {
    let number = |value: &Value| match value {
        Value::F32(v) => Ok(*v as f64),
        Value::F64(v) => Ok(*v),
        Value::I32(v) => Ok(*v as f64),
        Value::U32(v) => Ok(*v as f64),
        Value::I8(v) => Ok(*v as f64),
        Value::U8(v) => Ok(*v as f64),
        _ => Err(format!("{key} holds something else than numbers")),
    };
    array(metadata, key)?.iter().map(number).collect()
}

fn flag(metadata: &HashMap<String, Value>, key: &str, default: bool) -> bool {
    metadata.get(key).and_then(|v| v.to_bool().ok()).unwrap_or(default)
}

/// The piece whose number is under `key`.
fn id(metadata: &HashMap<String, Value>, key: &str, pieces: &[String]) -> Option<String> {
    let number = match metadata.get(key)? {
        Value::U32(v) => *v as usize,
        Value::I32(v) => usize::try_from(*v).ok()?,
        Value::U64(v) => usize::try_from(*v).ok()?,
        _ => return None,
    };
    pieces.get(number).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `<unk> <s> </s>`, 256 bytes, then letters and words with the scores that SentencePiece would give.
    fn vocabulary() -> HashMap<String, Value> {
        let mut pieces = vec!["<unk>".to_string(), "<s>".to_string(), "</s>".to_string()];
        let mut kinds = vec![2, 3, 3];
        pieces.extend((0..256).map(|b| format!("<0x{b:02X}>")));
        kinds.extend([6; 256]);
        let words = ["\u{2581}t", "he", "\u{2581}the", "\u{2581}", "t", "h", "e", "n"];
        pieces.extend(words.map(String::from));
        kinds.extend([1; 8]);
        let mut scores = vec![0.0; 259];
        scores.extend([-1.0, -2.0, -3.0, -10.0, -11.0, -12.0, -13.0, -14.0]);
        let text = |items: &[String]| Value::Array(items.iter().cloned().map(Value::String).collect());
        HashMap::from([
            ("tokenizer.ggml.tokens".to_string(), text(&pieces)),
            ("tokenizer.ggml.scores".to_string(), Value::Array(scores.into_iter().map(Value::F32).collect())),
            ("tokenizer.ggml.token_type".to_string(), Value::Array(kinds.into_iter().map(Value::I32).collect())),
            ("tokenizer.ggml.bos_token_id".to_string(), Value::U32(1)),
        ])
    }

    #[test]
    fn pieces_merge_by_score_and_unknown_text_falls_back_to_bytes() {
        let tokenizer = tokenizer(&vocabulary()).unwrap();
        let encoded = tokenizer.encode("the then \u{e9}", true).unwrap();
        assert_eq!(encoded.get_tokens(), ["<s>", "\u{2581}the", "\u{2581}the", "n", "\u{2581}", "<0xC3>", "<0xA9>"]);
        assert_eq!(tokenizer.decode(encoded.get_ids(), true).unwrap(), "the then \u{e9}");
    }

    #[test]
    fn a_token_of_a_million_characters_is_named_at_once() {
        let mut vocabulary = vocabulary();
        let Some(Value::Array(pieces)) = vocabulary.get_mut("tokenizer.ggml.tokens") else { panic!("no tokens") };
        pieces[260] = Value::String("a".repeat(1_000_000));
        let begun = std::time::Instant::now();
        let message = tokenizer(&vocabulary).unwrap_err();
        assert!(message.contains("token 260 is 1000000 bytes long"), "{message}");
        assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
        // All lengths up to the longest, each of which every longer one can be put together from.
        let pieces: Vec<String> = (1..=LONGEST_PIECE).map(|length| "a".repeat(length)).collect();
        let vocab: Vocab = pieces.iter().enumerate().map(|(id, piece)| (piece.clone(), id as u32)).collect();
        assert!(merges(&pieces, &vec![0.0; pieces.len()], &vocab).unwrap_err().contains("more ways"));
    }

    #[test]
    fn broken_vocabularies_name_the_key() {
        let mut bad = vocabulary();
        bad.insert("tokenizer.ggml.scores".to_string(), Value::Array(vec![Value::F32(1.0)]));
        assert!(tokenizer(&bad).unwrap_err().contains("tokenizer.ggml.scores has 1 entries"));
        let mut bad = vocabulary();
        bad.insert("tokenizer.ggml.bos_token_id".to_string(), Value::U32(9999));
        assert!(tokenizer(&bad).unwrap_err().starts_with("tokenizer.ggml.bos_token_id"));
        let mut bad = vocabulary();
        bad.insert("tokenizer.ggml.tokens".to_string(), Value::U32(1));
        assert!(tokenizer(&bad).unwrap_err().contains("is not an array"));
    }
}
