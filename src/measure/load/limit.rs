//! The highest rate under an SLO: doubled (or halved) until it breaks (or holds), then bisected on the logarithm.
//!
//! What is reported is the highest rate that was measured to hold, between a rate that certainly holds and one that
//! certainly breaks: both by the 95 % interval of the share of requests beyond a limit ([`super::judge`]).

use crate::engine::target::RequestOutcome;
use crate::record::{LatencyKind, LimitKind, LimitRecord, StepRecord, StepVerdict};
use crate::units::{RequestsPerSecond, Seconds, digits};

/// How a search is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// The first rate.
    pub start: f64,
    /// The limit is found when the rates that hold and break are within this share.
    pub precision: f64,
    /// The most steps.
    pub most_steps: usize,
    /// The highest rate that is tried.
    pub most_rate: f64,
}

/// Runs a step at a rate; `None` where the user wants to stop.
pub type RunStep<'a> = dyn FnMut(f64) -> Option<StepRecord> + 'a;

/// The factor to the next rate while nothing has broken, or held, yet.
const FACTOR: f64 = 2.0;
/// Steps beyond the limit that are spent on being certain, and the least stride between them.
const MOST_STRIDES: usize = 4;
const LEAST_STRIDE: f64 = 0.05;
/// A lag of the generator above this share of a limit spoils what the limit is about.
const MOST_LAG_OF_LIMIT: f64 = 0.1;
/// A latency that goes up by more than this within the last bracket has fallen off a cliff.
const CLIFF: f64 = 3.0;

/// The steps of a search, and whether it was stopped.
#[derive(Debug, Clone, Default)]
pub struct Searched {
    /// In the order in which they were run.
    pub steps: Vec<StepRecord>,
    /// The user stopped it.
    pub stopped: bool,
}

fn holds(step: &StepRecord) -> bool {
    step.verdict.is_some_and(StepVerdict::holds)
}

fn rate(step: &StepRecord) -> f64 {
    step.offered_requests_per_s.0
}

impl Searched {
    /// The highest rate below all that break, and the lowest that breaks.
    ///
    /// A step that holds above one that breaks is luck on one side: the lower is believed, as money is spent on it.
    pub fn bracket(&self) -> (Option<&StepRecord>, Option<&StepRecord>) {
        let broken = self.steps.iter().filter(|step| !holds(step)).min_by(|a, b| rate(a).total_cmp(&rate(b)));
        let below = broken.map_or(f64::INFINITY, rate);
        let held = self.steps.iter().filter(|step| holds(step) && rate(step) < below);
        (held.max_by(|a, b| rate(a).total_cmp(&rate(b))), broken)
    }
}

/// Runs steps until the limit is known as well as was asked, and then until rates on both sides of it are certain.
pub fn search(how: &Search, run: &mut RunStep<'_>) -> Searched {
    let mut searched = Searched::default();
    let mut next = Some(how.start.min(how.most_rate));
    while let Some(at) = next.filter(|_| searched.steps.len() < how.most_steps) {
        match run(at) {
            Some(step) => searched.steps.push(step),
            None => {
                searched.stopped = true;
                break;
            }
        }
        next = match searched.bracket() {
            (Some(held), Some(broken)) if rate(broken) / rate(held) <= 1.0 + how.precision => {
                searched.to_be_certain(how)
            }
            (Some(held), Some(broken)) => Some((rate(held) * rate(broken)).sqrt()),
            (Some(held), None) => (rate(held) < how.most_rate).then(|| (rate(held) * FACTOR).min(how.most_rate)),
            (None, Some(broken)) => Some(rate(broken) / FACTOR),
            (None, None) => None,
        };
    }
    searched
}

impl Searched {
    /// A certain rate that holds, below all that certainly break.
    fn surely_holds(&self) -> Option<f64> {
        let breaks = self.surely_breaks().unwrap_or(f64::INFINITY);
        let holds = self.steps.iter().filter(|step| step.verdict == Some(StepVerdict::Holds)).map(rate);
        holds.filter(|rate| *rate < breaks).max_by(f64::total_cmp)
    }

    /// The lowest rate that certainly breaks.
    fn surely_breaks(&self) -> Option<f64> {
        let breaks = self.steps.iter().filter(|step| step.verdict == Some(StepVerdict::Breaks)).map(rate);
        breaks.min_by(f64::total_cmp)
    }

    /// The next rate to try where one side of the limit is not certain yet: a stride beyond the last that was tried there,
    /// for as many strides as are worth their time.
    fn to_be_certain(&self, how: &Search) -> Option<f64> {
        let strides = |count: usize| (1.0 + how.precision.max(LEAST_STRIDE)).powi(count as i32 + 1);
        let (held, broken) = self.bracket();
        let (held, broken) = (rate(held?), rate(broken?));
        if self.surely_breaks().is_none() {
            let above = self.steps.iter().map(rate).filter(|rate| *rate > broken).count();
            let next = broken.max(self.steps.iter().map(rate).fold(0.0, f64::max)) * strides(above.min(2));
            return (above < MOST_STRIDES && next <= how.most_rate).then_some(next);
        }
        if self.surely_holds().is_none() {
            let below = self.steps.iter().map(rate).filter(|rate| *rate < held).count();
            let least = self.steps.iter().map(rate).fold(held, f64::min);
            return (below < MOST_STRIDES).then(|| least / strides(below.min(2)));
        }
        None
    }
}

/// What the steps of a search say. `few_places`: memory allows the engine fewer sequences at once than it was asked for.
pub fn conclude(searched: &Searched, alone: Option<&StepRecord>, few_places: bool) -> LimitRecord {
    let (held, broken) = searched.bracket();
    let (lo, hi) = (searched.surely_holds(), searched.surely_breaks());
    let per_second = |rate: Option<f64>| rate.map(RequestsPerSecond);
    let (gave_way, why) = match broken.map(|step| gave_way(step, held, alone)) {
        None => ("unknown", "nothing gave way up to the highest rate tried".to_string()),
        Some(("queue", why)) if few_places => {
            ("memory", format!("{why}, as memory allows no more places in the batch"))
        }
        Some(known) => known,
    };
    let is_ours = gave_way == "generator";
    let hi = hi.filter(|_| !is_ours);
    let kind = if is_ours { LimitKind::Unknown } else { kind(held, broken) };
    let found = match held {
        Some(step) => format!("{} req/s hold", digits(rate(step))),
        None => "no rate that was tried holds".to_string(),
    };
    LimitRecord {
        requests_per_s: held.map(rate).map(RequestsPerSecond),
        lo: per_second(lo.map(|lo| held.map_or(lo, |step| lo.min(rate(step))))),
        hi: per_second(hi),
        kind,
        gave_way: gave_way.to_string(),
        explanation: format!("{found}; {why}"),
    }
}

/// Whether the governing latency goes up little by little between the rate that holds and the one that breaks.
fn kind(held: Option<&StepRecord>, broken: Option<&StepRecord>) -> LimitKind {
    let (Some(held), Some(broken)) = (held, broken) else { return LimitKind::Unknown };
    if rate(broken) / rate(held) > 1.5 {
        return LimitKind::Unknown;
    }
    let failed =
        |step: &StepRecord| 1.0 - step.outcomes.get("ok").copied().unwrap_or(0) as f64 / step.requests.max(1) as f64;
    let over_saturated = broken.cut_short.as_deref().is_some_and(|why| why.starts_with("over-saturated"));
    let e2e = |step: &StepRecord| step.e2e_s.p90.or(step.e2e_s.p50).map(|p| p.value);
    let ratio = e2e(broken).zip(e2e(held)).map_or(1.0, |(b, h)| b / h);
    match failed(broken) > failed(held) + 0.01 || over_saturated || ratio > CLIFF {
        true => LimitKind::Cliff,
        false => LimitKind::Knee,
    }
}

/// What broke first at a rate that breaks, and how that is known. `alone` is the server with nothing else to do.
fn gave_way(step: &StepRecord, held: Option<&StepRecord>, alone: Option<&StepRecord>) -> (&'static str, String) {
    let failed: u64 =
        step.outcomes.iter().filter(|(name, _)| !["ok", "cut"].contains(&name.as_str())).map(|(_, n)| n).sum();
    let worst = step.terms.iter().max_by(|a, b| {
        let excess = |term: &crate::record::TermRecord| term.share() / term.allowed().max(1e-9);
        excess(a).total_cmp(&excess(b))
    });
    let at = digits(rate(step));
    if let Some(count) = step.outcomes.get(RequestOutcome::GeneratorError.name()) {
        let said = step.messages.first().cloned().unwrap_or_default();
        let why =
            format!("at {at} req/s the generator could not send {count} requests ({said}): the server may carry more");
        return ("generator", why);
    }
    let beyond: u64 = worst.map_or(0, |term| term.beyond);
    if failed * 2 > beyond && failed > 0 {
        let said = step.messages.first().cloned().unwrap_or_default();
        let memory = step.messages.iter().any(|m| {
            let m = m.to_lowercase();
            m.contains("memory") || m.contains("kv cache") || m.contains("does not fit")
        });
        return match memory {
            true => {
                ("memory", format!("at {at} req/s {failed} of {} requests fail for memory ({said})", step.requests))
            }
            false => ("errors", format!("at {at} req/s {failed} of {} requests fail ({said})", step.requests)),
        };
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
    let label = worst.term.label();
    let share = digits(worst.share() * 100.0);
    let first = format!("at {at} req/s {share} % of the requests are beyond {label}");
    let reference = alone.or(held);
    match (worst.term.of, step.phases, reference) {
        (LatencyKind::Tpot, ..) => {
            ("decode", format!("{first}: decoding slows down as more sequences share the machine"))
        }
        (kind, Some(phases), _) => {
            let base = reference.and_then(|step| step.phases).unwrap_or_default();
            let mut grown: Vec<(&'static str, f64)> =
                phases.parts().iter().zip(base.parts()).map(|((name, now), (_, then))| (*name, now - then)).collect();
            if kind == LatencyKind::Ttft {
                grown.retain(|(name, _)| *name != "decode");
            }
            let (name, by) = grown.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(("unknown", 0.0));
            (name, format!("{first}: {name} takes {} more than before", Seconds(by.max(0.0))))
        }
        (LatencyKind::Ttft, None, Some(base)) => {
            let of = |step: &StepRecord| step.ttft_s.p50.map(|p| p.value);
            let alone = of(base).map_or(String::new(), |t| format!(" (median TTFT {} without load)", Seconds(t)));
            (
                "queue",
                format!(
                    "{first}: requests wait{alone}; from outside, waiting for a place and for others' prefills look alike"
                ),
            )
        }
        (LatencyKind::E2e, None, Some(base)) => {
            let of = |step: &StepRecord, t: fn(&StepRecord) -> crate::record::Latency| t(step).mean.unwrap_or(0.0);
            let decode = |step: &StepRecord| of(step, |s| s.e2e_s) - of(step, |s| s.ttft_s);
            let (queued, decoded) = (of(step, |s| s.ttft_s) - of(base, |s| s.ttft_s), decode(step) - decode(base));
            match step.ttft_s.count == 0 || queued >= decoded {
                true => ("queue", format!("{first}: most of the added time is before the first token")),
                false => ("decode", format!("{first}: most of the added time is behind the first token")),
            }
        }
        _ => ("queue", first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Ranged, SloTerm, TermRecord};

    /// A server that keeps an SLO up to `limit`, and whose E2E is 1 / (1 - load) beyond.
    fn server(limit: f64, cliff: bool) -> impl FnMut(f64) -> Option<StepRecord> {
        move |rate| {
            let broken = rate > limit;
            let failed = if broken && cliff { 500 } else { 0 };
            let value = 0.1 * (1.0 + rate / limit);
            let term = SloTerm { of: LatencyKind::E2e, percentile: 0.99, limit_s: Seconds(0.2) };
            let beyond = if broken { 400 } else { 0 };
            Some(StepRecord {
                offered_requests_per_s: RequestsPerSecond(rate),
                requests: 1000,
                outcomes: [("ok".to_string(), 1000 - failed), ("bad_status".to_string(), failed)].into(),
                messages: if failed > 0 { vec!["bad_status: status 429".to_string()] } else { Vec::new() },
                verdict: Some(if broken { StepVerdict::Breaks } else { StepVerdict::Holds }),
                e2e_s: crate::record::Latency { p90: Some(Ranged { value, lo: None, hi: None }), ..Default::default() },
                terms: vec![TermRecord { term, requests: 1000, beyond, unseen: 0, share_lo: 0.0, share_hi: 0.0 }],
                ..StepRecord::default()
            })
        }
    }

    const HOW: Search = Search { start: 1.0, precision: 0.05, most_steps: 30, most_rate: 1e5 };

    #[test]
    fn the_limit_is_bracketed_from_below_and_from_above() {
        for limit in [0.013, 3.0, 97.0, 1234.5] {
            let searched = search(&HOW, &mut server(limit, false));
            let found = conclude(&searched, None, false);
            let rate = found.requests_per_s.unwrap().0;
            assert!(rate <= limit && rate > limit / 1.051, "{limit}: {found:?}");
            assert!(found.hi.unwrap().0 > limit && found.lo.unwrap().0 <= rate);
            assert_eq!(found.kind, LimitKind::Knee);
        }
    }

    #[test]
    fn failures_are_a_cliff_and_are_what_gave_way() {
        let found = conclude(&search(&HOW, &mut server(40.0, true)), None, false);
        assert_eq!((found.kind, found.gave_way.as_str()), (LimitKind::Cliff, "errors"));
        assert!(found.explanation.contains("429"), "{}", found.explanation);
    }

    #[test]
    fn what_the_generator_cannot_do_is_no_limit_of_the_server() {
        let mut carries = server(1e9, false);
        let mut run = |rate: f64| {
            let mut step = carries(rate)?;
            if rate > 50.0 {
                step.outcomes.insert(RequestOutcome::GeneratorError.name().to_string(), 3);
                step.verdict = Some(StepVerdict::Breaks);
            }
            Some(step)
        };
        let found = conclude(&search(&HOW, &mut run), None, false);
        assert_eq!((found.gave_way.as_str(), found.hi, found.kind), ("generator", None, LimitKind::Unknown));
        assert!(found.requests_per_s.unwrap().0 <= 50.0 && found.explanation.contains("may carry more"));
    }

    #[test]
    fn a_search_that_finds_nothing_says_so() {
        let held = conclude(&search(&Search { most_rate: 8.0, ..HOW }, &mut server(40.0, false)), None, false);
        assert_eq!((held.requests_per_s, held.hi), (Some(RequestsPerSecond(8.0)), None));
        let broken = conclude(&search(&Search { most_steps: 4, ..HOW }, &mut server(1e-9, false)), None, false);
        assert_eq!((broken.requests_per_s, broken.lo), (None, None));
        assert!(broken.explanation.contains("no rate that was tried holds"));
        let mut calls = 0;
        let stopped = search(&HOW, &mut |_| {
            calls += 1;
            None
        });
        assert!(stopped.stopped && calls == 1);
    }

    #[test]
    fn luck_above_a_rate_that_breaks_is_not_believed() {
        let step = |rate: f64, verdict| StepRecord {
            offered_requests_per_s: RequestsPerSecond(rate),
            verdict: Some(verdict),
            ..StepRecord::default()
        };
        let steps = vec![
            step(1.0, StepVerdict::Holds),
            step(2.0, StepVerdict::BreaksBarely),
            step(3.0, StepVerdict::HoldsBarely),
        ];
        let searched = Searched { steps, stopped: false };
        assert_eq!(searched.bracket().0.map(rate), Some(1.0));
        assert_eq!(conclude(&searched, None, false).hi, None);
    }
}
