//! Prices that are too old, one finding for each market, date and file.

use crate::catalog::finding::Finding;
use crate::catalog::price::{Market, PriceRow};
use crate::catalog::tables::Row;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(file: &str, rows: &[Row<PriceRow>], today: Date) -> Vec<Finding> {
    let mut stale: BTreeMap<(Market, Option<Date>), (usize, usize)> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut impossible = BTreeSet::new();
    for row in rows {
        let seen = row.value.observed_at;
        if let Some(finding) = seen.and_then(|seen| super::adders::impossible_day((file, row.line), seen, today)) {
            // Once for each day: where the clock is wrong, it is so for every row.
            if impossible.insert(seen) {
                findings.push(finding);
            }
            continue;
        }
        let age = row.value.observed_at.map(|seen| i64::from((today - seen).get_days()));
        if age.is_none_or(|days| days > row.value.market.fresh_days()) {
            let entry = stale.entry((row.value.market, row.value.observed_at)).or_insert((row.line, 0));
            entry.1 += 1;
        }
    }
    let remedy = "`sizewell catalog update` fetches newer ones; rankings show the age of each";
    let stale = stale.into_iter().map(|((market, seen), (line, count))| {
        let message = match seen {
            Some(seen) => {
                format!(
                    "{count} {} prices from here on are of {seen}, {} days old",
                    market.name(),
                    (today - seen).get_days()
                )
            }
            None => format!("{count} {} prices from here on have no date", market.name()),
        };
        Finding::warning("stale", (file, line), message, remedy)
    });
    findings.extend(stale);
    findings
}
