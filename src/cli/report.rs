//! `sizewell report`.

use super::catalog::load_catalog;
use super::talk::Talk;
use super::{Exit, today, usage};
use crate::catalog::Catalog;
use crate::record::{Outcome, Run};
use crate::report::{Report, exporter};
use crate::sizing::{MachinePrice, RankRequest, Ranking, rank};
use crate::workload::Quant;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the run.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// File to write; its ending says the form: .html or .md.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Prices from this folder instead of those that the program carries.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// The instance that the measured machine is, such as aws:m7a.large.
    #[arg(long = "as", value_name = "PROVIDER:TYPE")]
    instance: Option<String>,
    /// What an hour of the measured machine costs, in USD.
    #[arg(long, value_name = "USD")]
    price_per_hour: Option<rust_decimal::Decimal>,
}

/// Writes the report of a run.
pub fn run(args: Args, talk: &Talk) -> anyhow::Result<Exit> {
    let instance = match &args.instance {
        Some(text) => Some(MachinePrice::parse_instance(text).or_else(usage)?),
        None => None,
    };
    if args.price_per_hour.is_some_and(|price| price <= rust_decimal::Decimal::ZERO) {
        return usage("--price-per-hour must be above 0");
    }
    let machine = MachinePrice { instance, usd_per_h: args.price_per_hour.map(crate::units::Usd) };
    let extension = args.output.extension().and_then(|e| e.to_str()).unwrap_or("");
    exporter(extension).map(|_| ()).or_else(usage)?;
    let run = Run::read(&args.run)?;
    let catalog = load_catalog(args.catalog.as_deref())?;
    write(&run, rankings(&run, &catalog, &machine), &args.output)?;
    talk.say(format!("wrote {}", args.output.display()));
    Ok(Exit::Done)
}

/// A ranking for each level that was measured, in the order of the run; or why there is none.
pub fn rankings(run: &Run, catalog: &Catalog, machine: &MachinePrice) -> Result<Vec<Ranking>, String> {
    let mut quants: Vec<Quant> =
        run.cases.iter().filter(|row| row.outcome == Outcome::Ok).map(|row| row.key.case.quant).collect();
    quants.sort();
    quants.dedup();
    if quants.is_empty() {
        return Err("no case was measured".to_string());
    }
    let request = RankRequest { machine: machine.clone(), ..RankRequest::on(today()) };
    quants
        .into_iter()
        .map(|quant| rank(run, catalog, &RankRequest { quants: vec![quant], ..request.clone() }))
        .collect()
}

/// Writes a report in the form that the file's ending says.
pub fn write(run: &Run, rankings: Result<Vec<Ranking>, String>, path: &Path) -> anyhow::Result<()> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let exporter = exporter(extension).or_else(usage)?;
    let text = exporter.export(&Report { run, rankings, power: &run.power()?, today: today() });
    std::fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

/// Writes every plot into a folder, one SVG file each.
pub fn write_plots(run: &Run, rankings: Result<Vec<Ranking>, String>, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    for plot in (Report { run, rankings, power: &run.power()?, today: today() }).plots() {
        let path = folder.join(format!("{}.svg", plot.name));
        std::fs::write(&path, plot.svg).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}
