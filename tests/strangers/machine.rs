//! Machines that grant less than they have: quotas of CPU time, limits of memory, more threads than CPUs.

use crate::support::tiny::{self, sizewell};
use sizewell::device::cpu::allowed_cpus;
use sizewell::record::environment::LimitsRecord;
use sizewell::record::{FailureKind, InvalidReason, Outcome, Run, STOPPED_BY_QUOTA};
use sizewell::units::Seconds;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A copy of the example run that ships with the project, made under a quota of `cpus`.
fn under_a_quota(into: &Path, cpus: f64) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/example");
    let folder = into.join(format!("run-{cpus}"));
    fs::create_dir_all(&folder).unwrap();
    for name in ["cases.csv", "samples.csv", "power.csv"] {
        fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    let mut record = Run::read(&from).unwrap().record;
    record.environment.limits = Some(LimitsRecord {
        cpu_quota: Some(cpus),
        cpu_quota_period_s: Some(Seconds(0.1)),
        cpu_quota_from: Some("/sys/fs/cgroup/cpu.max".into()),
        ..LimitsRecord::default()
    });
    (record.environment.instance.provider, record.environment.instance.instance_type) = (None, None);
    fs::write(folder.join("run.json"), serde_json::to_string_pretty(&record).unwrap()).unwrap();
    folder
}

#[test]
fn the_price_of_a_whole_machine_is_not_that_of_a_part_of_it() {
    let place = tempfile::tempdir().unwrap();
    let rank = |folder: &Path, name: &str| sizewell().arg("rank").arg(folder).args(["--as", name]).output().unwrap();
    let example = Run::read(&under_a_quota(place.path(), 0.5)).unwrap();
    let cpus = example.record.environment.cpu.threads;
    assert_eq!(cpus, 2, "the example was made on two");
    let out = rank(&example.path, "aws:c7i.large");
    assert_eq!(out.status.code(), Some(2), "{}", said(&out));
    assert!(said(&out).contains("a quota held the run to 0.5 CPUs, and aws:c7i.large has 2"), "{}", said(&out));
    // A quota of all its CPUs holds nothing.
    let out = rank(&under_a_quota(place.path(), 2.0), "aws:c7i.large");
    assert!(!said(&out).contains("quota"), "{}", said(&out));
}

#[test]
fn more_threads_than_cpus_are_said_and_put_in_doubt() {
    let place = tempfile::tempdir().unwrap();
    let (folder, cpus) = (place.path().join("run"), allowed_cpus().len());
    let (preset, workload) = tiny::write(place.path());
    let mut command = sizewell();
    command.args(["profile", "--no-ceilings", "--quant", "int8", "--batch", "1", "--model"]).arg(preset);
    command.args(["--threads", &(cpus + 6).to_string(), "--workload"]).arg(workload).arg("-o").arg(&folder);
    let out = command.output().unwrap();
    let words = format!("{} threads share {cpus} CPU", cpus + 6);
    assert!(String::from_utf8_lossy(&out.stderr).contains(&words), "{}", said(&out));
    assert_eq!(out.status.code(), Some(5), "{}", said(&out));
    let run = Run::read(&folder).unwrap();
    assert!(run.cases[0].invalid.contains(&InvalidReason::TooManyThreads), "{:?}", run.cases[0].invalid);
    assert!(run.cases[0].notes.iter().any(|note| note.contains(&words)), "{:?}", run.cases[0].notes);
    assert_eq!(run.record.environment.cpu.engine_threads, cpus + 6);
}

#[test]
fn a_case_that_killed_the_process_again_and_again_is_a_row_and_the_others_are_measured() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("run");
    tiny::profile(place.path(), &folder).output().unwrap();
    let whole = Run::read(&folder).unwrap();
    let (id, total) = (whole.cases[0].key.id(), whole.cases.len());
    assert!(!folder.join("case-in-flight").exists(), "nothing is under way");
    for (times, kept) in [(2, Outcome::Ok), (3, Outcome::Failed)] {
        let text = fs::read_to_string(folder.join("cases.csv")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let others = [&lines[..1], &lines[3..]].concat().join("\n") + "\n";
        let others: String =
            others.lines().filter(|line| !line.starts_with(&format!("{id},"))).map(|l| format!("{l}\n")).collect();
        fs::write(folder.join("cases.csv"), others).unwrap();
        fs::write(folder.join("case-in-flight"), format!("{id}\n{times}\n-\n")).unwrap();
        let out = sizewell().args(["profile", "--threads", "2", "--resume"]).arg(&folder).output().unwrap();
        let run = Run::read(&folder).unwrap();
        assert_eq!(run.cases.len(), total, "{}", said(&out));
        let row = run.cases.iter().find(|row| row.key.id() == id).unwrap();
        assert_eq!(row.outcome, kept, "begun {times} times: {}", said(&out));
        if kept == Outcome::Failed {
            assert_eq!(row.reason, Some(FailureKind::Killed));
            assert!(row.message.contains("killed 3 times in this case"), "{}", row.message);
        }
        assert!(!folder.join("case-in-flight").exists());
    }
}

#[test]
fn the_doubt_of_a_quota_names_it_in_a_ranking() {
    let place = tempfile::tempdir().unwrap();
    let folder = under_a_quota(place.path(), 0.5);
    let mut run = Run::read(&folder).unwrap();
    let note = format!("{STOPPED_BY_QUOTA} of 0.5 CPUs in 69 of 70 periods (99 %)");
    for row in &mut run.cases {
        if row.outcome == Outcome::Ok {
            row.invalid = vec![InvalidReason::CpuQuota];
            row.notes.push(note.clone());
        }
    }
    let mut writer = csv::Writer::from_path(folder.join("cases.csv")).unwrap();
    writer.write_record(sizewell::record::CaseRow::header()).unwrap();
    run.cases.iter().for_each(|row| writer.write_record(row.fields()).unwrap());
    writer.flush().unwrap();
    let out =
        sizewell().arg("rank").arg(&folder).args(["--price-per-hour", "0.1", "--only", "measured"]).output().unwrap();
    let text: String = said(&out).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("stopped by a CPU quota of 0.5 CPUs"), "{text}");
}
