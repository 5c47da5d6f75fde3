//! Offers in the order of what a request costs on them, with what each figure is based on, and the offers that were
//! left out, with the reason.

use super::cost::{self, CostInterval};
use super::energy;
use super::headline::headline;
use super::interval::Interval;
use super::project::{Reference, Times, measured_times};
use super::request::RankRequest;
use crate::catalog::{Catalog, Market, Offer};
use crate::record::{Basis, CaseRow, Outcome, Run};
use crate::units::Usd;
use crate::workload::{Case, Quant};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One line of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RankRow {
    /// Provider, or `this machine`.
    pub provider: String,
    /// Instance type, or the host's name.
    pub instance_type: String,
    /// Region.
    pub region: Option<String>,
    /// Market.
    pub market: Option<Market>,
    /// What runs the model: `2x NVIDIA L4`, a CPU.
    pub hardware: String,
    /// Price of an hour.
    pub usd_per_h: Option<Usd>,
    /// Copies of the model that run side by side, one on each accelerator.
    pub replicas: usize,
    /// Precision.
    pub quant: Quant,
    /// Sequences that run together in each copy.
    pub batch: usize,
    /// Measured or projected.
    pub basis: Basis,
    /// How the figures came about.
    pub method: &'static str,
    /// To the first token.
    pub ttft_s: Interval,
    /// Per further token.
    pub tpot_s: Interval,
    /// All copies together.
    pub requests_per_s: Interval,
    /// Of a million generated tokens, their share of the prompts included.
    pub usd_per_million_tokens: Option<CostInterval>,
    /// Of a thousand requests.
    pub usd_per_thousand_requests: Option<CostInterval>,
    /// Of a generated token, in joules: measured, or from the board power of a card; absent where neither is known.
    pub joules_per_token: Option<Interval>,
    /// Why there is no cost.
    pub why_no_cost: Option<String>,
    /// Days since the price was seen.
    pub price_age_days: Option<i64>,
    /// Where the price was seen.
    pub price_source: Option<String>,
    /// Its cost cannot be told from the cheapest's: the intervals overlap.
    pub tied_with_first: bool,
    /// What speaks against the figures: doubts of the measurement that they are from.
    pub doubts: Vec<String>,
    /// What to know of the price: its flags.
    pub remarks: Vec<String>,
}

/// An offer that was not ranked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Excluded {
    /// `provider:type`.
    pub offer: String,
    /// Precision that it was excluded for.
    pub quant: Quant,
    /// Why.
    pub reason: String,
}

/// A ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranking {
    /// Prompt length of the requests.
    pub prompt_tokens: usize,
    /// Tokens that each request generates.
    pub gen_tokens: usize,
    /// Precisions that were ranked.
    pub quants: Vec<Quant>,
    /// Cheapest first; rows without a price last.
    pub rows: Vec<RankRow>,
    /// What was left out.
    pub excluded: Vec<Excluded>,
    /// In a sentence or two: what is cheapest, and on what basis.
    pub headline: Vec<String>,
    /// Hash of the catalog that the prices are from.
    pub catalog_hash: String,
}

/// Ranks what `run` measured, and the offers of `catalog`. The error says what the run lacks.
pub fn rank(run: &Run, catalog: &Catalog, request: &RankRequest) -> Result<Ranking, String> {
    check_filters(catalog, request)?;
    let cases = select(run, request)?;
    let mut ranker = Ranker { run, catalog, request, rows: Vec::new(), excluded: Vec::new() };
    for quant in &cases.quants {
        let rows: Vec<&CaseRow> = cases.rows.iter().copied().filter(|row| row.key.case.quant == *quant).collect();
        ranker.add_measured(&rows)?;
        ranker.add_offers(*quant, &rows);
    }
    let Ranker { mut rows, mut excluded, .. } = ranker;
    if !request.all_regions {
        rows = cheapest_regions(rows);
    }
    rows.sort_by(|a, b| match (&a.usd_per_million_tokens, &b.usd_per_million_tokens) {
        (Some(a), Some(b)) => a.value.cmp(&b.value),
        (a, b) => b.is_some().cmp(&a.is_some()),
    });
    if let Some(first) = rows.first().and_then(|row| row.usd_per_million_tokens) {
        for row in rows.iter_mut().skip(1) {
            row.tied_with_first = row.usd_per_million_tokens.is_some_and(|cost| cost.overlaps(&first));
        }
    }
    excluded.sort();
    excluded.dedup();
    Ok(Ranking {
        prompt_tokens: cases.prompt_tokens,
        gen_tokens: cases.gen_tokens,
        headline: headline(&rows),
        quants: cases.quants,
        rows,
        excluded,
        catalog_hash: catalog.hash.clone(),
    })
}

/// A provider or region that no offer has is a slip of the pen.
fn check_filters(catalog: &Catalog, request: &RankRequest) -> Result<(), String> {
    let check = |what: &str, wanted: &Option<String>, of: fn(&Offer) -> &str| -> Result<(), String> {
        let Some(wanted) = wanted else { return Ok(()) };
        let known: BTreeSet<&str> = catalog.offers.iter().map(of).collect();
        match known.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
            true => Ok(()),
            false => {
                let known: Vec<&str> = known.into_iter().collect();
                Err(format!("the catalog has no {what} `{wanted}`; it has {}", known.join(", ")))
            }
        }
    };
    check("provider", &request.provider, |offer| &offer.provider)?;
    check("region", &request.region, |offer| &offer.region)
}

/// The measured cases that a request is about.
struct Selected<'a> {
    prompt_tokens: usize,
    gen_tokens: usize,
    quants: Vec<Quant>,
    rows: Vec<&'a CaseRow>,
}

fn select<'a>(run: &'a Run, request: &RankRequest) -> Result<Selected<'a>, String> {
    let ok: Vec<&CaseRow> = run.cases.iter().filter(|row| row.outcome == Outcome::Ok).collect();
    if ok.is_empty() {
        return Err("the run has no measured case: nothing can be ranked".to_string());
    }
    let mut lengths: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for row in &ok {
        let Case { prompt_tokens, gen_tokens, .. } = row.key.case;
        *lengths.entry((prompt_tokens, gen_tokens)).or_default() += 1;
    }
    let wanted = |(prompt, generated): &(usize, usize)| {
        request.prompt_tokens.is_none_or(|p| p == *prompt) && request.gen_tokens.is_none_or(|g| g == *generated)
    };
    let Some(((prompt_tokens, gen_tokens), _)) =
        lengths.iter().filter(|(length, _)| wanted(length)).max_by_key(|(_, count)| **count)
    else {
        let known: Vec<String> = lengths.keys().map(|(p, g)| format!("--prompt {p} --gen-tokens {g}")).collect();
        return Err(format!("these lengths were not measured; the run has {}", known.join(", ")));
    };
    let rows: Vec<&CaseRow> = ok
        .into_iter()
        .filter(|row| (row.key.case.prompt_tokens, row.key.case.gen_tokens) == (*prompt_tokens, *gen_tokens))
        .collect();
    let mut measured: Vec<Quant> = rows.iter().map(|row| row.key.case.quant).collect();
    measured.sort();
    measured.dedup();
    let quants = match request.quants.as_slice() {
        [] => {
            // f32 is a reference for quality, not something that one serves.
            let baseline = measured.iter().find(|q| **q != Quant::F32).or(measured.first());
            baseline.copied().into_iter().collect()
        }
        asked => {
            if let Some(missing) = asked.iter().find(|q| !measured.contains(q)) {
                let known: Vec<&str> = measured.iter().map(|q| q.name()).collect();
                return Err(format!("{missing} was not measured at these lengths; the run has {}", known.join(", ")));
            }
            asked.to_vec()
        }
    };
    Ok(Selected { prompt_tokens: *prompt_tokens, gen_tokens: *gen_tokens, quants, rows })
}

struct Ranker<'a> {
    run: &'a Run,
    catalog: &'a Catalog,
    request: &'a RankRequest,
    rows: Vec<RankRow>,
    excluded: Vec<Excluded>,
}

/// A case with its times somewhere.
struct Candidate<'a> {
    row: &'a CaseRow,
    times: Times,
    replicas: usize,
    /// Power of the board that it is projected to.
    board_w: Option<f64>,
}

impl Candidate<'_> {
    /// `replicas x batch / E2E`.
    fn requests_per_s(&self) -> Interval {
        let case = self.row.key.case;
        self.times.e2e(case.gen_tokens).under((self.replicas * case.batch) as f64)
    }
}

impl<'a> Ranker<'a> {
    /// Where the measured machine is bought: what the user said, or what was recognised.
    fn instance(&self) -> Option<(String, String)> {
        let known = &self.run.record.environment.instance;
        let recognised = || Some((known.provider.clone()?, known.instance_type.clone()?));
        self.request.machine.instance.clone().or_else(recognised)
    }

    /// Rows of the machine that was measured: at the user's price, at the offers of its type, or without a price.
    fn add_measured(&mut self, cases: &[&'a CaseRow]) -> Result<(), String> {
        let environment = &self.run.record.environment;
        // A type that is named now outweighs a price that was given then.
        let recorded = environment.instance.usd_per_hour.map(Usd).filter(|_| self.request.machine.instance.is_none());
        let hourly = self.request.machine.usd_per_h.or(recorded);
        let instance = self.instance();
        let candidates = cases
            .iter()
            .filter_map(|row| Some(Candidate { row, times: measured_times(row)?, replicas: 1, board_w: None }));
        let Some(best) = self.best(candidates.collect()) else {
            let offer = instance.map_or("this machine".to_string(), |(provider, name)| format!("{provider}:{name}"));
            let quant = cases.first().map_or(Quant::F16, |row| row.key.case.quant);
            self.excluded.push(Excluded { offer, quant, reason: "no measured batch keeps the limits".to_string() });
            return Ok(());
        };
        let hardware = self.run.record.engine.hardware.clone().unwrap_or(environment.cpu.model.clone());
        let offers: Vec<&Offer> = match (&instance, hourly) {
            (Some((provider, name)), None) => {
                self.offers().filter(|o| o.provider == *provider && o.instance_type == *name).collect()
            }
            _ => Vec::new(),
        };
        if let (Some((provider, name)), None, true) = (&self.request.machine.instance, hourly, offers.is_empty()) {
            self.catalog.check_type(provider, name)?;
        }
        for offer in &offers {
            let mut row = self.row(&best, Basis::Measured, "measured", hardware.clone(), Some(offer.usd_per_h));
            self.describe(&mut row, offer);
            row.doubts.extend(self.mismatch(offer));
            self.rows.push(row);
        }
        if offers.is_empty() {
            let mut row = self.row(&best, Basis::Measured, "measured", hardware, hourly);
            let (provider, name) = instance.unwrap_or(("this machine".to_string(), environment.hostname.clone()));
            (row.provider, row.instance_type) = (provider, name);
            if hourly.is_none() {
                let why = "its price is not known: --as provider:type or --price-per-hour gives it one";
                row.why_no_cost = Some(why.to_string());
            }
            self.rows.push(row);
        }
        Ok(())
    }

    /// What speaks against the measured machine being of the type that it is priced as.
    fn mismatch(&self, offer: &Offer) -> Vec<String> {
        let threads = self.run.record.environment.cpu.threads as f64;
        let size = offer.vcpus.filter(|vcpus| *vcpus != threads);
        let size = size.map(|vcpus| format!("the machine has {threads} CPU threads, {} has {vcpus}", offer.name()));
        let on_cpu = self.run.record.engine.device == "cpu";
        let unused = offer.accelerator.as_ref().filter(|_| on_cpu);
        let unused = unused.map(|card| format!("the run did not use the {card} that is paid for"));
        let idle = Some(offer.accelerator_count).filter(|count| !on_cpu && *count > 1.0);
        let idle = idle.map(|count| format!("the run used one card, {count} are paid for"));
        size.into_iter().chain(unused).chain(idle).collect()
    }

    /// Offers that the request's filters let through.
    fn offers(&self) -> impl Iterator<Item = &'a Offer> + use<'a> {
        let request = self.request.clone();
        self.catalog.offers.iter().filter(move |offer| {
            let market = match request.markets.as_slice() {
                [] => offer.market == Market::OnDemand,
                some => some.contains(&offer.market),
            };
            let is =
                |wanted: &Option<String>, have: &str| wanted.as_deref().is_none_or(|w| w.eq_ignore_ascii_case(have));
            market
                && is(&request.provider, &offer.provider)
                && (is(&request.region, &offer.region) || offer.region == "any")
        })
    }

    /// Projects every other offer from the cases of one level.
    fn add_offers(&mut self, quant: Quant, cases: &[&'a CaseRow]) {
        let references: Vec<(&CaseRow, Result<Reference<'a>, String>)> =
            cases.iter().map(|row| (*row, Reference::new(&self.run.record, row))).collect();
        let here = self.instance();
        let cpu = self.catalog.cpu_of(&self.run.record.environment.cpu).map(|cpu| cpu.id.clone());
        // Speed depends on the type, price on the offer: each type is projected once.
        let mut projected: HashMap<String, Result<(Candidate<'_>, &'static str, String), String>> = HashMap::new();
        for offer in self.offers() {
            if here.as_ref().is_some_and(|(p, n)| *p == offer.provider && *n == offer.instance_type) {
                continue;
            }
            let name = offer.name();
            if let Some(reason) = offer.unrankable() {
                self.excluded.push(Excluded { offer: name, quant, reason: reason.to_string() });
                continue;
            }
            let result =
                projected.entry(name.clone()).or_insert_with(|| self.project(offer, cpu.as_deref(), &references));
            match result {
                Ok((candidate, method, hardware)) => {
                    let mut row =
                        self.row(candidate, Basis::Projected, method, hardware.clone(), Some(offer.usd_per_h));
                    self.describe(&mut row, offer);
                    self.rows.push(row);
                }
                Err(reason) => self.excluded.push(Excluded { offer: name, quant, reason: reason.clone() }),
            }
        }
    }

    /// The best case of a type, how it was projected, and what it runs on.
    fn project<'b>(
        &self,
        offer: &Offer,
        cpu: Option<&str>,
        references: &[(&'b CaseRow, Result<Reference<'a>, String>)],
    ) -> Result<(Candidate<'b>, &'static str, String), String> {
        let accelerator = self.catalog.accelerator(offer);
        let replicas = (offer.accelerator_count.floor() as usize).max(1);
        let (method, hardware) = match accelerator {
            Some(accelerator) => (self.method_to_accelerators(), format!("{replicas}x {}", accelerator.name)),
            None if self.run.record.engine.device != "cpu" => {
                return Err("it has no GPU, and the run was on one: CPUs are not projected from GPUs".to_string());
            }
            None => {
                let generation = offer.cpu.as_deref().unwrap_or("CPU");
                if cpu.is_none_or(|cpu| Some(cpu) != offer.cpu.as_deref()) {
                    let measured = cpu.unwrap_or("one that the catalog does not name");
                    return Err(format!(
                        "its CPU is {generation}, the measured one {measured}: CPUs are not projected across"
                    ));
                }
                ("same CPU generation", format!("{} vCPU {generation}", offer.vcpus.unwrap_or(0.0)))
            }
        };
        let mut first_error = None;
        let mut candidates = Vec::new();
        for (row, reference) in references {
            let times = reference.as_ref().map_err(String::clone).and_then(|reference| match accelerator {
                Some(accelerator) => reference.on_accelerator(offer, accelerator),
                None => reference.on_same_cpu(offer),
            });
            match times {
                Ok(times) => {
                    let board_w = accelerator.and_then(|accelerator| accelerator.tdp_w);
                    candidates.push(Candidate { row, times, replicas, board_w });
                }
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        match self.best(candidates) {
            Some(best) => Ok((best, method, hardware)),
            None => Err(first_error.unwrap_or("no batch keeps the limits".to_string())),
        }
    }

    /// What projections to accelerators are made from.
    fn method_to_accelerators(&self) -> &'static str {
        match self.run.record.engine.device.as_str() {
            "cpu" => "share of the roof, from a CPU",
            _ => "share of the roof, from another GPU",
        }
    }

    /// The candidate with the most requests per second among those that keep the limits.
    fn best<'b>(&self, candidates: Vec<Candidate<'b>>) -> Option<Candidate<'b>> {
        let slo = self.request.slo;
        let keeps = |candidate: &Candidate<'_>| {
            let within = |limit: Option<crate::units::Seconds>, time: f64| limit.is_none_or(|limit| time <= limit.0);
            let times = candidate.times;
            within(slo.ttft, times.ttft.value)
                && within(slo.tpot, times.tpot.value)
                && within(slo.e2e, times.e2e(candidate.row.key.case.gen_tokens).value)
        };
        candidates
            .into_iter()
            .filter(keeps)
            .max_by(|a, b| a.requests_per_s().value.total_cmp(&b.requests_per_s().value))
    }

    fn row(
        &self,
        candidate: &Candidate<'_>,
        basis: Basis,
        method: &'static str,
        hardware: String,
        usd_per_h: Option<Usd>,
    ) -> RankRow {
        let case = candidate.row.key.case;
        let requests_per_s = candidate.requests_per_s();
        let cost = |units: f64| cost::of_requests(usd_per_h?, requests_per_s, units);
        RankRow {
            provider: String::new(),
            instance_type: String::new(),
            region: None,
            market: None,
            hardware,
            usd_per_h,
            replicas: candidate.replicas,
            quant: case.quant,
            batch: case.batch,
            basis,
            method,
            ttft_s: candidate.times.ttft,
            tpot_s: candidate.times.tpot,
            requests_per_s,
            usd_per_million_tokens: cost(1e6 / case.gen_tokens as f64),
            usd_per_thousand_requests: cost(1e3),
            joules_per_token: self.joules_per_token(candidate, basis),
            why_no_cost: None,
            price_age_days: None,
            price_source: None,
            tied_with_first: false,
            doubts: candidate.row.invalid.iter().map(|reason| format!("the measurement is {reason}")).collect(),
            remarks: Vec::new(),
        }
    }

    fn joules_per_token(&self, candidate: &Candidate<'_>, basis: Basis) -> Option<Interval> {
        let case = candidate.row.key.case;
        match basis {
            Basis::Measured => energy::measured(candidate.row),
            _ => Some(energy::projected(candidate.board_w?, candidate.times, case.batch, case.gen_tokens)),
        }
    }

    fn describe(&self, row: &mut RankRow, offer: &Offer) {
        row.provider = offer.provider.clone();
        row.instance_type = offer.instance_type.clone();
        row.region = Some(offer.region.clone());
        row.market = Some(offer.market);
        row.price_age_days = offer.age_days(self.request.today);
        row.price_source = Some(offer.source.clone());
        row.remarks = offer.flags.clone();
    }
}

/// The cheapest region of each type, market and level.
fn cheapest_regions(rows: Vec<RankRow>) -> Vec<RankRow> {
    let mut cheapest: Vec<RankRow> = Vec::new();
    let mut at: HashMap<(String, String, Option<Market>, Quant), usize> = HashMap::new();
    for row in rows {
        let key = (row.provider.clone(), row.instance_type.clone(), row.market, row.quant);
        match at.get(&key) {
            Some(&index) => {
                if row.usd_per_h < cheapest[index].usd_per_h {
                    cheapest[index] = row;
                }
            }
            None => {
                at.insert(key, cheapest.len());
                cheapest.push(row);
            }
        }
    }
    cheapest
}
