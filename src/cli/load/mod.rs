//! `sizewell load`: traffic against a server or an engine in process, and the highest rate under an SLO.

mod args;
mod engine;
mod find;
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
use crate::engine::backend::threads as candle_threads;
use crate::engine::target::RequestOutcome;
use crate::measure::load::{End, Generator, Load, Neighbours, StepPlan};
use crate::record::{CaseRow, PhaseTimes, RequestLog, Run, RunFolder, RunRecord, RunStatus, StepRecord, TrafficRecord};
use crate::units::Seconds;
use args::Asked;
use std::time::Instant;
use target::Opened;
use view::View;

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
}

impl Test {
    fn begin(args: &Args, asked: Asked, opened: Opened, threads: usize, talk: &Talk) -> anyhow::Result<Self> {
        let neighbours = neighbours(&opened);
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
        let generator = generator.beside(neighbours);
        let folder = RunFolder::create(&path, &record)?;
        let log = RequestLog::create(&path).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))?;
        talk.say(format!("{} at {} ({}), into {}", opened.model_name, traffic.target, traffic.api, path.display()));
        let view = View::new(talk, log);
        let (model_name, quant) = (opened.model_name, opened.quant);
        Ok(Self { asked, folder, record, traffic, generator, view, model_name, quant, steps: 0 })
    }

    /// One request, so that a server that is not there costs no minutes.
    /// The seconds that it took.
    fn try_one(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let answer = self.generator.ask_one(self.asked.timeout, stop_was_asked);
        // A prompt that a filter takes offence at says nothing of the next.
        if matches!(answer.outcome, RequestOutcome::Ok | RequestOutcome::Filtered) {
            return Ok(begun.elapsed().as_secs_f64());
        }
        let (target, message) = (&self.traffic.target, &answer.message);
        let hint = hints::of(message);
        anyhow::bail!("{target}: the first request ended as {}: {message}{hint}", answer.outcome.name())
    }

    fn carry_out(&mut self, args: &Args) -> anyhow::Result<()> {
        let first_s = self.try_one()?;
        match self.asked.load.clone() {
            Some(load) => {
                let plan = self.plan(args, load, self.asked.end, self.asked.warm_up_s);
                self.step(&plan);
                Ok(())
            }
            None => self.find_limit(args, first_s),
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
    fn end(mut self, args: &Args, outcome: anyhow::Result<()>) -> anyhow::Result<Run> {
        self.view.finish()?;
        self.record.traffic = Some(self.traffic.clone());
        self.record.finished_at = Some(crate::record::clock::now());
        self.record.status = match stop_was_asked() || outcome.is_err() {
            true => RunStatus::Interrupted,
            false => RunStatus::Complete,
        };
        let rows = outcome::cases(args, &self.record, &self.traffic, &self.model_name, self.quant);
        self.folder.append_rows(&Vec::from_iter(rows.into_iter().map(CaseRow::believable)))?;
        self.folder.write_record(&self.record)?;
        outcome?;
        Ok(Run::read(self.folder.path())?)
    }
}

/// What else goes on where the server is, if that is here.
fn neighbours(opened: &Opened) -> Option<Neighbours> {
    if opened.scheduler.is_some() {
        return Some(Neighbours::in_process());
    }
    let address: hyper::Uri = opened.place.parse().ok().filter(|_| opened.is_here)?;
    let usual = if address.scheme_str() == Some("https") { 443 } else { 80 };
    Some(Neighbours::of_port(address.port_u16().unwrap_or(usual)))
}

/// Where the time went as far as it shows from outside: to the first token, and from there to the last.
fn from_outside(step: &StepRecord) -> Option<PhaseTimes> {
    let (first_token_s, e2e) = (step.ttft_s.mean?, step.e2e_s.mean?);
    Some(PhaseTimes { first_token_s, decode_s: (e2e - first_token_s).max(0.0), ..PhaseTimes::default() })
}
