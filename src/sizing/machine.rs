//! The machines that were measured: whether their runs can stand together, where they are bought, and what speaks against
//! that.

use super::fit;
use super::points::Point;
use super::request::RankRequest;
use crate::catalog::{Catalog, Offer};
use crate::record::comparable::obstacle;
use crate::record::{Basis, Run};
use crate::units::Usd;
use crate::workload::Case;

/// Engines and models are not mixed in one ranking.
pub(super) fn same_engine_and_model(first: &Run, others: &[&Run]) -> Result<(), String> {
    let of = |run: &Run| (run.record.engine.name.clone(), run.record.model.as_ref().map(|m| m.name.clone()));
    for other in others {
        if let Some(why) = obstacle(&first.record, &other.record) {
            return Err(format!("{}, {}: {why}; rank them apart", first.path.display(), other.path.display()));
        }
    }
    match others.iter().find(|run| of(run) != of(first)) {
        None => Ok(()),
        Some(other) => {
            let words = |run: &Run| {
                let (engine, model) = of(run);
                format!("{} is {} on {engine}", run.path.display(), model.unwrap_or("no model".into()))
            };
            Err(format!("{}, {}: rank them apart", words(first), words(other)))
        }
    }
}

/// Where the measured machine is bought: what the user said, or what was recognised.
pub(super) fn instance_of(run: &Run, request: &RankRequest) -> Option<(String, String)> {
    let known = &run.record.environment.instance;
    let recognised = || Some((known.provider.clone()?, known.instance_type.clone()?));
    request.machine.instance.clone().or_else(recognised)
}

/// What the user gives for a price of the measured machine. A type that is named now outweighs a price that was given
/// then.
pub(super) fn hourly_of(run: &Run, request: &RankRequest) -> Option<Usd> {
    let recorded = run.record.environment.instance.usd_per_hour.map(Usd);
    request.machine.usd_per_h.or(recorded.filter(|_| request.machine.instance.is_none()))
}

/// What speaks against the measured machine being of the type that it is priced as.
pub(super) fn mismatch(run: &Run, offer: &Offer) -> Vec<String> {
    // Another tool's file says how many threads the engine used, not how many the machine has.
    let is_elsewhere = run.record.engine.device == "endpoint";
    if run.record.basis == Basis::Imported || is_elsewhere {
        return Vec::new();
    }
    let threads = run.record.environment.cpu.threads as f64;
    let size = offer.shape.vcpus.filter(|vcpus| *vcpus != threads);
    let size = size.map(|vcpus| format!("the machine has {threads} CPU threads, {} has {vcpus}", offer.name()));
    let on_cpu = run.record.engine.device == "cpu";
    let unused = offer.shape.accelerator.as_ref().filter(|_| on_cpu);
    let unused = unused.map(|card| format!("the run did not use the {card} that is paid for"));
    let several = Some(offer.shape.accelerator_count).filter(|count| !on_cpu && *count > 1.0);
    let several =
        several.map(|count| format!("one card was measured; that {count} run side by side as fast is assumed"));
    size.into_iter().chain(unused).chain(several).collect()
}

/// Why lengths that another tool did not run on its card would not fit it.
pub(super) fn too_large(run: &Run, catalog: &Catalog, point: &Point) -> Option<String> {
    let (model, card) = (run.record.model.as_ref()?, catalog.accelerator_of_run(&run.record)?);
    let memory = card.memory()? * run.record.accelerators.max(1) as f64;
    let longest = Case { prompt_tokens: point.longest.saturating_sub(point.case.gen_tokens), ..point.case };
    let needed = fit::needed(&model.shape, &longest, 2, fit::GPU_RESERVE);
    (run.record.basis == Basis::Imported && needed.0 > memory.0)
        .then(|| format!("does not fit: {needed} with the reserve, {memory} in {}", card.name))
}
