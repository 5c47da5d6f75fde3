//! What choosing an instance by its projected cost costs, over the choice by the true one.

use super::errors::Point;
use crate::catalog::{Catalog, Market};
use crate::sizing::projection::terms::Phase;
use crate::units::Usd;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The request that costs are of: a prompt and its answer, one at a time.
const PROMPT: f64 = 512.0;
const GENERATED: f64 = 128.0;

/// One model's choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRegret {
    /// Engine.
    pub engine: Arc<str>,
    /// Model.
    pub model: Arc<str>,
    /// Priced instance types with a true time.
    pub types: usize,
    /// The one with the least projected cost.
    pub picked: String,
    /// The one with the least true cost.
    pub best: String,
    /// True cost of the picked over that of the best.
    pub regret: f64,
    /// The same of the type with the lowest price by the hour.
    pub cheapest_hour_regret: f64,
}

#[derive(Default)]
struct Times {
    decode: Option<(f64, f64)>,
    prefill: Option<(f64, f64)>,
}

struct Choice {
    name: String,
    usd_per_h: f64,
    truth: f64,
    projected: f64,
}

/// Every model's regret over the instance types that have a price, a true time and a projected one.
pub fn by_model(points: &[Point], catalog: &Catalog) -> Vec<ModelRegret> {
    type Key = (Arc<str>, Arc<str>, Arc<str>, Arc<str>);
    let mut times: BTreeMap<Key, Times> = BTreeMap::new();
    for point in points {
        let o = &point.observation;
        let (Some((provider, name)), Some(projected)) = (&o.instance, &point.projected) else { continue };
        let entry = times.entry((o.engine.clone(), o.model.clone(), provider.clone(), name.clone())).or_default();
        let pair = Some((o.seconds, projected.time.value));
        match o.phase {
            Phase::Decode if o.work.batch == 1.0 && o.work.tokens * 2.0 == GENERATED => entry.decode = pair,
            Phase::Prefill if o.work.batch == 1.0 && o.work.tokens == PROMPT => entry.prefill = pair,
            _ => {}
        }
    }
    let prices = prices(catalog);
    let mut models: BTreeMap<(Arc<str>, Arc<str>), Vec<Choice>> = BTreeMap::new();
    for ((engine, model, provider, name), times) in times {
        let (Some(decode), Some(prefill)) = (times.decode, times.prefill) else { continue };
        let Some(usd_per_h) = prices.get(&(&*provider, &*name)) else { continue };
        let request = |prefill: f64, decode: f64| (prefill + (GENERATED - 1.0) * decode) * usd_per_h;
        models.entry((engine, model)).or_default().push(Choice {
            name: format!("{provider}:{name}"),
            usd_per_h: *usd_per_h,
            truth: request(prefill.0, decode.0),
            projected: request(prefill.1, decode.1),
        });
    }
    models.into_iter().filter_map(|((engine, model), choices)| regret(engine, model, &choices)).collect()
}

fn regret(engine: Arc<str>, model: Arc<str>, choices: &[Choice]) -> Option<ModelRegret> {
    let least = |of: fn(&Choice) -> f64| choices.iter().min_by(|a, b| of(a).total_cmp(&of(b)));
    let (picked, best, cheapest) = (least(|c| c.projected)?, least(|c| c.truth)?, least(|c| c.usd_per_h)?);
    Some(ModelRegret {
        engine,
        model,
        types: choices.len(),
        picked: picked.name.clone(),
        best: best.name.clone(),
        regret: picked.truth / best.truth,
        cheapest_hour_regret: cheapest.truth / best.truth,
    })
}

/// The lowest on-demand price of each type.
fn prices(catalog: &Catalog) -> HashMap<(&str, &str), f64> {
    let mut prices: HashMap<(&str, &str), f64> = HashMap::new();
    for offer in catalog.offers.iter().filter(|o| o.market == Market::OnDemand && o.unrankable().is_none()) {
        let Some(usd) = offer.usd_per_h().map(Usd::to_f64) else { continue };
        let key = (&*offer.shape.provider, &*offer.shape.instance_type);
        let least = prices.entry(key).or_insert(usd);
        *least = least.min(usd);
    }
    prices
}
