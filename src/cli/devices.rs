//! `sizewell devices`.

use super::catalog::load_catalog;
use super::{Exit, output};
use crate::catalog::{Accelerator, Catalog};
use crate::device::{DeviceId, inventory};
use crate::power;
use crate::report::table::{DASH, Table};
use crate::units::Quantity;
use std::collections::BTreeMap;
use std::path::Path;

/// Arguments of `devices`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists the devices, the power meter and the instance.
pub(crate) fn run(args: Args) -> anyhow::Result<Exit> {
    let devices = inventory::devices();
    let environment = inventory::environment(Vec::new(), crate::device::cpu::default_threads(), None);
    let (_, power) = power::open(Path::new("/"), DeviceId::Cpu);
    if args.json {
        let sheets = data_sheets(&devices)?;
        output::json(&serde_json::json!({
            "devices": devices, "environment": environment, "power": power, "data_sheets": sheets
        }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new("Devices", &["device", "name", ">memory", "usable", "remark"]);
    for device in devices {
        table.push(vec![
            device.id,
            device.name,
            device.memory_bytes.map_or(DASH.to_string(), Quantity::human),
            if device.usable { "yes" } else { "no" }.to_string(),
            device.remark.unwrap_or(DASH.to_string()),
        ]);
    }
    let cpu = &environment.cpu;
    table.notes = vec![
        format!("instruction sets: {}", cpu.features.join(" ")),
        format!(
            "caches: {}; hypervisor: {}",
            cpu.caches_bytes.iter().map(|c| c.human()).collect::<Vec<_>>().join(", "),
            cpu.hypervisor.as_deref().unwrap_or("none")
        ),
        format!("power: {}", power.reason.unwrap_or_else(|| format!("{} ({})", power.source, power.zones.join(", ")))),
        format!(
            "instance: {}",
            match (&environment.instance.provider, &environment.instance.instance_type) {
                (Some(provider), Some(name)) => format!("{provider}:{name}"),
                _ => environment.instance.known_from.clone(),
            }
        ),
    ];
    if let Some(limits) = &environment.limits {
        table.notes.push(format!("limits: {}; {} threads by default", limits.in_words(), cpu.engine_threads));
    }
    output::table(&table)?;
    Ok(Exit::Done)
}

/// Whether an id is that of a card.
fn is_card(id: &str) -> bool {
    id.parse::<DeviceId>().is_ok_and(|device| device.card().is_some())
}

/// What the catalog says of each card that it knows, by the card's id.
fn data_sheets(devices: &[inventory::DeviceEntry]) -> anyhow::Result<BTreeMap<String, Accelerator>> {
    let cards: Vec<_> = devices.iter().filter(|device| is_card(&device.id)).collect();
    if cards.is_empty() {
        return Ok(BTreeMap::new());
    }
    // What a device is does not hang on prices that somebody has fetched: where those are broken, `rank` says so.
    let catalog = load_catalog(None).or_else(|_| Catalog::embedded())?;
    let sheet = |device: &inventory::DeviceEntry| {
        let gib = device.memory_bytes.map(|bytes| bytes.0 / 1024f64.powi(3));
        Some((device.id.clone(), catalog.accelerator_named(&device.name, gib)?.clone()))
    };
    Ok(cards.into_iter().filter_map(sheet).collect())
}
