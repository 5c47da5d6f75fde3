//! How many tokens came: what the server counts, what a tokenizer counts in the text, how many events there were and how many
//! tokens were asked for, each held against the others. A server may count tokens that it never sends (thoughts that it
//! keeps), or characters; a tokenizer finds more tokens in a text of random ones than it was made of. Where the counts do
//! not tell, there is none.

use super::body::Api;
use crate::engine::target::{AnswerWarning, CountedBy};
use crate::workload::traffic::{PlannedRequest, Prompt};
use serde_json::Value;

/// Tokens that stand in no text (an end of the answer) or in no event.
const SLACK: usize = 4;
/// Tokens beyond those asked for that servers give: the end of the answer.
const SLACK_OF_ASKED: usize = 1;
/// Counts that differ by no more are of the same tokens: tokenizers differ, and a text is not cut as it was made.
const SAME: f64 = 0.25;
/// Bytes below which nothing is said of a prompt's characters.
const SHORT: usize = 8;

/// What a server counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Tokens of the prompt.
    pub prompt: Option<usize>,
    /// Tokens of the answer.
    pub completion: Option<usize>,
    /// Of these, thoughts.
    pub reasoning: Option<usize>,
    /// All of them.
    pub total: Option<usize>,
}

impl Usage {
    /// Reads what servers send; a number that is no count is none.
    pub(crate) fn of(value: &Value) -> Self {
        let of = |keys: &[&str]| keys.iter().find_map(|key| count(value.get(*key)?));
        let details = ["completion_tokens_details", "output_tokens_details"];
        let within = details.iter().find_map(|key| count(value.get(*key)?.get("reasoning_tokens")?));
        Self {
            prompt: of(&["prompt_tokens", "input_tokens"]),
            completion: of(&["completion_tokens", "output_tokens"]),
            reasoning: within.or_else(|| of(&["reasoning_tokens"])),
            total: of(&["total_tokens"]),
        }
    }
}

/// A count, also where it is written as 16.0 or "16".
fn count(value: &Value) -> Option<usize> {
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    ((0.0..=1e12).contains(&number) && number.fract() == 0.0).then_some(number as usize)
}

/// What the tokens of an answer are counted from: its events, its characters and the usage that the server reports.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TokenCounts {
    /// Tokens that were asked for.
    pub asked: usize,
    /// Events with text.
    pub events: usize,
    /// Bytes of text.
    pub bytes: usize,
    /// Thoughts were among the text.
    pub thought: bool,
    /// As the server counts.
    pub usage: Usage,
    /// As a tokenizer counts the text.
    pub tokenizer: Option<usize>,
}

impl TokenCounts {
    /// The tokens that came, and what is odd about the counts.
    pub(crate) fn tokens(&self) -> (Option<(usize, CountedBy)>, Vec<AnswerWarning>) {
        let mut odd = Vec::new();
        let server = self.server(&mut odd);
        let counted = match (server, self.tokenizer) {
            (Some(server), Some(ours)) if self.is_part_unseen(server, ours) => {
                odd.push(AnswerWarning::UnseenTokens);
                Some((ours, CountedBy::Tokenizer))
            }
            (Some(server), _) => Some((server, CountedBy::Server)),
            (None, Some(ours)) => self.ours(ours, &mut odd),
            (None, None) => None,
        };
        if counted.is_some_and(|(count, _)| count > self.asked + SLACK_OF_ASKED) {
            odd.push(AnswerWarning::BeyondAsked);
        }
        odd.dedup();
        (counted.filter(|(count, _)| *count > 0), odd)
    }

    /// The server's count of tokens that came, where the rest bears it out.
    fn server(&self, odd: &mut Vec<AnswerWarning>) -> Option<usize> {
        let counted = self.usage.completion?;
        let counted = self.without_hidden(counted, odd)?;
        if counted > self.bytes + SLACK || self.is_inflated(counted) {
            odd.push(AnswerWarning::CountTooHigh);
            return None;
        }
        let too_low = self.events > counted + 2 && self.events as f64 > 1.1 * counted as f64;
        if too_low && !self.tokenizer.is_some_and(|ours| counted > 0 && alike(ours, counted)) {
            odd.push(AnswerWarning::CountTooLow);
            return None;
        }
        Some(counted)
    }

    /// A count without the thoughts that the server keeps to itself; `None` where it cannot be told how many those are.
    fn without_hidden(&self, counted: usize, odd: &mut Vec<AnswerWarning>) -> Option<usize> {
        let Some(thoughts) = self.usage.reasoning.filter(|thoughts| *thoughts > 0) else { return Some(counted) };
        let apart =
            self.usage.prompt.zip(self.usage.total).is_some_and(|(prompt, all)| all == prompt + counted + thoughts);
        if apart || thoughts > counted {
            // Counted beside the answer and not in it.
            return if self.thought && self.fits(counted + thoughts) {
                Some(counted + thoughts)
            } else {
                Some(counted)
            };
        }
        let visible = counted - thoughts;
        let is_plain = !self.thought && self.events <= visible + 2 && visible > 0;
        if is_plain {
            odd.push(AnswerWarning::UnseenTokens);
            Some(visible)
        } else if self.fits(counted) {
            Some(counted)
        } else {
            // A summary of what was thought, or parts of tokens.
            odd.push(AnswerWarning::UnseenTokens);
            odd.push(AnswerWarning::CountTooHigh);
            None
        }
    }

    /// So many tokens can be what came.
    fn fits(&self, tokens: usize) -> bool {
        let same_text = self.tokenizer.is_none_or(|ours| alike(ours, tokens) || ours > tokens);
        tokens <= self.bytes + SLACK && same_text
    }

    /// More than was asked for, and nothing else says that so many came.
    fn is_inflated(&self, counted: usize) -> bool {
        if counted <= self.asked + SLACK_OF_ASKED {
            return false;
        }
        match self.tokenizer {
            Some(ours) => !alike(ours, counted),
            None => self.events <= self.asked || (self.events as f64) < (1.0 - SAME) * counted as f64,
        }
    }

    /// The text has notably fewer tokens than the server counts, and there were no more events: some were never sent.
    fn is_part_unseen(&self, server: usize, ours: usize) -> bool {
        let most = 0.8 * server as f64;
        server > ours + SLACK && (ours as f64) < most && (self.events as f64) < most
    }

    /// What a tokenizer counts, where the server's count is none. A text of random tokens is cut into more than it was made
    /// of: a count beyond what was asked for is not believed of a server that sent no more events than that.
    fn ours(&self, ours: usize, odd: &mut Vec<AnswerWarning>) -> Option<(usize, CountedBy)> {
        if ours <= self.asked + SLACK_OF_ASKED || self.events > self.asked {
            return Some((ours, CountedBy::Tokenizer));
        }
        odd.push(AnswerWarning::CutLonger);
        // As many events as tokens were asked for: each was one.
        (self.events == self.asked).then_some((self.asked, CountedBy::Tokenizer))
    }
}

fn alike(a: usize, b: usize) -> bool {
    a.abs_diff(b) as f64 <= (SAME * a.max(b) as f64).max(2.0)
}

/// The server's count of a prompt's tokens, where it can be one of tokens: some count characters, and what no template stands
/// around cannot have several times the tokens that a tokenizer finds.
pub(crate) fn of_prompt(
    api: Api,
    planned: &PlannedRequest,
    counted: Option<usize>,
) -> (Option<usize>, Option<AnswerWarning>) {
    let Some(counted) = counted.filter(|counted| *counted > 0) else { return (None, None) };
    let (Prompt::Text(text), ours) = (&planned.prompt, planned.prompt_tokens) else { return (Some(counted), None) };
    let characters = text.chars().count();
    // Of a text of words that are a character each, as many tokens as characters may well be.
    let of_words = text.is_ascii() && 2 * text.split_whitespace().count() < characters;
    let as_characters = counted == characters || counted == text.len();
    let told_apart = ours.map_or(of_words, |ours| !alike(ours, counted));
    if text.len() >= SHORT && as_characters && told_apart {
        return (None, Some(AnswerWarning::CountsCharacters));
    }
    let too_many = ours.map_or(counted > text.len() + SLACK, |ours| counted > 2 * ours + 4 * SLACK);
    if api != Api::Chat && too_many { (None, Some(AnswerWarning::PromptTooHigh)) } else { (Some(counted), None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn came(asked: usize, events: usize, bytes: usize, usage: Value, tokenizer: Option<usize>) -> TokenCounts {
        TokenCounts { asked, events, bytes, thought: false, usage: Usage::of(&usage), tokenizer }
    }

    fn told(came: TokenCounts) -> (Option<usize>, Vec<AnswerWarning>) {
        let (counted, odd) = came.tokens();
        (counted.map(|(count, _)| count), odd)
    }

    #[test]
    fn counts_are_read_as_servers_write_them() {
        let usage = json!({"prompt_tokens": 16.0, "completion_tokens": "8", "completion_tokens_details": {"reasoning_tokens": 3}});
        let expected = Usage { prompt: Some(16), completion: Some(8), reasoning: Some(3), total: None };
        assert_eq!(Usage::of(&usage), expected);
        for bad in [json!({"completion_tokens": -1}), json!({"completion_tokens": 1.5}), json!(null), json!([1])] {
            assert_eq!(Usage::of(&bad), Usage::default(), "{bad}");
        }
    }

    #[test]
    fn tokens_that_never_came_are_not_counted() {
        use AnswerWarning::*;
        let thinks = |all: usize, thoughts: usize| json!({"prompt_tokens": 16, "completion_tokens": all, "completion_tokens_details": {"reasoning_tokens": thoughts}});
        // 100 tokens thought out of sight, and 8 that came.
        assert_eq!(told(came(8, 8, 16, thinks(108, 100), None)), (Some(8), vec![UnseenTokens]));
        assert_eq!(told(came(100, 8, 16, thinks(100, 92), None)), (Some(8), vec![UnseenTokens]));
        // The same, and the server does not say so.
        assert_eq!(told(came(8, 8, 16, json!({"completion_tokens": 108}), None)), (None, vec![CountTooHigh]));
        assert_eq!(told(came(128, 8, 16, json!({"completion_tokens": 108}), None)), (None, vec![CountTooHigh]));
        assert_eq!(told(came(128, 8, 16, json!({"completion_tokens": 108}), Some(8))), (Some(8), vec![CountTooHigh]));
        assert_eq!(told(came(128, 10, 90, json!({"completion_tokens": 64}), Some(10))), (Some(10), vec![UnseenTokens]));
        // Thoughts that came are tokens that came, under their own name or within the text.
        let open = TokenCounts { thought: true, ..came(8, 8, 16, thinks(8, 4), None) };
        assert_eq!(told(open), (Some(8), vec![]));
        assert_eq!(told(came(8, 8, 16, thinks(8, 4), None)), (Some(8), vec![]));
        // A summary of thoughts is not the thoughts.
        let summary = TokenCounts { thought: true, ..came(300, 12, 90, thinks(300, 280), None) };
        assert_eq!(told(summary), (None, vec![UnseenTokens, CountTooHigh]));
        // Counted beside the answer.
        let apart = json!({"prompt_tokens": 16, "completion_tokens": 8, "total_tokens": 124, "reasoning_tokens": 100});
        assert_eq!(told(came(8, 8, 16, apart, None)), (Some(8), vec![]));
        let four = json!({"prompt_tokens": 16, "completion_tokens": 8, "total_tokens": 28, "reasoning_tokens": 4});
        assert_eq!(told(came(8, 2, 30, four, None)), (Some(8), vec![]));
    }

    #[test]
    fn a_text_that_is_cut_longer_than_it_was_made_has_the_tokens_asked_for() {
        use AnswerWarning::*;
        let says = |count: usize| json!({"completion_tokens": count});
        assert_eq!(told(came(32, 32, 200, says(32), Some(45))), (Some(32), vec![]));
        assert_eq!(told(came(32, 8, 200, says(32), Some(45))), (Some(32), vec![]));
        assert_eq!(told(came(32, 32, 200, json!({}), Some(45))), (Some(32), vec![CutLonger]));
        assert_eq!(told(came(32, 8, 200, json!({}), Some(45))), (None, vec![CutLonger]));
        assert_eq!(told(came(32, 30, 200, json!({}), Some(28))), (Some(28), vec![]));
        // A server that does not keep to what was asked for says so twice.
        assert_eq!(told(came(32, 45, 200, says(45), None)), (Some(45), vec![BeyondAsked]));
        assert_eq!(told(came(32, 9, 200, says(45), Some(44))), (Some(45), vec![BeyondAsked]));
        assert_eq!(told(came(32, 32, 200, says(45), None)), (None, vec![CountTooHigh]));
        assert_eq!(told(came(32, 32, 200, says(33), None)), (Some(33), vec![]), "the end of an answer is a token");
    }

    #[test]
    fn counts_that_are_too_low_are_not_used() {
        use AnswerWarning::*;
        assert_eq!(told(came(8, 8, 16, json!({"completion_tokens": 0}), None)), (None, vec![CountTooLow]));
        assert_eq!(told(came(8, 8, 16, json!({"completion_tokens": 3}), None)), (None, vec![CountTooLow]));
        assert_eq!(told(came(8, 8, 16, json!({"completion_tokens": 3}), Some(8))), (Some(8), vec![CountTooLow]));
        // Events that are parts of tokens, as the tokenizer says too.
        assert_eq!(told(came(20, 60, 60, json!({"completion_tokens": 20}), Some(19))), (Some(20), vec![]));
        assert_eq!(told(came(8, 8, 16, json!({}), None)), (None, vec![]));
    }

    #[test]
    fn characters_are_no_tokens() {
        let planned = |text: &str, prompt_tokens| PlannedRequest {
            index: 0,
            intended_s: 0.0,
            prompt: Prompt::Text(text.to_string()),
            prompt_tokens,
            gen_tokens: 1,
        };
        let english = "the quick brown fox jumps";
        let of = |text: &str, ours, counted| of_prompt(Api::Embeddings, &planned(text, ours), Some(counted));
        assert_eq!(of(english, None, english.len()), (None, Some(AnswerWarning::CountsCharacters)));
        assert_eq!(of(english, Some(5), english.len()), (None, Some(AnswerWarning::CountsCharacters)));
        assert_eq!(of(english, None, 7), (Some(7), None));
        assert_eq!(of(english, Some(5), 90), (None, Some(AnswerWarning::PromptTooHigh)));
        assert_eq!(of(english, None, 90), (None, Some(AnswerWarning::PromptTooHigh)));
        // One character a token is usual where words are.
        let chinese = "敏捷的棕色狐狸跳过了懒狗";
        assert_eq!(of(chinese, Some(12), 12), (Some(12), None));
        assert_eq!(of(chinese, Some(7), chinese.len()), (None, Some(AnswerWarning::CountsCharacters)));
        // A template stands around the messages of a chat.
        assert_eq!(of_prompt(Api::Chat, &planned(english, Some(5)), Some(300)), (Some(300), None));
        assert_eq!(of_prompt(Api::Chat, &planned(english, Some(5)), Some(0)), (None, None));
    }
}
