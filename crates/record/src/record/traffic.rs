//! What a load test found: each step at its rate, the limit under an SLO, the recovery after a burst.

use super::slo::SloTerm;
use crate::units::interval::Estimate;
use crate::units::{RequestsPerSecond, Seconds, TokensPerSecond};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a step was ended before its time; a sentence in files.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CutShort {
    /// More came than was answered: in flight were so many more each second, as it is written.
    OverSaturated(String),
    /// Anything else, in words.
    Other(String),
}

const OVER_SATURATED: [&str; 2] = ["over-saturated: ", " more requests in flight each second"];

impl From<String> for CutShort {
    fn from(words: String) -> Self {
        let growth = words.strip_prefix(OVER_SATURATED[0]).and_then(|rest| rest.strip_suffix(OVER_SATURATED[1]));
        match growth.map(str::to_string) {
            Some(growth) => Self::OverSaturated(growth),
            None => Self::Other(words),
        }
    }
}

impl From<CutShort> for String {
    fn from(why: CutShort) -> Self {
        why.to_string()
    }
}

impl std::fmt::Display for CutShort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OverSaturated(growth) => write!(f, "{}{growth}{}", OVER_SATURATED[0], OVER_SATURATED[1]),
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// A load test.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct TrafficRecord {
    /// What was asked: the scheme, host and path of an endpoint, or `in process`.
    pub target: String,
    /// `chat`, `completions`, `embeddings`, or `engine`.
    pub api: String,
    /// What is asked: lengths, the shared beginning, or the file of prompts.
    pub prompts: String,
    /// What makes the prompts of this run unlike those of any other with its seed.
    pub prompt_nonce: u64,
    /// What the SLO says; empty where there is none.
    pub slo: Vec<SloTerm>,
    /// Share of requests that have to be answered within all limits.
    pub goodput: Option<f64>,
    /// How long a request is waited for.
    pub timeout_s: Seconds,
    /// Each step, in the order in which they were run.
    pub steps: Vec<StepRecord>,
    /// The highest rate under the SLO, where it was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitRecord>,
    /// How long a burst is felt, where one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryRecord>,
    /// The scheduler of an engine in process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerRecord>,
    /// What to know of all of it.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The time of a request that a limit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatencyKind {
    /// To the first token.
    Ttft,
    /// Per further token.
    Tpot,
    /// To the last token.
    E2e,
}

impl LatencyKind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Ttft, Self::Tpot, Self::E2e];

    /// The name in `--slo` and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ttft => "ttft",
            Self::Tpot => "tpot",
            Self::E2e => "e2e",
        }
    }

    /// What people call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ttft => "TTFT",
            Self::Tpot => "TPOT",
            Self::E2e => "E2E",
        }
    }
}

/// A value with its 95 % interval; the interval is absent where there are too few requests for one.
pub type Ranged = Estimate<f64>;

/// A time over the requests of a step, in seconds, failed ones being longer than all others. A percentile is absent where there are too few requests for it.
#[derive(Debug, Clone, Copy, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Latency {
    /// Values that it is from.
    pub count: u64,
    /// The mean.
    pub mean: Option<f64>,
    /// The median.
    pub p50: Option<Ranged>,
    /// The 90th percentile.
    pub p90: Option<Ranged>,
    /// The 95th percentile.
    pub p95: Option<Ranged>,
    /// The 99th percentile.
    pub p99: Option<Ranged>,
    /// The 99.9th percentile.
    pub p999: Option<Ranged>,
    /// The largest.
    pub max: Option<f64>,
}

/// Where the time of a request goes, in the mean, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct PhaseTimes {
    /// Turning text into tokens.
    pub tokenize_s: f64,
    /// Waiting for a place in the batch.
    pub queue_s: f64,
    /// Prefill, from the place to the first token.
    pub prefill_s: f64,
    /// From the first token to the last.
    pub decode_s: f64,
    /// From the server's first token to ours, and from ours to the server: what is left.
    pub transfer_s: f64,
    /// All that is before the first token, where it is seen from outside only: waiting for a place, for others' prefills and
    /// for the own one look alike there.
    #[serde(default)]
    pub first_token_s: f64,
}

impl PhaseTimes {
    /// The name of what is before the first token, as it is seen from outside.
    pub const BEFORE_FIRST_TOKEN: &str = "queue or prefill";

    /// Seconds before the first token, whatever is known of them.
    pub fn before_first_token(&self) -> f64 {
        self.first_token_s + self.tokenize_s + self.queue_s + self.prefill_s
    }

    /// Names and values in order.
    pub fn parts(&self) -> [(&'static str, f64); 6] {
        [
            (Self::BEFORE_FIRST_TOKEN, self.first_token_s),
            ("tokenize", self.tokenize_s),
            ("queue", self.queue_s),
            ("prefill", self.prefill_s),
            ("decode", self.decode_s),
            ("transfer", self.transfer_s),
        ]
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How a limit fared in a step.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct TermRecord {
    /// Which.
    pub term: SloTerm,
    /// Requests that it was counted over.
    pub requests: u64,
    /// Those beyond it, failed ones among them.
    pub beyond: u64,
    /// Answered requests whose time could not be seen, which are not among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unseen: u64,
    /// Lower end of the 95 % interval of their share, widened for how they come together in time.
    pub share_lo: f64,
    /// Upper end.
    pub share_hi: f64,
}

impl TermRecord {
    /// The share that was beyond the limit.
    pub fn share(&self) -> f64 {
        self.beyond as f64 / (self.requests as f64).max(1.0)
    }

    /// The share that may be.
    pub fn allowed(&self) -> f64 {
        1.0 - self.term.percentile
    }
}

/// What a step says of the SLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepVerdict {
    /// Kept, and the interval says so too.
    Holds,
    /// Kept, but the interval reaches beyond.
    HoldsBarely,
    /// Broken, but the interval reaches within.
    BreaksBarely,
    /// Broken, and the interval says so too.
    Breaks,
}

impl StepVerdict {
    /// Kept.
    pub fn holds(self) -> bool {
        matches!(self, Self::Holds | Self::HoldsBarely)
    }

    /// The interval agrees.
    pub fn is_certain(self) -> bool {
        matches!(self, Self::Holds | Self::Breaks)
    }
}

/// A stretch of a step.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds from the start of the step to its middle.
    pub at_s: f64,
    /// Requests that were due in it.
    pub due: u64,
    /// Of those, the ones that failed.
    pub failed: u64,
    /// Of those, the ones beyond a limit or failed.
    pub beyond: u64,
    /// Mean TTFT of those that were answered.
    pub ttft_s: Option<f64>,
    /// Mean E2E of those that were answered.
    pub e2e_s: Option<f64>,
    /// Requests in flight at its end.
    pub in_flight: u64,
}

/// One step: a rate, or a number of users, held for a while.
#[derive(Debug, Clone, PartialEq, Default, JsonSchema, Serialize, Deserialize)]
pub struct StepRecord {
    /// How requests came: `open_poisson`, `closed_8`.
    pub arrival: String,
    /// The rate that was offered, as it was planned; of a closed loop, the one that came of it.
    pub offered_requests_per_s: RequestsPerSecond,
    /// Requests that were due a second of the measured time: about what was planned, as far as chance has it. Absent in older
    /// records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_requests_per_s: Option<RequestsPerSecond>,
    /// Answered requests a second of the measured time.
    pub answered_requests_per_s: RequestsPerSecond,
    /// Tokens of answers a second, where they are counted.
    pub output_tokens_per_s: Option<TokensPerSecond>,
    /// Length of the measured time.
    pub seconds: Seconds,
    /// Requests that were sent to warm up.
    pub warm_up: u64,
    /// Requests of the measured time.
    pub requests: u64,
    /// By what came of them: `ok`, `timeout`, `truncated` and so on.
    pub outcomes: BTreeMap<String, u64>,
    /// What failed requests said, each once.
    #[serde(default)]
    pub messages: Vec<String>,
    /// First token received - intended start.
    pub ttft_s: Latency,
    /// `(E2E - TTFT) / (n - 1)`, one value a request.
    pub tpot_s: Latency,
    /// Pooled gaps between events that carry text; tokens where each event has one.
    pub itl_s: Latency,
    /// Whether each event carried one token, as far as tokens are counted.
    pub event_is_token: Option<bool>,
    /// Last token received - intended start.
    pub e2e_s: Latency,
    /// Start of sending - intended start: the generator's own lag.
    pub send_lag_s: Latency,
    /// The lag is small enough to be left out of account, and the generator could send every request.
    pub lag_is_small: bool,
    /// The lag is so large that what was measured is the generator, or it could not send every request.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lag_spoils: bool,
    /// Share of this machine's CPU time that neither generator nor server used; absent where the server is elsewhere or not
    /// known by its process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_cpu: Option<f64>,
    /// Share that the hypervisor gave to somebody else; absent where the server is elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stolen_cpu: Option<f64>,
    /// What else went on on the machine of the server that its times may come from: `foreign_load`, `stolen_cpu`, `throttled`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disturbed: Vec<String>,
    /// Mean tokens of a prompt, as the server (or else a tokenizer) counts them.
    pub prompt_tokens: Option<f64>,
    /// Mean tokens of an answer.
    pub output_tokens: Option<f64>,
    /// Mean tokens of an answer as the server counts them, where a tokenizer has counted too or they are not those that came.
    pub server_tokens: Option<f64>,
    /// Mean tokens of an answer as a tokenizer counts them in its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_tokens: Option<f64>,
    /// Mean tokens that were asked for.
    pub asked_tokens: f64,
    /// Who counted the tokens of answers: `server`, `tokenizer`, `engine`; absent where nobody did.
    pub tokens_from: Option<String>,
    /// Answers with fewer tokens than were asked for.
    pub short_answers: u64,
    /// Requests in flight, in the mean over time.
    pub mean_in_flight: f64,
    /// The most of them.
    pub most_in_flight: u64,
    /// Share of requests answered within all limits; of all requests where there is no SLO.
    pub goodput: f64,
    /// How each limit fared.
    #[serde(default)]
    pub terms: Vec<TermRecord>,
    /// What it says of the SLO, where there is one.
    pub verdict: Option<StepVerdict>,
    /// Why it was ended before its time.
    pub cut_short: Option<CutShort>,
    /// Requests in flight that were added each second, where more came than were answered.
    pub backlog_growth_per_s: Option<f64>,
    /// Where the time went.
    pub phases: Option<PhaseTimes>,
    /// How the phases are known: `measured` by the server, or seen from `outside` (records of before 0.2: `inferred`, where
    /// `queue` is all that was added to the first token of a request alone).
    pub phases_from: Option<String>,
    /// How it went over time.
    #[serde(default)]
    pub moments: Vec<Moment>,
    /// What is odd about its answers, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answer_notes: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl StepRecord {
    /// Requests that failed, in whatever way; those that the end of the step cut off did not.
    pub fn failed(&self) -> u64 {
        let failed = self.outcomes.iter().filter(|(name, _)| !["ok", "cut"].contains(&name.as_str()));
        failed.map(|(_, count)| count).sum()
    }

    /// Users who ask one after the other.
    pub fn is_closed(&self) -> bool {
        self.arrival.starts_with("closed")
    }
}

/// How latency goes up beyond the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Little by little: a bit more load costs a bit more time.
    Knee,
    /// All at once: just above the limit requests fail, or queue without end.
    Cliff,
    /// The steps do not say.
    Unknown,
}

/// The highest rate under the SLO.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct LimitRecord {
    /// The highest rate that held and held again, for longer; absent where none did.
    pub requests_per_s: Option<RequestsPerSecond>,
    /// A rate that certainly holds.
    pub lo: Option<RequestsPerSecond>,
    /// A rate that certainly breaks it; absent where the search ended before.
    pub hi: Option<RequestsPerSecond>,
    /// Knee or cliff.
    pub kind: LimitKind,
    /// What gave way first: `queue`, `prefill`, `decode`, `memory`, `errors`, `generator` or `unknown`; from outside,
    /// `queue or prefill`, or `queue or service` where answers come at once.
    pub gave_way: String,
    /// In a sentence.
    pub explanation: String,
    /// The step that stands for it: its number from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// For how long it held when it was run again; absent in records of before that was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated_s: Option<Seconds>,
    /// The rate that was found before it was run again; higher where that broke then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_first: Option<RequestsPerSecond>,
}

impl LimitRecord {
    /// It held when it was run again.
    pub fn is_confirmed(&self) -> bool {
        self.requests_per_s.is_some() && self.repeated_s.is_some()
    }
}

/// How long a burst is felt.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// The rate before and after.
    pub base_requests_per_s: RequestsPerSecond,
    /// The rate of the burst.
    pub burst_requests_per_s: RequestsPerSecond,
    /// How long it was.
    pub burst_s: Seconds,
    /// From its end until the SLO held again; absent where it did not within the time that was watched.
    pub recovered_after_s: Option<Seconds>,
    /// How long was watched after the burst.
    pub watched_s: Seconds,
    /// How it went over time.
    pub moments: Vec<Moment>,
}

/// The scheduler of an engine in process.
#[derive(Debug, Clone, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct SchedulerRecord {
    /// Sequences that have a place in the cache.
    pub slots: usize,
    /// Positions of each.
    pub slot_tokens: usize,
    /// Tokens of prompts that a pass takes at most, beside those that decode.
    pub prefill_chunk: usize,
    /// Memory allowed fewer slots than were asked for.
    pub limited_by_memory: bool,
}
