//! Killed at any moment and resumed, a run ends with the same set of cases, each once, and loses at most the one in
//! flight.

use crate::support::tiny;
use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use sizewell::record::{Outcome, Run, RunStatus};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Rows that count: whole lines of cases.csv behind the header.
fn rows(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("cases.csv")).unwrap_or_default();
    text.split_inclusive('\n').skip(1).filter(|line| line.ends_with('\n')).map(str::to_string).collect()
}

fn resume(folder: &Path) -> Command {
    let mut command = tiny::sizewell();
    command.args(["profile", "--no-ceilings", "--threads", "2", "--resume"]).arg(folder);
    command
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_whole() {
    let work = tempfile::tempdir().unwrap();
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(11);
    let mut kills = 0;
    for round in 0..3 {
        let folder = work.path().join(format!("run{round}"));
        let mut finished = false;
        for _ in 0..60 {
            let begun = folder.join("run.json").exists();
            let mut command = if begun { resume(&folder) } else { tiny::profile(work.path(), &folder) };
            let before = rows(&folder);
            let log = fs::File::create(work.path().join("stderr")).unwrap();
            let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(rng.random_range(5..700)));
            let exited = child.try_wait().unwrap();
            child.kill().unwrap();
            let status = child.wait().unwrap();
            let after = rows(&folder);
            assert_eq!(after[..before.len()], before[..], "finished cases stay as they were");
            if let Some(status) = exited {
                let log = fs::read_to_string(work.path().join("stderr")).unwrap();
                assert!(status.code().is_some_and(|code| code == 0 || code == 5), "{status}: {log}");
                finished = true;
                break;
            }
            kills += usize::from(!status.success());
        }
        if !finished {
            let out = resume(&folder).output().unwrap();
            assert!(
                out.status.code().is_some_and(|code| code == 0 || code == 5),
                "{}",
                String::from_utf8_lossy(&out.stderr)
            );
        }
        let run = Run::read(&folder).unwrap();
        assert_eq!(run.record.status, RunStatus::Complete);
        let ids: Vec<String> = run.cases.iter().map(|row| row.key.id()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 6, "{ids:?}");
        assert_eq!(ids.len(), 6);
        assert!(run.cases.iter().all(|row| row.outcome == Outcome::Ok));
        // Each iteration of each case stands once in samples.csv.
        let samples = run.samples().unwrap();
        let keys: HashSet<(String, usize)> = samples.iter().map(|s| (s.case_id.clone(), s.iteration)).collect();
        assert_eq!(keys.len(), samples.len());
        for row in &run.cases {
            let measured = samples.iter().filter(|s| s.case_id == row.key.id() && !s.warmup).count();
            assert_eq!(measured, row.samples);
        }
    }
    assert!(kills >= 3, "the test killed something: {kills}");
}

#[test]
fn ctrl_c_ends_cleanly_and_says_how_to_continue() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("run");
    let child = tiny::profile(work.path(), &folder).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let started = std::time::Instant::now();
    while rows(&folder).is_empty() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let out = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(130), "{text}");
    assert!(text.contains("--resume"), "{text}");
    let run = Run::read(&folder).unwrap();
    assert_eq!(run.record.status, RunStatus::Interrupted);
    assert!((1..6).contains(&run.cases.len()));
}

#[test]
fn a_signal_ends_what_does_not_look_for_one() {
    // Random weights are made in one go, which takes longer than a second here: what is on disk then is what a kill leaves.
    for name in ["-INT", "-TERM"] {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("run");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sizewell"));
        command.args(["profile", "--model", "smollm2-135m", "--quant", "f16", "--batch", "1", "--prompt", "16"]);
        command.args(["--gen-tokens", "4", "--no-ceilings", "--threads", "1", "-o"]).arg(&folder);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let started = std::time::Instant::now();
        while !folder.join("power.csv").exists() && started.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(130), "{name}: {text}");
        assert!(text.contains("--resume"), "{name}: {text}");
        let run = Run::read(&folder).unwrap();
        assert!(run.cases.is_empty() && run.record.status != RunStatus::Complete, "{name}");
    }
}
