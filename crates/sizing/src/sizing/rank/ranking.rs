//! Offers in the order of what a request costs on them, with what each figure is based on, and the offers that were
//! left out, with the reason.

use super::filter::{self, Age, Filter};
use super::front::{self, BreakEvenPrice};
use super::headline::headline;
use super::listing::{listings, unusable};
use super::machine::{self, hourly_of, instance_of, mismatch, same_engine_and_model, too_large};
use super::request::RankRequest;
use super::row::{Excluded, Figures, RankRow};
use super::selection::{chosen, of_quant};
use crate::catalog::{Catalog, Market, Offer, Shape};
use crate::record::{Basis, Run};
use crate::sizing::price::cost::carbon;
use crate::sizing::price::demand::Usage;
use crate::sizing::price::pricing::{Listing, Pricer, SizedOffer};
use crate::sizing::speed::cpu_sizes::CpuSizes;
use crate::sizing::speed::exclusion::ExclusionReason;
use crate::sizing::speed::lengths::Lengths;
use crate::sizing::speed::points::{Point, Points};
use crate::sizing::speed::projection;
use crate::sizing::speed::speeds::{Calibration, Speed, Speeds, copies};
use crate::workload::{Quant, Task};
use rust_decimal::Decimal;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ranking {
    /// Prompt length of the requests, in the mean.
    pub prompt_tokens: f64,
    /// Tokens that each request generates, in the mean.
    pub gen_tokens: f64,
    /// What the model does.
    pub task: Task,
    /// Pixels of an image's side.
    pub image_size: Option<usize>,
    /// The lengths themselves.
    pub lengths: Lengths,
    /// Precisions that were ranked.
    pub quants: Vec<Quant>,
    /// How much of the paid time is used.
    pub usage: Usage,
    /// Cheapest first; rows without a price last.
    pub rows: Vec<RankRow>,
    /// How much dearer the first may become before the second is cheaper.
    pub swap: Option<BreakEvenPrice>,
    /// What was left out.
    pub excluded: Vec<Excluded>,
    /// In a sentence or two: what is cheapest, and on what basis.
    pub headline: Vec<String>,
    /// Hash of the catalog that the prices are from.
    pub catalog_hash: String,
    /// Where that is.
    pub catalog_origin: String,
}

/// Ranks what `run` measured, and the offers of `catalog`. The error says what the run lacks.
pub fn rank(run: &Run, catalog: &Catalog, request: &RankRequest) -> Result<Ranking, String> {
    rank_runs(&[run], catalog, request)
}

/// Ranks what several runs measured; the offers are projected from the first of them.
pub fn rank_runs(runs: &[&Run], catalog: &Catalog, request: &RankRequest) -> Result<Ranking, String> {
    let [first, others @ ..] = runs else { return Err("there is no run to rank".to_string()) };
    filter::check_names(catalog, request)?;
    same_engine_and_model(first, others)?;
    let (mut all, left_out) = chosen(runs, catalog, request)?;
    let first = all[0].0;
    let mut ranker = Ranker::new(catalog, request, &all);
    ranker.excluded = left_out;
    for quant in &all[0].1.quants {
        for (run, points) in &all {
            if request.only.is_none_or(|only| only == run.record.basis) {
                ranker.add_measured(run, points, *quant)?;
            }
        }
        if !matches!(request.only, Some(Basis::Measured | Basis::Imported)) {
            ranker.add_offers(first, &all[0].1, *quant);
        }
    }
    let Ranker { mut rows, mut excluded, .. } = ranker;
    front::sort(&mut rows);
    front::mark_ties(&mut rows);
    front::mark_front(&mut rows);
    excluded.sort();
    let (Points { lengths, quants, .. }, task) = (all.swap_remove(0).1, first.record.task());
    Ok(Ranking {
        prompt_tokens: lengths.mean_prompt(),
        gen_tokens: lengths.mean_gen(),
        task,
        image_size: image_size(first, &lengths),
        lengths,
        headline: headline(&rows, task),
        quants,
        usage: request.service.usage.clone(),
        swap: front::swap(&rows),
        rows,
        excluded,
        catalog_hash: catalog.hash.clone(),
        catalog_origin: catalog.origin.clone(),
    })
}

/// The side of the images that have as many tokens.
fn image_size(run: &Run, lengths: &Lengths) -> Option<usize> {
    let tokens = lengths.bins.first()?.0;
    run.cases.iter().map(|row| row.key.case).find(|case| case.prompt_tokens() == tokens)?.image_side()
}

struct Ranker<'a> {
    catalog: &'a Catalog,
    request: &'a RankRequest,
    filter: Filter<'a>,
    pricer: Pricer<'a>,
    gen_tokens: f64,
    prompt_tokens: f64,
    learnt: Arc<Calibration>,
    /// All systems that were measured.
    systems: Vec<&'a Run>,
    /// Types that were measured: they are not projected.
    measured: HashSet<(String, String)>,
    rows: Vec<RankRow>,
    excluded: Vec<Excluded>,
}

impl<'a> Ranker<'a> {
    fn new(catalog: &'a Catalog, request: &'a RankRequest, all: &[(&'a Run, Points)]) -> Self {
        let (run, points) = &all[0];
        let quant = points.quants.first().copied().unwrap_or(Quant::F16);
        let weights = run.record.model.as_ref().map_or(0.0, |model| model.shape.weight_bytes(quant).0);
        let gen_tokens = points.lengths.mean_gen();
        let known: Vec<&Run> = all.iter().map(|(run, _)| *run).chain(request.evidence.iter()).collect();
        Self {
            catalog,
            request,
            filter: Filter::new(catalog, request),
            pricer: Pricer::new(catalog, &request.service, gen_tokens, weights),
            gen_tokens,
            prompt_tokens: points.lengths.mean_prompt(),
            learnt: Arc::new(Calibration {
                laws: projection::carried::laws(&known, catalog),
                cpus: CpuSizes::new(&known, catalog),
            }),
            systems: all.iter().map(|(run, _)| *run).collect(),
            measured: all.iter().filter_map(|(run, _)| instance_of(run, request)).collect(),
            rows: Vec::new(),
            excluded: Vec::new(),
        }
    }

    /// Speeds that follow from points of a run.
    fn speeds<'p>(&self, run: &'p Run, points: Vec<(usize, &'p Point)>) -> Speeds<'p>
    where
        'a: 'p,
    {
        let machine = machine::measured(run, self.catalog, self.request);
        Speeds::new(run, self.catalog, self.request.slo.clone(), points, self.learnt.clone(), machine)
    }

    /// Prompt and generated tokens, in the mean.
    fn lengths(&self) -> (f64, f64) {
        (self.prompt_tokens, self.gen_tokens)
    }

    fn exclude(&mut self, offer: String, quant: Quant, reason: impl Into<ExclusionReason>) {
        self.excluded.push(Excluded::all_of(offer, quant, reason.into()));
    }

    /// Rows of the machine that was measured: at the user's price, at the offers of its type, or without a price.
    fn add_measured(&mut self, run: &Run, points: &Points, quant: Quant) -> Result<(), String> {
        let instance = instance_of(run, self.request);
        let hardware = machine::row_name(run, &self.systems);
        let speed =
            self.speeds(run, of_quant(points, quant)).measured(&hardware).map_err(ExclusionReason::from).and_then(
                |speed| {
                    let refused = too_large(run, self.catalog, &points.points[speed.point]);
                    refused.map_or(Ok(Arc::new(speed)), Err)
                },
            );
        let speed = match speed {
            Ok(speed) => speed,
            Err(why) => {
                let name = instance.map_or("this machine".to_string(), |(provider, name)| format!("{provider}:{name}"));
                self.exclude(name, quant, why);
                return Ok(());
            }
        };
        let before = self.rows.len();
        let known = self.add_measured_offers(run, points, quant, &speed)?;
        if self.rows.len() > before {
            if !self.request.all_regions {
                let rows = self.rows.split_off(before);
                self.rows.extend(cheapest_regions(rows));
            }
            return Ok(());
        }
        let Some(sized) = SizedOffer::new(speed.clone(), 1, &self.request.service.usage) else {
            self.exclude("this machine".to_string(), quant, "its rate cannot be computed with");
            return Ok(());
        };
        let figures = Figures {
            sized: &sized,
            point: &points.points[speed.point],
            basis: run.record.basis,
            hardware: hardware.as_str().into(),
            idle_w: run.record.power.waiting().map(|waiting| waiting.0),
        };
        let hourly = hourly_of(run, self.request);
        let breakdown = hourly.and_then(|usd| self.pricer.at(usd, &sized));
        let mut row = figures.row(&self.request.service, self.lengths(), None, breakdown);
        row.usd_per_h = hourly;
        let hostname = &run.record.environment.hostname;
        let (provider, name) = instance.unwrap_or(("this machine".to_string(), hostname.clone()));
        (row.provider, row.instance_type) = (provider.into(), name.into());
        if hourly.is_none() {
            row.why_no_cost = Some(if known {
                "every price of its type was left out, for the reasons given there".into()
            } else {
                "its price is not known: --as provider:type or --price-per-hour gives it one".into()
            });
        }
        self.rows.push(row);
        Ok(())
    }

    /// Rows of the offers of the measured machine's type, where no price of it was given; whether there are such offers.
    fn add_measured_offers(
        &mut self,
        run: &Run,
        points: &Points,
        quant: Quant,
        speed: &Arc<Speed>,
    ) -> Result<bool, String> {
        let (Some((provider, name)), None) = (instance_of(run, self.request), hourly_of(run, self.request)) else {
            return Ok(false);
        };
        let catalog: &'a Catalog = self.catalog;
        let is = |o: &&Offer| *o.shape.provider == *provider && *o.shape.instance_type == *name;
        let mut offers: Vec<&'a Offer> =
            catalog.offers.iter().filter(is).filter(|offer| self.filter.admits(offer)).collect();
        let known = !offers.is_empty();
        offers.retain(|offer| match unusable(offer, self.request) {
            Some(why) if self.request.wants(offer.market) => {
                self.excluded.push(Excluded::price_of(offer, quant, why.into()));
                false
            }
            why => why.is_none(),
        });
        if let (Some((provider, name)), false) = (&self.request.machine.instance, known) {
            self.catalog.check_type(provider, name)?;
        }
        for offer in offers {
            // Each card of an instance can run a copy; only one was measured.
            let cards = match run.record.engine.device.as_str() {
                // Behind an endpoint is the whole machine.
                "cpu" | "endpoint" => 1,
                // Another tool may have spread one copy over several.
                _ => (copies(&offer.shape) / run.record.accelerators.max(1)).max(1),
            };
            let Some(sized) = SizedOffer::new(speed.clone(), cards, &self.request.service.usage) else { continue };
            let one = &speed.hardware;
            let hardware: Arc<str> = if cards > 1 { format!("{cards}x {one}").into() } else { one.clone() };
            let idle_w = run.record.power.waiting().map(|waiting| waiting.0 * cards as f64);
            let point = &points.points[speed.point];
            let figures = Figures { sized: &sized, point, basis: run.record.basis, hardware, idle_w };
            let listings: Vec<Listing<'_>> = listings(offer, self.request).collect();
            for listing in listings {
                if let Some(mut row) = self.offer_row(&figures, &listing) {
                    row.doubts.extend(mismatch(run, offer).into_iter().map(Arc::from));
                    self.rows.push(row);
                }
            }
        }
        Ok(known)
    }

    /// Projects every other offer, and hardware of one's own, from the points of one level.
    fn add_offers(&mut self, run: &Run, points: &Points, quant: Quant) {
        let mut speeds = self.speeds(run, of_quant(points, quant));
        let mut places: HashMap<*const Shape, Result<Arc<SizedOffer>, ExclusionReason>> = HashMap::new();
        let mut left_out: HashSet<(*const Shape, ExclusionReason)> = HashSet::new();
        let mut kept: Vec<(f64, Arc<SizedOffer>, Listing<'a>)> = Vec::new();
        let mut cheapest: HashMap<(*const Shape, Market), usize> = HashMap::new();
        let catalog: &'a Catalog = self.catalog;
        for offer in &catalog.offers {
            if let Some(filter) = self.filter.rejects(offer) {
                let why = ExclusionReason::from(format!("not asked for ({filter})"));
                if left_out.insert((Arc::as_ptr(&offer.shape), why.clone())) {
                    self.excluded.push(Excluded::all_of(offer.name(), quant, why));
                }
                continue;
            }
            let shape = Arc::as_ptr(&offer.shape);
            let listings: Vec<Listing<'a>> = listings(offer, self.request).collect();
            if let Some(why) = self.refusal(offer).filter(|_| !listings.is_empty()) {
                if !why.is_empty() {
                    self.excluded.push(Excluded::price_of(offer, quant, why.into()));
                }
                continue;
            }
            for listing in listings {
                let sized = places.entry(shape).or_insert_with(|| self.place(&mut speeds, &offer.shape)).clone();
                let sized = match sized {
                    Ok(sized) => sized,
                    Err(why) => {
                        if left_out.insert((shape, why.clone())) {
                            self.excluded.push(Excluded::all_of(offer.name(), quant, why));
                        }
                        continue;
                    }
                };
                let about = self.pricer.about(&listing, &sized).unwrap_or(f64::INFINITY);
                if self.request.all_regions {
                    kept.push((about, sized, listing));
                    continue;
                }
                match cheapest.get(&(shape, listing.market)) {
                    Some(index) if kept[*index].0 <= about => {}
                    Some(index) => kept[*index] = (about, sized, listing),
                    None => {
                        cheapest.insert((shape, listing.market), kept.len());
                        kept.push((about, sized, listing));
                    }
                }
            }
        }
        self.rows.reserve(kept.len());
        for (_, sized, listing) in kept {
            let hardware = hardware_name(&sized, &listing.offer.shape);
            let point = &points.points[sized.speed.point];
            let figures = Figures { sized: &sized, point, basis: Basis::Projected, hardware, idle_w: None };
            if let Some(row) = self.offer_row(&figures, &listing) {
                self.rows.push(row);
            }
        }
        self.add_own(run, &mut speeds, points, quant);
    }

    /// Why an offer is not ranked whatever its speed; empty where it stands among the measured ones.
    fn refusal(&self, offer: &Offer) -> Option<Arc<str>> {
        let is_measured = |(provider, name): &(String, String)| {
            *provider == *offer.shape.provider && *name == *offer.shape.instance_type
        };
        if self.measured.iter().any(is_measured) {
            return Some("".into());
        }
        unusable(offer, self.request)
    }

    fn place(&self, speeds: &mut Speeds<'_>, shape: &Shape) -> Result<Arc<SizedOffer>, ExclusionReason> {
        let speed = speeds.on(shape)?;
        let sized = SizedOffer::new(speed, copies(shape), &self.request.service.usage);
        sized.map(Arc::new).ok_or_else(|| "its rate cannot be computed with".into())
    }

    fn add_own(&mut self, run: &Run, speeds: &mut Speeds<'_>, points: &Points, quant: Quant) {
        for own in &self.request.own {
            let shape = crate::sizing::price::own::shape(own);
            let name = shape.name();
            let own = &match crate::sizing::price::own::with_measured_power(own, run, self.catalog) {
                Ok(own) => own,
                Err(why) => {
                    self.exclude(name, quant, why);
                    continue;
                }
            };
            let (sized, hour) = match (self.place(speeds, &shape), own.hour()) {
                (Ok(sized), Some(hour)) => (sized, hour),
                (Err(why), _) => {
                    self.exclude(name, quant, why);
                    continue;
                }
                (_, None) => {
                    self.exclude(name, quant, "its amounts are beyond what can be computed");
                    continue;
                }
            };
            let figures = Figures {
                hardware: hardware_name(&sized, &shape),
                point: &points.points[sized.speed.point],
                sized: &sized,
                basis: Basis::Projected,
                idle_w: own.idle_w,
            };
            let mut row = figures.row(
                &self.request.service,
                self.lengths(),
                Some(Market::OnPrem),
                self.pricer.own(&hour, &sized),
            );
            (row.provider, row.instance_type) = ("own".into(), own.name.as_str().into());
            row.usd_per_h = Some(hour.busy());
            row.price_source = Some(own.source.as_str().into()).filter(|s: &Arc<str>| !s.is_empty());
            row.g_co2e_per_thousand_requests = crate::sizing::price::own::carbon(own, &sized);
            self.rows.push(row);
        }
    }

    /// The row of an offer; an offer whose cost cannot be computed is left out with the reason.
    fn offer_row(&mut self, figures: &Figures<'_>, listing: &Listing<'_>) -> Option<RankRow> {
        let offer = listing.offer;
        let breakdown = match self.pricer.cost(listing, figures.sized) {
            Ok(breakdown) => breakdown,
            Err(why) => {
                self.exclude(offer.name(), figures.point.case.quant, why);
                return None;
            }
        };
        let mut row = figures.row(&self.request.service, self.lengths(), Some(listing.market), Some(breakdown));
        row.provider = offer.shape.provider.clone();
        row.instance_type = offer.shape.instance_type.clone();
        row.region = Some(offer.region.clone());
        row.zone = offer.zone.clone();
        row.usd_per_h = listing.usd_per_h();
        row.price_age_days = offer.age_days(self.request.today);
        row.price_source = Some(self.catalog.source(&offer.source).into());
        row.stale = filter::age(offer, self.request.freshness, self.request.today) == Age::Stale;
        row.remarks = offer.flags.iter().chain(&offer.shape.flags).cloned().collect();
        row.remarks.extend(self.pricer.gaps(offer).into_iter().map(Arc::from));
        if listing.factor != Decimal::ONE {
            let off = ((Decimal::ONE - listing.factor) * Decimal::ONE_HUNDRED).normalize();
            row.remarks.push(format!("{off} % off the list, as given").into());
        }
        let pue = self.catalog.providers.get(&*offer.shape.provider).and_then(|p| p.pue);
        let grid = self.catalog.carbon_of(&offer.shape.provider, &offer.region).map(|c| c.g_co2e_per_kwh);
        // What it draws while it waits for requests is theirs too, as far as it was measured.
        let [hours, ..] = figures.sized.hours(Some(listing.market));
        let waiting_j = figures.idle_w.map_or(0.0, |idle| idle * hours.idle * 3600.0);
        row.g_co2e_per_thousand_requests = row.joules_per_token.zip(pue.zip(grid)).map(|(joules, (pue, grid))| {
            let tokens = if self.gen_tokens > 0.0 { self.gen_tokens } else { self.prompt_tokens };
            carbon::operation_g(joules.map(|j| (j * tokens + waiting_j) * 1e3), pue, grid)
        });
        Some(row)
    }
}

fn hardware_name(sized: &SizedOffer, shape: &Shape) -> Arc<str> {
    super::listing::hardware_name(&sized.speed.hardware, sized.copies, shape)
}

/// The cheapest region of each type, market and level.
fn cheapest_regions(rows: Vec<RankRow>) -> Vec<RankRow> {
    let mut cheapest: Vec<RankRow> = Vec::new();
    type Kind = (Arc<str>, Arc<str>, Option<Market>, Quant);
    let mut at: HashMap<Kind, usize> = HashMap::new();
    for row in rows {
        let key = (row.provider.clone(), row.instance_type.clone(), row.market, row.quant);
        match at.get(&key) {
            Some(&index) => {
                if row.usd_per_request.map(|c| c.value) < cheapest[index].usd_per_request.map(|c| c.value) {
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
