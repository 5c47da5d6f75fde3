//! Times on hardware that was not measured, for the points of a ranking: on cards by the laws of [`super::projection`], on
//! CPUs of the same generation by their size.

use super::fit;
use super::points::Point;
use super::projection::laws::RelativesCache;
use super::projection::terms::Phase;
use super::projection::{Card, Laws, Projection, Target, Tier, Work};
use super::served;
use crate::catalog::{Accelerator, Shape};
use crate::record::device::is_other_accelerator;
use crate::record::environment::CpuRecord;
use crate::record::{Basis, CaseRow, Distribution, RunRecord};
use crate::sizing::formulas;
use crate::units::interval::Interval;
use crate::units::{Bytes, Seconds};
use crate::workload::{Case, ModelShape, Quant};
use serde::Serialize;
use std::sync::Arc;

/// Between sizes of one CPU generation, times scale between not at all and with the cores; beyond this ratio of cores
/// nothing is said.
const MOST_CORE_RATIO: f64 = 8.0;
/// Spread between instances of the same CPU and size (SpareCores sc-inspector-data: the median of max / min
/// is 1.16).
const SAME_CPU_FACTOR: f64 = 1.16;
/// How far the wait for a first token may be from what arrivals at random say, where no measurement of its card does.
const UNKNOWN_QUEUE: f64 = 2.0;

/// Times of one case on one device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Times {
    /// To the first token, of the whole batch.
    pub ttft: Interval,
    /// Per further token of each sequence.
    pub tpot: Interval,
}

impl Times {
    /// For a whole request that generates so many tokens (in the mean).
    pub fn e2e(&self, gen_tokens: f64) -> Interval {
        let at = |end: fn(&Interval) -> f64| formulas::e2e(end(&self.ttft), end(&self.tpot), gen_tokens);
        Interval::new(at(|time| time.value), at(|time| time.lo), at(|time| time.hi))
    }
}

/// What stands behind a projection to a card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Provenance {
    /// How near it is to something measured, the farther of prefill and decoding.
    pub tier: Tier,
    /// Cards that the law was fitted to.
    pub calibration_cards: usize,
    /// The engine that the law was fitted to.
    pub law_of: Arc<str>,
    /// The card next to it that was measured.
    pub nearest_card: Option<Arc<str>>,
    /// Mean error of decode times on cards that were left out of the fit; absent where too few were measured.
    pub validated_mape: Option<f64>,
    /// Least time of the prefill by published peaks, without any calibration.
    pub roofline_ttft_s: f64,
    /// The same of a decode step.
    pub roofline_tpot_s: f64,
}

/// Why nothing is said of a device. The words are made only where they are shown: a ranking asks for thousands.
#[derive(Debug, Clone, PartialEq)]
pub enum Refusal<'a> {
    /// candle has no backend for it.
    NoBackend(&'a Accelerator),
    /// candle's kernels need a newer one.
    TooOld(&'a Accelerator),
    /// A figure is not published.
    Unknown(&'static str),
    /// No arithmetic rate at this level is published.
    NoRate(Quant),
    /// How many bits a weight takes at this level is not known.
    NoSize(Quant),
    /// It was measured on a device of another kind, such as by Vulkan.
    OtherKernels(&'a str),
    /// No encoder was measured on any card, so that no law of cards is of them.
    Encoder,
    /// Nothing of the kind was measured on any card.
    NoLaw(Quant),
    /// Weights and cache are too large.
    DoesNotFit {
        /// With the reserve.
        needed: Bytes,
        /// What there is.
        memory: Bytes,
        /// Where.
        place: &'a str,
    },
    /// Another size of CPU than can be told from so many vCPUs.
    TooFar(f64),
    /// So many threads of an engine, of nobody knows how many vCPUs.
    Threads(usize),
}

impl std::fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBackend(accelerator) => write!(f, "{}: projections are to NVIDIA cards only", accelerator.name),
            Self::TooOld(accelerator) => write!(f, "{} is older than the kernels that are projected", accelerator.name),
            Self::Unknown(figure) => write!(f, "its {figure} is not known"),
            Self::NoRate(quant) => write!(f, "no rate in {quant} is published for it"),
            Self::NoSize(quant) => write!(f, "how many bits a weight takes in {quant} is not known"),
            Self::OtherKernels(device) => {
                write!(f, "it was measured on {device}: projections are by CUDA's kernels only")
            }
            Self::Encoder => write!(f, "no encoder was measured on any card: it is not projected to one"),
            Self::NoLaw(quant) => write!(f, "nothing in {quant} was measured on any card"),
            Self::DoesNotFit { needed, memory, place } => {
                write!(f, "does not fit: {needed} with the reserve, {memory} in {place}")
            }
            Self::Threads(threads) => write!(
                f,
                "its size cannot be held against the measured machine's: of how many vCPUs its {threads} threads were is \
                 not known (--as provider:type says it)"
            ),
            Self::TooFar(vcpus) => write!(
                f,
                "its number of vCPUs is too far from the {vcpus} that were measured (1 to {MOST_CORE_RATIO} times)"
            ),
        }
    }
}

/// A measured case as something to project from.
pub struct Reference<'a> {
    device: &'a str,
    shape: &'a ModelShape,
    case: Case,
    /// The same at the greatest lengths that are asked about: what has to fit.
    largest: Case,
    measured: Times,
    decode: Work,
    prefill: Work,
    /// vCPUs of the machine that was measured: hardware threads, as clouds sell them. The error says how many threads the
    /// engine used where nobody says of how many.
    vcpus: Result<f64, usize>,
    /// Of requests to a server: the card that it was measured on, where that is known.
    served: Option<Option<Arc<Card>>>,
}

/// The machine that a run was on, as the catalog knows it.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// vCPUs of the instance.
    pub vcpus: Option<f64>,
    /// The card.
    pub card: Option<Arc<Card>>,
}

/// A card that is projected to, as the laws and the fit see it.
pub struct TargetCard<'a> {
    /// As the catalog has it.
    pub accelerator: &'a Accelerator,
    /// Its figures.
    pub card: Arc<Card>,
    /// The part of it that one gets.
    pub share: f64,
}

impl<'a> TargetCard<'a> {
    /// The error says why nothing can be said of it at all.
    pub fn new(accelerator: &'a Accelerator, share: f64) -> Result<Self, Refusal<'a>> {
        if accelerator.vendor != "NVIDIA" {
            return Err(Refusal::NoBackend(accelerator));
        }
        if ["Kepler", "Maxwell", "Pascal"].iter().any(|old| accelerator.architecture.starts_with(old)) {
            return Err(Refusal::TooOld(accelerator));
        }
        let card = Card::of(accelerator).map(Arc::new).map_err(Refusal::Unknown)?;
        Ok(Self { accelerator, card, share })
    }
}

/// Who asks the laws.
#[derive(Default)]
pub struct LawQuery {
    /// The laws.
    pub laws: Arc<Laws>,
    /// The engine.
    pub engine: Arc<str>,
    /// The model.
    pub model: Arc<str>,
    /// What was asked before.
    pub memory: RelativesCache,
}

/// vCPUs that a run used. The engine here runs a thread on each core; where a core has two hardware threads, a cloud sells
/// it as two vCPUs. Another tool's file says how many threads there were and not of how many: what the catalog has of the
/// instance does, of which half as many threads may be all of its cores.
fn vcpus(record: &RunRecord, of_instance: Option<f64>) -> Result<f64, usize> {
    let threads = record.environment.cpu.engine_threads;
    match (record.basis, of_instance) {
        (Basis::Imported, Some(vcpus)) if threads > 0 => Ok(vcpus.min(2.0 * threads as f64)),
        (Basis::Imported, Some(vcpus)) => Ok(vcpus),
        (Basis::Imported, None) => Err(threads),
        _ => Ok(vcpus_of(&record.environment.cpu)),
    }
}

fn vcpus_of(cpu: &CpuRecord) -> f64 {
    let per_core = cpu.threads.max(1) as f64 / cpu.cores.max(1) as f64;
    (cpu.engine_threads.max(1) as f64 * per_core.max(1.0)).min(cpu.threads.max(cpu.engine_threads).max(1) as f64)
}

/// The measured times of a row, as far as it has them.
pub fn measured_times(row: &CaseRow) -> (Option<Interval>, Option<Interval>) {
    let interval = |time: Distribution<Seconds>| time.interval().map(|t| t.0);
    (row.metrics.ttft.map(interval), row.metrics.tpot.map(interval))
}

impl<'a> Reference<'a> {
    /// A measured point of a run on `machine`; the error says what the run lacks.
    pub fn new(record: &'a RunRecord, point: &Point, machine: &Measured) -> Result<Self, String> {
        let model = record.model.as_ref().ok_or("the shape of the run's model is not known")?;
        let (shape, case) = (&model.shape, point.case);
        let served = point.served.then(|| machine.card.clone());
        // Requests to a server are prefilled as they come, one by one.
        let begun_together = if served.is_some() { 1 } else { case.batch };
        Ok(Self {
            device: &record.engine.device,
            shape,
            case,
            largest: case.with_context(point.longest),
            measured: point.times,
            decode: Work::decode_of(shape, &case),
            prefill: Work::prefill_of(shape, &Case { batch: begun_together, ..case }),
            vcpus: vcpus(record, machine.vcpus),
            served,
        })
    }

    /// The case.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// Times on one accelerator, or on a share of one; the error says why none can be given.
    ///
    /// A share has its part of the memory. Its speed lies between that of the whole card, when nobody else is on it, and
    /// its part of that.
    pub fn on_accelerator(
        &self,
        place: &TargetCard<'a>,
        asker: &mut LawQuery,
    ) -> Result<(Times, Provenance), Refusal<'a>> {
        if !self.shape.task().info().is_projected {
            return Err(Refusal::Encoder);
        }
        let accelerator = place.accelerator;
        let memory = accelerator.memory().ok_or(Refusal::Unknown("memory"))? * place.share;
        self.check_fit(memory, fit::GPU_RESERVE, &accelerator.name)?;
        let quant = self.case.quant;
        if is_other_accelerator(self.device) {
            return Err(Refusal::OtherKernels(self.device));
        }
        accelerator.arithmetic(quant).ok_or(Refusal::NoRate(quant))?;
        quant.bits_per_weight().ok_or(Refusal::NoSize(quant))?;
        place.card.operation_cost(quant).ok_or(Refusal::NoRate(quant))?;
        let [prefill, decode] = self.by_law(&place.card, asker).ok_or(match place.card.tdp_w {
            None => Refusal::Unknown("board power"),
            Some(_) => Refusal::NoLaw(quant),
        })?;
        let ground = Provenance {
            tier: prefill.tier.max(decode.tier),
            calibration_cards: decode.cards,
            law_of: decode.law_of.clone(),
            nearest_card: decode.nearest.clone(),
            validated_mape: decode.validated_mape,
            // That of the whole card, which a share may have for itself at times.
            roofline_ttft_s: prefill.roofline_s,
            roofline_tpot_s: decode.roofline_s,
        };
        let of = |projected: &Projection| {
            let time = projected.time;
            Interval::new(time.value / place.share, time.lo, time.hi / place.share)
        };
        let by_law = Times { ttft: of(&prefill), tpot: of(&decode) };
        let times = match &self.served {
            None => by_law,
            Some(source) => self.served_on(by_law, source.as_ref(), (prefill.roofline_s, decode.roofline_s), asker),
        };
        Ok((times, ground))
    }

    /// The prefill and the decode step on a whole card, by the laws.
    fn by_law(&self, card: &Arc<Card>, asker: &mut LawQuery) -> Option<[Projection; 2]> {
        let target = Target { card, engine: &asker.engine, host: None, model: &asker.model, quant: self.case.quant };
        let cost = card.operation_cost(self.case.quant)?;
        let mut project =
            |phase, work: Work| asker.laws.project(phase, &target, &work.costing(cost), &mut asker.memory);
        Some([project(Phase::Prefill, self.prefill)?, project(Phase::Decode, self.decode)?])
    }

    /// Times of a request that a server takes in beside others: what was measured, by what the laws say of that card and of
    /// this one; where that card is not known, what they say of this one, in a range as wide as a guess.
    fn served_on(&self, by_law: Times, source: Option<&Arc<Card>>, roof: (f64, f64), asker: &mut LawQuery) -> Times {
        let (in_flight, generated) = (self.case.batch as f64, self.case.gen_tokens() as f64);
        let first = |prefill: f64, step: f64| served::first_token_s(prefill, step, in_flight, generated);
        let Times { ttft, tpot } = by_law;
        let here = Interval::new(first(ttft.value, tpot.value), first(ttft.lo, tpot.lo), first(ttft.hi, tpot.hi));
        let Some([prefill, step]) = source.and_then(|card| self.by_law(card, asker)) else {
            return Times { ttft: Interval::new(here.value, here.lo / UNKNOWN_QUEUE, here.hi * UNKNOWN_QUEUE), tpot };
        };
        let there = first(prefill.time.value, step.time.value);
        let above = |time: Interval, roof: f64| time.map(|t| t.max(roof));
        Times {
            ttft: above(served::carried(self.measured.ttft, here, there), roof.0),
            tpot: above(served::carried(self.measured.tpot, tpot, step.time.value), roof.1),
        }
    }

    /// Times on an instance of the same CPU generation; the error says why none can be given.
    pub fn on_same_cpu(&self, shape: &Shape) -> Result<Times, Refusal<'a>> {
        let (Some(vcpus), Some(memory)) = (shape.vcpus, shape.memory) else {
            return Err(Refusal::Unknown("size"));
        };
        self.check_fit(memory, fit::HOST_RESERVE, "the host")?;
        let measured = self.vcpus.map_err(Refusal::Threads)?;
        let ratio = vcpus / measured;
        if !(1.0..=MOST_CORE_RATIO).contains(&ratio) {
            return Err(Refusal::TooFar(measured));
        }
        let scaled = |time: Interval| {
            Interval::new(time.value / ratio.sqrt(), time.lo / ratio / SAME_CPU_FACTOR, time.hi * SAME_CPU_FACTOR)
        };
        Ok(Times { ttft: scaled(self.measured.ttft), tpot: scaled(self.measured.tpot) })
    }

    fn check_fit(&self, memory: Bytes, reserve: Bytes, place: &'a str) -> Result<(), Refusal<'a>> {
        let needed = fit::needed(self.shape, &self.largest, reserve);
        if needed.0 <= memory.0 { Ok(()) } else { Err(Refusal::DoesNotFit { needed, memory, place }) }
    }
}
