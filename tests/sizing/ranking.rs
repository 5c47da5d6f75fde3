//! Rankings of a recorded run: what is measured, what is projected, what is left out, and that none of it is mixed up.

use crate::support::recorded;
use jiff::civil::{Date, date};
use rust_decimal::Decimal;
use sizewell::catalog::{Catalog, Market};
use sizewell::record::{Basis, InvalidReason, Run};
use sizewell::report::rank_csv;
use sizewell::sizing::points::RequestedLengths;
use sizewell::sizing::projection::Tier;
use sizewell::sizing::{MachinePrice, RankRequest, RankRow, Ranking, rank};
use sizewell::units::Usd;
use sizewell::workload::{CacheType, Case, Preset, Quant};

const TODAY: Date = date(2026, 11, 23);

fn request() -> RankRequest {
    RankRequest::on(TODAY)
}

fn ranked(run: &Run, request: &RankRequest) -> Ranking {
    rank(run, &Catalog::embedded().unwrap(), request).unwrap()
}

fn of<'a>(ranking: &'a Ranking, name: &str) -> &'a RankRow {
    let found = ranking.rows.iter().find(|row| format!("{}:{}", row.provider, row.instance_type) == name);
    found.unwrap_or_else(|| panic!("{name} is not ranked"))
}

fn strings(texts: &[std::sync::Arc<str>]) -> Vec<&str> {
    texts.iter().map(|text| &**text).collect()
}

fn why<'a>(ranking: &'a Ranking, name: &str) -> &'a str {
    let found = ranking.excluded.iter().find(|item| item.offer == name);
    &found.unwrap_or_else(|| panic!("{name} is not excluded")).reason
}

#[test]
fn a_price_makes_a_measured_row_exact() {
    let machine = MachinePrice { instance: None, usd_per_h: Some(Usd(Decimal::new(36, 1))) };
    let ranking = ranked(&recorded::run(), &RankRequest { machine, ..request() });
    let row = ranking.rows.iter().find(|row| row.basis == Basis::Measured).unwrap();
    assert_eq!((row.quant, row.batch, row.method), (Quant::F16, 16, "measured"));
    // 16 requests in 3.6 + 32 x 0.04 = 4.88 s; an hour costs 3.60, so a thousand requests cost 0.305.
    assert!((row.requests_per_s.value - 16.0 / 4.88).abs() < 1e-9);
    let cost = row.usd_per_thousand_requests.unwrap();
    assert_eq!(cost.value.0.round_dp(9), Decimal::new(305, 3));
    assert!(cost.lo < cost.value && cost.value < cost.hi, "the interval of the measurement is carried through");
    let tokens = row.usd_per_million_tokens.unwrap().value.0;
    assert_eq!(tokens.round_dp(6), (Decimal::new(305, 3) * Decimal::from(1000) / Decimal::from(33)).round_dp(6));
}

#[test]
fn the_machine_is_priced_as_the_instance_that_it_is() {
    let machine = MachinePrice { instance: Some(("aws".into(), "c7a.large".into())), usd_per_h: None };
    let ranking = ranked(&recorded::run(), &RankRequest { machine, all_regions: true, ..request() });
    let measured: Vec<&RankRow> = ranking.rows.iter().filter(|row| row.basis == Basis::Measured).collect();
    assert_eq!(measured.len(), 6, "one row a region");
    assert!(measured.iter().all(|row| &*row.instance_type == "c7a.large" && row.usd_per_million_tokens.is_some()));
    assert!(!ranking.rows.iter().any(|row| &*row.instance_type == "c7a.large" && row.basis == Basis::Projected));
    let nowhere = MachinePrice { instance: Some(("aws".into(), "x9.huge".into())), usd_per_h: None };
    let error = rank(&recorded::run(), &Catalog::embedded().unwrap(), &RankRequest { machine: nowhere, ..request() });
    assert!(error.unwrap_err().contains("--price-per-hour"));
}

#[test]
fn without_a_price_the_machine_stands_last_and_says_why() {
    let ranking = ranked(&recorded::run(), &request());
    let last = ranking.rows.last().unwrap();
    assert_eq!((last.basis, last.usd_per_million_tokens), (Basis::Measured, None));
    assert!(last.why_no_cost.as_ref().unwrap().contains("--as"));
    assert!(ranking.headline[0].starts_with("Nothing measured has a price"), "{:?}", ranking.headline);
}

#[test]
fn a_projected_winner_is_announced_as_projected() {
    let machine = MachinePrice { instance: None, usd_per_h: Some(Usd(Decimal::from(100))) };
    let ranking = ranked(&recorded::run(), &RankRequest { machine, ..request() });
    assert_eq!(ranking.rows[0].basis, Basis::Projected);
    assert!(ranking.headline[0].starts_with("Cheapest measured: this machine"), "{:?}", ranking.headline);
    assert!(ranking.headline[1].starts_with("Cheapest projected, not measured"), "{:?}", ranking.headline);
    assert!(ranking.rows.iter().skip(1).any(|row| row.tied_with_first));
    let costs: Vec<Usd> = ranking.rows.iter().filter_map(|r| r.usd_per_million_tokens).map(|c| c.value).collect();
    assert!(costs.is_sorted());
}

#[test]
fn projections_are_wide_and_never_beat_the_roof() {
    let ranking = ranked(&recorded::run(), &request());
    let l4 = of(&ranking, "aws:g6.xlarge");
    assert_eq!(l4.basis, Basis::Projected);
    // 269 MB of weights at 300 GB/s take 0.9 ms: neither end may be below that.
    // No card was measured with this engine: the difference between engines is in the margin.
    assert!(l4.tpot_s.lo >= 0.9e-3 && l4.tpot_s.hi >= 2.0 * l4.tpot_s.value, "{:?}", l4.tpot_s);
    let ground = l4.ground.as_ref().unwrap();
    assert_eq!((ground.tier, &*ground.law_of), (Tier::F, "vllm"));
    assert!(ground.roofline_tpot_s >= 0.89e-3 && ground.calibration_cards == 5);
    for row in ranking.rows.iter().filter(|row| row.basis == Basis::Projected) {
        for interval in [row.ttft_s, row.tpot_s, row.requests_per_s] {
            assert!(interval.lo <= interval.value && interval.value <= interval.hi);
        }
    }
    // Eight cards are eight copies: eight times the requests at the same latency.
    let (one, eight) = (of(&ranking, "lambda:gpu_1x_h100_sxm5"), of(&ranking, "lambda:gpu_8x_h100_sxm5"));
    assert_eq!((one.replicas, eight.replicas), (1, 8));
    assert!((eight.requests_per_s.value / one.requests_per_s.value - 8.0).abs() < 1e-9);
    assert_eq!(one.tpot_s, eight.tpot_s);
}

#[test]
fn cpus_are_projected_within_a_generation_only() {
    let ranking = ranked(&recorded::run(), &request());
    let genoa = of(&ranking, "aws:m7a.large");
    assert_eq!(genoa.method, "same CPU generation");
    assert!(genoa.tpot_s.lo < 0.04 && genoa.tpot_s.hi > 0.04);
    assert!(why(&ranking, "aws:m7i.large").contains("CPUs are not projected across"));
    assert!(why(&ranking, "aws:m7a.24xlarge").contains("too far"));
    let mut unknown = recorded::run();
    unknown.record.environment.cpu.model = "Some CPU".into();
    unknown.record.environment.cpu.signature = "1/2/3".into();
    assert!(why(&ranked(&unknown, &request()), "aws:m7a.large").contains("not one that the catalog names"));
}

#[test]
fn a_vcpu_is_a_hardware_thread() {
    // Four cores with two threads each, one engine thread a core: the machine is one of 8 vCPUs.
    let mut run = recorded::run();
    let cpu = &mut run.record.environment.cpu;
    (cpu.model, cpu.signature) = ("Intel Xeon Platinum 8488C".into(), "6/143/8".into());
    (cpu.cores, cpu.threads, cpu.engine_threads) = (4, 8, 4);
    let ranking = ranked(&run, &request());
    assert!(why(&ranking, "aws:c7i.xlarge").contains("too far"), "half the machine was not measured");
    let same = of(&ranking, "aws:m7i.2xlarge");
    assert!((same.tpot_s.value - 0.040).abs() < 1e-12, "{:?}", same.tpot_s);
}

#[test]
fn what_the_measurement_is_uncertain_by_is_projected_too() {
    let mut run = recorded::run();
    let wide = |run: &mut Run| {
        for row in &mut run.cases {
            let tpot = row.metrics.tpot.as_mut();
            if let Some(tpot) = tpot {
                tpot.hi = Some(sizewell::units::Seconds(tpot.median.0 * 3.0));
            }
        }
    };
    let before = of(&ranked(&run, &request()), "aws:m7a.large").tpot_s;
    wide(&mut run);
    let after = of(&ranked(&run, &request()), "aws:m7a.large").tpot_s;
    assert!(after.hi > 2.9 * before.hi && after.value == before.value, "{before:?} {after:?}");
}

#[test]
fn what_the_user_names_is_taken_at_its_word_and_checked() {
    let mut run = recorded::run();
    run.record.environment.instance.usd_per_hour = Some(Decimal::from(9));
    let machine = |name: &str| MachinePrice { instance: Some(("aws".into(), name.into())), usd_per_h: None };
    let ranking = ranked(&run, &RankRequest { machine: machine("c7a.large"), ..request() });
    let measured = ranking.rows.iter().find(|row| row.basis == Basis::Measured).unwrap();
    assert!(measured.usd_per_h.unwrap().0 < Decimal::ONE && measured.price_age_days.is_some());
    let ranking = ranked(&run, &RankRequest { machine: machine("g6.xlarge"), ..request() });
    let measured = ranking.rows.iter().find(|row| row.basis == Basis::Measured).unwrap();
    assert!(measured.doubts.iter().any(|doubt| doubt.contains("did not use")), "{:?}", measured.doubts);
    let catalog = Catalog::embedded().unwrap();
    for (request, part) in [
        (RankRequest { providers: vec!["nope".into()], ..request() }, "no provider `nope`"),
        (RankRequest { regions: vec!["nope".into()], ..request() }, "no region `nope`"),
        (RankRequest { machine: machine("x9.huge"), ..request() }, "no offer aws:x9.huge"),
    ] {
        let error = rank(&run, &catalog, &request).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn what_cannot_be_said_is_left_out_with_the_reason() {
    let ranking = ranked(&recorded::run(), &RankRequest { markets: vec![Market::OnDemand, Market::Spot], ..request() });
    assert!(why(&ranking, "aws:p2.xlarge").contains("older than the kernels"));
    assert!(why(&ranking, "azure:Standard_ND96isr_MI300X_v5").contains("NVIDIA cards only"));
    assert!(why(&ranking, "aws:g7.2xlarge").contains("not known"));
    assert!(why(&ranking, "hyperstack:n3-A100x1").contains("out of date"));
    let mut bf16 = recorded::run();
    for row in &mut bf16.cases {
        row.key.case.quant = Quant::Bf16;
    }
    assert!(why(&ranked(&bf16, &request()), "aws:g4dn.xlarge").contains("no rate in bf16"));
}

#[test]
fn a_model_that_does_not_fit_is_said_to() {
    let mut run = recorded::run();
    let preset = Preset::named("llama-3.1-8b").unwrap();
    run.record.model.as_mut().unwrap().shape = preset.shape;
    let ranking = ranked(&run, &request());
    assert!(why(&ranking, "aws:g4dn.xlarge").starts_with("does not fit: "));
    assert_eq!(of(&ranking, "aws:g6.xlarge").batch, 16);
    let csv = rank_csv::export(&ranking).unwrap();
    assert!(csv.lines().any(|line| line.starts_with("does_not_fit,,aws,g4dn.xlarge")), "{csv}");
    let int8 = ranked(&run, &RankRequest { quants: vec![Quant::Int8], ..request() });
    assert_eq!(of(&int8, "aws:g4dn.xlarge").quant, Quant::Int8);
}

#[test]
fn what_fits_a_host_follows_from_the_cache_that_the_engine_keeps() {
    // 64 x 8,016 tokens of SmolLM2 135M: 12.2 GiB with 16-bit caches, 6.7 with 8-bit ones, 23.2 with 32-bit ones.
    let with = |cache: Option<CacheType>| {
        let mut run = recorded::run();
        let mut row = recorded::measured(Quant::F16, 64, 90.0, 0.2);
        row.key.case = Case { cache, ..Case::new(Quant::F16, 64, 8000, 16) };
        run.cases = vec![row];
        ranked(&run, &request())
    };
    for cache in [None, Some(CacheType::F16), Some(CacheType::Int8)] {
        let ranking = with(cache);
        assert_eq!(of(&ranking, "aws:m7a.xlarge").batch, 64, "{cache:?} in 16 GiB");
    }
    assert!(why(&with(Some(CacheType::F32)), "aws:m7a.xlarge").starts_with("does not fit: 23.2 GiB"));
    assert!(why(&with(None), "aws:m7a.large").starts_with("does not fit: 12.2 GiB"));
    assert_eq!(of(&with(Some(CacheType::Int8)), "aws:m7a.large").batch, 64, "in 8 GiB");
}

#[test]
fn limits_of_any_percentile_are_kept_missed_or_not_known() {
    let run = recorded::run();
    let with = |run: &Run, slo: &str| ranked(run, &RankRequest { slo: slo.parse().unwrap(), ..request() });
    let is_measured = |ranking: &Ranking| ranking.rows.iter().any(|row| row.basis == Basis::Measured);
    // Medians alone: a p95 above the median of every batch is not known, and not taken for kept.
    let ranking = with(&run, "ttft_p95=1s");
    assert!(!is_measured(&ranking) && why(&ranking, "this machine").starts_with("cannot tell whether TTFT p95"));
    assert!(why(&ranking, "aws:g6.xlarge").contains("TTFT p95 is not projected"));
    assert!(why(&with(&run, "ttft_p95=1ms"), "this machine").contains("keeps the limits"), "its median is above that");
    assert!(why(&with(&run, "ttft=1s,goodput=99%"), "this machine").starts_with("cannot tell whether 99.0 %"));
    assert!(is_measured(&with(&run, "ttft_p10=1s")), "a lower percentile is within what the median is within");
    let mut tailed = recorded::run();
    for row in &mut tailed.cases {
        if let Some(ttft) = &mut row.metrics.ttft {
            (ttft.p90, ttft.p99) = (Some(ttft.median * 1.5), Some(ttft.median * 2.0));
        }
    }
    assert!(is_measured(&with(&tailed, "ttft_p95=1s")), "p99 of a batch of one is 500 ms");
    assert!(why(&with(&tailed, "ttft_p95=350ms"), "this machine").contains("keeps the limits"), "p90 is 375 ms");
    assert!(why(&with(&tailed, "ttft_p95=390ms,tpot=1s"), "this machine").starts_with("cannot tell"));
}

#[test]
fn limits_choose_the_batch_and_exclude_what_misses_them() {
    let run = recorded::run();
    let with = |slo: &str| RankRequest { slo: slo.parse().unwrap(), ..request() };
    let measured = |ranking: &Ranking| ranking.rows.iter().find(|r| r.basis == Basis::Measured).map(|r| r.batch);
    assert_eq!(measured(&ranked(&run, &request())), Some(16));
    assert_eq!(measured(&ranked(&run, &with("ttft=1s"))), Some(4));
    assert_eq!(measured(&ranked(&run, &with("ttft=1s,tpot=12ms"))), Some(1));
    let ranking = ranked(&run, &with("tpot=1us"));
    assert_eq!(measured(&ranking), None);
    assert!(ranking.rows.is_empty() && why(&ranking, "this machine").contains("keeps the limits"));
}

#[test]
fn filters_and_lengths_are_obeyed_or_refused() {
    let run = recorded::run();
    let ranking =
        ranked(&run, &RankRequest { providers: vec!["GCP".into()], regions: vec!["us-central1".into()], ..request() });
    let projected = ranking.rows.iter().filter(|row| row.basis == Basis::Projected);
    assert!(projected.clone().count() > 3);
    assert!(projected.into_iter().all(|row| &*row.provider == "gcp" && row.region.as_deref() == Some("us-central1")));
    let catalog = Catalog::embedded().unwrap();
    let error = rank(
        &run,
        &catalog,
        &RankRequest {
            wanted: RequestedLengths { prompt_tokens: Some(999), ..RequestedLengths::default() },
            ..request()
        },
    )
    .unwrap_err();
    assert!(error.contains("--prompt 128 --gen-tokens 33"), "{error}");
    let error = rank(&run, &catalog, &RankRequest { quants: vec![Quant::F32], ..request() }).unwrap_err();
    assert!(error.contains("f32 was not measured"), "{error}");
    let empty = Run { cases: Vec::new(), ..recorded::run() };
    assert!(rank(&empty, &catalog, &request()).unwrap_err().contains("no measured case"));
    // Roofs of the measured machine say nothing of others, and a run without them projects all the same.
    let mut bare = recorded::run();
    bare.record.ceilings.clear();
    assert_eq!(of(&ranked(&bare, &request()), "aws:g6.xlarge").basis, Basis::Projected);
    bare.record.model = None;
    assert!(why(&ranked(&bare, &request()), "aws:g6.xlarge").contains("shape"));
}

#[test]
fn every_price_has_its_age_and_doubts_travel_along() {
    let mut run = recorded::run();
    run.cases[2].invalid.push(InvalidReason::Noisy);
    let ranking = ranked(&run, &request());
    assert_eq!(of(&ranking, "aws:g6.xlarge").price_age_days, Some(126));
    assert!(of(&ranking, "jarvislabs:1x_L4_28V_124G").price_age_days.is_none());
    let measured = ranking.rows.iter().find(|row| row.basis == Basis::Measured).unwrap();
    assert_eq!(strings(&measured.doubts), ["the measurement is noisy"]);
    let doubts = |name: &str| strings(&of(&ranking, name).doubts);
    assert_eq!(doubts("aws:m7a.large"), ["the measurement is noisy"], "what is projected from it too");
    assert!(doubts("aws:g6.xlarge").is_empty(), "cards are not projected from a CPU's times");
    let text = sizewell::report::terminal::render(&sizewell::report::content::ranking(&ranking, 5), Some(160));
    assert!(text.contains("measured*") && text.contains("* doubtful: the measurement is noisy"), "{text}");
    // What the engine's kernels cannot show of a card is a doubt of the card's row.
    run.cases[2].invalid = vec![InvalidReason::SlowKernels];
    let ranking = ranked(&run, &request());
    let measured = ranking.rows.iter().find(|row| row.basis == Basis::Measured).unwrap();
    let slow = "the engine's kernels do not show what the card can do at this batch";
    assert_eq!(strings(&measured.doubts), [slow]);
}
