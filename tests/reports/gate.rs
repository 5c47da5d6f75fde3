//! Comparisons and gates: what is certain passes or fails, what is not is said, and nothing that was not measured passes.

use crate::support::recorded;
use sizewell::gate::judge::Prices;
use sizewell::gate::{Direction, Judgement, Policy, Price, RunWithSamples, Side, Verdict, compare, judge};
use sizewell::record::{CaseRow, FailureKind, InvalidReason, Outcome, QualityRow, Run, RunFolder, SampleRow};
use sizewell::report::{annotations, junit};
use sizewell::units::Seconds;
use sizewell::workload::Quant;

/// Iterations of every case of the recorded run: `count` of them with a spread of 1 % (the same in each run but for the
/// phase), every time `factor` times as long.
fn taken(count: usize, factor: f64, phase: usize) -> RunWithSamples {
    let run = recorded::run();
    let mut samples = Vec::new();
    for row in run.cases.iter().filter(|row| row.outcome == Outcome::Ok) {
        let (ttft, tpot) = (row.metrics.ttft.unwrap().median.0, row.metrics.tpot.unwrap().median.0);
        for iteration in 0..count {
            let wave = [0.0, 0.01, -0.01, 0.005, -0.005, 0.015, -0.015][(iteration * 3 + phase) % 7];
            let token = |index: usize| Seconds((ttft + index as f64 * tpot) * factor * (1.0 + wave));
            samples.push(SampleRow {
                case_id: row.key.id(),
                iteration,
                warmup: false,
                start: Seconds(iteration as f64),
                token_times: (0..row.key.case.gen_tokens()).map(token).collect(),
            });
        }
    }
    RunWithSamples::new(scaled(run, factor), samples, Vec::new())
}

/// The summaries that such samples have.
fn scaled(mut run: Run, factor: f64) -> Run {
    for row in &mut run.cases {
        for time in [&mut row.metrics.ttft, &mut row.metrics.tpot, &mut row.metrics.e2e].into_iter().flatten() {
            time.median = time.median * factor;
            time.lo = time.lo.map(|lo| lo * factor);
            time.hi = time.hi.map(|hi| hi * factor);
        }
    }
    run
}

fn side(count: usize, factor: f64) -> Side {
    Side { runs: vec![taken(count, factor, 0)] }
}

fn change(side: &mut Side, mut edit: impl FnMut(&mut CaseRow)) {
    side.runs.iter_mut().flat_map(|taken| &mut taken.run.cases).for_each(&mut edit);
}

fn policy(rules: &str) -> Policy {
    Policy::parse("gate.toml", rules).unwrap()
}

fn against_itself(candidate: &Side, baseline: &Side) -> Judgement {
    judge(candidate, Some(baseline), &Policy::of_a_baseline(), Prices::default()).unwrap()
}

/// The recorded run without the case that did not fit, which no gate passes.
fn whole(count: usize, factor: f64) -> Side {
    let mut side = side(count, factor);
    side.runs[0].run.cases.retain(|row| row.outcome == Outcome::Ok);
    side
}

#[test]
fn an_unchanged_run_passes_a_slower_one_fails_and_a_faster_one_passes() {
    let baseline = whole(50, 1.0);
    assert_eq!(against_itself(&whole(50, 1.0), &baseline).verdict, Verdict::Pass);
    assert_eq!(against_itself(&whole(50, 1.05), &baseline).verdict, Verdict::Fail);
    assert_eq!(against_itself(&whole(50, 0.9), &baseline).verdict, Verdict::Pass);
    let few = against_itself(&whole(3, 1.03), &whole(3, 1.0));
    assert_eq!(few.verdict, Verdict::CannotTell, "{few:?}");
}

#[test]
fn what_cannot_be_told_says_how_many_samples_would_tell() {
    let judgement = against_itself(&whole(3, 1.03), &whole(3, 1.0));
    assert_eq!(judgement.verdict, Verdict::CannotTell);
    let rerun = judgement.judged.iter().find_map(|judged| judged.rerun.as_ref()).unwrap();
    assert!(rerun.samples.unwrap() > 3, "{rerun:?}");
    let command = rerun.command.as_ref().unwrap();
    assert!(
        command.starts_with("sizewell profile --model smollm2-135m --quant f16 --batch 1 --prompt 128"),
        "{command}"
    );
    assert!(command.contains("--precision 0.0"), "{command}");
}

#[test]
fn a_case_that_broke_or_was_lost_is_not_passed_over() {
    let baseline = whole(30, 1.0);
    let mut broken = whole(30, 1.0);
    broken.runs[0].run.cases[0] =
        CaseRow::unmeasured(broken.runs[0].run.cases[0].key.clone(), FailureKind::Crashed, "a panic".into());
    let judgement = against_itself(&broken, &baseline);
    assert_eq!(judgement.verdict, Verdict::Fail);
    assert!(judgement.judged[0].message.contains("failed crashed: a panic"), "{judgement:?}");
    let mut gone = whole(30, 1.0);
    gone.runs[0].run.cases.remove(0);
    assert_eq!(against_itself(&gone, &baseline).verdict, Verdict::Invalid);
    let unmeasured = side(30, 1.0);
    assert_eq!(against_itself(&unmeasured, &unmeasured).verdict, Verdict::Invalid, "a skipped case is no pass");
}

#[test]
fn a_doubtful_measurement_is_invalid_unless_the_doubt_is_accepted() {
    let baseline = whole(30, 1.0);
    let mut noisy = whole(30, 1.0);
    change(&mut noisy, |row| row.invalid = vec![InvalidReason::StolenCpu]);
    let judgement = against_itself(&noisy, &baseline);
    assert_eq!(judgement.verdict, Verdict::Invalid);
    assert!(judgement.judged[0].message.contains("doubtful: stolen_cpu; the hypervisor took CPU time away"));
    let rules = policy("accept = [\"stolen_cpu\"]\n[[rule]]\nmetric = \"tpot_s\"\nmax_regression = \"2%\"\n");
    assert_eq!(judge(&noisy, Some(&baseline), &rules, Prices::default()).unwrap().verdict, Verdict::Pass);
}

#[test]
fn absolute_limits_hold_for_the_cases_that_they_are_about() {
    let run = whole(30, 1.0);
    let of = |rules: &str| judge(&run, None, &policy(rules), Prices::default()).unwrap();
    // TPOT of f16 at batch 1 is 10 ms with an interval of 2 %.
    let one = "quant = [\"f16\"]\nbatch = [1]\n";
    for (limit, verdict) in [("11ms", Verdict::Pass), ("9ms", Verdict::Fail), ("10.1ms", Verdict::CannotTell)] {
        let judgement = of(&format!("[[rule]]\nmetric = \"tpot_s\"\nmax = \"{limit}\"\n{one}"));
        assert_eq!((judgement.verdict, judgement.judged.len()), (verdict, 1), "{limit}: {judgement:?}");
    }
    let least = of(&format!("[[rule]]\nmetric = \"decode_tokens_per_s\"\nmin = 90\n{one}"));
    assert_eq!(least.verdict, Verdict::Pass);
    let none = of("[[rule]]\nmetric = \"tpot_s\"\nmax = 1\nbatch = [512]\n");
    assert_eq!(none.verdict, Verdict::Invalid, "a rule about nothing passes nothing");
    let absent = of("[[rule]]\nmetric = \"energy_per_token_j\"\nmax = 1\n");
    assert!(absent.verdict == Verdict::Invalid && absent.judged[0].message.contains("no power meter"), "{absent:?}");
    assert_eq!(of("[[rule]]\nmetric = \"tpot_s_p99\"\nmax = 1\n").verdict, Verdict::Invalid, "30 samples have no p99");
}

#[test]
fn cost_and_quality_are_metrics_like_others() {
    let mut run = whole(30, 1.0);
    let figure = QualityRow {
        quant: Quant::Int8,
        metric: "perplexity".into(),
        higher_is_better: false,
        value: 11.0,
        lo: Some(10.9),
        hi: Some(11.1),
        samples: None,
        source: String::new(),
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
    run.runs[0].quality.push(figure);
    change(&mut run, |row| {
        let rate = row.metrics.requests_per_s.as_mut().unwrap();
        (rate.lo, rate.hi) = (Some(rate.value * 0.98), Some(rate.value * 1.02));
    });
    let prices = Prices { candidate: Some(Price { usd_per_h: 0.36, utilisation: 1.0 }), baseline: None };
    // A request of f16 at batch 1 takes 0.25 + 32 x 0.01 = 0.57 s: 0.057 USD a thousand at 0.36 USD an hour.
    let rules = |most: &str| {
        policy(&format!(
            "[[rule]]\nmetric = \"usd_per_thousand_requests\"\nmax = \"{most}\"\nquant = [\"f16\"]\nbatch = [1]\n"
        ))
    };
    let cost = judge(&run, None, &rules("$0.06"), prices).unwrap();
    assert_eq!(cost.verdict, Verdict::Pass);
    assert!((cost.judged[0].value.unwrap().value - 0.057).abs() < 1e-9, "{cost:?}");
    assert_eq!(judge(&run, None, &rules("$0.05"), prices).unwrap().verdict, Verdict::Fail);
    let unpriced = judge(&run, None, &rules("$1"), Prices::default()).unwrap();
    assert!(unpriced.verdict == Verdict::Invalid && unpriced.judged[0].message.contains("--price-per-hour"));
    let rules = policy("[[rule]]\nmetric = \"perplexity\"\nmax = 10.5\nquant = [\"int8\"]\n");
    assert_eq!(judge(&run, None, &rules, prices).unwrap().verdict, Verdict::Fail);
}

#[test]
fn what_a_policy_asks_and_nobody_has_is_said() {
    let run = whole(10, 1.0);
    let error = |rules: &str| judge(&run, None, &policy(rules), Prices::default()).unwrap_err();
    assert!(error("[[rule]]\nmetric = \"tpot\"\nmax = 1\n").contains("did you mean `tpot_s`?"));
    assert!(error("[[rule]]\nmetric = \"tpot_s\"\nmax_regression = \"2%\"\n").contains("--baseline"));
}

#[test]
fn several_runs_a_side_have_what_differs_between_runs() {
    let of = |factors: [f64; 3]| Side {
        runs: factors
            .iter()
            .enumerate()
            .map(|(phase, factor)| {
                let mut taken = taken(40, *factor, phase);
                taken.run.cases.retain(|row| row.outcome == Outcome::Ok);
                taken
            })
            .collect(),
    };
    // Runs that differ by 4 % among themselves cannot tell a change of 3 %, however many samples each has.
    let judgement = against_itself(&of([1.01, 1.05, 1.03]), &of([0.98, 1.02, 1.0]));
    assert_eq!(judgement.verdict, Verdict::CannotTell, "{judgement:?}");
    assert!(judgement.judged.iter().any(|judged| judged.rerun.as_ref().is_some_and(|rerun| rerun.runs.is_some())));
    assert_eq!(against_itself(&of([1.2, 1.22, 1.21]), &of([0.99, 1.01, 1.0])).verdict, Verdict::Fail);
}

#[test]
fn machines_that_differ_have_a_higher_floor_and_what_differs_comes_first() {
    let before = whole(50, 1.0);
    let mut after = whole(50, 1.05);
    assert_eq!(compare(&before, &after, &[], None, 0.95).unwrap().noise_floor.share, 0.02);
    after.runs[0].run.record.environment.hostname = "other".into();
    let comparison = compare(&before, &after, &[], None, 0.95).unwrap();
    assert_eq!(comparison.noise_floor.share, 0.15, "a small model on two machines: {:?}", comparison.noise_floor);
    assert!(comparison.differences.iter().any(|difference| difference.what == "host"));
    let within = |c: &&sizewell::gate::CaseChange| c.verdict == "cannot tell" && c.why.is_some();
    assert_eq!(comparison.changes.iter().filter(|c| c.metric == "tpot_s").filter(within).count(), 5, "{comparison:?}");
    after.runs[0].run.record.arrival = "open_poisson".into();
    assert!(compare(&before, &after, &[], None, 0.95).unwrap_err().contains("cannot be compared"));
}

#[test]
fn a_diff_says_faster_slower_same_or_cannot_tell() {
    let of = |factor: f64, count: usize| {
        let comparison = compare(
            &whole(50, 1.0),
            &whole(count, factor),
            &["tpot_s".into(), "decode_tokens_per_s".into()],
            None,
            0.95,
        );
        let comparison = comparison.unwrap();
        let verdicts: Vec<(&str, Direction)> =
            comparison.changes[..2].iter().map(|c| (c.verdict, c.direction)).collect();
        (verdicts[0], verdicts[1])
    };
    assert_eq!(of(1.1, 50), (("slower", Direction::Worse), ("slower", Direction::Worse)));
    assert_eq!(of(0.9, 50), (("faster", Direction::Better), ("faster", Direction::Better)));
    assert_eq!(of(1.0, 50), (("same", Direction::Same), ("same", Direction::Same)));
    assert_eq!(of(1.03, 4).0.1, Direction::CannotTell);
}

#[test]
fn junit_and_annotations_carry_every_verdict_and_no_hostile_text() {
    let baseline = whole(50, 1.0);
    let mut slow = whole(50, 1.1);
    let evil = "]]><script>\n::error::x\u{1b}&\"'";
    slow.runs[0].run.cases[0] =
        CaseRow::unmeasured(slow.runs[0].run.cases[0].key.clone(), FailureKind::Crashed, evil.into());
    let mut judgement = against_itself(&slow, &baseline);
    judgement.judged[1].verdict = Verdict::CannotTell;
    let xml = junit::export(&judgement).unwrap();
    assert!(xml.contains("<failure") && xml.contains("<error") && xml.contains("type=\"cannot tell\""), "{xml}");
    assert!(!xml.contains("<script>") && !xml.contains('\u{1b}'));
    let lines = annotations::lines(&judgement);
    assert!(
        lines.lines().all(|line| line.starts_with("::error title=") || line.starts_with("::warning title=")),
        "{lines}"
    );
    assert_eq!(lines.lines().count(), judgement.judged.iter().filter(|j| j.verdict != Verdict::Pass).count());
}

/// A run, as the program wrote it when it called its own kernels `candle` and gave candle's version.
fn of_last_month(mut taken: RunWithSamples) -> RunWithSamples {
    let engine = &mut taken.run.record.engine;
    (engine.name, engine.version) = ("candle".into(), "0.9.2".into());
    called(taken, "candle")
}

fn of_today(mut taken: RunWithSamples) -> RunWithSamples {
    let record = &mut taken.run.record;
    (record.engine.name, record.engine.version) = ("sizewell".into(), record.environment.sizewell_version.clone());
    called(taken, "sizewell")
}

/// Rows and samples with another name of the engine.
fn called(mut taken: RunWithSamples, engine: &str) -> RunWithSamples {
    for row in &mut taken.run.cases {
        let samples = taken.samples.remove(&row.key.id());
        row.key.engine = engine.into();
        taken.samples.extend(samples.map(|samples| (row.key.id(), samples)));
    }
    taken
}

#[test]
fn a_baseline_that_calls_the_engine_otherwise_is_of_the_same_engine() {
    let renamed = |mut side: Side, rename: fn(RunWithSamples) -> RunWithSamples| {
        side.runs = side.runs.into_iter().map(rename).collect();
        side
    };
    let baseline = renamed(whole(50, 1.0), of_last_month);
    for (factor, verdict) in [(1.0, Verdict::Pass), (1.05, Verdict::Fail)] {
        assert_eq!(against_itself(&renamed(whole(50, factor), of_today), &baseline).verdict, verdict);
    }
    let (before, after) = (&baseline.runs[0].run, &renamed(whole(50, 1.0), of_today).runs[0].run);
    let differ = sizewell::gate::environment::differences(&before.record, &after.record);
    assert!(differ.is_empty(), "{differ:?}");
    assert!(compare(&baseline, &renamed(whole(50, 1.0), of_today), &[], None, 0.95).is_ok());
}

#[test]
fn runs_of_one_side_may_call_the_engine_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, taken: RunWithSamples, started: &str| {
        let mut record = taken.run.record;
        record.started_at = started.parse().unwrap();
        let path = folder.path().join(name);
        RunFolder::write_at_once(&path, &record, &taken.run.cases).unwrap();
        path
    };
    let old = written("old", of_last_month(taken(5, 1.0, 0)), "2026-10-01T10:00:00Z");
    let new = written("new", of_today(taken(5, 1.0, 1)), "2026-11-01T10:00:00Z");
    assert_eq!(Side::read(&[old, new]).unwrap().runs.len(), 2);
}
