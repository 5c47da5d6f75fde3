//! One law: the terms of a phase with their weights, and what relatives say beyond them.

use super::card::Card;
use super::conformal::Scores;
use super::nnls::{self, Equation};
use super::observation::Observation;
use super::relatives::{Configuration, Relatives};
use super::terms::{Kind, MOST, Phase};
use super::work::Work;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A law of one kind, fitted to one engine.
#[derive(Debug, Clone)]
pub struct Law {
    kind: Kind,
    engine: Arc<str>,
    coefficients: [f64; MOST],
    relatives: Relatives,
    /// Seconds that an operation takes at one multiprocessor and GHz, for the further sequences of a batch where the
    /// measurements have none.
    batch_rate: f64,
}

/// A time and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Seconds.
    pub seconds: f64,
    /// Standard deviation of its logarithm, as far as relatives tell.
    pub deviation: f64,
}

/// What a law is evaluated at.
#[derive(Debug, Clone)]
pub struct LawInput<'a> {
    /// The card.
    pub card: &'a Arc<Card>,
    /// What has to be done.
    pub work: &'a Work,
    /// The engine.
    pub engine: &'a Arc<str>,
    /// The host's CPU, where it is known.
    pub host: Option<&'a Arc<str>>,
    /// The model.
    pub model: &'a Arc<str>,
    /// Precision.
    pub quant: crate::workload::Quant,
}

impl<'a> LawInput<'a> {
    /// The one that an observation answers.
    pub fn of(observation: &'a Observation) -> Self {
        Self {
            card: &observation.card,
            work: &observation.work,
            engine: &observation.engine,
            host: observation.host.as_ref(),
            model: &observation.model,
            quant: observation.quant,
        }
    }
}

impl Law {
    /// Fits a law of `kind` to the observations of `engine`; those of other engines are relatives. `None` where there is
    /// nothing to fit.
    pub fn fit(kind: Kind, engine: &Arc<str>, observations: &[&Observation], batch_rate: f64) -> Option<Self> {
        let mut per_card: HashMap<&str, f64> = HashMap::new();
        let own: Vec<(&Observation, [f64; MOST])> = observations
            .iter()
            .filter(|o| o.engine == *engine)
            .filter_map(|o| Some((*o, kind.values(&o.card, &o.work)?)))
            .collect();
        for (observation, _) in &own {
            *per_card.entry(&observation.card.id).or_default() += 1.0;
        }
        // Cards count alike, however many instances have them.
        let equations: Vec<Equation> = own
            .iter()
            .map(|(o, terms)| Equation { terms: *terms, seconds: o.seconds, weight: 1.0 / per_card[&*o.card.id] })
            .collect();
        if equations.is_empty() {
            return None;
        }
        let coefficients = nnls::fit(&equations);
        let mut law = Self {
            kind,
            engine: engine.clone(),
            coefficients,
            relatives: Relatives::new(kind.phase, engine.clone(), Vec::new(), &[]),
            batch_rate,
        };
        let (places, residuals) = law.residuals(observations);
        law.relatives = Relatives::new(kind.phase, engine.clone(), places, &residuals);
        Some(law)
    }

    /// The engine that it was fitted to.
    pub fn engine(&self) -> &Arc<str> {
        &self.engine
    }

    /// Cards that were measured.
    pub fn cards(&self) -> BTreeSet<&str> {
        self.relatives.places().iter().map(|place| &*place.card.id).collect()
    }

    /// Places that were measured.
    pub fn places(&self) -> &[Configuration] {
        self.relatives.places()
    }

    /// The terms with their weights.
    pub fn weighted_terms(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.kind.terms().iter().zip(self.coefficients).map(|(term, coefficient)| (term.name, coefficient))
    }

    /// The sum of terms in seconds, and the share of launching in it.
    fn sum(&self, card: &Card, work: &Work) -> Option<(f64, f64)> {
        let values = self.kind.values(card, work)?;
        let further = (work.batch - 1.0).max(0.0) / work.batch.max(1.0);
        let batch = match self.kind.phase {
            Phase::Decode => further * (work.ops + work.head_ops) * self.batch_rate / (card.sm_ghz() * 1e12),
            _ => 0.0,
        };
        let sum = nnls::sum(&self.coefficients, &values) + batch;
        let launch: f64 = self
            .kind
            .terms()
            .iter()
            .zip(self.coefficients)
            .zip(values)
            .filter(|((term, _), _)| term.is_launch)
            .map(|((_, coefficient), value)| coefficient * value)
            .sum();
        (sum > 0.0).then(|| (sum, launch / sum))
    }

    /// One place for each model, precision and batch on each card and host: its lengths share a residual.
    fn residuals(&self, observations: &[&Observation]) -> (Vec<Configuration>, Vec<f64>) {
        type Key = (Arc<str>, Arc<str>, Option<Arc<str>>, Arc<str>, crate::workload::Quant, u64);
        let mut groups: BTreeMap<Key, Vec<(&Observation, f64, f64)>> = BTreeMap::new();
        for observation in observations {
            let Some((sum, launch)) = self.sum(&observation.card, &observation.work) else { continue };
            let key = (
                observation.engine.clone(),
                observation.card.id.clone(),
                observation.host.clone(),
                observation.model.clone(),
                observation.quant,
                observation.work.batch.to_bits(),
            );
            groups.entry(key).or_default().push((observation, (observation.seconds / sum).ln(), launch));
        }
        let mut places = Vec::with_capacity(groups.len());
        let mut residuals = Vec::with_capacity(groups.len());
        for group in groups.into_values() {
            let n = group.len() as f64;
            let (first, ..) = group[0];
            let launch_share = group.iter().map(|(_, _, launch)| launch).sum::<f64>() / n;
            residuals.push(group.iter().map(|(_, residual, _)| residual).sum::<f64>() / n);
            let variance = group.iter().map(|(o, ..)| o.variance).sum::<f64>() / (n * n);
            places.push(Configuration { variance, ..place(&LawInput::of(first), launch_share) });
        }
        (places, residuals)
    }

    /// What it expects; `None` where a figure of the card is not published.
    pub fn estimate(&self, question: &LawInput<'_>) -> Option<Estimate> {
        let (sum, launch_share) = self.sum(question.card, question.work)?;
        let (mean, deviation) = self.relatives.at(&place(question, launch_share));
        Some(Estimate { seconds: sum * mean.exp(), deviation })
    }

    /// The sum, and what relatives add to its logarithm: the latter depends on little of a question and can be kept.
    pub fn parts(&self, question: &LawInput<'_>) -> Option<(f64, Configuration)> {
        let (sum, launch_share) = self.sum(question.card, question.work)?;
        Some((sum, place(question, launch_share)))
    }

    /// What relatives say of a place.
    pub fn relative(&self, place: &Configuration) -> (f64, f64) {
        self.relatives.at(place)
    }

    /// For each card that was left out of the fit, what it was off by there.
    pub fn scores(kind: Kind, engine: &Arc<str>, observations: &[&Observation], batch_rate: f64) -> Scores {
        let own = || observations.iter().filter(|o| o.engine == *engine);
        let cards: BTreeSet<&Arc<str>> = own().map(|o| &o.card.id).collect();
        let mut scores = Scores::default();
        for left_out in cards {
            let kept: Vec<&Observation> = own().filter(|o| o.card.id != *left_out).copied().collect();
            let Some(law) = Self::fit(kind, engine, &kept, batch_rate) else { continue };
            for observation in own().filter(|o| o.card.id == *left_out) {
                if let Some(estimate) = law.estimate(&LawInput::of(observation)) {
                    let off = (observation.seconds / estimate.seconds).ln().abs();
                    let error = (estimate.seconds / observation.seconds - 1.0).abs();
                    scores.push(left_out, off / estimate.deviation, error);
                }
            }
        }
        scores
    }

    /// Weight of the term of operations over arithmetic, where the law has one.
    pub fn operation_rate(&self) -> f64 {
        let of = |name: &str| self.weighted_terms().find(|(term, _)| *term == name).map_or(0.0, |(_, weight)| weight);
        of("operations / (multiprocessors x clock)")
    }
}

fn place(question: &LawInput<'_>, launch_share: f64) -> Configuration {
    Configuration {
        card: question.card.clone(),
        engine: question.engine.clone(),
        host: question.host.cloned(),
        model: question.model.clone(),
        quant: question.quant,
        batch: question.work.batch.max(1.0),
        ln_bytes: question.work.weight_bytes.max(1.0).ln(),
        launch_share,
        variance: 0.0,
    }
}
