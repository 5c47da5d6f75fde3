//! What a report of 1,000 cases with 50 samples each costs in each form: `cargo bench --bench report`, on one core. Its
//! sizes are printed first.

use divan::Bencher;
use sizewell::catalog::Catalog;
use sizewell::record::{CaseRow, Run};
use sizewell::report::{Extras, Report, exporter};
use sizewell::sizing::RankRequest;
use sizewell::workload::Input;
use std::path::Path;
use std::sync::LazyLock;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::embedded().expect("the embedded catalog"));
static RUN: LazyLock<Run> = LazyLock::new(run);

/// The example run with 1,000 cases: three levels, prompts of 42 lengths, batches of 8 sizes.
fn run() -> Run {
    let mut run = Run::read(Path::new("results/example")).expect("the example run");
    let ok: Vec<CaseRow> = run.cases.iter().filter(|row| row.metrics.tpot.is_some()).cloned().collect();
    run.cases = (0..1000)
        .map(|index| {
            let mut row = ok[index % ok.len()].clone();
            row.key.case.batch = 1 << (index / 3 % 8);
            row.key.case.input = Input::text(64 * (1 + index / 24), 32);
            row.key.case.quant =
                [ok[0].key.case.quant, ok[ok.len() / 2].key.case.quant, ok[ok.len() - 1].key.case.quant][index % 3];
            row.samples = 50;
            row
        })
        .collect();
    run
}

fn request() -> RankRequest {
    RankRequest::on(jiff::civil::date(2026, 11, 25))
}

fn export(extension: &str) -> Vec<u8> {
    let (request, runs) = (request(), [&*RUN]);
    let report = Report::new(&runs, &CATALOG, &request, Extras::default());
    exporter(extension).expect("a form").export(&report).expect("a report")
}

const FORMS: [&str; 6] = ["html", "pdf", "xlsx", "md", "csv", "json"];

fn main() {
    for form in FORMS {
        println!("{form}: {:.2} MB", export(form).len() as f64 / 1e6);
    }
    divan::main();
}

/// Ranking, sections, plots and the file, of a run in memory.
#[divan::bench(args = FORMS, sample_count = 10, sample_size = 1)]
fn report(bencher: Bencher<'_, '_>, form: &str) {
    bencher.bench_local(|| export(form));
}

/// Reading the folder's samples is no part of a report; ranking all levels is, and is shown alone here.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn rankings(bencher: Bencher<'_, '_>) {
    let (request, runs) = (request(), [&*RUN]);
    bencher.bench_local(|| sizewell::report::rankings(&runs, &CATALOG, &request));
}
