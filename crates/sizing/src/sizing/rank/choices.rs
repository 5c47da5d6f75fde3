//! Everything that a ranking chooses from, whatever the limits, markets, regions and demand: for a reader who wants to
//! choose by settings of their own (the page of a report does, by the same formulae).

use super::filter::{self, Age, Filter};
use super::listing::{hardware_name, listings, unusable};
use super::machine::{self, hourly_of, instance_of};
use super::request::RankRequest;
use super::selection::{chosen, of_quant};
use crate::catalog::facts::AdderKind;
use crate::catalog::{Catalog, Market, Offer, Shape};
use crate::record::{Basis, Run, Slo};
use crate::sizing::price::cost::Component;
use crate::sizing::price::pricing::{Listing, Pricer, serverless_terms};
use crate::sizing::speed::cpu_sizes::CpuSizes;
use crate::sizing::speed::points::{Point, Points};
use crate::sizing::speed::project::Times;
use crate::sizing::speed::projection::carried;
use crate::sizing::speed::speeds::{Calibration, Key, Speeds, copies};
use crate::units::Usd;
use crate::units::interval::Interval;
use crate::units::money::CostInterval;
use crate::workload::Quant;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// More batch sizes of a level than this are thinned: a page for every reader should open everywhere.
const MOST_POINTS: usize = 24;

/// Times in seconds at a point: its index, TTFT with its ends, TPOT with its ends, and the counted rate of one copy.
type PointTimes = (usize, f64, f64, f64, f64, f64, f64, Option<[f64; 3]>);

/// What is equally fast.
#[derive(Debug, Clone, Serialize)]
pub struct Hardware {
    name: Arc<str>,
    basis: Basis,
    tier: Option<String>,
    method: &'static str,
    at: Vec<PointTimes>,
    refused: BTreeMap<usize, String>,
}

/// Prices of traffic by tiers: from and to so many GB a month, USD a GB.
type Tiers = Vec<(f64, Option<f64>, f64)>;

/// What an hour of an instance costs beside its price: which component, and its range at each level (one where all are
/// alike).
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Hourly(usize, Vec<[f64; 3]>);

impl Hourly {
    /// The same as a key.
    fn bits(&self) -> (usize, Vec<[u64; 3]>) {
        (self.0, self.1.iter().map(|range| range.map(f64::to_bits)).collect())
    }
}

/// The hourly costs of an offer by their places in a list, or why they are not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
enum Extras {
    Known(Vec<usize>),
    Unknown(String),
}

/// How serverless time is billed.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Terms {
    cold: Option<[f64; 3]>,
    keep_warm_s: Option<f64>,
    always_on: bool,
    increment_s: f64,
}

/// Provider, type, hardware, copies, hardware in words, whether its price is of the card alone.
type ShapeEntry = (usize, Arc<str>, usize, usize, Arc<str>, u8);
/// Shape, region, market, USD an hour, tiers of traffic, terms or -1, hourly costs beside the price, age in days, whether
/// that is stale, what was taken off.
type OfferEntry = (usize, usize, usize, f64, usize, i64, Extras, Option<i64>, u8, Option<String>);
/// Shape, and what an hour costs by component: while it works, and while it waits.
type OwnEntry = (usize, [Vec<(usize, f64)>; 2]);

/// Everything that a ranking chooses from. Times are in seconds, money in USD.
#[derive(Debug, Clone, Serialize, Default)]
pub struct Choices {
    prompt_tokens: f64,
    gen_tokens: f64,
    today: String,
    catalog_origin: String,
    model: String,
    engine: String,
    device: String,
    quants: Vec<&'static str>,
    markets: Vec<&'static str>,
    providers: Vec<Arc<str>>,
    regions: Vec<Arc<str>>,
    doubts: Vec<Arc<str>>,
    points: Vec<(usize, usize, f64, Vec<usize>)>,
    /// Batch sizes that were left out, as there are more than a page should hold.
    thinned: usize,
    hardware: Vec<Hardware>,
    shapes: Vec<ShapeEntry>,
    egress: Vec<Tiers>,
    hourly: Vec<Hourly>,
    terms: Vec<Terms>,
    offers: Vec<OfferEntry>,
    fixed: Vec<(usize, Option<f64>, Option<String>)>,
    own: Vec<OwnEntry>,
    service: serde_json::Value,
}

/// From what [`rank_runs`](super::ranking::rank_runs) would rank. The error says what the runs lack.
pub fn choices(runs: &[&Run], catalog: &Catalog, request: &RankRequest) -> Result<Choices, String> {
    // Whatever was asked for: every market and level is to be chosen from.
    let every = RankRequest {
        quants: Vec::new(),
        slo: Slo::default(),
        markets: Market::LISTED.to_vec(),
        providers: Vec::new(),
        regions: Vec::new(),
        only: None,
        ..request.clone()
    };
    let (all, _) = chosen(runs, catalog, &every)?;
    Collector::new(catalog, &every, &all).collect(&all)
}

struct Collector<'a> {
    catalog: &'a Catalog,
    request: &'a RankRequest,
    /// One for each level: the disk of an instance is that of the level, unless it was given.
    pricers: Vec<Pricer<'a>>,
    learnt: Arc<Calibration>,
    filter: Filter<'a>,
    levels: Vec<Quant>,
    out: Choices,
    hardware: HashMap<Key, usize>,
    shapes: HashMap<*const Shape, usize>,
    egress: HashMap<(Arc<str>, Arc<str>), usize>,
    hourly: HashMap<(usize, Vec<[u64; 3]>), usize>,
}

/// The place of a value in a list, where it is put if it is not there.
fn place_of<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    list.iter().position(|known| *known == value).unwrap_or_else(|| {
        list.push(value);
        list.len() - 1
    })
}

/// Twelve significant digits, which is more than any of it is known to and half the text.
fn short(value: f64) -> f64 {
    format!("{value:.11e}").parse().unwrap_or(value)
}

fn ends(interval: Interval) -> [f64; 3] {
    [interval.value, interval.lo, interval.hi].map(short)
}

fn at(index: usize, times: Times, rate: Option<Interval>) -> PointTimes {
    let ([ttft, ttft_lo, ttft_hi], [tpot, tpot_lo, tpot_hi]) = (ends(times.ttft), ends(times.tpot));
    (index, ttft, ttft_lo, ttft_hi, tpot, tpot_lo, tpot_hi, rate.map(ends))
}

impl<'a> Collector<'a> {
    fn new(catalog: &'a Catalog, request: &'a RankRequest, all: &[(&Run, Points)]) -> Self {
        let (run, points) = &all[0];
        let known: Vec<&Run> = all.iter().map(|(run, _)| *run).chain(request.evidence.iter()).collect();
        let mut levels: Vec<Quant> = points.points.iter().map(|point| point.case.quant).collect();
        levels.dedup();
        let pricer = |level: &Quant| {
            let weights = run.record.model.as_ref().map_or(0.0, |model| model.shape.weight_bytes(*level).0);
            Pricer::new(catalog, &request.service, points.lengths.mean_gen(), weights)
        };
        let pricers: Vec<Pricer<'a>> = levels.iter().map(pricer).collect();
        let disks_gb: Vec<f64> = pricers.iter().map(|pricer| pricer.sizes().0).collect();
        let answer_bytes = pricers.first().map_or(0.0, |pricer| pricer.sizes().1);
        let model = run.record.model.as_ref().map_or(String::new(), |model| model.name.clone());
        let out = Choices {
            prompt_tokens: points.lengths.mean_prompt(),
            gen_tokens: points.lengths.mean_gen(),
            today: request.today.to_string(),
            catalog_origin: catalog.origin.clone(),
            model,
            engine: run.record.engine.name.clone(),
            device: run.record.engine.device.clone(),
            quants: levels.iter().map(|quant| quant.name()).collect(),
            service: serde_json::json!({
                "failure_share": request.service.failure_share, "disk_gb": disks_gb, "answer_bytes": answer_bytes,
            }),
            ..Choices::default()
        };
        Self {
            catalog,
            request,
            pricers,
            learnt: Arc::new(Calibration {
                laws: carried::laws(&known, catalog),
                cpus: CpuSizes::new(&known, catalog),
            }),
            filter: Filter::new(catalog, request),
            levels,
            out,
            hardware: HashMap::new(),
            shapes: HashMap::new(),
            egress: HashMap::new(),
            hourly: HashMap::new(),
        }
    }

    fn collect(mut self, all: &[(&Run, Points)]) -> Result<Choices, String> {
        let (first, points) = &all[0];
        let kept = self.kept(points);
        self.out.thinned = points.points.len() - kept.len();
        let index: HashMap<usize, usize> = kept.iter().enumerate().map(|(to, from)| (*from, to)).collect();
        for from in &kept {
            self.point(&points.points[*from]);
        }
        let mut measured: HashSet<(String, String)> = HashSet::new();
        for (run, points) in all {
            measured.extend(self.add_measured(run, points)?);
        }
        let mut speeds: Vec<Speeds<'_>> = self
            .levels
            .iter()
            .map(|level| {
                let of_level: Vec<(usize, &Point)> =
                    of_quant(points, *level).into_iter().filter(|(at, _)| index.contains_key(at)).collect();
                let machine = machine::measured(first, self.catalog, self.request);
                Speeds::new(first, self.catalog, Slo::default(), of_level, self.learnt.clone(), machine)
            })
            .collect();
        let catalog = self.catalog;
        for offer in &catalog.offers {
            let is = (offer.shape.provider.to_string(), offer.shape.instance_type.to_string());
            if measured.contains(&is) || unusable(offer, self.request).is_some() || !self.filter.admits(offer) {
                continue;
            }
            let key = Key::of(&offer.shape);
            let hardware = match self.hardware.get(&key) {
                Some(known) => *known,
                None => {
                    let known = self.projected(&mut speeds, &index, &offer.shape);
                    self.hardware.insert(key, known);
                    known
                }
            };
            let copies = copies(&offer.shape);
            self.add_offer(offer, hardware, copies);
        }
        for own in &self.request.own {
            let shape = crate::sizing::price::own::shape(own);
            let with_power = crate::sizing::price::own::with_measured_power(own, first, catalog).ok();
            let Some(hour) = with_power.and_then(|own| own.hour()) else { continue };
            let hardware = self.projected(&mut speeds, &index, &shape);
            let entry = self.shape_entry(&shape, hardware, copies(&shape), false);
            self.out.shapes.push(entry);
            let parts = |prices: &[(Component, Usd)]| -> Vec<(usize, f64)> {
                prices.iter().map(|(component, usd)| (*component as usize, usd.to_f64())).collect()
            };
            self.out.own.push((self.out.shapes.len() - 1, [parts(&hour.working()), parts(&hour.waiting())]));
        }
        Ok(self.out)
    }

    /// Points that are kept: of each level the usual number of batch sizes, evenly chosen where there are more.
    fn kept(&self, points: &Points) -> Vec<usize> {
        let mut kept = Vec::new();
        for level in self.levels.iter().copied() {
            let of_level = of_quant(points, level);
            let count = of_level.len();
            let wanted = count.min(MOST_POINTS);
            let chosen = (0..wanted).map(|i| i * (count - 1).max(1) / (wanted - 1).max(1));
            kept.extend(chosen.filter_map(|i| of_level.get(i)).map(|(index, _)| *index));
        }
        kept
    }

    fn point(&mut self, point: &Point) -> usize {
        let level = place_of(&mut self.out.quants, point.case.quant.name());
        let doubts = point.doubts.iter().map(|doubt| place_of(&mut self.out.doubts, doubt.clone())).collect();
        self.out.points.push((level, point.case.batch, point.gen_tokens, doubts));
        self.out.points.len() - 1
    }

    /// The types that a run measured; its own machine is chosen from as it was measured.
    fn add_measured(&mut self, run: &Run, points: &Points) -> Result<Option<(String, String)>, String> {
        let kept = self.kept(points);
        let mut entries = Vec::new();
        for from in kept {
            let point = &points.points[from];
            let index = self.point(point);
            entries.push(at(index, point.times, point.requests_per_s));
        }
        let environment = &run.record.environment;
        let name: Arc<str> = run.record.engine.hardware.as_deref().unwrap_or(&environment.cpu.model).into();
        let method = points.points.first().map_or("measured", |point| point.method);
        self.out.hardware.push(Hardware {
            name: name.clone(),
            basis: run.record.basis,
            tier: None,
            method,
            at: entries,
            refused: BTreeMap::new(),
        });
        let hardware = self.out.hardware.len() - 1;
        let (instance, hourly) = (instance_of(run, self.request), hourly_of(run, self.request));
        let mut known = false;
        if let (Some((provider, kind)), None) = (&instance, hourly) {
            let catalog = self.catalog;
            let is = |offer: &&Offer| &*offer.shape.provider == provider && &*offer.shape.instance_type == kind;
            let usable: Vec<&Offer> =
                catalog.offers.iter().filter(is).filter(|offer| unusable(offer, self.request).is_none()).collect();
            for offer in &usable {
                let copies = match run.record.engine.device.as_str() {
                    "cpu" | "endpoint" => 1,
                    _ => (copies(&offer.shape) / run.record.accelerators.max(1)).max(1),
                };
                self.add_offer(offer, hardware, copies);
            }
            known = !usable.is_empty();
        }
        let (provider, kind) = instance.clone().unwrap_or(("this machine".to_string(), environment.hostname.clone()));
        let provider = place_of(&mut self.out.providers, provider.into());
        self.out.shapes.push((provider, kind.into(), hardware, 1, name, 0));
        let why = hourly.is_none().then(|| {
            if known {
                "every price of its type was left out".to_string()
            } else {
                "its price is not known: --as provider:type or --price-per-hour gives it one".to_string()
            }
        });
        self.out.fixed.push((self.out.shapes.len() - 1, hourly.map(Usd::to_f64), why));
        Ok(instance)
    }

    fn projected(&mut self, speeds: &mut [Speeds<'_>], index: &HashMap<usize, usize>, shape: &Shape) -> usize {
        let mut found = Hardware {
            name: shape.accelerator.clone().or(shape.cpu.clone()).unwrap_or("CPU".into()),
            basis: Basis::Projected,
            tier: None,
            method: "",
            at: Vec::new(),
            refused: BTreeMap::new(),
        };
        for (level, speeds) in speeds.iter_mut().enumerate() {
            match speeds.everywhere(shape) {
                Ok(projected) => {
                    (found.name, found.method) = (projected.hardware, projected.method);
                    for (place, (times, ground)) in projected.at {
                        found.tier = ground.map(|ground| ground.tier.to_string()).or(found.tier.take());
                        found.at.extend(index.get(&place).map(|place| at(*place, times, None)));
                    }
                }
                Err(why) => {
                    found.refused.insert(level, why.to_string());
                }
            }
        }
        self.out.hardware.push(found);
        self.out.hardware.len() - 1
    }

    fn shape_entry(&mut self, shape: &Shape, hardware: usize, copies: usize, incomplete: bool) -> ShapeEntry {
        let provider = place_of(&mut self.out.providers, shape.provider.clone());
        let found = &self.out.hardware[hardware];
        let name = match (found.basis, copies) {
            (Basis::Projected, _) => hardware_name(&found.name, copies, shape),
            (_, 1) => found.name.clone(),
            _ => format!("{copies}x {}", found.name).into(),
        };
        (provider, shape.instance_type.clone(), hardware, copies, name, incomplete.into())
    }

    fn add_offer(&mut self, offer: &Offer, hardware: usize, copies: usize) {
        let key = Arc::as_ptr(&offer.shape);
        let region = place_of(&mut self.out.regions, offer.region.clone());
        let egress = self.egress(offer);
        for listing in listings(offer, self.request).collect::<Vec<_>>() {
            let Some(usd_per_h) = listing.usd_per_h() else { continue };
            let incomplete =
                offer.flags.iter().chain(&offer.shape.flags).any(|flag| &**flag == super::row::BILLED_APART);
            let shape = match self.shapes.get(&key) {
                Some(known) => *known,
                None => {
                    let entry = self.shape_entry(&offer.shape, hardware, copies, incomplete);
                    self.out.shapes.push(entry);
                    self.shapes.insert(key, self.out.shapes.len() - 1);
                    self.out.shapes.len() - 1
                }
            };
            let market = place_of(&mut self.out.markets, listing.market.name());
            let terms = self.terms(offer, listing.market, usd_per_h);
            let extras = self.extras(&listing);
            let off = (listing.factor != rust_decimal::Decimal::ONE).then(|| listing.factor.normalize().to_string());
            let stale = filter::age(offer, self.request.freshness, self.request.today) == Age::Stale;
            self.out.offers.push((
                shape,
                region,
                market,
                usd_per_h.to_f64(),
                egress,
                terms,
                extras,
                offer.age_days(self.request.today),
                stale.into(),
                off,
            ));
        }
    }

    /// What an hour costs beside the price, at each level.
    fn extras(&mut self, listing: &Listing<'_>) -> Extras {
        let levels: Result<Vec<_>, String> = self.pricers.iter_mut().map(|pricer| pricer.hourly(listing)).collect();
        let levels = match levels {
            Ok(levels) => levels,
            Err(why) => return Extras::Unknown(why),
        };
        let mut places = Vec::new();
        for component in Component::ALL {
            let of =
                |level: &Vec<(Component, CostInterval)>| level.iter().find(|(of, _)| *of == component).map(|(_, c)| *c);
            if levels.iter().all(|level| of(level).is_none()) {
                continue;
            }
            let money = |cost: CostInterval| [cost.value, cost.lo, cost.hi].map(|usd| short(usd.to_f64()));
            let mut costs: Vec<[f64; 3]> =
                levels.iter().map(|level| money(of(level).unwrap_or(CostInterval::ZERO))).collect();
            if costs.windows(2).all(|pair| pair[0] == pair[1]) {
                costs.truncate(1);
            }
            let hourly = Hourly(component as usize, costs);
            // There are as many of them as spot offers: looked up by their bits, as floats are no keys.
            let next = self.out.hourly.len();
            let place = *self.hourly.entry(hourly.bits()).or_insert(next);
            if place == next {
                self.out.hourly.push(hourly);
            }
            places.push(place);
        }
        Extras::Known(places)
    }

    fn egress(&mut self, offer: &Offer) -> usize {
        let key = (offer.shape.provider.clone(), offer.region.clone());
        if let Some(known) = self.egress.get(&key) {
            return *known;
        }
        let adders = self.catalog.adders_of(&key.0, &key.1, AdderKind::Egress);
        let tiers = adders
            .iter()
            .map(|adder| (adder.tier_from_gb.unwrap_or(0.0), adder.tier_to_gb, Usd(adder.usd).to_f64()))
            .collect();
        let index = place_of(&mut self.out.egress, tiers);
        self.egress.insert(key, index);
        index
    }

    fn terms(&mut self, offer: &Offer, market: Market, usd_per_h: Usd) -> i64 {
        if market != Market::Serverless {
            return -1;
        }
        let terms = serverless_terms(self.catalog, &self.request.service, offer, usd_per_h).ok();
        terms.map_or(-1, |terms| {
            let entry = Terms {
                cold: terms.cold_s.map(ends),
                keep_warm_s: terms.keep_warm_s,
                always_on: terms.always_on,
                increment_s: terms.increment_s,
            };
            place_of(&mut self.out.terms, entry) as i64
        })
    }
}
