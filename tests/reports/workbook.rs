//! The workbook: its formulae give what `rank` gives, at the settings of the report and at others that a reader fills in;
//! and no text of a file becomes a formula.

use crate::support::recorded;
use crate::support::spreadsheet::Workbook;
use jiff::civil::date;
use sizewell::catalog::{Catalog, Market};
use sizewell::record::Run;
use sizewell::report::{Extras, Report, exporter};
use sizewell::sizing::demand::{Demand, Load, Usage};
use sizewell::sizing::{MachinePrice, RankRequest, Ranking, Service, own, rank};
use sizewell::units::Usd;
use sizewell::workload::Quant;
use std::path::Path;

fn request() -> RankRequest {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("instance-catalog/own/8xh100.toml");
    RankRequest {
        quants: vec![Quant::F16],
        markets: vec![Market::OnDemand, Market::Spot, Market::Serverless],
        machine: MachinePrice { instance: None, usd_per_h: Some(Usd("0.05".parse().unwrap())) },
        own: vec![own::read(&own).unwrap()],
        ..RankRequest::on(date(2026, 11, 23))
    }
}

fn workbook(run: &Run, request: &RankRequest) -> Workbook {
    let catalog = Catalog::embedded().unwrap();
    let runs = [run];
    let report = Report::new(&runs, &catalog, request, Extras::default());
    Workbook::read(&exporter("xlsx").unwrap().export(&report).unwrap())
}

/// Each row of the sheet against the row of a ranking of the same offer: value, low and high end of a thousand requests.
fn compare(book: &Workbook, ranking: &Ranking) {
    let mut compared = 0;
    for line in 5.. {
        let Some(offer) = book.stored("Costs", &format!("B{line}")) else { break };
        let row = ranking.rows.iter().find(|row| sizewell::report::content::offer_name(row) == offer);
        let row = row.unwrap_or_else(|| panic!("{offer} is not in the ranking"));
        let cost = row.usd_per_thousand_requests.unwrap();
        for (column, expected) in [("X", cost.value), ("Y", cost.lo), ("Z", cost.hi)] {
            let place = format!("{column}{line}");
            assert!(book.is_formula("Costs", &place));
            let (found, expected) = (book.number("Costs", &place), expected.to_f64());
            assert!((found / expected - 1.0).abs() < 1e-6, "{offer} {column}: {found} against {expected}");
        }
        compared += 1;
    }
    assert!(compared > 200, "{compared}");
}

fn ranked(run: &Run, request: &RankRequest) -> Ranking {
    rank(run, &Catalog::embedded().unwrap(), request).unwrap()
}

fn demand(rate: f64, headroom: f64, spare: usize) -> Usage {
    Usage::Demand(Demand { load: Load::Rates(vec![rate]), headroom, spare, autoscale: false })
}

#[test]
fn formulae_give_what_rank_gives_and_what_is_stored() {
    let (run, request) = (recorded::run(), request());
    let book = workbook(&run, &request);
    compare(&book, &ranked(&run, &request));
    for place in ["X5", "Y5", "Z5", "AA5", "T5"] {
        let stored: f64 = book.stored("Costs", place).unwrap().parse().unwrap();
        assert!((book.number("Costs", place) / stored - 1.0).abs() < 1e-6, "{place}");
    }
}

#[test]
fn what_a_reader_fills_in_gives_what_rank_would_say() {
    let (run, request) = (recorded::run(), request());
    for (share, discount, failures) in [(0.4, 0.0, 0.0), (1.0, 0.12, 0.05), (0.15, 0.3, 0.01)] {
        let mut book = workbook(&run, &request);
        book.set_name("utilisation", share);
        book.set_name("discount", discount);
        book.set_name("failures", failures);
        let service =
            Service { usage: Usage::Share(share), discount, failure_share: failures, ..request.service.clone() };
        compare(&book, &ranked(&run, &RankRequest { service, ..request.clone() }));
    }
    for (rate, headroom, spare) in [(3.0, 0.7, 0), (200.0, 0.9, 2), (5000.0, 0.5, 1)] {
        let mut book = workbook(&run, &request);
        for (name, value) in
            [("requests_per_s", rate), ("peak_requests_per_s", rate), ("headroom", headroom), ("spare", spare as f64)]
        {
            book.set_name(name, value);
        }
        // Traffic has tiers: the workbook prices it at the volume of the report, which is not asked to change here.
        let service =
            Service { usage: demand(rate, headroom, spare), response_bytes: Some(0.0), ..request.service.clone() };
        let asked = RankRequest { service, ..request.clone() };
        let line_of = |book: &Workbook, offer: &str| {
            (5..).find(|l| book.stored("Costs", &format!("B{l}")) == Some(offer)).unwrap()
        };
        let ranking = ranked(&run, &asked);
        let hourly = |row: &&sizewell::sizing::RankRow| row.market != Some(Market::Serverless);
        for row in ranking.rows.iter().filter(hourly).filter(|row| row.usd_per_request.is_some()).take(60) {
            let line = line_of(&book, &sizewell::report::content::offer_name(row));
            let traffic = book.number("Costs", &format!("R{line}"));
            let found = book.number("Costs", &format!("W{line}")) - traffic;
            let expected = row.usd_per_request.unwrap().value.to_f64();
            assert!((found / expected - 1.0).abs() < 1e-6, "{}: {found} against {expected}", row.name());
            assert_eq!(book.number("Costs", &format!("U{line}")), row.fleet.unwrap().instances, "{}", row.name());
        }
    }
}

#[test]
fn a_report_of_a_demand_and_a_discount_begins_with_them() {
    let run = recorded::run();
    let service = Service { usage: demand(40.0, 0.8, 1), discount: 0.1, ..Service::default() };
    let request = RankRequest { service, ..request() };
    compare(&workbook(&run, &request), &ranked(&run, &request));
}

#[test]
fn users_who_are_answered_sooner_ask_more_in_the_workbook_too() {
    let run = recorded::run();
    let load = Load::Users { users: 400.0, think_s: 5.0 };
    let usage = Usage::Demand(Demand { load, headroom: 0.7, spare: 0, autoscale: false });
    let request = RankRequest { service: Service { usage, ..Service::default() }, ..request() };
    compare(&workbook(&run, &request), &ranked(&run, &request));
}

#[test]
fn a_demand_that_the_sheet_cannot_follow_is_written_as_values() {
    let run = recorded::run();
    let load = Load::Rates(vec![1.0, 40.0, 5.0]);
    let usage = Usage::Demand(Demand { load, headroom: 0.7, spare: 0, autoscale: true });
    let request = RankRequest { service: Service { usage, ..Service::default() }, ..request() };
    let (book, ranking) = (workbook(&run, &request), ranked(&run, &request));
    let offer = book.stored("Costs", "B5").unwrap().to_string();
    let row = ranking.rows.iter().find(|row| sizewell::report::content::offer_name(row) == offer).unwrap();
    assert!(!book.is_formula("Costs", "X5"));
    let expected = row.usd_per_thousand_requests.unwrap().value.to_f64();
    assert!((book.number("Costs", "X5") / expected - 1.0).abs() < 1e-6);
}

#[test]
fn a_price_that_is_filled_in_moves_the_cost() {
    let (run, request) = (recorded::run(), request());
    let mut book = workbook(&run, &request);
    let before = book.number("Costs", "X5") - 1e3 * book.number("Costs", "R5");
    for column in ["H", "I"] {
        let price = book.number("Costs", &format!("{column}5"));
        book.set("Costs", &format!("{column}5"), price * 2.0);
    }
    let after = book.number("Costs", "X5") - 1e3 * book.number("Costs", "R5");
    assert!(after > 1.9 * before && after <= 2.0 * before + 1e-12, "{before} {after}");
}

#[test]
fn no_text_becomes_a_formula() {
    let mut run = recorded::run();
    let evil = "=HYPERLINK(\"http://x\",\"y\")\u{7}";
    run.record.model.as_mut().unwrap().name = evil.into();
    run.record.environment.hostname = evil.into();
    for row in &mut run.cases {
        row.key.model = evil.into();
        row.message = evil.into();
    }
    let book = workbook(&run, &request());
    assert!(book.texts().any(|text| text.contains("=HYPERLINK")), "it is there as text");
    let evil = "this machine:=HYPERLINK(\"http://x\",\"y\") ";
    let line = (5..).find(|l| book.stored("Costs", &format!("B{l}")).is_none_or(|offer| offer == evil)).unwrap();
    assert!(book.stored("Costs", &format!("B{line}")).is_some() && !book.is_formula("Costs", &format!("B{line}")));
}
