//! The cheapest mix of instance types of one provider and region, as an integer program:
//!
//! minimise `sum n_i P_i` over whole `n_i >= 0`, so that `sum n_i c_i >= peak` and, for each type `j` that is used,
//! `sum n_i c_i - k c_j >= peak`: the rest carries the peak when `k` of the largest fail. `c` is the rate that an
//! instance is loaded to.

use super::PlanOption;
use crate::catalog::Market;
use crate::record::Basis;
use crate::sizing::price::cost::HOURS_PER_MONTH;
use crate::sizing::price::demand::Usage;
use crate::sizing::rank::ranking::Ranking;
use crate::sizing::rank::row::RankRow;
use crate::units::Usd;
use good_lp::{Expression, ProblemVariables, Solution, SolverModel, WithTimeLimit, constraint, variable};
use rust_decimal::Decimal;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Types of a place that are weighed against each other, after those are gone that another beats in price and rate.
const MOST_TYPES: usize = 24;
/// Most seconds for one place.
const TIME_LIMIT_S: f64 = 1.0;

/// A type that a mix can have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Price of an hour, of whatever comes with it too.
    pub usd_per_h: f64,
    /// Requests a second that an instance is loaded to.
    pub capacity: f64,
}

/// Whole instances of each candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct MixSolution {
    /// As many as candidates.
    pub instances: Vec<usize>,
    /// The solver says that nothing is cheaper.
    pub proven: bool,
}

/// Several types together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mix {
    /// Provider.
    pub provider: Arc<str>,
    /// Region.
    pub region: Option<Arc<str>>,
    /// Market.
    pub market: Option<Market>,
    /// Types and how many of each.
    pub parts: Vec<(Arc<str>, usize)>,
    /// What a month costs, at the middle of the ranges.
    pub usd_per_month: Usd,
    /// The same of the cheapest single type.
    pub single_usd_per_month: Usd,
    /// Measured where all of it is.
    pub basis: Basis,
    /// The solver says that nothing in that place is cheaper.
    pub proven: bool,
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(|(name, count)| format!("{count} x {name}")).collect();
        let region = self.region.as_ref().map_or(String::new(), |region| format!(" in {region}"));
        let saved = 1.0 - self.usd_per_month.to_f64() / self.single_usd_per_month.to_f64();
        let proven = if self.proven { "" } else { ", the best that was found" };
        write!(
            f,
            "Cheapest mix: {} of {}{region}: {} a month, {:.1} % less than one type alone ({}{proven}).",
            parts.join(" + "),
            self.provider,
            self.usd_per_month,
            saved * 100.0,
            self.basis
        )
    }
}

/// The cheapest whole instances that carry `peak`, and still do when `spare` of the largest used type fail. `None` where
/// there is no candidate or the solver fails.
pub fn solve(candidates: &[Candidate], peak: f64, spare: usize) -> Option<MixSolution> {
    if candidates.is_empty() || candidates.iter().any(|c| !(c.capacity > 0.0 && c.usd_per_h.is_finite())) {
        return None;
    }
    let mut variables = ProblemVariables::new();
    let most: Vec<f64> = candidates.iter().map(|c| (peak / c.capacity).ceil() + spare as f64).collect();
    let counts: Vec<_> = most.iter().map(|most| variables.add(variable().integer().min(0).max(*most))).collect();
    let used: Vec<_> = candidates.iter().map(|_| variables.add(variable().binary())).collect();
    let weigh = |of: fn(&Candidate) -> f64| -> Expression {
        candidates.iter().zip(&counts).map(|(candidate, count)| of(candidate) * *count).sum()
    };
    // Scaled to the peak, so that the solver's tolerances mean the same for 0.01 and for 10,000 requests a second.
    let carried = || -> Expression {
        candidates.iter().zip(&counts).map(|(candidate, count)| candidate.capacity / peak * *count).sum()
    };
    let mut model = variables
        .minimise(weigh(|candidate| candidate.usd_per_h))
        .using(good_lp::microlp)
        .with_time_limit(TIME_LIMIT_S)
        .with(constraint!(carried() >= 1.0));
    if spare > 0 {
        for index in 0..candidates.len() {
            let lost = spare as f64 * candidates[index].capacity / peak;
            model = model.with(constraint!(carried() - lost * used[index] >= 1.0));
            model = model.with(constraint!(counts[index] <= most[index] * used[index]));
        }
    }
    let solution = model.solve().ok()?;
    let proven = matches!(solution.status(), good_lp::SolutionStatus::Optimal);
    let instances: Vec<usize> = counts.iter().map(|count| solution.value(*count).round().max(0.0) as usize).collect();
    // A solver in floating point is not taken at its word.
    carries(candidates, &instances, peak, spare).then_some(MixSolution { instances, proven })
}

/// Whether so many instances carry the peak.
pub fn carries(candidates: &[Candidate], instances: &[usize], peak: f64, spare: usize) -> bool {
    let carried: f64 = candidates.iter().zip(instances).map(|(c, n)| c.capacity * *n as f64).sum();
    let largest =
        candidates.iter().zip(instances).filter(|(_, n)| **n > 0).map(|(c, _)| c.capacity).fold(0.0, f64::max);
    carried - spare as f64 * largest >= peak * (1.0 - 1e-6)
}

/// What so many instances cost an hour.
pub fn usd_per_h(candidates: &[Candidate], instances: &[usize]) -> f64 {
    candidates.iter().zip(instances).map(|(c, n)| c.usd_per_h * *n as f64).sum()
}

/// Provider, region and market: a mix is of one of each.
type OfferGroup = (Arc<str>, Option<Arc<str>>, Option<Market>);

/// The cheapest mix of any place, where it is of several types and cheaper than `single`.
pub(super) fn cheapest(ranking: &Ranking, usage: &Usage, single: Option<&PlanOption>) -> Option<Mix> {
    let demand = usage.demand().filter(|demand| !demand.autoscale)?;
    let single = single?.row.usd_per_month?.value;
    let mut places: BTreeMap<OfferGroup, Vec<&RankRow>> = BTreeMap::new();
    for row in &ranking.rows {
        let hourly = matches!(
            row.market,
            Some(Market::OnDemand | Market::Spot | Market::Reserved1y | Market::Reserved3y | Market::Managed)
        );
        if hourly && row.usd_per_h.is_some() {
            places.entry((row.provider.clone(), row.region.clone(), row.market)).or_default().push(row);
        }
    }
    let mut best: Option<Mix> = None;
    for ((provider, region, market), rows) in places {
        let rows = undominated(rows);
        // Users who are answered sooner ask again sooner: the fastest type sets the peak.
        let fastest = rows.iter().map(|row| row.e2e_s.value).fold(f64::INFINITY, f64::min);
        let peak = demand.load.rates(fastest).into_iter().fold(0.0, f64::max);
        let candidates: Vec<Candidate> = rows.iter().filter_map(|row| candidate(row, demand.headroom)).collect();
        if candidates.len() != rows.len() {
            continue;
        }
        let Some(solution) = solve(&candidates, peak, demand.spare) else { continue };
        let parts: Vec<(Arc<str>, usize)> = rows
            .iter()
            .zip(&solution.instances)
            .filter(|(_, count)| **count > 0)
            .map(|(row, count)| (row.instance_type.clone(), *count))
            .collect();
        let month = Decimal::from_f64_retain(usd_per_h(&candidates, &solution.instances) * HOURS_PER_MONTH);
        let Some(month) = month.map(|month| Usd(month.round_dp(6))) else { continue };
        let wins = parts.len() > 1 && month < single && best.as_ref().is_none_or(|best| month < best.usd_per_month);
        if wins {
            let used = rows.iter().zip(&solution.instances).filter(|(_, count)| **count > 0);
            let measured = used.into_iter().all(|(row, _)| row.basis == Basis::Measured);
            best = Some(Mix {
                provider,
                region,
                market,
                parts,
                usd_per_month: month,
                single_usd_per_month: single,
                basis: if measured { Basis::Measured } else { Basis::Projected },
                proven: solution.proven,
            });
        }
    }
    best
}

/// What an hour of a row costs in all, spread over the requests that it is loaded to.
fn candidate(row: &RankRow, headroom: f64) -> Option<Candidate> {
    let fleet = row.fleet?;
    let hourly = row.usd_per_month?.value.to_f64() / HOURS_PER_MONTH / fleet.mean_instances;
    Some(Candidate { usd_per_h: hourly, capacity: row.requests_per_s.value * headroom })
}

/// Rows that no other beats in both price and rate, the cheapest by request first.
fn undominated(mut rows: Vec<&RankRow>) -> Vec<&RankRow> {
    let price = |row: &RankRow| row.usd_per_h.map_or(f64::INFINITY, Usd::to_f64);
    rows.sort_by(|a, b| price(a).total_cmp(&price(b)).then(b.requests_per_s.value.total_cmp(&a.requests_per_s.value)));
    let mut most = 0.0;
    rows.retain(|row| {
        let better = row.requests_per_s.value > most;
        most = row.requests_per_s.value.max(most);
        better
    });
    let by_request = |row: &RankRow| price(row) / row.requests_per_s.value;
    rows.sort_by(|a, b| by_request(a).total_cmp(&by_request(b)));
    rows.truncate(MOST_TYPES);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The cheapest by trying everything.
    fn brute(candidates: &[Candidate], peak: f64, spare: usize) -> f64 {
        let most: Vec<usize> = candidates.iter().map(|c| (peak / c.capacity).ceil() as usize + spare).collect();
        let mut instances = vec![0; candidates.len()];
        let mut best = f64::INFINITY;
        loop {
            if carries(candidates, &instances, peak, spare) && instances.iter().any(|n| *n > 0) {
                best = best.min(usd_per_h(candidates, &instances));
            }
            let Some(place) = (0..instances.len()).find(|place| instances[*place] < most[*place]) else { return best };
            instances[place] += 1;
            instances[..place].fill(0);
        }
    }

    fn candidates(list: &[(f64, f64)]) -> Vec<Candidate> {
        list.iter().map(|(usd_per_h, capacity)| Candidate { usd_per_h: *usd_per_h, capacity: *capacity }).collect()
    }

    #[test]
    fn a_big_one_and_a_small_one_beat_two_big_ones() {
        let all = candidates(&[(1.0, 10.0), (0.3, 2.0)]);
        let solution = solve(&all, 11.5, 0).unwrap();
        assert_eq!((solution.instances, solution.proven), (vec![1, 1], true));
        // With one spare, the rest has to carry it when the big one fails.
        let spare = solve(&all, 11.5, 1).unwrap();
        assert!((usd_per_h(&all, &spare.instances) - brute(&all, 11.5, 1)).abs() < 1e-9, "{spare:?}");
        assert!(solve(&[], 1.0, 0).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn nothing_is_cheaper(
            list in prop::collection::vec((0.05f64..5.0, 0.5f64..10.0), 1..4), peak in 0.1f64..20.0, spare in 0usize..3,
        ) {
            let all = candidates(&list);
            let solution = solve(&all, peak, spare).unwrap();
            prop_assert!(solution.proven);
            let (found, least) = (usd_per_h(&all, &solution.instances), brute(&all, peak, spare));
            prop_assert!((found / least - 1.0).abs() < 1e-6, "{found} against {least}: {solution:?}");
        }
    }
}
