//! Measured sizes of a CPU generation, for types of it that were not measured.

use super::project::Times;
use super::projection::sizes::{CpuObservation, cpu_observations_by, nearest_median, what};
use super::projection::terms::Phase;
use crate::catalog::{Catalog, Shape};
use crate::record::Run;
use crate::units::interval::Interval;
use crate::workload::Case;
use std::collections::HashMap;
use std::sync::Arc;

/// Nine tenths of the instances of public measurements were within this factor of what others of their CPU model say
/// (SpareCores sc-inspector-data, llama.cpp; docs/results/2026-11-24-projection.md#cpus).
const FACTOR: f64 = 1.28;

/// Measurements on CPUs by their ids in the catalog.
#[derive(Debug, Default)]
pub struct CpuSizes {
    by_work: HashMap<(Arc<str>, Arc<str>), Vec<CpuObservation>>,
    /// Engine threads for each vCPU, by CPU: the median of the instances that the catalog knows.
    threads_per_vcpu: HashMap<Arc<str>, f64>,
}

impl CpuSizes {
    /// From runs; fewer than two say nothing of sizes.
    pub fn new(runs: &[&Run], catalog: &Catalog) -> Self {
        if runs.iter().filter(|run| run.record.engine.device == "cpu").count() < 2 {
            return Self::default();
        }
        let observations = cpu_observations_by(runs, |cpu| catalog.cpu_of(cpu).map(|cpu| cpu.id.clone()));
        let shapes: HashMap<(&str, &str), f64> = catalog
            .offers
            .iter()
            .filter_map(|offer| Some(((&*offer.shape.provider, &*offer.shape.instance_type), offer.shape.vcpus?)))
            .collect();
        let mut ratios: HashMap<Arc<str>, Vec<f64>> = HashMap::new();
        for observation in &observations {
            if let Some(vcpus) = shapes.get(&(&*observation.provider, &*observation.instance)) {
                ratios.entry(observation.cpu.clone()).or_default().push(observation.threads / vcpus);
            }
        }
        let median = |mut ratios: Vec<f64>| {
            ratios.sort_by(f64::total_cmp);
            ratios[ratios.len() / 2]
        };
        let mut by_work: HashMap<(Arc<str>, Arc<str>), Vec<CpuObservation>> = HashMap::new();
        for observation in observations {
            by_work.entry((observation.cpu.clone(), observation.what.clone())).or_default().push(observation);
        }
        Self { by_work, threads_per_vcpu: ratios.into_iter().map(|(cpu, all)| (cpu, median(all))).collect() }
    }

    /// Times of a case on a type of the same CPU, from others of it; `None` where none near enough was measured.
    pub fn times(&self, engine: &str, model: &str, case: &Case, shape: &Shape) -> Option<Times> {
        let cpu = shape.cpu.as_ref()?;
        let threads = shape.vcpus? * self.threads_per_vcpu.get(cpu)?;
        let time = |phase: Phase| {
            let target = CpuObservation {
                what: what(engine, model, case, phase).into(),
                cpu: cpu.clone(),
                provider: shape.provider.clone(),
                instance: shape.instance_type.clone(),
                threads,
                phase,
                tokens: 0,
                seconds: 0.0,
            };
            let known = self.by_work.get(&(target.cpu.clone(), target.what.clone()))?;
            let seconds = nearest_median(known.iter(), &target)?;
            Some(Interval::new(seconds, seconds / FACTOR, seconds * FACTOR))
        };
        Some(Times { ttft: time(Phase::Prefill)?, tpot: time(Phase::Decode)? })
    }
}
