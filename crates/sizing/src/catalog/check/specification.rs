//! Accelerators against what is possible: rates that are those of sparse products, bandwidth above that of the bus.

use crate::catalog::finding::Finding;
use crate::catalog::tables::Tables;

/// Rates of half the width over rates of the whole one, where both are dense. Twice is usual; sparse rates make it four.
const HALVED: std::ops::RangeInclusive<f64> = 0.9..=2.6;
/// Rates of equal width over each other.
const SAME: std::ops::RangeInclusive<f64> = 0.9..=1.1;

pub(super) fn check(prefix: &str, tables: &Tables) -> Vec<Finding> {
    let file = format!("{prefix}accelerators.csv");
    let mut findings = Vec::new();
    for row in &tables.accelerators {
        let card = &row.value;
        let at = (file.as_str(), row.line);
        let mut say = |kind: &'static str, message: String, remedy: &str| {
            findings.push(Finding::error(kind, at, format!("{}: {message}", card.id), remedy));
        };
        if card.source.is_empty() {
            say("no_source", "has no source".to_string(), "say where its figures are from");
        }
        let over = |halved: Option<f64>, whole: Option<f64>| halved.zip(whole).map(|(h, w)| h / w);
        let conflict = card.flags.split(';').any(|flag| flag == "conflict");
        for (names, ratio, usual) in [
            ("fp8 to fp16", over(card.fp8_tflops, card.fp16_tflops), &HALVED),
            ("fp16 to bf16", over(card.fp16_tflops, card.bf16_tflops), &SAME),
        ] {
            if let Some(ratio) = ratio.filter(|r| !usual.contains(r) && !conflict) {
                let message = format!("{names} is {ratio:.2}: one of the two is not a dense rate");
                say("sparse_rate", message, "halve the sparse rate, or flag the row `conflict`");
            }
        }
        let bus = card.memory_bus_bits.zip(card.memory_gbit_per_s_per_pin).map(|(bits, rate)| bits * rate / 8.0);
        if let (Some(bus), Some(bandwidth)) = (bus, card.memory_bandwidth_gb_per_s)
            && bandwidth > bus * 1.01
        {
            let message = format!("bandwidth of {bandwidth} GB/s, but its bus moves {bus:.0}");
            say("bandwidth_above_bus", message, "correct bandwidth, width or rate");
        }
    }
    findings
}
