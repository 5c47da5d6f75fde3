//! What a load test leaves in cases.csv, and what it shows.

use super::args::Args;
use crate::cli::talk::Talk;
use crate::cli::{Exit, output};
use crate::engine::target::RequestOutcome;
use crate::record::{
    CaseKey, CaseRow, Distribution, Estimate, FailureKind, InvalidReason, Latency, Metrics, Outcome, Ranged, Run,
    RunRecord, StepRecord, StepVerdict, TrafficRecord,
};
use crate::report::content::traffic as tables;
use crate::units::{Quantity, Seconds, digits};
use crate::workload::traffic::LengthDistribution;
use crate::workload::{Case, Quant};

/// The step that stands for the run: that of the limit, or the only one. A search that came to no limit has none.
fn chosen<'a>(args: &Args, traffic: &'a TrafficRecord) -> Option<&'a StepRecord> {
    match &traffic.limit {
        Some(limit) => traffic.steps.get(limit.step?),
        None if args.limit.find_limit => None,
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
fn planned(args: &Args, lengths: Option<LengthDistribution>, mean: Option<f64>) -> usize {
    let made_up = args.traffic.trace.is_none() && args.traffic.prompts.is_none();
    match lengths.filter(|_| made_up) {
        Some(lengths) => lengths.middle(),
        None => mean.map_or(1, |mean| (mean.round() as usize).max(1)),
    }
}

/// The rows of a load test: one, of the step that stands for it, so that `rank`, `plan`, `diff` and `gate` read it like any
/// other.
pub(super) fn cases(
    args: &Args,
    record: &RunRecord,
    traffic: &TrafficRecord,
    model: &str,
    quant: Quant,
) -> Vec<CaseRow> {
    let Some(step) = chosen(args, traffic) else { return Vec::new() };
    let streams = step.ttft_s.count > 0;
    // What was offered tells a case from another, not how many requests happened to be in flight.
    let users: Option<usize> = step.arrival.strip_prefix("closed_").and_then(|users| users.parse().ok());
    let generated = match streams {
        true => planned(args, Some(args.traffic.gen_tokens), step.output_tokens.or(Some(step.asked_tokens))),
        false => 1,
    };
    let prompt = planned(args, Some(args.traffic.prompt), step.prompt_tokens);
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
    let limit = traffic.limit.as_ref();
    (row.outcome, row.reason, row.message) = (Outcome::Ok, None, String::new());
    row.samples = step.requests as usize;
    row.metrics = Metrics {
        // What comes at once is there with its first token.
        ttft: distribution(if streams { &step.ttft_s } else { &step.e2e_s }, users.is_none()),
        tpot: distribution(&step.tpot_s, users.is_none()),
        itl: distribution(&step.itl_s, users.is_none()).filter(|_| step.event_is_token == Some(true)),
        e2e: distribution(&step.e2e_s, users.is_none()),
        decode_tokens_per_s: step.output_tokens_per_s.filter(|rate| rate.0 > 0.0).map(|value| Estimate {
            value,
            lo: None,
            hi: None,
        }),
        requests_per_s: match limit {
            Some(limit) => limit.requests_per_s.map(|value| Estimate { value, lo: limit.lo, hi: limit.hi }),
            None => Some(step.answered_requests_per_s).filter(|rate| rate.0 > 0.0).map(|value| Estimate {
                value,
                lo: None,
                hi: None,
            }),
        },
        ..Metrics::default()
    };
    row.invalid = doubts(step);
    let is_certain = limit.is_none_or(|limit| limit.lo.is_some());
    if !is_certain && !row.invalid.contains(&InvalidReason::TooFewSamples) {
        row.invalid.push(InvalidReason::TooFewSamples);
    }
    if is_ours(traffic) && !row.invalid.contains(&InvalidReason::LateGenerator) {
        row.invalid.push(InvalidReason::LateGenerator);
    }
    if step.itl_s.count > 0 && step.event_is_token != Some(true) {
        row.absent.push(("itl_s".to_string(), "events are not known to be tokens".to_string()));
    }
    if streams && step.tpot_s.count == 0 {
        let why = match step.answer_notes.is_empty() {
            true => "nobody counted the tokens: --tokenizer counts them".to_string(),
            false => step.answer_notes.join("; "),
        };
        row.absent.push(("tpot_s".to_string(), why));
    }
    row.notes = notes(args, traffic, step);
    vec![row]
}

/// What was found is the limit of the generator rather than the server's.
fn is_ours(traffic: &TrafficRecord) -> bool {
    traffic.limit.as_ref().is_some_and(|limit| limit.gave_way == "generator")
}

fn doubts(step: &StepRecord) -> Vec<InvalidReason> {
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
    doubts
}

fn notes(args: &Args, traffic: &TrafficRecord, step: &StepRecord) -> Vec<String> {
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
        let why = if args.target.allow_eos { "" } else { " although the whole length was asked for" };
        notes.push(format!("{} answers are shorter than asked{why}", step.short_answers));
    }
    notes
}

/// Shows the run, and gives the exit status that it deserves.
pub(super) fn show(args: &Args, run: &Run, talk: &Talk) -> anyhow::Result<Exit> {
    let Some(traffic) = &run.record.traffic else { return Ok(Exit::Failed) };
    if args.json {
        output::json(&serde_json::json!({
            "run": run.path.display().to_string(), "target": traffic.target, "slo": traffic.slo, "steps": traffic.steps,
            "limit": traffic.limit, "recovery": traffic.recovery, "notes": traffic.notes,
        }))?;
    } else {
        for table in tables::tables(traffic) {
            output::table(&table)?;
        }
        for sentence in tables::sentences(run) {
            output::text(&format!("{sentence}\n"))?;
        }
        output::text(&format!("\n{}\n", run.path.display()))?;
    }
    Ok(exit(args, traffic, talk))
}

fn exit(args: &Args, traffic: &TrafficRecord, talk: &Talk) -> Exit {
    let Some(step) = chosen(args, traffic) else {
        return without_a_step(traffic, talk);
    };
    if step.e2e_s.count == 0 {
        talk.warn(format!("no request was answered: {}", step.messages.join("; ")));
        return Exit::Failed;
    }
    if is_ours(traffic) {
        let why = traffic.limit.as_ref().map_or(String::new(), |limit| limit.explanation.clone());
        talk.warn(format!("invalid: what gave way is the generator: {why}"));
        return Exit::InvalidMeasurement;
    }
    if let Some(count) = step.outcomes.get(RequestOutcome::GeneratorError.name()) {
        talk.warn(format!("invalid: the generator could not send {count} requests: {}", step.messages.join("; ")));
        return Exit::InvalidMeasurement;
    }
    let lag = Seconds(step.send_lag_s.mean.unwrap_or(0.0)).human();
    if step.lag_spoils {
        talk.warn(format!(
            "invalid: the generator sent requests {lag} late in the mean, more than a tenth of what is measured: run it on a \
             machine of its own, or at a lower rate"
        ));
        return Exit::InvalidMeasurement;
    }
    if !step.lag_is_small {
        talk.warn(format!(
            "doubtful: the generator sent requests {lag} late in the mean, which is a part of their times"
        ));
    }
    for reason in step.disturbed.iter().filter_map(|name| name.parse::<InvalidReason>().ok()) {
        talk.warn(format!("doubtful: {}", reason.advice()));
    }
    if let Some(term) = step.terms.iter().find(|term| term.requests == 0) {
        let noted: String = step.answer_notes.iter().map(|note| format!("; {note}")).collect();
        talk.warn(format!(
            "no request has a {}: whether its limit is kept cannot be told{noted}",
            term.term.of.label()
        ));
        return Exit::GateCannotTell;
    }
    if traffic.limit.is_none() && step.verdict.is_none() && !step.terms.is_empty() {
        let noted: String = step.answer_notes.iter().map(|note| format!("; {note}")).collect();
        talk.warn(format!("whether the limits are kept cannot be told: a time of some requests is not seen{noted}"));
        return Exit::GateCannotTell;
    }
    let too_many = InvalidReason::of_failures(step.failed(), step.requests).is_some();
    if too_many {
        let (failed, said) = (step.failed(), step.messages.join("; "));
        talk.warn(format!(
            "{failed} of {} requests failed, and the times are those of the others: {said}",
            step.requests
        ));
    }
    match (&traffic.limit, step.verdict) {
        // Where there is an SLO, failures count against it.
        (None, None) if too_many => Exit::InvalidMeasurement,
        (Some(_), _) | (None, None) => Exit::Done,
        (None, Some(StepVerdict::Holds)) => Exit::Done,
        (None, Some(StepVerdict::Breaks)) => Exit::GateFailed,
        (None, Some(StepVerdict::HoldsBarely | StepVerdict::BreaksBarely)) => Exit::GateCannotTell,
    }
}

/// A search that came to no limit, or was stopped before.
fn without_a_step(traffic: &TrafficRecord, talk: &Talk) -> Exit {
    match &traffic.limit {
        Some(limit) if limit.found_first.is_some() => {
            talk.warn(format!(
                "no rate held when it was run again, so that there is none to buy by: {}",
                limit.explanation
            ));
            Exit::GateCannotTell
        }
        Some(limit) => {
            talk.warn(format!("no limit was found: {}", limit.explanation));
            Exit::Failed
        }
        None => {
            talk.warn("no step stands for the run: the search was ended before it came to a limit");
            Exit::Failed
        }
    }
}
