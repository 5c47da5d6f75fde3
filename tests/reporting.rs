//! Reports of recorded runs: complete, self-contained, the same numbers everywhere, and safe whatever a name holds.

mod support;

use jiff::civil::date;
use sizewell::catalog::Catalog;
use sizewell::record::{Run, metric};
use sizewell::report::{Report, exporter, json};
use sizewell::sizing::{RankRequest, rank};
use sizewell::workload::Quant;
use std::path::Path;
use support::recorded;

fn export(run: &Run, extension: &str) -> String {
    let today = date(2026, 11, 23);
    let catalog = Catalog::embedded().unwrap();
    let rankings = [Quant::F16, Quant::Int8]
        .map(|quant| rank(run, &catalog, &RankRequest { quants: vec![quant], ..RankRequest::on(today) }));
    let report = Report { run, rankings: rankings.into_iter().collect(), power: &[], today };
    exporter(extension).unwrap().export(&report)
}

#[test]
fn the_page_is_whole_and_needs_nothing() {
    let page = export(&recorded::run(), "html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    for needle in ["src=", "href=\"h", "href=\"/", "<script", "<link", "url(", "@import"] {
        assert!(!page.contains(needle), "{needle}");
    }
    for plot in ["latency", "ttft", "throughput", "roofline", "cost-f16", "cost-int8"] {
        assert!(page.contains(&format!("<figure id=\"{plot}\"><svg")), "{plot}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("<title>").count() - 1, "every plot has a title");
    assert!(page.contains("synthetic weights"));
    assert!(page.contains("No throughput per watt: no power meter"));
    assert!(page.contains("Cheapest projected, not measured"));
    assert!(page.contains("does_not_fit") && page.contains("needs about 9 GiB"));
}

#[test]
fn all_forms_show_the_same_numbers() {
    let (page, text) = (export(&recorded::run(), "html"), export(&recorded::run(), "md"));
    for value in ["250 ms ±2.0%", "10.0 ms ±2.0%", "100 tok/s", "70.0 %", "40.0 GB/s", "AMD EPYC 9R14"] {
        assert!(page.contains(value) && text.contains(value), "{value}");
    }
}

#[test]
fn hostile_names_stay_text() {
    let mut run = recorded::run();
    let evil = "<script>alert(1)</script>\"'|`*_[x](javascript:y)\u{1b}[2J&";
    run.record.model.as_mut().unwrap().name = evil.into();
    run.record.environment.hostname = evil.into();
    run.record.environment.cpu.model = evil.into();
    run.record.environment.argv = vec![evil.into()];
    for row in &mut run.cases {
        row.key.model = evil.into();
        row.message = evil.into();
        row.notes = vec![evil.into()];
    }
    let page = export(&run, "html");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    let text = export(&run, "md");
    assert!(!text.contains("<script") && !text.contains("[x](javascript") && !text.contains('\u{1b}'));
    assert!(text.lines().filter(|l| l.starts_with('|')).all(|l| !l.contains("alert(1)</")));
}

#[test]
fn a_run_without_anything_measured_still_has_a_report() {
    let mut run = recorded::run();
    run.cases.retain(|row| row.metrics.ttft.is_none());
    run.record.ceilings.clear();
    let report =
        Report { run: &run, rankings: Err("no case was measured".into()), power: &[], today: date(2026, 11, 23) };
    for extension in ["html", "md"] {
        let text = exporter(extension).unwrap().export(&report);
        assert!(text.contains("No ranking: no case was measured"), "{text}");
        assert!(text.contains("needs about 9 GiB"));
    }
    assert!(exporter("docx").map(|_| ()).unwrap_err().contains(".html and .md"));
}

#[test]
fn json_has_every_metric_and_null_where_there_is_none() {
    let run = recorded::run();
    let value = json::run(&run);
    let first = &value["cases"][0];
    for metric in metric::all() {
        assert!(first.get(metric.tag).is_some(), "{}", metric.tag);
    }
    assert_eq!(first["ttft_s"], 0.25);
    assert!(first["energy_j"].is_null());
    assert_eq!(first["absent"]["energy_j"], "no power meter");
    assert_eq!(value["cases"][5]["outcome"], "skipped");
}

/// The example run that the README shows reads with this version, and its report is what it was.
#[test]
fn the_example_run_reads() {
    let run = Run::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("results/example")).unwrap();
    assert_eq!(run.cases.len(), 12);
    let samples = run.samples().unwrap();
    for row in &run.cases {
        let measured = samples.iter().filter(|s| s.case_id == row.key.id() && !s.warmup).count();
        assert_eq!(measured, row.samples, "{}", row.key.id());
    }
    let run = Run { path: "results/example".into(), ..run };
    insta::assert_snapshot!(export(&run, "md"));
}
