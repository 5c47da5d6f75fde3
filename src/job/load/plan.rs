//! What a load test comes to: its options checked, its trace read.

use super::options::{LoadOptions, ModelOptions, TargetOptions, TrafficOptions};
use crate::device::cpu;
use crate::engine::endpoint::{Patch, TOKENS};
use crate::job::error::{JobError, usage};
use crate::measure::load::{End, Load};
use crate::record::clock;
use crate::workload::traffic::{Arrivals, LengthDistribution, Trace};
use std::sync::Arc;
use std::time::Duration;

/// The least rate, factor or time that anything is asked for.
const LEAST: f64 = 1e-6;
/// Seconds of warm-up where none are asked for.
const USUAL_WARM_UP: f64 = 5.0;
/// Seconds of measured time where neither a time nor a number of requests is asked for.
const USUAL_DURATION: f64 = 30.0;
/// The longest trace that is played, in seconds.
const LONGEST: f64 = 1e7;
/// More users do not fit one generator.
const MOST_USERS: usize = 1_000_000;

/// A load test, checked, and with everything that it reads before anything is opened.
#[derive(Debug)]
pub struct Plan {
    pub(super) options: LoadOptions,
    /// How requests come; none where a limit is looked for, or a model only served.
    pub(super) load: Option<Load>,
    /// How the trace was understood, where there is one.
    pub(super) trace: Option<String>,
    pub(super) end: End,
    pub(super) warm_up_s: f64,
    /// What makes the prompts of this run unlike those of others.
    pub(super) nonce: u64,
}

impl Plan {
    /// Checks what is asked for, and reads the trace.
    pub fn new(options: LoadOptions) -> Result<Self, JobError> {
        let options = with_length_of_body(options)?;
        check_numbers(&options)?;
        let traffic = &options.traffic;
        let trace = read_trace(traffic)?;
        if traffic.users.is_some() && options.slo.terms.iter().any(|term| term.percentile > 0.5) {
            return usage(
                "a closed loop hides its tail: with --users, --slo takes medians only (ttft=500ms); or send at a --rate",
            );
        }
        traffic.duration_s.map_or(Ok(()), |seconds| above_zero("--duration", seconds))?;
        if options.limit.precision < 0.001 {
            return usage("--precision: less than 0.1 % is nothing that a load test can tell");
        }
        above_zero("--timeout", options.timeout_s)?;
        let mut warm_up_s = traffic.warm_up_s.unwrap_or(USUAL_WARM_UP);
        if let Some(trace) = &trace {
            // The first part of a trace warms up; of a short one, a tenth.
            warm_up_s = warm_up_s.min(trace.seconds() / traffic.speed * 0.1);
        }
        let plan = Self {
            trace: trace.as_ref().map(|trace| trace.summary(traffic.speed)),
            end: End { requests: traffic.requests, seconds: seconds(traffic, trace.is_some()) },
            load: load(&options, trace)?,
            warm_up_s,
            nonce: nonce(),
            options,
        };
        plan.options.machine.check()?;
        Ok(plan)
    }

    /// Threads of the engine, or of the program beside a server.
    pub fn threads(&self) -> usize {
        self.options.machine.threads.unwrap_or_else(cpu::default_threads)
    }

    /// How long a request is waited for.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.options.timeout_s)
    }

    /// The prompts in words, for the record.
    pub(super) fn prompts_in_words(&self) -> String {
        let traffic = &self.options.traffic;
        let streams = match &self.options.target {
            TargetOptions::InProcess(_) => true,
            TargetOptions::Endpoint(endpoint) => endpoint.api().streams(),
        };
        let answers = if streams { format!(", {} generated tokens", traffic.gen_tokens) } else { String::new() };
        match (&traffic.prompts, &traffic.trace) {
            (Some(file), _) => format!("prompts of {}{answers}", file.display()),
            (None, Some(file)) => format!("made-up prompts of the lengths of {}", file.display()),
            (None, None) => {
                let shared = match traffic.shared_prefix_as_written.as_str() {
                    "0" => "no common beginning".to_string(),
                    share => format!("{share} of each a common beginning"),
                };
                format!("made-up prompts of {} tokens, {shared}{answers}", traffic.prompt)
            }
        }
    }
}

impl ModelOptions {
    /// Numbers that have to be above 0, by the names of their options.
    fn counts(&self) -> [(&'static str, Option<usize>); 3] {
        [
            ("--max-batch", Some(self.max_batch)),
            ("--prefill-chunk", Some(self.prefill_chunk)),
            ("--context", self.context),
        ]
    }
}

/// The same, where a changed body asks for answers of a length of its own: that one is planned with.
fn with_length_of_body(mut options: LoadOptions) -> Result<LoadOptions, JobError> {
    let TargetOptions::Endpoint(endpoint) = &options.target else { return Ok(options) };
    let Some(length) = endpoint.body.as_ref().and_then(|(_, patch)| Patch::length(patch)) else { return Ok(options) };
    if length == 0 {
        return usage("--body-json: the length of answers must be above 0");
    }
    if !options.traffic.is_made_up() {
        return usage(format!(
            "--body-json asks for {length} tokens whatever the lengths of --trace or --prompts: write \"{TOKENS}\" in \
             place of the number"
        ));
    }
    options.traffic.gen_tokens = LengthDistribution::Fixed(length);
    Ok(options)
}

fn above_zero(what: &str, value: f64) -> Result<(), JobError> {
    match value > 0.0 && (LEAST..1e9).contains(&value) {
        true => Ok(()),
        false if value > 0.0 => usage(format!("{what} must lie between {LEAST} and a billion")),
        false => usage(format!("{what} must be above 0")),
    }
}

/// What can be said of the numbers without reading anything.
fn check_numbers(options: &LoadOptions) -> Result<(), JobError> {
    let (traffic, limit) = (&options.traffic, &options.limit);
    let rates = [("--rate", traffic.rate), ("--speed", Some(traffic.speed)), ("--max-rate", Some(limit.max_rate))];
    for (what, value) in rates {
        value.map_or(Ok(()), |value| above_zero(what, value))?;
    }
    let mut counts = vec![("--users", traffic.users), ("--requests", traffic.requests)];
    counts.extend([("--max-steps", Some(limit.max_steps)), ("--threads", options.machine.threads)]);
    if let TargetOptions::InProcess(model) = &options.target {
        counts.extend(model.counts());
    }
    if let Some((what, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
        return usage(format!("{what} must be above 0"));
    }
    if traffic.users.is_some_and(|users| users > MOST_USERS) {
        return usage("--users: more than a million users do not fit one generator");
    }
    if limit.find && options.slo.is_empty() {
        return usage("--find-limit needs limits to find: --slo ttft_p99=500ms,tpot_p99=50ms");
    }
    if limit.find && matches!(traffic.arrivals, Arrivals::Ramp { .. }) {
        return usage("--find-limit holds one rate after the other: --arrivals ramp has none of its own");
    }
    Ok(())
}

fn read_trace(traffic: &TrafficOptions) -> Result<Option<Arc<Trace>>, JobError> {
    let Some(path) = &traffic.trace else { return Ok(None) };
    let trace = Trace::read(path, traffic.trace_unit).or_else(usage)?;
    if trace.seconds() / traffic.speed > LONGEST {
        let summary = trace.summary(traffic.speed);
        return usage(format!("--trace takes longer than a load test can be ({summary}): --speed plays it faster"));
    }
    Ok(Some(Arc::new(trace)))
}

/// Measured seconds, where they end the measurement.
fn seconds(traffic: &TrafficOptions, has_trace: bool) -> Option<f64> {
    let ramps = matches!(traffic.arrivals, Arrivals::Ramp { .. });
    match (has_trace, traffic.requests) {
        (true, _) => traffic.duration_s,
        (false, Some(_)) if !ramps => traffic.duration_s,
        _ => traffic.duration_s.or(Some(USUAL_DURATION)),
    }
}

fn load(options: &LoadOptions, trace: Option<Arc<Trace>>) -> Result<Option<Load>, JobError> {
    let traffic = &options.traffic;
    let is_served = matches!(&options.target, TargetOptions::InProcess(ModelOptions { serve: Some(_), .. }));
    if is_served || options.limit.find {
        return Ok(None);
    }
    Ok(Some(match (traffic.rate, traffic.users, trace) {
        (_, Some(users), _) => Load::Closed { users, think: Duration::from_secs_f64(traffic.think_s) },
        (_, _, Some(trace)) => Load::Trace { trace, speed: traffic.speed },
        (Some(rate), ..) => Load::Open { arrivals: traffic.arrivals, rate },
        _ => return usage("say how requests come: --rate R, --users N, --trace FILE, or --find-limit with --slo"),
    }))
}

/// A number of this run's own.
fn nonce() -> u64 {
    let now = clock::now().as_nanosecond();
    let hash = blake3::hash(format!("{now} {}", std::process::id()).as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | *byte as u64)
}
