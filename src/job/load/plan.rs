//! What a load test comes to: its options checked, its trace read.

use super::options::{LoadOptions, ModelOptions, TargetOptions, TrafficOptions};
use crate::device::cpu;
use crate::engine::endpoint::TOKENS;
use crate::job::error::{JobError, usage};
use crate::measure::load::{End, Load};
use crate::record::clock;
use crate::workload::traffic::prompts::Vocabulary;
use crate::workload::traffic::{Arrivals, LengthDistribution, PromptSource, Trace, Wording};
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
    /// Tokens of the longest request, where that is known.
    pub(super) longest: Option<usize>,
    /// What makes the prompts of this run unlike those of others.
    pub(super) nonce: u64,
}

impl Plan {
    /// Checks what is asked for, and reads the trace.
    pub fn new(mut options: LoadOptions) -> Result<Self, JobError> {
        options.take_length_of_body()?;
        options.check_numbers()?;
        let trace = options.traffic.read_trace()?;
        options.check_times()?;
        let traffic = &options.traffic;
        let mut warm_up_s = traffic.warm_up_s.unwrap_or(USUAL_WARM_UP);
        if let Some(trace) = &trace {
            // The first part of a trace warms up; of a short one, a tenth.
            warm_up_s = warm_up_s.min(trace.seconds() / traffic.speed * 0.1);
        }
        let (summary, seconds) =
            (trace.as_ref().map(|trace| trace.summary(traffic.speed)), traffic.seconds(trace.is_some()));
        let load = options.load(trace)?;
        options.machine.check()?;
        Ok(Self {
            trace: summary,
            end: End { requests: traffic.requests, seconds },
            longest: options.longest(load.as_ref()),
            load,
            warm_up_s,
            nonce: nonce(),
            options,
        })
    }

    /// Threads of the engine, or of the program beside a server.
    pub fn threads(&self) -> usize {
        self.options.machine.threads.unwrap_or_else(cpu::default_threads)
    }

    /// How long a request is waited for.
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs_f64(self.options.timeout_s)
    }

    /// Prompts as they are asked for, in words of `wording`.
    pub(super) fn prompts(
        &self,
        wording: Wording,
        vocabulary: Option<Arc<Vocabulary>>,
    ) -> Result<PromptSource, JobError> {
        let (traffic, seed) = (&self.options.traffic, self.options.seed);
        let (prompt, gen_tokens, shared) = (traffic.prompt, traffic.gen_tokens, traffic.shared_prefix);
        match &traffic.prompts {
            Some(file) => PromptSource::read(file, vocabulary, gen_tokens, seed).or_else(usage),
            None => Ok(PromptSource::synthetic(wording, prompt, gen_tokens, shared, (seed, self.nonce))),
        }
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

impl LoadOptions {
    /// The model that is served in process.
    fn model(&self) -> Option<&ModelOptions> {
        match &self.target {
            TargetOptions::InProcess(model) => Some(model),
            TargetOptions::Endpoint(_) => None,
        }
    }

    /// Where a changed body asks for answers of a length of its own, that one is planned with.
    fn take_length_of_body(&mut self) -> Result<(), JobError> {
        let TargetOptions::Endpoint(endpoint) = &self.target else { return Ok(()) };
        let Some(length) = endpoint.body.as_ref().and_then(|(_, patch)| patch.length()) else { return Ok(()) };
        if length == 0 {
            return usage("--body-json: the length of answers must be above 0");
        }
        if !self.traffic.is_made_up() {
            return usage(format!(
                "--body-json asks for {length} tokens whatever the lengths of --trace or --prompts: write \"{TOKENS}\" in \
                 place of the number"
            ));
        }
        self.traffic.gen_tokens = LengthDistribution::Fixed(length);
        Ok(())
    }

    /// What can be said of the numbers without reading anything.
    fn check_numbers(&self) -> Result<(), JobError> {
        let (traffic, limit) = (&self.traffic, &self.limit);
        let rates = [("--rate", traffic.rate), ("--speed", Some(traffic.speed)), ("--max-rate", Some(limit.max_rate))];
        for (what, value) in rates {
            value.map_or(Ok(()), |value| above_zero(what, value))?;
        }
        let mut counts = vec![("--users", traffic.users), ("--requests", traffic.requests)];
        counts.extend([("--max-steps", Some(limit.max_steps)), ("--threads", self.machine.threads)]);
        counts.extend(self.model().map(ModelOptions::counts).into_iter().flatten());
        if let Some((what, _)) = counts.iter().find(|(_, count)| *count == Some(0)) {
            return usage(format!("{what} must be above 0"));
        }
        if traffic.users.is_some_and(|users| users > MOST_USERS) {
            return usage("--users: more than a million users do not fit one generator");
        }
        if limit.find && self.slo.is_empty() {
            return usage("--find-limit needs limits to find: --slo ttft_p99=500ms,tpot_p99=50ms");
        }
        if limit.find && matches!(traffic.arrivals, Arrivals::Ramp { .. }) {
            return usage("--find-limit holds one rate after the other: --arrivals ramp has none of its own");
        }
        Ok(())
    }

    /// The same of times and shares.
    fn check_times(&self) -> Result<(), JobError> {
        if self.traffic.users.is_some() && self.slo.terms.iter().any(|term| term.percentile > 0.5) {
            return usage(
                "a closed loop hides its tail: with --users, --slo takes medians only (ttft=500ms); or send at a --rate",
            );
        }
        self.traffic.duration_s.map_or(Ok(()), |seconds| above_zero("--duration", seconds))?;
        if self.limit.precision < 0.001 {
            return usage("--precision: less than 0.1 % is nothing that a load test can tell");
        }
        above_zero("--timeout", self.timeout_s)
    }

    /// How requests come, where they do not come from a search.
    fn load(&self, trace: Option<Arc<Trace>>) -> Result<Option<Load>, JobError> {
        let traffic = &self.traffic;
        if self.limit.find || self.model().is_some_and(|model| model.serve.is_some()) {
            return Ok(None);
        }
        Ok(Some(match (traffic.rate, traffic.users, trace) {
            (_, Some(users), _) => Load::Closed { users, think: Duration::from_secs_f64(traffic.think_s) },
            (_, _, Some(trace)) => Load::Trace { trace, speed: traffic.speed },
            (Some(rate), ..) => Load::Open { arrivals: traffic.arrivals, rate },
            _ => return usage("say how requests come: --rate R, --users N, --trace FILE, or --find-limit with --slo"),
        }))
    }

    /// Tokens of the longest request; not known of prompts that come from elsewhere.
    fn longest(&self, load: Option<&Load>) -> Option<usize> {
        let is_served = self.model().is_some_and(|model| model.serve.is_some());
        match load {
            _ if is_served || self.traffic.prompts.is_some() => None,
            Some(Load::Trace { trace, .. }) => {
                let lengths = trace.requests.iter().map(|request| request.prompt_tokens + request.gen_tokens);
                Some(lengths.max().unwrap_or(1))
            }
            _ => Some(self.traffic.prompt.nearly_most() + self.traffic.gen_tokens.nearly_most()),
        }
    }
}

impl TrafficOptions {
    fn read_trace(&self) -> Result<Option<Arc<Trace>>, JobError> {
        let Some(path) = &self.trace else { return Ok(None) };
        let trace = Trace::read(path, self.trace_unit).or_else(usage)?;
        if trace.seconds() / self.speed > LONGEST {
            let summary = trace.summary(self.speed);
            return usage(format!("--trace takes longer than a load test can be ({summary}): --speed plays it faster"));
        }
        Ok(Some(Arc::new(trace)))
    }

    /// Measured seconds, where they end the measurement.
    fn seconds(&self, has_trace: bool) -> Option<f64> {
        let ramps = matches!(self.arrivals, Arrivals::Ramp { .. });
        match (has_trace, self.requests) {
            (true, _) => self.duration_s,
            (false, Some(_)) if !ramps => self.duration_s,
            _ => self.duration_s.or(Some(USUAL_DURATION)),
        }
    }
}

fn above_zero(what: &str, value: f64) -> Result<(), JobError> {
    if (LEAST..1e9).contains(&value) {
        Ok(())
    } else if value > 0.0 {
        usage(format!("{what} must lie between {LEAST} and a billion"))
    } else {
        usage(format!("{what} must be above 0"))
    }
}

/// A number of this run's own.
fn nonce() -> u64 {
    let now = clock::now().as_nanosecond();
    let hash = blake3::hash(format!("{now} {}", std::process::id()).as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | *byte as u64)
}

#[cfg(test)]
mod tests {
    use super::super::options::{EndpointOptions, LimitOptions};
    use super::*;
    use crate::job::MachineOptions;

    fn options() -> LoadOptions {
        LoadOptions {
            target: TargetOptions::Endpoint(EndpointOptions {
                url: "http://127.0.0.1:1/v1/chat/completions".to_string(),
                api: None,
                served_model: None,
                api_key_env: None,
                body: None,
                ca_cert: None,
                insecure: false,
                engine: None,
                tokenizer: None,
                model: None,
                quant: None,
            }),
            traffic: TrafficOptions {
                rate: Some(2.0),
                arrivals: Arrivals::Poisson,
                users: None,
                think_s: 0.0,
                trace: None,
                trace_unit: None,
                speed: 1.0,
                requests: None,
                duration_s: None,
                warm_up_s: None,
                prompt: LengthDistribution::Fixed(20),
                gen_tokens: LengthDistribution::Fixed(5),
                shared_prefix: 0.0,
                shared_prefix_as_written: "0".to_string(),
                prompts: None,
            },
            limit: LimitOptions { find: false, precision: 0.05, max_steps: 20, max_rate: 1e5, burst: true },
            slo: "ttft_p99=500ms".parse().unwrap(),
            timeout_s: 120.0,
            seed: 42,
            output: None,
            machine: MachineOptions::default(),
            allow_eos: false,
        }
    }

    #[test]
    fn a_plan_has_what_its_phases_need() {
        let plan = Plan::new(options()).unwrap();
        assert!(matches!(plan.load, Some(Load::Open { rate: 2.0, .. })));
        assert_eq!((plan.end.seconds, plan.warm_up_s, plan.longest), (Some(30.0), 5.0, Some(25)));
        assert_eq!(plan.prompts_in_words(), "made-up prompts of 20 tokens, no common beginning, 5 generated tokens");
        let mut search = options();
        search.limit.find = true;
        assert!(Plan::new(search).unwrap().load.is_none());
    }

    #[test]
    fn a_body_that_asks_for_a_length_is_planned_with_it() {
        let mut asked = options();
        if let TargetOptions::Endpoint(endpoint) = &mut asked.target {
            let text = r#"{"max_tokens":7}"#.to_string();
            endpoint.body = Some((text.clone(), text.parse().unwrap()));
        }
        assert_eq!(Plan::new(asked).unwrap().options.traffic.gen_tokens, LengthDistribution::Fixed(7));
    }

    #[test]
    fn what_cannot_be_is_said_before_anything_is_opened() {
        let refused = |change: fn(&mut LoadOptions)| {
            let mut asked = options();
            change(&mut asked);
            match Plan::new(asked).unwrap_err() {
                JobError::Usage(why) => why,
                other => panic!("{other:?}"),
            }
        };
        assert!(refused(|asked| asked.traffic.users = Some(3)).contains("a closed loop hides its tail"));
        assert!(refused(|asked| asked.traffic.rate = None).contains("say how requests come"));
        assert!(refused(|asked| asked.traffic.requests = Some(0)).contains("--requests must be above 0"));
        assert!(refused(|asked| asked.limit.precision = 0.0).contains("--precision"));
        assert!(refused(|asked| asked.machine.instance = Some("x".to_string())).contains("provider:type"));
    }
}
