//! Spot prices that cannot be: above the on-demand price, or the same share of it everywhere.

use crate::catalog::finding::Finding;
use crate::catalog::price::{Market, PriceRow};
use crate::catalog::tables::Row;
use rust_decimal::Decimal;
use std::collections::HashMap;

/// Spot may be above on demand by this much before it is taken for a mistake (1.05).
const MOST_ABOVE: Decimal = Decimal::from_parts(105, 0, 0, false, 2);
/// Rows with the same share of the on-demand price, and regions that they lie in, from which on it is a constant of the
/// list.
const SAME_SHARE_ROWS: usize = 50;
const SAME_SHARE_REGIONS: usize = 5;

type Key<'a> = (&'a str, &'a str);

fn on_demand(rows: &[Row<PriceRow>]) -> HashMap<Key<'_>, Decimal> {
    let regular = rows.iter().filter(|row| row.value.market == Market::OnDemand);
    let mut prices = HashMap::new();
    for row in regular {
        if let Some(usd) = row.value.usd_per_h() {
            // Where zones differ, the dearest: spot of another zone may be above the cheapest.
            let known = prices.entry((row.value.instance_type.as_str(), row.value.region.as_str())).or_insert(usd);
            *known = usd.max(*known);
        }
    }
    prices
}

/// Rows with the flag that they should carry, and the on-demand price.
pub(super) fn anomalies(rows: &[Row<PriceRow>]) -> Vec<(usize, &'static str, Decimal)> {
    let regular = on_demand(rows);
    let mut found = Vec::new();
    let mut shares: HashMap<Decimal, Vec<(usize, Decimal)>> = HashMap::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| row.value.market == Market::Spot) {
        let Some(spot) = row.value.usd_per_h() else { continue };
        let key = (row.value.instance_type.as_str(), row.value.region.as_str());
        let Some(usual) = regular.get(&key).copied() else { continue };
        if spot > usual * MOST_ABOVE {
            found.push((index, "spot_above_on_demand", usual));
        } else if let Some(share) = spot.checked_div(usual) {
            shares.entry(share.round_dp(4)).or_default().push((index, usual));
        }
    }
    for same in shares.into_values().filter(|same| same.len() > SAME_SHARE_ROWS) {
        let mut regions: Vec<&str> = same.iter().map(|(index, _)| rows[*index].value.region.as_str()).collect();
        regions.sort_unstable();
        regions.dedup();
        if regions.len() >= SAME_SHARE_REGIONS {
            found.extend(same.into_iter().map(|(index, usual)| (index, "nominal_spot", usual)));
        }
    }
    found.sort_unstable();
    found
}

/// Anomalies that the rows do not own up to.
pub(super) fn check(file: &str, rows: &[Row<PriceRow>]) -> Vec<Finding> {
    let unknown = anomalies(rows).into_iter().filter(|(index, kind, _)| !rows[*index].value.has_flag(kind));
    unknown
        .map(|(index, kind, usual)| {
            let row = &rows[index];
            let PriceRow { instance_type, region, .. } = &row.value;
            let spot = row.value.usd_per_h().unwrap_or_default().normalize();
            let what = match kind {
                "nominal_spot" => "has the same share of it in more than 50 rows: a constant, not a market price",
                _ => "is above it",
            };
            let usual = usual.normalize();
            let message = format!("spot of {instance_type} in {region} at {spot}, on demand {usual}: {what}");
            let remedy = format!("correct it, leave it empty, or flag the row `{kind}`");
            Finding::error(kind, (file, row.line), message, remedy)
        })
        .collect()
}
