//! What it costs: the ranking, and what was left out of it.

use crate::record::Basis;
use crate::report::table::{DASH, Table};
use crate::sizing::cost::CostInterval;
use crate::sizing::{Excluded, Interval, RankRow, Ranking};
use crate::units::Quantity;
use crate::units::{RequestsPerSecond, Seconds};
use std::collections::{BTreeMap, BTreeSet};

fn interval_seconds(interval: Interval) -> String {
    Seconds(interval.value).human()
}

fn cost(cost: Option<CostInterval>) -> [String; 2] {
    match cost {
        Some(cost) => [cost.value.to_string(), format!("{} - {}", cost.lo, cost.hi)],
        None => [DASH.to_string(), DASH.to_string()],
    }
}

/// The name and place of a row.
pub fn offer_name(row: &RankRow) -> String {
    let region = row.region.as_ref().map_or(String::new(), |region| format!(" {region}"));
    let market = row.market.filter(|m| m.name() != "on_demand").map_or(String::new(), |m| format!(" {}", m.name()));
    format!("{}:{}{region}{market}", row.provider, row.instance_type)
}

/// The first `most` rows of a ranking, and every measured one wherever it stands.
pub fn ranking(ranking: &Ranking, most: usize) -> Table {
    let quants: Vec<&str> = ranking.quants.iter().map(|quant| quant.name()).collect();
    let mut spare = vec!["requests", "TPOT", "TTFT", "batch", "hardware"];
    if quants.len() == 1 {
        spare.insert(3, "quant");
    }
    let mut table = Table::new(
        format!(
            "Cost of a request in {}: {} prompt and {} generated tokens, busy all the time",
            quants.join(", "),
            ranking.prompt_tokens,
            ranking.gen_tokens
        ),
        &[
            ">#",
            "offer",
            "hardware",
            "quant",
            ">batch",
            "basis",
            ">$/h",
            ">$/M tokens",
            "from - to",
            ">TTFT",
            ">TPOT",
            ">requests",
            ">price age",
        ],
    )
    .spare(&spare);
    for (index, row) in shown(ranking, most) {
        let place = match (row.usd_per_million_tokens.is_some(), row.tied_with_first || index == 0) {
            (false, _) => DASH.to_string(),
            (true, true) if ranking.rows.iter().any(|r| r.tied_with_first) => "1=".to_string(),
            _ => (index + 1).to_string(),
        };
        let [value, range] = cost(row.usd_per_million_tokens);
        table.push(vec![
            place,
            offer_name(row),
            row.hardware.clone(),
            row.quant.to_string(),
            row.batch.to_string(),
            if row.doubts.is_empty() { row.basis.to_string() } else { format!("{} *", row.basis) },
            row.usd_per_h.map_or(DASH.to_string(), |p| p.to_string().trim_start_matches('$').to_string()),
            value,
            range,
            interval_seconds(row.ttft_s),
            interval_seconds(row.tpot_s),
            RequestsPerSecond(row.requests_per_s.value).human(),
            match (row.price_age_days, row.price_source.is_some()) {
                (Some(days), _) => format!("{days} d"),
                (None, true) => "unknown".to_string(),
                (None, false) => DASH.to_string(),
            },
        ]);
    }
    table.notes = ranking_notes(ranking, most);
    table
}

/// The rows of a table: the first `most` that are not the same hardware of the same provider at the same cost as one
/// above (two cards in one machine cost what one card in each of two does), and every measured one.
pub fn shown(ranking: &Ranking, most: usize) -> Vec<(usize, &RankRow)> {
    let mut shown: Vec<(usize, &RankRow)> = Vec::new();
    for (index, row) in ranking.rows.iter().enumerate() {
        let card = |row: &RankRow| row.hardware.split_once("x ").map(|(_, card)| card.to_string());
        let cents = |row: &RankRow| row.usd_per_million_tokens.map(|cost| cost.value.0.round_sf(6));
        let repeats = shown.iter().any(|(_, above)| {
            (&above.provider, above.market, above.quant) == (&row.provider, row.market, row.quant)
                && card(row).is_some()
                && card(above) == card(row)
                && cents(above) == cents(row)
        });
        if row.basis != Basis::Projected || (shown.len() < most && !repeats) {
            shown.push((index, row));
        }
    }
    shown
}

fn ranking_notes(ranking: &Ranking, most: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if ranking.rows.iter().any(|row| row.tied_with_first) {
        notes.push("1= cannot be told from the first: the intervals overlap".to_string());
    }
    let doubts: BTreeSet<&str> =
        shown(ranking, most).iter().flat_map(|(_, row)| row.doubts.iter().map(String::as_str)).collect();
    if !doubts.is_empty() {
        notes.push(format!("* doubtful: {}", doubts.into_iter().collect::<Vec<_>>().join("; ")));
    }
    if ranking.rows.iter().any(|row| row.basis == Basis::Projected) {
        notes.push(
            "projected: the share of the roof that was reached here, times the roof there; METHODOLOGY.md says how \
             far off that can be"
                .to_string(),
        );
    }
    notes.extend(ranking.rows.iter().find_map(|row| row.why_no_cost.clone()).map(|why| format!("this machine: {why}")));
    let ages: Vec<i64> = ranking.rows.iter().filter_map(|row| row.price_age_days).collect();
    if let (Some(least), Some(most)) = (ages.iter().min(), ages.iter().max()) {
        let warning = if *most > 30 { ": check them before you buy" } else { "" };
        notes.push(format!("prices are {least} to {most} days old{warning}"));
    }
    let left_out = ranking.rows.len() - shown(ranking, most).len();
    if left_out > 0 {
        notes.push(format!(
            "{left_out} more rows in the CSV and JSON forms of `sizewell rank`, several of the same hardware at the \
             same cost among them"
        ));
    }
    notes
}

/// What was left out of a ranking: one line for each reason, with the types that it holds for.
pub fn excluded(excluded: &[Excluded]) -> Table {
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for item in excluded {
        // Sizes differ from type to type; the reason is the same.
        let reason = item.reason.split(':').next().unwrap_or("").to_string();
        let reason = if reason == "does not fit" { reason } else { item.reason.clone() };
        let offers = reasons.entry(reason).or_default();
        if !offers.contains(&item.offer.as_str()) {
            offers.push(&item.offer);
        }
    }
    let mut lines: Vec<(String, Vec<&str>)> = reasons.into_iter().collect();
    lines.sort_by_key(|(reason, offers)| (reason != "does not fit", std::cmp::Reverse(offers.len())));
    let mut table = Table::new("Not ranked", &["reason", ">types", "for example"]);
    for (reason, offers) in lines {
        let shown: Vec<&str> = offers.iter().take(3).copied().collect();
        table.push(vec![reason, offers.len().to_string(), shown.join(", ")]);
    }
    table
}

/// Every offer that was left out, one line each.
pub fn excluded_offers(excluded: &[Excluded]) -> Table {
    let mut table = Table::new("Not ranked", &["offer", "quant", "reason"]);
    for item in excluded {
        table.push(vec![item.offer.clone(), item.quant.to_string(), item.reason.clone()]);
    }
    table
}
