//! The table of accelerators against public measurements (beside the project, where they are): nothing measured is faster
//! than a dense peak or a bus, and no card is allowed more power than its table says.

use crate::support;
use sizewell::catalog::alias::{Aliases, Match};
use sizewell::catalog::{Accelerator, Catalog};
use std::collections::BTreeMap;
use std::io::Read;

/// The rows of an evidence file; `None` where there is none.
fn evidence(name: &str) -> Option<Vec<BTreeMap<String, String>>> {
    let path = support::shared()?.join("data/evidence").join(name);
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    Some(reader.deserialize().map(|row| row.unwrap()).collect())
}

fn number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn find<'a>(
    catalog: &'a Catalog,
    aliases: &Aliases<'_>,
    name: &str,
    memory_gib: Option<f64>,
) -> Option<&'a Accelerator> {
    match aliases.resolve(name, memory_gib, name) {
        Match::Known(id) | Match::Assumed(id) => catalog.accelerators.get(&id),
        Match::Unknown => None,
    }
}

#[test]
fn no_product_is_faster_than_the_dense_peak() {
    let Some(rows) = evidence("aic_gemm.csv.gz") else { return };
    let catalog = Catalog::embedded().unwrap();
    let aliases = Aliases::of(catalog.accelerators.values());
    let mut seen = 0;
    for row in rows.iter().filter(|row| row["gemm_dtype"] == "bfloat16") {
        let Some(card) = find(&catalog, &aliases, &row["device"], None) else { continue };
        let Some(peak) = card.bf16_tflops else { continue };
        let size = |name: &str| row[name].parse::<f64>().unwrap();
        let tflops = 2.0 * size("m") * size("n") * size("k") / (size("latency_ms") * 1e-3) / 1e12;
        assert!(tflops <= 1.1 * peak, "{}: {tflops} of {peak} TFLOP/s ({row:?})", card.id);
        seen += 1;
    }
    assert!(seen > 100, "{seen} rows were compared");
}

#[test]
fn no_card_is_allowed_more_power_than_its_table_says() {
    let Some(rows) = evidence("cloud_gpu_inventory.csv.gz") else { return };
    let catalog = Catalog::embedded().unwrap();
    let aliases = Aliases::of(catalog.accelerators.values());
    let mut seen = 0;
    for row in &rows {
        let memory = number(&row["mem_total"]).map(|mib| mib / 1024.0);
        let Some(card) = find(&catalog, &aliases, &row["gpu"], memory) else { continue };
        if let (Some(limit), Some(tdp)) = (number(&row["power_limit"]), card.tdp_w) {
            assert!(
                limit <= 1.05 * tdp,
                "{} may draw {limit} W of {tdp} ({}:{})",
                card.id,
                row["vendor"],
                row["instance"]
            );
            seen += 1;
        }
        if let (Some(mib), Some(known)) = (number(&row["mem_total"]), card.memory_mib) {
            // With error correction a T4 has 15,360 MiB, without it 16,384.
            assert!((mib / known - 1.0).abs() < 0.07, "{}: {mib} MiB, the table says {known}", card.id);
        }
    }
    assert!(seen > 50, "{seen} cards were compared");
}

#[test]
fn no_stream_is_faster_than_the_memory() {
    let Some(rows) = evidence("microbench.csv.gz") else { return };
    let catalog = Catalog::embedded().unwrap();
    let aliases = Aliases::of(catalog.accelerators.values());
    let mut seen = 0;
    for row in rows.iter().filter(|row| row["benchmark"].starts_with("gpu-stream") && row["unit"] == "GB/s") {
        let Some(card) = find(&catalog, &aliases, &row["gpu"], None) else { continue };
        let Some(peak) = card.memory_bandwidth_gb_per_s else { continue };
        // A name that fits several cards says nothing of one of them.
        if matches!(aliases.resolve(&row["gpu"], None, &row["gpu"]), Match::Known(_)) {
            let measured: f64 = row["value"].parse().unwrap();
            assert!(measured <= 1.01 * peak, "{}: {measured} of {peak} GB/s ({row:?})", card.id);
            seen += 1;
        }
    }
    eprintln!("{seen} streams were compared");
}
