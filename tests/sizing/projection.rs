//! Projections to cards: how far off they are on cards that were left out, what they refuse, and that none beats the roof.

use crate::support::recorded;
use sizewell::catalog::Catalog;
use sizewell::evidence::{self, bundled};
use sizewell::record::{Basis, Run};
use sizewell::sizing::projection::law::{Law, LawInput};
use sizewell::sizing::projection::laws::RelativesCache;
use sizewell::sizing::projection::observation::Observation;
use sizewell::sizing::projection::terms::{KernelClass, Kind, Phase};
use sizewell::sizing::projection::{Card, Laws, Target, Tier, Work, carried, observations};
use sizewell::sizing::validate::{fixed_split, leave_one_out};
use sizewell::sizing::{RankRequest, rank};
use sizewell::workload::{CacheType, Preset, Quant};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog::embedded().unwrap())
}

fn card(id: &str) -> Arc<Card> {
    Arc::new(Card::of(&catalog().accelerators[id]).unwrap())
}

/// The gates of a release, on the measurements that the program carries.
#[test]
fn projections_to_left_out_cards_keep_their_gates() {
    let validation = leave_one_out(bundled(), catalog()).unwrap();
    let llama = &validation.engines["llama.cpp quantized"];
    assert!(llama.decode_mape.unwrap() < 0.08 && llama.decode_p90.unwrap() < 0.16, "{llama:?}");
    assert!(llama.prefill_mape.unwrap() < 0.15 && llama.prefill_p90.unwrap() < 0.30, "{llama:?}");
    let coverage = llama.coverage.unwrap();
    assert!((0.85..=0.97).contains(&coverage) && llama.width.unwrap() < 1.25, "{llama:?}");
    assert!(llama.order.unwrap() > 0.9, "{llama:?}");
    let vllm = &validation.engines["vllm dense"];
    assert!(vllm.decode_mape.unwrap() < 0.13, "{vllm:?}");
    assert!(validation.flat_roofline.decode_mape.unwrap() > 5.0 * llama.decode_mape.unwrap());
    assert!(validation.devices.len() >= 12 && validation.refused.is_empty());
}

fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/evidence").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {name} is not beside the project");
    None
}

/// The whole public collection, where it is beside the project.
#[test]
fn the_goals_hold_on_the_whole_collection() {
    let Some(path) = shared("llamacpp_cloud.csv.gz") else { return };
    let runs = evidence::read(&[path], None, &Default::default()).unwrap();
    let validation = leave_one_out(&runs, catalog()).unwrap();
    let all = &validation.overall;
    assert!(all.decode_mape.unwrap() <= 0.08 && all.decode_p90.unwrap() <= 0.16, "{all:?}");
    assert!(all.prefill_mape.unwrap() <= 0.15 && all.prefill_p90.unwrap() <= 0.30, "{all:?}");
    assert!((0.87..=0.95).contains(&all.coverage.unwrap()) && all.width.unwrap() <= 1.25, "{all:?}");
    assert!(all.regret_median.unwrap() <= 1.03 && all.regret_worst.unwrap() <= 1.15, "{all:?}");
    let cpus = validation.cpus.unwrap();
    assert!(cpus.prefill_median.unwrap() <= 0.05 && cpus.median.unwrap() <= 0.05, "{cpus:?}");
    assert!(cpus.refused_other_model > 0, "nothing is said across CPU models");
    // What says nothing about a whole card is not used, and each has its reason.
    for (hardware, part) in
        [("NVIDIA L4-3Q", "virtual GPU"), ("Tesla P100-PCIE-16GB", "capability"), ("NVIDIA H200", "several cards")]
    {
        let found = validation.not_used.iter().find(|n| n.hardware == hardware && n.reason.contains(part));
        assert!(found.is_some(), "{hardware}: {:?}", validation.not_used);
    }
}

fn without(name: &str) -> (Vec<Run>, Vec<Run>) {
    let is = |run: &Run| run.record.engine.hardware.as_deref() == Some(name);
    bundled().iter().cloned().partition(|run| !is(run))
}

#[test]
fn a_fixed_split_projects_what_was_kept_apart() {
    let (train, test) = without("NVIDIA L4");
    let validation = fixed_split(&train, &test, catalog()).unwrap();
    assert_eq!(validation.method, "fixed_split");
    assert_eq!(validation.devices.keys().collect::<Vec<_>>(), ["NVIDIA L4"]);
    let json = serde_json::to_value(&validation).unwrap();
    for key in [
        "decode_mape",
        "decode_p90",
        "prefill_mape",
        "prefill_p90",
        "coverage",
        "width",
        "regret_median",
        "regret_worst",
    ] {
        assert!(json[key].is_number() && json["overall"][key] == json[key], "{key}: {}", json[key]);
        assert!(json["devices"]["NVIDIA L4"].get(key).is_some(), "{key}");
    }
    assert!(fixed_split(&train, &[], catalog()).unwrap_err().contains("nothing to project to"));
}

#[test]
fn no_projection_beats_the_roof() {
    let laws = carried::laws(&[], catalog());
    let (engine, unknown): (Arc<str>, Arc<str>) = ("llama.cpp".into(), "a model that nobody measured".into());
    let mut asked = 0;
    for accelerator in catalog().accelerators.values() {
        let Ok(card) = Card::of(accelerator).map(Arc::new) else { continue };
        for preset in Preset::all() {
            for quant in [Quant::F16, Quant::Int8, Quant::Int4] {
                for batch in [1, 16, 256] {
                    let shape = &preset.shape;
                    let bytes = shape.step_weight_bytes(quant, batch).0;
                    let target = Target { card: &card, engine: &engine, host: None, model: &unknown, quant };
                    let works = [
                        (Phase::Decode, Work::decode(shape, bytes, batch, 2048.0, CacheType::F16)),
                        (Phase::Prefill, Work::prefill(shape, bytes, batch, 512.0)),
                    ];
                    for (phase, work) in works {
                        let Some(p) = laws.project(phase, &target, &work, &mut RelativesCache::default()) else {
                            continue;
                        };
                        let time = p.time;
                        assert!(p.roofline_s <= time.lo && time.lo <= time.value && time.value <= time.hi, "{p:?}");
                        assert!(p.roofline_s > 0.0 && time.hi.is_finite(), "{} {}: {p:?}", card.name, preset.name);
                        asked += 1;
                    }
                }
            }
        }
    }
    assert!(asked > 5000, "{asked}");
}

#[test]
fn more_work_takes_more_time() {
    let laws = carried::laws(&[], catalog());
    let engine: Arc<str> = "llama.cpp".into();
    let model: Arc<str> = "llama-7b.Q4_K_M.gguf".into();
    let shape = Preset::named("llama-2-7b").unwrap().shape;
    let card = card("nvidia/l40s-48");
    let target = Target { card: &card, engine: &engine, host: None, model: &model, quant: Quant::Int4 };
    let bytes = shape.step_weight_bytes(Quant::Int4, 1).0;
    let time =
        |phase, work: Work| laws.project(phase, &target, &work, &mut RelativesCache::default()).unwrap().time.value;
    let decode = |batch, context| time(Phase::Decode, Work::decode(&shape, bytes, batch, context, CacheType::F16));
    assert!(decode(1, 64.0) < decode(1, 4096.0) && decode(1, 64.0) < decode(8, 64.0));
    // Eight sequences share the weights: they take less than eight times as long.
    assert!(decode(8, 64.0) < 8.0 * decode(1, 64.0));
    let prefill = |prompt| time(Phase::Prefill, Work::prefill(&shape, bytes, 1, prompt));
    let times: Vec<f64> = [16.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0].map(prefill).to_vec();
    assert!(times.is_sorted(), "{times:?}");
}

/// A law of passes (encoders, image classifiers) is fitted like any other.
#[test]
fn passes_have_laws_too() {
    let kind = Kind { class: KernelClass::Dense, phase: Phase::Pass, long: false };
    let engine: Arc<str> = "candle".into();
    let ids = ["t4-16", "l4-24", "a10g-24", "l40s-48", "a100-sxm-80", "h100-sxm-80", "v100-sxm2-16"];
    let observe = |id: &str, batch: f64, truth: &dyn Fn(&Card, &Work) -> f64| {
        let card = card(&format!("nvidia/{id}"));
        let work = Work::pass(batch, 128.0, 12.0, batch * 128.0 * 170e6, 170e6, batch * 128.0 * 50e3);
        let seconds = truth(&card, &work);
        let (model, quant) = ("an encoder".into(), Quant::F16);
        Observation {
            engine: engine.clone(),
            phase: Phase::Pass,
            card,
            host: None,
            instance: None,
            model,
            quant,
            work,
            seconds,
            variance: 0.0,
        }
    };
    let truth = |card: &Card, work: &Work| 2.0 * work.ops / card.fp16.unwrap() + work.layers * 40e-6 / card.ghz;
    let all: Vec<Observation> =
        ids.iter().flat_map(|id| [1.0, 8.0, 64.0].map(|batch| observe(id, batch, &truth))).collect();
    let (test, train): (Vec<&Observation>, Vec<&Observation>) =
        all.iter().partition(|o| &*o.card.id == "nvidia/l40s-48");
    let law = Law::fit(kind, &engine, &train, 0.0).unwrap();
    for observation in test {
        let estimate = law.estimate(&LawInput::of(observation)).unwrap();
        assert!((estimate.seconds / observation.seconds - 1.0).abs() < 0.02, "{estimate:?} {observation:?}");
    }
}

/// A run of candle on a card, which took 1.5 times what llama.cpp does.
fn on_card(hardware: &str, tpot: f64) -> Run {
    let mut run = recorded::run();
    run.record.engine.device = "cuda:0".into();
    run.record.engine.hardware = Some(hardware.into());
    run.cases.retain(|row| row.metrics.tpot.is_some());
    for row in &mut run.cases {
        row.key.device = "cuda:0".into();
        let time = row.metrics.tpot.as_mut().unwrap();
        let factor = tpot / time.median.0;
        for end in [Some(&mut time.median), time.lo.as_mut(), time.hi.as_mut()].into_iter().flatten() {
            end.0 *= factor;
        }
    }
    run
}

#[test]
fn a_measurement_on_a_card_narrows_what_is_said_of_others() {
    let today = jiff::civil::date(2026, 11, 24);
    let ranked = |run: &Run| rank(run, catalog(), &RankRequest::on(today)).unwrap();
    let of = |run: &Run| {
        let ranking = ranked(run);
        let row = ranking.rows.iter().find(|row| row.name() == "aws:g6e.xlarge").unwrap().clone();
        assert_eq!(row.basis, Basis::Projected);
        row
    };
    let width = |row: &sizewell::sizing::RankRow| row.tpot_s.hi / row.tpot_s.value;
    let from_cpu = of(&recorded::run());
    let from_card = of(&on_card("NVIDIA L4", 0.004));
    assert_eq!((from_cpu.ground.as_ref().unwrap().tier, from_card.ground.as_ref().unwrap().tier), (Tier::F, Tier::F));
    assert!(width(&from_card) < width(&from_cpu), "{:?} {:?}", from_card.tpot_s, from_cpu.tpot_s);
    // The level is that of the engine that was measured: slower here is slower there.
    let slower = of(&on_card("NVIDIA L4", 0.008));
    assert!(slower.tpot_s.value > 1.5 * from_card.tpot_s.value);
    // The same card elsewhere: the nearest that there is.
    let ranking = ranked(&on_card("NVIDIA L4", 0.004));
    let same = ranking.rows.iter().find(|row| row.name() == "aws:g6.xlarge").unwrap();
    assert_eq!(same.ground.as_ref().unwrap().tier, Tier::I);
    assert!((same.tpot_s.value / 0.004 - 1.0).abs() < 0.05 && width(same) < width(&from_card), "{:?}", same.tpot_s);
}

#[test]
fn what_is_not_a_whole_card_is_no_observation() {
    let reason = |change: &dyn Fn(&mut Run)| {
        let mut run = on_card("NVIDIA L4", 0.004);
        change(&mut run);
        let (found, unused) = observations(&[&run], catalog());
        assert!(found.is_empty());
        unused[0].reason.clone()
    };
    assert!(reason(&|run| run.record.accelerators = 4).contains("several cards"));
    assert!(reason(&|run| run.record.engine.hardware = Some("NVIDIA L4-12Q".into())).contains("virtual GPU"));
    assert!(reason(&|run| run.record.engine.hardware = Some("Some card".into())).contains("not in accelerators.csv"));
    assert!(reason(&|run| run.record.model = None).contains("shape"));
    assert!(reason(&|run| run.record.arrival = "offline".into()).contains("mixed"));
    assert!(reason(&|run| run.record.engine.device = "mixed".into()).contains("on the CPU"));
}

#[test]
fn laws_say_what_their_terms_are_worth() {
    let laws = Laws::fit(&observations(&bundled().iter().collect::<Vec<_>>(), catalog()).0);
    let described = laws.described();
    let decode =
        described.iter().find(|law| law.class == KernelClass::Quantized && law.phase == Phase::Decode).unwrap();
    let weight = |name: &str| decode.terms.iter().find(|(term, _)| term == name).unwrap().1;
    // Weights cannot be read faster than the bandwidth, nor at half of it; a layer takes some 100 us at 1 GHz.
    assert!((1.0..1.6).contains(&weight("weights / bandwidth")), "{decode:?}");
    assert!((80.0..180.0).contains(&weight("layers / clock")), "{decode:?}");
    assert_eq!(
        described.iter().filter(|law| law.phase == Phase::Prefill && law.class == KernelClass::Quantized).count(),
        4
    );
}

/// Sizes of a CPU that were measured say more of others than one size scaled.
#[test]
fn several_sizes_of_a_cpu_are_the_best_witnesses_of_another() {
    let sized = |name: &str, threads: usize, factor: f64| {
        let mut run = recorded::run();
        run.record.engine.name = "candle".into();
        let environment = &mut run.record.environment;
        (environment.cpu.threads, environment.cpu.cores, environment.cpu.engine_threads) = (threads, threads, threads);
        environment.instance.provider = Some("aws".into());
        environment.instance.instance_type = Some(name.into());
        for row in &mut run.cases {
            for time in [&mut row.metrics.ttft, &mut row.metrics.tpot].into_iter().flatten() {
                time.median.0 *= factor;
            }
        }
        run
    };
    let runs = [sized("c7a.large", 2, 1.0), sized("c7a.xlarge", 4, 0.55), sized("c7a.4xlarge", 16, 0.2)];
    let request = RankRequest::on(jiff::civil::date(2026, 11, 24));
    let of = |runs: &[&Run]| {
        let ranking = sizewell::sizing::rank_runs(runs, catalog(), &request).unwrap();
        ranking.rows.iter().find(|row| row.name() == "aws:m7a.xlarge").unwrap().clone()
    };
    let alone = of(&[&runs[0]]);
    let all = of(&[&runs[0], &runs[1], &runs[2]]);
    assert_eq!((alone.method, all.method), ("same CPU generation", "other instances of this CPU"));
    assert!((all.tpot_s.value / (0.040 * 0.55) - 1.0).abs() < 1e-9, "that of c7a.xlarge: {:?}", all.tpot_s);
    assert!(all.tpot_s.hi / all.tpot_s.lo < alone.tpot_s.hi / alone.tpot_s.lo);
}
