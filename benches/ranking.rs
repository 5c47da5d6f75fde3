//! What a ranking costs: `cargo bench --bench ranking`. 100,000 offers (2,000 types of 59 kinds of hardware in 50 regions)
//! against 1,000 measured cases, on one core; loading the embedded catalog; and the most memory of all of that.

use divan::Bencher;
use sizewell::catalog::{Catalog, Offer, Shape};
use sizewell::record::{CaseRow, Run};
use sizewell::sizing::{RankRequest, rank};
use sizewell::workload::Input;
use std::path::Path;
use std::sync::Arc;

fn main() {
    println!("machine: {} threads; one is used", std::thread::available_parallelism().map_or(0, usize::from));
    divan::main();
    println!("most memory of this process: {} MB (VmHWM)", peak_kilobytes() / 1000);
}

fn peak_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The example run with its cases at 1,000 batch sizes.
fn run() -> Run {
    let mut run = Run::read(Path::new("results/example")).expect("the example run");
    let ok: Vec<CaseRow> = run
        .cases
        .iter()
        .filter(|row| row.metrics.tpot.is_some() && row.key.case.quant.name() == "f16")
        .cloned()
        .collect();
    run.cases = (0..1000)
        .map(|index| {
            let mut row = ok[index % ok.len()].clone();
            (row.key.case.batch, row.key.case.input) = (index + 1, Input::text(128, 32));
            row
        })
        .collect();
    run
}

/// The embedded catalog with its on-demand offers multiplied.
fn catalog() -> Catalog {
    let mut catalog = Catalog::embedded().expect("the embedded catalog");
    let listed =
        |offer: &&Offer| offer.market.name() == "on_demand" && offer.unrankable().is_none() && !offer.outdated();
    let base: Vec<Offer> = catalog.offers.iter().filter(listed).cloned().collect();
    let shapes: Vec<Arc<Shape>> = (0..2000)
        .map(|index| {
            let shape = &base[index * base.len() / 2000].shape;
            Arc::new(Shape { instance_type: format!("{}-{index}", shape.instance_type).into(), ..(**shape).clone() })
        })
        .collect();
    let regions: Vec<Arc<str>> = (0..50).map(|index| format!("region-{index}").into()).collect();
    catalog.offers = (0..100_000)
        .map(|index| {
            let (shape, region) = (&shapes[index % 2000], &regions[index / 2000]);
            Offer { shape: shape.clone(), region: region.clone(), ..base[(index % 2000) * base.len() / 2000].clone() }
        })
        .collect();
    catalog
}

fn request() -> RankRequest {
    RankRequest::on(jiff::civil::date(2026, 11, 24))
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn load_the_embedded_catalog(bencher: Bencher) {
    bencher.bench(|| Catalog::embedded().expect("the embedded catalog"));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn rank_100_000_offers(bencher: Bencher) {
    let (run, catalog) = (run(), catalog());
    bencher.bench(|| rank(&run, &catalog, &request()).expect("a ranking"));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn rank_100_000_offers_with_every_region(bencher: Bencher) {
    let (run, catalog) = (run(), catalog());
    let request = RankRequest { all_regions: true, ..request() };
    bencher.bench(|| rank(&run, &catalog, &request).expect("a ranking"));
}
