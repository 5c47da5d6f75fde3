//! Shapes and prices become offers.

use super::finding::Finding;
use super::offer::{Offer, Shape};
use super::price::PriceRow;
use super::shape::{CountUnit, ShapeRow};
use super::tables::Tables;
use crate::units::{Bytes, Usd};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// Texts that many rows share, each held once.
#[derive(Default)]
struct TextInterner(HashSet<Arc<str>>);

impl TextInterner {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }

    fn some(&mut self, text: &str) -> Option<Arc<str>> {
        (!text.is_empty()).then(|| self.get(text))
    }

    fn flags(&mut self, text: &str) -> Vec<Arc<str>> {
        text.split(';').filter(|f| !f.is_empty()).map(|f| self.get(f)).collect()
    }
}

/// Every price with its shape, in the order of the files; rows that refer to nothing are findings.
pub(super) fn offers(prefix: &str, tables: &Tables, findings: &mut Vec<Finding>) -> Vec<Offer> {
    let mut texts = TextInterner::default();
    let known = KnownIds::of(tables);
    let mut offers = Vec::with_capacity(tables.prices.values().map(Vec::len).sum());
    for (provider, rows) in &tables.shapes {
        if !known.providers.contains(provider.as_str()) {
            let file = format!("{prefix}shapes/{provider}.csv");
            let message = format!("provider `{provider}` is not in providers.csv");
            findings.push(Finding::error("unknown_provider", (&file, 0), message, "add it there"));
        }
        let file = format!("{prefix}shapes/{provider}.csv");
        for row in rows {
            known.check_shape((&file, row.line), &row.value, findings);
        }
    }
    for (provider, rows) in &tables.prices {
        let file = format!("{prefix}prices/{provider}.csv");
        let shapes: HashMap<&str, Arc<Shape>> = tables
            .shapes
            .get(provider)
            .into_iter()
            .flatten()
            .map(|row| (row.value.instance_type.as_str(), Arc::new(shape(provider, &row.value, &mut texts))))
            .collect();
        for row in rows {
            let name = row.value.instance_type.as_str();
            let Some(shape) = shapes.get(name) else {
                let remedy = format!("add `{name}` to shapes/{provider}.csv");
                let message = format!("there is no shape of `{name}`");
                findings.push(Finding::error("no_shape", (&file, row.line), message, remedy));
                continue;
            };
            if !known.sources.contains(row.value.source.as_str()) {
                findings.push(known.unknown_source((&file, row.line), &row.value.source));
            }
            offers.push(offer(shape.clone(), &row.value, &mut texts));
        }
    }
    offers
}

/// The ids that rows may refer to.
struct KnownIds<'a> {
    accelerators: HashSet<&'a str>,
    cpus: HashSet<&'a str>,
    providers: HashSet<&'a str>,
    sources: HashSet<&'a str>,
}

impl<'a> KnownIds<'a> {
    fn of(tables: &'a Tables) -> Self {
        Self {
            accelerators: tables.accelerators.iter().map(|row| row.value.id.as_str()).collect(),
            cpus: tables.cpus.iter().map(|row| row.value.id.as_str()).collect(),
            providers: tables.providers.iter().map(|row| row.value.provider.as_str()).collect(),
            sources: tables.sources.iter().map(|row| row.value.id.as_str()).collect(),
        }
    }

    fn unknown_source(&self, at: (&str, usize), source: &str) -> Finding {
        Finding::error("unknown_source", at, format!("source `{source}` is not in sources.csv"), "add it there")
    }

    fn check_shape(&self, at: (&str, usize), shape: &ShapeRow, findings: &mut Vec<Finding>) {
        let any_of_several = shape.flags.split(';').any(|flag| flag == "any_of_several_gpus");
        if !shape.accelerator.is_empty() && !any_of_several && !self.accelerators.contains(shape.accelerator.as_str()) {
            findings.push(Finding::warning(
                "unknown_accelerator",
                at,
                format!("accelerator `{}` is not in accelerators.csv: it is listed, not ranked", shape.accelerator),
                "add it there, or its name to the aliases of the one that it is",
            ));
        }
        if !shape.cpu.is_empty() && !self.cpus.contains(shape.cpu.as_str()) {
            let message = format!("cpu `{}` is not in cpus.csv", shape.cpu);
            findings.push(Finding::error("unknown_cpu", at, message, "add it there, or correct the id"));
        }
        if !self.sources.contains(shape.source.as_str()) {
            findings.push(self.unknown_source(at, &shape.source));
        }
    }
}

fn shape(provider: &str, row: &ShapeRow, texts: &mut TextInterner) -> Shape {
    Shape {
        provider: texts.get(provider),
        instance_type: texts.get(&row.instance_type),
        accelerator: texts.some(&row.accelerator),
        accelerator_count: row.accelerator_count.unwrap_or(0.0),
        count_unit: row.count_unit.unwrap_or(CountUnit::Device),
        cpu: texts.some(&row.cpu),
        vcpus: row.vcpus,
        memory: row.memory_gib.map(|gib| Bytes(gib * GIB)),
        arch: texts.get(&row.arch),
        local_disk: row.local_disk_gib.map(|gib| Bytes(gib * GIB)),
        flags: texts.flags(&row.flags),
    }
}

fn offer(shape: Arc<Shape>, row: &PriceRow, texts: &mut TextInterner) -> Offer {
    Offer {
        shape,
        region: texts.get(&row.region),
        zone: texts.some(&row.zone),
        market: row.market,
        price: row.usd.map(Usd),
        unit: row.unit,
        billing_increment_s: row.billing_increment_s,
        min_charge_s: row.min_charge_s,
        observed_at: row.observed_at,
        source: texts.get(&row.source),
        interruption: row.interruption_band,
        flags: texts.flags(&row.flags),
    }
}
