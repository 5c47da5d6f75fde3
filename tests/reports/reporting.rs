//! Reports of recorded runs: complete, self-contained, the same numbers everywhere, and safe whatever a name holds.

use crate::support::recorded;
use jiff::civil::date;
use sizewell::catalog::Catalog;
use sizewell::record::{CaseRow, InvalidReason, QualityRow, Run, metric};
use sizewell::report::{Extras, Report, exporter, json};
use sizewell::sizing::{MachinePrice, RankRequest};
use sizewell::units::Usd;
use sizewell::workload::Quant;
use std::path::Path;

fn bytes(run: &Run, extension: &str, request: &RankRequest, extras: Extras<'_>) -> Vec<u8> {
    let catalog = Catalog::embedded().unwrap();
    let runs = [run];
    exporter(extension).unwrap().export(&Report::new(&runs, &catalog, request, extras)).unwrap()
}

fn export(run: &Run, extension: &str) -> String {
    let request = RankRequest::on(date(2026, 11, 23));
    String::from_utf8(bytes(run, extension, &request, Extras::default())).unwrap()
}

#[test]
fn levels_are_not_compared_by_doubtful_rates_without_a_word() {
    let mut run = recorded::run();
    assert!(!export(&run, "html").contains("doubtful rates"));
    let fastest = |row: &&mut CaseRow| row.key.case.quant == Quant::Int8 && row.metrics.decode_tokens_per_s.is_some();
    let row = run.cases.iter_mut().filter(fastest).max_by_key(|row| row.key.case.batch).unwrap();
    row.invalid.push(InvalidReason::SlowKernels);
    let expected = format!("doubtful rates: int8 at batch {}: slow_kernels", row.key.case.batch);
    assert!(export(&run, "html").contains(&expected), "{expected}");
}

#[test]
fn the_page_is_whole_and_needs_nothing() {
    let page = export(&recorded::run(), "html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    for needle in [" src=", "href=\"h", "href=\"/", "<link", "url(", "@import"] {
        assert!(!page.contains(needle), "{needle}");
    }
    for plot in ["latency", "ttft", "throughput", "roofline", "cost-f16", "cost-int8"] {
        assert!(page.contains(&format!("<figure id=\"plot-{plot}\"><svg")), "{plot}");
    }
    let body = page.split("<script").next().unwrap();
    assert_eq!(body.matches("<svg").count(), body.matches("<title>").count() - 1, "every plot has a title");
    assert_eq!(body.matches("<svg").count(), body.matches("<desc>").count(), "and a description");
    assert_eq!(body.matches("<svg").count(), body.matches("Data of this plot").count(), "and its data as a table");
    assert!(page.contains("Content-Security-Policy") && page.contains("default-src 'none'"));
    for id in [
        "cost",
        "speed",
        "energy",
        "load",
        "tradeoff",
        "roofline-of-cases",
        "memory",
        "serverless",
        "own",
        "sensitivity",
        "cases",
        "method",
        "excluded",
    ] {
        assert!(page.contains(&format!("<section id=\"{id}\">")), "{id}");
    }
    assert!(page.contains("synthetic weights"));
    assert!(page.contains("No throughput per watt: no power meter"));
    assert!(page.contains("projected, not measured"));
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
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert_eq!(page.matches("<script").count(), 2, "the page's data and its own script");
    assert!(!page.contains("<script>alert"));
    let text = export(&run, "md");
    assert!(!text.contains("<script") && !text.contains("[x](javascript") && !text.contains('\u{1b}'));
    assert!(text.lines().filter(|l| l.starts_with('|')).all(|l| !l.contains("alert(1)</")));
}

#[test]
fn a_run_without_anything_measured_still_has_a_report() {
    let mut run = recorded::run();
    run.cases.retain(|row| row.metrics.ttft.is_none());
    run.record.ceilings.clear();
    for extension in ["html", "md"] {
        let text = export(&run, extension);
        assert!(text.contains("No ranking: no case was measured"), "{text}");
        assert!(text.contains("needs about 9 GiB"));
    }
    for extension in ["pdf", "xlsx", "json"] {
        assert!(!bytes(&run, extension, &RankRequest::on(date(2026, 11, 23)), Extras::default()).is_empty());
    }
    assert!(exporter("docx").map(|_| ()).unwrap_err().contains(".html, .pdf, .xlsx, .md, .csv, .json"));
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

#[test]
fn the_pdf_carries_its_fonts_its_outline_and_words_for_its_pictures() {
    let file = bytes(&recorded::run(), "pdf", &RankRequest::on(date(2026, 11, 23)), Extras::default());
    assert!(file.starts_with(b"%PDF-1.7") && file.len() < 3_000_000);
    let count = |needle: &[u8]| file.windows(needle.len()).filter(|window| *window == needle).count();
    assert_eq!(count(b"/FontFile2"), 2, "both faces are within");
    assert!(count(b"/StructTreeRoot") > 0 && count(b"/Outlines") > 0 && count(b"/S/TH") + count(b"/S /TH") > 20);
    assert!(count(b"/Alt") > 10, "{}", count(b"/Alt"));
    assert_eq!(count(b"/URI") + count(b"/JavaScript") + count(b"/Launch"), 0);
}

#[test]
fn every_plot_is_a_picture_too() {
    let (run, catalog, request) = (recorded::run(), Catalog::embedded().unwrap(), RankRequest::on(date(2026, 11, 23)));
    let runs = [&run];
    let plots = Report::new(&runs, &catalog, &request, Extras::default()).plots();
    assert!(plots.len() > 12, "{}", plots.len());
    let names: std::collections::HashSet<&str> = plots.iter().map(|plot| plot.name.as_str()).collect();
    assert_eq!(names.len(), plots.len(), "each has a name of its own");
    for plot in &plots {
        let name = &plot.name;
        assert!(!plot.description.is_empty() && !plot.note.is_empty() && !plot.data.rows.is_empty(), "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{name}");
        assert!(sizewell::report::picture::png(plot).unwrap().starts_with(b"\x89PNG"), "{name}");
    }
}

#[test]
fn no_cell_of_the_csv_begins_a_formula() {
    let mut run = recorded::run();
    run.record.environment.hostname = "=HYPERLINK(\"http://x\")".into();
    run.record.environment.cpu.model = "+1+cmd|' /C calc'!A0".into();
    for line in export(&run, "csv").lines() {
        for cell in line.split(',') {
            let text = cell.trim_start_matches('"');
            assert!(!text.starts_with(['=', '+', '@']), "{cell}");
            assert!(!text.starts_with('-') || text.parse::<f64>().is_ok(), "{cell}");
        }
    }
}

/// With a price of the machine: the answer leads with what was measured, and names the candidates that were not.
#[test]
fn the_answer_says_its_margin_its_basis_and_the_date_of_its_price() {
    let usd_per_h = Some(Usd("0.05".parse().unwrap()));
    let mut request = RankRequest::on(date(2026, 11, 23));
    request.machine = MachinePrice { instance: None, usd_per_h };
    request.slo = "ttft=2s".parse().unwrap();
    let text = String::from_utf8(bytes(&recorded::run(), "json", &request, Extras::default())).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let answer: Vec<&str> = value["answer"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert!(
        answer[0].starts_with("For smollm2-135m in f16 with all paid time in use, TTFT (median) under 2.00 s:"),
        "{answer:?}"
    );
    assert!(answer[0].contains("per 1,000 requests (") && answer[0].ends_with(", measured."), "{answer:?}");
    assert!(answer.iter().any(|line| line.starts_with("Projected candidates, not measured: ")), "{answer:?}");
    assert!(answer.iter().any(|line| line.contains("was given by the user")), "{answer:?}");
}

#[test]
fn figures_of_quality_are_drawn_and_tabled() {
    let figure = |quant: Quant, value: f64| QualityRow {
        quant,
        metric: "perplexity".into(),
        higher_is_better: false,
        value,
        lo: Some(value - 0.1),
        hi: Some(value + 0.1),
        samples: Some(4096.0),
        source: "made up".into(),
        pruning: String::new(),
        data: String::new(),
        delta: None,
        delta_lo: None,
        delta_hi: None,
        p_value: None,
        detectable: None,
        samples_needed: None,
        verdict: String::new(),
    };
    let quality = [figure(Quant::F16, 10.5), figure(Quant::Int8, 10.75)];
    let extras = Extras { quality: &quality, ..Extras::default() };
    let request = RankRequest::on(date(2026, 11, 23));
    let page = String::from_utf8(bytes(&recorded::run(), "html", &request, extras)).unwrap();
    assert!(page.contains("Cost against perplexity") && page.contains("10.75 (10.65 to 10.85)"));
    assert!(export(&recorded::run(), "html").contains("Quality was not measured"));
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
