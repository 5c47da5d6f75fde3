//! JSON as servers write it that is none: Python's NaN and Infinity, and halves of a character that was cut between two
//! tokens. Both are put right where they stand, so that the rest can be read.

/// Where `text` has numbers or characters that JSON does not, the same with `null` and U+FFFD in their place.
pub(crate) fn repaired(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut changed) = (text, false);
    while let Some(at) = rest.find(['"', 'N', 'I', '-']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('"') {
            let (string, repaired) = string(rest);
            changed |= repaired.is_some();
            out.push_str(repaired.as_deref().unwrap_or(string));
            rest = &rest[string.len()..];
            continue;
        }
        let word = ["NaN", "-Infinity", "Infinity", "-NaN"].into_iter().find(|word| rest.starts_with(word));
        let (length, instead) = word.map_or((1, &rest[..1]), |word| (word.len(), "null"));
        changed |= word.is_some();
        out.push_str(instead);
        rest = &rest[length..];
    }
    out.push_str(rest);
    changed.then_some(out)
}

/// The string that `text` begins with, quotes included, and the same mended where it has to be.
fn string(text: &str) -> (&str, Option<String>) {
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let (mut at, mut copied) = (1, 0);
    while at < bytes.len() && bytes[at] != b'"' {
        if bytes[at] != b'\\' {
            at += 1;
            continue;
        }
        match unit(text, at) {
            Some(0xd800..=0xdbff) if matches!(unit(text, at + 6), Some(0xdc00..=0xdfff)) => at += 12,
            Some(0xd800..=0xdfff) => {
                let out = out.get_or_insert_default();
                out.push_str(&text[copied..at]);
                out.push_str("\\ufffd");
                at += 6;
                copied = at;
            }
            Some(_) => at += 6,
            None => at += 2,
        }
    }
    let end = (at + 1).min(bytes.len());
    // A backslash may stand before a character of several bytes.
    let end = (end..=bytes.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(bytes.len());
    let repaired = out.map(|out| out + &text[copied..end]);
    (&text[..end], repaired)
}

/// The unit of UTF-16 that an escape at `at` stands for.
fn unit(text: &str, at: usize) -> Option<u32> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_json_is_put_right() {
        for (text, expected) in [
            (r#"{"a":NaN,"b":[-Infinity,Infinity]}"#, Some(r#"{"a":null,"b":[null,null]}"#)),
            (r#"{"a":"\ud83d"}"#, Some(r#"{"a":"\ufffd"}"#)),
            (r#"{"a":"x\ude00y\ud83dz"}"#, Some(r#"{"a":"x\ufffdy\ufffdz"}"#)),
            (r#"{"a":"\ud83d\ude00","b":-1,"c":"NaN \\\" NaN"}"#, None),
            (r#"{"a":"\\ud83d"}"#, None),
            ("{\"a\":\"\\", None),
        ] {
            assert_eq!(repaired(text).as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_json_stays_as_it_is(text in ".{0,60}") {
            let json = serde_json::json!({ "a": text, "b": -0.5 }).to_string();
            prop_assert_eq!(repaired(&json), None);
            let _ = repaired(&text);
        }
    }
}
