//! The machines that were measured: whether their runs can stand together, where they are bought, and what speaks against
//! that.

use super::request::RankRequest;
use crate::catalog::{Catalog, Offer};
use crate::record::comparable::obstacle;
use crate::record::{Basis, Run};
use crate::sizing::speed::exclusion::ExclusionReason;
use crate::sizing::speed::fit;
use crate::sizing::speed::points::Point;
use crate::sizing::speed::project::Measured;
use crate::sizing::speed::project::Refusal;
use crate::sizing::speed::projection::Card;
use crate::units::{Usd, digits_plain};
use std::sync::Arc;

/// Engines and models are not mixed in one ranking.
pub(super) fn same_engine_and_model(first: &Run, others: &[&Run]) -> Result<(), String> {
    let of = |run: &Run| (run.record.engine.identity().to_string(), run.record.model.as_ref().map(|m| m.name.clone()));
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

/// The machine of a run, as the catalog knows it.
pub(super) fn measured(run: &Run, catalog: &Catalog, request: &RankRequest) -> Measured {
    let instance = instance_of(run, request);
    let vcpus = instance.and_then(|(provider, name)| offers_of(catalog, &provider, &name).find_map(|o| o.shape.vcpus));
    let card = catalog.accelerator_of_run(&run.record).and_then(|card| Card::of(card).ok()).map(Arc::new);
    Measured { vcpus, card }
}

fn offers_of<'c>(catalog: &'c Catalog, provider: &str, name: &str) -> impl Iterator<Item = &'c Offer> + use<'c> {
    let (provider, name) = (provider.to_string(), name.to_string());
    catalog.offers.iter().filter(move |offer| *offer.shape.provider == *provider && *offer.shape.instance_type == *name)
}

/// What tells one kind of machine from another, whatever ran on it.
fn kind(run: &Run) -> impl PartialEq + '_ {
    let environment = &run.record.environment;
    let cpu = (&environment.cpu.model, environment.cpu.threads);
    (cpu, &environment.instance.instance_type, &run.record.engine.hardware, run.record.accelerators)
}

/// Whether what the user says of the measured machine can be true of it: it is one machine, and it has what was measured.
/// The error says what it contradicts.
pub(super) fn check(runs: &[&Run], catalog: &Catalog, request: &RankRequest) -> Result<(), String> {
    let [first, others @ ..] = runs else { return Ok(()) };
    let said =
        [request.machine.instance.as_ref().map(|_| "--as"), request.machine.usd_per_h.map(|_| "--price-per-hour")];
    let Some(flag) = said.into_iter().flatten().next() else { return Ok(()) };
    if let Some(other) = others.iter().find(|other| kind(other) != kind(first)) {
        return Err(format!(
            "{flag} says what one machine is, and the folders hold several ({}, {}): `sizewell import` and `sizewell \
             profile` take --as for each, or rank them apart",
            name_of(first),
            name_of(other)
        ));
    }
    let Some((provider, name)) = &request.machine.instance else { return Ok(()) };
    let Some(offer) = offers_of(catalog, provider, name).next() else { return Ok(()) };
    runs.iter().find_map(|run| contradiction(run, offer, catalog)).map_or(Ok(()), Err)
}

/// What a run was on, in words.
fn name_of(run: &Run) -> String {
    let environment = &run.record.environment;
    let cpu = Some(&environment.cpu.model).filter(|cpu| !cpu.is_empty());
    let named = run.record.engine.hardware.as_ref().or(cpu).cloned().unwrap_or("hardware without a name".into());
    match run.record.accelerators {
        0 | 1 => named,
        count => format!("{count}x {named}"),
    }
}

/// What runs the model, for a row: with the settings in which it differs from another system on the same hardware.
pub(super) fn row_name(run: &Run, all: &[&Run]) -> String {
    let hardware = |run: &Run| run.record.engine.hardware.clone().unwrap_or(run.record.environment.cpu.model.clone());
    let settings = &run.record.engine.settings;
    let differs = |key: &str| {
        let alike = all.iter().filter(|other| hardware(other) == hardware(run));
        alike.into_iter().any(|other| other.record.engine.settings.get(key) != settings.get(key))
    };
    let told: Vec<&str> = settings.iter().filter(|(key, _)| differs(key)).map(|(_, value)| value.as_str()).collect();
    if told.is_empty() { hardware(run) } else { format!("{} ({})", hardware(run), told.join(", ")) }
}

/// Why a run cannot have been on a type.
fn contradiction(run: &Run, offer: &Offer, catalog: &Catalog) -> Option<String> {
    let record = &run.record;
    let (name, shape) = (offer.name(), &offer.shape);
    if record.engine.device == "endpoint" {
        return None;
    }
    if record.engine.device == "cpu" {
        if let Some(why) = held(run, offer) {
            return Some(format!("--as: {why}: the price of the whole is not that of what was measured"));
        }
        let measured = catalog.cpu_of(&record.environment.cpu)?;
        let known = shape.cpu.as_deref().filter(|cpu| **cpu != *measured.id)?;
        return Some(format!("--as: the run was on a {}, and {name} has a {known}", record.environment.cpu.model));
    }
    let has = |what: &str| Some(format!("--as: the run was on {}, and {name} has {what}", name_of(run)));
    let Some(card) = &shape.accelerator else { return has("no accelerator") };
    if record.accelerators as f64 > shape.accelerator_count.max(1.0) {
        return has(&format!("{} {card}", shape.accelerator_count));
    }
    let measured = catalog.accelerator_of_run(record)?;
    (**card != *measured.id).then(|| has(card)).flatten()
}

/// That a quota of CPU time held a run to fewer CPUs than a type has.
fn held(run: &Run, offer: &Offer) -> Option<String> {
    let usable = run.record.environment.usable_cpus();
    let limits = run.record.environment.limits.as_ref()?;
    let quota = limits.cpu_quota.filter(|quota| run.record.engine.device == "cpu" && *quota <= usable)?;
    let vcpus = offer.shape.vcpus.filter(|vcpus| *vcpus > usable)?;
    Some(format!("a quota held the run to {} CPUs, and {} has {vcpus}", digits_plain(quota), offer.name()))
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
    let recorded = &run.record.environment.instance;
    let other = recorded.instance_type.as_ref().filter(|name| **name != *offer.shape.instance_type);
    if let Some(name) = other {
        return vec![format!("the record says that the machine is {name}")];
    }
    // Another tool's file says how many threads the engine used, not how many the machine has.
    let is_elsewhere = run.record.engine.device == "endpoint";
    if run.record.basis == Basis::Imported || is_elsewhere {
        return Vec::new();
    }
    let threads = run.record.environment.cpu.threads as f64;
    let held = held(run, offer);
    // What a quota leaves of a larger machine is what is compared.
    let threads = if held.is_none() { run.record.environment.usable_cpus().min(threads) } else { threads };
    let size = offer.shape.vcpus.filter(|vcpus| *vcpus != threads && held.is_none());
    let size = size.map(|vcpus| format!("the machine has {threads} CPU threads, {} has {vcpus}", offer.name()));
    let on_cpu = run.record.engine.device == "cpu";
    let unused = offer.shape.accelerator.as_ref().filter(|_| on_cpu);
    let unused = unused.map(|card| format!("the run did not use the {card} that is paid for"));
    let several = Some(offer.shape.accelerator_count).filter(|count| !on_cpu && *count > 1.0);
    let several =
        several.map(|count| format!("one card was measured; that {count} run side by side as fast is assumed"));
    held.into_iter().chain(size).chain(unused).chain(several).collect()
}

/// Why lengths that another tool did not run on its card would not fit it.
pub(super) fn too_large(run: &Run, catalog: &Catalog, point: &Point) -> Option<ExclusionReason> {
    let (model, card) = (run.record.model.as_ref()?, catalog.accelerator_of_run(&run.record)?);
    let memory = card.memory()? * run.record.accelerators.max(1) as f64;
    let longest = point.case.with_context(point.longest);
    let needed = fit::needed(&model.shape, &longest, fit::GPU_RESERVE);
    let refusal = Refusal::DoesNotFit { needed, memory, place: &card.name };
    (run.record.basis == Basis::Imported && needed.0 > memory.0).then(|| refusal.into())
}
