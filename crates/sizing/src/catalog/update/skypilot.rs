//! SkyPilot's catalog: a CSV file a cloud. Its habits are handled here: prices of GCP's hosts and accelerators stand
//! apart, memory is in MiB or in GiB, and an unknown price is 0.

use super::{Context, UNREADABLE, columns, readable};
use crate::catalog::adopt::Fetched;
use crate::catalog::alias::Match;
use crate::catalog::facts::Source;
use crate::catalog::price::{Market, PriceRow, decimal};
use crate::catalog::shape::ShapeRow;
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Most bytes of a list.
const MOST_BYTES: u64 = 256 << 20;
/// Its lists are of the day on which they are fetched, as far as they say; users have found prices in them that were older.
const LAGS: &str = "list_may_lag";
/// Version of its columns.
const VERSION: &str = "v8";

/// Providers of the catalog and what SkyPilot calls them.
pub const CLOUDS: [(&str, &str); 11] = [
    ("aws", "aws"),
    ("azure", "azure"),
    ("digitalocean", "do"),
    ("gcp", "gcp"),
    ("hyperstack", "hyperstack"),
    ("jarvislabs", "jarvislabs"),
    ("lambda", "lambda"),
    ("nebius", "nebius"),
    ("oci", "oci"),
    ("runpod", "runpod"),
    ("verda", "verda"),
];

#[derive(Debug, Deserialize)]
struct Line {
    #[serde(rename = "InstanceType", default)]
    instance_type: String,
    #[serde(rename = "AcceleratorName", default)]
    accelerator: String,
    #[serde(rename = "AcceleratorCount", default)]
    count: Option<f64>,
    #[serde(rename = "vCPUs", default)]
    vcpus: Option<f64>,
    #[serde(rename = "MemoryGiB", default)]
    memory_gib: Option<f64>,
    #[serde(rename = "GpuInfo", default)]
    gpu_info: String,
    #[serde(rename = "Price", default)]
    price: String,
    #[serde(rename = "SpotPrice", default)]
    spot_price: String,
    #[serde(rename = "Region", default)]
    region: String,
    #[serde(rename = "AvailabilityZone", default)]
    zone: String,
}

/// Memory of a card in GiB, from a text that is JSON at one cloud and Python at another.
fn memory_gib(info: &str) -> Option<f64> {
    let after = info.split("SizeInMiB").nth(1)?;
    let number: String =
        after.chars().skip_while(|c| !c.is_ascii_digit()).take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    match number.parse::<f64>().ok()? {
        0.0 => None,
        // 80 "MiB" are GiB.
        size if size < 1024.0 => Some(size),
        size => Some(size / 1024.0),
    }
}

fn positive(text: &str) -> Option<Decimal> {
    decimal(text.trim()).filter(|usd| *usd > Decimal::ZERO)
}

pub(super) fn fetch(context: &Context<'_>) -> Result<Fetched, String> {
    let cloud = CLOUDS.iter().find(|(provider, _)| *provider == context.provider).map(|(_, cloud)| *cloud);
    let cloud = cloud.ok_or(format!("SkyPilot has no list of {}", context.provider))?;
    let url = format!("{}/catalogs/{VERSION}/{cloud}/vms.csv", context.endpoint);
    let text = context.http.text(&url, MOST_BYTES)?;
    read(&text, context).map_err(|why| format!("{url}: {why}"))
}

/// What is fetched before the first line is looked at, of a list with lines that are `unreadable`.
fn nothing_yet(source: &str, unreadable: usize, context: &Context<'_>) -> Fetched {
    let skipped = (unreadable > 0).then(|| (UNREADABLE.to_string(), unreadable));
    Fetched {
        prices: Vec::new(),
        shapes: Vec::new(),
        source: Source {
            id: source.to_string(),
            what: format!("github:skypilot-org/skypilot-catalog catalogs/{VERSION} of {}", context.provider),
            licence: "unstated".to_string(),
        },
        provider: None,
        skipped: skipped.into_iter().collect(),
        notes: Vec::new(),
    }
}

/// The prices of a list.
fn read(text: &str, context: &Context<'_>) -> Result<Fetched, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    columns(&headers, &["InstanceType", "Price", "Region"])?;
    let (mut lines, mut unreadable) = (Vec::new(), 0);
    for line in reader.deserialize::<Line>() {
        match readable(line)? {
            Some(line) => lines.push(line),
            None => unreadable += 1,
        }
    }
    let source = format!("skypilot-{}", context.provider);
    let parts = parts(&lines, context);
    let mut fetched = nothing_yet(&source, unreadable, context);
    let mut new: BTreeMap<String, ShapeRow> = BTreeMap::new();
    for line in lines.iter().filter(|line| !line.instance_type.is_empty() && context.wants(&line.region)) {
        let known = context.shapes.get(&line.instance_type);
        if known.is_none() && line.accelerator.is_empty() {
            *fetched.skipped.entry("types that the catalog has no shape of".to_string()).or_default() += 1;
            continue;
        }
        let addend = match apart(line, known, &parts, context) {
            Ok(addend) => addend,
            Err(why) => {
                *fetched.skipped.entry(why.to_string()).or_default() += 1;
                continue;
            }
        };
        if known.is_none() {
            new.entry(line.instance_type.clone()).or_insert_with(|| shape(line, context, &source));
        }
        for (market, host, part) in [
            (Market::OnDemand, positive(&line.price), addend.map(|(usual, _)| usual)),
            (Market::Spot, positive(&line.spot_price), addend.map(|(_, spot)| spot)),
        ] {
            let sum = match part {
                None => host,
                Some(part) => host.zip(part).and_then(|(host, part)| host.checked_add(part)),
            };
            // 0 is how this list says that it does not know; what is below 0 it does not say at all.
            let text = if market == Market::Spot { &line.spot_price } else { &line.price };
            if decimal(text.trim()).is_some_and(|usd| usd < Decimal::ZERO) {
                *fetched.skipped.entry("a price below 0".to_string()).or_default() += 1;
            }
            if let Some(usd) = sum {
                fetched.prices.push(price(line, market, usd, part.is_some(), &source, context));
            }
        }
    }
    fetched.shapes = new.into_values().collect();
    Ok(fetched)
}

type Part = (Option<Decimal>, Option<Decimal>);
/// Prices of accelerators that stand without a host, by id, count, region and zone.
type Parts = HashMap<(String, u64, String, String), Part>;

fn id(line: &Line, context: &Context<'_>) -> Option<String> {
    match context.aliases.resolve(&line.accelerator, memory_gib(&line.gpu_info), &line.instance_type) {
        Match::Known(id) | Match::Assumed(id) => Some(id),
        Match::Unknown => None,
    }
}

fn parts(lines: &[Line], context: &Context<'_>) -> Parts {
    let alone = lines.iter().filter(|line| line.instance_type.is_empty() && !line.accelerator.is_empty());
    alone
        .filter_map(|line| {
            let key = (id(line, context)?, line.count.unwrap_or(1.0).to_bits(), line.region.clone(), line.zone.clone());
            Some((key, (positive(&line.price), positive(&line.spot_price))))
        })
        .collect()
}

/// What has to be added to the price of a host; `None` where its price is of the whole.
fn apart(
    line: &Line,
    known: Option<&ShapeRow>,
    parts: &Parts,
    context: &Context<'_>,
) -> Result<Option<Part>, &'static str> {
    if context.provider != "gcp" || parts.is_empty() {
        return Ok(None);
    }
    let known_part = known.and_then(|shape| Some((shape.accelerator.clone(), shape.accelerator_count?)));
    let Some((accelerator, count)) = known_part.or_else(|| Some((id(line, context)?, line.count?))) else {
        return Ok(None);
    };
    let key = (accelerator, count.to_bits(), line.region.clone(), line.zone.clone());
    parts.get(&key).copied().map(Some).ok_or("hosts whose accelerators have no price of their own")
}

fn shape(line: &Line, context: &Context<'_>, source: &str) -> ShapeRow {
    let found = context.aliases.resolve(&line.accelerator, memory_gib(&line.gpu_info), &line.instance_type);
    let count = line.count.filter(|count| *count > 0.0 && count.is_finite()).unwrap_or(1.0);
    let sizes = (line.vcpus, line.memory_gib);
    ShapeRow::listed(&line.instance_type, found.in_shape(&line.accelerator), count, sizes, source, context.today)
}

fn price(line: &Line, market: Market, usd: Decimal, composed: bool, source: &str, context: &Context<'_>) -> PriceRow {
    PriceRow {
        zone: if line.zone == line.region { String::new() } else { line.zone.clone() },
        flags: if composed { format!("composed_host_plus_gpu;{LAGS}") } else { LAGS.to_string() },
        ..PriceRow::listed(&line.instance_type, &line.region, market, usd, source, context.today)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_whatever_its_unit_and_language() {
        let python = "{'Gpus': [{'Name': 'A100', 'MemoryInfo': {'SizeInMiB': 40960}}], 'TotalGpuMemoryInMiB': 40960}";
        assert_eq!(memory_gib(python), Some(40.0));
        assert_eq!(memory_gib("{\"Gpus\": [{\"MemoryInfo\": {\"SizeInMiB\": 80}}]}"), Some(80.0));
        assert_eq!(memory_gib("{'MemoryInfo': {'SizeInMiB': 0}}"), None);
        assert_eq!(memory_gib(""), None);
    }
}
