//! Prices against those of the same card elsewhere, and of the same type in other regions.

use crate::catalog::facts::ProviderClass;
use crate::catalog::finding::Finding;
use crate::catalog::price::{Market, PriceRow};
use crate::catalog::tables::{Row, Tables};
use rust_decimal::prelude::ToPrimitive;
use std::collections::HashMap;

/// Price of a card over the median of its peers, outside of which it is taken for a mistake.
const USUAL: std::ops::RangeInclusive<f64> = 0.4..=2.5;
/// The same for one type over its regions: the largest honest spread seen between two regions is 2.00 (NC24ads A100).
const USUAL_REGION: std::ops::RangeInclusive<f64> = 0.6..=1.7;
/// Fewer peers say nothing.
const LEAST_PEERS: usize = 4;

/// Whose prices are compared: of one card, bought in one way, from one class of providers.
type Peers = (String, Market, ProviderClass);
/// Provider, index of the row, price of one card.
type Priced = (String, usize, f64);

/// A price of a card that is out of line.
pub(super) struct Outlier {
    pub provider: String,
    pub index: usize,
    pub usd: f64,
    pub median: f64,
    pub accelerator: String,
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// Prices of a card by the hour that are out of line with those of the same card, market and class of providers.
pub(super) fn card_outliers(tables: &Tables) -> Vec<Outlier> {
    let classes: HashMap<&str, ProviderClass> =
        tables.providers.iter().map(|row| (row.value.provider.as_str(), row.value.class)).collect();
    let mut groups: HashMap<Peers, Vec<Priced>> = HashMap::new();
    for (provider, rows) in &tables.prices {
        let Some(class) = classes.get(provider.as_str()) else { continue };
        let shapes: HashMap<&str, (&str, f64)> = tables
            .shapes
            .get(provider)
            .into_iter()
            .flatten()
            .filter(|row| !row.value.flags.split(';').any(|flag| flag == "gpu_fraction_uncertain"))
            .filter_map(|row| {
                let count = row.value.accelerator_count?;
                Some((row.value.instance_type.as_str(), (row.value.accelerator.as_str(), count)))
            })
            .collect();
        for (index, row) in rows.iter().enumerate() {
            // What is not ranked anyway is no peer either.
            let Some((accelerator, count)) = shapes.get(row.value.instance_type.as_str()) else { continue };
            let Some(usd) = row.value.usd_per_h().and_then(|usd| usd.to_f64()) else { continue };
            let group = (accelerator.to_string(), row.value.market, *class);
            groups.entry(group).or_default().push((provider.clone(), index, usd / count));
        }
    }
    let mut outliers = Vec::new();
    for ((accelerator, ..), prices) in groups {
        let mut values: Vec<f64> = prices.iter().map(|(.., usd)| *usd).collect();
        if values.len() < LEAST_PEERS {
            continue;
        }
        let median = median(&mut values);
        for (provider, index, usd) in prices {
            if !USUAL.contains(&(usd / median)) {
                outliers.push(Outlier { provider, index, usd, median, accelerator: accelerator.clone() });
            }
        }
    }
    outliers.sort_by(|a, b| (&a.provider, a.index).cmp(&(&b.provider, b.index)));
    outliers
}

/// Outliers that their rows do not own up to: `price_outlier` is not ranked, `price_outlier_confirmed` is.
pub(super) fn cards(prefix: &str, tables: &Tables) -> Vec<Finding> {
    let unknown = card_outliers(tables).into_iter().filter_map(|outlier| {
        let row = &tables.prices[&outlier.provider][outlier.index];
        let owned = row.value.has_flag("price_outlier") || row.value.has_flag("price_outlier_confirmed");
        (!owned).then_some((outlier, row))
    });
    unknown
        .map(|(Outlier { provider, usd, median, accelerator, .. }, row)| {
            let file = format!("{prefix}prices/{provider}.csv");
            let name = &row.value.instance_type;
            let message = format!(
                "a {accelerator} of {name} in {} costs {usd:.3} USD an hour, {:.2} times the median of its peers ({median:.3})",
                row.value.region,
                usd / median
            );
            let remedy = "correct price or count, or flag the row `price_outlier` (not ranked) or \
                          `price_outlier_confirmed` (ranked)";
            Finding::error("price_outlier", (&file, row.line), message, remedy)
        })
        .collect()
}

/// On-demand prices out of line with the median of the same type over its regions, with that median.
pub(super) fn region_outliers(rows: &[Row<PriceRow>]) -> Vec<(usize, f64)> {
    let hourly = |row: &Row<PriceRow>| {
        let usd = row.value.usd_per_h().and_then(|usd| usd.to_f64());
        usd.filter(|_| row.value.market == Market::OnDemand && !row.value.has_flag("licence_included"))
    };
    let mut types: HashMap<&str, Vec<f64>> = HashMap::new();
    for row in rows {
        types.entry(row.value.instance_type.as_str()).or_default().extend(hourly(row));
    }
    types.retain(|_, prices| prices.len() >= LEAST_PEERS);
    let medians: HashMap<&str, f64> = types.into_iter().map(|(name, mut prices)| (name, median(&mut prices))).collect();
    let out = rows.iter().enumerate().filter_map(|(index, row)| {
        let usual = medians.get(row.value.instance_type.as_str())?;
        (!USUAL_REGION.contains(&(hourly(row)? / usual))).then_some((index, *usual))
    });
    out.collect()
}

/// Prices by region that their rows do not own up to.
pub(super) fn regions(file: &str, rows: &[Row<PriceRow>]) -> Vec<Finding> {
    let owned = ["suspect_low_price_sku_mismatch", "licence_included", "region_outlier", "region_outlier_confirmed"];
    let unknown = region_outliers(rows).into_iter().map(|(index, usual)| (&rows[index], usual));
    unknown
        .filter(|(row, _)| !owned.iter().any(|flag| row.value.has_flag(flag)))
        .map(|(row, usual)| {
            let PriceRow { instance_type, region, .. } = &row.value;
            let usd = row.value.usd_per_h().unwrap_or_default().normalize();
            let message = format!("{instance_type} costs {usd} in {region} and {usual} in the middle of its regions");
            let remedy = "correct it, or flag the row `region_outlier` (not ranked) or `region_outlier_confirmed`";
            Finding::error("region_outlier", (file, row.line), message, remedy)
        })
        .collect()
}
