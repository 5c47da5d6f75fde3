//! Looking for the highest rate under an SLO: the server alone, the search, and a burst above what was found.

use super::LoadRun;
use super::recorder::LoadRecorder;
use crate::engine::target::RequestOutcome;
use crate::job::error::{JobError, failed};
use crate::measure::load::length::Length;
use crate::measure::load::limit::{SearchContext, conclude};
use crate::measure::load::recovery::{self, Recovery};
use crate::measure::load::search::{PlannedStep, Purpose, SearchResult, SearchSettings, expected_s, search};
use crate::measure::load::{End, Load, LoadObserver, Sample, Slo, StepPlan, StepSnapshot};
use crate::record::{LatencyKind, RecoveryRecord, StepRecord};
use crate::units::{RequestsPerSecond, Seconds, digits};
use crate::workload::traffic::{Arrivals, Schedule};
use std::time::{Duration, Instant};

/// Requests of the server alone, before a search.
const ALONE: usize = 12;
/// Requests that warm it up, by the time that the first one took, and the most seconds of that.
const WARM_UP: f64 = 2.0;
const MOST_WARM_UP: f64 = 30.0;
/// Share of the limit that a burst stands on.
const BASE_OF_BURST: f64 = 0.7;
/// Seconds that a recovery is watched for at most.
const MOST_WATCHED: f64 = 900.0;
/// Steps that take longer are announced with their time.
const LONG_STEP: f64 = 5.0;
/// The burst, as a multiple of the limit.
const BURST: f64 = 2.0;
/// A server is at rest when so many requests in a row take no more than so many times that of one alone, and a little.
const AT_REST: usize = 2;
const MOST_AT_REST: f64 = 2.0;
const LITTLE: f64 = 0.01;
/// Seconds and requests that are waited for that.
const MOST_REST: f64 = 120.0;
const MOST_PROBES: usize = 30;
/// The lowest rate that is tried, as a multiple of the rate of one request after the other.
const LEAST_LOAD: f64 = 0.02;
/// Limits that the time of a search is said for, likewise.
const EXPECTED: [f64; 2] = [1.0, 32.0];

impl LoadRun {
    pub(super) fn find_limit(&mut self, first_s: f64) -> Result<(), JobError> {
        let Some(alone) = self.alone(first_s)? else { return Ok(()) };
        known(&self.plan.options.slo, &alone)?;
        let limit = self.plan.options.limit.clone();
        let e2e = alone.e2e_s.mean.unwrap_or(0.0).max(1e-6);
        let length = Length::new(&self.plan.options.slo, &alone, limit.precision, self.plan.options.traffic.requests);
        let how = SearchSettings {
            start: self.plan.options.traffic.rate.unwrap_or(0.5 / e2e),
            precision: length.resolvable(),
            most_steps: limit.max_steps,
            most_rate: limit.max_rate,
            least_rate: LEAST_LOAD / e2e,
        };
        let expected = self.announce(&how, &length, e2e);
        let (begun, mut gone) = (Instant::now(), None);
        let first_step = self.steps;
        let searched = search(&how, &mut |asked| {
            self.rest(&alone);
            let record = self.search_step(asked, &length, begun);
            if self.stop.is_asked() {
                return None;
            }
            gone = self.is_gone(&record);
            gone.is_none().then_some(record)
        });
        self.traffic.notes.push(format!("the search took {}; {expected}", Seconds(begun.elapsed().as_secs_f64())));
        if let Some(why) = gone {
            let target = &self.traffic.target;
            return failed(format!("{target} does not answer any more ({why}): see its log, and run again"));
        }
        let few_places = self.traffic.scheduler.as_ref().is_some_and(|scheduler| scheduler.limited_by_memory);
        let about = SearchContext { how: &how, alone: Some(&alone), few_places, first_step };
        self.traffic.limit = Some(conclude(&searched, &about));
        if !searched.stopped && limit.burst {
            self.rest(&alone);
            self.burst(&searched, e2e);
        }
        Ok(())
    }

    /// One request after the other, behind some that warm the server up; `None` where the user stopped it.
    fn alone(&mut self, first_s: f64) -> Result<Option<StepRecord>, JobError> {
        let one = Load::Closed { users: 1, think: Duration::ZERO };
        self.recorder.note("one request after the other:");
        let warm_up_s = self.plan.options.traffic.warm_up_s.unwrap_or(WARM_UP * first_s).min(MOST_WARM_UP);
        let plan = self.step_plan(one, End { requests: Some(ALONE), seconds: Some(60.0) }, warm_up_s);
        let alone = self.step(&StepPlan { may_end_early: false, ..plan });
        if self.stop.is_asked() {
            return Ok(None);
        }
        if alone.e2e_s.count == 0 {
            return failed(format!("no request was answered: {}", alone.messages.join("; ")));
        }
        Ok(Some(alone))
    }

    /// Says how long it will take, and gives that back for the record.
    fn announce(&mut self, how: &SearchSettings, length: &Length, e2e: f64) -> String {
        let [least, most] = EXPECTED.map(|times| {
            let limit = (times / e2e).min(how.most_rate);
            Seconds(expected_s(how, limit, |asked| length.seconds(asked)))
        });
        let [one, many] = EXPECTED.map(|times| digits(times / e2e));
        let (least, most) = if least.0 <= most.0 { (least, most) } else { (most, least) };
        let expected = format!("{least} to {most} were expected for a limit between {one} and {many} req/s");
        self.recorder
            .note(&format!("looking for the limit: about {least} to {most}, for one between {one} and {many} req/s"));
        let precision = self.plan.options.limit.precision;
        if how.precision > precision {
            let note = format!(
                "limits of this length tell rates within {} % apart in steps of ten minutes, not {} %",
                digits(how.precision * 100.0),
                digits(precision * 100.0)
            );
            self.recorder.note(&note);
            self.traffic.notes.push(note);
        }
        expected
    }

    fn search_step(&mut self, asked: &PlannedStep, length: &Length, begun: Instant) -> StepRecord {
        let warm_up_s = self.plan.options.traffic.warm_up_s.unwrap_or(length.warm_up_s());
        let requests = length.requests(asked);
        // A time that the user gives is that of a step; what is run again for longer takes more of them.
        let own = self.plan.options.traffic.duration_s.map(|seconds| seconds * Length::times(asked));
        let end = End { requests: Some(requests), seconds: own };
        let seconds = warm_up_s + (requests as f64 / asked.rate).min(own.unwrap_or(f64::INFINITY));
        if seconds > LONG_STEP {
            let purpose = match asked.purpose {
                Purpose::Seek | Purpose::Narrow => "",
                Purpose::Again => " once more",
                Purpose::Recheck => " once more and for longer",
                Purpose::Repeat => " again and for longer, to be certain",
            };
            let so_far = Seconds(begun.elapsed().as_secs_f64());
            let rate = digits(asked.rate);
            self.recorder.note(&format!("{rate} req/s{purpose}, about {seconds:.0} s ({so_far} so far):"));
        }
        let load = Load::Open { arrivals: self.plan.options.traffic.arrivals, rate: asked.rate };
        self.step(&self.step_plan(load, end, warm_up_s))
    }

    /// Waits until the server has done with what a step left behind: many go on with requests that nobody waits for any more,
    /// and the next step would be charged with them.
    fn rest(&mut self, alone: &StepRecord) {
        let left_behind = |step: &StepRecord| ["cut", "timeout"].iter().any(|name| step.outcomes.contains_key(*name));
        if !self.traffic.steps.last().is_some_and(left_behind) {
            return;
        }
        let usual = alone.ttft_s.mean.or(alone.e2e_s.mean).unwrap_or(0.0);
        let (begun, mut quick) = (Instant::now(), 0);
        for _ in 0..MOST_PROBES {
            let asked = Instant::now();
            let answer = self.ask_one();
            // What is not answered is for the next step to say.
            if answer.outcome != RequestOutcome::Ok || self.stop.is_asked() {
                return;
            }
            let first = answer.events.first().copied().or(answer.whole).unwrap_or_else(Instant::now);
            let took = first.saturating_duration_since(asked).as_secs_f64();
            quick = if took <= MOST_AT_REST * usual + LITTLE { quick + 1 } else { 0 };
            if quick >= AT_REST {
                return;
            }
            if begun.elapsed().as_secs_f64() > MOST_REST {
                break;
            }
        }
        let waited = Seconds(begun.elapsed().as_secs_f64());
        let note = format!("after a step that broke, the server was not at rest again within {waited}");
        if !self.traffic.notes.contains(&note) {
            self.recorder.note(&note);
            self.traffic.notes.push(note);
        }
    }

    /// What a request alone comes to where most of a step failed: a server that is gone is no limit.
    fn is_gone(&self, step: &StepRecord) -> Option<String> {
        if step.failed() * 2 <= step.requests || self.stop.is_asked() {
            return None;
        }
        let answer = self.ask_one();
        let is_gone = [RequestOutcome::Unreachable, RequestOutcome::Disconnected, RequestOutcome::EngineError];
        is_gone.contains(&answer.outcome).then(|| format!("{}: {}", answer.outcome.name(), answer.message))
    }

    /// A burst at twice the limit, and how long it is felt.
    fn burst(&mut self, searched: &SearchResult, e2e: f64) {
        let Some(limit) = searched.confirmed().map(|ran| ran.planned.rate) else { return };
        let (base, burst) = (limit * BASE_OF_BURST, limit * BURST);
        let burst_s = (5.0 * e2e).clamp(5.0, 20.0);
        let options = &self.plan.options;
        let allowed: Vec<f64> = options.slo.allowed().collect();
        // Two windows and as long again, and several times the burst.
        let most_watched_s = (burst_s * 30.0).max(4.0 * recovery::window(&allowed) as f64 / base);
        if most_watched_s > MOST_WATCHED {
            let note = format!(
                "no burst was sent: at {} req/s more than {MOST_WATCHED:.0} s would have to be watched for so many requests \
                 as the SLO takes",
                digits(base)
            );
            self.traffic.notes.push(note);
            return;
        }
        self.recorder.note(&format!("a burst of {} req/s for {burst_s:.0} s:", digits(burst)));
        let seed = options.seed.wrapping_add(1000 + self.steps as u64);
        let times = burst_times(base, burst, burst_s, most_watched_s, seed);
        let plan = StepPlan {
            step: self.steps,
            load: Load::Open { arrivals: Arrivals::Poisson, rate: base },
            end: End { requests: None, seconds: Some(burst_s + most_watched_s) },
            warm_up_s: 0.0,
            timeout: self.plan.timeout(),
            slo: options.slo.clone(),
            seed: options.seed,
            may_end_early: false,
        };
        let mut recorder = RecoveryWatch {
            recorder: &mut self.recorder,
            slo: &options.slo,
            burst_s,
            recovery: Recovery::new(allowed),
        };
        let record = self.generator.run_at(&plan, times, &mut recorder);
        let recovered_after_s = recorder.recovery.after(burst_s);
        let watched_s = Seconds((record.seconds.0 - burst_s).max(0.0));
        self.steps += 1;
        self.traffic.recovery = Some(RecoveryRecord {
            base_requests_per_s: RequestsPerSecond(base),
            burst_requests_per_s: RequestsPerSecond(burst),
            burst_s: Seconds(burst_s),
            recovered_after_s,
            watched_s,
            moments: record.moments,
        });
    }
}

/// A limit on a time that no request has would hold at every rate.
fn known(slo: &Slo, alone: &StepRecord) -> Result<(), JobError> {
    for term in &slo.terms {
        let (latency, hint) = match term.of {
            LatencyKind::Ttft => (&alone.ttft_s, "answers are not streamed"),
            LatencyKind::Tpot => {
                (&alone.tpot_s, "nobody counts the tokens (--tokenizer does), or answers have but one")
            }
            LatencyKind::E2e => (&alone.e2e_s, "nothing is answered"),
        };
        if latency.count == 0 {
            let noted = alone.answer_notes.join("; ");
            let why = if noted.is_empty() { hint } else { &noted };
            return failed(format!("--slo: no request has a {}: {why}", term.of.label()));
        }
    }
    Ok(())
}

/// Arrival times of a burst and then of a base rate.
fn burst_times(base: f64, burst: f64, burst_s: f64, watched_s: f64, seed: u64) -> Vec<f64> {
    let during = Schedule::new(Arrivals::Poisson, burst, 0.0, seed).take_while(|at| *at < burst_s);
    let after = Schedule::new(Arrivals::Poisson, base, 0.0, seed ^ 1).take_while(|at| *at < watched_s);
    during.chain(after.map(|at| burst_s + at)).collect()
}

/// Watches a burst until the SLO holds again, beside showing it.
struct RecoveryWatch<'a> {
    recorder: &'a mut LoadRecorder,
    slo: &'a Slo,
    burst_s: f64,
    recovery: Recovery,
}

impl LoadObserver for RecoveryWatch<'_> {
    fn live(&mut self, live: &StepSnapshot<'_>) {
        self.recorder.live(live);
    }

    fn reason_to_stop(&self) -> Option<String> {
        self.recorder.reason_to_stop().or_else(|| {
            let is_over = self.recovery.after(self.burst_s).is_some();
            is_over.then(|| "the SLO holds again".to_string())
        })
    }

    fn request_ended(&mut self, sample: &Sample, step: usize) {
        if !sample.is_cut() {
            self.recovery.add(sample, self.slo);
        }
        self.recorder.request_ended(sample, step);
    }
}
