//! The first page: the answer in a sentence, its margin, its basis, and the date of its price.

use crate::record::Basis;
use crate::report::Report;
use crate::report::content::{offer_name, summary};
use crate::sizing::demand::{Load, Usage};
use crate::sizing::{CostInterval, RankRow, Ranking};
use crate::units::{Fraction, Quantity, RequestsPerSecond};
use crate::workload::Task;
use jiff::ToSpan;

/// Candidates that are named.
const MOST: usize = 3;

/// In sentences: the answer, what comes next, what is only projected, from when the prices are, and what was measured.
pub fn answer(report: &Report<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    match &report.rankings {
        Ok(rankings) => {
            if let Some(ranking) = rankings.first() {
                lines.extend(of_ranking(report, ranking));
            }
        }
        Err(why) => lines.push(format!("No ranking: {why}")),
    }
    if let Some(Ok(plan)) = &report.sensitivity.as_ref().and_then(|sensitivity| sensitivity.plan.as_ref()) {
        lines.extend(plan.mix.iter().map(|mix| mix.to_string()));
    }
    lines.extend(summary(report.run()));
    lines
}

/// What it is about: `For llama-3.1-8b int4 at 20 req/s with TTFT under 500 ms`.
fn subject(report: &Report<'_>, ranking: &Ranking) -> String {
    let record = &report.run().record;
    let model = record.model.as_ref().map_or("the model".to_string(), |model| model.name.clone());
    let quants: Vec<&str> = ranking.quants.iter().map(|quant| quant.name()).collect();
    let demand = match &ranking.usage {
        Usage::Share(share) if *share >= 1.0 => " with all paid time in use".to_string(),
        Usage::Share(share) => format!(" with {} of the paid time in use", Fraction(*share)),
        Usage::Demand(demand) => match &demand.load {
            Load::Users { users, .. } => format!(" for {users} users"),
            Load::Rates(rates) => {
                format!(" at {}", RequestsPerSecond(rates.iter().copied().fold(0.0, f64::max)))
            }
        },
    };
    let limits = report.request.slo.named();
    let limits: Vec<String> =
        limits.into_iter().map(|(name, limit)| format!("{name} under {}", limit.human())).collect();
    let limits = if limits.is_empty() { String::new() } else { format!(", {}", limits.join(", ")) };
    format!("For {model} in {}{demand}{limits}", quants.join(", "))
}

fn fleet(row: &RankRow) -> String {
    row.fleet.map_or(String::new(), |fleet| format!("{} x ", fleet.instances))
}

fn thousand(cost: CostInterval, task: Task) -> String {
    format!("{} per 1,000 {} ({} to {})", cost.value, task.results(), cost.lo, cost.hi)
}

/// An offer with what it costs; `basis` is said where the sentence does not.
fn describe(row: &RankRow, basis: &str, task: Task) -> Option<String> {
    let cost = row.usd_per_thousand_requests?;
    let month = row.usd_per_month.map_or(String::new(), |month| format!(", {} a month", month.value));
    let doubts = if row.doubts.is_empty() { String::new() } else { format!("; doubtful: {}", row.doubts.join(", ")) };
    Some(format!(
        "{}{} ({}): {}{month}{basis}{doubts}",
        fleet(row),
        offer_name(row),
        row.hardware,
        thousand(cost, task)
    ))
}

/// How the second stands to the first.
fn against(first: CostInterval, second: CostInterval) -> String {
    let ratio = second.value.to_f64() / first.value.to_f64() - 1.0;
    if ratio.abs() < 0.005 {
        return "at about the same cost".to_string();
    }
    let words =
        if ratio >= 0.0 { format!("{} dearer", Fraction(ratio)) } else { format!("{} cheaper", Fraction(-ratio)) };
    if second.overlaps(&first) { format!("{words}, which cannot be told apart") } else { words }
}

fn of_ranking(report: &Report<'_>, ranking: &Ranking) -> Vec<String> {
    let subject = subject(report, ranking);
    let priced: Vec<&RankRow> =
        ranking.rows.iter().filter(|row| row.usd_per_thousand_requests.is_some() && !row.is_incomplete()).collect();
    let projected = |row: &&&RankRow| row.basis == Basis::Projected;
    let measured: Vec<&&RankRow> = priced.iter().filter(|row| !projected(row)).collect();
    let candidates: Vec<&&RankRow> = priced.iter().filter(projected).collect();
    let mut lines = Vec::new();
    let Some((winner, rest)) = measured.split_first().or(candidates.split_first()) else {
        let why = ranking.rows.iter().find_map(|row| row.why_no_cost.clone());
        let why = why.map_or("every offer was filtered out or excluded".to_string(), |why| why.to_string());
        return vec![format!("{subject}: cannot tell, as nothing that was ranked has a price ({why}).")];
    };
    let Some(cost) = winner.usd_per_thousand_requests else { return lines };
    let basis = match winner.basis {
        Basis::Projected => "projected, not measured",
        basis => basis.name(),
    };
    lines.extend(describe(winner, &format!(", {basis}"), ranking.task).map(|words| format!("{subject}: {words}.")));
    let next =
        rest.iter().find(|row| row.name() != winner.name()).and_then(|row| Some((row, row.usd_per_thousand_requests?)));
    if let Some((row, other)) = next {
        lines.push(format!("Next best of what was {}: {}, {}.", basis, offer_name(row), against(cost, other)));
    }
    if winner.basis == Basis::Projected && ranking.rows.iter().any(|row| row.basis != Basis::Projected) {
        lines.push(
            "What was measured has no price: --as provider:type or --price-per-hour gives this machine one."
                .to_string(),
        );
    }
    if winner.basis != Basis::Projected && !candidates.is_empty() {
        let named: Vec<String> = candidates
            .iter()
            .take(MOST)
            .filter_map(|row| {
                Some(format!(
                    "{} ({})",
                    describe(row, "", ranking.task)?,
                    against(cost, row.usd_per_thousand_requests?)
                ))
            })
            .collect();
        lines.push(format!("Projected candidates, not measured: {}.", named.join("; ")));
    }
    let tied = ranking.rows.iter().filter(|row| row.tied_with_first).count();
    if tied > 0 {
        let offers = if tied == 1 { "1 other offer" } else { &format!("{tied} other offers") };
        lines.push(format!("{offers} cannot be told from the cheapest: the intervals overlap."));
    }
    lines.extend(price_date(report, winner));
    lines
}

/// From when the winner's price is.
fn price_date(report: &Report<'_>, winner: &RankRow) -> Option<String> {
    let Some(days) = winner.price_age_days else {
        let why = if winner.price_source.is_some() { "has no date" } else { "was given by the user" };
        return Some(format!("The price of the first {why}."));
    };
    let date = report.today().checked_sub(days.days()).map_or(String::new(), |date| format!(" of {date}"));
    let stale =
        if winner.stale { ": older than such prices hold, `sizewell catalog update` fetches newer ones" } else { "" };
    Some(format!("The price of the first is{date}, {days} days old{stale}."))
}
