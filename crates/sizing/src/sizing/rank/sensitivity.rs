//! How costs move with what is not certain: how much of the paid time is used, how many requests come, what the hardware
//! costs. The same offers are ranked again at each setting, so that nothing is computed twice in two ways.

use super::plan::{Plan, plan};
use super::ranking::{Ranking, rank_runs};
use super::request::RankRequest;
use super::row::RankRow;
use crate::catalog::{Catalog, Market};
use crate::record::{Basis, Run};
use crate::sizing::price::demand::{Demand, Load, Usage};
use crate::sizing::price::service::Service;
use crate::units::money::CostInterval;
use crate::workload::Quant;
use std::collections::HashMap;
use std::sync::Arc;

/// Shares of the paid time that are looked at.
const SHARES: [f64; 9] = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0];
/// Offers of each curve.
const MOST_OFFERS: usize = 5;
/// Rates that are looked at, from this share of what an instance carries up to ten of them.
const LEAST_SHARE: f64 = 1e-4;
const RATES: usize = 26;
/// Of its sustained rate, what an instance is loaded to where nobody says otherwise.
const HEADROOM: f64 = 0.7;

/// What offers cost along something.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CostCurves {
    /// Shares, or requests a second.
    pub along: Vec<f64>,
    /// Each offer with the cost of a request at each of those; `None` where it is not known or cannot be.
    pub offers: Vec<(RankRow, Vec<Option<CostInterval>>)>,
}

/// What moves the cost of the first offer, and how far.
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    /// In words.
    pub what: String,
    /// Cost of a request at one end and at the other, in USD.
    pub ends: [f64; 2],
}

/// How costs move with utilisation, demand and prices.
#[derive(Debug, Clone, PartialEq)]
pub struct CostSensitivity {
    /// Along the share of the paid time that is used; or why not.
    pub utilisation: Result<CostCurves, String>,
    /// Kept instances against serverless ones along requests a second.
    pub serverless: Result<CostCurves, String>,
    /// What moves the first offer.
    pub levers: Vec<Sensitivity>,
    /// The plan for the demand, where one was given.
    pub plan: Option<Result<Plan, String>>,
}

type Key = (Arc<str>, Arc<str>, Option<Arc<str>>, Option<Market>, Quant);

fn key(row: &RankRow) -> Key {
    (row.provider.clone(), row.instance_type.clone(), row.region.clone(), row.market, row.quant)
}

/// The cost of a request on the offers of `rows` at other usages.
pub fn costs_at(
    runs: &[&Run],
    catalog: &Catalog,
    request: &RankRequest,
    rows: &[&RankRow],
    usages: &[Usage],
) -> Result<Vec<Vec<Option<CostInterval>>>, String> {
    let few = only(catalog, rows);
    let mut quants: Vec<Quant> = rows.iter().map(|row| row.quant).collect();
    quants.sort();
    quants.dedup();
    let mut markets: Vec<Market> = rows.iter().filter_map(|row| row.market).collect();
    markets.sort();
    markets.dedup();
    let mut costs = vec![Vec::with_capacity(usages.len()); rows.len()];
    for usage in usages {
        let asked = RankRequest {
            quants: quants.clone(),
            markets: markets.clone(),
            providers: Vec::new(),
            regions: Vec::new(),
            gpus: Vec::new(),
            all_regions: true,
            service: Service { usage: usage.clone(), ..request.service.clone() },
            ..request.clone()
        };
        let ranking = rank_runs(runs, &few, &asked)?;
        let found: HashMap<Key, Option<CostInterval>> =
            ranking.rows.iter().map(|row| (key(row), row.usd_per_request)).collect();
        for (row, costs) in rows.iter().zip(&mut costs) {
            costs.push(found.get(&key(row)).copied().flatten());
        }
    }
    Ok(costs)
}

/// A catalog of the offers of some rows only, so that ranking it is quick. On-demand prices that stand in for spot ones
/// stay.
fn only(catalog: &Catalog, rows: &[&RankRow]) -> Catalog {
    let mut few = catalog.clone();
    few.offers.retain(|offer| {
        rows.iter().any(|row| {
            row.provider == offer.shape.provider
                && row.instance_type == offer.shape.instance_type
                && row.region.as_ref() == Some(&offer.region)
        })
    });
    few
}

/// How the costs of a ranking's offers move.
pub fn sensitivity(runs: &[&Run], catalog: &Catalog, request: &RankRequest, ranking: &Ranking) -> CostSensitivity {
    let utilisation = along_shares(runs, catalog, request, ranking);
    let levers = levers(ranking, utilisation.as_ref().ok());
    let plan = request.service.usage.demand().map(|_| plan(runs, catalog, request));
    CostSensitivity { utilisation, serverless: along_rates(runs, catalog, request, ranking), levers, plan }
}

/// What runs the model, without how many of it.
fn card(row: &RankRow) -> &str {
    row.hardware.split_once("x ").map_or(&*row.hardware, |(_, card)| card)
}

/// The cheapest offers of different hardware, and the measured ones.
fn leading(ranking: &Ranking) -> Vec<&RankRow> {
    let mut leading: Vec<&RankRow> = Vec::new();
    for row in ranking.rows.iter().filter(|row| row.usd_per_request.is_some() && !row.is_incomplete()) {
        // Two cards in one machine cost what one card in each of two does: one line for a kind of card.
        let repeats = leading.iter().any(|known| card(known) == card(row) && known.basis == row.basis);
        if leading.len() < MOST_OFFERS && !repeats {
            leading.push(row);
        }
    }
    let measured = ranking.rows.iter().find(|row| row.basis != Basis::Projected && row.usd_per_request.is_some());
    leading.extend(measured.filter(|row| !leading.iter().any(|known| key(known) == key(row))));
    leading
}

fn along_shares(
    runs: &[&Run],
    catalog: &Catalog,
    request: &RankRequest,
    ranking: &Ranking,
) -> Result<CostCurves, String> {
    let rows = leading(ranking);
    if rows.is_empty() {
        return Err("nothing that was ranked has a price".to_string());
    }
    let usages = SHARES.map(Usage::Share);
    let costs = costs_at(runs, catalog, request, &rows, &usages)?;
    Ok(CostCurves { along: SHARES.to_vec(), offers: rows.into_iter().cloned().zip(costs).collect() })
}

fn at_rate(request: &RankRequest, rate: f64) -> Usage {
    let (headroom, spare) =
        request.service.usage.demand().map_or((HEADROOM, 0), |demand| (demand.headroom, demand.spare));
    Usage::Demand(Demand { load: Load::Rates(vec![rate]), headroom, spare, autoscale: false })
}

fn along_rates(
    runs: &[&Run],
    catalog: &Catalog,
    request: &RankRequest,
    ranking: &Ranking,
) -> Result<CostCurves, String> {
    let is_kept = |row: &&RankRow| {
        row.usd_per_request.is_some()
            && !row.is_incomplete()
            && row.region.is_some()
            && !matches!(row.market, Some(Market::Serverless | Market::OnPrem))
    };
    let kept = ranking.rows.iter().find(is_kept).ok_or("no instance that was ranked has a price")?;
    // Ranked as if always busy, which needs no cold start: which offers are candidates is what is wanted of it.
    let always = RankRequest {
        quants: vec![kept.quant],
        markets: vec![Market::Serverless],
        regions: Vec::new(),
        providers: Vec::new(),
        own: Vec::new(),
        only: None,
        service: Service { usage: Usage::Share(1.0), ..request.service.clone() },
        ..request.clone()
    };
    let serverless = rank_runs(runs, catalog, &always)?;
    let mut rows: Vec<&RankRow> = vec![kept];
    let candidates =
        serverless.rows.iter().filter(|row| row.market == Some(Market::Serverless) && !row.is_incomplete());
    for row in candidates {
        if rows.len() < MOST_OFFERS
            && !rows.iter().any(|known| known.provider == row.provider && known.market == row.market)
        {
            rows.push(row);
        }
    }
    if rows.len() < 2 {
        return Err("no serverless offer was left to compare with".to_string());
    }
    let (low, high) = (kept.requests_per_s.value * LEAST_SHARE, kept.requests_per_s.value * 10.0);
    let rates: Vec<f64> = (0..RATES).map(|i| low * (high / low).powf(i as f64 / (RATES - 1) as f64)).collect();
    let usages: Vec<Usage> = rates.iter().map(|rate| at_rate(request, *rate)).collect();
    let costs = costs_at(runs, catalog, request, &rows, &usages)?;
    let offers: Vec<(RankRow, Vec<Option<CostInterval>>)> = rows.into_iter().cloned().zip(costs).collect();
    let known = offers.iter().skip(1).any(|(_, costs)| costs.iter().flatten().count() > costs.len() / 2);
    if known {
        Ok(CostCurves { along: rates, offers })
    } else {
        Err("how long a cold start takes is not known".to_string())
    }
}

/// What moves the cost of the first offer by how much, the widest first.
fn levers(ranking: &Ranking, shares: Option<&CostCurves>) -> Vec<Sensitivity> {
    let Some((row, cost)) = ranking.rows.iter().find_map(|row| Some((row, row.usd_per_request?))) else {
        return Vec::new();
    };
    let value = cost.value.to_f64();
    let fixed = row.components.map_or(0.0, |parts| parts.beside_hardware().to_f64());
    let at_price = |factor: f64| fixed + (value - fixed) * factor;
    let mut levers = vec![
        Sensitivity {
            what: "price of the hardware, 20 % off to 20 % on".to_string(),
            ends: [at_price(0.8), at_price(1.2)],
        },
        Sensitivity {
            what: format!("speed, as far as it is known ({})", row.basis),
            ends: [cost.lo.to_f64(), cost.hi.to_f64()],
        },
    ];
    let of_first = shares.and_then(|moving| moving.offers.iter().find(|(offer, _)| key(offer) == key(row)));
    if let Some((moving, (_, costs))) = shares.zip(of_first) {
        let at = |share: f64| {
            let place = moving.along.iter().position(|at| *at == share)?;
            Some(costs.get(place).copied().flatten()?.value.to_f64())
        };
        if let (Some(high), Some(low)) = (at(0.2), at(1.0)) {
            levers.push(Sensitivity { what: "use of the paid time, 20 % to all of it".to_string(), ends: [high, low] });
        }
    }
    let width = |lever: &Sensitivity| (lever.ends[0] - lever.ends[1]).abs();
    levers.sort_by(|a, b| width(b).total_cmp(&width(a)));
    levers
}
