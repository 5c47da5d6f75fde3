//! Sending the requests of a step at their times and taking what comes back.
//!
//! Three threads and a runtime: one makes requests ahead of their time, one waits for each time and hands its request over,
//! the runtime talks to the server, and the caller adds up. What is late in the second is the send lag; nothing that a
//! server does can put a request off.

use super::interference::{Interference, InterferenceMonitor, LocalServer};
use super::pace::{wait_until, wake_in_time};
use super::sample::{RequestTiming, Sample};
use super::saturation::Backlog;
use super::step::{Load, StepOutcome, StepPlan, record};
use super::tally::Tally;
use crate::engine::target::{Answer, FirstToken, RequestOutcome, Target};
use crate::record::{CutShort, StepRecord, StepVerdict};
use crate::workload::traffic::{Arrivals, PlannedRequest, Prompt, PromptSource, Schedule};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How often the caller looks up from adding.
const TICK: Duration = Duration::from_millis(100);
/// The same while the backlog is looked at: as often as it is noted.
const GLANCE: Duration = Duration::from_millis(25);
/// Requests that are made ahead of their time.
const AHEAD: usize = 512;

/// A step as it stands, for a screen.
#[derive(Debug, Clone)]
pub struct StepSnapshot<'a> {
    /// The step.
    pub plan: &'a StepPlan,
    /// Seconds since it began.
    pub elapsed_s: f64,
    /// What has come so far, of the measured requests.
    pub tally: &'a Tally,
    /// Requests in flight.
    pub in_flight: u64,
    /// Requests that have been sent.
    pub sent: u64,
}

/// Is told how a load test goes, and asked whether to go on.
pub trait LoadObserver {
    /// A step as it stands.
    fn live(&mut self, _live: &StepSnapshot<'_>) {}
    /// A step is over.
    fn step_ended(&mut self, _record: &StepRecord) {}
    /// Why the step should end now, where it should.
    fn reason_to_stop(&self) -> Option<String> {
        None
    }
    /// A request of a step is over.
    fn request_ended(&mut self, _sample: &Sample, _step: usize) {}
}

/// Sends requests to a target.
pub struct Generator {
    runtime: Runtime,
    target: Arc<dyn Target>,
    prompts: Arc<Mutex<PromptSource>>,
    local_server: Option<LocalServer>,
}

/// What the threads of a step share.
struct Shared {
    begin: Instant,
    stop: AtomicBool,
    /// The pacer has handed over its last request.
    all_sent: AtomicBool,
    sent: AtomicU64,
    in_flight: AtomicU64,
    /// When the last request was due, in microseconds from the start.
    last_due_us: AtomicU64,
}

impl Shared {
    fn seconds(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.begin).as_secs_f64()
    }
}

/// When requests are due, with the lengths that a trace gives them.
type DueTimes = Box<dyn Iterator<Item = (f64, Option<(usize, usize)>)> + Send>;

/// A request with whether it warms up.
type Due = (PlannedRequest, bool);

impl Generator {
    /// A generator with so many threads to talk to the target.
    pub fn new(target: Arc<dyn Target>, prompts: PromptSource, threads: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.max(1))
            .thread_name("sizewell-load")
            .enable_all()
            .build()?;
        Ok(Self { runtime, target, prompts: Arc::new(Mutex::new(prompts)), local_server: None })
    }

    /// Watches what else goes on on this machine, where the server is here.
    pub fn beside(self, local_server: Option<LocalServer>) -> Self {
        Self { local_server, ..self }
    }

    /// Sends one request now and waits for what comes of it, or until `should_stop`.
    pub fn ask_one(&self, timeout: Duration, should_stop: impl Fn() -> bool) -> Answer {
        let (prompt, prompt_tokens, gen_tokens) = self.prompt(None);
        let planned = PlannedRequest { index: 0, intended_s: 0.0, prompt, prompt_tokens, gen_tokens };
        self.runtime.block_on(async {
            let asked = self.target.ask(planned, Arc::default());
            let stopped = async {
                while !should_stop() {
                    tokio::time::sleep(TICK).await;
                }
            };
            tokio::select! {
                answer = asked => answer,
                () = stopped => Answer::failed(RequestOutcome::Cut, "stopped by the user"),
                () = tokio::time::sleep(timeout) => Answer::failed(RequestOutcome::Timeout, "no whole answer in time"),
            }
        })
    }

    fn prompt(&self, lengths: Option<(usize, usize)>) -> (Prompt, Option<usize>, usize) {
        // A thread that panicked while it held the prompts has left them whole.
        self.prompts.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next(lengths)
    }

    /// Runs a step to its end.
    pub fn run(&self, plan: &StepPlan, observer: &mut dyn LoadObserver) -> StepRecord {
        self.run_with(plan, due_times(plan), observer)
    }

    /// Runs a step whose requests are due at these times, in seconds from its start, rather than at those of its load.
    pub fn run_at(&self, plan: &StepPlan, times: Vec<f64>, observer: &mut dyn LoadObserver) -> StepRecord {
        self.run_with(plan, Box::new(times.into_iter().map(|at| (at, None))), observer)
    }

    fn run_with(&self, plan: &StepPlan, times: DueTimes, observer: &mut dyn LoadObserver) -> StepRecord {
        let (done, finished) = channel();
        let (cut, is_cut) = watch::channel(false);
        let shared = Arc::new(Shared {
            // What is made ahead gets a moment to be made.
            begin: Instant::now() + Duration::from_millis(20),
            stop: AtomicBool::new(false),
            all_sent: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            last_due_us: AtomicU64::new(0),
        });
        let sender = RequestSender { shared: shared.clone(), done, is_cut, timeout: plan.timeout };
        let (tally, outcome) = std::thread::scope(|scope| {
            match plan.load {
                Load::Closed { users, think } => {
                    let (make, prompts) = tokio::sync::mpsc::channel(AHEAD);
                    scope.spawn(|| self.make_for_users(make));
                    self.start_users(plan, users, think, prompts, sender);
                }
                _ => {
                    let (make, due) = sync_channel(AHEAD);
                    scope.spawn(|| self.make(plan, &shared, times, make));
                    scope.spawn(|| self.send(due, sender));
                }
            }
            let watch = self.local_server.as_ref().map(LocalServer::watch);
            let collected = collect(plan, &shared, (&finished, &cut), watch, observer);
            shared.stop.store(true, Ordering::Relaxed);
            collected
        });
        let record = record(plan, &tally, outcome);
        observer.step_ended(&record);
        record
    }

    /// Makes requests in the order of their times, until the step has as many as it needs.
    fn make(&self, plan: &StepPlan, shared: &Shared, times: DueTimes, make: SyncSender<Due>) {
        let mut measured = 0;
        for (index, (intended_s, lengths)) in times.enumerate() {
            let warm_up = intended_s < plan.warm_up_s;
            let over = plan.end.requests.is_some_and(|most| measured >= most)
                || plan.end.seconds.is_some_and(|most| intended_s >= plan.warm_up_s + most);
            if over || shared.stop.load(Ordering::Relaxed) {
                return;
            }
            measured += !warm_up as usize;
            let (prompt, prompt_tokens, gen_tokens) = self.prompt(lengths);
            let planned = PlannedRequest { index, intended_s, prompt, prompt_tokens, gen_tokens };
            if make.send((planned, warm_up)).is_err() {
                return;
            }
        }
    }

    /// Hands each request over at its time.
    fn send(&self, due: Receiver<Due>, sender: RequestSender) {
        wake_in_time();
        let shared = sender.shared.clone();
        for (planned, warm_up) in due {
            let moment = shared.begin + Duration::from_secs_f64(planned.intended_s);
            if !wait_until(moment, &shared.stop) {
                break;
            }
            shared.last_due_us.store((planned.intended_s * 1e6) as u64, Ordering::Relaxed);
            shared.sent.fetch_add(1, Ordering::Relaxed);
            shared.in_flight.fetch_add(1, Ordering::Relaxed);
            self.runtime.spawn(sender.clone().ask(self.target.clone(), planned, warm_up, moment));
        }
        shared.all_sent.store(true, Ordering::Release);
    }

    /// Makes prompts for users until nobody takes them any more.
    fn make_for_users(&self, make: tokio::sync::mpsc::Sender<(Prompt, Option<usize>, usize)>) {
        while make.blocking_send(self.prompt(None)).is_ok() {}
    }

    /// Users who ask one after the other until the step is over. Their prompts are made elsewhere and ahead, so that making
    /// them is not charged to the server.
    fn start_users(
        &self,
        plan: &StepPlan,
        users: usize,
        think: Duration,
        prompts: PromptReceiver,
        sender: RequestSender,
    ) {
        let common = Arc::new(UserContext {
            measured: AtomicU64::new(0),
            index: AtomicU64::new(0),
            going: AtomicU64::new(users as u64),
            prompts: tokio::sync::Mutex::new(prompts),
        });
        for _ in 0..users {
            let user = User {
                plan: plan.clone(),
                think,
                sender: sender.clone(),
                target: self.target.clone(),
                common: common.clone(),
            };
            self.runtime.spawn(user.ask_on());
        }
    }
}

/// The channel that users take their prompts from.
type PromptReceiver = tokio::sync::mpsc::Receiver<(Prompt, Option<usize>, usize)>;

/// What all users share.
struct UserContext {
    measured: AtomicU64,
    index: AtomicU64,
    going: AtomicU64,
    prompts: tokio::sync::Mutex<PromptReceiver>,
}

/// A user of a closed loop.
struct User {
    plan: StepPlan,
    think: Duration,
    sender: RequestSender,
    target: Arc<dyn Target>,
    common: Arc<UserContext>,
}

impl User {
    async fn ask_on(mut self) {
        let shared = self.sender.shared.clone();
        tokio::time::sleep_until(tokio::time::Instant::from_std(shared.begin)).await;
        let end = self.plan.end.seconds.map(|most| self.plan.warm_up_s + most);
        while !shared.stop.load(Ordering::Relaxed) {
            let Some((prompt, prompt_tokens, gen_tokens)) = self.common.prompts.lock().await.recv().await else {
                break;
            };
            let now = Instant::now();
            let intended_s = shared.seconds(now);
            let warm_up = intended_s < self.plan.warm_up_s;
            let place = if warm_up { 0 } else { self.common.measured.fetch_add(1, Ordering::Relaxed) };
            let enough = self.plan.end.requests.is_some_and(|most| place >= most as u64);
            if enough || end.is_some_and(|end| intended_s >= end) {
                break;
            }
            let index = self.common.index.fetch_add(1, Ordering::Relaxed) as usize;
            let planned = PlannedRequest { index, intended_s, prompt, prompt_tokens, gen_tokens };
            shared.last_due_us.fetch_max((intended_s * 1e6) as u64, Ordering::Relaxed);
            shared.sent.fetch_add(1, Ordering::Relaxed);
            shared.in_flight.fetch_add(1, Ordering::Relaxed);
            self.sender.clone().ask(self.target.clone(), planned, warm_up, now).await;
            if !self.thinks(end).await {
                break;
            }
        }
        if self.common.going.fetch_sub(1, Ordering::AcqRel) == 1 {
            shared.all_sent.store(true, Ordering::Release);
        }
    }

    /// Thinks; `false` where the step is over before that.
    async fn thinks(&mut self, end: Option<f64>) -> bool {
        if self.think.is_zero() {
            return true;
        }
        let shared = self.sender.shared.clone();
        let left =
            end.map_or(Duration::MAX, |end| Duration::from_secs_f64((end - shared.seconds(Instant::now())).max(0.0)));
        tokio::select! {
            () = tokio::time::sleep(self.think.min(left)) => left > self.think,
            _ = self.sender.is_cut.wait_for(|cut| *cut) => false,
        }
    }
}

/// Sends requests, and hands their samples to the thread that counts them.
#[derive(Clone)]
struct RequestSender {
    shared: Arc<Shared>,
    done: Sender<Sample>,
    is_cut: watch::Receiver<bool>,
    timeout: Duration,
}

impl RequestSender {
    /// Sends a request that was due at `moment` and hands its sample over.
    async fn ask(mut self, target: Arc<dyn Target>, planned: PlannedRequest, warm_up: bool, moment: Instant) {
        let begun = Instant::now();
        let (index, intended_s) = (planned.index, planned.intended_s);
        let (prompt_tokens, asked_tokens) = (planned.prompt_tokens, planned.gen_tokens);
        let deadline = tokio::time::Instant::from_std(moment + self.timeout);
        let first = Arc::new(FirstToken::default());
        let mut answer = tokio::select! {
            biased;
            answer = target.ask(planned, first.clone()) => answer,
            _ = tokio::time::sleep_until(deadline) => Answer::failed(RequestOutcome::Timeout, "no whole answer in time"),
            _ = self.is_cut.wait_for(|cut| *cut) => Answer::failed(RequestOutcome::Cut, ""),
        };
        if answer.events.is_empty() {
            answer.events.extend(first.at());
        }
        let asked = RequestTiming {
            index,
            warm_up,
            intended_s,
            sent_s: self.shared.seconds(begun),
            ended_s: self.shared.seconds(Instant::now()),
            prompt_tokens,
            asked_tokens,
        };
        let sample = Sample::new(asked, answer, |at| self.shared.seconds(at));
        self.shared.in_flight.fetch_sub(1, Ordering::Relaxed);
        // The caller waits for every request that was sent.
        let _ = self.done.send(sample);
    }
}

/// The times of a step's requests, warm-up first, with the lengths that a trace gives them.
fn due_times(plan: &StepPlan) -> DueTimes {
    let warm = plan.warm_up_s;
    match &plan.load {
        Load::Open { arrivals: arrivals @ Arrivals::Ramp { from }, rate } => {
            let seconds = plan.end.seconds.unwrap_or(60.0);
            let before = Schedule::new(Arrivals::Poisson, *from, warm, plan.seed ^ 1).take_while(move |at| *at < warm);
            let ramp = Schedule::new(*arrivals, *rate, seconds, plan.seed).map(move |at| warm + at);
            Box::new(before.chain(ramp).map(|at| (at, None)))
        }
        Load::Open { arrivals, rate } => Box::new(Schedule::new(*arrivals, *rate, 0.0, plan.seed).map(|at| (at, None))),
        Load::Trace { trace, speed } => {
            let (trace, speed) = (trace.clone(), *speed);
            Box::new((0..trace.requests.len()).map(move |index| {
                let request = trace.requests[index];
                (request.at_s / speed, Some((request.prompt_tokens, request.gen_tokens)))
            }))
        }
        Load::Closed { .. } => Box::new(std::iter::empty()),
    }
}

/// Adds up what comes until nothing more can come.
fn collect(
    plan: &StepPlan,
    shared: &Shared,
    (finished, cut): (&Receiver<Sample>, &watch::Sender<bool>),
    mut local_server: Option<InterferenceMonitor<'_>>,
    observer: &mut dyn LoadObserver,
) -> (Tally, StepOutcome) {
    let mut tally = Tally::default();
    let mut outcome = StepOutcome { warm_up_s: plan.warm_up_s, ..StepOutcome::default() };
    let mut backlog = Backlog::default();
    let (mut taken, mut shown) = (0u64, Instant::now());
    loop {
        match finished.recv_timeout(GLANCE) {
            Ok(sample) => {
                taken += 1;
                let end = plan.end.seconds.map_or(f64::INFINITY, |seconds| plan.warm_up_s + seconds);
                outcome.count(&sample, end);
                tally.add(&sample, &plan.slo);
                observer.request_ended(&sample, plan.step);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = Instant::now();
        let elapsed = shared.seconds(now);
        let in_flight = shared.in_flight.load(Ordering::Relaxed);
        outcome.most_in_flight = outcome.most_in_flight.max(in_flight);
        let all_sent = shared.all_sent.load(Ordering::Acquire);
        if elapsed >= plan.warm_up_s && !all_sent {
            tally.time_slices.in_flight(elapsed, in_flight);
            backlog.look(elapsed, in_flight, shared.sent.load(Ordering::Relaxed));
            local_server.iter_mut().for_each(|watch| watch.look(elapsed));
        }
        if all_sent && taken >= shared.sent.load(Ordering::Relaxed) {
            break;
        }
        if now.duration_since(shown) >= TICK {
            shown = now;
            let sent = shared.sent.load(Ordering::Relaxed);
            observer.live(&StepSnapshot { plan, elapsed_s: elapsed, tally: &tally, in_flight, sent });
            let asked = observer.reason_to_stop().map(CutShort::Other);
            let reason = asked.or_else(|| reason_to_end(plan, &tally, &backlog, all_sent));
            if let (Some(reason), None) = (reason, &outcome.cut_short) {
                outcome.cut_short = Some(reason);
                shared.stop.store(true, Ordering::Relaxed);
                let _ = cut.send(true);
            }
        }
    }
    outcome.backlog_growth = growth(plan, &tally, &backlog);
    outcome.interference = local_server.map_or_else(Interference::default, InterferenceMonitor::end);
    let last_due = shared.last_due_us.load(Ordering::Relaxed) as f64 / 1e6;
    set_times(&mut outcome, plan, &tally, last_due);
    (tally, outcome)
}

/// The times that what was counted is over.
fn set_times(outcome: &mut StepOutcome, plan: &StepPlan, tally: &Tally, last_due: f64) {
    let by_count = plan.end.requests.is_some_and(|most| tally.requests >= most as u64);
    let planned = plan.end.seconds.filter(|_| outcome.cut_short.is_none() && !by_count);
    let since_warm = |end: f64| (end - plan.warm_up_s).max(1e-3);
    // Of a single request, the time that it took.
    let least = if tally.requests < 2 { tally.last_answer_s } else { 0.0 };
    outcome.seconds = planned.unwrap_or(since_warm(last_due.max(least)));
    // Within a time of arrivals as many are answered as come, once the first have been; before that, and where a number of
    // requests is measured, all answers count until the last.
    let settled = tally.e2e.so_far(0.5).is_some_and(|e2e| plan.warm_up_s >= e2e);
    outcome.answer_seconds = match planned.filter(|_| settled) {
        Some(seconds) => seconds,
        None => {
            outcome.within = (tally.answered(), tally.output_tokens.0);
            since_warm(last_due.max(tally.last_answer_s))
        }
    };
    if !plan.load.is_open() {
        outcome.seconds = outcome.answer_seconds;
    }
}

/// Why a step need not go on.
fn reason_to_end(plan: &StepPlan, tally: &Tally, backlog: &Backlog, all_sent: bool) -> Option<CutShort> {
    if !plan.may_end_early || plan.slo.is_empty() {
        return None;
    }
    let planned = plan.end.requests.map_or(u64::MAX, |requests| requests as u64);
    if tally.is_lost(&plan.slo, planned) {
        return Some(CutShort::Other("the SLO is broken whatever the remaining requests do".to_string()));
    }
    // A backlog that grows is still no verdict: some requests have to be beyond a limit.
    let (_, verdict) = tally.judged(&plan.slo);
    let breaks = verdict.is_some_and(|verdict| verdict == StepVerdict::Breaks);
    if !breaks || all_sent {
        return None;
    }
    let growth = growth(plan, tally, backlog)?;
    Some(CutShort::OverSaturated(crate::units::digits(growth)))
}

/// Requests that the backlog grows by each second. It grows until the first answers are there, and with a rate that rises: only
/// what comes after twice the time of a request at an even rate is looked at.
fn growth(plan: &StepPlan, tally: &Tally, backlog: &Backlog) -> Option<f64> {
    let even = matches!(&plan.load, Load::Open { arrivals, .. } if !matches!(arrivals, Arrivals::Ramp { .. }));
    let filled = 2.0 * tally.e2e.fastest()?;
    backlog.growth(filled.max(plan.warm_up_s)).filter(|_| even)
}
