//! Sizes of one CPU model: a time between those of measured sizes, from instances of the same family first.
//!
//! Nothing is said across CPU models: over public measurements that is off by 60 to 90 %, where the same model at the
//! nearest size is off by a few.

use super::terms::Phase;
use crate::record::environment::CpuRecord;
use crate::record::run::engine_identity;
use crate::record::{Outcome, Run};
use crate::workload::Case;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// How much less an instance counts whose size is off by a factor of e, of another provider, or of another family.
const SIZE_SCALE: f64 = 0.05;
const OTHER_PROVIDER: f64 = 1.0;
const OTHER_FAMILY: f64 = 1.5;
/// Beyond this ratio to the nearest measured size nothing is said.
const MOST_RATIO: f64 = 2.0;

/// A measured time on a CPU.
#[derive(Debug, Clone)]
pub struct CpuObservation {
    /// Engine, model, precision, phase and lengths.
    pub what: Arc<str>,
    /// The CPU's marketing name.
    pub cpu: Arc<str>,
    /// Provider.
    pub provider: Arc<str>,
    /// Instance type.
    pub instance: Arc<str>,
    /// Threads that the engine used.
    pub threads: f64,
    /// What was timed.
    pub phase: Phase,
    /// Tokens of the prompt, or generated ones.
    pub tokens: usize,
    /// How long it took.
    pub seconds: f64,
}

/// The part of an instance type's name that its sizes share: what stands before the size, or around its number.
pub fn family(instance: &str) -> Cow<'_, str> {
    if let Some(at) = instance.rfind(['-', '.']) {
        return instance[..at].into();
    }
    let Some(start) = instance.find(|c: char| c.is_ascii_digit()) else { return instance.into() };
    let digits = instance[start..].find(|c: char| !c.is_ascii_digit()).unwrap_or(instance.len() - start);
    format!("{}{}", &instance[..start], &instance[start + digits..]).into()
}

/// What was run, as far as it has to be the same.
pub fn what(engine: &str, model: &str, case: &Case, phase: Phase) -> String {
    let tokens = if phase == Phase::Decode { case.gen_tokens() } else { case.prompt_tokens() };
    // Records of before call the project's own kernels otherwise.
    let engine = engine_identity(engine);
    format!("{engine} {model} {} {phase:?} {} {tokens}", case.quant, case.batch)
}

/// The measurements of runs on CPUs, each CPU by its marketing name.
pub fn cpu_observations(runs: &[&Run]) -> Vec<CpuObservation> {
    cpu_observations_by(runs, |cpu| Some(cpu.model.clone()).filter(|name| !name.is_empty()))
}

/// The same, each CPU by whatever name it is given; `None` leaves its runs out.
pub fn cpu_observations_by(runs: &[&Run], name: impl Fn(&CpuRecord) -> Option<String>) -> Vec<CpuObservation> {
    let mut texts: HashMap<String, Arc<str>> = HashMap::new();
    let mut text = |text: &str| texts.entry(text.to_string()).or_insert_with(|| text.into()).clone();
    let mut all = Vec::new();
    for run in runs.iter().filter(|run| run.record.engine.device == "cpu") {
        let environment = &run.record.environment;
        let instance = &environment.instance;
        let threads = environment.cpu.engine_threads as f64;
        let Some(cpu) = name(&environment.cpu).filter(|_| threads >= 1.0) else { continue };
        let (cpu, provider) = (text(&cpu), text(instance.provider.as_deref().unwrap_or("")));
        let type_name = text(instance.instance_type.as_deref().unwrap_or(&environment.hostname));
        for row in run.cases.iter().filter(|row| row.outcome == Outcome::Ok) {
            let case = row.key.case;
            let mut push = |phase: Phase, tokens: usize, seconds: f64| {
                let what = what(&row.key.engine, &row.key.model, &case, phase);
                let (cpu, provider, instance) = (cpu.clone(), provider.clone(), type_name.clone());
                all.push(CpuObservation {
                    what: text(&what),
                    cpu,
                    provider,
                    instance,
                    threads,
                    phase,
                    tokens,
                    seconds,
                });
            };
            if let Some(ttft) = row.metrics.ttft.filter(|_| case.prompt_tokens() > 0) {
                push(Phase::Prefill, case.prompt_tokens(), ttft.median.0);
            }
            if let Some(tpot) = row.metrics.tpot.filter(|_| case.generates()) {
                push(Phase::Decode, case.gen_tokens(), tpot.median.0);
            }
        }
    }
    all
}

/// Measured times by CPU model and by what was run.
pub struct Sizes<'a>(HashMap<(Arc<str>, Arc<str>), Vec<&'a CpuObservation>>);

impl<'a> Sizes<'a> {
    /// Of these measurements.
    pub fn new(observations: &'a [CpuObservation]) -> Self {
        let mut by: HashMap<(Arc<str>, Arc<str>), Vec<&CpuObservation>> = HashMap::new();
        for observation in observations {
            by.entry((observation.cpu.clone(), observation.what.clone())).or_default().push(observation);
        }
        Self(by)
    }

    /// Whether a name says which CPU it is: some hypervisors call every one of them `CPU`.
    pub fn is_named(cpu: &str) -> bool {
        !matches!(cpu.trim(), "" | "CPU")
    }

    /// The time of the same work on an instance of the same CPU that was not measured itself: the median of those that
    /// were, nearer sizes and the same family counting more. `None` where no size is near enough, or the CPU has no name.
    pub fn at(&self, target: &CpuObservation) -> Option<f64> {
        if !Self::is_named(&target.cpu) {
            return None;
        }
        nearest_median(self.0.get(&(target.cpu.clone(), target.what.clone()))?.iter().copied(), target)
    }
}

/// The median of measurements of the same work on the same CPU, each weighted by its nearness to a target.
pub fn nearest_median<'a>(known: impl Iterator<Item = &'a CpuObservation>, target: &CpuObservation) -> Option<f64> {
    let mut weighted: Vec<(f64, f64)> = known
        .filter(|other| (&other.provider, &other.instance) != (&target.provider, &target.instance))
        .filter_map(|other| {
            let ratio = (other.threads / target.threads).ln().abs();
            if ratio > MOST_RATIO.ln() + 1e-9 {
                return None;
            }
            let mut distance = ratio / SIZE_SCALE;
            if other.provider != target.provider {
                distance += OTHER_PROVIDER;
            }
            if (&other.provider, family(&other.instance)) != (&target.provider, family(&target.instance)) {
                distance += OTHER_FAMILY;
            }
            Some((other.seconds, (-distance).exp()))
        })
        .collect();
    weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = weighted.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    weighted
        .iter()
        .find(|(_, weight)| {
            sum += weight;
            sum >= half
        })
        .map(|(seconds, _)| *seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(instance: &str, threads: f64, seconds: f64) -> CpuObservation {
        CpuObservation {
            what: "decode".into(),
            cpu: "AMD EPYC 9R14".into(),
            provider: "aws".into(),
            instance: instance.into(),
            threads,
            phase: Phase::Decode,
            tokens: 128,
            seconds,
        }
    }

    #[test]
    fn the_same_family_and_the_nearest_size_count_most() {
        let known = [on("c7a.2xlarge", 8.0, 0.050), on("m7a.2xlarge", 8.0, 0.055), on("c7a.4xlarge", 16.0, 0.030)];
        let sizes = Sizes::new(&known);
        assert_eq!(sizes.at(&on("c7a.metal", 8.0, 0.0)), Some(0.050));
        assert_eq!(sizes.at(&on("c7a.8xlarge", 32.0, 0.0)), Some(0.030));
        assert_eq!(sizes.at(&on("c7a.48xlarge", 192.0, 0.0)), None, "no size is near");
        assert_eq!(sizes.at(&CpuObservation { cpu: "another".into(), ..on("c7i.2xlarge", 8.0, 0.0) }), None);
        assert_eq!((family("c7a.2xlarge"), family("c3d-standard-8")), ("c7a".into(), "c3d-standard".into()));
        assert_eq!(family("Standard_D4as_v5"), "Standard_Das_v5");
    }
}
