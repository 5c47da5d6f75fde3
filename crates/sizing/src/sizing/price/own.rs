//! Hardware of one's own as something that can be ranked.

use super::cost::carbon::{embodied_g, operation_g};
use super::cost::own::Own;
use super::pricing::SizedOffer;
use crate::catalog::shape::CountUnit;
use crate::catalog::{Catalog, Market, Shape};
use crate::data_file::{bounded, parse_toml};
use crate::record::Run;
use crate::units::Bytes;
use crate::units::interval::Interval;
use std::path::Path;

/// Reads a file such as instance-catalog/own/8xh100.toml.
pub fn read(path: &Path) -> Result<Own, String> {
    let name = path.display().to_string();
    let text = bounded::text(path, bounded::MOST_TEXT).map_err(|e| format!("{name}: {e}"))?;
    let own: Own = parse_toml(&name, &text).map_err(|e| e.to_string())?;
    match own.fault() {
        None => Ok(own),
        Some(fault) => Err(format!("{name}: {fault}")),
    }
}

/// What it is made of.
pub fn shape(own: &Own) -> Shape {
    Shape {
        provider: "own".into(),
        instance_type: own.name.as_str().into(),
        accelerator: own.accelerator.as_deref().map(Into::into),
        accelerator_count: own.accelerator_count.unwrap_or(0.0),
        count_unit: CountUnit::Device,
        cpu: own.cpu.as_deref().map(Into::into),
        vcpus: own.vcpus,
        memory: own.memory_gib.map(|gib| Bytes(gib * 1024f64.powi(3))),
        arch: "".into(),
        local_disk: None,
        flags: Vec::new(),
    }
}

/// The same with the power that a run measured on such hardware, where the file gives none: the cards' (or the CPU's) own,
/// with what the file says of the rest of the machine. The error says what is missing.
pub fn with_measured_power(own: &Own, run: &Run, catalog: &Catalog) -> Result<Own, String> {
    if own.active_w.is_some() {
        return Ok(own.clone());
    }
    let measured = match &own.accelerator {
        Some(id) => catalog.accelerator_of_run(&run.record).filter(|card| card.id == *id).map(|card| card.id.clone()),
        None => catalog
            .cpu_of(&run.record.environment.cpu)
            .map(|cpu| cpu.id.clone())
            .filter(|id| own.cpu.as_ref() == Some(id)),
    };
    let powers: Vec<f64> = run.cases.iter().filter_map(|row| Some(row.metrics.power?.value.0)).collect();
    if measured.is_none() || powers.is_empty() {
        return Err("its power is not known: give active_w, or a run on this hardware with a power meter".to_string());
    }
    let count = own.accelerator_count.unwrap_or(1.0);
    let rest = own.host_w.unwrap_or(0.0);
    let active = powers.iter().sum::<f64>() / powers.len() as f64 * count + rest;
    let idle = run.record.power.waiting().map(|waiting| (waiting.0 * count + rest).min(active));
    Ok(Own { active_w: Some(active), idle_w: own.idle_w.or(idle), ..own.clone() })
}

/// Carbon of a thousand requests: of the machine's electricity while it works on them and while it waits, and of making it.
pub fn carbon(own: &Own, sized: &SizedOffer) -> Option<Interval> {
    let active_w = own.active_w?;
    let idle_w = own.idle_w.unwrap_or(active_w);
    let [value, one, other] =
        sized.hours(Some(Market::OnPrem)).map(|hours| 3600.0 * (hours.busy * active_w + hours.idle * idle_w));
    let operation = operation_g(Interval::new(value, one, other).map(|j| j * 1e3), own.pue, own.g_co2e_per_kwh?);
    let utilisation = sized.fleet(Some(Market::OnPrem)).utilisation;
    let embodied =
        own.embodied_kg_co2e.map_or(0.0, |kg| 1e3 * embodied_g(kg, own.life_years, sized.rate.value, utilisation));
    Some(operation.map(|g| g + embodied))
}
