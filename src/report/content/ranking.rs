//! What it costs: the ranking, and what was left out of it.

use crate::record::Basis;
use crate::report::columns::{self, Ranked};
use crate::report::table::{DASH, Table};
use crate::sizing::cost::Component;
use crate::sizing::demand::{Load, Usage};
use crate::sizing::project::Provenance;
use crate::sizing::projection::Tier;
use crate::sizing::projection::terms::Phase;
use crate::sizing::speed::exclusion::ExclusionReason;
use crate::sizing::{CostInterval, Excluded, RankRow, Ranking};
use crate::units::Quantity;
use crate::units::{Fraction, RequestsPerSecond, Seconds};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
    let more = if row.is_incomplete() { " +" } else { "" };
    format!("{}:{}{region}{market}{more}", row.provider, row.instance_type)
}

/// How much of the paid time is used, in words.
fn usage(usage: &Usage) -> String {
    match usage {
        Usage::Share(share) if *share >= 1.0 => "busy all the time".to_string(),
        Usage::Share(share) => format!("busy {} % of the time", crate::units::digits(share * 100.0)),
        Usage::Demand(demand) => {
            let load = match &demand.load {
                Load::Users { users, think_s } => format!("{users} users who think for {}", Seconds(*think_s).human()),
                Load::Rates(rates) => {
                    let mean = rates.iter().sum::<f64>() / rates.len().max(1) as f64;
                    let peak = rates.iter().copied().fold(0.0, f64::max);
                    if peak > mean * 1.000_001 {
                        format!("{} at the peak, {} in the mean", RequestsPerSecond(peak), RequestsPerSecond(mean))
                    } else {
                        RequestsPerSecond(mean).human()
                    }
                }
            };
            let spare = match demand.spare {
                0 => String::new(),
                n => format!(", {n} spare"),
            };
            let scaled = if demand.autoscale { ", as many as the hour needs" } else { "" };
            format!("{load}, loaded to {} % at most{spare}{scaled}", crate::units::digits(demand.headroom * 100.0))
        }
    }
}

/// A mean number of tokens: whole where it is.
fn tokens(mean: f64) -> String {
    if mean.fract() == 0.0 { mean.to_string() } else { format!("{mean:.1}") }
}

pub(super) fn title(ranking: &Ranking) -> String {
    let quants: Vec<&str> = ranking.quants.iter().map(|quant| quant.name()).collect();
    let mean = if ranking.lengths.bins.len() > 1 { " in the mean" } else { "" };
    let prompt = tokens(ranking.prompt_tokens);
    let (quants, usage) = (quants.join(", "), usage(&ranking.usage));
    if ranking.task.generates() {
        let generated = tokens(ranking.gen_tokens);
        return format!(
            "Cost of a request in {quants}: {prompt} prompt and {generated} generated tokens{mean}, {usage}"
        );
    }
    let what = match ranking.image_size {
        Some(side) => format!("of {side} x {side} pixels"),
        None => format!("of {prompt} tokens{mean}"),
    };
    format!("Cost of {} {what} in {quants}, {usage}", ranking.task.info().result)
}

pub(in crate::report) fn place(ranking: &Ranking, index: usize, row: &RankRow) -> String {
    match (row.usd_per_request.is_some(), row.tied_with_first || index == 0) {
        (false, _) => DASH.to_string(),
        (true, true) if ranking.rows.iter().any(|r| r.tied_with_first) => "1=".to_string(),
        _ => (index + 1).to_string(),
    }
}

pub(in crate::report) fn price_age(row: &RankRow) -> String {
    let mark = if row.stale { " !" } else { "" };
    match (row.price_age_days, row.price_source.is_some()) {
        (Some(days), _) => format!("{days} d{mark}"),
        (None, true) => format!("unknown{mark}"),
        (None, false) => DASH.to_string(),
    }
}

/// The name and place of a row, with a mark where it is on the front of cost against latency.
pub(in crate::report) fn marked_name(row: &RankRow) -> String {
    if row.on_front { format!("{} ^", offer_name(row)) } else { offer_name(row) }
}

/// Basis and tier of a row, with a star where it is in doubt: `projected X*`.
pub(in crate::report) fn basis(row: &RankRow) -> String {
    let tier = row.ground.as_ref().map_or(String::new(), |ground| format!(" {}", ground.tier));
    format!("{}{tier}{}", row.basis, if row.doubts.is_empty() { "" } else { "*" })
}

/// What the letters of tiers mean, and how far off projections of each were: the rows that projected figures link to.
pub fn tiers(rankings: &[Ranking]) -> Option<Table> {
    let grounds: Vec<&Provenance> =
        rankings.iter().flat_map(|ranking| &ranking.rows).filter_map(|row| row.ground.as_ref()).collect();
    grounds.first()?;
    let mut table = Table::new(
        "How far off projections can be",
        &[
            "tier",
            "what was measured",
            ">least margin, decode",
            ">least margin, prefill",
            ">rows here",
            ">error on left-out cards",
        ],
    );
    for tier in [Tier::I, Tier::S, Tier::X, Tier::F] {
        let of: Vec<&&Provenance> = grounds.iter().filter(|ground| ground.tier == tier).collect();
        let error = of.iter().find_map(|ground| ground.validated_mape);
        let factor = |phase| match (tier, error) {
            (Tier::X, Some(_)) => "as computed".to_string(),
            _ => format!("x {:.2}", tier.factor(phase, false)),
        };
        table.push(vec![
            tier.to_string(),
            tier.meaning().to_string(),
            factor(Phase::Decode),
            factor(Phase::Prefill),
            of.len().to_string(),
            error.map_or(DASH.to_string(), |error| Fraction(error).human()),
        ]);
        table.anchors.push(format!("tier-{tier}"));
    }
    let mut laws: Vec<String> =
        grounds.iter().map(|g| format!("{} on {} cards", g.law_of, g.calibration_cards)).collect();
    laws.sort();
    laws.dedup();
    table.notes.push(format!(
        "fitted to {}; the error is the mean of decode times on cards that were left out of the fit, of that engine; margins \
         are never below those given, and in tier F hold the difference between engines too",
        laws.join(", ")
    ));
    table.notes.push(
        "docs/method/projection.md has the terms, docs/results/2026-11-24-projection.md the whole table of errors"
            .to_string(),
    );
    Some(table)
}

/// The first `most` rows of a ranking, and every measured one wherever it stands.
pub fn ranking(ranking: &Ranking, most: usize) -> Table {
    let columns = columns::shown(ranking);
    let headings: Vec<&str> = columns.iter().map(|(_, heading, _)| heading.as_str()).collect();
    let mut table = Table::new(title(ranking), &headings);
    let mut spare: Vec<(u8, usize)> =
        columns.iter().enumerate().filter_map(|(place, (.., order))| Some(((*order)?, place))).collect();
    spare.sort_unstable();
    table.spare = spare.into_iter().map(|(_, place)| place).collect();
    for (index, row) in shown(ranking, most) {
        let ranked = Ranked { ranking, index, row };
        table.push(columns.iter().map(|(column, ..)| column.in_table(&ranked)).collect());
    }
    table.notes = ranking_notes(ranking, most);
    table.link = table.columns.iter().position(|column| column.title == "basis").map(|place| (place, "tier-"));
    table
}

/// Whether a component of a row is not known, which is another thing than nothing.
fn is_gap(row: &RankRow, component: Component) -> bool {
    let Some(remark) = component.facts().gap else { return false };
    row.provider.as_ref() == "this machine" || row.remarks.iter().any(|known| &**known == remark)
}

/// What the cost of a thousand requests is made of, for the rows of [`ranking`].
pub fn components(ranking: &Ranking, most: usize) -> Table {
    let rows: Vec<(usize, &RankRow)> =
        shown(ranking, most).into_iter().filter(|(_, row)| row.components.is_some()).collect();
    let has =
        |c: &Component| rows.iter().any(|(_, row)| row.components.is_some_and(|b| b.of(*c) != CostInterval::ZERO));
    let used: Vec<Component> = Component::ALL.into_iter().filter(has).collect();
    let names: Vec<String> = used.iter().map(|c| format!(">{}", c.label())).collect();
    let mut columns = vec![">#", "offer"];
    columns.extend(names.iter().map(String::as_str));
    columns.extend([">all", "from - to"]);
    let mut table = Table::new("What a thousand requests cost, by component", &columns);
    for (index, row) in rows {
        let Some(parts) = row.components else { continue };
        let thousand = |cost: CostInterval| cost.times(1e3).map_or(DASH.to_string(), |c| c.value.to_string());
        let mut cells = vec![place(ranking, index, row), offer_name(row)];
        cells.extend(used.iter().map(|c| if is_gap(row, *c) { DASH.to_string() } else { thousand(parts.of(*c)) }));
        cells.extend(cost(row.usd_per_thousand_requests));
        table.push(cells);
    }
    let gaps: BTreeSet<&str> = ranking
        .rows
        .iter()
        .flat_map(|row| row.remarks.iter().map(|r| &**r))
        .filter(|remark| remark.ends_with("_price_not_known"))
        .collect();
    if !gaps.is_empty() {
        let gaps: Vec<String> = gaps.iter().map(|gap| gap.trim_end_matches("_price_not_known").to_string()).collect();
        table
            .notes
            .push(format!("where a provider's price of {} is not known, it is not in the sum", gaps.join(" and ")));
    }
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
        if row.basis == Basis::Measured || (shown.len() < most && !repeats) {
            shown.push((index, row));
        }
    }
    shown
}

pub(super) fn ranking_notes(ranking: &Ranking, most: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if ranking.rows.iter().any(|row| row.tied_with_first) {
        notes.push("1= cannot be told from the first: the intervals overlap".to_string());
    }
    let doubts: BTreeSet<&str> =
        shown(ranking, most).iter().flat_map(|(_, row)| row.doubts.iter().map(|d| &**d)).collect();
    if !doubts.is_empty() {
        notes.push(format!("* doubtful: {}", doubts.into_iter().collect::<Vec<_>>().join("; ")));
    }
    if ranking.rows.iter().any(|row| row.basis == Basis::Projected) {
        notes.push(
            "projected: a sum of physical terms fitted to measured cards, moved by measured relatives; I this card on \
             another host, S at other sizes, X another card of about its generation, F none so near with this engine; TPOT of the roof: bytes over \
             published bandwidth, which nothing can beat"
                .to_string(),
        );
    }
    notes.extend(
        ranking.rows.iter().find_map(|row| row.why_no_cost.clone()).map(|why: Arc<str>| format!("this machine: {why}")),
    );
    if ranking.rows.iter().any(|row| row.on_front) {
        notes.push("^ no cheaper row is faster to the last token: the front of cost against latency".to_string());
    }
    if let Some(swap) = &ranking.swap {
        let tied = if swap.tied { " (and may be even now: their intervals overlap)" } else { "" };
        notes.push(format!(
            "{} is as cheap as {} once the hardware of the latter costs {:.2} times as much{tied}",
            swap.second, swap.first, swap.multiple
        ));
    }
    let ages: Vec<i64> = ranking.rows.iter().filter_map(|row| row.price_age_days).collect();
    if let (Some(least), Some(most)) = (ages.iter().min(), ages.iter().max()) {
        let span = if least == most { least.to_string() } else { format!("{least} to {most}") };
        notes.push(format!("prices are {span} days old ({} catalog)", ranking.catalog_origin));
    }
    let stale = ranking.rows.iter().filter(|row| row.stale).count();
    if stale > 0 {
        notes.push(format!(
            "! {stale} prices are older than 30 days (spot: 1) or of unknown age: `sizewell catalog update` fetches \
             newer ones, --max-age 30 leaves old ones out"
        ));
    }
    if shown(ranking, most).iter().any(|(_, row)| row.is_incomplete()) {
        notes.push(
            "+ the price is of the card alone: its CPU and memory are billed apart and are not in it".to_string(),
        );
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
    let mut reasons: BTreeMap<(bool, String), Vec<&str>> = BTreeMap::new();
    for item in excluded {
        // Sizes differ from type to type; the reason is the same.
        let reason = match &item.reason {
            ExclusionReason::DoesNotFit(_) => (false, "does not fit".to_string()),
            ExclusionReason::Other(reason) => (true, reason.to_string()),
        };
        let offers = reasons.entry(reason).or_default();
        if !offers.contains(&item.offer.as_str()) {
            offers.push(&item.offer);
        }
    }
    let mut lines: Vec<((bool, String), Vec<&str>)> = reasons.into_iter().collect();
    lines.sort_by_key(|((is_other, _), offers)| (*is_other, std::cmp::Reverse(offers.len())));
    let mut table = Table::new("Not ranked", &["reason", ">types", "for example"]);
    for ((_, reason), offers) in lines {
        let shown: Vec<&str> = offers.iter().take(3).copied().collect();
        table.push(vec![reason, offers.len().to_string(), shown.join(", ")]);
    }
    table
}

/// Every offer that was left out, one line each.
pub fn excluded_offers(excluded: &[Excluded]) -> Table {
    let mut table = Table::new("Not ranked", &["offer", "region", "market", "quant", "reason"]);
    for item in excluded {
        table.push(vec![
            item.offer.clone(),
            item.region.as_deref().unwrap_or("all").to_string(),
            item.market.map_or("all", |market| market.name()).to_string(),
            item.quant.to_string(),
            item.reason.to_string(),
        ]);
    }
    table
}
