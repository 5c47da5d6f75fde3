//! What the steps of a search say: the limit with its interval, and what gave way first.
//!
//! What is reported is the highest rate that held when it was run again, between a rate that certainly holds and one that
//! certainly breaks: both by the 95 % interval of the share of requests beyond a limit ([`super::judge`]), and no closer to the
//! limit than the precision of the search and the scatter of arrivals, by which one search differs from the next.

use super::search::{CompletedStep, SearchResult, SearchSettings};
use crate::engine::target::RequestOutcome;
use crate::record::{
    CutShort, Latency, LatencyKind, LimitKind, LimitRecord, PhaseTimes, Ranged, StepRecord, TermRecord,
};
use crate::units::{RequestsPerSecond, Seconds, digits};

/// A lag of the generator above this share of a limit spoils what the limit is about.
pub(super) const MOST_LAG_OF_LIMIT: f64 = 0.1;
/// A latency that goes up by more than this within the last bracket has fallen off a cliff.
const CLIFF: f64 = 3.0;
/// So do waiting and computing where answers come at once.
const WHOLE_ANSWER: &str = "queue or service";

/// What a conclusion needs beside the steps of a search.
#[derive(Debug, Clone, Copy)]
pub struct SearchContext<'a> {
    /// How it was made.
    pub how: &'a SearchSettings,
    /// The server with nothing else to do.
    pub alone: Option<&'a StepRecord>,
    /// Memory allows the engine fewer sequences at once than it was asked for.
    pub few_places: bool,
    /// The number of its first step within the run.
    pub first_step: usize,
}

fn rate(step: &StepRecord) -> f64 {
    step.offered_requests_per_s.0
}

/// What the steps of a search say.
pub fn conclude(searched: &SearchResult, context: &SearchContext<'_>) -> LimitRecord {
    let (held, broken) = searched.bracket();
    let (held, broken) = (held.map(|completed| &completed.step), broken.map(|completed| &completed.step));
    let confirmed = searched.confirmed();
    let (gave_way, why) = match broken.map(|step| gave_way(step, held, context.alone)) {
        None => ("unknown", "nothing gave way up to the highest rate tried".to_string()),
        Some((PhaseTimes::BEFORE_FIRST_TOKEN | "queue", why)) if context.few_places => {
            ("memory", format!("{why}, as memory allows no more places in the batch"))
        }
        Some(known) => known,
    };
    let is_ours = gave_way == "generator";
    let value = confirmed.map(carried);
    let apart = 1.0 + context.how.precision + confirmed.map_or(0.0, scatter);
    let lo = value.zip(searched.surely_holds()).map(|(value, lo)| lo.min(value / apart));
    let hi = searched.surely_breaks().filter(|_| !is_ours).map(|hi| value.map_or(hi, |value| hi.max(value * apart)));
    let per_second = |rate: Option<f64>| rate.map(RequestsPerSecond);
    let place = |completed: &CompletedStep| {
        searched.steps.iter().rposition(|other| other.planned.rate == completed.planned.rate)
    };
    LimitRecord {
        requests_per_s: per_second(value),
        lo: per_second(lo),
        hi: per_second(hi),
        kind: if is_ours { LimitKind::Unknown } else { kind(held, broken) },
        gave_way: gave_way.to_string(),
        explanation: format!("{}; {why}", found(searched, confirmed)),
        step: confirmed.and_then(place).map(|at| context.first_step + at),
        repeated_s: confirmed.map(|completed| completed.step.seconds),
        found_first: per_second(searched.found_first()),
    }
}

/// What a rate that held carried: where the draw of arrivals brought fewer requests than the rate says, no more than that.
fn carried(completed: &CompletedStep) -> f64 {
    let came = completed.step.came_requests_per_s.map_or(f64::INFINITY, |came| came.0);
    completed.planned.rate.min(came)
}

/// Share by which the requests of a step may be more or fewer than its rate says, in 19 of 20 draws.
fn scatter(completed: &CompletedStep) -> f64 {
    if completed.step.arrival == "open_constant" { 0.0 } else { 1.96 / (completed.step.requests.max(1) as f64).sqrt() }
}

fn found(searched: &SearchResult, confirmed: Option<&CompletedStep>) -> String {
    let broke = match searched.broke_again() {
        0 => String::new(),
        1 => " (a higher rate held at first, and broke when it was run again for longer)".to_string(),
        many => format!(" ({many} rates held at first, and broke when they were run again for longer)"),
    };
    match (confirmed, searched.bracket().0) {
        (Some(completed), _) => {
            format!(
                "{} req/s hold, for {} when run again{broke}",
                digits(completed.planned.rate),
                completed.step.seconds
            )
        }
        (None, Some(held)) => {
            format!("{} req/s held once and no rate held when it was run again{broke}", digits(held.planned.rate))
        }
        (None, None) => format!("no rate that was tried holds{broke}"),
    }
}

/// The same percentile of a time on both sides: the 90th where both have it, else the median, else the mean.
fn alike(a: &Latency, b: &Latency) -> Option<(f64, f64)> {
    let value = |ranged: Option<Ranged>| ranged.map(|ranged| ranged.value);
    let of = [|l: &Latency| l.p90, |l: &Latency| l.p50];
    let percentiles = of.into_iter().find_map(|of| value(of(a)).zip(value(of(b))));
    percentiles.or(a.mean.zip(b.mean))
}

/// Whether the governing latency goes up little by little between the rate that holds and the one that breaks.
fn kind(held: Option<&StepRecord>, broken: Option<&StepRecord>) -> LimitKind {
    let (Some(held), Some(broken)) = (held, broken) else { return LimitKind::Unknown };
    if rate(broken) / rate(held) > 1.5 {
        return LimitKind::Unknown;
    }
    let failed =
        |step: &StepRecord| 1.0 - step.outcomes.get("ok").copied().unwrap_or(0) as f64 / step.requests.max(1) as f64;
    let over_saturated = matches!(broken.cut_short, Some(CutShort::OverSaturated(_)));
    let ratio = alike(&broken.e2e_s, &held.e2e_s).map_or(1.0, |(broken, held)| broken / held);
    if failed(broken) > failed(held) + 0.01 || over_saturated || ratio > CLIFF {
        LimitKind::Cliff
    } else {
        LimitKind::Knee
    }
}

/// What broke first at a rate that breaks, and how that is known. `alone` is the server with nothing else to do.
fn gave_way(step: &StepRecord, held: Option<&StepRecord>, alone: Option<&StepRecord>) -> (&'static str, String) {
    let at = digits(rate(step));
    let worst = step.terms.iter().max_by(|a, b| {
        let excess = |term: &TermRecord| term.share() / term.allowed().max(1e-9);
        excess(a).total_cmp(&excess(b))
    });
    if let Some(count) = step.outcomes.get(RequestOutcome::GeneratorError.name()) {
        let said = step.messages.first().cloned().unwrap_or_default();
        let why =
            format!("at {at} req/s the generator could not send {count} requests ({said}): the server may carry more");
        return ("generator", why);
    }
    if let Some(failures) = by_failures(step, worst.map_or(0, |term| term.beyond), &at) {
        return failures;
    }
    let Some(worst) = worst else { return ("unknown", format!("at {at} req/s too few requests keep all limits")) };
    let lag = step.send_lag_s.mean.unwrap_or(0.0);
    if lag > MOST_LAG_OF_LIMIT * worst.term.limit_s.0 {
        let late = Seconds(lag);
        return (
            "generator",
            format!("at {at} req/s the generator itself sends {late} late: the server may carry more"),
        );
    }
    let share = digits(worst.share() * 100.0);
    let mut first = format!("at {at} req/s {share} % of the requests are beyond {}", worst.term.label());
    if let Some(growth) = step.backlog_growth_per_s {
        first.push_str(&format!(" and {} more are in flight each second", digits(growth)));
    }
    slowed(step, worst.term.of, held, alone, first)
}

/// Requests that fail rather than take long.
fn by_failures(step: &StepRecord, beyond: u64, at: &str) -> Option<(&'static str, String)> {
    let failed = step.failed();
    if failed == 0 || failed * 2 <= beyond {
        return None;
    }
    let said = step.messages.first().cloned().unwrap_or_default();
    let memory = step.messages.iter().any(|message| {
        let message = message.to_lowercase();
        ["memory", "kv cache", "does not fit"].iter().any(|word| message.contains(word))
    });
    let of = format!("at {at} req/s {failed} of {} requests fail", step.requests);
    Some(if memory { ("memory", format!("{of} for memory ({said})")) } else { ("errors", format!("{of} ({said})")) })
}

/// What takes longer than before, where requests are late: against the server alone, or else the rate that holds. Against
/// nothing, nothing is said.
fn slowed(
    step: &StepRecord,
    kind: LatencyKind,
    held: Option<&StepRecord>,
    alone: Option<&StepRecord>,
    first: String,
) -> (&'static str, String) {
    if kind == LatencyKind::Tpot {
        return ("decode", format!("{first}: decoding slows down as more sequences share the machine"));
    }
    let known = |base: &&StepRecord| base.phases.is_some() && base.phases_from == step.phases_from;
    let base = [alone, held].into_iter().flatten().find(known).and_then(|base| base.phases);
    match (step.phases, base) {
        (Some(now), Some(then)) => grown(kind, now, then, first),
        _ if step.ttft_s.count == 0 => (
            WHOLE_ANSWER,
            format!("{first}: answers come at once, so that waiting and computing look alike from outside"),
        ),
        _ => ("unknown", format!("{first}: where the time goes is not known at the rates below")),
    }
}

/// The phase that has grown most.
fn grown(kind: LatencyKind, now: PhaseTimes, then: PhaseTimes, first: String) -> (&'static str, String) {
    let mut parts: Vec<(&'static str, f64)> =
        now.parts().iter().zip(then.parts()).map(|((name, now), (_, then))| (*name, now - then)).collect();
    if kind == LatencyKind::Ttft {
        parts.retain(|(name, _)| *name != "decode");
    }
    let (name, by) = parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("unknown", 0.0));
    let by = Seconds(by.max(0.0));
    let why = match name {
        PhaseTimes::BEFORE_FIRST_TOKEN => format!(
            "{first}: the first token takes {by} more than before; waiting for a place and for the prefills of others look \
             alike from outside"
        ),
        _ => format!("{first}: {name} takes {by} more than before"),
    };
    (name, why)
}

#[cfg(test)]
mod tests {
    use super::super::search::{PlannedStep, Purpose, search};
    use super::*;
    use crate::record::{SloTerm, StepVerdict};

    const HOW: SearchSettings =
        SearchSettings { start: 1.0, precision: 0.05, most_steps: 30, most_rate: 1e5, least_rate: 0.0 };

    fn context(alone: Option<&StepRecord>) -> SearchContext<'_> {
        SearchContext { how: &HOW, alone, few_places: false, first_step: 1 }
    }

    fn term(of: LatencyKind, beyond: u64) -> TermRecord {
        let term = SloTerm { of, percentile: 0.9, limit_s: Seconds(0.2) };
        TermRecord { term, requests: 1000, beyond, unseen: 0, share_lo: 0.0, share_hi: 0.0 }
    }

    /// A server that keeps an SLO up to `limit`, and whose E2E is 1 / (1 - load) beyond.
    fn server(limit: f64, cliff: bool) -> impl FnMut(&PlannedStep) -> Option<StepRecord> {
        move |planned| {
            let rate = planned.rate;
            let broken = rate > limit;
            let failed = if broken && cliff { 500 } else { 0 };
            let value = 0.1 * (1.0 + rate / limit);
            Some(StepRecord {
                offered_requests_per_s: RequestsPerSecond(rate),
                requests: 1000,
                seconds: Seconds(if planned.purpose == Purpose::Repeat { 60.0 } else { 20.0 }),
                outcomes: [("ok".to_string(), 1000 - failed), ("bad_status".to_string(), failed)].into(),
                messages: if failed > 0 { vec!["bad_status: status 429".to_string()] } else { Vec::new() },
                verdict: Some(if broken { StepVerdict::Breaks } else { StepVerdict::Holds }),
                e2e_s: Latency { p90: Some(Ranged { value, lo: None, hi: None }), ..Default::default() },
                terms: vec![term(LatencyKind::E2e, if broken { 400 } else { 0 })],
                ..StepRecord::default()
            })
        }
    }

    #[test]
    fn the_limit_is_bracketed_from_below_and_from_above() {
        for limit in [0.013, 3.0, 97.0, 1234.5] {
            let searched = search(&HOW, &mut server(limit, false));
            let found = conclude(&searched, &context(None));
            let rate = found.requests_per_s.unwrap().0;
            assert!(rate <= limit && rate > limit / 1.051, "{limit}: {found:?}");
            assert!(found.hi.unwrap().0 > limit && found.lo.unwrap().0 <= rate / 1.05);
            assert_eq!((found.kind, found.repeated_s), (LimitKind::Knee, Some(Seconds(60.0))));
            assert_eq!(found.found_first, found.requests_per_s);
            // The step that stands for it is the one that was run again.
            let step = &searched.steps[found.step.unwrap() - 1];
            assert_eq!((step.planned.rate, step.planned.purpose), (rate, Purpose::Repeat));
        }
    }

    #[test]
    fn failures_are_a_cliff_and_are_what_gave_way() {
        let found = conclude(&search(&HOW, &mut server(40.0, true)), &context(None));
        assert_eq!((found.kind, found.gave_way.as_str()), (LimitKind::Cliff, "errors"));
        assert!(found.explanation.contains("429"), "{}", found.explanation);
    }

    #[test]
    fn what_the_generator_cannot_do_is_no_limit_of_the_server() {
        let mut carries = server(1e9, false);
        let mut run = |planned: &PlannedStep| {
            let mut step = carries(planned)?;
            if planned.rate > 50.0 {
                step.outcomes.insert(RequestOutcome::GeneratorError.name().to_string(), 3);
                step.verdict = Some(StepVerdict::Breaks);
            }
            Some(step)
        };
        let found = conclude(&search(&HOW, &mut run), &context(None));
        assert_eq!((found.gave_way.as_str(), found.hi, found.kind), ("generator", None, LimitKind::Unknown));
        assert!(found.requests_per_s.unwrap().0 <= 50.0 && found.explanation.contains("may carry more"));
    }

    #[test]
    fn a_rate_that_did_not_hold_again_is_no_limit() {
        // Up to 50/s hold at first, and up to 40/s for longer.
        let (mut short, mut long) = (server(50.0, false), server(40.0, false));
        let mut run =
            |planned: &PlannedStep| if planned.purpose == Purpose::Repeat { long(planned) } else { short(planned) };
        let found = conclude(&search(&HOW, &mut run), &context(None));
        assert!((36.0..=40.0).contains(&found.requests_per_s.unwrap().0), "{found:?}");
        assert!(found.found_first.unwrap().0 > 47.0 && found.explanation.contains("run again for longer"), "{found:?}");
        // One that never holds again leaves no limit to buy by.
        let mut never = server(0.0, false);
        let mut run =
            |planned: &PlannedStep| if planned.purpose == Purpose::Repeat { never(planned) } else { short(planned) };
        let found = conclude(&search(&HOW, &mut run), &context(None));
        assert_eq!((found.requests_per_s, found.lo, found.step), (None, None, None));
        assert!(found.found_first.is_some() && !found.is_confirmed());
    }

    fn phases(queue_s: f64, prefill_s: f64, decode_s: f64) -> PhaseTimes {
        PhaseTimes { queue_s, prefill_s, decode_s, ..PhaseTimes::default() }
    }

    fn outside(first_token_s: f64, decode_s: f64) -> PhaseTimes {
        PhaseTimes { first_token_s, decode_s, ..PhaseTimes::default() }
    }

    fn with_phases(phases: PhaseTimes, from: &str) -> StepRecord {
        StepRecord {
            phases: Some(phases),
            phases_from: Some(from.to_string()),
            ttft_s: Latency { count: 1000, ..Latency::default() },
            terms: vec![term(LatencyKind::Ttft, 400)],
            ..StepRecord::default()
        }
    }

    #[test]
    fn what_grew_is_told_against_the_server_alone_and_never_against_nothing() {
        let of = |step: &StepRecord, alone: Option<&StepRecord>| gave_way(step, None, alone).0;
        // A long prefill that was as long alone has not given way.
        let (late, alone) =
            (with_phases(phases(0.2, 0.5, 1.0), "measured"), with_phases(phases(0.0, 0.48, 0.9), "measured"));
        assert_eq!(of(&late, Some(&alone)), "queue");
        assert_eq!(of(&late, None), "unknown");
        let busy = with_phases(phases(0.02, 0.78, 1.0), "measured");
        assert_eq!(of(&busy, Some(&alone)), "prefill", "the server says that nobody queues");
        // From outside that cannot be told.
        let (late, alone) = (with_phases(outside(0.8, 1.0), "outside"), with_phases(outside(0.5, 0.9), "outside"));
        let (name, why) = gave_way(&late, None, Some(&alone));
        assert_eq!(name, "queue or prefill");
        assert!(why.contains("300 ms more") && why.contains("look alike"), "{why}");
        let whole = StepRecord { terms: vec![term(LatencyKind::E2e, 400)], ..StepRecord::default() };
        assert_eq!(of(&whole, Some(&alone)), "queue or service");
    }

    #[test]
    fn a_cliff_is_told_by_one_percentile_on_both_sides() {
        let at = |value: f64| Some(Ranged { value, lo: None, hi: None });
        let step = |rate: f64, p50: f64, p90: Option<f64>| StepRecord {
            offered_requests_per_s: RequestsPerSecond(rate),
            requests: 100,
            outcomes: [("ok".to_string(), 100)].into(),
            e2e_s: Latency { p50: at(p50), p90: p90.and_then(at), ..Latency::default() },
            ..StepRecord::default()
        };
        // The step that broke was left early and has a median only: 0.4 against a p90 of 0.5, but a median of 0.1.
        assert_eq!(kind(Some(&step(10.0, 0.1, Some(0.5))), Some(&step(10.4, 0.4, None))), LimitKind::Cliff);
        // A median of 0.1 against a p90 of 0.4 was called a cliff.
        assert_eq!(kind(Some(&step(10.0, 0.1, None)), Some(&step(10.4, 0.12, Some(0.4)))), LimitKind::Knee);
    }

    #[test]
    fn a_search_that_finds_nothing_says_so() {
        let how = SearchSettings { most_rate: 8.0, ..HOW };
        let context = |how| SearchContext { how, alone: None, few_places: false, first_step: 1 };
        let held = conclude(&search(&how, &mut server(40.0, false)), &context(&how));
        assert_eq!((held.requests_per_s, held.hi), (Some(RequestsPerSecond(8.0)), None));
        let how = SearchSettings { most_steps: 4, ..HOW };
        let broken = conclude(&search(&how, &mut server(1e-9, false)), &context(&how));
        assert_eq!((broken.requests_per_s, broken.lo), (None, None));
        assert!(broken.explanation.contains("no rate that was tried holds"));
        let mut calls = 0;
        let stopped = search(&HOW, &mut |_| {
            calls += 1;
            None
        });
        assert!(stopped.stopped && calls == 1);
    }
}
