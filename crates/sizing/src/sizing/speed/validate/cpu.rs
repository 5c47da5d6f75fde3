//! Errors on CPU instances: within one CPU model, and what is refused across them.

use super::errors::quantile;
use crate::record::Run;
use crate::sizing::speed::projection::sizes::{CpuObservation, Sizes, cpu_observations};
use crate::sizing::speed::projection::terms::Phase;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the headline is of, as of cards.
const GENERATED: usize = 128;
const PROMPT: usize = 512;

/// Errors as fractions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CpuErrors {
    /// Decode times that were projected.
    pub decode_cases: usize,
    /// Median of their errors.
    pub decode_median: Option<f64>,
    /// The 90th percentile.
    pub decode_p90: Option<f64>,
    /// Prefills that were projected.
    pub prefill_cases: usize,
    /// Median of their errors.
    pub prefill_median: Option<f64>,
    /// The 90th percentile.
    pub prefill_p90: Option<f64>,
    /// Both together.
    pub median: Option<f64>,
    /// Measurements whose CPU model was not measured at any other size: nothing is said.
    pub refused_other_model: usize,
    /// Measurements whose machine does not name its CPU.
    pub refused_unnamed: usize,
    /// Measurements whose CPU model was measured at sizes that are too far only.
    pub refused_too_far: usize,
}

pub(super) fn leave_one_out(runs: &[&Run]) -> Option<CpuErrors> {
    let all = cpu_observations(runs);
    errors(&all, &all)
}

pub(super) fn fixed_split(train: &[&Run], test: &[&Run]) -> Option<CpuErrors> {
    errors(&cpu_observations(train), &cpu_observations(test))
}

fn errors(known: &[CpuObservation], asked: &[CpuObservation]) -> Option<CpuErrors> {
    let headline = |o: &&CpuObservation| match o.phase {
        Phase::Decode => o.tokens == GENERATED,
        _ => o.tokens == PROMPT,
    };
    let asked: Vec<&CpuObservation> = asked.iter().filter(headline).collect();
    if asked.is_empty() {
        return None;
    }
    let measured: BTreeSet<(&Arc<str>, &Arc<str>, &Arc<str>)> =
        known.iter().map(|o| (&o.cpu, &o.provider, &o.instance)).collect();
    let elsewhere = |o: &CpuObservation| {
        measured
            .iter()
            .any(|(cpu, provider, instance)| **cpu == o.cpu && (*provider, *instance) != (&o.provider, &o.instance))
    };
    let sizes = Sizes::new(known);
    let (mut decode, mut prefill) = (Vec::new(), Vec::new());
    let (mut other_model, mut too_far, mut unnamed) = (0, 0, 0);
    for observation in asked {
        let Some(projected) = sizes.at(observation) else {
            match (Sizes::is_named(&observation.cpu), elsewhere(observation)) {
                (false, _) => unnamed += 1,
                (true, true) => too_far += 1,
                (true, false) => other_model += 1,
            }
            continue;
        };
        let error = (projected / observation.seconds - 1.0).abs();
        if observation.phase == Phase::Decode { &mut decode } else { &mut prefill }.push(error);
    }
    let both: Vec<f64> = decode.iter().chain(&prefill).copied().collect();
    Some(CpuErrors {
        decode_cases: decode.len(),
        decode_median: quantile(&decode, 0.5),
        decode_p90: quantile(&decode, 0.9),
        prefill_cases: prefill.len(),
        prefill_median: quantile(&prefill, 0.5),
        prefill_p90: quantile(&prefill, 0.9),
        median: quantile(&both, 0.5),
        refused_other_model: other_model,
        refused_unnamed: unnamed,
        refused_too_far: too_far,
    })
}
