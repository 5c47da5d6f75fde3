//! What is wrong with a catalog beyond what a row can tell by itself: prices against each other, against their peers and
//! against the calendar. A known anomaly is not found again where the row carries the flag that says so, as rankings
//! then leave it out.

mod adders;
mod age;
mod peers;
mod specification;
mod spot;

use super::finding::Finding;
use super::join;
use super::load;
use super::price::PriceRow;
use super::tables::{Files, Row, Tables};
use jiff::civil::Date;

/// Everything that is to be said about the files of a catalog on a day, worst first.
pub fn check(origin: &str, files: &Files, today: Date) -> Vec<Finding> {
    let prefix = load::prefix(origin);
    let (tables, mut findings) = Tables::read(&prefix, files);
    join::offers(&prefix, &tables, &mut findings);
    findings.extend(check_tables(&prefix, &tables, today));
    findings.sort();
    findings
}

/// The rules that look at more than one row.
pub fn check_tables(prefix: &str, tables: &Tables, today: Date) -> Vec<Finding> {
    let mut findings = specification::check(prefix, tables);
    for (provider, rows) in &tables.prices {
        let file = format!("{prefix}prices/{provider}.csv");
        findings.extend(empty(&file, rows));
        findings.extend(tenancy(&file, rows));
        findings.extend(spot::check(&file, rows));
        findings.extend(peers::regions(&file, rows));
        findings.extend(age::check(&file, rows, today));
    }
    findings.extend(peers::cards(prefix, tables));
    findings.extend(adders::check(prefix, tables, today));
    findings.extend(adders::check_carbon(prefix, tables));
    findings
}

/// Adds the flags of anomalies that a fetched price list has, so that its rows are kept and not ranked; the types whose
/// rows got one, a row each.
pub fn flag_anomalies(tables: &mut Tables, provider: &str) -> Vec<String> {
    let mut flags: Vec<(usize, &'static str)> = Vec::new();
    if let Some(rows) = tables.prices.get(provider) {
        flags.extend(spot::anomalies(rows).into_iter().map(|(index, kind, _)| (index, kind)));
        flags.extend(peers::region_outliers(rows).into_iter().map(|(index, _)| (index, "region_outlier")));
        flags.extend(rows.iter().enumerate().filter_map(|(index, row)| Some((index, tenancy_flag(&row.value)?))));
    }
    let outliers = peers::card_outliers(tables).into_iter().filter(|outlier| outlier.provider == provider);
    flags.extend(outliers.map(|outlier| (outlier.index, "price_outlier")));
    let Some(rows) = tables.prices.get_mut(provider) else { return Vec::new() };
    // What is known to be out of line and true stays ranked.
    flags.retain(|(index, flag)| !rows[*index].value.has_flag(&format!("{flag}_confirmed")));
    flags.sort_unstable();
    for (index, flag) in &flags {
        rows[*index].value.add_flag(flag);
    }
    flags.dedup_by_key(|(index, _)| *index);
    flags.iter().map(|(index, _)| rows[*index].value.instance_type.clone()).collect()
}

fn empty(file: &str, rows: &[Row<PriceRow>]) -> Option<Finding> {
    rows.iter().all(|row| row.value.usd.is_none()).then(|| {
        let message = "there is no price in it: a list that is read without an error and holds nothing";
        Finding::error("empty_list", (file, 0), message, "look at the source, or delete the file")
    })
}

fn tenancy_flag(row: &PriceRow) -> Option<&'static str> {
    match (row.tenancy.as_str(), row.os.as_str()) {
        ("shared" | "", "linux" | "") => None,
        ("shared" | "", _) => Some("licence_included"),
        _ => Some("dedicated_tenancy"),
    }
}

/// Dedicated hosts cost 6 to 10 % more and other systems carry a licence: beside prices of shared Linux machines they
/// make an instance look dearer than it is.
fn tenancy(file: &str, rows: &[Row<PriceRow>]) -> Vec<Finding> {
    let wrong = rows.iter().filter_map(|row| Some((row, tenancy_flag(&row.value)?)));
    wrong
        .filter(|(row, flag)| !row.value.has_flag(flag))
        .map(|(row, flag)| {
            let PriceRow { instance_type, tenancy, os, .. } = &row.value;
            let message = format!("the price of {instance_type} is of tenancy `{tenancy}` and system `{os}`");
            let remedy = format!("take the price of shared Linux machines, or flag the row `{flag}`");
            Finding::error("wrong_tenancy", (file, row.line), message, remedy)
        })
        .collect()
}
