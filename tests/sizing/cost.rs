//! What a request costs on a recorded run: use and waiting, markets, own hardware, failures, ages, lengths, several runs.

use crate::support::recorded;
use jiff::civil::{Date, date};
use proptest::prelude::*;
use rust_decimal::Decimal;
use sizewell::catalog::{Catalog, Market};
use sizewell::record::{Basis, Run};
use sizewell::sizing::cost::Component;
use sizewell::sizing::demand::{Demand, Load, Usage};
use sizewell::sizing::interval::Interval;
use sizewell::sizing::lengths::Lengths;
use sizewell::sizing::plan::plan;
use sizewell::sizing::points::RequestedLengths;
use sizewell::sizing::{Freshness, MachinePrice, RankRequest, RankRow, Ranking, Service, own, rank, rank_runs};
use sizewell::units::{Bytes, Joules, JoulesPerToken, Usd};
use std::path::Path;
use std::sync::OnceLock;

const TODAY: Date = date(2026, 11, 24);

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog::embedded().unwrap())
}

fn request() -> RankRequest {
    let machine = MachinePrice { instance: None, usd_per_h: Some(Usd(Decimal::new(36, 1))) };
    RankRequest { machine, ..RankRequest::on(TODAY) }
}

fn with(service: Service) -> RankRequest {
    RankRequest { service, ..request() }
}

fn demand(rates: Vec<f64>, spare: usize) -> Usage {
    Usage::Demand(Demand { load: Load::Rates(rates), headroom: 0.7, spare, autoscale: false })
}

fn ranked(request: &RankRequest) -> Ranking {
    rank(&recorded::run(), catalog(), request).unwrap()
}

fn measured(ranking: &Ranking) -> &RankRow {
    ranking.rows.iter().find(|row| row.basis == Basis::Measured).unwrap()
}

fn of<'a>(ranking: &'a Ranking, name: &str) -> &'a RankRow {
    ranking.rows.iter().find(|row| row.name() == name).unwrap_or_else(|| panic!("{name} is not ranked"))
}

fn why<'a>(ranking: &'a Ranking, name: &str) -> &'a str {
    &ranking.excluded.iter().find(|item| item.offer == name).unwrap_or_else(|| panic!("{name} is ranked")).reason
}

fn usd(row: &RankRow) -> f64 {
    row.usd_per_request.unwrap().value.to_f64()
}

fn part(row: &RankRow, component: Component) -> f64 {
    row.components.unwrap().of(component).value.to_f64()
}

#[test]
fn waiting_is_paid_and_shown_apart() {
    let full = ranked(&request());
    let half = ranked(&with(Service { usage: Usage::Share(0.5), ..Service::default() }));
    let (full, half) = (measured(&full), measured(&half));
    assert_eq!((part(full, Component::Idle), half.fleet), (0.0, None));
    assert!((usd(half) / usd(full) - 2.0).abs() < 1e-9);
    assert!((part(half, Component::Idle) / part(half, Component::Compute) - 1.0).abs() < 1e-9);
    // Input and output tokens together are the request.
    let per = |row: &RankRow| {
        let money = |cost: Option<sizewell::sizing::CostInterval>| cost.unwrap().value.to_f64();
        money(row.usd_per_million_input_tokens) * 128e-6 + money(row.usd_per_million_output_tokens) * 33e-6
    };
    assert!((per(full) / usd(full) - 1.0).abs() < 1e-9);
}

#[test]
fn a_demand_takes_whole_instances() {
    // 16 requests in 4.88 s: 3.279 a second; 10 a second loaded to 70 % take 4.36 of them.
    let at = |spare: usize| ranked(&with(Service { usage: demand(vec![10.0], spare), ..Service::default() }));
    let (none, one) = (at(0), at(1));
    let fleet = measured(&none).fleet.unwrap();
    assert_eq!((fleet.instances, measured(&one).fleet.unwrap().instances), (5.0, 6.0));
    let month = measured(&none).usd_per_month.unwrap().value;
    assert_eq!(month.0.round_dp(4), Decimal::new(13140, 0), "5 x 3.60 x 730");
    assert_eq!(measured(&one).usd_per_month.unwrap().value.0.round_dp(4), Decimal::new(15768, 0));
    // Half of the day there is nothing to do, and it is paid all the same.
    let quiet = ranked(&with(Service { usage: demand(vec![10.0, 0.0], 0), ..Service::default() }));
    assert!((usd(measured(&quiet)) / usd(measured(&none)) - 2.0).abs() < 1e-9);
    for row in &none.rows {
        for (_, cost) in row.components.iter().flat_map(|parts| parts.parts()) {
            assert!(cost.lo <= cost.value && cost.value <= cost.hi);
        }
    }
}

#[test]
fn users_pay_by_the_month() {
    let load = Load::Users { users: 1000.0, think_s: 95.12 };
    let usage = Usage::Demand(Demand { load, headroom: 1.0, spare: 0, autoscale: false });
    let ranking = ranked(&with(Service { usage, ..Service::default() }));
    let row = measured(&ranking);
    // 1,000 users who ask every 95.12 + 4.88 = 100 s: 10 requests a second, four instances.
    assert!((row.fleet.unwrap().requests_per_s - 10.0).abs() < 1e-9);
    assert_eq!(row.fleet.unwrap().instances, 4.0);
    assert_eq!(row.usd_per_user_month.unwrap().value.0.round_dp(6), Decimal::new(10512, 3), "4 x 3.60 x 730 / 1000");
    // At the fast end of the measurement three instances do, however much more often the users then ask.
    let month = row.usd_per_month.unwrap();
    assert!((month.lo.to_f64() - 3.0 * 3.6 * 730.0).abs() < 1e-6 && month.hi >= month.value, "{month:?}");
}

#[test]
fn markets_have_their_own_terms() {
    let markets = |markets: Vec<Market>, service: Service| RankRequest { markets, ..with(service) };
    let spot = ranked(&markets(vec![Market::Spot], Service::default()));
    let row = spot.rows.iter().find(|row| row.market == Some(Market::Spot)).unwrap();
    assert!(part(row, Component::Interruptions) > 0.0 && row.stale, "spot prices are stale after a day");
    let fallback = Service {
        spot: sizewell::sizing::cost::spot::SpotTerms { fallback: 0.5, ..Service::default().spot },
        ..Service::default()
    };
    let dearer = ranked(&markets(vec![Market::Spot], fallback));
    let same = dearer.rows.iter().find(|r| r.name() == row.name()).unwrap();
    assert!(usd(same) > 1.3 * usd(row), "half the time at the on-demand price");
    // A commitment is a share off the list, and listed as its own market.
    let committed = Service { commitments: vec![(Market::Reserved1y, 0.38)], ..Service::default() };
    let reserved = ranked(&markets(vec![Market::OnDemand, Market::Reserved1y], committed));
    let price = |market: Market| {
        let row = reserved.rows.iter().find(|r| r.name() == "aws:g6.xlarge" && r.market == Some(market)).unwrap();
        (row.usd_per_h.unwrap().to_f64(), row.remarks.iter().any(|r| r.contains("38 % off")))
    };
    assert!((price(Market::Reserved1y).0 / price(Market::OnDemand).0 - 0.62).abs() < 1e-9);
    assert!(price(Market::Reserved1y).1 && !price(Market::OnDemand).1);
    let discount = ranked(&with(Service { discount: 0.1, ..Service::default() }));
    assert!(
        (of(&discount, "aws:g6.xlarge").usd_per_h.unwrap().to_f64() / price(Market::OnDemand).0 - 0.9).abs() < 1e-9
    );
    let managed = ranked(&markets(vec![Market::Managed], Service::default()));
    assert!(usd(of(&managed, "aws-sagemaker:ml.g6.xlarge")) > 1.1 * usd(of(&ranked(&request()), "aws:g6.xlarge")));
}

#[test]
fn serverless_needs_a_cold_start_where_requests_are_rare() {
    let at = |rate: Option<f64>, cold: Option<f64>| {
        let usage = rate.map_or(Usage::Share(1.0), |rate| demand(vec![rate], 0));
        let service = Service { usage, cold_s: cold.map(Interval::exact), ..Service::default() };
        ranked(&RankRequest { markets: vec![Market::Serverless], ..with(service) })
    };
    let name = "runpod-serverless-flex:H100 PRO";
    let busy = usd(of(&at(None, None), name));
    assert!(why(&at(Some(0.001), None), name).contains("--cold-start"));
    let rare = at(Some(0.001), Some(20.0));
    let row = of(&rare, name);
    // 0.00116 USD a second, 20 s of start and 5 of waiting after nearly every request.
    assert!((part(row, Component::ColdStarts) - 0.00116 * 20.0).abs() < 2e-4, "{:?}", row.components);
    assert!(part(row, Component::Idle) > 0.00116 * 4.9 && usd(row) > 10.0 * busy);
    assert!(why(&at(None, None), "runpod-serverless-flex:L4/A5000/3090").contains("which of several cards"));
}

#[test]
fn own_hardware_stands_beside_offers() {
    let mine = own::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("instance-catalog/own/8xh100.toml")).unwrap();
    let mine = sizewell::sizing::cost::own::Own { g_co2e_per_kwh: Some(400.0), embodied_kg_co2e: Some(5000.0), ..mine };
    let ranking = ranked(&RankRequest { own: vec![mine], ..request() });
    let row = of(&ranking, "own:8x H100 node");
    assert_eq!((row.market, row.basis, row.replicas), (Some(Market::OnPrem), Basis::Projected, 8));
    // 1.43 USD a GPU and hour at full use, three parts of it apart.
    assert!((row.usd_per_h.unwrap().to_f64() / 8.0 - 1.43).abs() < 0.01);
    let parts = [Component::Compute, Component::Energy, Component::Facility].map(|c| part(row, c));
    assert!(parts.iter().all(|usd| *usd > 0.0) && (parts.iter().sum::<f64>() / usd(row) - 1.0).abs() < 1e-9);
    assert!(row.g_co2e_per_thousand_requests.unwrap().value > 0.0);
    assert!(own::read(Path::new("/nowhere.toml")).is_err());
}

#[test]
fn carbon_needs_an_energy_a_region_and_a_hall() {
    let mut run = recorded::run();
    let energy = |value: f64| sizewell::record::Estimate { value: JoulesPerToken(value), lo: None, hi: None };
    for row in &mut run.cases {
        row.metrics.energy_per_token = Some(energy(0.5));
        row.metrics.energy = Some(sizewell::record::Estimate { value: Joules(1.0), lo: None, hi: None });
    }
    let machine = MachinePrice { instance: Some(("aws".into(), "c7a.large".into())), usd_per_h: None };
    let request = RankRequest { machine, regions: vec!["us-east-1".into()], ..request() };
    let ranking = rank(&run, catalog(), &request).unwrap();
    // 33 tokens of 0.5 J at PUE 1.15 and 379.1 g/kWh, a thousand times.
    let grams = measured(&ranking).g_co2e_per_thousand_requests.unwrap().value;
    assert!((grams - 1e3 * 33.0 * 0.5 / 3.6e6 * 1.15 * 379.1).abs() < 1e-9, "{grams}");
    let none = ranked(&self::request());
    assert_eq!(measured(&none).g_co2e_per_thousand_requests, None, "no energy, no carbon");
}

#[test]
fn failures_are_paid_by_those_that_succeed() {
    let ranking = ranked(&with(Service { failure_share: 0.2, ..Service::default() }));
    let (with, without) = (measured(&ranking).clone(), ranked(&request()));
    assert!((usd(&with) / usd(measured(&without)) - 1.25).abs() < 1e-9);
    assert!((part(&with, Component::Failures) / usd(&with) - 0.2).abs() < 1e-9);
}

#[test]
fn ages_warn_or_exclude() {
    let aged = |freshness: Freshness| ranked(&RankRequest { freshness, ..request() });
    let usual = aged(Freshness::default());
    assert!(of(&usual, "aws:g6.xlarge").stale && of(&usual, "aws:g6.xlarge").price_age_days == Some(127));
    assert!(!of(&usual, "runpod:pod:H100 SXM (secure)").stale);
    assert!(why(&usual, "hyperstack:n3-A100x1").contains("--allow-stale"));
    let young = aged(Freshness { max_age_days: Some(60), allow_stale: false });
    assert!(
        young.excluded.iter().any(|item| item.offer == "aws:g6.xlarge" && item.reason.contains("127 days old"))
            && why(&young, "jarvislabs:1x_L4_28V_124G").contains("no date")
    );
    let all = aged(Freshness { max_age_days: None, allow_stale: true });
    assert!(of(&all, "hyperstack:n3-A100x1").stale);
}

#[test]
fn filters_narrow_what_is_ranked() {
    let gpus = ranked(&RankRequest { gpus: vec!["l4".into(), "H100".into()], ..request() });
    let hardware: Vec<&str> = gpus.rows.iter().filter(|r| r.basis == Basis::Projected).map(|r| &*r.hardware).collect();
    assert!(
        hardware.len() > 10 && hardware.iter().all(|name| name.contains("NVIDIA L4") || name.contains("H100")),
        "{hardware:?}"
    );
    assert!(!hardware.iter().any(|name| name.contains("L40")));
    let error = rank(&recorded::run(), catalog(), &RankRequest { gpus: vec!["h1000".into()], ..request() });
    assert!(error.unwrap_err().contains("no accelerator `h1000`"));
    let large = ranked(&RankRequest { least_memory: Some(Bytes(70e9)), ..request() });
    assert!(!large.rows.iter().any(|row| row.hardware.contains("NVIDIA L4")));
    let only = ranked(&RankRequest { only: Some(Basis::Measured), ..request() });
    assert!(only.rows.iter().all(|row| row.basis == Basis::Measured));
}

#[test]
fn a_share_of_a_card_is_between_nothing_and_the_whole() {
    let ranking = ranked(&request());
    let (whole, half) = (of(&ranking, "aws:g6.xlarge"), of(&ranking, "aws:g6f.4xlarge"));
    assert_eq!(&*half.hardware, "0.5 of a NVIDIA L4");
    assert!((half.tpot_s.value / whole.tpot_s.value - 2.0).abs() < 1e-9);
    assert!((half.tpot_s.lo - whole.tpot_s.lo).abs() < 1e-12 && half.tpot_s.hi > 1.9 * whole.tpot_s.hi);
}

#[test]
fn lengths_between_measured_ones_are_interpolated_and_others_refused() {
    let mut run = recorded::run();
    let mut longer = recorded::measured(sizewell::workload::Quant::F16, 1, 1.0, 0.02);
    longer.key.case.input = sizewell::workload::Input::text(384, 33);
    run.cases.push(longer);
    let at = |prompt: usize, gen_tokens: usize| {
        let wanted = RequestedLengths {
            prompt_tokens: Some(prompt),
            gen_tokens: Some(gen_tokens),
            ..RequestedLengths::default()
        };
        rank(&run, catalog(), &RankRequest { wanted, ..request() })
    };
    let middle = at(256, 33).unwrap();
    let row = measured(&middle);
    assert_eq!((row.method, row.batch), ("between measured lengths", 1));
    assert!((row.ttft_s.value - 0.625).abs() < 1e-9, "{:?}", row.ttft_s);
    assert!((row.tpot_s.value - 0.015).abs() < 1e-9);
    assert!(at(512, 33).unwrap_err().contains("do not lie between"));
    let lengths = Lengths { bins: vec![(128, 33, 0.5), (384, 33, 0.5)] };
    let wanted = RequestedLengths { lengths: Some(lengths), ..RequestedLengths::default() };
    let mixed = rank(&run, catalog(), &RankRequest { wanted, ..request() }).unwrap();
    let e2e = |ttft: f64, tpot: f64| ttft + 32.0 * tpot;
    let expected = 0.5 * e2e(0.25, 0.01) + 0.5 * e2e(1.0, 0.02);
    assert!((measured(&mixed).e2e_s.value - expected).abs() < 1e-9);
    assert_eq!(mixed.prompt_tokens, 256.0);
}

#[test]
fn several_runs_of_one_model_are_ranked_together() {
    let (one, mut other) = (recorded::run(), recorded::run());
    other.record.environment.hostname = "other".into();
    let both = rank_runs(&[&one, &other], catalog(), &request()).unwrap();
    assert_eq!(both.rows.iter().filter(|row| row.basis == Basis::Measured).count(), 2);
    other.record.engine.name = "llama.cpp".into();
    assert!(rank_runs(&[&one, &other], catalog(), &request()).unwrap_err().contains("rank them apart"));
    assert!(rank_runs(&[], catalog(), &request()).is_err());
}

#[test]
fn the_front_holds_what_no_other_beats_and_the_swap_is_where_costs_meet() {
    let ranking = ranked(&request());
    let points: Vec<(f64, f64, bool)> = ranking
        .rows
        .iter()
        .filter(|row| row.usd_per_request.is_some())
        .map(|row| (usd(row), row.e2e_s.value, row.on_front))
        .collect();
    for (cost, time, on_front) in &points {
        let beaten = points.iter().any(|(c, t, _)| (c < cost && t <= time) || (c <= cost && t < time));
        // Of equals, one stands for all.
        let stood_for = points.iter().any(|(c, t, front)| c == cost && t == time && *front);
        assert!(if *on_front { !beaten } else { beaten || stood_for }, "{cost} {time}");
    }
    let swap = ranking.swap.unwrap();
    let first = &ranking.rows[0];
    let fixed = part(first, Component::Storage) + part(first, Component::Egress);
    let dearer = (usd(first) - fixed) * swap.multiple + fixed;
    assert!((dearer / usd(&ranking.rows[1]) - 1.0).abs() < 1e-9);
}

#[test]
fn a_plan_says_how_many_and_compares() {
    let mine = own::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("instance-catalog/own/8xh100.toml")).unwrap();
    let service = Service { usage: demand(vec![500.0], 1), cold_s: Some(Interval::exact(20.0)), ..Service::default() };
    let asked = RankRequest { own: vec![mine], ..with(service) };
    let run = recorded::run();
    let made = plan(&[&run], catalog(), &asked).unwrap();
    let months: Vec<Usd> = made.options.iter().map(|o| o.row.usd_per_month.unwrap().value).collect();
    assert!(months.is_sorted() && made.options.len() > 50);
    for option in &made.options {
        let (least, most) = option.instances_range;
        assert!(least <= option.fleet.instances && option.fleet.instances <= most);
    }
    if let Some(mix) = &made.mix {
        assert!(mix.parts.len() > 1 && mix.usd_per_month < mix.single_usd_per_month);
    }
    assert!(made.warm.iter().any(|warm| warm.break_even_requests_per_s.is_some()));
    assert_eq!(made.bought.len(), 1);
    assert!(made.headline.iter().any(|line| line.starts_with("Measured: ")), "{:?}", made.headline);
    assert!(plan(&[&run], catalog(), &request()).unwrap_err().contains("--rps"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Cost falls with throughput and rises with price, whatever the market, use and failures.
    #[test]
    fn cost_is_monotone(price in 1i64..100_000, faster in 1.01f64..3.0, share in 0.05f64..1.0, failing in 0.0f64..0.5) {
        let service = Service { usage: Usage::Share(share), failure_share: failing, ..Service::default() };
        let at = |cents: i64, factor: f64| {
            let mut run: Run = recorded::run();
            for row in &mut run.cases {
                for time in [&mut row.metrics.ttft, &mut row.metrics.tpot].into_iter().flatten() {
                    let scale = |s: sizewell::units::Seconds| sizewell::units::Seconds(s.0 / factor);
                    (time.median, time.lo, time.hi) = (scale(time.median), time.lo.map(scale), time.hi.map(scale));
                }
            }
            let machine = MachinePrice { instance: None, usd_per_h: Some(Usd(Decimal::new(cents, 2))) };
            let request = RankRequest { machine, only: Some(Basis::Measured), ..with(service.clone()) };
            rank(&run, catalog(), &request).unwrap().rows[0].usd_per_request.unwrap()
        };
        let (base, quick, dear) = (at(price, 1.0), at(price, faster), at(price + 1, 1.0));
        prop_assert!(quick.value < base.value && dear.value > base.value);
        prop_assert!(base.lo <= base.value && base.value <= base.hi);
    }
}

#[test]
fn a_month_is_of_all_requests_whether_they_succeed_or_not() {
    let month = |failure_share: f64| {
        let service = Service { usage: demand(vec![10.0], 0), failure_share, ..Service::default() };
        measured(&ranked(&with(service))).usd_per_month.unwrap().value.0.round_dp(4)
    };
    assert_eq!(month(0.2), month(0.0), "the same five instances");
}

#[test]
fn what_is_paid_all_day_does_not_follow_the_load() {
    let day: Vec<f64> = std::iter::once(20_000.0).chain([1.0; 23]).collect();
    let scaled = Demand { load: Load::Rates(day), headroom: 0.7, spare: 0, autoscale: true };
    let service =
        Service { usage: Usage::Demand(scaled), commitments: vec![(Market::Reserved1y, 0.0)], ..Service::default() };
    let node = own::read(Path::new("instance-catalog/own/8xh100.toml")).unwrap();
    let markets = vec![Market::OnDemand, Market::Reserved1y];
    let ranking = ranked(&RankRequest { service, markets, own: vec![node], ..request() });
    let of_market = |market: Market| {
        let found = ranking.rows.iter().find(|row| row.name() == "aws:g6.xlarge" && row.market == Some(market));
        found.unwrap().usd_per_month.unwrap().value.to_f64()
    };
    assert!(of_market(Market::Reserved1y) > 4.0 * of_market(Market::OnDemand));
    let own = ranking.rows.iter().find(|row| row.market == Some(Market::OnPrem)).unwrap().fleet.unwrap();
    assert_eq!(own.instances, own.mean_instances, "what one owns is there at night too");
}

#[test]
fn the_measured_machine_is_ranked_by_the_same_rules_as_every_other() {
    let machine = |name: &str| MachinePrice { instance: Some(("aws".into(), name.into())), usd_per_h: None };
    let freshness = Freshness { max_age_days: Some(60), allow_stale: false };
    let ranking = ranked(&RankRequest { machine: machine("c7a.large"), freshness, ..request() });
    let row = of(&ranking, "aws:c7a.large");
    assert!(row.usd_per_request.is_none() && row.why_no_cost.as_ref().unwrap().contains("left out"));
    assert!(
        ranking
            .excluded
            .iter()
            .any(|item| item.offer == "aws:c7a.large" && item.region.is_some() && item.reason.contains("--max-age 60"))
    );
    // Within what was asked for, but older than such prices hold.
    let freshness = Freshness { max_age_days: Some(3650), allow_stale: false };
    let ranking = ranked(&RankRequest { machine: machine("c7a.large"), freshness, ..request() });
    assert!(ranking.rows.iter().find(|row| row.name() == "aws:c7a.large").unwrap().stale);
}

#[test]
fn what_a_filter_leaves_out_is_said() {
    let ranking = ranked(&RankRequest { gpus: vec!["l4".into()], ..request() });
    assert_eq!(why(&ranking, "aws:g5.xlarge"), "not asked for (--gpu)");
    assert!(ranking.rows.iter().all(|row| row.basis == Basis::Measured || row.hardware.contains("L4")));
}

#[test]
fn own_hardware_takes_the_power_that_was_measured() {
    let mut node = own::read(Path::new("instance-catalog/own/8xh100.toml")).unwrap();
    (node.accelerator, node.accelerator_count, node.active_w, node.idle_w) = (None, None, None, None);
    (node.cpu, node.vcpus, node.memory_gib, node.host_w) =
        (Some("amd/genoa".into()), Some(2.0), Some(16.0), Some(30.0));
    let request = RankRequest { own: vec![node], ..request() };
    let excluded = ranked(&request);
    assert!(why(&excluded, "own:8x H100 node").contains("its power is not known"), "{:?}", excluded.excluded.last());
    let mut run = recorded::run();
    run.record.power.idle_w = Some(sizewell::units::Watts(20.0));
    for row in &mut run.cases {
        row.metrics.power =
            Some(sizewell::record::Estimate { value: sizewell::units::Watts(70.0), lo: None, hi: None });
    }
    let ranking = rank(&run, catalog(), &request).unwrap();
    let row = ranking.rows.iter().find(|row| row.market == Some(Market::OnPrem)).unwrap();
    // 70 W measured and 30 W of the rest, PUE 1.3, 0.09 USD/kWh.
    let energy = row.components.unwrap().of(Component::Energy).value.to_f64() * row.requests_per_s.value * 3600.0;
    assert!((energy - 0.1 * 1.3 * 0.09).abs() < 1e-9, "{energy}");
}

#[test]
fn serverless_pays_for_each_part_of_the_day() {
    let at = |rates: Vec<f64>| {
        let usage = Usage::Demand(Demand { load: Load::Rates(rates), headroom: 1.0, spare: 0, autoscale: false });
        let service =
            Service { usage, cold_s: Some(Interval::exact(20.0)), keep_warm_s: Some(30.0), ..Service::default() };
        let ranking = ranked(&RankRequest { service, markets: vec![Market::Serverless], ..request() });
        let row = ranking.rows.iter().find(|row| &*row.provider == "runpod-serverless-flex").unwrap();
        (row.usd_per_request.unwrap().value.to_f64(), row.name())
    };
    let ((busy, name), (quiet, same)) = (at(vec![50.0]), at(vec![0.001]));
    let (day, _) = at(vec![50.0, 0.001]);
    assert_eq!(name, same);
    let mean = (50.0 * busy + 0.001 * quiet) / 50.001;
    assert!((day / mean - 1.0).abs() < 1e-6, "{day} against {mean}");
}
