//! `sizewell catalog`.

use super::{Exit, output};
use crate::catalog::Catalog;
use crate::report::table::{DASH, Table};
use crate::units::Quantity;
use std::path::PathBuf;

/// What to do with the catalog.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// List its offers.
    List(ListArgs),
}

/// Arguments of `catalog list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only this provider.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only this region.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Only offers whose accelerator has this in its id, such as h100.
    #[arg(long, value_name = "TEXT")]
    accelerator: Option<String>,
    /// Another catalog folder.
    #[arg(long, value_name = "DIR")]
    catalog: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a verb.
pub fn run(verb: Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::List(args) => list(args),
    }
}

fn list(args: ListArgs) -> anyhow::Result<Exit> {
    let catalog = load_catalog(args.catalog.as_deref())?;
    let is = |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|w| w.eq_ignore_ascii_case(have));
    let has = |wanted: &Option<String>, have: &Option<String>| match wanted {
        Some(wanted) => have.as_deref().is_some_and(|have| have.contains(wanted.to_lowercase().as_str())),
        None => true,
    };
    let offers = catalog.offers.iter().filter(|offer| {
        is(&args.provider, &offer.provider)
            && is(&args.region, &offer.region)
            && has(&args.accelerator, &offer.accelerator)
    });
    if args.json {
        let rows: Vec<_> = offers
            .map(|offer| {
                serde_json::json!({
                    "provider": offer.provider, "instance_type": offer.instance_type, "region": offer.region,
                    "market": offer.market, "usd_per_h": offer.usd_per_h, "accelerator": offer.accelerator,
                    "accelerator_count": offer.accelerator_count, "cpu": offer.cpu, "vcpus": offer.vcpus,
                    "memory_bytes": offer.memory, "observed_at": offer.observed_at, "source": offer.source,
                    "source_licence": offer.source_licence, "flags": offer.flags,
                })
            })
            .collect();
        output::json(&rows)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(
        format!("Offers ({} catalog)", catalog.origin),
        &["provider", "type", "region", "market", ">$/h", ">vCPUs", ">memory", "hardware", "seen on", "flags"],
    )
    .spare(&["flags", "vCPUs", "memory", "market"]);
    for offer in offers {
        let hardware = match &offer.accelerator {
            Some(id) => format!("{} x {id}", offer.accelerator_count),
            None => offer.cpu.clone().unwrap_or(DASH.to_string()),
        };
        table.push(vec![
            offer.provider.clone(),
            offer.instance_type.clone(),
            offer.region.clone(),
            offer.market.name().to_string(),
            offer.usd_per_h.0.normalize().to_string(),
            offer.vcpus.map_or(DASH.to_string(), |v| v.to_string()),
            offer.memory.map_or(DASH.to_string(), Quantity::human),
            hardware,
            offer.observed_at.map_or("unknown".to_string(), |d| d.to_string()),
            offer.flags.join(" "),
        ]);
    }
    table.notes.push(format!("{} offers; hash {}", table.rows.len(), &catalog.hash[..12]));
    output::table(&table)?;
    Ok(Exit::Done)
}

/// The catalog of a folder, or the one that the program carries.
pub fn load_catalog(folder: Option<&std::path::Path>) -> anyhow::Result<Catalog> {
    Ok(match folder {
        Some(folder) => Catalog::from_folder(folder)?,
        None => Catalog::embedded()?,
    })
}
