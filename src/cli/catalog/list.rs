//! `sizewell catalog list`.

use super::load_catalog;
use crate::catalog::{Catalog, Market, Offer};
use crate::cli::{Exit, output, usage};
use crate::report::table::{DASH, Table};
use crate::units::Quantity;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Arguments of `catalog list`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this provider.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only this region.
    #[arg(long, value_name = "NAME")]
    region: Option<String>,
    /// Only this market, such as spot.
    #[arg(long, value_name = "NAME")]
    market: Option<String>,
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

/// Lists offers.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let catalog = load_catalog(args.catalog.as_deref())?;
    let is = |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|w| w.eq_ignore_ascii_case(have));
    let has = |wanted: &Option<String>, offer: &Offer| match wanted {
        Some(wanted) => {
            offer.shape.accelerator.as_deref().is_some_and(|have| have.contains(wanted.to_lowercase().as_str()))
        }
        None => true,
    };
    let offers: Vec<&Offer> = catalog
        .offers
        .iter()
        .filter(|offer| {
            is(&args.provider, &offer.shape.provider)
                && is(&args.region, &offer.region)
                && is(&args.market, offer.market.name())
                && has(&args.accelerator, offer)
        })
        .collect();
    if let Some(why) = unknown_name(&args, &catalog) {
        return usage(why);
    }
    if args.json {
        let rows: Vec<_> = offers.iter().map(|offer| as_json(offer, &catalog)).collect();
        output::json(&rows)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(
        format!("Offers ({} catalog)", catalog.origin),
        &["provider", "type", "region", "market", ">$/h", ">vCPUs", ">memory", "hardware", "seen on", "flags"],
    )
    .spare(&["flags", "vCPUs", "memory", "market"]);
    for offer in offers {
        table.push(cells(offer));
    }
    table.notes.push(format!("{} offers; hash {}", table.rows.len(), &catalog.hash[..12]));
    if catalog.offers.iter().any(|offer| offer.market == Market::Serverless) {
        table.notes.push("serverless prices are by the second and shown by the hour".to_string());
    }
    output::table(&table)?;
    Ok(Exit::Done)
}

/// That the catalog has nothing of a name that was asked for, where it has not.
fn unknown_name(args: &Args, catalog: &Catalog) -> Option<String> {
    for (what, wanted, known) in [
        (
            "provider",
            &args.provider,
            catalog.offers.iter().map(|o| o.shape.provider.to_string()).collect::<BTreeSet<_>>(),
        ),
        ("region", &args.region, catalog.offers.iter().map(|o| o.region.to_string()).collect()),
        ("market", &args.market, catalog.offers.iter().map(|o| o.market.name().to_string()).collect()),
    ] {
        if let Some(name) = wanted.as_ref().filter(|name| !known.iter().any(|k| k.eq_ignore_ascii_case(name))) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Some(format!("the catalog has no {what} `{name}`; it has {}", known.join(", ")));
        }
    }
    None
}

fn as_json(offer: &Offer, catalog: &Catalog) -> serde_json::Value {
    let source = catalog.sources.get(&*offer.source);
    let flags: Vec<&str> = offer.flags.iter().chain(&offer.shape.flags).map(|f| &**f).collect();
    serde_json::json!({
        "provider": offer.shape.provider, "instance_type": offer.shape.instance_type,
        "region": offer.region, "zone": offer.zone, "market": offer.market, "usd": offer.price,
        "unit": offer.unit, "usd_per_h": offer.usd_per_h(), "accelerator": offer.shape.accelerator,
        "accelerator_count": offer.shape.accelerator_count, "cpu": offer.shape.cpu,
        "vcpus": offer.shape.vcpus, "memory_bytes": offer.shape.memory,
        "observed_at": offer.observed_at, "source": source.map(|s| &s.what),
        "source_licence": source.map(|s| &s.licence), "flags": flags,
    })
}

fn cells(offer: &Offer) -> Vec<String> {
    let shape = &offer.shape;
    let hardware = match &shape.accelerator {
        Some(id) => format!("{} x {id}", shape.accelerator_count),
        None => shape.cpu.as_deref().unwrap_or(DASH).to_string(),
    };
    let flags: Vec<&str> = offer.flags.iter().chain(&shape.flags).map(|f| &**f).collect();
    vec![
        shape.provider.to_string(),
        shape.instance_type.to_string(),
        offer.region.to_string(),
        offer.market.name().to_string(),
        offer.usd_per_h().map_or(DASH.to_string(), |usd| usd.0.normalize().to_string()),
        shape.vcpus.map_or(DASH.to_string(), |v| v.to_string()),
        shape.memory.map_or(DASH.to_string(), Quantity::human),
        hardware,
        offer.observed_at.map_or("unknown".to_string(), |d| d.to_string()),
        flags.join(" "),
    ]
}
