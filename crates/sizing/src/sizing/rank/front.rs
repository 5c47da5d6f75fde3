//! What stands out of a ranking: ties, the rows that no other beats in both cost and latency, and how much dearer the
//! first may become before the second is cheaper.

use super::row::RankRow;
use rust_decimal::prelude::ToPrimitive;
use serde::Serialize;

/// The price of the first row at which the second is as cheap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BreakEvenPrice {
    /// The first row.
    pub first: String,
    /// The second.
    pub second: String,
    /// Factor on the price of the first row's hardware.
    pub multiple: f64,
    /// Whether the intervals of the two overlap, so that even now it cannot be told which is cheaper.
    pub tied: bool,
}

/// Cheapest first; rows without a cost last. Equal costs stand in an order that does not depend on that of the files.
pub fn sort(rows: &mut [RankRow]) {
    // Rows are large: their keys are sorted, and each row moves once.
    rows.sort_by_cached_key(|row| {
        let cost = row.usd_per_request.map(|cost| cost.value);
        (cost.is_none(), cost, row.provider.clone(), row.instance_type.clone(), row.region.clone(), row.quant)
    });
}

/// Marks rows whose interval overlaps the first one's.
pub fn mark_ties(rows: &mut [RankRow]) {
    let Some(first) = rows.first().and_then(|row| row.usd_per_request) else { return };
    for row in rows.iter_mut().skip(1) {
        row.tied_with_first = row.usd_per_request.is_some_and(|cost| cost.overlaps(&first));
    }
}

/// Marks the Pareto front of sorted rows: each is faster, from request to last token, than every cheaper one.
pub fn mark_front(rows: &mut [RankRow]) {
    let mut fastest = f64::INFINITY;
    for row in rows.iter_mut().filter(|row| row.usd_per_request.is_some()) {
        row.on_front = row.e2e_s.value < fastest;
        fastest = fastest.min(row.e2e_s.value);
    }
}

/// The swap of the first two rows. Components that do not follow the price of the hardware (disks, traffic) stay as they
/// are: `m = (C2 - fixed1) / (C1 - fixed1)`.
pub fn swap(rows: &[RankRow]) -> Option<BreakEvenPrice> {
    let [first, second, ..] = rows else { return None };
    let (one, other) = (first.usd_per_request?.value.0, second.usd_per_request?.value.0);
    let fixed = first.components?.beside_hardware().0;
    let multiple = (other - fixed).checked_div(one - fixed)?.to_f64()?;
    Some(BreakEvenPrice { first: first.name(), second: second.name(), multiple, tied: second.tied_with_first })
}
