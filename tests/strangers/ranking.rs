//! What a ranking makes of imported and measured runs.

use crate::support::recorded;
use sizewell::catalog::Catalog;
use sizewell::evidence::{self, Evidence, Overrides};
use sizewell::record::systems::gathered;
use sizewell::record::{Basis, Distribution, InvalidReason, Run};
use sizewell::sizing::points::RequestedLengths;
use sizewell::sizing::{MachinePrice, RankRequest, RankRow, Ranking, rank_runs};
use sizewell::units::{Seconds, Usd};
use sizewell::workload::{CacheType, Case, Quant};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/ranking").join(name)
}

fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog::embedded().unwrap())
}

fn request() -> RankRequest {
    RankRequest::on(jiff::civil::date(2026, 11, 27))
}

fn on(hardware: Option<&str>) -> Overrides {
    Overrides { quant: Some(Quant::Bf16), hardware: hardware.map(str::to_string), ..Overrides::default() }
}

fn files(names: &[&str], overrides: &Overrides) -> Evidence {
    let paths: Vec<PathBuf> = names.iter().map(|name| case(name)).collect();
    evidence::read_files(&paths, None, overrides).unwrap()
}

fn ranked(runs: &[Run], request: &RankRequest) -> Result<Ranking, String> {
    rank_runs(&runs.iter().collect::<Vec<_>>(), catalog(), request)
}

fn row<'r>(ranking: &'r Ranking, instance: &str) -> &'r RankRow {
    ranking.rows.iter().find(|row| &*row.instance_type == instance).unwrap()
}

const RATES: [&str; 3] = ["rate1.json", "rate4.json", "rate8.json"];
const USERS: [&str; 4] = ["users1.json", "users4.json", "users16.json", "users64.json"];
const H100: &str = "NVIDIA H100 80GB HBM3";

#[test]
fn one_sweep_in_several_files_is_one_system_in_any_order() {
    let mut answers = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let reading = files(&order.map(|at| RATES[at]), &on(Some(H100)));
        let [run] = reading.runs.as_slice() else { panic!("{} systems", reading.runs.len()) };
        assert_eq!((run.cases.len(), run.record.arrival.as_str()), (3, "open_poisson"));
        assert_eq!(run.record.import.as_ref().unwrap().files.len(), 3);
        let fastest = run.cases.iter().filter_map(|row| row.metrics.decode_tokens_per_s).map(|rate| rate.value.0);
        assert_eq!(fastest.fold(0.0, f64::max), 1024.0);
        let ranking = ranked(&reading.runs, &request()).unwrap();
        assert_eq!(ranking.rows[0].batch, 13);
        answers.push((ranking.headline.clone(), ranking.rows.iter().map(|row| row.ttft_s.value).collect::<Vec<_>>()));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn the_same_sweep_in_several_folders_is_one_system_too() {
    let place = tempfile::tempdir().unwrap();
    let folders = |order: [usize; 3]| {
        let runs = order.map(|at| {
            let folder = place.path().join(RATES[at]);
            if !folder.exists() {
                let reading = files(&[RATES[at]], &on(Some(H100)));
                evidence::write(&folder, &reading, Vec::new(), jiff::Timestamp::now()).unwrap();
            }
            Run::read_systems(&folder).unwrap()
        });
        gathered(runs.into_iter().flatten().collect())
    };
    let (one, other) = (folders([0, 1, 2]), folders([2, 0, 1]));
    assert_eq!((one.len(), one[0].cases.len(), other.len()), (1, 3, 1));
    let headline = |runs: &[Run]| ranked(runs, &request()).unwrap().headline;
    assert_eq!(headline(&one), headline(&other));
    // A folder that is given twice counts once.
    let twice = folders([0, 0, 0]);
    assert_eq!((twice.len(), twice[0].cases.len()), (1, 1));
    assert!(twice[0].cases[0].notes.iter().all(|note| !note.contains("pooled")), "{:?}", twice[0].cases[0].notes);
}

#[test]
fn a_closed_loop_at_four_numbers_of_users_is_one_curve() {
    let reading = files(&USERS, &on(Some(H100)));
    let [run] = reading.runs.as_slice() else { panic!("{} systems", reading.runs.len()) };
    assert_eq!(run.record.arrival, "closed");
    let arrivals: Vec<_> = run.cases.iter().map(|row| row.key.arrival.as_deref().unwrap()).collect();
    assert_eq!(arrivals, ["closed_1", "closed_4", "closed_16", "closed_64"]);
    let ranking = ranked(&reading.runs, &request()).unwrap();
    // The 64 users carry 19.4 requests a second, which is the most.
    assert_eq!(ranking.rows[0].batch, 64);
    // Written and read again it is the same.
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    evidence::write(&folder, &reading, Vec::new(), jiff::Timestamp::now()).unwrap();
    let again = gathered(Run::read_systems(&folder).unwrap());
    assert_eq!(again[0].cases, run.cases);
}

#[test]
fn what_was_measured_twice_is_pooled_whatever_the_order() {
    let of = |names: &[&str]| files(names, &on(Some(H100))).runs;
    for runs in [of(&["users16.json", "users16-again.json"]), of(&["users16-again.json", "users16.json"])] {
        let [run] = runs.as_slice() else { panic!() };
        let [row] = run.cases.as_slice() else { panic!("{} rows", run.cases.len()) };
        let tpot = row.metrics.tpot.unwrap();
        let ms = [tpot.lo.unwrap(), tpot.median, tpot.hi.unwrap()].map(|time| (time.0 * 1e6).round() / 1e3);
        assert_eq!(ms, [11.0, 11.5, 12.0]);
        assert!(row.notes.contains(&"2 repeats, pooled".to_string()), "{:?}", row.notes);
    }
}

#[test]
fn a_request_to_a_server_does_not_wait_for_all_prefills_of_those_in_flight() {
    // 142 requests in flight on an H100, TTFT 487 ms: a batch of 142 prefilled at once would take seven seconds.
    let reading = files(&["open-rate-142.json"], &on(Some(H100)));
    let wanted = RequestedLengths { prompt_tokens: Some(1024), gen_tokens: Some(120), ..RequestedLengths::default() };
    let ranking = ranked(&reading.runs, &RankRequest { wanted, ..request() }).unwrap();
    let same_card = row(&ranking, "p5.4xlarge");
    assert_eq!(same_card.basis, Basis::Projected);
    assert!((same_card.ttft_s.value / 0.487 - 1.0).abs() < 0.02, "{:?}", same_card.ttft_s);
    assert!((same_card.tpot_s.value / 0.1065 - 1.0).abs() < 0.02, "{:?}", same_card.tpot_s);
    // A slower card answers later, and within reason.
    let slower = row(&ranking, "p4de.24xlarge");
    assert!(slower.ttft_s.value > 0.487 && slower.ttft_s.value < 5.0, "{:?}", slower.ttft_s);
}

#[test]
fn threads_of_another_tool_are_not_vcpus() {
    let smt = |instance: Option<&str>| {
        let instance = instance.map(|name| ("aws".to_string(), name.to_string()));
        let reading = files(&["llama-bench-smt.json"], &Overrides { instance, ..Overrides::default() });
        let wanted =
            RequestedLengths { prompt_tokens: Some(128), gen_tokens: Some(128), ..RequestedLengths::default() };
        let providers = vec!["aws".to_string()];
        ranked(&reading.runs, &RankRequest { wanted, providers, ..request() }).unwrap()
    };
    // 8 threads on the 16 vCPUs of an m7i.4xlarge are its 8 cores: half the machine is not as fast.
    let known = smt(Some("m7i.4xlarge"));
    assert!(known.rows.iter().all(|row| &*row.instance_type != "m7i.2xlarge"), "{:?}", known.headline);
    assert!(known.rows.iter().any(|row| &*row.instance_type == "m7i.8xlarge"));
    // Without the instance nobody knows of how many vCPUs the 8 threads were.
    let unknown = smt(None);
    let on_cpu = |row: &&RankRow| row.basis == Basis::Projected && row.hardware.contains("vCPU");
    assert_eq!(unknown.rows.iter().find(on_cpu), None);
    assert!(unknown.excluded.iter().any(|left| left.reason.contains("threads") && left.reason.contains("--as")));
}

#[test]
fn a_run_in_which_nearly_all_requests_failed_is_announced_with_the_doubt() {
    let instance = Some(("aws".to_string(), "g6.xlarge".to_string()));
    let reading = files(&["failed-98.json"], &Overrides { instance, ..on(Some("NVIDIA L4")) });
    let case = &reading.runs[0].cases[0];
    assert_eq!(case.invalid, [InvalidReason::FailedRequests]);
    let ranking = ranked(&reading.runs, &request()).unwrap();
    let measured = ranking.rows.iter().find(|row| row.basis == Basis::Imported).unwrap();
    assert!(measured.doubts.iter().any(|doubt| &**doubt == "98 of 100 requests failed"), "{:?}", measured.doubts);
    assert!(ranking.headline[0].contains("doubtful: 98 of 100 requests failed"), "{:?}", ranking.headline);
}

#[test]
fn a_bad_file_is_left_out_and_the_good_ones_are_imported() {
    for order in [["users4.json", "all-failed.json"], ["all-failed.json", "users4.json"]] {
        let reading = files(&order, &on(Some(H100)));
        assert_eq!((reading.runs.len(), reading.left_out.len()), (1, 1));
        assert!(reading.left_out[0].to_string().contains("all-failed.json"));
        assert!(reading.all_skipped().iter().any(|skipped| skipped.reason.contains("all-failed.json")));
    }
    let alone = evidence::read_files(&[case("all-failed.json")], None, &on(None)).unwrap_err();
    assert!(alone.to_string().contains("no request was completed"), "{alone}");
}

fn machine(instance: Option<(&str, &str)>, price: Option<i64>) -> MachinePrice {
    MachinePrice {
        instance: instance.map(|(provider, name)| (provider.into(), name.into())),
        usd_per_h: price.map(|usd| Usd(usd.into())),
    }
}

#[test]
fn what_is_said_of_a_machine_cannot_contradict_what_was_measured() {
    let runs = files(&["users4.json"], &on(Some(H100))).runs;
    let at = |instance, price| ranked(&runs, &RankRequest { machine: machine(instance, price), ..request() });
    let wrong = at(Some(("aws", "g6.xlarge")), None).unwrap_err();
    assert!(wrong.contains("NVIDIA H100 80GB HBM3") && wrong.contains("l4"), "{wrong}");
    let without = at(Some(("aws", "m7a.large")), None).unwrap_err();
    assert!(without.contains("no accelerator"), "{without}");
    let right = at(Some(("aws", "p5.48xlarge")), None).unwrap();
    assert!(right.rows.iter().any(|row| row.basis == Basis::Imported && row.usd_per_request.is_some()));
    // Two machines cannot both be the one that is named or priced.
    let both: Vec<Run> = [files(&["users4.json"], &on(Some(H100))), files(&["users4.json"], &on(Some("NVIDIA L4")))]
        .into_iter()
        .flat_map(|reading| reading.runs)
        .collect();
    for machine in [machine(Some(("aws", "p5.48xlarge")), None), machine(None, Some(3))] {
        let refused = ranked(&both, &RankRequest { machine, ..request() }).unwrap_err();
        assert!(refused.contains("several"), "{refused}");
    }
    assert!(ranked(&both, &request()).is_ok());
}

#[test]
fn repeats_of_a_run_are_no_rivals() {
    let (one, mut other) = (recorded::run(), recorded::run());
    other.record.started_at = jiff::Timestamp::now();
    for tpot in other.cases.iter_mut().filter_map(|row| row.metrics.tpot.as_mut()) {
        *tpot = Distribution { median: Seconds(tpot.median.0 * 1.1), lo: None, hi: None, ..*tpot };
    }
    let runs = gathered(vec![one.clone(), other.clone()]);
    assert_eq!((runs.len(), runs[0].cases.len()), (1, one.cases.len()));
    let tpots = |run: &Run| run.cases.iter().filter_map(|row| row.metrics.tpot).map(|t| t.median.0).collect::<Vec<_>>();
    for (pooled, first) in tpots(&runs[0]).into_iter().zip(tpots(&one)) {
        assert!((pooled / first - 1.05).abs() < 1e-9, "{pooled} {first}");
    }
    let price = RankRequest { machine: machine(None, Some(1)), ..request() };
    let ranking = ranked(&runs, &price).unwrap();
    assert_eq!(ranking.rows.iter().filter(|row| row.basis == Basis::Measured).count(), 1);
    // Another build of the program is another system.
    other.record.environment.git_revision = "another".into();
    assert_eq!(gathered(vec![one, other]).len(), 2);
}

#[test]
fn a_cache_counts_in_what_the_engine_keeps() {
    // 64 x 8,016 tokens need 12.2 GiB in 16 bits and fit 16 GiB; in 32 bits they would be 23.2.
    let shape = sizewell::workload::Preset::named("smollm2-135m").unwrap().shape;
    let case = Case::new(Quant::F16, 64, 8000, 16);
    let bytes = |cache: Option<CacheType>| {
        let case = Case { cache, ..case };
        sizewell::sizing::fit::needed(&shape, &case, sizewell::sizing::fit::HOST_RESERVE).0
    };
    let gib = |cache| bytes(cache) / 1024f64.powi(3);
    assert!((gib(None) - 12.2).abs() < 0.15, "{}", gib(None));
    assert!((gib(Some(CacheType::F32)) - 23.2).abs() < 0.3, "{}", gib(Some(CacheType::F32)));
    assert!(gib(Some(CacheType::Int8)) < 7.2, "{}", gib(Some(CacheType::Int8)));
}
