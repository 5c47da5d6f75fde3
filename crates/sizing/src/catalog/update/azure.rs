//! Azure's Retail Prices API: public, by pages. Prices of types that the catalog has a shape of; Windows, DevTest and the
//! old low-priority machines are left out, and reservations, which are priced for their whole term, become an hour's.

use super::Context;
use super::http::check_endpoint;
use crate::catalog::adopt::Fetched;
use crate::catalog::facts::Source;
use crate::catalog::price::{Market, PriceRow, decimal};
use rust_decimal::Decimal;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};

/// Most bytes of a page and most pages of a region: a server that never ends is not waited for.
const MOST_BYTES: u64 = 64 << 20;
const MOST_PAGES: usize = 500;
const SOURCE: &str = "azure-retail";

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(rename = "Items")]
    items: Vec<Item>,
    #[serde(rename = "NextPageLink")]
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    currency_code: String,
    retail_price: serde_json::Number,
    arm_region_name: String,
    arm_sku_name: Option<String>,
    product_name: String,
    sku_name: String,
    meter_name: String,
    unit_of_measure: String,
    #[serde(rename = "type")]
    kind: String,
    reservation_term: Option<String>,
    #[serde(default)]
    effective_start_date: String,
}

/// All regions of the catalog, page by page.
pub(super) fn fetch(context: &Context<'_>) -> Result<Fetched, String> {
    if context.regions.is_empty() {
        return Err("no region is known of it: --region names some".to_string());
    }
    let mut prices: HashMap<(String, String, Market), (String, PriceRow)> = HashMap::new();
    let mut skipped: BTreeMap<String, usize> = BTreeMap::new();
    for region in context.regions.iter().filter(|region| *region != "any") {
        let filter = format!(
            "serviceName%20eq%20%27Virtual%20Machines%27%20and%20armRegionName%20eq%20%27{region}%27%20and%20priceType\
             %20ne%20%27DevTestConsumption%27"
        );
        let start = format!("{}/api/retail/prices?api-version=2023-01-01-preview&$filter={filter}", context.endpoint);
        let mut next = Some(start);
        for page in 0.. {
            let Some(url) = next.take() else { break };
            if page == MOST_PAGES {
                return Err(format!("{url}: more than {MOST_PAGES} pages of one region"));
            }
            check_endpoint(&url)?;
            let text = context.http.text(&url, MOST_BYTES)?;
            let read: Page = serde_json::from_str(&text).map_err(|e| format!("{url}: {e}"))?;
            for item in read.items {
                match price(&item, context)? {
                    Ok(row) => keep_newest(&mut prices, item.effective_start_date, row),
                    Err(why) => *skipped.entry(why.to_string()).or_default() += 1,
                }
            }
            next = read.next.filter(|link| !link.is_empty());
        }
    }
    Ok(Fetched {
        prices: prices.into_values().map(|(_, row)| row).collect(),
        shapes: Vec::new(),
        source: Source {
            id: SOURCE.to_string(),
            what: "Azure Retail Prices API (prices.azure.com)".to_string(),
            licence: "public list".to_string(),
        },
        provider: None,
        skipped,
        notes: Vec::new(),
    })
}

/// Of several prices of one meter, the one that holds last.
fn keep_newest(prices: &mut HashMap<(String, String, Market), (String, PriceRow)>, since: String, row: PriceRow) {
    let key = (row.instance_type.clone(), row.region.clone(), row.market);
    match prices.get(&key) {
        Some((known, _)) if *known >= since => {}
        _ => {
            prices.insert(key, (since, row));
        }
    }
}

/// The price of an item, why it is not one of ours, or why the list cannot be trusted.
fn price(item: &Item, context: &Context<'_>) -> Result<Result<PriceRow, &'static str>, String> {
    if item.currency_code != "USD" {
        return Err(format!("prices in {} rather than USD", item.currency_code));
    }
    let name = item.arm_sku_name.clone().unwrap_or_default();
    if item.product_name.contains("Windows") {
        return Ok(Err("with a Windows licence"));
    }
    if item.meter_name.contains("Low Priority") || item.product_name.contains("Dedicated") {
        return Ok(Err("low priority or dedicated"));
    }
    if !context.shapes.contains_key(&name) {
        return Ok(Err("types that the catalog has no shape of"));
    }
    let spot = item.meter_name.contains("Spot") || item.sku_name.contains("Spot");
    let (market, hours) = match (item.kind.as_str(), item.reservation_term.as_deref(), spot) {
        ("Consumption", _, false) if item.unit_of_measure == "1 Hour" => (Market::OnDemand, 1),
        ("Consumption", _, true) if item.unit_of_measure == "1 Hour" => (Market::Spot, 1),
        ("Reservation", Some("1 Year"), _) => (Market::Reserved1y, 8760),
        ("Reservation", Some("3 Years"), _) => (Market::Reserved3y, 3 * 8760),
        _ => return Ok(Err("another unit or term")),
    };
    let usd = decimal(&item.retail_price.to_string()).and_then(|usd| usd.checked_div(Decimal::from(hours)));
    let Some(usd) = usd.filter(|usd| *usd > Decimal::ZERO) else { return Ok(Err("a price of 0")) };
    let (region, usd) = (&item.arm_region_name, usd.round_dp(9));
    Ok(Ok(PriceRow::listed(&name, region, market, usd, SOURCE, context.today)))
}
