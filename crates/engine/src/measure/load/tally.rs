//! Adding up the requests of a step, in bounded memory.

use super::histogram::Times;
use super::judge;
use super::sample::Sample;
use super::time_slices::{CompletedRequest, TimeSlices};
use crate::engine::target::{AnswerWarning, CountedBy, RequestOutcome};
use crate::record::Slo;
use crate::record::{LatencyKind, PhaseTimes, StepVerdict, TermRecord};
use std::collections::BTreeMap;

/// Different messages of failures that are kept.
const MOST_MESSAGES: usize = 8;

/// What a limit counts.
#[derive(Debug, Clone, Default)]
struct Counted {
    requests: u64,
    beyond: u64,
    /// Answered, and it could not be seen whether within the limit.
    unseen: u64,
    time_slices: TimeSlices,
}

/// The measured requests of a step so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests that warmed up.
    pub warm_up: u64,
    /// Requests, those that were cut off not among them.
    pub requests: u64,
    /// By what came of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// What failed ones said.
    pub messages: Vec<String>,
    /// To the first token.
    pub ttft: Times,
    /// Per further token.
    pub tpot: Times,
    /// Between events with text.
    pub gaps: Times,
    /// To the last token.
    pub e2e: Times,
    /// From the intended start to the start of sending.
    pub lag: Times,
    /// How it goes over time.
    pub time_slices: TimeSlices,
    /// Tokens that were asked for, over all requests.
    pub asked_tokens: u64,
    /// Tokens of prompts, and requests that they are known of.
    pub prompt_tokens: (u64, u64),
    /// Tokens of answers, and requests that they are known of.
    pub output_tokens: (u64, u64),
    /// Those that servers count where they are not the ones above, and requests that they are known of.
    pub server_tokens: (u64, u64),
    /// Those that a tokenizer counts in the text, and requests that they are known of.
    pub text_tokens: (u64, u64),
    /// Answers that are odd, by how.
    pub warnings: BTreeMap<AnswerWarning, u64>,
    /// Who counted them.
    pub counted_by: Option<CountedBy>,
    /// Answers that are shorter than was asked for.
    pub short: u64,
    /// Answers whose events and tokens are as many.
    pub event_is_token: (u64, u64),
    /// Requests within all limits.
    pub good: u64,
    /// Seconds that requests were in flight, all together.
    pub in_flight_s: f64,
    /// The end of the last answer.
    pub last_answer_s: f64,
    /// Where the time went, and requests that it is known of.
    phases: (PhaseTimes, u64),
    terms: Vec<Counted>,
}

impl Tally {
    /// Adds a request. Those that were cut off count where they have waited beyond a limit already: what is known of them
    /// speaks against the step, and nothing for it.
    pub fn add(&mut self, sample: &Sample, slo: &Slo) {
        if sample.warm_up {
            self.warm_up += 1;
            return;
        }
        *self.outcomes.entry(sample.outcome.name()).or_default() += 1;
        self.lag.add(sample.sent_s - sample.intended_s);
        self.in_flight_s += (sample.ended_s - sample.sent_s).max(0.0);
        self.count_terms(sample, slo);
        if sample.is_cut() {
            return;
        }
        self.requests += 1;
        self.asked_tokens += sample.asked_tokens as u64;
        let good = sample.is_ok() && slo.is_kept_by(|kind| sample.time(kind)) && !lacks_a_time(sample, slo);
        self.good += good as u64;
        let (ttft_s, e2e_s) = (sample.time(LatencyKind::Ttft), sample.time(LatencyKind::E2e));
        let failed = !sample.is_ok();
        self.time_slices.add(CompletedRequest { intended_s: sample.intended_s, failed, beyond: !good, ttft_s, e2e_s });
        if failed {
            self.keep_message(sample);
            return;
        }
        let times =
            [(&mut self.ttft, ttft_s), (&mut self.e2e, e2e_s), (&mut self.tpot, sample.time(LatencyKind::Tpot))];
        for (times, time) in times {
            if let Some(time) = time {
                times.add(time);
            }
        }
        sample.gaps_s.iter().for_each(|gap| self.gaps.add(*gap as f64));
        self.last_answer_s = self.last_answer_s.max(sample.ended_s);
        self.count_tokens(sample);
        if let Some(phases) = sample.phases {
            self.add_phases(sample, phases);
        }
    }

    fn keep_message(&mut self, sample: &Sample) {
        let message = format!("{}: {}", sample.outcome.name(), sample.message);
        if self.messages.len() < MOST_MESSAGES && !self.messages.contains(&message) {
            self.messages.push(message);
        }
    }

    fn count_tokens(&mut self, sample: &Sample) {
        if let Some(count) = sample.prompt_tokens {
            self.prompt_tokens.0 += count as u64;
            self.prompt_tokens.1 += 1;
        }
        if let Some(count) = sample.server_tokens {
            self.server_tokens.0 += count as u64;
            self.server_tokens.1 += 1;
        }
        if let Some(count) = sample.text_tokens {
            self.text_tokens.0 += count as u64;
            self.text_tokens.1 += 1;
        }
        for oddity in &sample.warnings {
            *self.warnings.entry(*oddity).or_default() += 1;
        }
        if let Some((count, by)) = sample.output_tokens {
            self.output_tokens.0 += count as u64;
            self.output_tokens.1 += 1;
            self.counted_by = Some(by);
            self.short += (count < sample.asked_tokens) as u64;
            self.event_is_token.0 += (count == sample.events) as u64;
            self.event_is_token.1 += 1;
        }
    }

    /// What the server says of its phases, and what is left of the time to the first token as transfer.
    fn add_phases(&mut self, sample: &Sample, phases: PhaseTimes) {
        let Some(e2e) = sample.time(LatencyKind::E2e) else { return };
        let (sum, count) = &mut self.phases;
        sum.tokenize_s += phases.tokenize_s;
        sum.queue_s += phases.queue_s;
        sum.prefill_s += phases.prefill_s;
        sum.decode_s += phases.decode_s;
        let known = phases.tokenize_s + phases.queue_s + phases.prefill_s + phases.decode_s;
        sum.transfer_s += (e2e - known).max(0.0);
        *count += 1;
    }

    fn count_terms(&mut self, sample: &Sample, slo: &Slo) {
        self.terms.resize_with(slo.terms.len() + slo.goodput.is_some() as usize, Counted::default);
        let mut count = |index: usize, beyond: Option<bool>| {
            let counted: &mut Counted = &mut self.terms[index];
            let Some(beyond) = beyond else {
                counted.unseen += 1;
                return;
            };
            counted.requests += 1;
            counted.beyond += beyond as u64;
            counted.time_slices.add(CompletedRequest {
                intended_s: sample.intended_s,
                beyond,
                ..CompletedRequest::default()
            });
        };
        let waited = sample.waited_s();
        for (index, term) in slo.terms.iter().enumerate() {
            match (sample.is_ok(), sample.is_cut(), sample.time(term.of)) {
                (true, _, Some(time)) => count(index, Some(time > term.limit_s.0)),
                (true, _, None) if sample.lacks(term.of) => count(index, None),
                // One token has no time per token.
                (true, _, None) => {}
                (false, true, _) if term.of == LatencyKind::Tpot => {}
                (false, true, _) if term.of == LatencyKind::Ttft && sample.first_after_s().is_some() => {
                    count(index, Some(sample.first_after_s() > Some(term.limit_s.0)));
                }
                (false, true, _) if waited > term.limit_s.0 => count(index, Some(true)),
                (false, true, _) => {}
                (false, false, _) => count(index, Some(true)),
            }
        }
        if slo.goodput.is_some() && !sample.is_cut() {
            let kept = sample.is_ok() && slo.is_kept_by(|kind| sample.time(kind));
            let unseen = kept && lacks_a_time(sample, slo);
            count(slo.terms.len(), (!unseen).then_some(!kept));
        }
    }

    /// How each limit fares, and what that makes of the whole; goodput is the last where it is asked for.
    pub fn judged(&self, slo: &Slo) -> (Vec<TermRecord>, Option<StepVerdict>) {
        let mut verdicts = Vec::new();
        let mut records = Vec::new();
        for (index, (counted, allowed)) in self.terms.iter().zip(slo.allowed()).enumerate() {
            let Counted { requests, beyond, unseen, .. } = *counted;
            let inflation = judge::inflation(&counted.time_slices.blocks(judge::BLOCKS));
            let (share_lo, share_hi) = judge::share_interval(beyond, requests, inflation);
            let share = beyond as f64 / (requests as f64).max(1.0);
            verdicts.push(match unseen {
                0 => Some(judge::verdict(share, (share_lo, share_hi), allowed)),
                _ => with_unseen(counted, inflation, allowed),
            });
            records.extend(slo.terms.get(index).map(|term| TermRecord {
                term: *term,
                requests,
                beyond,
                unseen,
                share_lo,
                share_hi,
            }));
        }
        let told = judge::worst(verdicts.iter().flatten().copied());
        // A limit of which it cannot be told is not kept, unless another is broken, which tells enough.
        let all_told = verdicts.iter().all(Option::is_some);
        (records, told.filter(|verdict| all_told || !verdict.holds()))
    }

    /// A limit that is broken already whatever the rest of `planned` requests do.
    pub fn is_lost(&self, slo: &Slo, planned: u64) -> bool {
        self.terms.iter().zip(slo.allowed()).any(|(counted, allowed)| {
            let (lo, _) = judge::share_interval(counted.beyond, counted.requests, 1.0);
            counted.beyond as f64 > allowed * planned as f64 && counted.beyond >= 5 && lo > allowed
        })
    }

    /// Where the time went, in the mean, where servers say so for nearly all requests.
    pub fn phases(&self) -> Option<PhaseTimes> {
        let (sum, count) = self.phases;
        if count == 0 || (count as f64) < 0.95 * self.answered() as f64 {
            return None;
        }
        let each = |sum: f64| sum / count as f64;
        Some(PhaseTimes {
            tokenize_s: each(sum.tokenize_s),
            queue_s: each(sum.queue_s),
            prefill_s: each(sum.prefill_s),
            decode_s: each(sum.decode_s),
            transfer_s: each(sum.transfer_s),
            ..PhaseTimes::default()
        })
    }

    /// Answered to their end.
    pub fn answered(&self) -> u64 {
        self.outcomes.get(RequestOutcome::Ok.name()).copied().unwrap_or(0)
    }

    /// Failed, in whatever way.
    pub fn failed(&self) -> u64 {
        self.requests - self.answered()
    }
}

/// A time that a limit is about could not be seen.
fn lacks_a_time(sample: &Sample, slo: &Slo) -> bool {
    slo.terms.iter().any(|term| sample.lacks(term.of))
}

/// The verdict on a limit of which some requests are not known: that which holds however those were; `None` where there is
/// none.
fn with_unseen(counted: &Counted, inflation: f64, allowed: f64) -> Option<StepVerdict> {
    let all = counted.requests + counted.unseen;
    let of = |beyond: u64| {
        let share = beyond as f64 / (all as f64).max(1.0);
        judge::verdict(share, judge::share_interval(beyond, all, inflation), allowed)
    };
    let (best, worst) = (of(counted.beyond), of(counted.beyond + counted.unseen));
    match (best.holds(), worst.holds()) {
        (_, true) => Some(worst),
        (false, false) => Some(best),
        (true, false) => None,
    }
}
