//! Instances that are kept, against serverless ones: below which rate the latter are cheaper.

use super::PlanOption;
use crate::catalog::{Catalog, Market, Offer};
use crate::record::Run;
use crate::sizing::price::cost::serverless::{self, ServerlessTerms, UnknownCost};
use crate::sizing::price::cost::{Component, HOURS_PER_MONTH, SECONDS_PER_MONTH};
use crate::sizing::price::demand::Usage;
use crate::sizing::price::pricing::{in_flight, serverless_cost, serverless_terms};
use crate::sizing::price::service::Service;
use crate::sizing::rank::ranking::rank_runs;
use crate::sizing::rank::request::RankRequest;
use crate::sizing::rank::row::RankRow;
use crate::units::{RequestsPerSecond, Usd};
use serde::Serialize;
use std::sync::Arc;

/// Rates that are looked at: from one request in eleven days up.
const LEAST_RATE: f64 = 1e-6;
const STEPS: usize = 600;

/// A serverless offer against the cheapest kept instances.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerlessOption {
    /// `provider:type` of the serverless offer.
    pub serverless: String,
    /// What runs the model there.
    pub hardware: Arc<str>,
    /// `provider:type` of the instances.
    pub kept: String,
    /// What a month of the demand costs serverless; `None` where it is not known.
    pub serverless_usd_per_month: Option<Usd>,
    /// What it costs on the instances.
    pub kept_usd_per_month: Usd,
    /// Requests a second below which serverless is cheaper; `None` where it never is, or always.
    pub break_even_requests_per_s: Option<f64>,
    /// The share of the time that a worker may be busy before an hour of the same price list is cheaper:
    /// `P_h / (3600 p_s)`; only of the same hardware, as only then a second here is worth a second there.
    pub break_even_utilisation: Option<f64>,
    /// Whether all that is paid is in the price: some providers bill CPU and memory apart.
    pub is_whole: bool,
    /// Why something is not known, or which of the two is always cheaper.
    pub note: Option<String>,
    /// What is not known is how long a start takes.
    #[serde(skip)]
    pub is_start_unknown: bool,
}

impl ServerlessOption {
    /// Where the two change places.
    pub(super) fn sentence(&self) -> Option<String> {
        let rate = self.break_even_requests_per_s.filter(|_| self.is_whole)?;
        Some(format!(
            "Below {} {} (serverless) is cheaper than {} kept warm.",
            RequestsPerSecond(rate),
            self.serverless,
            self.kept
        ))
    }
}

/// The rate at which two monthly costs change places, the first of them being cheaper below: by steps of a few percent,
/// then halving.
pub fn crossing(first: impl Fn(f64) -> Option<f64>, second: impl Fn(f64) -> Option<f64>, most: f64) -> Crossing {
    let difference = |rate: f64| Some(first(rate)? - second(rate)?);
    let ratio = (most / LEAST_RATE).powf(1.0 / STEPS as f64);
    let Some(start) = difference(LEAST_RATE) else { return Crossing::Unknown };
    if start >= 0.0 {
        return Crossing::NeverCheaper;
    }
    let mut low = LEAST_RATE;
    for step in 1..=STEPS {
        let high = LEAST_RATE * ratio.powi(step as i32);
        match difference(high) {
            None => return Crossing::Unknown,
            Some(d) if d >= 0.0 => {
                let mut high = high;
                for _ in 0..60 {
                    let middle = (low * high).sqrt();
                    match difference(middle) {
                        Some(d) if d < 0.0 => low = middle,
                        _ => high = middle,
                    }
                }
                return Crossing::At(high);
            }
            Some(_) => low = high,
        }
    }
    Crossing::AlwaysCheaper
}

/// Where two costs change places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crossing {
    /// At this rate.
    At(f64),
    /// The first is dearer from the start.
    NeverCheaper,
    /// The first is cheaper as far as was looked.
    AlwaysCheaper,
    /// One of the two is not known.
    Unknown,
}

/// What a month of the demand costs serverless, with its traffic.
fn month(terms: &ServerlessTerms, row: &RankRow, usage: &Usage) -> Result<f64, UnknownCost> {
    let too_much = "the amount is beyond what can be computed";
    let batch = in_flight(row.requests_per_s.value / row.replicas.max(1) as f64, row.e2e_s.value);
    let total = serverless_cost(terms, usage, row.e2e_s, batch)?.total().ok_or(too_much)?;
    let egress = row.components.map_or(0.0, |parts| parts.of(Component::Egress).value.to_f64());
    let rate = usage.mean_rate(row.e2e_s.value).ok_or(too_much)?;
    Ok((total.value.to_f64() + egress) * rate * SECONDS_PER_MONTH)
}

/// What a month of the demand costs on kept instances: whole ones for its peak, as the market has them, and with the
/// requests what is neither price nor time (traffic).
struct KeptCost<'a> {
    best: &'a PlanOption,
    committed: bool,
    hourly: f64,
    rest: f64,
}

impl<'a> KeptCost<'a> {
    fn new(best: &'a PlanOption, usage: &Usage) -> Option<Self> {
        let committed = matches!(best.row.market, Some(Market::Reserved1y | Market::Reserved3y));
        let hourly = best.row.usd_per_h?.to_f64();
        let mut kept = Self { best, committed, hourly, rest: 0.0 };
        kept.rest = (best.row.usd_per_month?.value.to_f64() - kept.month(usage, 1.0)?).max(0.0);
        Some(kept)
    }

    /// At `factor` times the demand.
    fn month(&self, usage: &Usage, factor: f64) -> Option<f64> {
        let scaled = usage.scaled(factor);
        let scaled = if self.committed { scaled.all_day() } else { scaled };
        let row = &self.best.row;
        let instances = scaled.fleet(row.requests_per_s.value, row.e2e_s.value)?.mean_instances;
        Some(instances * self.hourly * HOURS_PER_MONTH + self.rest * factor)
    }
}

/// Every serverless offer that the request's filters let through.
pub(super) fn against(
    runs: &[&Run],
    catalog: &Catalog,
    request: &RankRequest,
    best: &PlanOption,
) -> Result<Vec<ServerlessOption>, String> {
    // Ranked as if always busy, which needs no cold start: speed and batch are what is wanted of it.
    let service = Service { usage: Usage::Share(1.0), ..request.service.clone() };
    let asked = RankRequest {
        markets: vec![Market::Serverless],
        regions: Vec::new(),
        providers: Vec::new(),
        own: Vec::new(),
        only: None,
        service,
        ..request.clone()
    };
    let ranking = rank_runs(runs, catalog, &asked)?;
    let rows = ranking.rows.iter().filter(|row| row.market == Some(Market::Serverless));
    let mut all: Vec<ServerlessOption> = rows.filter_map(|row| compare(row, catalog, request, best)).collect();
    all.sort_by_key(|warm| (warm.serverless_usd_per_month.is_none(), warm.serverless_usd_per_month));
    Ok(all)
}

fn compare(row: &RankRow, catalog: &Catalog, request: &RankRequest, best: &PlanOption) -> Option<ServerlessOption> {
    let is = |offer: &&Offer| {
        offer.shape.provider == row.provider
            && offer.shape.instance_type == row.instance_type
            && offer.market == Market::Serverless
    };
    let offer = catalog.offers.iter().find(is)?;
    let usage = &request.service.usage;
    let rate = usage.mean_rate(row.e2e_s.value)?;
    let kept_usd_per_month = best.row.usd_per_month?.value;
    let kept = KeptCost::new(best, usage)?;
    let terms = serverless_terms(catalog, &request.service, offer, row.usd_per_h?);
    let now = terms.clone().map_err(UnknownCost::from).and_then(|terms| month(&terms, row, usage));
    let most = (10.0 * rate).max(10.0 * best.row.requests_per_s.value);
    let crossing = match &terms {
        Ok(terms) => {
            crossing(|at| month(terms, row, &usage.scaled(at / rate)).ok(), |at| kept.month(usage, at / rate), most)
        }
        Err(_) => Crossing::Unknown,
    };
    let note = match (&crossing, &now) {
        (_, Err(why)) => Some(why.to_string()),
        (Crossing::NeverCheaper, _) => Some("dearer at any rate".to_string()),
        (Crossing::AlwaysCheaper, _) => Some("cheaper at any rate that was looked at".to_string()),
        (Crossing::Unknown, _) => Some("what it costs at some rates is not known".to_string()),
        (Crossing::At(_), _) => None,
    };
    let usd_per_s = terms.as_ref().map_or(Usd::default(), |terms| terms.usd_per_s);
    let is_start_unknown = now == Err(UnknownCost::ColdStart);
    Some(ServerlessOption {
        serverless: row.name(),
        hardware: row.hardware.clone(),
        kept: best.row.name(),
        serverless_usd_per_month: now
            .ok()
            .and_then(rust_decimal::Decimal::from_f64_retain)
            .map(|usd| Usd(usd.round_dp(6))),
        kept_usd_per_month,
        break_even_requests_per_s: match crossing {
            Crossing::At(rate) => Some(rate),
            _ => None,
        },
        break_even_utilisation: (row.hardware == best.row.hardware)
            .then(|| serverless::break_even_utilisation(best.row.usd_per_h.unwrap_or_default(), usd_per_s)),
        is_whole: !row.is_incomplete(),
        note,
        is_start_unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_decimal::Decimal;

    /// RunPod: H100 at 0.00116 a second against 3.99 an hour, A100 at 0.00076 against 1.79.
    #[test]
    fn the_figures_of_the_break_even_come_out() {
        let at = |hour: i64, second: i64| {
            serverless::break_even_utilisation(Usd(Decimal::new(hour, 2)), Usd(Decimal::new(second, 5)))
        };
        assert!((at(399, 116) - 0.955).abs() < 5e-4, "{}", at(399, 116));
        assert!((at(179, 76) - 0.654).abs() < 5e-4, "{}", at(179, 76));
        let hour = |second: i64| Usd(Decimal::new(second, 5)).times(3600.0).unwrap().to_f64();
        assert!((hour(116) - 4.18).abs() < 5e-3 && (hour(76) - 2.74).abs() < 5e-3);
    }

    #[test]
    fn costs_change_places_where_they_are_equal() {
        let flat = |_: f64| Some(10.0);
        let Crossing::At(rate) = crossing(|rate| Some(5.0 * rate), flat, 100.0) else { panic!() };
        assert!((rate - 2.0).abs() < 1e-9, "{rate}");
        assert_eq!(crossing(|_| Some(11.0), flat, 100.0), Crossing::NeverCheaper);
        assert_eq!(crossing(|_| Some(9.0), flat, 100.0), Crossing::AlwaysCheaper);
        assert_eq!(crossing(|_| None, flat, 100.0), Crossing::Unknown);
    }
}
