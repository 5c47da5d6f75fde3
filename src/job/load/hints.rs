//! What can be done about a first request that a server refuses.

/// What a server says, in lower case, and what it means for the next try; the first that fits.
const HINTS: [(&[&str], &str); 6] = [
    (&["ignore_eos", "min_tokens"], "--allow-eos leaves out what only some servers take"),
    (
        &["max_completion_tokens", "max_tokens"],
        r#"--body-json '{"max_completion_tokens":"{tokens}","max_tokens":null}' asks for the length in another key"#,
    ),
    (&["stream_options"], r#"--body-json '{"stream_options":null}' leaves it out (--tokenizer then counts tokens)"#),
    (&["temperature"], r#"--body-json '{"temperature":1}' asks for another, with null for none"#),
    (
        &[
            "extra fields",
            "extra inputs",
            "unrecognized",
            "unsupported",
            "unknown field",
            "unknown parameter",
            "unexpected keyword",
            "not permitted",
            "additional propert",
        ],
        "--body-json changes what is asked, with null taking a key out",
    ),
    (&["api-version", "api version"], "the address may end with ?api-version=..."),
];

/// What to try where a server says this; empty where nothing is known to help.
pub(super) fn of(message: &str) -> String {
    let message = message.to_lowercase();
    let fits = |words: &&[&str]| words.iter().any(|word| message.contains(word));
    HINTS.iter().find(|(words, _)| fits(words)).map_or(String::new(), |(_, hint)| format!("; {hint}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn refusals_name_the_way_round() {
        for (said, way) in [
            ("Unrecognized request argument supplied: ignore_eos", "--allow-eos"),
            ("Unsupported parameter: 'max_tokens' is not supported with this model.", "max_completion_tokens"),
            ("body.stream_options: extra fields not permitted", r#"{"stream_options":null}"#),
            ("'temperature' does not support 0 with this model", r#"{"temperature":1}"#),
            ("Extra inputs are not permitted", "--body-json"),
        ] {
            assert!(super::of(said).contains(way), "{said}");
        }
        assert_eq!(super::of("no such model"), "");
    }
}
