//! How many of which instances a demand takes, and what a month of it costs: of one type, of a mix, kept warm or
//! serverless, rented or bought.

pub mod bought;
pub mod mix;
pub mod warm;

use super::ranking::{Ranking, rank_runs};
use super::request::RankRequest;
use super::row::RankRow;
use crate::catalog::{Catalog, Market};
use crate::record::{Basis, Run};
use crate::sizing::price::demand::{Fleet, Usage};
use serde::Serialize;

pub use bought::PurchaseOption;
pub use mix::Mix;
pub use warm::ServerlessOption;

/// One type of instance for the whole demand.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanOption {
    /// Place in the ranking, from 0.
    pub place: usize,
    /// What the ranking says of it.
    pub row: RankRow,
    /// Whole instances.
    pub fleet: Fleet,
    /// Instances at the upper and at the lower end of the rate.
    pub instances_range: (f64, f64),
}

/// What a demand takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The offers, cheapest first.
    pub ranking: Ranking,
    /// Types of instances, cheapest first.
    pub options: Vec<PlanOption>,
    /// The cheapest mix of types of one provider and region, where one wins over the cheapest single type.
    pub mix: Option<Mix>,
    /// Serverless offers against the cheapest instances.
    pub warm: Vec<ServerlessOption>,
    /// Own hardware against the cheapest instances.
    pub bought: Vec<PurchaseOption>,
    /// In sentences.
    pub headline: Vec<String>,
}

/// Plans for the demand of `request`; the error says what is missing.
pub fn plan(runs: &[&Run], catalog: &Catalog, request: &RankRequest) -> Result<Plan, String> {
    let usage = &request.service.usage;
    if usage.demand().is_none() {
        return Err("what is asked of the service? --rps R, --day FILE, or --users N --think-time TIME".to_string());
    }
    let ranking = rank_runs(runs, catalog, request)?;
    let options = options(&ranking, usage);
    let rented = options.iter().find(|option| is_rented(option));
    // A mix is of one place: every region is a candidate.
    let everywhere = RankRequest { all_regions: true, own: Vec::new(), ..request.clone() };
    let mix = mix::cheapest(&rank_runs(runs, catalog, &everywhere)?, usage, rented);
    let warm = match rented {
        Some(best) => warm::against(runs, catalog, request, best)?,
        None => Vec::new(),
    };
    let bought = match rented {
        Some(best) => bought::against(&options, runs[0], catalog, request, best),
        None => Vec::new(),
    };
    let headline = headline(&ranking, &options, mix.as_ref(), &warm, &bought);
    Ok(Plan { ranking, options, mix, warm, bought, headline })
}

fn is_rented(option: &PlanOption) -> bool {
    option.row.usd_per_month.is_some() && !matches!(option.row.market, Some(Market::OnPrem | Market::Serverless))
}

fn options(ranking: &Ranking, usage: &Usage) -> Vec<PlanOption> {
    let option = |(place, row): (usize, &RankRow)| {
        let at = |rate: f64, e2e: f64| usage.fleet(rate, e2e).map(|fleet| fleet.instances);
        let (rate, e2e) = (row.requests_per_s, row.e2e_s);
        row.usd_per_month?;
        Some(PlanOption {
            place,
            fleet: row.fleet?,
            instances_range: (at(rate.hi, e2e.lo)?, at(rate.lo, e2e.hi)?),
            row: row.clone(),
        })
    };
    ranking.rows.iter().enumerate().filter_map(option).collect()
}

fn in_words(option: &PlanOption) -> String {
    let row = &option.row;
    let place = row.region.as_ref().filter(|r| &***r != "any").map_or(String::new(), |region| format!(" in {region}"));
    let (least, most) = option.instances_range;
    let range = if least == most { String::new() } else { format!(" ({least} to {most})") };
    let month = row.usd_per_month.unwrap_or_default();
    format!(
        "{}{range} x {}{place}, {} at batch {}: {} a month ({} to {}), {}",
        option.fleet.instances,
        row.name(),
        row.quant,
        row.batch,
        month.value,
        month.lo,
        month.hi,
        row.basis
    )
}

fn headline(
    ranking: &Ranking,
    options: &[PlanOption],
    mix: Option<&Mix>,
    warm: &[ServerlessOption],
    bought: &[PurchaseOption],
) -> Vec<String> {
    let mut lines = Vec::new();
    match options.iter().find(|option| option.row.basis == Basis::Measured) {
        Some(option) => lines.push(format!("Measured: {}.", in_words(option))),
        None => lines.push("Nothing measured has a price: --as provider:type or --price-per-hour gives it one.".into()),
    }
    if let Some(option) =
        options.iter().find(|option| option.row.basis == Basis::Projected && !option.row.is_incomplete())
    {
        let tied = ranking.rows.iter().filter(|row| row.tied_with_first).count();
        let ties = if option.place == 0 && tied > 0 {
            format!(" {tied} others cannot be told from it.")
        } else {
            String::new()
        };
        lines.push(format!("Projected, not measured: {}.{ties}", in_words(option)));
    }
    if let Some(mix) = mix {
        lines.push(mix.to_string());
    }
    lines.extend(warm.iter().find_map(ServerlessOption::sentence));
    lines.extend(bought.iter().map(PurchaseOption::sentence));
    lines
}
