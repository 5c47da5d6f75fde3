//! What a request costs on one offer: the market's terms, disks, traffic and failures on top of speed and use.

use super::cost::component::{Breakdown, Component};
use super::cost::own::OwnHour;
use super::cost::rented::{self, Hours};
use super::cost::serverless::{self, ServerlessTerms, UnknownCost};
use super::cost::{spot, traffic};
use super::demand::{Fleet, Usage};
use super::service::Service;
use crate::catalog::facts::{Adder, AdderKind, IdleBilling};
use crate::catalog::{Catalog, Market, Offer, Shape};
use crate::sizing::formulas;
use crate::sizing::speed::speeds::Speed;
use crate::units::Usd;
use crate::units::interval::Interval;
use crate::units::money::CostInterval;
use rust_decimal::Decimal;
use std::collections::HashMap;
use std::sync::Arc;

const TOO_MUCH: &str = "the amount is beyond what can be computed";

/// Bytes of an answer: text is about 4 bytes a token, headers and frame 500.
const BYTES_PER_TOKEN: f64 = 4.0;
const BYTES_PER_ANSWER: f64 = 500.0;

/// A speed on whole instances of a type.
#[derive(Debug, Clone)]
pub struct SizedOffer {
    /// How fast a copy is.
    pub speed: Arc<Speed>,
    /// Copies of the model in an instance.
    pub copies: usize,
    /// Requests a second of an instance.
    pub rate: Interval,
    /// Instances, and what they are used.
    fleet: Fleet,
    /// The same of hardware that is paid whether it is used or not, and so does not follow the load over the day.
    committed: (Fleet, [Hours; 3]),
    /// Requests a second of the demand where the rate is highest and where it is lowest: users who are answered sooner
    /// ask more.
    pub demanded: (f64, f64),
    /// Hours of an instance that a request takes, at the value and at both ends.
    hours: [Hours; 3],
}

/// Hardware that is paid for the whole term, in use or not.
fn is_committed(market: Option<Market>) -> bool {
    matches!(market, Some(Market::Reserved1y | Market::Reserved3y | Market::OnPrem))
}

impl SizedOffer {
    /// `None` where the rate is not above 0.
    pub fn new(speed: Arc<Speed>, copies: usize, usage: &Usage) -> Option<Self> {
        let rate = speed.requests_per_s.map(|rate| rate * copies as f64);
        let fleet = usage.fleet(rate.value, speed.e2e.value)?;
        let hours = rented::hours_interval(rate, speed.e2e, usage)?;
        let fastest = usage.fleet(rate.hi, speed.e2e.lo)?.requests_per_s;
        let slowest = usage.fleet(rate.lo, speed.e2e.hi)?.requests_per_s;
        let all_day = usage.all_day();
        let committed =
            (all_day.fleet(rate.value, speed.e2e.value)?, rented::hours_interval(rate, speed.e2e, &all_day)?);
        Some(Self { speed, copies, rate, fleet, committed, demanded: (fastest, slowest), hours })
    }

    /// Instances that are bought in a market, and what they are used.
    pub fn fleet(&self, market: Option<Market>) -> Fleet {
        if is_committed(market) { self.committed.0 } else { self.fleet }
    }

    /// Hours of an instance that a request takes in a market.
    pub fn hours(&self, market: Option<Market>) -> [Hours; 3] {
        if is_committed(market) { self.committed.1 } else { self.hours }
    }

    /// Hours of an instance a request, waiting included.
    pub fn hours_in_all(&self, market: Option<Market>) -> f64 {
        let [hours, ..] = self.hours(market);
        hours.busy + hours.idle
    }
}

/// An offer in the market that it is priced in, which may be one that follows from another.
#[derive(Debug, Clone)]
pub struct Listing<'a> {
    /// The offer.
    pub offer: &'a Offer,
    /// The market.
    pub market: Market,
    /// What its price is multiplied by.
    pub factor: Decimal,
}

impl Listing<'_> {
    /// Price of an hour in that market.
    pub fn usd_per_h(&self) -> Option<Usd> {
        let usd = self.offer.usd_per_h()?;
        if self.factor == Decimal::ONE { Some(usd) } else { usd.0.checked_mul(self.factor).map(Usd) }
    }
}

/// Disks and traffic of a provider in a region.
struct Extras<'a> {
    disk: Option<Usd>,
    egress: Vec<&'a Adder>,
}

/// Prices requests on offers.
pub struct Pricer<'a> {
    catalog: &'a Catalog,
    service: &'a Service,
    /// Disk of an instance.
    disk_gb: f64,
    /// Bytes of an answer.
    answer_bytes: f64,
    /// On-demand prices of types and regions, which stand in for spot ones.
    on_demand: HashMap<(*const Shape, Arc<str>), Usd>,
    extras: HashMap<(Arc<str>, Arc<str>), Extras<'a>>,
}

impl<'a> Pricer<'a> {
    /// For requests that generate `gen_tokens` in the mean, of a model whose weights take `weight_bytes`.
    pub fn new(catalog: &'a Catalog, service: &'a Service, gen_tokens: f64, weight_bytes: f64) -> Self {
        let regular = catalog.offers.iter().filter(|offer| {
            service.spot.fallback > 0.0 && offer.market == Market::OnDemand && offer.unrankable().is_none()
        });
        let on_demand =
            regular.filter_map(|o| Some(((Arc::as_ptr(&o.shape), o.region.clone()), o.usd_per_h()?))).collect();
        Self {
            catalog,
            service,
            disk_gb: service.disk_gb.unwrap_or(weight_bytes / 1e9),
            answer_bytes: service.response_bytes.unwrap_or(BYTES_PER_TOKEN * gen_tokens + BYTES_PER_ANSWER),
            on_demand,
            extras: HashMap::new(),
        }
    }

    /// What stands in for a spot offer, where a share of the time is asked for.
    pub fn fallback_of(&self, offer: &Offer) -> Option<Usd> {
        self.on_demand.get(&(Arc::as_ptr(&offer.shape), offer.region.clone())).copied()
    }

    /// Disk of an instance in GB, and bytes of an answer.
    pub fn sizes(&self) -> (f64, f64) {
        (self.disk_gb, self.answer_bytes)
    }

    /// About what a request costs, without disks, traffic and failures: for comparing regions and for sorting.
    pub fn about(&self, listing: &Listing<'_>, sized: &SizedOffer) -> Option<f64> {
        if listing.market == Market::Serverless {
            return Some(self.serverless(listing, sized).ok()?.total()?.value.to_f64());
        }
        Some(listing.usd_per_h()?.to_f64() * sized.hours_in_all(Some(listing.market)))
    }

    /// What a request costs by component; the error says what is not known.
    pub fn cost(&mut self, listing: &Listing<'_>, sized: &SizedOffer) -> Result<Breakdown, String> {
        let market = Some(listing.market);
        let mut breakdown = match listing.market {
            Market::Serverless => self.serverless(listing, sized)?,
            _ => {
                let hourly = listing.usd_per_h().ok_or("its price is not one of an hour")?;
                rented::cost(CostInterval::exact(hourly), sized.hours(market)).ok_or(TOO_MUCH)?
            }
        };
        for (component, hourly) in self.hourly(listing)? {
            let cost = hourly.times(sized.hours_in_all(market));
            cost.and_then(|cost| breakdown.add(component, cost)).ok_or(TOO_MUCH)?;
        }
        let rate = self.service.usage.mean_rate(sized.speed.e2e.value);
        let bytes = self.answer_bytes;
        if let Some(egress) = traffic::egress_per_request(bytes, rate, &self.extras(listing.offer).egress) {
            breakdown.add(Component::Egress, CostInterval::exact(egress)).ok_or(TOO_MUCH)?;
        }
        breakdown.with_failures(self.service.failure_share).ok_or(TOO_MUCH.to_string())
    }

    /// What an hour of an instance costs beside its price, used or not: interruptions of spot capacity, disks. The error says
    /// what is not known.
    pub fn hourly(&mut self, listing: &Listing<'_>) -> Result<Vec<(Component, CostInterval)>, String> {
        let mut hourly = Vec::new();
        if listing.market == Market::Spot {
            let price = listing.usd_per_h().ok_or("its price is not one of an hour")?;
            let regular = self.fallback_of(listing.offer);
            let surcharge = spot::surcharge_per_h(price, regular, listing.offer.interruption, &self.service.spot)
                .ok_or("what stands in for it has no on-demand price in the region")?;
            hourly.push((Component::Interruptions, surcharge));
        }
        // Serverless images are kept by the provider; disks that come with an instance are in its price.
        let disk_gb = self.disk_gb;
        let has_disk = listing.offer.shape.local_disk.is_some_and(|disk| disk.0 / 1e9 >= disk_gb);
        if let Some(disk) =
            self.extras(listing.offer).disk.filter(|_| listing.market != Market::Serverless && !has_disk)
        {
            let disk = traffic::disk_per_h(disk_gb, disk).ok_or(TOO_MUCH)?;
            hourly.push((Component::Storage, CostInterval::exact(disk)));
        }
        Ok(hourly)
    }

    /// Disks and traffic where an offer is.
    fn extras(&mut self, offer: &Offer) -> &Extras<'a> {
        let (provider, region) = (&offer.shape.provider, &offer.region);
        let catalog = self.catalog;
        self.extras.entry((provider.clone(), region.clone())).or_insert_with(|| Extras {
            disk: catalog.adders_of(provider, region, AdderKind::Disk).first().map(|adder| Usd(adder.usd)),
            egress: catalog.adders_of(provider, region, AdderKind::Egress),
        })
    }

    /// What a request costs on hardware of one's own.
    pub fn own(&self, hour: &OwnHour, sized: &SizedOffer) -> Option<Breakdown> {
        hour.cost(sized.hours(Some(Market::OnPrem)))?.with_failures(self.service.failure_share)
    }

    /// What a request costs at a price that the user gave.
    pub fn at(&self, hourly: Usd, sized: &SizedOffer) -> Option<Breakdown> {
        rented::cost(CostInterval::exact(hourly), sized.hours(None))?.with_failures(self.service.failure_share)
    }

    /// What of an offer's cost is not known and is left out of it.
    pub fn gaps(&self, offer: &Offer) -> Vec<&'static str> {
        let known = |kind| !self.catalog.adders_of(&offer.shape.provider, &offer.region, kind).is_empty();
        let disk = offer.market != Market::Serverless && !known(AdderKind::Disk);
        let gap = |component: Component, is_gap: bool| component.facts().gap.filter(|_| is_gap);
        let gaps = [gap(Component::Storage, disk), gap(Component::Egress, !known(AdderKind::Egress))];
        gaps.into_iter().flatten().collect()
    }

    fn serverless(&self, listing: &Listing<'_>, sized: &SizedOffer) -> Result<Breakdown, String> {
        let hourly = listing.usd_per_h().ok_or("its price is not one of a time")?;
        let terms = serverless_terms(self.catalog, self.service, listing.offer, hourly)?;
        let speed = &sized.speed;
        let batch = in_flight(speed.requests_per_s.value, speed.e2e.value);
        serverless_cost(&terms, &self.service.usage, speed.e2e, batch).map_err(|why| why.to_string())
    }
}

/// Requests that a worker has in flight at its sustained rate, so that a step takes no longer than with the whole of it.
pub fn in_flight(requests_per_s: f64, e2e_s: f64) -> usize {
    formulas::in_flight(requests_per_s, e2e_s) as usize
}

/// What a request costs serverless in the mean of the day's requests: each part of the day has its own rate, and with it
/// its own workers, waiting and starts.
pub fn serverless_cost(
    terms: &ServerlessTerms,
    usage: &Usage,
    e2e: Interval,
    batch: usize,
) -> Result<Breakdown, UnknownCost> {
    let Some(demand) = usage.demand() else { return serverless::cost(terms, e2e, batch, None) };
    let rates = demand.load.rates(e2e.value);
    let sum: f64 = rates.iter().sum();
    let mut all = Breakdown::default();
    for rate in rates.into_iter().filter(|rate| *rate > 0.0) {
        let part = serverless::cost(terms, e2e, batch, Some((rate, demand.headroom)))?;
        for (component, cost) in part.parts() {
            let share = cost.times(rate / sum);
            share.and_then(|share| all.add(component, share)).ok_or("the amount is beyond what can be computed")?;
        }
    }
    Ok(all)
}

/// How a serverless offer is billed, at `usd_per_h`.
pub fn serverless_terms(
    catalog: &Catalog,
    service: &Service,
    offer: &Offer,
    usd_per_h: Usd,
) -> Result<ServerlessTerms, String> {
    let usd_per_s = usd_per_h.times(1.0 / 3600.0).ok_or("its price cannot be computed with")?;
    let provider = catalog.providers.get(&*offer.shape.provider);
    let by_default = catalog.adders_of(&offer.shape.provider, &offer.region, AdderKind::IdleTimeout);
    let by_default = by_default.first().map(|adder| Usd(adder.usd).to_f64());
    let idle = provider.and_then(|p| p.bills_idle);
    let bills_setup = provider.and_then(|p| p.bills_setup).unwrap_or(true);
    let increment = offer.billing_increment_s.or(provider.and_then(|p| p.billing_increment_s));
    Ok(ServerlessTerms {
        usd_per_s,
        cold_s: if bills_setup { service.cold_s } else { Some(Interval::exact(0.0)) },
        keep_warm_s: match idle {
            Some(IdleBilling::No) => Some(0.0),
            _ => service.keep_warm_s.or(by_default),
        },
        always_on: idle == Some(IdleBilling::Always),
        increment_s: increment.unwrap_or(0.0),
    })
}
