//! `sizewell gate`.

use super::catalog::load_catalog;
use super::console::Console;
use super::{Exit, output, usage};
use crate::gate::judge::Prices;
use crate::gate::{Judgement, Policy, Price, Side, Verdict, judge};
use crate::report::{annotations, content, junit, markdown};
use anyhow::Context;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `gate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder of the run to judge; several runs of the same show how much runs differ.
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Rules as a TOML file.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Folder of the run to hold it against; several runs show how much runs differ.
    #[arg(long, value_name = "RUN", num_args = 1)]
    baseline: Vec<PathBuf>,
    /// The instance that the machine is, for rules about cost, such as aws:g6.xlarge.
    #[arg(long = "as", value_name = "PROVIDER:TYPE", conflicts_with = "price_per_hour")]
    instance: Option<String>,
    /// What an hour of the machine costs, in USD, for rules about cost.
    #[arg(long, value_name = "USD")]
    price_per_hour: Option<Decimal>,
    /// Prices from this folder instead of those that the program carries.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Also write the verdicts as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also write a summary as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Judges.
pub(crate) fn run(args: Args, console: &Console) -> anyhow::Result<Exit> {
    if args.policy.is_none() && args.baseline.is_empty() {
        return usage("what is the run held against? --policy gate.toml, or --baseline RUN, or both");
    }
    if args.price_per_hour.is_some_and(|price| price <= Decimal::ZERO) {
        return usage("--price-per-hour must be above 0");
    }
    let outputs: Vec<&Path> = [&args.junit, &args.markdown].into_iter().flatten().map(PathBuf::as_path).collect();
    let read = args.runs.iter().chain(&args.baseline).chain(&args.policy).map(PathBuf::as_path);
    output::check_files(&outputs, &read.collect::<Vec<_>>())?;
    let policy = match &args.policy {
        Some(path) => Policy::read(path).or_else(usage)?,
        None => Policy::of_a_baseline(),
    };
    let candidate = Side::read(&args.runs).map_err(anyhow::Error::msg)?;
    let baseline = match args.baseline.as_slice() {
        [] => None,
        folders => Some(Side::read(folders).map_err(anyhow::Error::msg)?),
    };
    let prices = Prices {
        candidate: price(&args, &policy, &candidate)?,
        baseline: baseline.as_ref().map(|side| price(&args, &policy, side)).transpose()?.flatten(),
    };
    let judgement = judge(&candidate, baseline.as_ref(), &policy, prices).or_else(usage)?;
    write(&args, &judgement)?;
    if judgement.verdict == Verdict::CannotTell {
        console.warn("it cannot be told: see what it would take");
    }
    Ok(match judgement.verdict {
        Verdict::Pass => Exit::Done,
        Verdict::Fail => Exit::GateFailed,
        Verdict::CannotTell => Exit::GateCannotTell,
        Verdict::Invalid => Exit::InvalidMeasurement,
    })
}

fn write(args: &Args, judgement: &Judgement) -> anyhow::Result<()> {
    // Files first: whoever reads the screen may leave early.
    if let Some(path) = &args.junit {
        output::file(path, junit::export(judgement).map_err(anyhow::Error::msg)?.as_bytes())?;
    }
    let summary = summary(judgement);
    if let Some(path) = &args.markdown {
        output::file(path, summary.as_bytes())?;
    }
    let in_github = std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true");
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|_| in_github) {
        let path = Path::new(&path);
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| file.write_all(summary.as_bytes()))
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    if args.json {
        return output::json(judgement);
    }
    if let Some(table) = content::differences(&judgement.differences) {
        output::table(&table)?;
        output::text("\n")?;
    }
    output::table(&content::verdicts(judgement))?;
    if let Some(table) = content::reruns(judgement) {
        output::text("\n")?;
        output::table(&table)?;
    }
    if in_github {
        output::text(&annotations::lines(judgement))?;
    }
    Ok(())
}

/// The verdicts as Markdown.
fn summary(judgement: &Judgement) -> String {
    let tables = [Some(content::verdicts(judgement)), content::reruns(judgement)];
    let differences = content::differences(&judgement.differences);
    tables.into_iter().chain([differences]).flatten().map(|table| markdown::table(&table)).collect()
}

/// What an hour of a side's machine costs: by the command line, by the policy, or as its run says.
fn price(args: &Args, policy: &Policy, side: &Side) -> anyhow::Result<Option<Price>> {
    let of = |usd_per_h: f64| Some(Price { usd_per_h, utilisation: policy.utilisation });
    let environment = &side.first().run.record.environment;
    let recorded = &environment.instance;
    let named = args.instance.as_ref().or(policy.instance.as_ref().filter(|_| args.price_per_hour.is_none()));
    if let Some(usd) = args.price_per_hour.and_then(|usd| usd.to_f64()).or(policy.usd_per_h.filter(|_| named.is_none()))
    {
        return Ok(of(usd));
    }
    let (provider, name) = match named {
        Some(text) => crate::sizing::MachinePrice::parse_instance(text).or_else(usage)?,
        None => {
            if let Some(usd) = recorded.usd_per_hour.and_then(|usd| usd.to_f64()) {
                return Ok(of(usd));
            }
            match recorded.provider.clone().zip(recorded.instance_type.clone()) {
                Some(known) => known,
                None => return Ok(None),
            }
        }
    };
    let catalog = load_catalog(args.catalog.as_deref())?;
    let cheapest = catalog.on_demand_usd_per_h(&provider, &name);
    match (cheapest, named) {
        (Some(usd), _) => Ok(of(usd)),
        (None, Some(text)) => usage(format!("the catalog has no on-demand price of {text}")),
        (None, None) => Ok(None),
    }
}
