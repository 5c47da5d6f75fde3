//! What `load` is asked for on the command line, and the options that it comes to.

use crate::cli::measure_args::KernelsArg;
use crate::cli::rank_args::share;
use crate::cli::{argv, usage};
use crate::device::DeviceId;
use crate::engine::endpoint::{Api, Patch};
use crate::job::MachineOptions;
use crate::job::load::{EndpointOptions, LimitOptions, LoadOptions, ModelOptions, TargetOptions, TrafficOptions};
use crate::measure::load::Slo;
use crate::units::parse_seconds;
use crate::workload::Quant;
use crate::workload::traffic::{Arrivals, LengthDistribution, TimeUnit};
use rust_decimal::Decimal;
use std::path::PathBuf;

/// Arguments of `load`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    traffic: TrafficArgs,
    #[command(flatten)]
    limit: LimitArgs,
    /// Limits on times: ttft_p99=500ms,tpot=50ms,e2e_p95=2s,goodput=99%; without a percentile, the median. Failed requests
    /// count as beyond every limit.
    #[arg(help_heading = "Run", long, value_name = "LIMITS", default_value = "", hide_default_value = true)]
    slo: Slo,
    /// How long a request is waited for.
    #[arg(help_heading = "Run", long, value_name = "TIME", default_value = "2min")]
    timeout: String,
    /// Seed of arrival times, prompts and random weights.
    #[arg(help_heading = "Run", long, default_value_t = 42)]
    seed: u64,
    /// The instance that serves, such as aws:g6.xlarge, for `rank` and `plan`.
    #[arg(help_heading = "Run", long = "as", value_name = "PROVIDER:TYPE")]
    instance: Option<String>,
    /// What an hour of the machine that serves costs, in USD.
    #[arg(help_heading = "Run", long, value_name = "USD")]
    price_per_hour: Option<Decimal>,
    /// Folder for the run; results/DATE-HOST-MODEL-load by default.
    #[arg(help_heading = "Run", long, short, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(help_heading = "Run", long)]
    pub(super) json: bool,
}

/// What requests are sent to.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Target")]
struct TargetArgs {
    /// Server that speaks the API of OpenAI (vLLM, SGLang, TGI, llama-server, Ollama): http://HOST:PORT, what stands before
    /// /v1, or the whole address of an API as it is to be asked, with a query where it needs one (?api-version=1).
    #[arg(long, value_name = "URL", required_unless_present = "model")]
    endpoint: Option<String>,
    /// API to use: chat, completions, embeddings; that of the address by default, else chat.
    #[arg(long, value_name = "NAME")]
    api: Option<Api>,
    /// The model as the server calls it; the first that it lists by default.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    served_model: Option<String>,
    /// Environment variable that holds the key; it is sent, and never written anywhere.
    #[arg(long, value_name = "VARIABLE", requires = "endpoint")]
    api_key_env: Option<String>,
    /// Changes to the body of each request, a JSON merge patch: null takes a key out, and "{tokens}" stands for the length
    /// that is asked for. For servers that refuse what is asked:
    /// '{"max_completion_tokens":"{tokens}","max_tokens":null,"stream_options":null}'.
    #[arg(long, value_name = "JSON", requires = "endpoint")]
    body_json: Option<String>,
    /// PEM file with the certificate of a private authority, or the one that the server has signed itself: believed besides
    /// those of the system.
    #[arg(long, value_name = "FILE", requires = "endpoint", conflicts_with = "insecure")]
    ca_cert: Option<PathBuf>,
    /// Believe any certificate of the server.
    #[arg(long, requires = "endpoint")]
    insecure: bool,
    /// The engine behind the endpoint, for the record: vllm, sglang, llama.cpp; as the server says by default.
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    engine: Option<String>,
    /// Let the model end answers where it will; the length that is asked for is then the most.
    #[arg(long)]
    allow_eos: bool,
    /// tokenizer.json, or a folder with one: counts the tokens of prompts and, where the server does not, of answers.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Model to serve in process: preset, GGUF file, folder with config.json and safetensors, or hub id. With --endpoint,
    /// what the server serves, for the record: a config.json will do.
    #[arg(long, short, value_name = "MODEL")]
    model: Option<String>,
    /// Quantization level of the model; of an endpoint, the one it is known to have.
    #[arg(long, value_name = "LEVEL")]
    quant: Option<Quant>,
    /// Most sequences of a batch in process; fewer where memory does not allow them.
    #[arg(long, value_name = "N", default_value_t = 16)]
    max_batch: usize,
    /// Most tokens of prompts that one pass takes in process, beside the sequences that decode.
    #[arg(long, value_name = "N", default_value_t = 256)]
    prefill_chunk: usize,
    /// Positions of a sequence in process; by default those of the longest planned request.
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Device of the model in process: cpu, or a card such as cuda:0.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", conflicts_with = "endpoint")]
    device: DeviceId,
    /// Whose kernels compute in process: this project's, or candle's own (on cards in builds with --features cuda only).
    #[arg(long, value_enum, default_value = "own", conflicts_with = "endpoint")]
    kernels: KernelsArg,
    /// Threads of the engine in process; one for each physical core by default.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Serve the model at this address instead of sending requests to it, until Ctrl-C: 127.0.0.1:8080.
    #[arg(long, value_name = "ADDRESS", requires = "model", conflicts_with_all = ["rate", "users", "trace", "find_limit", "endpoint"])]
    serve: Option<String>,
}

/// How requests come and what they ask.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Traffic")]
struct TrafficArgs {
    /// Requests a second, at times that do not depend on answers. With --find-limit, the first rate that is tried.
    #[arg(long, value_name = "R", conflicts_with_all = ["users", "trace"])]
    rate: Option<f64>,
    /// How they are spread: poisson, constant, gamma:SHAPE (below 1 in bursts), ramp:FROM (rising to --rate).
    #[arg(long, value_name = "NAME", default_value = "poisson")]
    arrivals: Arrivals,
    /// Users who ask, wait for the answer, and think: a closed loop, whose tail a slow server hides.
    #[arg(long, value_name = "N", conflicts_with_all = ["trace", "find_limit"])]
    users: Option<usize>,
    /// Time between an answer and the user's next request.
    #[arg(long, value_name = "TIME", requires = "users")]
    think_time: Option<String>,
    /// Requests of a trace (CSV or JSON lines: timestamp_s, prompt_tokens, gen_tokens; Azure's, BurstGPT's, Vidur's,
    /// Mooncake's and Bailian's).
    #[arg(long, value_name = "FILE", conflicts_with = "find_limit")]
    trace: Option<PathBuf>,
    /// What the numbers of the trace's times count, where the file does not say: s, ms, us or ns.
    #[arg(long, value_name = "UNIT", requires = "trace")]
    trace_unit: Option<TimeUnit>,
    /// Play the trace so many times as fast.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "trace")]
    speed: f64,
    /// Measured requests.
    #[arg(long, value_name = "N")]
    requests: Option<usize>,
    /// Measured time, such as 30s; what comes first ends the measurement. 30 s by default.
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// Time of the same load before what is measured: 5 s by default; in a search, three times a request alone.
    #[arg(long, value_name = "TIME")]
    warm_up: Option<String>,
    /// Tokens of prompts: 128, uniform:64:256, normal:128:32, lognormal:200:0.8.
    #[arg(long, value_name = "LENGTHS", default_value = "128")]
    prompt: LengthDistribution,
    /// Tokens of answers, likewise.
    #[arg(long, value_name = "LENGTHS", default_value = "64")]
    gen_tokens: LengthDistribution,
    /// Share of each prompt that is a beginning common to all: 0.5 or 50%.
    #[arg(long, value_name = "SHARE", default_value = "0")]
    shared_prefix: String,
    /// Prompts of a file instead of made-up ones: JSON lines with prompt or messages, a JSON array of such (ShareGPT's conversations too), or a
    /// prompt a line.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "shared_prefix"])]
    prompts: Option<PathBuf>,
}

/// How the limit is looked for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limit")]
struct LimitArgs {
    /// Find the highest rate that keeps --slo.
    #[arg(long, requires = "slo")]
    find_limit: bool,
    /// The limit is found when the rates that hold and break are within this share.
    #[arg(long, value_name = "SHARE", default_value = "5%")]
    precision: String,
    /// Most steps of the search.
    #[arg(long, value_name = "N", default_value_t = 20)]
    max_steps: usize,
    /// Highest rate that is tried.
    #[arg(long, value_name = "R", default_value_t = 100_000.0)]
    max_rate: f64,
    /// Do not send a burst at twice the limit to see how long it is felt.
    #[arg(long)]
    no_burst: bool,
}

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

/// The same of one that may be left out.
fn time_of(what: &str, text: Option<&String>) -> anyhow::Result<Option<f64>> {
    text.map(|text| time(what, text)).transpose()
}

impl Args {
    /// The model is to be served and nothing sent to it.
    pub(super) fn only_serves(&self) -> bool {
        self.target.serve.is_some()
    }
}

impl TryFrom<Args> for LoadOptions {
    type Error = anyhow::Error;

    fn try_from(args: Args) -> anyhow::Result<Self> {
        let allow_eos = args.target.allow_eos;
        let machine = MachineOptions {
            threads: args.target.threads,
            pin: None,
            instance: args.instance,
            price_per_hour: args.price_per_hour,
            command_line: argv(),
        };
        Ok(Self {
            target: args.target.try_into()?,
            traffic: args.traffic.try_into()?,
            limit: args.limit.try_into()?,
            slo: args.slo,
            timeout_s: time("--timeout", &args.timeout)?,
            seed: args.seed,
            output: args.output,
            machine,
            allow_eos,
        })
    }
}

impl TryFrom<TargetArgs> for TargetOptions {
    type Error = anyhow::Error;

    fn try_from(args: TargetArgs) -> anyhow::Result<Self> {
        let Some(url) = args.endpoint else {
            return Ok(Self::InProcess(ModelOptions {
                model: args.model.unwrap_or_default(),
                quant: args.quant,
                max_batch: args.max_batch,
                prefill_chunk: args.prefill_chunk,
                context: args.context,
                device: args.device,
                kernels: args.kernels.into(),
                serve: args.serve,
            }));
        };
        let patch = |text: String| match text.parse::<Patch>() {
            Ok(patch) => Ok((text, patch)),
            Err(why) => usage(format!("--body-json: {why}")),
        };
        let body = args.body_json.map(patch).transpose()?;
        // They mean nothing to a server, and 0 is a slip all the same.
        for (what, is_zero) in [
            ("--max-batch", args.max_batch == 0),
            ("--prefill-chunk", args.prefill_chunk == 0),
            ("--context", args.context == Some(0)),
        ] {
            if is_zero {
                return usage(format!("{what} must be above 0"));
            }
        }
        Ok(Self::Endpoint(EndpointOptions {
            url,
            api: args.api,
            served_model: args.served_model,
            api_key_env: args.api_key_env,
            body,
            ca_cert: args.ca_cert,
            insecure: args.insecure,
            engine: args.engine,
            tokenizer: args.tokenizer,
            model: args.model,
            quant: args.quant,
        }))
    }
}

impl TryFrom<TrafficArgs> for TrafficOptions {
    type Error = anyhow::Error;

    fn try_from(args: TrafficArgs) -> anyhow::Result<Self> {
        Ok(Self {
            rate: args.rate,
            arrivals: args.arrivals,
            users: args.users,
            duration_s: time_of("--duration", args.duration.as_ref())?,
            warm_up_s: time_of("--warm-up", args.warm_up.as_ref())?,
            think_s: time_of("--think-time", args.think_time.as_ref())?.unwrap_or(0.0),
            trace: args.trace,
            trace_unit: args.trace_unit,
            speed: args.speed,
            requests: args.requests,
            prompt: args.prompt,
            gen_tokens: args.gen_tokens,
            shared_prefix: share("--shared-prefix", &args.shared_prefix)?,
            shared_prefix_as_written: args.shared_prefix,
            prompts: args.prompts,
        })
    }
}

impl TryFrom<LimitArgs> for LimitOptions {
    type Error = anyhow::Error;

    fn try_from(args: LimitArgs) -> anyhow::Result<Self> {
        Ok(Self {
            find: args.find_limit,
            precision: share("--precision", &args.precision)?,
            max_steps: args.max_steps,
            max_rate: args.max_rate,
            burst: !args.no_burst,
        })
    }
}
