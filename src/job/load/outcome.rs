//! What a load test leaves in cases.csv, and how it ended.

use super::options::TrafficOptions;
use super::plan::Plan;
use crate::engine::target::RequestOutcome;
use crate::job::{Reporter, Status};
use crate::measure::load::Load;
use crate::record::{
    CaseKey, CaseRow, Distribution, Estimate, FailureKind, InvalidReason, Latency, Metrics, Outcome, Ranged, Run,
    RunRecord, StepRecord, StepVerdict, TrafficRecord,
};
use crate::units::{Quantity, Seconds, digits};
use crate::workload::traffic::LengthDistribution;
use crate::workload::{Case, Quant};

/// The step that stands for the run: that of the limit, or the only one. A search that came to no limit has none.
fn chosen(traffic: &TrafficRecord, is_search: bool) -> Option<&StepRecord> {
    match &traffic.limit {
        Some(limit) => traffic.steps.get(limit.step?),
        None if is_search => None,
        None => traffic.steps.first(),
    }
}

/// A time for cases.csv; the tail of a closed loop is that of its users and none of traffic.
fn distribution(latency: &Latency, is_open: bool) -> Option<Distribution<Seconds>> {
    let seconds = |value: f64| Seconds(value.max(1e-9));
    let median = latency.p50?;
    let tail = |ranged: Option<Ranged>| ranged.filter(|_| is_open).map(|r| seconds(r.value.max(median.value)));
    Some(Distribution {
        median: seconds(median.value),
        lo: median.lo.map(|lo| seconds(lo.min(median.value))),
        hi: median.hi.map(|hi| seconds(hi.max(median.value))),
        p90: tail(latency.p90),
        p99: tail(latency.p99),
    })
}

/// A length as it was asked for, where one was: what comes of a distribution differs from run to run. Of a trace or a file, the
/// mean.
fn planned(traffic: &TrafficOptions, lengths: LengthDistribution, mean: Option<f64>) -> usize {
    if traffic.is_made_up() { lengths.middle() } else { mean.map_or(1, |mean| (mean.round() as usize).max(1)) }
}

/// The rows of a load test: one, of the step that stands for it, so that `rank`, `plan`, `diff` and `gate` read it like any
/// other.
pub(super) fn cases(
    plan: &Plan,
    record: &RunRecord,
    traffic: &TrafficRecord,
    (model, quant): (&str, Quant),
) -> Vec<CaseRow> {
    let options = &plan.options;
    let Some(step) = chosen(traffic, options.limit.find) else { return Vec::new() };
    let streams = step.ttft_s.count > 0;
    // What was offered tells a case from another, not how many requests happened to be in flight.
    let users = match &plan.load {
        Some(Load::Closed { users, .. }) => Some(*users),
        _ => None,
    };
    let generated = if streams {
        planned(&options.traffic, options.traffic.gen_tokens, step.output_tokens.or(Some(step.asked_tokens)))
    } else {
        1
    };
    let prompt = planned(&options.traffic, options.traffic.prompt, step.prompt_tokens);
    let case = Case::new(quant, users.unwrap_or(1), prompt, generated);
    let key = CaseKey {
        engine: record.engine.name.clone(),
        model: model.to_string(),
        device: record.engine.device.clone(),
        case,
        arrival: None,
    };
    let mut row = CaseRow::unmeasured(key, FailureKind::EngineError, step.messages.join("; "));
    if step.e2e_s.p50.is_none() {
        if step.messages.is_empty() {
            row.message = format!("{} answers are too few", step.e2e_s.count);
        }
        return vec![row];
    }
    (row.outcome, row.reason, row.message) = (Outcome::Ok, None, String::new());
    row.samples = step.requests as usize;
    row.metrics = metrics(traffic, step, users.is_none());
    row.invalid = doubts(traffic, step);
    row.absent.extend(absent(step));
    row.notes = notes(options.allow_eos, traffic, step);
    vec![row]
}

/// The times and rates of a step; of an open loop their tails too.
fn metrics(traffic: &TrafficRecord, step: &StepRecord, is_open: bool) -> Metrics {
    let streams = step.ttft_s.count > 0;
    let without_interval = |value| Estimate { value, lo: None, hi: None };
    Metrics {
        // What comes at once is there with its first token.
        ttft: distribution(if streams { &step.ttft_s } else { &step.e2e_s }, is_open),
        tpot: distribution(&step.tpot_s, is_open),
        itl: distribution(&step.itl_s, is_open).filter(|_| step.event_is_token == Some(true)),
        e2e: distribution(&step.e2e_s, is_open),
        decode_tokens_per_s: step.output_tokens_per_s.filter(|rate| rate.0 > 0.0).map(without_interval),
        requests_per_s: match &traffic.limit {
            Some(limit) => limit.requests_per_s.map(|value| Estimate { value, lo: limit.lo, hi: limit.hi }),
            None => Some(step.answered_requests_per_s).filter(|rate| rate.0 > 0.0).map(|value| Estimate {
                value,
                lo: None,
                hi: None,
            }),
        },
        ..Metrics::default()
    }
}

/// Metrics that are not there, and why.
fn absent(step: &StepRecord) -> Vec<(String, String)> {
    let mut absent = Vec::new();
    if step.itl_s.count > 0 && step.event_is_token != Some(true) {
        absent.push(("itl_s".to_string(), "events are not known to be tokens".to_string()));
    }
    if step.ttft_s.count > 0 && step.tpot_s.count == 0 {
        let why = if step.answer_notes.is_empty() {
            "nobody counted the tokens: --tokenizer counts them".to_string()
        } else {
            step.answer_notes.join("; ")
        };
        absent.push(("tpot_s".to_string(), why));
    }
    absent
}

/// What was found is the limit of the generator rather than the server's.
fn is_ours(traffic: &TrafficRecord) -> bool {
    traffic.limit.as_ref().is_some_and(|limit| limit.gave_way == "generator")
}

/// Why the step should be doubted.
fn doubts(traffic: &TrafficRecord, step: &StepRecord) -> Vec<InvalidReason> {
    let mut doubts = Vec::new();
    if !step.lag_is_small {
        doubts.push(InvalidReason::LateGenerator);
    }
    if step.backlog_growth_per_s.is_some() {
        doubts.push(InvalidReason::OverSaturated);
    }
    if step.e2e_s.p90.is_none() {
        doubts.push(InvalidReason::TooFewSamples);
    }
    doubts.extend(InvalidReason::of_failures(step.failed(), step.requests));
    doubts.extend(step.disturbed.iter().filter_map(|name| name.parse::<InvalidReason>().ok()));
    let is_certain = traffic.limit.as_ref().is_none_or(|limit| limit.lo.is_some());
    for (reason, applies) in
        [(InvalidReason::TooFewSamples, !is_certain), (InvalidReason::LateGenerator, is_ours(traffic))]
    {
        if applies && !doubts.contains(&reason) {
            doubts.push(reason);
        }
    }
    doubts
}

fn notes(allow_eos: bool, traffic: &TrafficRecord, step: &StepRecord) -> Vec<String> {
    let mut notes = Vec::new();
    match &traffic.limit {
        Some(limit) => notes.push(limit.explanation.clone()),
        None => notes.push(format!("the rate is the one that came ({}), not the most that can", step.arrival)),
    }
    notes.push(format!(
        "{} requests in flight in the mean, {} at most",
        digits(step.mean_in_flight),
        step.most_in_flight
    ));
    if step.failed() > 0 {
        notes.push(format!("{} of {} requests failed", step.failed(), step.requests));
    }
    notes.extend(step.answer_notes.iter().cloned());
    if step.short_answers > 0 {
        let why = if allow_eos { "" } else { " although the whole length was asked for" };
        notes.push(format!("{} answers are shorter than asked{why}", step.short_answers));
    }
    notes
}

/// A load test that came to its end.
#[derive(Debug)]
pub struct LoadTest {
    /// The run.
    pub run: Run,
    /// It looked for a limit.
    pub(super) is_search: bool,
}

impl LoadTest {
    /// Says what should be known of it, and how it ended.
    pub fn conclude(&self, reporter: &dyn Reporter) -> Status {
        match &self.run.record.traffic {
            Some(traffic) => conclude(traffic, self.is_search, reporter),
            None => Status::Failed,
        }
    }
}

fn conclude(traffic: &TrafficRecord, is_search: bool, reporter: &dyn Reporter) -> Status {
    let Some(step) = chosen(traffic, is_search) else {
        return without_a_step(traffic, reporter);
    };
    if step.e2e_s.count == 0 {
        reporter.warning(&format!("no request was answered: {}", step.messages.join("; ")));
        return Status::Failed;
    }
    if is_invalid(traffic, step, reporter) {
        return Status::Invalid;
    }
    let noted: String = step.answer_notes.iter().map(|note| format!("; {note}")).collect();
    if let Some(term) = step.terms.iter().find(|term| term.requests == 0) {
        reporter.warning(&format!(
            "no request has a {}: whether its limit is kept cannot be told{noted}",
            term.term.of.label()
        ));
        return Status::CannotTell;
    }
    if traffic.limit.is_none() && step.verdict.is_none() && !step.terms.is_empty() {
        reporter.warning(&format!(
            "whether the limits are kept cannot be told: a time of some requests is not seen{noted}"
        ));
        return Status::CannotTell;
    }
    let too_many = InvalidReason::of_failures(step.failed(), step.requests).is_some();
    if too_many {
        let (failed, said) = (step.failed(), step.messages.join("; "));
        reporter.warning(&format!(
            "{failed} of {} requests failed, and the times are those of the others: {said}",
            step.requests
        ));
    }
    match (&traffic.limit, step.verdict) {
        // Where there is an SLO, failures count against it.
        (None, None) if too_many => Status::Invalid,
        (Some(_), _) | (None, None) => Status::Done,
        (None, Some(StepVerdict::Holds)) => Status::Done,
        (None, Some(StepVerdict::Breaks)) => Status::Rejected,
        (None, Some(StepVerdict::HoldsBarely | StepVerdict::BreaksBarely)) => Status::CannotTell,
    }
}

/// Whether the generator spoils what was measured, which is said, like what makes it doubtful.
fn is_invalid(traffic: &TrafficRecord, step: &StepRecord, reporter: &dyn Reporter) -> bool {
    if is_ours(traffic) {
        let why = traffic.limit.as_ref().map_or(String::new(), |limit| limit.explanation.clone());
        reporter.warning(&format!("invalid: what gave way is the generator: {why}"));
        return true;
    }
    if let Some(count) = step.outcomes.get(RequestOutcome::GeneratorError.name()) {
        reporter
            .warning(&format!("invalid: the generator could not send {count} requests: {}", step.messages.join("; ")));
        return true;
    }
    let lag = Seconds(step.send_lag_s.mean.unwrap_or(0.0)).human();
    if step.lag_spoils {
        reporter.warning(&format!(
            "invalid: the generator sent requests {lag} late in the mean, more than a tenth of what is measured: run it on a \
             machine of its own, or at a lower rate"
        ));
        return true;
    }
    if !step.lag_is_small {
        reporter.warning(&format!(
            "doubtful: the generator sent requests {lag} late in the mean, which is a part of their times"
        ));
    }
    for reason in step.disturbed.iter().filter_map(|name| name.parse::<InvalidReason>().ok()) {
        reporter.warning(&format!("doubtful: {}", reason.advice()));
    }
    false
}

/// A search that came to no limit, or was stopped before.
fn without_a_step(traffic: &TrafficRecord, reporter: &dyn Reporter) -> Status {
    match &traffic.limit {
        Some(limit) if limit.found_first.is_some() => {
            reporter.warning(&format!(
                "no rate held when it was run again, so that there is none to buy by: {}",
                limit.explanation
            ));
            Status::CannotTell
        }
        Some(limit) => {
            reporter.warning(&format!("no limit was found: {}", limit.explanation));
            Status::Failed
        }
        None => {
            reporter.warning("no step stands for the run: the search was ended before it came to a limit");
            Status::Failed
        }
    }
}
