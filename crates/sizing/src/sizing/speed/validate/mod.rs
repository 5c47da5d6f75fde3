//! How far off projections are: computed on hardware that was left out of the fit, or on a set kept apart.

mod cpu;
mod errors;
mod regret;

pub use cpu::CpuErrors;
pub use errors::{Errors, Point};
pub use regret::ModelRegret;

use super::projection::laws::{LawSummary, RelativesCache};
use super::projection::observation::NotUsed;
use super::projection::terms::{KernelClass, Phase, roofline};
use super::projection::{Laws, Observation, Target, observations};
use crate::catalog::Catalog;
use crate::record::Run;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Efficiency that public sizing tools assume of a roofline.
const FLAT_EFFICIENCY: f64 = 0.8;

/// Errors of projections, overall and by what they are of.
#[derive(Debug, Clone, Serialize)]
pub struct Validation {
    /// `leave_one_card_out` or `fixed_split`.
    pub method: &'static str,
    /// The engine and kernels that the overall figures are of: those with the most cards.
    pub headline: String,
    /// All cards together.
    #[serde(flatten)]
    pub all: Errors,
    /// The same again, under a name of its own.
    pub overall: Errors,
    /// Card by card.
    pub devices: BTreeMap<String, Errors>,
    /// Engine and kernels.
    pub engines: BTreeMap<String, Errors>,
    /// Where each prompt length or batch stands: what lies beyond the headline.
    pub sizes: BTreeMap<String, Errors>,
    /// Overall, where every card of the same chip was left out too: what to expect of a chip that nobody measured.
    pub without_siblings: Errors,
    /// What a published roofline at a flat efficiency of 0.8 is off by on the same points.
    pub flat_roofline: Errors,
    /// What the choice of an instance by projected cost costs over the best choice, model by model.
    pub regret: Vec<ModelRegret>,
    /// CPU instances, within one CPU model.
    pub cpus: Option<CpuErrors>,
    /// The laws that all of the evidence (or the training set) gives.
    pub laws: Vec<LawSummary>,
    /// Measurements that say nothing about whole cards, and why.
    pub not_used: Vec<NotUsed>,
    /// Cards that nothing can be said of, and why.
    pub refused: BTreeMap<String, String>,
}

/// Leaves out one card model after the other; the error says what the evidence lacks.
pub fn leave_one_out(runs: &[Run], catalog: &Catalog) -> Result<Validation, String> {
    let all: Vec<&Run> = runs.iter().collect();
    let (observed, not_used) = observations(&all, catalog);
    let (mut points, mut apart) = (Vec::new(), Vec::new());
    for (engine, class) in groups(&observed) {
        let group: Vec<Observation> =
            observed.iter().filter(|o| o.engine == engine && o.class() == class).cloned().collect();
        let cards: BTreeSet<&Arc<str>> = group.iter().map(|o| &o.card.id).collect();
        for left_out in cards {
            let (test, train): (Vec<Observation>, Vec<Observation>) =
                group.iter().cloned().partition(|o| o.card.id == *left_out);
            points.extend(project(&Laws::build(&train, Some(&engine)), &test));
            let is_sibling = |o: &Observation| test.first().is_some_and(|left| left.card.is_sibling(&o.card));
            let far: Vec<Observation> = train.iter().filter(|o| !is_sibling(o)).cloned().collect();
            let laws = if far.len() == train.len() { None } else { Some(Laws::build(&far, Some(&engine))) };
            let already = points.len() - test.len();
            apart.extend(laws.map_or_else(|| points[already..].to_vec(), |laws| project(&laws, &test)));
        }
    }
    let laws = described(&observed);
    let cpus = cpu::leave_one_out(&all);
    finish("leave_one_card_out", ValidationInput { points, apart, cpus, not_used, laws }, &all, catalog)
}

/// Fits on one set and projects another.
pub fn fixed_split(train: &[Run], test: &[Run], catalog: &Catalog) -> Result<Validation, String> {
    let (train, test): (Vec<&Run>, Vec<&Run>) = (train.iter().collect(), test.iter().collect());
    let (known, _) = observations(&train, catalog);
    let (asked, not_used) = observations(&test, catalog);
    let mut points = Vec::new();
    for (engine, class) in groups(&asked) {
        let of = |all: &[Observation]| -> Vec<Observation> {
            all.iter().filter(|o| o.engine == engine && o.class() == class).cloned().collect()
        };
        points.extend(project(&Laws::build(&of(&known), Some(&engine)), &of(&asked)));
    }
    let laws = described(&known);
    let cpus = cpu::fixed_split(&train, &test);
    finish("fixed_split", ValidationInput { points, apart: Vec::new(), cpus, not_used, laws }, &test, catalog)
}

fn groups(observed: &[Observation]) -> BTreeSet<(Arc<str>, KernelClass)> {
    observed.iter().map(|o| (o.engine.clone(), o.class())).collect()
}

fn project(laws: &Laws, test: &[Observation]) -> Vec<Point> {
    let mut memory = RelativesCache::default();
    test.iter()
        .map(|observation| {
            let target = Target {
                card: &observation.card,
                engine: &observation.engine,
                host: observation.host.as_ref(),
                model: &observation.model,
                quant: observation.quant,
            };
            let projected = laws.project(observation.phase, &target, &observation.work, &mut memory);
            let bound = roofline(&observation.card, observation.phase, observation.quant, &observation.work);
            Point { observation: observation.clone(), projected, flat_s: bound.map(|bound| bound / FLAT_EFFICIENCY) }
        })
        .collect()
}

/// The laws of each engine.
fn described(observed: &[Observation]) -> Vec<LawSummary> {
    let laws = |(engine, class): (Arc<str>, KernelClass)| {
        let all: Vec<Observation> =
            observed.iter().filter(|o| o.engine == engine && o.class() == class).cloned().collect();
        Laws::build(&all, Some(&engine)).described()
    };
    groups(observed).into_iter().flat_map(laws).collect()
}

/// What a validation is computed from.
struct ValidationInput {
    points: Vec<Point>,
    /// The same with every card of the same chip left out too.
    apart: Vec<Point>,
    cpus: Option<CpuErrors>,
    not_used: Vec<NotUsed>,
    laws: Vec<LawSummary>,
}

fn finish(
    method: &'static str,
    found: ValidationInput,
    runs: &[&Run],
    catalog: &Catalog,
) -> Result<Validation, String> {
    let ValidationInput { points, apart, cpus, not_used, laws } = found;
    if points.is_empty() && cpus.is_none() {
        let why: Vec<String> = not_used.iter().map(|n| format!("{}: {}", n.hardware, n.reason)).collect();
        return Err(format!("there is nothing to project to in this evidence ({})", why.join("; ")));
    }
    // Kernels of different kinds and engines are not mixed in one figure: the headline is of the one on the most cards.
    let headline_name = headline(&points);
    let regret = regret::by_model(&points, runs, catalog);
    let mut by: [BTreeMap<String, Vec<&Point>>; 3] = Default::default();
    for point in &points {
        let observation = &point.observation;
        if headline_name.as_ref() == Some(&group(observation)) {
            by[0].entry(observation.card.name.to_string()).or_default().push(point);
        }
        by[1].entry(group(observation)).or_default().push(point);
        by[2].entry(size(observation)).or_default().push(point);
    }
    let errors = |points: &[&Point]| Errors::of(points, false);
    let [devices, engines, sizes] = by.map(|by| by.into_iter().map(|(name, points)| (name, errors(&points))).collect());
    let every: Vec<&Point> =
        points.iter().filter(|point| headline_name.as_ref() == Some(&group(&point.observation))).collect();
    let refused = points
        .iter()
        .filter(|point| point.projected.is_none())
        .map(|point| {
            (
                point.observation.card.name.to_string(),
                "a figure that its terms need is not known, or there is no law".to_string(),
            )
        })
        .collect();
    let all = Errors::of(&every, false).with_regret(&regret);
    Ok(Validation {
        method,
        headline: headline_name.clone().unwrap_or_default(),
        overall: all.clone(),
        all,
        devices,
        engines,
        sizes,
        without_siblings: Errors::of(
            &apart
                .iter()
                .filter(|point| headline_name.as_ref() == Some(&group(&point.observation)))
                .collect::<Vec<_>>(),
            false,
        ),
        flat_roofline: Errors::of_flat(&every),
        regret,
        cpus,
        laws,
        not_used,
        refused,
    })
}

/// Engine and kernels.
fn group(observation: &Observation) -> String {
    format!("{} {}", observation.engine, observation.class().name())
}

/// The engine and kernels with the most cards.
fn headline(points: &[Point]) -> Option<String> {
    let mut cards: BTreeMap<String, (BTreeSet<&str>, usize)> = BTreeMap::new();
    for point in points {
        let (cards, cases) = cards.entry(group(&point.observation)).or_default();
        cards.insert(&point.observation.card.id);
        *cases += 1;
    }
    cards.into_iter().max_by_key(|(_, (cards, cases))| (cards.len(), *cases)).map(|(name, _)| name)
}

fn size(observation: &Observation) -> String {
    let Observation { phase, work, .. } = observation;
    match phase {
        Phase::Decode if work.batch > 1.0 => format!("decode, several sequences, {}", observation.class().name()),
        Phase::Decode => format!("decode at {} positions", work.tokens),
        _ => format!("prefill of {} tokens", work.tokens),
    }
}
