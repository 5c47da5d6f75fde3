//! What choosing an instance by its projected cost costs, over the choice by the true one.

use super::errors::Point;
use crate::catalog::{Catalog, Market};
use crate::record::run::engine_identity;
use crate::record::{Outcome, Run};
use crate::sizing::speed::projection::terms::Phase;
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
    /// Those of them that can be projected to, and so be picked.
    pub projected_types: usize,
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
    decode: Option<f64>,
    prefill: Option<f64>,
}

impl Times {
    /// Seconds of a request.
    fn request(&self) -> Option<f64> {
        Some(self.prefill? + (GENERATED - 1.0) * self.decode?)
    }
}

struct Choice {
    name: String,
    usd_per_h: f64,
    truth: f64,
    projected: Option<f64>,
}

/// Engine, model, provider and instance type.
type Key = (Arc<str>, Arc<str>, Arc<str>, Arc<str>);

/// Every model's regret over the GPU instance types that have a price and a true time. Types that nothing can be projected
/// to (shares of a card, models spread over several) cannot be picked, and may be the best or the cheapest all the same.
pub(crate) fn by_model(points: &[Point], runs: &[&Run], catalog: &Catalog) -> Vec<ModelRegret> {
    let mut projected: BTreeMap<Key, Times> = BTreeMap::new();
    for point in points {
        let o = &point.observation;
        let (Some((provider, name)), Some(time)) = (&o.instance, &point.projected) else { continue };
        let key = (o.engine.clone(), o.model.clone(), provider.clone(), name.clone());
        let times = projected.entry(key).or_default();
        match o.phase {
            Phase::Decode if o.work.batch == 1.0 && o.work.tokens * 2.0 == GENERATED => {
                times.decode = Some(time.time.value)
            }
            Phase::Prefill if o.work.batch == 1.0 && o.work.tokens == PROMPT => times.prefill = Some(time.time.value),
            _ => {}
        }
    }
    let prices = prices(catalog);
    let mut models: BTreeMap<(Arc<str>, Arc<str>), Vec<Choice>> = BTreeMap::new();
    for (key, truth) in truths(runs) {
        let (engine, model, provider, name) = &key;
        let Some(usd_per_h) = prices.get(&(&**provider, &**name)).copied() else { continue };
        let Some(truth) = truth.request() else { continue };
        models.entry((engine.clone(), model.clone())).or_default().push(Choice {
            name: format!("{provider}:{name}"),
            usd_per_h,
            truth: truth * usd_per_h,
            projected: projected.get(&key).and_then(Times::request).map(|seconds| seconds * usd_per_h),
        });
    }
    models.into_iter().filter_map(|((engine, model), choices)| regret(engine, model, &choices)).collect()
}

/// Measured times of the request's parts on every GPU instance.
fn truths(runs: &[&Run]) -> BTreeMap<Key, Times> {
    let mut truths: BTreeMap<Key, Times> = BTreeMap::new();
    for run in runs.iter().filter(|run| run.record.engine.device != "cpu" && run.record.engine.device != "mixed") {
        let instance = &run.record.environment.instance;
        let (Some(provider), Some(name)) = (&instance.provider, &instance.instance_type) else { continue };
        for row in run.cases.iter().filter(|row| row.outcome == Outcome::Ok && row.key.case.batch == 1) {
            let (engine, model) = (engine_identity(&row.key.engine).into(), row.key.model.as_str().into());
            let key = (engine, model, provider.as_str().into(), name.as_str().into());
            let times = truths.entry(key).or_default();
            let case = row.key.case;
            if let Some(ttft) = row.metrics.ttft.filter(|_| case.prompt_tokens() as f64 == PROMPT) {
                times.prefill = Some(ttft.median.0);
            }
            let decoded = case.gen_tokens() as f64 == GENERATED && matches!(case.prompt_tokens() as f64, 0.0 | PROMPT);
            if let Some(tpot) = row.metrics.tpot.filter(|_| decoded) {
                times.decode = Some(tpot.median.0);
            }
        }
    }
    truths
}

fn regret(engine: Arc<str>, model: Arc<str>, choices: &[Choice]) -> Option<ModelRegret> {
    let least = |of: fn(&Choice) -> f64| choices.iter().min_by(|a, b| of(a).total_cmp(&of(b)));
    let projected = |choice: &Choice| choice.projected.unwrap_or(f64::INFINITY);
    let picked = least(projected).filter(|choice| choice.projected.is_some())?;
    let (best, cheapest) = (least(|c| c.truth)?, least(|c| c.usd_per_h)?);
    Some(ModelRegret {
        engine,
        model,
        types: choices.len(),
        projected_types: choices.iter().filter(|choice| choice.projected.is_some()).count(),
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
