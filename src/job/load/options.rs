//! What a load test is asked for.

use crate::device::DeviceId;
use crate::engine::backend::ops::Kernels;
use crate::engine::endpoint::{Api, Location, Patch};
use crate::job::MachineOptions;
use crate::job::error::{JobError, usage};
use crate::measure::load::Slo;
use crate::workload::Quant;
use crate::workload::traffic::{Arrivals, LengthDistribution, TimeUnit};
use std::path::PathBuf;

/// What a load test is asked for.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// What requests are sent to.
    pub target: TargetOptions,
    /// How requests come and what they ask.
    pub traffic: TrafficOptions,
    /// How the limit is looked for.
    pub limit: LimitOptions,
    /// Limits on times.
    pub slo: Slo,
    /// Seconds that a request is waited for.
    pub timeout_s: f64,
    /// Seed of arrival times, prompts and random weights.
    pub seed: u64,
    /// Folder for the run; `results/DATE-HOST-MODEL-load` by default.
    pub output: Option<PathBuf>,
    /// The machine that serves.
    pub machine: MachineOptions,
    /// The model may end answers where it will.
    pub allow_eos: bool,
}

/// What requests are sent to.
#[derive(Debug, Clone)]
pub enum TargetOptions {
    /// A server.
    Endpoint(EndpointOptions),
    /// A model in this process.
    InProcess(ModelOptions),
}

/// A server, and how it is asked.
#[derive(Debug, Clone)]
pub struct EndpointOptions {
    /// Its address.
    pub url: String,
    /// The API to use; that of the address by default, else chat.
    pub api: Option<Api>,
    /// The model as the server calls it; the first that it lists by default.
    pub served_model: Option<String>,
    /// Environment variable that holds the key.
    pub api_key_env: Option<String>,
    /// Changes to the body of each request, as they were written and as they are made.
    pub body: Option<(String, Patch)>,
    /// PEM file with a certificate to believe.
    pub ca_cert: Option<PathBuf>,
    /// Believe any certificate.
    pub insecure: bool,
    /// The engine behind it, for the record.
    pub engine: Option<String>,
    /// tokenizer.json, or a folder with one.
    pub tokenizer: Option<PathBuf>,
    /// What it serves, for the record.
    pub model: Option<String>,
    /// The level that the model is known to have.
    pub quant: Option<Quant>,
}

/// A model in this process, and how it is served.
#[derive(Debug, Clone)]
pub struct ModelOptions {
    /// The model.
    pub model: String,
    /// Its level; that of the file by default.
    pub quant: Option<Quant>,
    /// Most sequences of a batch.
    pub max_batch: usize,
    /// Most tokens of prompts that one pass takes.
    pub prefill_chunk: usize,
    /// Positions of a sequence; by default those of the longest planned request.
    pub context: Option<usize>,
    /// The device.
    pub device: DeviceId,
    /// Whose kernels compute in process.
    pub kernels: Kernels,
    /// Serve it at this address instead of sending requests to it.
    pub serve: Option<String>,
}

/// How requests come and what they ask.
#[derive(Debug, Clone)]
pub struct TrafficOptions {
    /// Requests a second; in a search, the first rate that is tried.
    pub rate: Option<f64>,
    /// How they are spread.
    pub arrivals: Arrivals,
    /// Users who ask, wait for the answer, and think.
    pub users: Option<usize>,
    /// Seconds between an answer and the user's next request.
    pub think_s: f64,
    /// A file with the requests of a trace.
    pub trace: Option<PathBuf>,
    /// What the numbers of the trace's times count.
    pub trace_unit: Option<TimeUnit>,
    /// Play the trace so many times as fast.
    pub speed: f64,
    /// Measured requests.
    pub requests: Option<usize>,
    /// Measured seconds.
    pub duration_s: Option<f64>,
    /// Seconds of the same load before what is measured.
    pub warm_up_s: Option<f64>,
    /// Tokens of prompts.
    pub prompt: LengthDistribution,
    /// Tokens of answers.
    pub gen_tokens: LengthDistribution,
    /// Share of each prompt that is a beginning common to all.
    pub shared_prefix: f64,
    /// The same as it was written, for the record.
    pub shared_prefix_as_written: String,
    /// A file with prompts instead of made-up ones.
    pub prompts: Option<PathBuf>,
}

impl TrafficOptions {
    /// Prompts are of planned lengths, and neither of a file nor of a trace.
    pub(super) fn is_made_up(&self) -> bool {
        self.trace.is_none() && self.prompts.is_none()
    }
}

/// How the limit is looked for.
#[derive(Debug, Clone)]
pub struct LimitOptions {
    /// Find the highest rate that keeps the SLO.
    pub find: bool,
    /// The limit is found when the rates that hold and break are within this share.
    pub precision: f64,
    /// Most steps of the search.
    pub max_steps: usize,
    /// Highest rate that is tried.
    pub max_rate: f64,
    /// Send a burst at twice the limit to see how long it is felt.
    pub burst: bool,
}

impl EndpointOptions {
    /// The address, read; the error does not repeat it.
    pub(super) fn location(&self) -> Result<Location, JobError> {
        Location::parse(&self.url).or_else(|why| usage(format!("--endpoint: {why}")))
    }

    /// The API that is used.
    pub(super) fn api(&self) -> Api {
        let of_address = || Location::parse(&self.url).ok()?.api();
        self.api.or_else(of_address).unwrap_or(Api::Chat)
    }
}
