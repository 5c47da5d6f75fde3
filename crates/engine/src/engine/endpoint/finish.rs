//! What a server says of why an answer ended.

/// What a `finish_reason` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// The answer goes on: some servers say so with a word where others say null.
    GoesOn,
    /// The answer is whole, or as long as it may be.
    Ends,
    /// A filter has ended it.
    Filtered,
    /// The server could not go on.
    Failed,
    /// A word that is not known: whether the answer is whole, something else has to say.
    Unknown,
}

/// Words of OpenAI, vLLM, SGLang, TGI, llama.cpp, Anthropic, Mistral, Gemini, watsonx and others, in lower case.
const GOES_ON: [&str; 8] =
    ["", "null", "none", "undefined", "not_finished", "unfinished", "in_progress", "finish_reason_unspecified"];
const ENDS: [&str; 22] = [
    "stop",
    "length",
    "tool_calls",
    "tool_call",
    "tool_use",
    "function_call",
    "eos",
    "eos_token",
    "end_turn",
    "pause_turn",
    "max_tokens",
    "max_length",
    "token_limit",
    "model_length",
    "model_context_window_exceeded",
    "stop_sequence",
    "stop_token",
    "complete",
    "completed",
    "end",
    "done",
    "finished",
];
const FILTERED: [&str; 13] = [
    "content_filter",
    "content_filtered",
    "sensitive",
    "safety",
    "image_safety",
    "refusal",
    "recitation",
    "blocklist",
    "prohibited_content",
    "spii",
    "guardrail_intervened",
    "moderation",
    "flagged",
];
const FAILED: [&str; 13] = [
    "error",
    "abort",
    "aborted",
    "cancel",
    "cancelled",
    "canceled",
    "fail",
    "failed",
    "failure",
    "insufficient_system_resource",
    "overloaded",
    "time_limit",
    "timeout",
];

impl Finish {
    /// The meaning of a word.
    pub(crate) fn of(word: &str) -> Self {
        let word = word.trim().to_lowercase();
        let word = word.as_str();
        let has = |words: &[&str]| words.contains(&word);
        match () {
            () if has(&GOES_ON) => Self::GoesOn,
            () if has(&ENDS) => Self::Ends,
            () if has(&FILTERED) => Self::Filtered,
            () if has(&FAILED) || word.ends_with("_error") || word.starts_with("error") => Self::Failed,
            () => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Finish;

    #[test]
    fn words_are_told_apart() {
        for (words, meaning) in [
            (["", "null", "not_finished"], Finish::GoesOn),
            (["stop", "length", "MAX_TOKENS"], Finish::Ends),
            (["content_filter", "SAFETY", "sensitive"], Finish::Filtered),
            (["error", "network_error", "insufficient_system_resource"], Finish::Failed),
            (["whatever", "malformed_function_call", "other"], Finish::Unknown),
        ] {
            words.iter().for_each(|word| assert_eq!(Finish::of(word), meaning, "{word}"));
        }
    }
}
