//! What gpuhunt publishes: for each provider a zip with a CSV file, under the address of its newest version.

use super::{Context, UNREADABLE, columns, readable};
use crate::catalog::adopt::Fetched;
use crate::catalog::facts::Source;
use crate::catalog::price::{Market, PriceRow, decimal};
use crate::catalog::shape::ShapeRow;
use crate::data_file::bounded;
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Cursor;

/// Most bytes of the zip; a file in it may be a text of any kind.
const MOST_ZIP: u64 = 64 << 20;

/// Providers of the catalog and what gpuhunt calls them, older names behind newer ones.
pub const FILES: [(&str, &[&str]); 11] = [
    ("aws", &["aws"]),
    ("azure", &["azure"]),
    ("crusoe", &["crusoe"]),
    ("digitalocean", &["digitalocean"]),
    ("gcp", &["gcp"]),
    ("jarvislabs", &["jarvislabs"]),
    ("lambda", &["lambdalabs"]),
    ("nebius", &["nebius"]),
    ("oci", &["oci"]),
    ("runpod", &["runpod"]),
    ("verda", &["verda", "datacrunch"]),
];

#[derive(Debug, Deserialize)]
struct Line {
    instance_name: String,
    location: String,
    price: String,
    cpu: Option<f64>,
    memory: Option<f64>,
    gpu_count: Option<f64>,
    #[serde(default)]
    gpu_name: String,
    gpu_memory: Option<f64>,
    #[serde(default)]
    spot: String,
    #[serde(default)]
    flags: String,
}

/// The newest list of a provider, under the first of its names that has one: its version and its zip.
fn newest(context: &Context<'_>, names: &[&str]) -> Result<(String, Vec<u8>), String> {
    let mut failure = format!("gpuhunt has no list of {}", context.provider);
    for name in names {
        let base = format!("{}/v3/{name}", context.endpoint);
        let version = match context.http.text(&format!("{base}/version"), 4096) {
            Ok(version) => version.trim().to_string(),
            Err(why) => {
                failure = why;
                continue;
            }
        };
        let is_version = !version.is_empty() && version.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
        if !is_version || version.contains("..") {
            return Err(format!("{base}/version: `{}` is not a version", version.escape_default()));
        }
        let url = format!("{base}/{version}/catalog.zip");
        let bytes = bounded::all(context.http.get(&url, MOST_ZIP)?, MOST_ZIP).map_err(|e| format!("{url}: {e}"))?;
        return Ok((version, bytes));
    }
    Err(failure)
}

/// The day of a version such as `20260508`, as far as it is one.
fn day(version: &str) -> Option<jiff::civil::Date> {
    let digits: String = version.chars().take(8).collect();
    jiff::civil::Date::strptime("%Y%m%d", &digits).ok()
}

pub(super) fn fetch(context: &Context<'_>) -> Result<Fetched, String> {
    let names = FILES.iter().find(|(provider, _)| *provider == context.provider).map_or(&[][..], |(_, names)| *names);
    let (version, bytes) = newest(context, names)?;
    let what = |why: String| format!("gpuhunt {version}: {why}");
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes.as_slice())).map_err(|e| what(e.to_string()))?;
    let file = names.iter().map(|name| format!("{name}.csv")).find(|name| archive.index_for_name(name).is_some());
    let file = file.ok_or_else(|| what(format!("there is no list of {} in it", context.provider)))?;
    let entry = archive.by_name(&file).map_err(|e| what(e.to_string()))?;
    let packed = entry.compressed_size();
    let text = bounded::unpacked(entry, bounded::MOST_TEXT, packed).and_then(bounded::utf8);
    let text = text.map_err(|e| what(format!("{file}: {e}")))?;
    let seen = day(&version).filter(|day| *day <= context.today).unwrap_or(context.today);
    read(&text, context, &version, seen).map_err(|why| what(format!("{file}: {why}")))
}

/// GCP's locations are zones.
fn place(location: &str, provider: &str) -> (String, String) {
    match location.rsplit_once('-') {
        Some((region, letter)) if provider == "gcp" && letter.len() == 1 && region.contains('-') => {
            (region.to_string(), location.to_string())
        }
        _ => (location.to_string(), String::new()),
    }
}

fn read(text: &str, context: &Context<'_>, version: &str, seen: jiff::civil::Date) -> Result<Fetched, String> {
    let source = format!("gpuhunt-{}", context.provider);
    let mut fetched = Fetched {
        prices: Vec::new(),
        shapes: Vec::new(),
        source: Source {
            id: source.clone(),
            what: format!("gpuhunt's published catalog {version} of {}", context.provider),
            licence: "MPL-2.0".to_string(),
        },
        provider: None,
        skipped: BTreeMap::new(),
        notes: Vec::new(),
    };
    let mut new: BTreeMap<String, ShapeRow> = BTreeMap::new();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    columns(&headers, &["instance_name", "location", "price"])?;
    for line in reader.deserialize::<Line>() {
        let mut skip = |why: &str| *fetched.skipped.entry(why.to_string()).or_default() += 1;
        let Some(line) = readable(line)? else {
            skip(UNREADABLE);
            continue;
        };
        let (region, zone) = place(&line.location, context.provider);
        if !context.wants(&region) {
            continue;
        }
        let Some(usd) = decimal(line.price.trim()).filter(|usd| *usd > Decimal::ZERO) else {
            skip("a price of 0 or below, or none");
            continue;
        };
        // Capacity that is booked for a time of the calendar is another thing than an instance on demand.
        if line.flags.contains("dws") || line.flags.contains("calendar") {
            skip("capacity that has to be booked ahead");
            continue;
        }
        let gpus = line.gpu_count.filter(|count| count.is_finite()).unwrap_or(0.0);
        if !context.shapes.contains_key(&line.instance_name) {
            if gpus <= 0.0 || line.gpu_name.is_empty() {
                skip("types that the catalog has no shape of");
                continue;
            }
            new.entry(line.instance_name.clone()).or_insert_with(|| shape(&line, gpus, context, &source, seen));
        }
        let market = if line.spot.eq_ignore_ascii_case("true") { Market::Spot } else { Market::OnDemand };
        let price = PriceRow::listed(&line.instance_name, &region, market, usd, &source, seen);
        fetched.prices.push(PriceRow { zone, ..price });
    }
    fetched.shapes = new.into_values().collect();
    Ok(fetched)
}

fn shape(line: &Line, gpus: f64, context: &Context<'_>, source: &str, seen: jiff::civil::Date) -> ShapeRow {
    let found = context.aliases.resolve(&line.gpu_name, line.gpu_memory, &line.instance_name);
    let sizes = (line.cpu, line.memory);
    ShapeRow::listed(&line.instance_name, found.in_shape(&line.gpu_name), gpus, sizes, source, seen)
}
