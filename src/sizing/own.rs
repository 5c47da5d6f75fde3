//! Hardware of one's own as something that can be ranked.

use super::cost::carbon::{embodied_g, operation_g};
use super::cost::own::Own;
use super::interval::Interval;
use super::pricing::Placed;
use crate::catalog::Shape;
use crate::catalog::shape::CountUnit;
use crate::data_file::parse_toml;
use crate::units::Bytes;
use std::path::Path;

/// Reads a file such as instance-catalog/own/8xh100.toml.
pub fn read(path: &Path) -> Result<Own, String> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
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

/// Carbon of a thousand requests: of electricity by the energy of a token (else by the machine's active power), and of
/// making it.
pub(super) fn carbon(own: &Own, placed: &Placed, joules: Option<Interval>, gen_tokens: f64) -> Option<Interval> {
    let per_request = match joules {
        Some(joules) => joules.map(|j| j * gen_tokens),
        None => placed.rate.under(own.active_w),
    };
    let operation = operation_g(per_request.map(|j| j * 1e3), own.pue, own.g_co2e_per_kwh?);
    let embodied = own
        .embodied_kg_co2e
        .map_or(0.0, |kg| 1e3 * embodied_g(kg, own.life_years, placed.rate.value, placed.fleet.utilisation));
    Some(operation.map(|g| g + embodied))
}
