//! `sizewell load`: traffic against a server or an engine in process, and the highest rate under an SLO.

mod args;
mod engine;
mod hints;
mod outcome;
mod served;
mod target;
mod view;

pub use args::Args;

use super::Exit;
use super::setup::{default_folder, new_record, warn_of_threads};
use super::stop::{stop_on_signal, stop_was_asked};
use super::talk::Talk;
use crate::device::cpu;
use crate::engine::candle::threads as candle_threads;
use crate::engine::target::RequestOutcome;
use crate::measure::load::limit::{self, Search, Searched};
use crate::measure::load::recovery::{self, Recovery};
use crate::measure::load::{End, Generator, Live, Load, LoadObserver, Sample, Slo, StepPlan};
use crate::record::{
    LatencyKind, PhaseTimes, RecoveryRecord, RequestLog, Run, RunFolder, RunRecord, RunStatus, StepRecord,
    TrafficRecord,
};
use crate::units::{RequestsPerSecond, Seconds, digits};
use crate::workload::traffic::{Arrivals, Schedule};
use args::Asked;
use std::time::Duration;
use target::Opened;
use view::View;

/// Requests of the server alone, before a search.
const ALONE: usize = 12;
/// A percentile of a step is looked at with so many requests beyond it, were it just kept.
const BEYOND_AT_LIMIT: f64 = 10.0;
/// Share of the limit that a burst stands on.
const BASE_OF_BURST: f64 = 0.7;
/// Seconds that a recovery is watched for at most.
const MOST_WATCHED: f64 = 900.0;
/// Steps that take longer are announced with their time.
const LONG_STEP: f64 = 30.0;
/// The burst, as a multiple of the limit.
const BURST: f64 = 2.0;

/// Runs the load test.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let args = args.with_body()?;
    let asked = args.asked()?;
    if let Some(trace) = &asked.trace {
        talk.say(trace);
    }
    let threads = args.target.threads.unwrap_or_else(cpu::default_threads);
    // SAFETY: nothing has started a thread yet, and candle has not run.
    unsafe { candle_threads::configure(threads, None) };
    raise_file_limit();
    stop_on_signal();
    if let Some(address) = &args.target.serve {
        return engine::behind_a_port(&args, &asked, threads, address, talk);
    }
    let opened = match args.target.in_process() {
        true => engine::in_process(&args, &asked, threads, talk)?,
        false => target::endpoint(&args, &asked, talk)?,
    };
    let mut test = Test::begin(&args, asked, opened, threads, talk)?;
    let outcome = test.carry_out(&args);
    let run = test.end(&args, outcome)?;
    let exit = outcome::show(&args, &run, talk)?;
    // What it says holds for what there is of it.
    Ok(if stop_was_asked() { Exit::Interrupted } else { exit })
}

/// Sockets are files: as many as the system allows.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is not allowed, requests that find no file say so.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// A load test under way.
struct Test {
    asked: Asked,
    folder: RunFolder,
    record: RunRecord,
    traffic: TrafficRecord,
    generator: Generator,
    view: View,
    model_name: String,
    quant: crate::workload::Quant,
    steps: usize,
    /// Mean time to the first token of a request alone.
    alone: Option<f64>,
}

impl Test {
    fn begin(args: &Args, asked: Asked, opened: Opened, threads: usize, talk: &Talk) -> anyhow::Result<Self> {
        let mut record = new_record(&args.measure_args(), threads);
        warn_of_threads(&record.environment, talk);
        for key in &opened.secrets {
            record.environment.argv.iter_mut().for_each(|word| *word = key.hidden_in_name(word));
        }
        record.engine = opened.engine;
        record.model = opened.model;
        record.arrival = asked.load.as_ref().map_or(args.traffic.arrivals.name().to_string(), Load::arrival);
        record.power.reason = Some("energy is not measured under load".to_string());
        if !opened.is_here {
            // What this machine is says nothing of the one that serves.
            let environment = &mut record.environment;
            if environment.instance.known_from != "--as" {
                environment.instance.provider = None;
                environment.instance.instance_type = None;
            }
        }
        let path = args
            .output
            .clone()
            .unwrap_or_else(|| default_folder(&record.environment.hostname, &format!("{}-load", opened.model_name)));
        let mut traffic = TrafficRecord {
            target: opened.place,
            api: opened.api,
            prompts: args.prompts_in_words(),
            prompt_nonce: asked.nonce,
            slo: args.slo.terms.clone(),
            goodput: args.slo.goodput,
            timeout_s: Seconds(asked.timeout.as_secs_f64()),
            steps: Vec::new(),
            limit: None,
            recovery: None,
            scheduler: opened.scheduler,
            notes: opened.notes,
        };
        traffic.notes.extend(asked.trace.clone());
        if let Some(count) = opened.prompts.repeats_after() {
            traffic.notes.push(format!(
                "the {count} prompts of the file come again after the last: a cache of prefixes may help"
            ));
        }
        let generator = Generator::new(opened.target, opened.prompts, cpu::default_threads().clamp(1, 4))?;
        let folder = RunFolder::create(&path, &record)?;
        let log = RequestLog::create(&path).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
        talk.say(format!("{} at {} ({}), into {}", opened.model_name, traffic.target, traffic.api, path.display()));
        let view = View::new(talk, log);
        let (model_name, quant) = (opened.model_name, opened.quant);
        Ok(Self { asked, folder, record, traffic, generator, view, model_name, quant, steps: 0, alone: None })
    }

    /// One request, so that a server that is not there costs no minutes.
    fn try_one(&mut self) -> anyhow::Result<()> {
        let answer = self.generator.ask_one(self.asked.timeout, stop_was_asked);
        // A prompt that a filter takes offence at says nothing of the next.
        if matches!(answer.outcome, RequestOutcome::Ok | RequestOutcome::Filtered) {
            return Ok(());
        }
        let (target, message) = (&self.traffic.target, &answer.message);
        let hint = hints::of(message);
        anyhow::bail!("{target}: the first request ended as {}: {message}{hint}", answer.outcome.name())
    }

    fn carry_out(&mut self, args: &Args) -> anyhow::Result<()> {
        self.try_one()?;
        match self.asked.load.clone() {
            Some(load) => {
                let plan = self.plan(args, load, self.asked.end, self.asked.warm_up_s);
                self.step(&plan);
                Ok(())
            }
            None => self.find_limit(args),
        }
    }

    fn plan(&self, args: &Args, load: Load, end: End, warm_up_s: f64) -> StepPlan {
        StepPlan {
            step: self.steps,
            load,
            end,
            warm_up_s,
            timeout: self.asked.timeout,
            slo: args.slo.clone(),
            seed: args.seed.wrapping_add(self.steps as u64),
            may_end_early: args.limit.find_limit,
        }
    }

    fn step(&mut self, plan: &StepPlan) -> StepRecord {
        let mut record = self.generator.run(plan, &mut self.view);
        if let (None, Some(alone)) = (&record.phases, self.alone) {
            (record.phases, record.phases_from) = (inferred(&record, alone), Some("inferred".to_string()));
        }
        self.steps += 1;
        self.traffic.steps.push(record.clone());
        // What is known so far stands on disk however the rest ends.
        self.record.traffic = Some(self.traffic.clone());
        let _ = self.folder.write_record(&self.record);
        record
    }

    fn find_limit(&mut self, args: &Args) -> anyhow::Result<()> {
        let one = Load::Closed { users: 1, think: Duration::ZERO };
        self.view.say("one request after the other:");
        let alone = self.plan(args, one, End { requests: Some(ALONE), seconds: Some(60.0) }, 0.0);
        let alone = self.step(&StepPlan { may_end_early: false, ..alone });
        if stop_was_asked() {
            return Ok(());
        }
        let Some(e2e) = alone.e2e_s.mean.filter(|_| alone.e2e_s.count > 0) else {
            anyhow::bail!("no request was answered: {}", alone.messages.join("; "));
        };
        known(&args.slo, &alone)?;
        self.alone = alone.ttft_s.mean.filter(|_| alone.phases.is_none());
        let start = args.traffic.rate.unwrap_or(0.5 / e2e);
        let how = Search {
            start,
            precision: self.asked.precision,
            most_steps: args.limit.max_steps,
            most_rate: args.limit.max_rate,
        };
        let searched = limit::search(&how, &mut |rate| {
            let (end, warm_up_s) = self.length(args, rate, e2e);
            let load = Load::Open { arrivals: args.traffic.arrivals, rate };
            let seconds = warm_up_s + end.requests.map_or(0.0, |requests| requests as f64 / rate);
            if seconds > LONG_STEP {
                self.view.say(&format!("{} req/s, about {seconds:.0} s:", digits(rate)));
            }
            let record = self.step(&self.plan(args, load, end, warm_up_s));
            (!stop_was_asked()).then_some(record)
        });
        let few_places = self.traffic.scheduler.as_ref().is_some_and(|scheduler| scheduler.limited_by_memory);
        self.traffic.limit = Some(limit::conclude(&searched, Some(&alone), few_places));
        if !searched.stopped && !args.limit.no_burst {
            self.burst(args, &searched, e2e);
        }
        Ok(())
    }

    /// How long a step at `rate` has to be: enough requests for every percentile that is promised, and several times the
    /// time of one, as a queue has to fill first.
    fn length(&self, args: &Args, rate: f64, e2e: f64) -> (End, f64) {
        let for_tail = (BEYOND_AT_LIMIT / args.slo.least_allowed().max(1e-4)).ceil() as usize;
        let needed = for_tail.max(args.slo.requests_needed()).max(50);
        let for_time = (rate * (10.0 * e2e).clamp(2.0, 60.0)).ceil() as usize;
        let requests = args.traffic.requests.unwrap_or(needed.max(for_time));
        let warm_up_s = self.asked.own_warm_up.unwrap_or((3.0 * e2e).clamp(0.5, 60.0));
        let seconds = args.traffic.duration.as_ref().and(self.asked.end.seconds);
        (End { requests: Some(requests), seconds }, warm_up_s)
    }

    /// A burst at twice the limit, and how long it is felt.
    fn burst(&mut self, args: &Args, searched: &Searched, e2e: f64) {
        let Some(limit) = searched.bracket().0.map(|step| step.offered_requests_per_s.0) else { return };
        let (base, burst) = (limit * BASE_OF_BURST, limit * BURST);
        let burst_s = (5.0 * e2e).clamp(5.0, 20.0);
        let allowed: Vec<f64> = args.slo.allowed().collect();
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
        self.view.say(&format!("a burst of {} req/s for {burst_s:.0} s:", digits(burst)));
        let mut felt = Felt { view: &mut self.view, args, burst_s, recovery: Recovery::new(allowed) };
        let times = burst_times(base, burst, burst_s, most_watched_s, args.seed.wrapping_add(1000 + self.steps as u64));
        let plan = StepPlan {
            step: self.steps,
            load: Load::Open { arrivals: Arrivals::Poisson, rate: base },
            end: End { requests: None, seconds: Some(burst_s + most_watched_s) },
            warm_up_s: 0.0,
            timeout: self.asked.timeout,
            slo: args.slo.clone(),
            seed: args.seed,
            may_end_early: false,
        };
        let record = self.generator.run_at(&plan, times, &mut felt);
        let recovered_after_s = felt.recovery.after(burst_s);
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

    /// Writes down what was found, whether or not all of it came to an end.
    fn end(mut self, args: &Args, outcome: anyhow::Result<()>) -> anyhow::Result<Run> {
        self.view.finish()?;
        self.record.traffic = Some(self.traffic.clone());
        self.record.finished_at = Some(crate::record::clock::now());
        self.record.status = match stop_was_asked() || outcome.is_err() {
            true => RunStatus::Interrupted,
            false => RunStatus::Complete,
        };
        let rows = outcome::cases(args, &self.record, &self.traffic, &self.model_name, self.quant);
        self.folder.append_rows(&rows)?;
        self.folder.write_record(&self.record)?;
        outcome?;
        Ok(Run::read(self.folder.path())?)
    }
}

/// A limit on a time that no request has would hold at every rate.
fn known(slo: &Slo, alone: &StepRecord) -> anyhow::Result<()> {
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
            anyhow::bail!("--slo: no request has a {}: {why}", term.of.label());
        }
    }
    Ok(())
}

/// Where the time went as far as it shows from outside: what the first token takes longer than alone was spent waiting.
fn inferred(step: &StepRecord, alone: f64) -> Option<PhaseTimes> {
    let (ttft, e2e) = (step.ttft_s.mean?, step.e2e_s.mean?);
    let prefill_s = alone.min(ttft);
    Some(PhaseTimes { prefill_s, queue_s: ttft - prefill_s, decode_s: (e2e - ttft).max(0.0), ..PhaseTimes::default() })
}

/// Arrival times of a burst and then of a base rate.
fn burst_times(base: f64, burst: f64, burst_s: f64, watched_s: f64, seed: u64) -> Vec<f64> {
    let during = Schedule::new(Arrivals::Poisson, burst, 0.0, seed).take_while(|at| *at < burst_s);
    let after = Schedule::new(Arrivals::Poisson, base, 0.0, seed ^ 1).take_while(|at| *at < watched_s);
    during.chain(after.map(|at| burst_s + at)).collect()
}

/// Watches a burst until the SLO holds again, beside showing it.
struct Felt<'a> {
    view: &'a mut View,
    args: &'a Args,
    burst_s: f64,
    recovery: Recovery,
}

impl LoadObserver for Felt<'_> {
    fn live(&mut self, live: &Live<'_>) {
        self.view.live(live);
    }

    fn reason_to_stop(&self) -> Option<String> {
        self.view.reason_to_stop().or_else(|| {
            let is_over = self.recovery.after(self.burst_s).is_some();
            is_over.then(|| "the SLO holds again".to_string())
        })
    }

    fn request_ended(&mut self, sample: &Sample, step: usize) {
        if !sample.is_cut() {
            self.recovery.add(sample, &self.args.slo);
        }
        self.view.request_ended(sample, step);
    }
}
