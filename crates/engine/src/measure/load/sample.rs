//! The times of one request, counted from when it was due.

use crate::engine::target::{Answer, AnswerWarning, CountedBy, RequestOutcome};
use crate::record::{LatencyKind, PhaseTimes, RequestRow};

/// One request, in seconds from the start of its step.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its number within the step.
    pub index: usize,
    /// It came before the measured time.
    pub warm_up: bool,
    /// When it was due.
    pub intended_s: f64,
    /// When its sending began.
    pub sent_s: f64,
    /// When it was over, however it ended.
    pub ended_s: f64,
    /// When the first and the last token came.
    pub tokens_s: Option<(f64, f64)>,
    /// Gaps between events with text.
    pub gaps_s: Vec<f32>,
    /// Events with text.
    pub events: usize,
    /// Tokens of the prompt, as far as known.
    pub prompt_tokens: Option<usize>,
    /// Tokens that were asked for.
    pub asked_tokens: usize,
    /// Tokens that came, and who counted them.
    pub output_tokens: Option<(usize, CountedBy)>,
    /// Tokens that were seen to come behind the first moment.
    pub after_first: Option<f64>,
    /// Tokens that the server counts, where a tokenizer has counted too or they are not those that came.
    pub server_tokens: Option<usize>,
    /// Tokens that a tokenizer counts in the text.
    pub text_tokens: Option<usize>,
    /// What is odd about its answer.
    pub warnings: Vec<AnswerWarning>,
    /// What came of it.
    pub outcome: RequestOutcome,
    /// What went wrong.
    pub message: String,
    /// Where the time went.
    pub phases: Option<PhaseTimes>,
}

/// When a request was due and sent, and its lengths: what a sample needs beside the answer.
#[derive(Debug, Clone, Copy)]
pub struct RequestTiming {
    /// Its number within the step.
    pub index: usize,
    /// It came before the measured time.
    pub warm_up: bool,
    /// When it was due, in seconds from the start of the step.
    pub intended_s: f64,
    /// When its sending began.
    pub sent_s: f64,
    /// When it was over.
    pub ended_s: f64,
    /// Tokens of the prompt as our tokenizer counts them.
    pub prompt_tokens: Option<usize>,
    /// Tokens that were asked for.
    pub asked_tokens: usize,
}

impl Sample {
    /// From an answer whose moments `seconds` turns into seconds from the start of the step.
    pub fn new(timing: RequestTiming, answer: Answer, seconds: impl Fn(std::time::Instant) -> f64) -> Self {
        let times: Vec<f64> = answer.events.iter().map(|at| seconds(*at)).collect();
        let ends = times.first().zip(times.last()).map(|(first, last)| (*first, *last));
        let whole = answer.whole.map(&seconds).map(|at| (at, at));
        Self {
            index: timing.index,
            warm_up: timing.warm_up,
            intended_s: timing.intended_s,
            sent_s: timing.sent_s,
            ended_s: timing.ended_s,
            tokens_s: ends.or(whole),
            gaps_s: times.windows(2).map(|pair| (pair[1] - pair[0]) as f32).collect(),
            events: times.len(),
            prompt_tokens: answer.prompt_tokens.or(timing.prompt_tokens),
            asked_tokens: timing.asked_tokens,
            output_tokens: answer.output_tokens,
            after_first: answer.after_first,
            server_tokens: answer.server_tokens,
            text_tokens: answer.text_tokens,
            warnings: answer.warnings,
            outcome: answer.outcome,
            message: answer.message,
            phases: answer.phases,
        }
    }

    /// From the time it was due to its first token, whether or not it came to an end.
    pub fn first_after_s(&self) -> Option<f64> {
        self.tokens_s.filter(|_| self.events > 0).map(|(first, _)| first - self.intended_s)
    }

    /// Answered to its end.
    pub fn is_ok(&self) -> bool {
        self.outcome == RequestOutcome::Ok
    }

    /// A time of an answered request; `None` where it has none.
    pub fn time(&self, kind: LatencyKind) -> Option<f64> {
        let (first, last) = self.tokens_s.filter(|_| self.is_ok())?;
        match kind {
            // What comes at once has no first token.
            LatencyKind::Ttft => (self.events > 0).then_some(first - self.intended_s),
            LatencyKind::E2e => Some(last - self.intended_s),
            LatencyKind::Tpot => match self.output_tokens {
                Some((count, _)) if count > 1 && self.events > 1 && !self.is_handed_over() => {
                    Some((last - first) / self.after_first.unwrap_or((count - 1) as f64))
                }
                _ => None,
            },
        }
    }

    fn is_handed_over(&self) -> bool {
        self.warnings.contains(&AnswerWarning::HandedOver)
    }

    /// It has a time that could not be seen. An answer of one token has no time per token, which is no lack.
    pub fn lacks(&self, kind: LatencyKind) -> bool {
        let is_one_token = matches!(self.output_tokens, Some((0 | 1, _)));
        self.is_ok() && self.time(kind).is_none() && !(kind == LatencyKind::Tpot && is_one_token)
    }

    /// How long it has kept its user waiting.
    pub fn waited_s(&self) -> f64 {
        self.ended_s - self.intended_s
    }

    /// Neither answered nor failed: the step ended first.
    pub fn is_cut(&self) -> bool {
        self.outcome == RequestOutcome::Cut
    }

    /// Its row in requests.csv.
    pub fn row(&self, step: usize) -> RequestRow {
        RequestRow {
            step,
            index: self.index,
            phase: if self.warm_up { "warm_up" } else { "measured" },
            intended_s: self.intended_s,
            sent_s: self.sent_s,
            first_s: self.tokens_s.map(|(first, _)| first),
            last_s: self.tokens_s.map(|(_, last)| last),
            prompt_tokens: self.prompt_tokens,
            asked_tokens: self.asked_tokens,
            output_tokens: self.output_tokens.map(|(count, _)| count),
            events: self.events,
            outcome: self.outcome.name(),
            message: self.message.clone(),
        }
    }
}
