//! What `load` is asked for on the command line, and what that comes to.

use crate::cli::measure_args::{KernelsArg, MeasureArgs};
use crate::cli::rank_args::share;
use crate::cli::usage;
use crate::device::DeviceId;
use crate::engine::endpoint::{Api, Location, Patch, TOKENS};
use crate::measure::load::{End, Load, Slo};
use crate::units::parse_seconds;
use crate::workload::Quant;
use crate::workload::traffic::{Arrivals, LengthDistribution, TimeUnit, Trace};
use rust_decimal::Decimal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Arguments of `load`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    #[command(flatten)]
    pub(super) traffic: TrafficArgs,
    #[command(flatten)]
    pub(super) limit: LimitArgs,
    /// Limits on times: ttft_p99=500ms,tpot=50ms,e2e_p95=2s,goodput=99%; without a percentile, the median. Failed requests
    /// count as beyond every limit.
    #[arg(help_heading = "Run", long, value_name = "LIMITS", default_value = "", hide_default_value = true)]
    pub(super) slo: Slo,
    /// How long a request is waited for.
    #[arg(help_heading = "Run", long, value_name = "TIME", default_value = "2min")]
    pub(super) timeout: String,
    /// Seed of arrival times, prompts and random weights.
    #[arg(help_heading = "Run", long, default_value_t = 42)]
    pub(super) seed: u64,
    /// The instance that serves, such as aws:g6.xlarge, for `rank` and `plan`.
    #[arg(help_heading = "Run", long = "as", value_name = "PROVIDER:TYPE")]
    pub(super) instance: Option<String>,
    /// What an hour of the machine that serves costs, in USD.
    #[arg(help_heading = "Run", long, value_name = "USD")]
    pub(super) price_per_hour: Option<Decimal>,
    /// Folder for the run; results/DATE-HOST-MODEL-load by default.
    #[arg(help_heading = "Run", long, short, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,
    /// Print JSON.
    #[arg(help_heading = "Run", long)]
    pub(super) json: bool,
}

/// What requests are sent to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Target")]
pub(super) struct TargetArgs {
    /// Server that speaks the API of OpenAI (vLLM, SGLang, TGI, llama-server, Ollama): http://HOST:PORT, what stands before
    /// /v1, or the whole address of an API as it is to be asked, with a query where it needs one (?api-version=1).
    #[arg(long, value_name = "URL", required_unless_present = "model")]
    pub(super) endpoint: Option<String>,
    /// API to use: chat, completions, embeddings; that of the address by default, else chat.
    #[arg(long, value_name = "NAME")]
    pub(super) api: Option<Api>,
    /// The model as the server calls it; the first that it lists by default.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub(super) served_model: Option<String>,
    /// Environment variable that holds the key; it is sent, and never written anywhere.
    #[arg(long, value_name = "VARIABLE", requires = "endpoint")]
    pub(super) api_key_env: Option<String>,
    /// Changes to the body of each request, a JSON merge patch: null takes a key out, and "{tokens}" stands for the length
    /// that is asked for. For servers that refuse what is asked:
    /// '{"max_completion_tokens":"{tokens}","max_tokens":null,"stream_options":null}'.
    #[arg(long, value_name = "JSON", requires = "endpoint")]
    pub(super) body_json: Option<String>,
    /// PEM file with the certificate of a private authority, or the one that the server has signed itself: believed besides
    /// those of the system.
    #[arg(long, value_name = "FILE", requires = "endpoint", conflicts_with = "insecure")]
    pub(super) ca_cert: Option<PathBuf>,
    /// Believe any certificate of the server.
    #[arg(long, requires = "endpoint")]
    pub(super) insecure: bool,
    /// The engine behind the endpoint, for the record: vllm, sglang, llama.cpp; as the server says by default.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub(super) engine: Option<String>,
    /// Let the model end answers where it will; the length that is asked for is then the most.
    #[arg(long)]
    pub(super) allow_eos: bool,
    /// tokenizer.json, or a folder with one: counts the tokens of prompts and, where the server does not, of answers.
    #[arg(long, value_name = "FILE")]
    pub(super) tokenizer: Option<PathBuf>,
    /// Model to serve in process: preset, GGUF file, folder with config.json and safetensors, or hub id. With --endpoint,
    /// what the server serves, for the record: a config.json will do.
    #[arg(long, short, value_name = "MODEL")]
    pub(super) model: Option<String>,
    /// Quantization level of the model; of an endpoint, the one it is known to have.
    #[arg(long, value_name = "LEVEL")]
    pub(super) quant: Option<Quant>,
    /// Most sequences of a batch in process; fewer where memory does not allow them.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(super) max_batch: usize,
    /// Most tokens of prompts that one pass takes in process, beside the sequences that decode.
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) prefill_chunk: usize,
    /// Positions of a sequence in process; by default those of the longest planned request.
    #[arg(long, value_name = "N")]
    pub(super) context: Option<usize>,
    /// Device of the model in process: cpu, or a card such as cuda:0.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", conflicts_with = "endpoint")]
    pub(super) device: DeviceId,
    /// Whose kernels compute in process: this project's, or candle's own (on cards in builds with --features cuda only).
    #[arg(long, value_enum, default_value = "own", conflicts_with = "endpoint")]
    pub(super) kernels: KernelsArg,
    /// Threads of the engine in process; one for each physical core by default.
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// Serve the model at this address instead of sending requests to it, until Ctrl-C: 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS", requires = "model", conflicts_with_all = ["rate", "users", "trace", "find_limit", "endpoint"])]
    pub(super) serve: Option<String>,
}

/// How requests come and what they ask.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Traffic")]
pub(super) struct TrafficArgs {
    /// Requests a second, at times that do not depend on answers. With --find-limit, the first rate that is tried.
    #[arg(long, value_name = "R", conflicts_with_all = ["users", "trace"])]
    pub(super) rate: Option<f64>,
    /// How they are spread: poisson, constant, gamma:SHAPE (below 1 in bursts), ramp:FROM (rising to --rate).
    #[arg(long, value_name = "NAME", default_value = "poisson")]
    pub(super) arrivals: Arrivals,
    /// Users who ask, wait for the answer, and think: a closed loop, whose tail a slow server hides.
    #[arg(long, value_name = "N", conflicts_with_all = ["trace", "find_limit"])]
    pub(super) users: Option<usize>,
    /// Time between an answer and the user's next request.
    #[arg(long, value_name = "TIME", requires = "users")]
    pub(super) think_time: Option<String>,
    /// Requests of a trace (CSV or JSON lines: timestamp_s, prompt_tokens, gen_tokens; Azure's, BurstGPT's, Vidur's,
    /// Mooncake's and Bailian's).
    #[arg(long, value_name = "FILE", conflicts_with = "find_limit")]
    pub(super) trace: Option<PathBuf>,
    /// What the numbers of the trace's times count, where the file does not say: s, ms, us or ns.
    #[arg(long, value_name = "UNIT", requires = "trace")]
    pub(super) trace_unit: Option<TimeUnit>,
    /// Play the trace so many times as fast.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "trace")]
    pub(super) speed: f64,
    /// Measured requests.
    #[arg(long, value_name = "N")]
    pub(super) requests: Option<usize>,
    /// Measured time, such as 30s; what comes first ends the measurement. 30 s by default.
    #[arg(long, value_name = "TIME")]
    pub(super) duration: Option<String>,
    /// Time of the same load before what is measured: 5 s by default; in a search, three times a request alone.
    #[arg(long, value_name = "TIME")]
    pub(super) warm_up: Option<String>,
    /// Tokens of prompts: 128, uniform:64:256, normal:128:32, lognormal:200:0.8.
    #[arg(long, value_name = "LENGTHS", default_value = "128")]
    pub(super) prompt: LengthDistribution,
    /// Tokens of answers, likewise.
    #[arg(long, value_name = "LENGTHS", default_value = "64")]
    pub(super) gen_tokens: LengthDistribution,
    /// Share of each prompt that is a beginning common to all: 0.5 or 50%.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub(super) shared_prefix: String,
    /// Prompts of a file instead of made-up ones: JSON lines with prompt or messages, a JSON array of such (ShareGPT's conversations too), or a
    /// prompt a line.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "shared_prefix"])]
    pub(super) prompts: Option<PathBuf>,
}

/// How the limit is looked for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limit")]
pub(super) struct LimitArgs {
    /// Find the highest rate that keeps --slo.
    #[arg(long, requires = "slo")]
    pub(super) find_limit: bool,
    /// The limit is found when the rates that hold and break are within this share.
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    pub(super) precision: String,
    /// Most steps of the search.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(super) max_steps: usize,
    /// Highest rate that is tried.
    #[arg(long, value_name = "R", default_value_t = 100_000.0)]
    pub(super) max_rate: f64,
    /// Do not send a burst at twice the limit to see how long it is felt.
    #[arg(long)]
    pub(super) no_burst: bool,
}

/// What was asked for, read and checked.
pub(super) struct Asked {
    pub(super) load: Option<Load>,
    /// How the trace was understood, where there is one.
    pub(super) trace: Option<String>,
    pub(super) end: End,
    pub(super) warm_up_s: f64,
    /// The one that was asked for.
    pub(super) own_warm_up: Option<f64>,
    pub(super) timeout: Duration,
    pub(super) shared: f64,
    pub(super) precision: f64,
    /// What makes the prompts of this run unlike those of others.
    pub(super) nonce: u64,
}

/// The least rate, factor or time that anything is asked for.
const LEAST: f64 = 1e-6;
/// Seconds of warm-up where none are asked for.
const USUAL_WARM_UP: f64 = 5.0;

/// Reads a time that may be nothing.
fn time(what: &str, text: &str) -> anyhow::Result<f64> {
    match text.trim() {
        "0" | "0s" => Ok(0.0),
        text => match parse_seconds(text) {
            Ok(seconds) if seconds.0 <= 1e7 => Ok(seconds.0),
            Ok(_) => usage(format!("{what}: `{text}` is longer than a load test can be")),
            Err(why) => usage(format!("{what}: {why}")),
        },
    }
}

fn above_zero(what: &str, value: f64) -> anyhow::Result<()> {
    match value > 0.0 && (LEAST..1e9).contains(&value) {
        true => Ok(()),
        false if value > 0.0 => usage(format!("{what} must lie between {LEAST} and a billion")),
        false => usage(format!("{what} must be above 0")),
    }
}

/// A number of this run's own.
fn nonce() -> u64 {
    let now = crate::record::clock::now().as_nanosecond();
    let hash = blake3::hash(format!("{now} {}", std::process::id()).as_bytes());
    hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | *byte as u64)
}

impl TargetArgs {
    /// The model is served in process.
    pub(super) fn in_process(&self) -> bool {
        self.endpoint.is_none()
    }

    /// Changes to bodies.
    pub(super) fn patch(&self) -> anyhow::Result<Option<Patch>> {
        let read = |text: &String| text.parse::<Patch>().or_else(|why| usage(format!("--body-json: {why}")));
        self.body_json.as_ref().map(read).transpose()
    }
}

impl Args {
    /// The same, where a changed body asks for answers of a length of its own: that one is planned with.
    pub(super) fn with_body(mut self) -> anyhow::Result<Self> {
        let Some(length) = self.target.patch()?.as_ref().and_then(Patch::length) else { return Ok(self) };
        if length == 0 {
            return usage("--body-json: the length of answers must be above 0");
        }
        if self.traffic.trace.is_some() || self.traffic.prompts.is_some() {
            return usage(format!(
                "--body-json asks for {length} tokens whatever the lengths of --trace or --prompts: write \"{TOKENS}\" in \
                 place of the number"
            ));
        }
        self.traffic.gen_tokens = LengthDistribution::Fixed(length);
        Ok(self)
    }

    /// The address of the server, read; the error does not repeat it.
    pub(super) fn location(&self) -> anyhow::Result<Option<Location>> {
        let read = |url: &String| Location::parse(url).or_else(|why| usage(format!("--endpoint: {why}")));
        self.target.endpoint.as_ref().map(read).transpose()
    }

    /// The API that is used.
    pub(super) fn api(&self) -> Api {
        let of_address = || Location::parse(self.target.endpoint.as_deref()?).ok()?.api();
        self.target.api.or_else(of_address).unwrap_or(Api::Chat)
    }

    /// Reads and checks all of it before anything is opened.
    pub(super) fn asked(&self) -> anyhow::Result<Asked> {
        let traffic = &self.traffic;
        for (what, value) in
            [("--rate", traffic.rate), ("--speed", Some(traffic.speed)), ("--max-rate", Some(self.limit.max_rate))]
        {
            value.map_or(Ok(()), |value| above_zero(what, value))?;
        }
        for (what, count) in [
            ("--users", traffic.users),
            ("--requests", traffic.requests),
            ("--max-batch", Some(self.target.max_batch)),
            ("--prefill-chunk", Some(self.target.prefill_chunk)),
            ("--max-steps", Some(self.limit.max_steps)),
            ("--threads", self.target.threads),
            ("--context", self.target.context),
        ] {
            if count == Some(0) {
                return usage(format!("{what} must be above 0"));
            }
        }
        if traffic.users.is_some_and(|users| users > 1_000_000) {
            return usage("--users: more than a million users do not fit one generator");
        }
        if self.limit.find_limit && self.slo.is_empty() {
            return usage("--find-limit needs limits to find: --slo ttft_p99=500ms,tpot_p99=50ms");
        }
        if self.limit.find_limit && matches!(traffic.arrivals, Arrivals::Ramp { .. }) {
            return usage("--find-limit holds one rate after the other: --arrivals ramp has none of its own");
        }
        let trace = traffic
            .trace
            .as_deref()
            .map(|path| Trace::read(path, traffic.trace_unit).or_else(usage))
            .transpose()?
            .map(Arc::new);
        if trace.as_ref().is_some_and(|trace| trace.seconds() / traffic.speed > 1e7) {
            let summary = trace.as_ref().map_or(String::new(), |trace| trace.summary(traffic.speed));
            return usage(format!("--trace takes longer than a load test can be ({summary}): --speed plays it faster"));
        }
        if traffic.users.is_some() && self.slo.terms.iter().any(|term| term.percentile > 0.5) {
            return usage(
                "a closed loop hides its tail: with --users, --slo takes medians only (ttft=500ms); or send at a --rate",
            );
        }
        let duration = traffic.duration.as_deref().map(|text| time("--duration", text)).transpose()?;
        duration.map_or(Ok(()), |seconds| above_zero("--duration", seconds))?;
        let ramps = matches!(traffic.arrivals, Arrivals::Ramp { .. });
        let seconds = match (&trace, traffic.requests) {
            (Some(_), _) => duration,
            (None, Some(_)) if !ramps => duration,
            _ => duration.or(Some(30.0)),
        };
        let precision = share("--precision", &self.limit.precision)?;
        if precision < 0.001 {
            return usage("--precision: less than 0.1 % is nothing that a load test can tell");
        }
        let own_warm_up = traffic.warm_up.as_deref().map(|text| time("--warm-up", text)).transpose()?;
        let mut warm_up_s = own_warm_up.unwrap_or(USUAL_WARM_UP);
        if let Some(trace) = &trace {
            // The first part of a trace warms up; of a short one, a tenth.
            warm_up_s = warm_up_s.min(trace.seconds() / traffic.speed * 0.1);
        }
        let timeout = time("--timeout", &self.timeout)?;
        above_zero("--timeout", timeout)?;
        let asked = Asked {
            trace: trace.as_ref().map(|trace| trace.summary(traffic.speed)),
            load: self.load(trace)?,
            end: End { requests: traffic.requests, seconds },
            warm_up_s,
            own_warm_up,
            timeout: Duration::from_secs_f64(timeout),
            shared: share("--shared-prefix", &traffic.shared_prefix)?,
            precision,
            nonce: nonce(),
        };
        self.measure_args().check()?;
        Ok(asked)
    }

    fn load(&self, trace: Option<Arc<Trace>>) -> anyhow::Result<Option<Load>> {
        let traffic = &self.traffic;
        if self.target.serve.is_some() || self.limit.find_limit {
            return Ok(None);
        }
        let think = traffic.think_time.as_deref().map_or(Ok(0.0), |text| time("--think-time", text))?;
        Ok(Some(match (traffic.rate, traffic.users, trace) {
            (_, Some(users), _) => Load::Closed { users, think: Duration::from_secs_f64(think) },
            (_, _, Some(trace)) => Load::Trace { trace, speed: traffic.speed },
            (Some(rate), ..) => Load::Open { arrivals: traffic.arrivals, rate },
            _ => return usage("say how requests come: --rate R, --users N, --trace FILE, or --find-limit with --slo"),
        }))
    }

    /// The same for what is common to all measurements.
    pub(super) fn measure_args(&self) -> MeasureArgs {
        MeasureArgs {
            model: self.target.model.clone().filter(|_| self.target.in_process()),
            threads: self.target.threads,
            seed: Some(self.seed),
            instance: self.instance.clone(),
            price_per_hour: self.price_per_hour,
            output: self.output.clone(),
            ..MeasureArgs::default()
        }
    }

    /// The prompts in words, for the record.
    pub(super) fn prompts_in_words(&self) -> String {
        let traffic = &self.traffic;
        let answers = if self.target.in_process() || self.api().streams() {
            format!(", {} generated tokens", traffic.gen_tokens)
        } else {
            String::new()
        };
        match (&traffic.prompts, &traffic.trace) {
            (Some(file), _) => format!("prompts of {}{answers}", file.display()),
            (None, Some(file)) => format!("made-up prompts of the lengths of {}", file.display()),
            (None, None) => {
                let shared = match traffic.shared_prefix.as_str() {
                    "0" => "no common beginning".to_string(),
                    share => format!("{share} of each a common beginning"),
                };
                format!("made-up prompts of {} tokens, {shared}{answers}", traffic.prompt)
            }
        }
    }
}
