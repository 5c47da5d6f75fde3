//! The AWS price list: one CSV file a region, of hundreds of megabytes, read as it arrives.
//!
//! Taken are shared Linux machines without further software, on demand and as standard reservations without upfront
//! payment.

use super::Context;
use crate::catalog::adopt::Fetched;
use crate::catalog::facts::Source;
use crate::catalog::price::{Market, PriceRow, decimal};
use crate::catalog::shape::ShapeRow;
use csv::StringRecord;
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;

/// Most bytes of the index of regions and of the list of one.
const MOST_INDEX: u64 = 16 << 20;
const MOST_LIST: u64 = 16 << 30;
const SOURCE: &str = "aws-price-list";

#[derive(Deserialize)]
struct Index {
    regions: BTreeMap<String, IndexRegion>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IndexRegion {
    current_version_url: String,
}

/// What columns are called.
const COLUMNS: [&str; 18] = [
    "TermType",
    "Unit",
    "PricePerUnit",
    "Currency",
    "LeaseContractLength",
    "PurchaseOption",
    "OfferingClass",
    "Product Family",
    "Instance Type",
    "vCPU",
    "Memory",
    "Tenancy",
    "Operating System",
    "CapacityStatus",
    "Pre Installed S/W",
    "GPU",
    "Region Code",
    "Physical Processor",
];

/// The list of each region of the catalog.
pub(super) fn fetch(context: &Context<'_>) -> Result<Fetched, String> {
    let url = format!("{}/offers/v1.0/aws/AmazonEC2/current/region_index.json", context.endpoint);
    let index: Index =
        serde_json::from_str(&context.http.text(&url, MOST_INDEX)?).map_err(|e| format!("{url}: {e}"))?;
    let mut fetched = Fetched {
        prices: Vec::new(),
        shapes: Vec::new(),
        source: Source {
            id: SOURCE.to_string(),
            what: "AWS Price List bulk files, AmazonEC2".to_string(),
            licence: "public list".to_string(),
        },
        provider: None,
        skipped: BTreeMap::new(),
        notes: Vec::new(),
    };
    let wanted: Vec<(&String, &IndexRegion)> =
        index.regions.iter().filter(|(region, _)| context.wants(region)).collect();
    if wanted.is_empty() {
        return Err(format!("{url}: none of the wanted regions is in it"));
    }
    for (region, place) in wanted {
        let path = place.current_version_url.replace(".json", ".csv");
        if !path.starts_with('/') {
            return Err(format!("{url}: `{path}` is not a path"));
        }
        let url = format!("{}{path}", context.endpoint);
        let body = context.http.get(&url, MOST_LIST)?;
        let before = fetched.prices.len();
        read(body, context, &mut fetched).map_err(|e| format!("{url}: {e}"))?;
        if fetched.prices.len() == before {
            return Err(format!("{url}: no price of {region} in it"));
        }
    }
    Ok(fetched)
}

/// Reads a list row by row: nothing but what is taken is kept.
fn read(body: impl Read, context: &Context<'_>, fetched: &mut Fetched) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(body);
    let mut record = StringRecord::new();
    let mut columns: Option<HashMap<&'static str, usize>> = None;
    let mut new: BTreeMap<String, ShapeRow> = BTreeMap::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Err(error.to_string()),
        }
        let Some(columns) = &columns else {
            // A few lines of a disclaimer stand above the header.
            if record.get(0) == Some("SKU") {
                columns = Some(header(&record)?);
            }
            continue;
        };
        let field = |name: &str| columns.get(name).and_then(|index| record.get(*index)).unwrap_or("");
        let Some((market, usd)) = price(&field) else { continue };
        let name = field("Instance Type");
        if !context.shapes.contains_key(name) && !new.contains_key(name) {
            match shape(&field, context) {
                Some(shape) => {
                    new.insert(name.to_string(), shape);
                }
                None => {
                    *fetched.skipped.entry("types that the catalog has no shape of".to_string()).or_default() += 1;
                    continue;
                }
            }
        }
        fetched.prices.push(PriceRow::listed(name, field("Region Code"), market, usd, SOURCE, context.today));
    }
    fetched.shapes.extend(new.into_values());
    columns.map(|_| ()).ok_or("there is no header in it".to_string())
}

fn header(record: &StringRecord) -> Result<HashMap<&'static str, usize>, String> {
    COLUMNS
        .iter()
        .map(|name| {
            let index = record.iter().position(|column| column == *name);
            index.map(|index| (*name, index)).ok_or(format!("there is no column `{name}`"))
        })
        .collect()
}

fn price<'r>(field: &impl Fn(&str) -> &'r str) -> Option<(Market, Decimal)> {
    let plain = field("Tenancy") == "Shared"
        && field("Operating System") == "Linux"
        && field("CapacityStatus") == "Used"
        && ["NA", ""].contains(&field("Pre Installed S/W"))
        && field("Unit") == "Hrs"
        && field("Currency") == "USD"
        && field("Product Family").starts_with("Compute Instance");
    let market = match (field("TermType"), field("LeaseContractLength")) {
        ("OnDemand", _) => Market::OnDemand,
        ("Reserved", length) if field("PurchaseOption") == "No Upfront" && field("OfferingClass") == "standard" => {
            match length {
                "1yr" => Market::Reserved1y,
                "3yr" => Market::Reserved3y,
                _ => return None,
            }
        }
        _ => return None,
    };
    let usd = decimal(field("PricePerUnit")).filter(|usd| *usd > Decimal::ZERO)?;
    plain.then_some((market, usd))
}

/// The shape of a new type with GPUs, whose name the list does not say; others are not of interest.
fn shape<'r>(field: &impl Fn(&str) -> &'r str, context: &Context<'_>) -> Option<ShapeRow> {
    let gpus: f64 = field("GPU").parse().ok().filter(|count| *count > 0.0)?;
    let name = field("Instance Type");
    let memory_gib = field("Memory").strip_suffix(" GiB").and_then(|gib| gib.replace(',', "").parse().ok());
    let accelerator = (format!("that of {}", name.split('.').next().unwrap_or(name)), String::new());
    let sizes = (field("vCPU").parse().ok(), memory_gib);
    let shape = ShapeRow::listed(name, accelerator, gpus, sizes, SOURCE, context.today);
    let arch = if field("Physical Processor").contains("Graviton") { "arm64" } else { "x86_64" };
    Some(ShapeRow { arch: arch.to_string(), ..shape })
}
