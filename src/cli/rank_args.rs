//! What `rank` and `plan` are asked: lengths, limits, markets, filters, the service and its demand, the age of prices.

use super::console::Console;
use super::{today, usage};
use crate::catalog::Market;
use crate::evidence;
use crate::record::run::engine_identity;
use crate::record::systems::gathered;
use crate::record::{Basis, Outcome, Run, Slo};
use crate::sizing::cost::spot::SpotTerms;
use crate::sizing::demand::{Demand, Load, Usage};
use crate::sizing::lengths::Lengths;
use crate::sizing::points::RequestedLengths;
use crate::sizing::service;
use crate::sizing::{Freshness, Interval, MachinePrice, RankRequest, Service, own};
use crate::units::{Bytes, Seconds, Usd, parse_seconds};
use crate::workload::Quant;
use clap::ValueEnum;
use rust_decimal::Decimal;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Markets on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MarketArg {
    #[value(name = "on_demand", alias = "on-demand")]
    OnDemand,
    Spot,
    #[value(name = "reserved_1y", alias = "reserved-1y")]
    Reserved1y,
    #[value(name = "reserved_3y", alias = "reserved-3y")]
    Reserved3y,
    Serverless,
    Managed,
    All,
}

impl MarketArg {
    fn markets(self) -> Vec<Market> {
        match self {
            Self::OnDemand => vec![Market::OnDemand],
            Self::Spot => vec![Market::Spot],
            Self::Reserved1y => vec![Market::Reserved1y],
            Self::Reserved3y => vec![Market::Reserved3y],
            Self::Serverless => vec![Market::Serverless],
            Self::Managed => vec![Market::Managed],
            Self::All => Market::LISTED.to_vec(),
        }
    }
}

/// Figures to rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnlyArg {
    Measured,
    Imported,
    Projected,
}

/// What is ranked.
#[derive(Debug, clap::Args)]
pub(crate) struct RankArgs {
    /// Folders of runs of one model and engine, measured or imported; offers are projected from the first.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The model to rank, where the folders hold several; a part of its name will do.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The engine to rank, where the folders hold several: engines are not mixed.
    #[arg(long, value_name = "NAME")]
    engine: Option<String>,
    /// Only requests that came like this: closed_1, open_constant and so on; `closed` and `open` are all of theirs.
    #[arg(long, value_name = "NAME")]
    arrival: Option<String>,
    /// Runs or result files of other tools that projections learn from, of whatever model and engine.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    evidence: Vec<PathBuf>,
    /// Quantization levels to rank together; the highest precision up to 16 bits by default.
    #[arg(long, value_delimiter = ',', value_name = "LEVEL,...")]
    quant: Vec<Quant>,
    /// Prompt length of the requests: a measured one, or one between measured ones.
    #[arg(long, value_name = "N")]
    prompt: Option<usize>,
    /// Generated tokens of the requests, likewise.
    #[arg(long, value_name = "N")]
    gen_tokens: Option<usize>,
    /// Lengths of requests as CSV: prompt_tokens, gen_tokens and perhaps count; a trace will do.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "gen_tokens"])]
    lengths: Option<PathBuf>,
    /// Limits that must be kept, such as ttft=500ms,tpot=50ms,e2e=2s (medians) or ttft_p99=1s (measured rows only).
    #[arg(long, value_name = "LIMITS", default_value = "", hide_default_value = true)]
    slo: Slo,
    /// How the hardware is bought.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "on_demand")]
    market: Vec<MarketArg>,
    /// Only these providers.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    provider: Vec<String>,
    /// Only these regions.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    region: Vec<String>,
    /// Only these accelerators, such as l4,h100.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    gpu: Vec<String>,
    /// Least memory of a GPU, or of a host without one.
    #[arg(long, value_name = "GIB")]
    min_memory: Option<f64>,
    /// Only figures that were measured, or only projected ones.
    #[arg(long, value_enum, value_name = "BASIS")]
    only: Option<OnlyArg>,
    /// Every region of a type, not only its cheapest.
    #[arg(long)]
    all_regions: bool,
    /// The instance that the measured machine is, such as aws:m7a.large.
    #[arg(long = "as", value_name = "PROVIDER:TYPE")]
    instance: Option<String>,
    /// What an hour of the measured machine costs, in USD.
    #[arg(long, value_name = "USD")]
    price_per_hour: Option<Decimal>,
    /// Hardware of one's own as a TOML file, such as instance-catalog/own/8xh100.toml.
    #[arg(long, value_name = "FILE")]
    own: Vec<PathBuf>,
    /// Prices from this folder instead of those that were fetched last or that the program carries.
    #[arg(long, value_name = "DIR")]
    pub catalog: Option<PathBuf>,
    #[command(flatten)]
    demand: DemandArgs,
    #[command(flatten)]
    service: ServiceArgs,
    /// Leave out prices that are older than this.
    #[arg(long, value_name = "DAYS", conflicts_with = "allow_stale")]
    max_age: Option<i64>,
    /// Rank old prices too, those that are known to be out of date among them.
    #[arg(long)]
    allow_stale: bool,
}

/// How much is asked of the service.
#[derive(Debug, clap::Args)]
#[group(id = "demand")]
struct DemandArgs {
    /// Requests a second.
    #[arg(long, value_name = "R", conflicts_with_all = ["day", "users", "utilisation"])]
    rps: Option<f64>,
    /// Requests a second over the day as CSV: hour and requests_per_s.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["users", "utilisation"])]
    day: Option<PathBuf>,
    /// Users who ask, wait for the answer, and think.
    #[arg(long, value_name = "N", conflicts_with = "utilisation")]
    users: Option<f64>,
    /// Time between an answer and the user's next request.
    #[arg(long, value_name = "TIME", requires = "users")]
    think_time: Option<String>,
    /// Share of the paid time that is used, where no demand is given: 0.4 for 40 %.
    #[arg(long, value_name = "SHARE", alias = "utilization")]
    utilisation: Option<f64>,
    /// Share of its sustained rate that an instance is loaded to at the peak.
    #[arg(long, value_name = "SHARE", default_value_t = 0.7)]
    headroom: f64,
    /// Instances that may fail while the rest carries the peak.
    #[arg(long, value_name = "N", default_value_t = 0)]
    spare: usize,
    /// Have as many instances as each hour needs, rather than those of the peak all day.
    #[arg(long)]
    autoscale: bool,
}

/// What else is known of the service.
#[derive(Debug, clap::Args)]
struct ServiceArgs {
    /// Time of a cold start, such as 20s; a run of `sizewell coldstart` among the folders gives it too.
    #[arg(long, value_name = "TIME")]
    cold_start: Option<String>,
    /// Time that a serverless worker is kept after a request.
    #[arg(long, value_name = "TIME")]
    keep_warm: Option<String>,
    /// Share of the time that on-demand capacity stands in for spot.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    spot_fallback: f64,
    /// Off the list prices that you pay: 12%.
    #[arg(long, value_name = "SHARE")]
    discount: Option<String>,
    /// Commitments as a share off the on-demand price: reserved_1y=38%,reserved_3y=56%.
    #[arg(long, value_delimiter = ',', value_name = "MARKET=SHARE,...")]
    commit: Vec<String>,
    /// Share of requests that fail and are paid all the same.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    failure_share: f64,
    /// Disk of an instance; the weights by default.
    #[arg(long, value_name = "GB")]
    disk: Option<f64>,
    /// Bytes of an answer; 4 a token and 500 by default.
    #[arg(long, value_name = "BYTES")]
    response_bytes: Option<f64>,
}

/// Reads `38%` or `0.38` as a share from 0 to below 1.
pub(super) fn share(what: &str, text: &str) -> anyhow::Result<f64> {
    let text = text.trim();
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
        None => text.parse(),
    };
    match parsed {
        Ok(share) if (0.0..1.0).contains(&share) => Ok(share),
        _ => usage(format!("{what}: `{text}` is not a share from 0 to below 1, such as 38% or 0.38")),
    }
}

fn within(what: &str, value: f64, range: impl std::ops::RangeBounds<f64>) -> anyhow::Result<()> {
    if value.is_finite() && range.contains(&value) { Ok(()) } else { usage(format!("{what}: {value} is out of range")) }
}

fn time(text: &Option<String>) -> anyhow::Result<Option<Seconds>> {
    let read = |text: &str| match text.trim() {
        "0" | "0s" | "0ms" => Ok(Seconds(0.0)),
        text => parse_seconds(text).or_else(usage),
    };
    text.as_deref().map(read).transpose()
}

impl DemandArgs {
    fn usage(&self) -> anyhow::Result<Usage> {
        within("--headroom", self.headroom, f64::MIN_POSITIVE..=1.0)?;
        let load = match (self.rps, &self.day, self.users) {
            (Some(rate), ..) => {
                within("--rps", rate, f64::MIN_POSITIVE..1e9)?;
                Load::Rates(vec![rate])
            }
            (_, Some(day), _) => Load::read(day).or_else(usage)?,
            (_, _, Some(users)) => {
                within("--users", users, f64::MIN_POSITIVE..1e12)?;
                Load::Users { users, think_s: time(&self.think_time)?.map_or(0.0, |t| t.0) }
            }
            _ => {
                if self.spare > 0 || self.autoscale {
                    return usage("--spare and --autoscale are about a demand: give --rps, --day or --users too");
                }
                let share = self.utilisation.unwrap_or(1.0);
                within("--utilisation", share, f64::MIN_POSITIVE..=1.0)?;
                return Ok(Usage::Share(share));
            }
        };
        Ok(Usage::Demand(Demand { load, headroom: self.headroom, spare: self.spare, autoscale: self.autoscale }))
    }
}

impl ServiceArgs {
    fn service(&self, usage_: Usage, measured_cold: Option<Interval>) -> anyhow::Result<Service> {
        within("--spot-fallback", self.spot_fallback, 0.0..=1.0)?;
        within("--failure-share", self.failure_share, 0.0..0.99)?;
        for (what, value) in [("--disk", self.disk), ("--response-bytes", self.response_bytes)] {
            if let Some(value) = value {
                within(what, value, 0.0..1e15)?;
            }
        }
        let mut commitments = Vec::new();
        for text in &self.commit {
            let Some((market, off)) = text.split_once('=') else {
                return usage(format!("--commit: `{text}` is not like reserved_1y=38%"));
            };
            let market = match market.trim() {
                "reserved_1y" => Market::Reserved1y,
                "reserved_3y" => Market::Reserved3y,
                other => return usage(format!("--commit: `{other}` is neither reserved_1y nor reserved_3y")),
            };
            commitments.push((market, share("--commit", off)?));
        }
        let cold_s = time(&self.cold_start)?.map(|t| Interval::exact(t.0)).or(measured_cold);
        let warm_s = cold_s.map_or(service::ASSUMED_WARM_S, |cold| cold.value);
        Ok(Service {
            usage: usage_,
            spot: SpotTerms { warm_s, lost_s: 0.0, fallback: self.spot_fallback },
            cold_s,
            keep_warm_s: time(&self.keep_warm)?.map(|t| t.0),
            response_bytes: self.response_bytes,
            disk_gb: self.disk,
            failure_share: self.failure_share,
            discount: self.discount.as_deref().map_or(Ok(0.0), |text| share("--discount", text))?,
            commitments,
        })
    }
}

fn model_of(run: &Run) -> String {
    run.cases.first().map_or(String::new(), |row| row.key.model.clone())
}

/// The engine that `name` is of: what older records of these runs call it, it is called now.
fn known_engine(name: &str, runs: &[Run]) -> String {
    if runs.iter().any(|run| run.record.engine.name.eq_ignore_ascii_case(name)) {
        engine_identity(&name.to_lowercase()).to_string()
    } else {
        name.to_string()
    }
}

impl RankArgs {
    /// The request, with the cold start that one of the folders measured.
    pub(crate) fn request(&self, measured_cold: Option<Interval>, console: &Console) -> anyhow::Result<RankRequest> {
        let (evidence, left_out) = evidence::read_any(&self.evidence)?;
        left_out.iter().for_each(|file| console.warn(format!("left out of the evidence: {file}")));
        let instance = match &self.instance {
            Some(text) => Some(MachinePrice::parse_instance(text).or_else(usage)?),
            None => None,
        };
        if self.price_per_hour.is_some_and(|price| price <= Decimal::ZERO) {
            return usage("--price-per-hour must be above 0");
        }
        if self.max_age.is_some_and(|days| days < 0) {
            return usage("--max-age must be 0 or more days");
        }
        for (what, tokens) in [("--prompt", self.prompt), ("--gen-tokens", self.gen_tokens)] {
            if tokens == Some(0) {
                return usage(format!("{what} must be above 0"));
            }
        }
        if let Some(gib) = self.min_memory {
            within("--min-memory", gib, 0.0..1e9)?;
        }
        let lengths = self.lengths.as_deref().map(|path| Lengths::read(path).or_else(usage)).transpose()?;
        let mut markets: Vec<Market> = self.market.iter().flat_map(|market| market.markets()).collect();
        let service = self.service.service(self.demand.usage()?, measured_cold)?;
        // Whoever names a commitment wants to see it.
        markets.extend(service.commitments.iter().map(|(market, _)| *market));
        markets.sort();
        markets.dedup();
        Ok(RankRequest {
            quants: self.quant.clone(),
            wanted: RequestedLengths { lengths, prompt_tokens: self.prompt, gen_tokens: self.gen_tokens },
            slo: self.slo.clone(),
            markets,
            providers: self.provider.clone(),
            regions: self.region.clone(),
            gpus: self.gpu.clone(),
            least_memory: self.min_memory.map(|gib| Bytes(gib * 1024f64.powi(3))),
            only: self.only.map(|only| match only {
                OnlyArg::Measured => Basis::Measured,
                OnlyArg::Imported => Basis::Imported,
                OnlyArg::Projected => Basis::Projected,
            }),
            all_regions: self.all_regions,
            machine: MachinePrice { instance, usd_per_h: self.price_per_hour.map(Usd) },
            own: self.own.iter().map(|path| own::read(path).or_else(usage)).collect::<anyhow::Result<_>>()?,
            service,
            freshness: Freshness { max_age_days: self.max_age, allow_stale: self.allow_stale },
            today: today(),
            evidence: Arc::new(evidence),
        })
    }

    /// The runs of the folders: those with measured cases of the model and engine that were asked for, and the cold start
    /// that any of them measured.
    pub(crate) fn read_runs(&self) -> anyhow::Result<(Vec<Run>, Option<Interval>)> {
        let (mut profiles, mut started): (Vec<Run>, Vec<Run>) = Default::default();
        let mut starts: Vec<f64> = Vec::new();
        for folder in &self.runs {
            let run = Run::read(folder)?;
            let cold = run.cold_starts()?;
            starts.extend(cold.iter());
            if cold.is_empty() || run.cases.iter().any(|row| row.outcome == Outcome::Ok) {
                profiles.extend(run.into_systems())
            } else {
                started.push(run)
            }
        }
        if profiles.is_empty() {
            return usage(
                "none of the folders has measured cases: give one of `sizewell run` or `sizewell profile` too",
            );
        }
        self.choose("model", &self.model, &mut profiles, model_of)?;
        let engine = self.engine.as_ref().map(|name| known_engine(name, &profiles));
        self.choose("engine", &engine, &mut profiles, |run| run.record.engine.identity().to_string())?;
        let profiles = self.arrived(gathered(profiles))?;
        let model = |run: &Run| run.record.model.as_ref().map(|model| model.name.clone());
        if let Some(other) = started.iter().find(|run| model(run) != model(&profiles[0])) {
            return usage(format!(
                "{} has starts of another model than {}",
                other.path.display(),
                profiles[0].path.display()
            ));
        }
        starts.sort_by(f64::total_cmp);
        let median = starts.get(starts.len() / 2).copied();
        Ok((profiles, median.map(|median| Interval::new(median, starts[0], starts[starts.len() - 1]))))
    }

    /// Keeps the cases whose requests came as was asked for: `closed` is every closed loop, `closed_16` that of 16 users.
    fn arrived(&self, mut runs: Vec<Run>) -> anyhow::Result<Vec<Run>> {
        let Some(asked) = self.arrival.as_ref().map(|name| name.to_lowercase()) else { return Ok(runs) };
        let mut known: Vec<String> = Vec::new();
        for run in &mut runs {
            let own = run.record.arrival.clone();
            run.cases.retain(|row| {
                let arrival = row.key.arrival.as_ref().unwrap_or(&own);
                if !known.contains(arrival) {
                    known.push(arrival.clone());
                }
                *arrival == asked || arrival.split('_').next() == Some(asked.as_str())
            });
        }
        runs.retain(|run| !run.cases.is_empty());
        known.sort();
        if runs.is_empty() {
            usage(format!("--arrival: no requests came `{asked}`; there are {}", known.join(", ")))
        } else {
            Ok(runs)
        }
    }

    /// Keeps the runs of what was asked for; imported folders with several are an error that lists them.
    fn choose(
        &self,
        what: &str,
        asked: &Option<String>,
        runs: &mut Vec<Run>,
        of: fn(&Run) -> String,
    ) -> anyhow::Result<()> {
        let mut known: Vec<String> = runs.iter().map(of).collect();
        known.sort();
        known.dedup();
        if let Some(name) = asked {
            let wanted = name.to_lowercase();
            let exact = known.iter().any(|known| known.to_lowercase() == wanted);
            runs.retain(|run| {
                let have = of(run).to_lowercase();
                if exact { have == wanted } else { have.contains(&wanted) }
            });
            known.retain(|known| runs.iter().any(|run| of(run) == *known));
            if runs.is_empty() {
                return usage(format!("--{what}: the folders hold no {what} called `{name}`"));
            }
        }
        let imported = runs.iter().any(|run| run.record.basis == Basis::Imported);
        if known.len() > 1 && imported {
            return usage(format!("the folders hold several {what}s: --{what} says which ({})", known.join(", ")));
        }
        Ok(())
    }

    /// Files that are read.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let one = [&self.lengths, &self.demand.day].into_iter().flatten();
        self.runs.iter().chain(&self.evidence).chain(&self.own).chain(one).map(PathBuf::as_path).collect()
    }

    /// Whether a demand was given.
    pub(crate) fn has_demand(&self) -> bool {
        self.demand.rps.is_some() || self.demand.day.is_some() || self.demand.users.is_some()
    }
}
