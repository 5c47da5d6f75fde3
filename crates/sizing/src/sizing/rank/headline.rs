//! What a ranking comes to, in a sentence or two.

use super::row::RankRow;
use super::unit::{unit, unit_cost};
use crate::record::Basis;
use crate::workload::Task;

/// What is cheapest, measured and projected; a projected winner is announced as such.
pub(super) fn headline(rows: &[RankRow], task: Task) -> Vec<String> {
    let priced =
        |basis: Basis| rows.iter().find(|r| r.basis == basis && unit_cost(task, r).is_some() && !r.is_incomplete());
    let text = |row: &RankRow| {
        let cost = unit_cost(task, row)
            .map_or(String::new(), |c| format!("{} per {} ({} to {})", c.value, unit(task), c.lo, c.hi));
        let place = row.region.as_ref().filter(|r| &***r != "any").map_or(String::new(), |r| format!(" in {r}"));
        let doubts = match row.doubts.as_slice() {
            [] => String::new(),
            doubts => format!("; doubtful: {}", doubts.join(", ")),
        };
        format!("{}:{}{place}, {} at batch {}: {cost}{doubts}", row.provider, row.instance_type, row.quant, row.batch)
    };
    let mut lines = Vec::new();
    if let Some(row) = priced(Basis::Imported) {
        lines.push(format!("Cheapest of what another tool measured: {}.", text(row)));
    }
    match priced(Basis::Measured) {
        Some(row) => lines.push(format!("Cheapest measured: {}.", text(row))),
        None if !lines.is_empty() => {}
        None if rows.iter().all(|row| row.basis == Basis::Projected) => {
            lines.push("Nothing that was measured keeps the limits, or was asked for.".into());
        }
        None => lines.push(
            "Nothing measured has a price: --as provider:type or --price-per-hour gives this machine one.".into(),
        ),
    }
    if let Some(row) = priced(Basis::Projected) {
        let tied = rows.iter().filter(|r| r.tied_with_first).count();
        let ties = match (rows.first().map(|r| r.basis), tied) {
            (Some(Basis::Projected), n) if n > 0 => format!(" {n} others cannot be told from it."),
            _ => String::new(),
        };
        lines.push(format!("Cheapest projected, not measured: {}.{ties}", text(row)));
    }
    lines
}
