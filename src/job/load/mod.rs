//! Traffic against a server or an engine in process, and the highest rate under an SLO.

mod engine;
mod hints;
mod options;
mod outcome;
mod plan;
mod recorder;
mod search;
mod served;
mod target;

pub use options::{EndpointOptions, LimitOptions, LoadOptions, ModelOptions, TargetOptions, TrafficOptions};
pub use outcome::LoadTest;
pub use plan::Plan;

use super::error::{JobError, failed, usage};
use super::machine::{default_folder, warn_of_threads};
use super::{Context, Reporter, Stop};
use crate::device::cpu;
use crate::engine::target::{Answer, RequestOutcome};
use crate::measure::load::{End, Generator, Load, LocalServer, StepPlan};
use crate::record::{
    CaseRow, PhaseTimes, RequestLog, Run, RunFolder, RunRecord, RunStatus, StepRecord, TrafficRecord, clock,
};
use crate::units::Seconds;
use crate::workload::Quant;
use recorder::LoadRecorder;
use std::time::Instant;
use target::OpenedTarget;

/// Runs the load test that was planned.
pub fn run(plan: Plan, reporter: &dyn Reporter, stop: &Stop) -> Result<LoadTest, JobError> {
    let context = begin(plan.trace.as_deref(), reporter, stop);
    let (options, is_search) = (&plan.options, plan.options.limit.find);
    let opened = match &options.target {
        TargetOptions::InProcess(model) => engine::in_process(model, options.seed, plan.longest, context)?,
        TargetOptions::Endpoint(endpoint) => {
            target::endpoint(endpoint, options.allow_eos, options.traffic.prompts.is_some(), context)?
        }
    };
    let mut test = LoadRun::begin(plan, opened, context)?;
    let outcome = test.carry_out();
    Ok(LoadTest { run: test.end(outcome)?, is_search })
}

/// Serves the model of the plan at an address instead, until it is stopped.
pub fn serve(plan: &Plan, reporter: &dyn Reporter, stop: &Stop) -> Result<(), JobError> {
    let context = begin(plan.trace.as_deref(), reporter, stop);
    match &plan.options.target {
        TargetOptions::InProcess(model) => engine::behind_a_port(model, plan.options.seed, context),
        TargetOptions::Endpoint(_) => usage("--serve is for a model in process"),
    }
}

fn begin<'a>(trace: Option<&str>, reporter: &'a dyn Reporter, stop: &'a Stop) -> Context<'a> {
    stop.heed();
    trace.into_iter().for_each(|trace| reporter.note(trace));
    raise_file_limit();
    Context { reporter, stop }
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
struct LoadRun {
    plan: Plan,
    folder: RunFolder,
    record: RunRecord,
    traffic: TrafficRecord,
    generator: Generator,
    recorder: LoadRecorder,
    stop: Stop,
    model_name: String,
    quant: Quant,
    steps: usize,
}

impl Plan {
    /// What a record says of the traffic before any of it was sent.
    fn traffic_record(&self, opened: &OpenedTarget, repeats_after: Option<usize>) -> TrafficRecord {
        let mut notes = opened.notes.clone();
        notes.extend(self.trace.clone());
        if let Some(count) = repeats_after {
            notes.push(format!(
                "the {count} prompts of the file come again after the last: a cache of prefixes may help"
            ));
        }
        TrafficRecord {
            target: opened.place.clone(),
            api: opened.api.clone(),
            prompts: self.prompts_in_words(),
            prompt_nonce: self.nonce,
            slo: self.options.slo.terms.clone(),
            goodput: self.options.slo.goodput,
            timeout_s: Seconds(self.options.timeout_s),
            steps: Vec::new(),
            limit: None,
            recovery: None,
            scheduler: opened.scheduler.clone(),
            notes,
        }
    }

    /// A record of what was opened.
    fn run_record(&self, opened: &OpenedTarget, context: Context<'_>) -> RunRecord {
        let options = &self.options;
        let mut record = options.machine.new_record(options.seed, self.threads());
        warn_of_threads(&record.environment, context);
        for key in &opened.secrets {
            record.environment.argv.iter_mut().for_each(|word| *word = key.hidden_in_name(word));
        }
        record.engine = opened.engine.clone();
        record.model = opened.model.clone();
        record.arrival = self.load.as_ref().map_or(options.traffic.arrivals.name().to_string(), Load::arrival);
        record.power.reason = Some("energy is not measured under load".to_string());
        let instance = &mut record.environment.instance;
        if !opened.is_here && instance.known_from != "--as" {
            // What this machine is says nothing of the one that serves.
            (instance.provider, instance.instance_type) = (None, None);
        }
        record
    }
}

impl LoadRun {
    fn begin(plan: Plan, opened: OpenedTarget, context: Context<'_>) -> Result<Self, JobError> {
        let local_server = local_server(&opened);
        let prompts = plan.prompts(opened.wording.clone(), opened.vocabulary.clone())?;
        let record = plan.run_record(&opened, context);
        let name = format!("{}-load", opened.model_name);
        let path = plan.options.output.clone().unwrap_or_else(|| default_folder(&record.environment.hostname, &name));
        let traffic = plan.traffic_record(&opened, prompts.repeats_after());
        let generator = Generator::new(opened.target, prompts, cpu::default_threads().clamp(1, 4))?;
        let generator = generator.beside(local_server);
        let folder = RunFolder::create(&path, &record)?;
        let log = RequestLog::create(&path).or_else(|e| failed(format!("{}: {e}", path.display())))?;
        let (model_name, quant) = (opened.model_name, opened.quant);
        context.note(format!("{model_name} at {} ({}), into {}", traffic.target, traffic.api, path.display()));
        let stop = context.stop.clone();
        let recorder = LoadRecorder::new(context.reporter.load(), log, stop.clone());
        Ok(Self { plan, folder, record, traffic, generator, recorder, stop, model_name, quant, steps: 0 })
    }

    /// One request by itself.
    fn ask_one(&self) -> Answer {
        self.generator.ask_one(self.plan.timeout(), || self.stop.is_asked())
    }

    /// One request, so that a server that is not there costs no minutes.
    /// The seconds that it took.
    fn try_one(&mut self) -> Result<f64, JobError> {
        let begun = Instant::now();
        let answer = self.ask_one();
        // A prompt that a filter takes offence at says nothing of the next.
        if matches!(answer.outcome, RequestOutcome::Ok | RequestOutcome::Filtered) {
            return Ok(begun.elapsed().as_secs_f64());
        }
        let (target, message) = (&self.traffic.target, &answer.message);
        let hint = hints::of(message);
        failed(format!("{target}: the first request ended as {}: {message}{hint}", answer.outcome.name()))
    }

    fn carry_out(&mut self) -> Result<(), JobError> {
        let first_s = self.try_one()?;
        match self.plan.load.clone() {
            Some(load) => {
                let plan = self.step_plan(load, self.plan.end, self.plan.warm_up_s);
                self.step(&plan);
                Ok(())
            }
            None => self.find_limit(first_s),
        }
    }

    fn step_plan(&self, load: Load, end: End, warm_up_s: f64) -> StepPlan {
        let options = &self.plan.options;
        StepPlan {
            step: self.steps,
            load,
            end,
            warm_up_s,
            timeout: self.plan.timeout(),
            slo: options.slo.clone(),
            seed: options.seed.wrapping_add(self.steps as u64),
            may_end_early: options.limit.find,
        }
    }

    fn step(&mut self, plan: &StepPlan) -> StepRecord {
        let mut record = self.generator.run(plan, &mut self.recorder);
        if record.phases.is_none() {
            record.phases = from_outside(&record);
            record.phases_from = record.phases.map(|_| "outside".to_string());
        }
        self.steps += 1;
        self.traffic.steps.push(record.clone());
        // What is known so far stands on disk however the rest ends.
        self.record.traffic = Some(self.traffic.clone());
        let _ = self.folder.write_record(&self.record);
        record
    }

    /// Writes down what was found, whether or not all of it came to an end.
    fn end(mut self, outcome: Result<(), JobError>) -> Result<Run, JobError> {
        self.recorder.finish()?;
        self.record.traffic = Some(self.traffic.clone());
        self.record.finished_at = Some(clock::now());
        self.record.status =
            if self.stop.is_asked() || outcome.is_err() { RunStatus::Interrupted } else { RunStatus::Complete };
        let named = (self.model_name.as_str(), self.quant);
        let rows = outcome::cases(&self.plan, &self.record, &self.traffic, named);
        self.folder.append_rows(&Vec::from_iter(rows.into_iter().map(CaseRow::believable)))?;
        self.folder.write_record(&self.record)?;
        outcome?;
        Ok(Run::read(self.folder.path())?)
    }
}

/// What else goes on where the server is, if that is here.
fn local_server(opened: &OpenedTarget) -> Option<LocalServer> {
    if opened.scheduler.is_some() {
        return Some(LocalServer::in_process());
    }
    let address: hyper::Uri = opened.place.parse().ok().filter(|_| opened.is_here)?;
    let usual = if address.scheme_str() == Some("https") { 443 } else { 80 };
    Some(LocalServer::of_port(address.port_u16().unwrap_or(usual)))
}

/// Where the time went as far as it shows from outside: to the first token, and from there to the last.
fn from_outside(step: &StepRecord) -> Option<PhaseTimes> {
    let (first_token_s, e2e) = (step.ttft_s.mean?, step.e2e_s.mean?);
    Some(PhaseTimes { first_token_s, decode_s: (e2e - first_token_s).max(0.0), ..PhaseTimes::default() })
}
