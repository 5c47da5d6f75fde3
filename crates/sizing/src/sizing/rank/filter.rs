//! Which offers a ranking is about, and why the others are not in it.

use super::request::{Freshness, RankRequest};
use crate::catalog::{Accelerator, Catalog, Offer};
use crate::units::Bytes;
use jiff::civil::Date;
use std::collections::BTreeSet;

/// A name that no offer has is a slip of the pen.
pub fn check_names(catalog: &Catalog, request: &RankRequest) -> Result<(), String> {
    let check = |what: &str, wanted: &[String], of: fn(&Offer) -> &str| -> Result<(), String> {
        let known: BTreeSet<&str> = catalog.offers.iter().map(of).collect();
        match wanted.iter().find(|name| !known.iter().any(|k| k.eq_ignore_ascii_case(name))) {
            None => Ok(()),
            Some(name) => {
                let known: Vec<&str> = known.into_iter().collect();
                Err(format!("the catalog has no {what} `{name}`; it has {}", known.join(", ")))
            }
        }
    };
    check("provider", &request.providers, |offer| &offer.shape.provider)?;
    check("region", &request.regions, |offer| &offer.region)?;
    let named = |gpu: &String| catalog.accelerators.values().any(|a| is_called(a, gpu));
    match request.gpus.iter().find(|gpu| !named(gpu)) {
        None => Ok(()),
        Some(gpu) => {
            let known: Vec<&str> = catalog.accelerators.keys().map(String::as_str).collect();
            Err(format!("the catalog has no accelerator `{gpu}`; it has {}", known.join(", ")))
        }
    }
}

/// Whether `wanted` is a name of the accelerator or a part of its id at a word's border: `h100`, `l4`, `a100-sxm`.
fn is_called(accelerator: &Accelerator, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    let id = accelerator.id.to_lowercase();
    let model = id.rsplit('/').next().unwrap_or(&id);
    let in_id =
        id == wanted || model.strip_prefix(&wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    in_id || accelerator.aliases.split(';').any(|alias| alias.eq_ignore_ascii_case(&wanted))
}

/// Filters with what they need looked up once.
pub struct Filter<'a> {
    catalog: &'a Catalog,
    request: &'a RankRequest,
    gpus: Vec<&'a str>,
}

impl<'a> Filter<'a> {
    /// For the offers of a catalog.
    pub fn new(catalog: &'a Catalog, request: &'a RankRequest) -> Self {
        let called = |a: &&Accelerator| request.gpus.iter().any(|gpu| is_called(a, gpu));
        let gpus = catalog.accelerators.values().filter(called).map(|a| a.id.as_str()).collect();
        Self { catalog, request, gpus }
    }

    /// Whether an offer is among those that were asked for, its market aside.
    pub fn admits(&self, offer: &Offer) -> bool {
        self.rejects(offer).is_none()
    }

    /// The option that an offer does not meet, its market aside.
    pub fn rejects(&self, offer: &Offer) -> Option<&'static str> {
        let request = self.request;
        let one_of =
            |wanted: &[String], have: &str| wanted.is_empty() || wanted.iter().any(|w| w.eq_ignore_ascii_case(have));
        let enough = |least: Bytes| {
            let memory = match offer.shape.accelerator {
                Some(_) => {
                    let gpu = self.catalog.accelerator(offer).and_then(Accelerator::memory);
                    gpu.map(|m| m * offer.shape.accelerator_count.min(1.0))
                }
                None => offer.shape.memory,
            };
            memory.is_some_and(|memory| memory.0 >= least.0)
        };
        let met = [
            ("--provider", one_of(&request.providers, &offer.shape.provider)),
            ("--region", &*offer.region == "any" || one_of(&request.regions, &offer.region)),
            ("--gpu", self.admits_accelerator(offer)),
            ("--min-memory", request.least_memory.is_none_or(enough)),
        ];
        met.into_iter().find(|(_, met)| !met).map(|(option, _)| option)
    }

    fn admits_accelerator(&self, offer: &Offer) -> bool {
        match &offer.shape.accelerator {
            Some(id) => self.request.gpus.is_empty() || self.gpus.contains(&&**id),
            None => self.request.gpus.is_empty(),
        }
    }
}

/// What the age of a price comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Age {
    /// Young enough.
    Fresh,
    /// Ranked, with a warning.
    Stale,
    /// Not ranked.
    TooOld(String),
}

/// Whether the price of an offer is young enough on a day.
pub fn age(offer: &Offer, freshness: Freshness, today: Date) -> Age {
    let days = offer.age_days(today);
    if freshness.allow_stale {
        return if offer.outdated() || days.is_none_or(|d| !(0..=offer.market.fresh_days()).contains(&d)) {
            Age::Stale
        } else {
            Age::Fresh
        };
    }
    if offer.outdated() {
        return Age::TooOld("the price is known to be out of date (--allow-stale ranks it)".to_string());
    }
    match (days, freshness.max_age_days) {
        (None, Some(most)) => Age::TooOld(format!("its price has no date (--max-age {most})")),
        (Some(days), Some(most)) if days > most => {
            Age::TooOld(format!("its price is {days} days old (--max-age {most})"))
        }
        (Some(days), _) if (0..=offer.market.fresh_days()).contains(&days) => Age::Fresh,
        _ => Age::Stale,
    }
}
