//! What requests of a load test are sent to: a server behind an endpoint, or an engine in process.

use crate::record::PhaseTimes;
use crate::workload::traffic::PlannedRequest;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use strum::{Display, IntoStaticStr, VariantArray};

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RequestOutcome {
    /// Answered to its end.
    Ok,
    /// Not within the time allowed.
    Timeout,
    /// No connection.
    Unreachable,
    /// The connection broke before an answer began.
    Disconnected,
    /// A status other than 200.
    BadStatus,
    /// The stream ended before the answer did.
    Truncated,
    /// An event that is not what the API says.
    Malformed,
    /// A line that is not UTF-8.
    #[strum(serialize = "bad_utf8")]
    BadUtf8,
    /// A line or body that is too long to be an answer.
    TooLong,
    /// An error that the server sent within the stream.
    ServerError,
    /// Answered to its end without a token.
    Empty,
    /// Answered at once although a stream was asked for.
    NotStreamed,
    /// Ended by a filter of the server: neither whole nor failed, and no measure of its speed.
    #[strum(serialize = "content_filter")]
    Filtered,
    /// The engine failed.
    EngineError,
    /// The generator could not send it: it ran out of files or memory.
    GeneratorError,
    /// Under way when the step ended: neither answered nor failed.
    Cut,
}

impl RequestOutcome {
    /// The name in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Who counted the tokens of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum CountedBy {
    /// The server, in its `usage`.
    Server,
    /// A tokenizer, on the text that came.
    Tokenizer,
    /// The engine in process.
    Engine,
}

impl CountedBy {
    /// The name in files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A warning about an answer: none is an error, and each makes a figure less than it seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnswerWarning {
    /// All or most of its tokens came at once.
    HandedOver,
    /// The server counts tokens that never came, such as thoughts that it keeps.
    UnseenTokens,
    /// The server counts more tokens than the text can have, or than were asked for and came.
    CountTooHigh,
    /// The server counts fewer tokens than events with text came.
    CountTooLow,
    /// A tokenizer cuts the text into more tokens than were asked for.
    CutLonger,
    /// More tokens came than were asked for.
    BeyondAsked,
    /// The server counts the characters of a prompt as its tokens.
    CountsCharacters,
    /// The server counts several times the tokens that a prompt has.
    PromptTooHigh,
}

impl AnswerWarning {
    /// In a sentence, of `some` of all answers, such as `3 of 100 answers`.
    pub fn sentence(self, some: &str) -> String {
        match self {
            Self::HandedOver => format!(
                "{some} were handed over at once, or most of each: how fast their tokens are made does not show, and they have \
                 no TPOT (a proxy that gathers answers?)"
            ),
            Self::UnseenTokens => format!(
                "in {some} the server counts tokens that never came, such as thoughts: TPOT and tokens/s are of those that \
                 came"
            ),
            Self::CountTooHigh => format!(
                "in {some} the server counts more tokens than came: its count is not used (--tokenizer counts the text)"
            ),
            Self::CountTooLow => format!(
                "in {some} the server counts fewer tokens than events with text came: its count is not used (--tokenizer \
                 counts the text)"
            ),
            Self::CutLonger => format!(
                "the tokenizer cuts {some} into more tokens than were asked for, as it does text of random tokens: what was \
                 asked for is the most that is counted"
            ),
            Self::BeyondAsked => format!("{some} have more tokens than were asked for"),
            Self::CountsCharacters => {
                format!("for the prompts of {some} the server counts characters as tokens: its count is not used")
            }
            Self::PromptTooHigh => {
                format!("for the prompts of {some} the server counts several times their tokens: its count is not used")
            }
        }
    }
}

/// What came of a request, and when.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What came of it.
    pub outcome: RequestOutcome,
    /// What went wrong in words, without secrets; empty where nothing did.
    pub message: String,
    /// When each event with text came.
    pub events: Vec<Instant>,
    /// Tokens of the prompt as the server or engine counts them.
    pub prompt_tokens: Option<usize>,
    /// Tokens of the answer; `None` where nobody counted them: events are not tokens.
    pub output_tokens: Option<(usize, CountedBy)>,
    /// Tokens of the answer that were seen to come behind the first moment, by which its time is divided; `None` where each
    /// was but the first.
    pub after_first: Option<f64>,
    /// What the server says, where a tokenizer has counted too or what it says is not what came.
    pub server_tokens: Option<usize>,
    /// What a tokenizer counts in the text that came.
    pub text_tokens: Option<usize>,
    /// What is odd about it.
    pub warnings: Vec<AnswerWarning>,
    /// When the answer was there, for answers without a stream.
    pub whole: Option<Instant>,
    /// Where the time went, where the server says.
    pub phases: Option<PhaseTimes>,
}

/// The most characters of a message that are kept: servers send whole pages.
const MOST_OF_A_MESSAGE: usize = 300;

/// A message on one line, without what a terminal would take for commands.
pub(super) fn shortened(message: &str) -> String {
    let plain = message.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MOST_OF_A_MESSAGE).collect()
}

impl Answer {
    /// A request that went wrong before anything came.
    pub fn failed(outcome: RequestOutcome, message: impl Into<String>) -> Self {
        Self {
            outcome,
            message: shortened(&message.into()),
            events: Vec::new(),
            prompt_tokens: None,
            output_tokens: None,
            after_first: None,
            server_tokens: None,
            text_tokens: None,
            warnings: Vec::new(),
            whole: None,
            phases: None,
        }
    }
}

/// Notes when the first token of a request came, so that it is known however the request ends.
#[derive(Debug, Default)]
pub struct FirstToken(OnceLock<Instant>);

impl FirstToken {
    /// A token has come; only the first is kept.
    pub fn came(&self, at: Instant) {
        let _ = self.0.set(at);
    }

    /// When it came.
    pub fn at(&self) -> Option<Instant> {
        self.0.get().copied()
    }
}

/// A request under way. Dropping it cancels the request.
pub type PendingRequest = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What requests are sent to.
pub trait Target: Send + Sync + 'static {
    /// Sends a request; what is returned sends it when it is first polled, and ends with its answer.
    fn ask(&self, request: PlannedRequest, first: Arc<FirstToken>) -> PendingRequest;
}
