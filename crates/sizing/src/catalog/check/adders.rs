//! What comes on top of an instance, and the carbon of regions: amounts that cannot be, tiers that overlap or leave a gap,
//! names that refer to nothing, and age.

use crate::catalog::facts::{Adder, AdderKind};
use crate::catalog::finding::Finding;
use crate::catalog::import::day_fault;
use crate::catalog::tables::{Row, Tables};
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

/// Disks and traffic hold their prices for years: older ones than this are worth a look.
const FRESH_DAYS: i32 = 1100;

pub(super) fn check(prefix: &str, tables: &Tables, today: Date) -> Vec<Finding> {
    let file = format!("{prefix}adders.csv");
    let (providers, sources) = names(tables);
    let mut findings = Vec::new();
    let mut tiers: BTreeMap<(&str, &str, AdderKind), Vec<&Row<Adder>>> = BTreeMap::new();
    for row in &tables.adders {
        let adder = &row.value;
        let at = (file.as_str(), row.line);
        findings.extend(unknown(at, "provider", &adder.provider, &providers));
        findings.extend(unknown(at, "source", &adder.source, &sources));
        let unit = match adder.kind {
            AdderKind::Disk => "gb_month",
            AdderKind::Egress => "gb",
            AdderKind::IdleTimeout => "s",
        };
        if adder.unit != unit {
            let message = format!("the unit is `{}`, and that of this kind is `{unit}`", adder.unit);
            findings.push(Finding::error("wrong_unit", at, message, format!("convert it to `{unit}`")));
        }
        findings.extend(adder.observed_at.and_then(|seen| impossible_day(at, seen, today)));
        match adder.observed_at {
            Some(seen) if (today - seen).get_days() > FRESH_DAYS => {
                let message = format!("seen {} days ago", (today - seen).get_days());
                findings.push(Finding::warning("stale", at, message, "look at the provider's page"));
            }
            _ => {}
        }
        tiers.entry((&adder.provider, &adder.region, adder.kind)).or_default().push(row);
    }
    for rows in tiers.into_values() {
        findings.extend(broken_tiers(&file, rows));
    }
    findings
}

/// Tiers begin at 0 and each where the one before ends; what has none is there once.
fn broken_tiers(file: &str, mut rows: Vec<&Row<Adder>>) -> Option<Finding> {
    rows.sort_by(|a, b| a.value.tier_from_gb.unwrap_or(0.0).total_cmp(&b.value.tier_from_gb.unwrap_or(0.0)));
    let mut end = Some(0.0);
    for row in &rows {
        let from = row.value.tier_from_gb.unwrap_or(0.0);
        if end != Some(from) {
            let expected = end.map_or("nothing, as the one before has no end".to_string(), |gb| format!("{gb} GB"));
            let message = format!("a tier begins at {from} GB; expected was {expected}");
            return Some(Finding::error(
                "broken_tiers",
                (file, row.line),
                message,
                "correct the tiers, or delete the row",
            ));
        }
        end = row.value.tier_to_gb;
    }
    None
}

pub(super) fn check_carbon(prefix: &str, tables: &Tables) -> Vec<Finding> {
    let file = format!("{prefix}carbon.csv");
    let (providers, sources) = names(tables);
    let mut findings = Vec::new();
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in &tables.carbon {
        let carbon = &row.value;
        let at = (file.as_str(), row.line);
        findings.extend(unknown(at, "provider", &carbon.provider, &providers));
        findings.extend(unknown(at, "source", &carbon.source, &sources));
        if let Some(first) = seen.insert((&carbon.provider, &carbon.region), row.line) {
            let message = format!("{} of {} is on line {first} too", carbon.region, carbon.provider);
            findings.push(Finding::error("duplicate_key", at, message, "keep the newer of the two"));
        }
    }
    findings
}

/// A day that has not been yet, or on which nothing was sold by the hour.
pub(super) fn impossible_day(at: (&str, usize), seen: Date, today: Date) -> Option<Finding> {
    let why = day_fault(seen, today)?;
    let kind = if seen > today { "from_the_future" } else { "impossible_day" };
    Some(Finding::error(kind, at, format!("observed_at is {seen}: it {why}"), "correct the date, or the clock"))
}

fn names(tables: &Tables) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let providers = tables.providers.iter().map(|row| row.value.provider.as_str()).collect();
    (providers, tables.sources.iter().map(|row| row.value.id.as_str()).collect())
}

fn unknown(at: (&str, usize), what: &str, name: &str, known: &BTreeSet<&str>) -> Option<Finding> {
    let kind = if what == "provider" { "unknown_provider" } else { "unknown_source" };
    (!known.contains(name)).then(|| {
        let message = format!("{what} `{name}` is not in {what}s.csv");
        Finding::error(kind, at, message, "add it there, or correct the name")
    })
}
