//! How fast the model would be on the hardware of each type: measured points carried over, once for each kind of
//! hardware however many offers have it.

use super::cpu_sizes::CpuSizes;
use super::energy::Board;
use super::exclusion::ExclusionReason;
use super::points::Point;
use super::project::{LawQuery, Measured, Provenance, Reference, Refusal, TargetCard, Times};
use super::projection::Laws;
use super::projection::laws::RelativesCache;
use crate::catalog::shape::CountUnit;
use crate::catalog::{Catalog, Shape};
use crate::record::slo::{Kept, MEDIAN};
use crate::record::{LatencyKind, Run, Slo};
use crate::units::Fraction;
use crate::units::interval::Interval;
use std::collections::HashMap;
use std::sync::Arc;

/// The best that hardware can do within the limits.
#[derive(Debug, Clone)]
pub struct Speed {
    /// Index of the point that it follows from.
    pub point: usize,
    /// Times there.
    pub times: Times,
    /// To the last token.
    pub e2e: Interval,
    /// Requests a second of one copy of the model.
    pub requests_per_s: Interval,
    /// What it runs on, without the number.
    pub hardware: Arc<str>,
    /// How the figures came about.
    pub method: &'static str,
    /// The board of one accelerator.
    pub board: Option<Board>,
    /// What stands behind a projection to a card.
    pub ground: Option<Provenance>,
}

/// Kinds of hardware that are equally fast.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// An accelerator, or this share of one.
    Accelerator(Arc<str>, u64),
    /// So many vCPUs and bytes of a CPU.
    Cpu(Option<Arc<str>>, u64, u64),
}

impl Key {
    /// Of a shape.
    pub fn of(shape: &Shape) -> Self {
        match &shape.accelerator {
            Some(id) => Self::Accelerator(id.clone(), share(shape).to_bits()),
            None => {
                let bits = |value: Option<f64>| value.unwrap_or(0.0).to_bits();
                Self::Cpu(shape.cpu.clone(), bits(shape.vcpus), bits(shape.memory.map(|m| m.0)))
            }
        }
    }
}

/// What measurements taught: laws of cards, and sizes of CPUs.
pub struct Calibration {
    /// Of cards.
    pub laws: Arc<Laws>,
    /// Of CPUs.
    pub cpus: CpuSizes,
}

/// Times, and what stands behind them where they are projected to a card.
pub type ProjectedTimes = (Times, Option<Provenance>);

/// Candidates by their place among the points, why the first that is none is not, and what they run on.
type Candidates = (Vec<(usize, ProjectedTimes)>, Option<ExclusionReason>, Arc<str>, &'static str, Option<Board>);

/// What hardware does at every point of a level.
#[derive(Debug, Clone)]
pub struct Projected {
    /// What it is, without the number.
    pub hardware: Arc<str>,
    /// How the figures came about.
    pub method: &'static str,
    /// Index of each point, with its times and what stands behind them.
    pub at: Vec<(usize, ProjectedTimes)>,
}

/// The speeds of everything in a catalog at one quantization level.
pub struct Speeds<'a> {
    run: &'a Run,
    catalog: &'a Catalog,
    slo: Slo,
    points: Vec<(usize, &'a Point)>,
    references: Vec<Result<Reference<'a>, String>>,
    cpu: Option<String>,
    asker: LawQuery,
    learnt: Arc<Calibration>,
    known: HashMap<Key, Result<Arc<Speed>, ExclusionReason>>,
}

/// The share of a card that one copy of the model gets: all of it, or what the type has.
fn share(shape: &Shape) -> f64 {
    shape.accelerator_count.min(1.0)
}

/// Copies of the model that run side by side, one on each whole accelerator.
pub fn copies(shape: &Shape) -> usize {
    (shape.accelerator_count.floor() as usize).max(1)
}

impl<'a> Speeds<'a> {
    /// From the points of one level (with their indices).
    pub fn new(
        run: &'a Run,
        catalog: &'a Catalog,
        slo: Slo,
        points: Vec<(usize, &'a Point)>,
        learnt: Arc<Calibration>,
        machine: Measured,
    ) -> Self {
        let references = points.iter().map(|(_, point)| Reference::new(&run.record, point, &machine)).collect();
        let cpu = catalog.cpu_of(&run.record.environment.cpu).map(|cpu| cpu.id.clone());
        let model = run.cases.first().map_or("", |row| &row.key.model);
        let asker = LawQuery {
            laws: learnt.laws.clone(),
            engine: run.record.engine.identity().into(),
            model: model.into(),
            memory: RelativesCache::default(),
        };
        Self { run, catalog, slo, points, references, cpu, asker, learnt, known: HashMap::new() }
    }

    /// The best measured point within the limits, as it is; the error says why there is none.
    pub fn measured(&self, hardware: &str) -> Result<Speed, String> {
        let all = self.points.iter().enumerate().map(|(place, (_, point))| (place, (point.times, None)));
        let best = self.best(all, true);
        let (place, (times, _)) = best.map_err(|unknown| unknown.unwrap_or(self.no_measured_batch()))?;
        let point = self.points[place].1;
        let speed = self.speed(place, times, hardware.into(), point.method, None);
        Ok(Speed { requests_per_s: point.requests_per_s.unwrap_or(speed.requests_per_s), ..speed })
    }

    fn no_measured_batch(&self) -> String {
        match self.slo.beyond_medians() {
            Some(_) => "no measured batch keeps the limits (percentiles need enough samples: \
                 docs/method/metrics.md#values-and-intervals)"
                .to_string(),
            None => "no measured batch keeps the limits".to_string(),
        }
    }

    /// Projected to a shape, or why not.
    pub fn on(&mut self, shape: &Shape) -> Result<Arc<Speed>, ExclusionReason> {
        let key = Key::of(shape);
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let speed = self.project(shape).map(Arc::new);
        self.known.insert(key, speed.clone());
        speed
    }

    /// What hardware does at every point of the level, without limits: the index of each point with its times.
    pub fn everywhere(&mut self, shape: &Shape) -> Result<Projected, ExclusionReason> {
        let (candidates, refusal, hardware, method, _) = self.candidates(shape)?;
        if candidates.is_empty() {
            return Err(refusal.unwrap_or("no batch can be projected".into()));
        }
        let at = candidates.into_iter().map(|(place, found)| (self.points[place].0, found)).collect();
        Ok(Projected { hardware, method, at })
    }

    fn project(&mut self, shape: &Shape) -> Result<Speed, ExclusionReason> {
        let (candidates, refusal, hardware, method, board) = self.candidates(shape)?;
        match self.best(candidates.into_iter(), false) {
            Ok((place, (times, ground))) => {
                let speed = self.speed(place, times, hardware, method, board);
                Ok(Speed { ground, ..speed })
            }
            Err(unknown) => {
                let unknown = unknown.map(ExclusionReason::from);
                Err(refusal.or(unknown).unwrap_or("no batch keeps the limits".into()))
            }
        }
    }

    /// The times at each point that can be carried over to a shape, and why the first of the others cannot.
    fn candidates(&mut self, shape: &Shape) -> Result<Candidates, ExclusionReason> {
        if self.run.record.traffic.is_some() {
            return Err(
                "times under traffic are of the machine that had it: `sizewell profile` measures what is projected"
                    .into(),
            );
        }
        if let Some(limited) = self.slo.beyond_medians() {
            return Err(format!("{limited} is not projected: only what was measured can keep a limit on it").into());
        }
        let on_cpu = self.run.record.engine.device == "cpu";
        let catalog = self.catalog;
        if let Some(id) = &shape.accelerator {
            let Some(accelerator) = catalog.accelerators.get(&**id) else {
                return Err(format!("its accelerator `{id}` is not in accelerators.csv").into());
            };
            if shape.count_unit != CountUnit::Device {
                return Err("its accelerators are not counted in devices".into());
            }
            let place = TargetCard::new(accelerator, share(shape)).map_err(ExclusionReason::from)?;
            let mut asker = std::mem::take(&mut self.asker);
            let found = self.carried(
                |reference| reference.on_accelerator(&place, &mut asker).map(|(times, ground)| (times, Some(ground))),
                accelerator.name.as_str().into(),
                "terms and relatives",
                accelerator.tdp_w.map(|w| Board::new(w, &accelerator.architecture)),
            );
            self.asker = asker;
            return found;
        }
        if !on_cpu {
            return Err("it has no GPU, and the run was on one: CPUs are not projected from GPUs".into());
        }
        let generation = shape.cpu.as_deref().unwrap_or("any of several");
        if self.cpu.is_none() || self.cpu.as_deref() != shape.cpu.as_deref() {
            let measured = self.cpu.as_deref().unwrap_or("not one that the catalog names");
            return Err(
                format!("its CPU is {generation}, the measured one {measured}: CPUs are not projected across").into()
            );
        }
        let hardware = format!("{} vCPU {generation}", shape.vcpus.unwrap_or(0.0));
        let sized = |reference: &Reference<'a>| {
            self.learnt.cpus.times(&self.asker.engine, &self.asker.model, reference.case(), shape)
        };
        let method = if self.references.iter().flatten().any(|reference| sized(reference).is_some()) {
            "other instances of this CPU"
        } else {
            "same CPU generation"
        };
        let times = |reference: &Reference<'a>| match (reference.on_same_cpu(shape), sized(reference)) {
            (Ok(_) | Err(Refusal::TooFar(_) | Refusal::Threads(_)), Some(times)) => Ok((times, None)),
            (scaled, _) => scaled.map(|times| (times, None)),
        };
        self.carried(times, hardware.into(), method, None)
    }

    fn carried(
        &self,
        mut times: impl FnMut(&Reference<'a>) -> Result<ProjectedTimes, Refusal<'a>>,
        hardware: Arc<str>,
        method: &'static str,
        board: Option<Board>,
    ) -> Result<Candidates, ExclusionReason> {
        let mut refusal: Option<Refusal<'a>> = None;
        let mut candidates = Vec::with_capacity(self.points.len());
        for (place, reference) in self.references.iter().enumerate() {
            match times(reference.as_ref().map_err(|why| ExclusionReason::from(why.as_str()))?) {
                Ok(found) => candidates.push((place, found)),
                Err(why) => {
                    refusal.get_or_insert(why);
                }
            }
        }
        // The words are made only where they are needed: rankings ask for thousands.
        let words = refusal.filter(|_| candidates.is_empty() || !self.slo.is_empty()).map(ExclusionReason::from);
        Ok((candidates, words, hardware, method, board))
    }

    /// Whether a point keeps the limits at these times, by the median of each and, of the point as it was measured, by the
    /// percentiles that were. The error is the first limit of which that cannot be told, in words.
    fn keeps(&self, point: &Point, times: &Times, is_measured: bool) -> Result<bool, String> {
        let median = |kind: LatencyKind| match kind {
            LatencyKind::Ttft => times.ttft.value,
            LatencyKind::Tpot => times.tpot.value,
            LatencyKind::E2e => times.e2e(point.gen_tokens).value,
        };
        let mut unknown = None;
        for term in &self.slo.terms {
            let beyond = point.percentiles.iter().filter(|(kind, ..)| is_measured && *kind == term.of);
            let known = beyond.map(|(_, percentile, seconds)| (*percentile, *seconds));
            match term.judge(std::iter::once((MEDIAN, median(term.of))).chain(known)) {
                Kept::Yes => {}
                Kept::No => return Ok(false),
                Kept::Unknown => {
                    unknown.get_or_insert_with(|| {
                        format!("cannot tell whether {} is at most {}", term.subject(), term.limit_s)
                    });
                }
            }
        }
        let unknown = unknown.or(self
            .slo
            .goodput
            .map(|share| format!("cannot tell whether {} of requests keep all limits", Fraction(share))));
        match unknown {
            None => Ok(true),
            Some(what) => Err(format!(
                "{what}: that was not measured, or not of enough requests (`sizewell load --slo` judges it)"
            )),
        }
    }

    /// The one with the most requests per second among those that keep the limits: of measured ones as counted, else as
    /// their times say. The error is a limit of which nothing that is known says whether it is kept.
    fn best(
        &self,
        candidates: impl Iterator<Item = (usize, ProjectedTimes)>,
        is_measured: bool,
    ) -> Result<(usize, ProjectedTimes), Option<String>> {
        let mut best: Option<(f64, usize, ProjectedTimes)> = None;
        let mut unknown = None;
        for (place, (times, ground)) in candidates {
            let point = self.points[place].1;
            match self.keeps(point, &times, is_measured) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    unknown.get_or_insert(why);
                    continue;
                }
            }
            let counted = point.requests_per_s.filter(|_| is_measured);
            let by_times = || point.case.batch as f64 / times.e2e(point.gen_tokens).value;
            let rate = counted.map_or_else(by_times, |rate| rate.value);
            if best.as_ref().is_none_or(|(most, ..)| rate > *most) {
                best = Some((rate, place, (times, ground)));
            }
        }
        best.map(|(_, place, found)| (place, found)).ok_or(unknown)
    }

    fn speed(
        &self,
        place: usize,
        times: Times,
        hardware: Arc<str>,
        method: &'static str,
        board: Option<Board>,
    ) -> Speed {
        let (index, point) = self.points[place];
        let e2e = times.e2e(point.gen_tokens);
        Speed {
            point: index,
            times,
            e2e,
            requests_per_s: e2e.under(point.case.batch as f64),
            hardware,
            method,
            board,
            ground: None,
        }
    }
}
