//! All laws that a set of measurements gives, and projections by them.

use super::card::Card;
use super::conformal::{self, Scores};
use super::law::{Law, LawInput};
use super::observation::Observation;
use super::relatives::Configuration;
use super::terms::{KernelClass, Kind, Phase, roofline};
use super::tier::Tier;
use super::work::Work;
use crate::units::interval::Interval;
use crate::workload::Quant;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Prompt lengths (all of a batch together) that quantized prefills have laws of their own for: short ones are bound by
/// weights, long ones by attention. Between them the times are mixed, by the logarithm of the length.
const ANCHORS: [f64; 4] = [16.0, 128.0, 512.0, 1536.0];
/// Length from which attention has terms of its own.
const LONG: usize = 3;
/// Weights below which the host decides as much as the card: margins on another host are wider.
const SMALL_BYTES: f64 = 1e9;

/// Least factor of the margin where no card of the same chip was measured.
const NO_SIBLING: f64 = 1.24;

/// A law and what is known of its errors.
#[derive(Debug, Clone)]
struct LawWithErrors {
    law: Law,
    /// Standard deviations that hold nine tenths; of the normal distribution where too few cards were left out.
    quantile: f64,
    /// Whether it was computed.
    calibrated: bool,
    /// Mean error on cards that were left out.
    mape: Option<f64>,
}

/// Laws by class, phase and length.
#[derive(Debug, Clone, Default)]
pub struct Laws {
    decode: BTreeMap<KernelClass, LawWithErrors>,
    prefill: BTreeMap<KernelClass, Vec<(f64, LawWithErrors)>>,
}

/// A law as reports show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LawSummary {
    /// The engine that it was fitted to.
    pub engine: String,
    /// Kernels.
    pub class: KernelClass,
    /// Phase.
    pub phase: Phase,
    /// Length of the prompts that it is for.
    pub tokens: Option<f64>,
    /// Cards that were measured.
    pub cards: usize,
    /// Standard deviations that an interval reaches to each side.
    pub quantile: f64,
    /// Terms and their weights.
    pub terms: Vec<(String, f64)>,
}

/// What is to be projected to.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The card.
    pub card: &'a Arc<Card>,
    /// The engine.
    pub engine: &'a Arc<str>,
    /// The host's CPU, where it is known.
    pub host: Option<&'a Arc<str>>,
    /// The model.
    pub model: &'a Arc<str>,
    /// Precision.
    pub quant: Quant,
}

/// A projected time.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection {
    /// Seconds, with an interval that is to hold nine tenths of the true times.
    pub time: Interval,
    /// The least time that published peaks allow.
    pub roofline_s: f64,
    /// How near it is to something measured.
    pub tier: Tier,
    /// Cards that stand behind it.
    pub cards: usize,
    /// The engine that the law was fitted to.
    pub law_of: Arc<str>,
    /// The measured card that is nearest to it.
    pub nearest: Option<Arc<str>>,
    /// Mean error on cards that were left out of the fit; `None` where too few were measured.
    pub validated_mape: Option<f64>,
}

/// Weights of the two anchors next to a length.
fn mix(tokens: f64, anchors: &[f64]) -> [(usize, f64); 2] {
    let after = anchors.iter().position(|anchor| *anchor >= tokens).unwrap_or(anchors.len() - 1);
    let before = after.saturating_sub(1);
    if before == after || tokens <= anchors[before] || tokens >= anchors[after] {
        let place = if tokens <= anchors[before] { before } else { after };
        return [(place, 1.0), (place, 0.0)];
    }
    let share = (tokens / anchors[before]).ln() / (anchors[after] / anchors[before]).ln();
    [(before, 1.0 - share), (after, share)]
}

/// The anchor that is nearest to a length.
fn nearest(tokens: f64) -> usize {
    let distance = |anchor: f64| (tokens.max(1.0) / anchor).ln().abs();
    (0..ANCHORS.len()).min_by(|a, b| distance(ANCHORS[*a]).total_cmp(&distance(ANCHORS[*b]))).unwrap_or(0)
}

/// The engine with the most cards.
fn reference<'a>(observations: &[&'a Observation]) -> Option<&'a Arc<str>> {
    let mut cards: BTreeMap<&Arc<str>, BTreeSet<&str>> = BTreeMap::new();
    for observation in observations {
        cards.entry(&observation.engine).or_default().insert(&observation.card.id);
    }
    cards.into_iter().max_by_key(|(engine, cards)| (cards.len(), std::cmp::Reverse(engine.to_string()))).map(|(e, _)| e)
}

impl LawWithErrors {
    fn fit(kind: Kind, engine: &Arc<str>, observations: &[&Observation], batch_rate: f64, judge: bool) -> Option<Self> {
        let law = Law::fit(kind, engine, observations, batch_rate)?;
        let scores = if judge { Law::scores(kind, engine, observations, batch_rate) } else { Scores::default() };
        let (quantile, mape) = (scores.quantile(), scores.mape());
        Some(Self {
            law,
            quantile: quantile.unwrap_or(conformal::DEFAULT_QUANTILE),
            calibrated: quantile.is_some(),
            mape,
        })
    }
}

impl Laws {
    /// Fits all laws that the observations allow, with margins from cards left out.
    pub fn fit(observations: &[Observation]) -> Self {
        Self::build(observations, None)
    }

    /// The same for one engine only, or for the one with the most cards.
    pub fn build(observations: &[Observation], engine: Option<&str>) -> Self {
        let mut laws = Self::default();
        for class in [KernelClass::Dense, KernelClass::Quantized] {
            let of = |phase| {
                let all = observations.iter().filter(move |o| o.phase == phase && o.class() == class);
                all.collect::<Vec<&Observation>>()
            };
            let wanted = |phase| -> Option<(Vec<&Observation>, Arc<str>)> {
                let all = of(phase);
                let engine = match engine {
                    Some(name) => all.iter().find(|o| *o.engine == *name).map(|o| o.engine.clone()),
                    None => reference(&all).cloned(),
                }?;
                Some((all, engine))
            };
            if let Some((all, engine)) = wanted(Phase::Prefill) {
                laws.prefill.insert(class, prefill_laws(class, &engine, &all));
            }
            let batch_rate = laws.batch_rate(class);
            if let Some((all, engine)) = wanted(Phase::Decode) {
                let kind = Kind { class, phase: Phase::Decode, long: false };
                if let Some(judged) = LawWithErrors::fit(kind, &engine, &all, batch_rate, true) {
                    laws.decode.insert(class, judged);
                }
            }
        }
        laws.prefill.retain(|_, laws| !laws.is_empty());
        laws
    }

    /// What an operation of a further sequence takes: that of a prefill of a usual length. Dense laws have a term for it.
    fn batch_rate(&self, class: KernelClass) -> f64 {
        match class {
            KernelClass::Dense => 0.0,
            KernelClass::Quantized => {
                let usual =
                    self.prefill.get(&class).and_then(|laws| laws.iter().find(|(anchor, _)| *anchor == ANCHORS[2]));
                usual.map_or(0.0, |(_, judged)| judged.law.operation_rate())
            }
        }
    }

    /// Whether there is a law for a phase.
    pub fn has(&self, class: KernelClass, phase: Phase) -> bool {
        match phase {
            Phase::Decode => self.decode.contains_key(&class),
            _ => self.prefill.contains_key(&class),
        }
    }

    /// Every law with what its terms are worth.
    pub fn described(&self) -> Vec<LawSummary> {
        let described = |class: &KernelClass, phase, tokens, judged: &LawWithErrors| LawSummary {
            engine: judged.law.engine().to_string(),
            class: *class,
            phase,
            tokens,
            cards: judged.law.cards().len(),
            quantile: judged.quantile,
            terms: judged.law.weighted_terms().map(|(name, weight)| (name.to_string(), weight)).collect(),
        };
        let decode = self.decode.iter().map(|(class, judged)| described(class, Phase::Decode, None, judged));
        let prefill = self.prefill.iter().flat_map(|(class, laws)| {
            laws.iter().map(move |(anchor, judged)| described(class, Phase::Prefill, Some(*anchor), judged))
        });
        decode.chain(prefill).collect()
    }

    /// The laws that answer a question, with their shares.
    fn asked(&self, phase: Phase, quant: Quant, work: &Work) -> Vec<(&LawWithErrors, f64)> {
        let class = KernelClass::of(quant);
        match phase {
            Phase::Decode => self.decode.get(&class).map(|judged| (judged, 1.0)).into_iter().collect(),
            _ => {
                let Some(laws) = self.prefill.get(&class) else { return Vec::new() };
                let anchors: Vec<f64> = laws.iter().map(|(anchor, _)| *anchor).collect();
                let shares = mix(work.batch * work.tokens, &anchors);
                shares
                    .into_iter()
                    .filter(|(_, share)| *share > 0.0)
                    .map(|(place, share)| (&laws[place].1, share))
                    .collect()
            }
        }
    }

    /// The time of a decode step or a prefill on a card; `None` where there is no law, or a figure of the card is not
    /// published.
    pub fn project(
        &self,
        phase: Phase,
        target: &Target<'_>,
        work: &Work,
        memory: &mut RelativesCache,
    ) -> Option<Projection> {
        let question = LawInput {
            card: target.card,
            work,
            engine: target.engine,
            host: target.host,
            model: target.model,
            quant: target.quant,
        };
        let roofline_s = roofline(target.card, phase, target.quant, work)?;
        let (mut ln, mut margin, mut tier) = (0.0, 0.0, Tier::I);
        let mut last = None;
        for (judged, share) in self.asked(phase, target.quant, work) {
            let (sum, place) = judged.law.parts(&question)?;
            let known = memory.relative(judged, &place);
            let varies = work.weight_bytes < SMALL_BYTES || target.card.is_power_bound();
            let least = match (known.tier, judged.calibrated && place.engine == *judged.law.engine()) {
                // Left-out cards mostly had a sibling among those that were kept: without one the margin has a floor. No
                // sibling is nearer than the card itself on another host or at other sizes.
                (Tier::X, true) if known.sibling => Tier::I.factor(phase, varies).max(Tier::S.factor(phase, varies)),
                (Tier::X, true) => NO_SIBLING,
                (tier, _) => tier.factor(phase, varies),
            };
            // How far off a law is on a kind of model that it has not seen, nobody has measured.
            let unlearnt = if work.is_of_unlearnt_kind { Tier::F.factor(phase, varies) } else { 1.0 };
            let least = least.max(unlearnt);
            // The quantile of left-out cards is of the law's own engine; how far another one is off is a guess of its own.
            let quantile =
                if place.engine == *judged.law.engine() { judged.quantile } else { conformal::DEFAULT_QUANTILE };
            ln += share * (sum.ln() + known.mean);
            margin += share * (quantile * known.deviation).max(least.ln());
            tier = tier.max(known.tier);
            last = Some((judged, known));
        }
        let (judged, known) = last?;
        let seconds = ln.exp().max(roofline_s);
        // No projection beats the roof, and neither does an end of its interval.
        let time = Interval::new(seconds, (seconds * (-margin).exp()).max(roofline_s), seconds * margin.exp());
        Some(Projection {
            time,
            roofline_s,
            tier,
            cards: known.cards,
            law_of: judged.law.engine().clone(),
            nearest: known.nearest,
            validated_mape: judged.mape,
        })
    }
}

fn prefill_laws(class: KernelClass, engine: &Arc<str>, all: &[&Observation]) -> Vec<(f64, LawWithErrors)> {
    if class == KernelClass::Dense {
        let kind = Kind { class, phase: Phase::Prefill, long: false };
        return LawWithErrors::fit(kind, engine, all, 0.0, true)
            .map(|judged| (ANCHORS[2], judged))
            .into_iter()
            .collect();
    }
    let fit = |place: usize| {
        let near: Vec<&Observation> = all.iter().filter(|o| nearest(o.prefilled()) == place).copied().collect();
        let kind = Kind { class, phase: Phase::Prefill, long: place >= LONG };
        LawWithErrors::fit(kind, engine, &near, 0.0, true).map(|judged| (ANCHORS[place], judged))
    };
    (0..ANCHORS.len()).filter_map(fit).collect()
}

/// What relatives say of a place, kept: it depends on the card, the model, its precision and (where the engine itself was
/// measured) its batch, and not on the lengths that are asked about.
#[derive(Debug, Default)]
pub struct RelativesCache(HashMap<Key, Known>);

/// Law, card, engine, model, host, precision and batch.
type Key = (usize, Arc<str>, Arc<str>, Arc<str>, Option<Arc<str>>, Quant, u64);

#[derive(Debug, Clone)]
struct Known {
    mean: f64,
    deviation: f64,
    tier: Tier,
    cards: usize,
    nearest: Option<Arc<str>>,
    sibling: bool,
}

impl RelativesCache {
    fn relative(&mut self, judged: &LawWithErrors, place: &Configuration) -> Known {
        let measured =
            judged.law.places().iter().any(|known| known.engine == place.engine && known.model == place.model);
        let key = (
            std::ptr::from_ref(judged) as usize,
            place.card.id.clone(),
            place.engine.clone(),
            place.model.clone(),
            place.host.clone(),
            place.quant,
            if measured { place.batch.to_bits() } else { 0 },
        );
        let known = self.0.entry(key).or_insert_with(|| {
            let (mean, deviation) = judged.law.relative(place);
            let places = judged.law.places();
            let distance = |known: &&Configuration| known.card.decode_distance(&place.card);
            let nearest = places.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
            Known {
                mean,
                deviation,
                tier: Tier::of(place, places),
                cards: judged.law.cards().len(),
                nearest: nearest.map(|known| known.card.name.clone()),
                sibling: nearest.is_some_and(|known| known.card.is_sibling(&place.card)),
            }
        });
        known.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_between_anchors_are_mixed() {
        let at = |tokens: f64| mix(tokens, &ANCHORS);
        assert_eq!(at(16.0)[0], (0, 1.0));
        assert_eq!(at(4.0)[0], (0, 1.0));
        assert_eq!(at(100_000.0)[0], (3, 1.0));
        let [(a, x), (b, y)] = at(256.0);
        assert_eq!((a, b), (1, 2));
        assert!((x - 0.5).abs() < 1e-12 && (y - 0.5).abs() < 1e-12);
        assert_eq!(mix(300.0, &[512.0])[0], (0, 1.0));
        assert_eq!((nearest(16.0), nearest(512.0), nearest(1024.0), nearest(4096.0)), (0, 2, 3, 3));
    }
}
