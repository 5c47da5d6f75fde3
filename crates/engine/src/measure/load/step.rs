//! One step of a load test as it is planned, and the record of what came of it.

use super::interference::Interference;
use super::lag::{self, Lag};
use super::sample::Sample;
use super::tally::Tally;
use crate::engine::target::RequestOutcome;
use crate::record::{CutShort, Slo, StepRecord, StepVerdict};
use crate::units::{RequestsPerSecond, Seconds, TokensPerSecond};
use crate::workload::traffic::{Arrivals, Trace};
use std::sync::Arc;
use std::time::Duration;

/// How requests come.
#[derive(Debug, Clone)]
pub enum Load {
    /// At times that do not depend on answers.
    Open {
        /// How they are spread.
        arrivals: Arrivals,
        /// Requests a second.
        rate: f64,
    },
    /// At the times of a trace, so many times as fast.
    Trace {
        /// The trace.
        trace: Arc<Trace>,
        /// 2 is twice as fast.
        speed: f64,
    },
    /// Users who ask, wait for the answer, and think.
    Closed {
        /// How many.
        users: usize,
        /// Between an answer and the next request.
        think: Duration,
    },
}

impl Load {
    /// The name in records.
    pub fn arrival(&self) -> String {
        match self {
            Self::Open { arrivals, .. } => arrivals.name().to_string(),
            Self::Trace { .. } => "open_trace".to_string(),
            Self::Closed { users, .. } => format!("closed_{users}"),
        }
    }

    /// Latency counts from times that answers cannot put off.
    pub fn is_open(&self) -> bool {
        !matches!(self, Self::Closed { .. })
    }
}

/// When a step is over: what comes first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct End {
    /// Measured requests.
    pub requests: Option<usize>,
    /// Seconds of measured time.
    pub seconds: Option<f64>,
}

/// A step.
#[derive(Debug, Clone)]
pub struct StepPlan {
    /// Its number within the run.
    pub step: usize,
    /// How requests come.
    pub load: Load,
    /// When it is over.
    pub end: End,
    /// Seconds at the same load before what is measured.
    pub warm_up_s: f64,
    /// How long a request is waited for, from its intended start.
    pub timeout: Duration,
    /// What is promised.
    pub slo: Slo,
    /// Seed of arrival times.
    pub seed: u64,
    /// End it as soon as it cannot keep the SLO any more.
    pub may_end_early: bool,
}

/// How a step went, beside its tally.
#[derive(Debug, Clone, Default)]
pub struct StepOutcome {
    /// From the start of the step to the first measured request's possible time.
    pub warm_up_s: f64,
    /// Seconds of measured time in which requests were due.
    pub seconds: f64,
    /// The most requests in flight.
    pub most_in_flight: u64,
    /// Why it was ended before its time.
    pub cut_short: Option<CutShort>,
    /// Answers that came within the measured time, and their tokens.
    pub within: (u64, u64),
    /// Seconds in which they came.
    pub answer_seconds: f64,
    /// Requests in flight that were added each second, where more came than were answered.
    pub backlog_growth: Option<f64>,
    /// What else went on on the server's machine.
    pub interference: Interference,
}

impl StepOutcome {
    /// Counts an answer that came within the measured time: a server that is behind answers later, which is not its rate.
    pub fn count(&mut self, sample: &Sample, end_s: f64) {
        if sample.is_ok() && (self.warm_up_s..end_s).contains(&sample.ended_s) {
            self.within.0 += 1;
            self.within.1 += sample.output_tokens.map_or(0, |(count, _)| count as u64);
        }
    }
}

/// A limit that is kept while the backlog grows is not kept for long: it does not hold, though how soon it breaks is not seen.
/// One that is broken while the backlog grows is not so by chance.
fn of_backlog(verdict: StepVerdict, growth: Option<f64>) -> StepVerdict {
    match (growth, verdict.holds()) {
        (None, _) => verdict,
        (Some(_), true) => StepVerdict::BreaksBarely,
        (Some(_), false) => StepVerdict::Breaks,
    }
}

/// The record of a step.
pub fn record(plan: &StepPlan, tally: &Tally, outcome: StepOutcome) -> StepRecord {
    let rate = |count: u64| count as f64 / outcome.answer_seconds.max(1e-9);
    let (answered, tokens) = outcome.within;
    let mean = |(sum, count): (u64, u64)| (count > 0).then(|| sum as f64 / count as f64);
    let failed = tally.failed();
    let (terms, verdict) = tally.judged(&plan.slo);
    let lag = lag::judge(&plan.load, outcome.seconds, &plan.slo, tally);
    let could_send = !tally.outcomes.contains_key(RequestOutcome::GeneratorError.name());
    let due: u64 = tally.outcomes.values().sum();
    let offered = match &plan.load {
        Load::Open { arrivals, rate } => arrivals.mean_rate(*rate),
        Load::Trace { .. } => tally.requests as f64 / outcome.seconds.max(1e-9),
        Load::Closed { .. } => rate(answered),
    };
    StepRecord {
        arrival: plan.load.arrival(),
        offered_requests_per_s: RequestsPerSecond(offered),
        came_requests_per_s: (due > 1).then(|| RequestsPerSecond(due as f64 / outcome.seconds.max(1e-9))),
        answered_requests_per_s: RequestsPerSecond(rate(answered)),
        output_tokens_per_s: (tally.output_tokens.1 > 0).then(|| TokensPerSecond(rate(tokens))),
        seconds: Seconds(outcome.seconds),
        warm_up: tally.warm_up,
        requests: tally.requests,
        outcomes: tally.outcomes.iter().map(|(name, count)| (name.to_string(), *count)).collect(),
        messages: tally.messages.clone(),
        tpot_s: tally.tpot.summary(if tally.tpot.count() > 0 { failed } else { 0 }),
        itl_s: tally.gaps.summary(0),
        event_is_token: (tally.event_is_token.1 > 0).then(|| {
            let (same, all) = tally.event_is_token;
            same as f64 >= 0.99 * all as f64
        }),
        ttft_s: tally.ttft.summary(failed),
        e2e_s: tally.e2e.summary(failed),
        send_lag_s: tally.lag.summary(0),
        lag_is_small: lag == Lag::Small && could_send,
        lag_spoils: lag == Lag::Spoils || !could_send,
        foreign_cpu: outcome.interference.foreign,
        stolen_cpu: outcome.interference.stolen,
        disturbed: outcome.interference.reasons.iter().map(|reason| reason.name().to_string()).collect(),
        prompt_tokens: mean(tally.prompt_tokens),
        output_tokens: mean(tally.output_tokens),
        server_tokens: mean(tally.server_tokens),
        text_tokens: mean(tally.text_tokens),
        answer_notes: answer_notes(tally),
        asked_tokens: tally.asked_tokens as f64 / (tally.requests as f64).max(1.0),
        tokens_from: tally.counted_by.map(|by| by.name().to_string()),
        short_answers: tally.short,
        mean_in_flight: tally.in_flight_s / outcome.seconds.max(1e-9),
        most_in_flight: outcome.most_in_flight,
        goodput: tally.good as f64 / (tally.requests as f64).max(1.0),
        terms,
        verdict: verdict.filter(|_| !plan.slo.is_empty()).map(|verdict| of_backlog(verdict, outcome.backlog_growth)),
        cut_short: outcome.cut_short,
        backlog_growth_per_s: outcome.backlog_growth,
        phases: tally.phases(),
        phases_from: tally.phases().map(|_| "measured".to_string()),
        moments: tally.time_slices.record(outcome.warm_up_s),
    }
}

/// What is odd about answers, a sentence each.
fn answer_notes(tally: &Tally) -> Vec<String> {
    let answered = tally.answered();
    let of = |count: u64| format!("{count} of {answered} answers");
    let mut notes: Vec<String> = tally.warnings.iter().map(|(oddity, count)| oddity.sentence(&of(*count))).collect();
    if let Some(count) = tally.outcomes.get(RequestOutcome::Filtered.name()) {
        notes.push(format!(
            "{count} of {} requests were ended by the server's content filter: they are counted apart, and as not answered",
            tally.requests
        ));
    }
    notes
}
