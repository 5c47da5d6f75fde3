//! Measurements as laws see them: one time of one phase on one card, with the work that it was.

use super::card::Card;
use super::terms::{KernelClass, Phase};
use super::work::{Work, read_bytes};
use crate::catalog::{Accelerator, Catalog};
use crate::record::device::is_other_accelerator;
use crate::record::environment::Partition;
use crate::record::{Basis, CaseRow, Distribution, Outcome, Run};
use crate::sizing::speed::fit::cache_of;
use crate::units::Seconds;
use crate::workload::Quant;
use std::collections::HashMap;
use std::sync::Arc;

/// Standard deviations between the ends of a 95 % interval.
const NORMAL_95: f64 = 3.92;

/// A measured time.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The engine.
    pub engine: Arc<str>,
    /// What was timed.
    pub phase: Phase,
    /// The card.
    pub card: Arc<Card>,
    /// The host's CPU, where it is known.
    pub host: Option<Arc<str>>,
    /// `(provider, instance type)`, where they are known.
    pub instance: Option<(Arc<str>, Arc<str>)>,
    /// The model.
    pub model: Arc<str>,
    /// Precision.
    pub quant: Quant,
    /// What had to be done.
    pub work: Work,
    /// How long it took.
    pub seconds: f64,
    /// Variance of the logarithm of that, by the interval of the measurement.
    pub variance: f64,
}

impl Observation {
    /// Kernels.
    pub fn class(&self) -> KernelClass {
        KernelClass::of(self.quant)
    }

    /// Tokens that are prefilled together.
    pub fn prefilled(&self) -> f64 {
        self.work.batch * self.work.tokens
    }
}

/// Why a run does not tell anything about whole cards.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct NotUsed {
    /// The hardware, or the CPU.
    pub hardware: String,
    /// Why.
    pub reason: String,
}

/// The observations of runs on cards, and which runs are none, with the reason.
pub fn observations(runs: &[&Run], catalog: &Catalog) -> (Vec<Observation>, Vec<NotUsed>) {
    let mut reader = Reader { catalog, texts: HashMap::new(), cards: HashMap::new() };
    let (mut all, mut unused) = (Vec::new(), Vec::new());
    for run in runs {
        match reader.read(run) {
            Ok(observations) => all.extend(observations),
            Err(reason) => {
                let hardware = run.record.engine.hardware.clone().unwrap_or("CPU".to_string());
                unused.push(NotUsed { hardware, reason });
            }
        }
    }
    unused.sort();
    unused.dedup();
    (all, unused)
}

struct Reader<'a> {
    catalog: &'a Catalog,
    texts: HashMap<String, Arc<str>>,
    cards: HashMap<String, Result<Arc<Card>, String>>,
}

impl Reader<'_> {
    fn text(&mut self, text: &str) -> Arc<str> {
        self.texts.entry(text.to_string()).or_insert_with(|| text.into()).clone()
    }

    fn card(&mut self, run: &Run) -> Result<Arc<Card>, String> {
        let name = run.record.engine.hardware.clone().ok_or("its hardware is not named")?;
        if let Some(known) = self.cards.get(&name) {
            return known.clone();
        }
        let card = whole_card(self.catalog.accelerator_of_run(&run.record), &name);
        self.cards.insert(name, card.clone());
        card
    }

    fn read(&mut self, run: &Run) -> Result<Vec<Observation>, String> {
        let record = &run.record;
        check_device(run)?;
        let shape =
            &record.model.as_ref().ok_or("the shape of its model is not known (--model PRESET gives it one)")?.shape;
        if !run.cases.is_empty() && !run.cases.iter().any(|row| is_steady(run.arrival_of(row))) {
            return Err(format!("requests came `{}`: prefills and decoding are mixed in its times", run.arrivals()));
        }
        let card = self.card(run)?;
        let host = Some(record.environment.cpu.model.as_str()).filter(|cpu| !cpu.is_empty()).map(str::to_string);
        let host = host.map(|cpu| self.text(&cpu));
        let instance = &record.environment.instance;
        let instance = instance.provider.clone().zip(instance.instance_type.clone());
        let instance = instance.map(|(provider, name)| (self.text(&provider), self.text(&name)));
        let engine = self.text(record.engine.identity());
        let mut all = Vec::new();
        let counts =
            |row: &&CaseRow| row.outcome == Outcome::Ok && usable(row, record.basis) && is_steady(run.arrival_of(row));
        for row in run.cases.iter().filter(counts) {
            let case = row.key.case;
            let stored = row.metrics.weights.map_or(shape.weight_bytes(case.quant).0, |weights| weights.0);
            // What a level is computed in, and how large it is, must be known to say what its time was spent on.
            let (Some(cost), Some(_)) = (card.operation_cost(case.quant), case.quant.bits_per_weight()) else {
                continue;
            };
            let bytes = read_bytes(shape, case.quant, stored);
            let mut push = |phase, work: Work, time: Distribution<Seconds>| {
                let work = work.costing(cost);
                let width = time.hi.zip(time.lo).map_or(0.0, |(hi, lo)| (hi.0 / lo.0).ln() / NORMAL_95);
                all.push(Observation {
                    engine: engine.clone(),
                    phase,
                    card: card.clone(),
                    host: host.clone(),
                    instance: instance.clone(),
                    model: self
                        .texts
                        .entry(row.key.model.clone())
                        .or_insert_with(|| row.key.model.as_str().into())
                        .clone(),
                    quant: case.quant,
                    work,
                    seconds: time.median.0,
                    variance: if width.is_finite() { width * width } else { 0.0 },
                });
            };
            if let Some(tpot) = row.metrics.tpot.filter(|_| case.generates()) {
                push(Phase::Decode, Work::decode(shape, bytes, case.batch, case.middle(), cache_of(&case)), tpot);
            }
            // A request that arrives while others run waits for them: its first token tells nothing of the card alone.
            let alone = case.batch == 1 || run.arrival_of(row) == "closed_batch";
            if let Some(ttft) = row.metrics.ttft.filter(|_| case.prompt_tokens() > 0 && alone) {
                push(Phase::Prefill, Work::prefill(shape, bytes, case.batch, case.prompt_tokens() as f64), ttft);
            }
        }
        all.retain(|observation| observation.seconds.is_finite() && observation.seconds > 0.0);
        Ok(all)
    }
}

/// An error where a run was not on one whole card.
fn check_device(run: &Run) -> Result<(), String> {
    let record = &run.record;
    match record.engine.device.as_str() {
        "cpu" => return Err("it ran on a CPU".to_string()),
        "mixed" => return Err("a part of the layers was on the CPU".to_string()),
        device if is_other_accelerator(device) => {
            return Err(format!("it ran on {device}, whose kernels are not those that the laws are of"));
        }
        _ => {}
    }
    if record.accelerators > 1 {
        return Err("the model was spread over several cards, whose links are not modelled".to_string());
    }
    let hardware = record.engine.hardware.as_deref();
    let gpu = record.environment.gpus.iter().find(|gpu| Some(gpu.name.as_str()) == hardware);
    if let Some(partition @ (Partition::Mig | Partition::Vgpu)) = gpu.and_then(|gpu| gpu.partition) {
        return Err(format!("it was a part of a card ({partition:?})"));
    }
    Ok(())
}

/// The figures of a card that a run had for itself; the error says why there are none.
pub fn whole_card(accelerator: Option<&Accelerator>, name: &str) -> Result<Arc<Card>, String> {
    let Some(accelerator) = accelerator else {
        let vgpu = name.rsplit_once('-').is_some_and(|(_, end)| {
            end.ends_with('Q') && end[..end.len() - 1].chars().all(|c| c.is_ascii_digit()) && end.len() > 1
        });
        return Err(if vgpu {
            format!("{name} is a virtual GPU: a share of a card, whose neighbours are not known")
        } else {
            format!("{name} is not in accelerators.csv")
        });
    };
    Card::of(accelerator).map(Arc::new).map_err(|figure| format!("the {figure} of {} is not known", accelerator.name))
}

/// Loads under which a decode step is a decode step: one batch, one request at a time, or a constant rate.
fn is_steady(arrival: &str) -> bool {
    matches!(arrival, "closed_batch" | "closed_1" | "open_constant")
}

/// Measured cases count unless they are in doubt; what others measured says nothing about that.
fn usable(row: &CaseRow, basis: Basis) -> bool {
    basis == Basis::Imported || row.is_valid() || row.invalid.iter().all(|reason| reason.name() == "noisy")
}
