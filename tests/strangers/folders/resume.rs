//! `--resume` continues what was begun, with what it was begun with, and nothing else.

use super::{code, edit, said};
use crate::support::tiny;
use sizewell::record::{Run, RunRecord};
use std::path::{Path, PathBuf};
use std::process::Output;

/// A run of which the last case is still to be measured.
fn begun(place: &Path) -> PathBuf {
    let folder = place.join("run");
    let out = tiny::profile(place, &folder).output().unwrap();
    assert!([0, 5].contains(&code(&out)), "{}", said(&out));
    edit(&folder.join("cases.csv"), |text| {
        let lines: Vec<&str> = text.lines().collect();
        lines[..lines.len() - 1].join("\n") + "\n"
    });
    edit(&folder.join("run.json"), |text| text.replacen("\"status\": \"complete\"", "\"status\": \"running\"", 1));
    folder
}

fn resume(folder: &Path, more: &[&str]) -> Output {
    let mut command = tiny::sizewell();
    command.args(["profile", "--no-ceilings", "--resume"]).arg(folder).args(more);
    command.output().unwrap()
}

/// What the file says and what it shall say, and why that is refused.
fn changes(record: &RunRecord) -> Vec<((String, String), &'static str)> {
    let environment = &record.environment;
    let quoted = |key: &str, value: &str| (format!("\"{key}\": \"{value}\""), format!("\"{key}\": \"another\""));
    let build = environment.build.clone().unwrap();
    assert!(build.contains("source "), "{build}");
    let mut cases = vec![
        (quoted("sizewell_version", &environment.sizewell_version), "the version of sizewell: another then"),
        (quoted("git_revision", &environment.git_revision), "its git revision: another then"),
        (quoted("build", &build), "its build: another then"),
        (quoted("os", &environment.os), "the operating system: another then"),
        (quoted("signature", &environment.cpu.signature), "the CPU's signature: another then"),
        (quoted("kernels", &record.engine.kernels), "its kernels: another then"),
        (quoted("compute_type", &record.engine.compute_type), "its types and cache: another then"),
        (quoted("version", &record.engine.version), "the engine's version: another then"),
        (quoted("hash", &record.model.as_ref().unwrap().hash), "the model's hash"),
        (
            ("\"engine_threads\": 2".to_string(), "\"engine_threads\": 7".to_string()),
            "threads (--threads): 7 then, 2 now",
        ),
        (
            ("\"pinned_to\": null".to_string(), "\"pinned_to\": \"0-3\"".to_string()),
            "pinned to (--pin): 0-3 then, none now",
        ),
        (("\"device\": \"cpu\"".to_string(), "\"device\": \"cuda:0\"".to_string()), "--device: cuda:0 then, cpu now"),
    ];
    if let Some(machine) = &environment.machine {
        cases.push((quoted("machine", machine), "the machine: another then"));
    }
    cases
}

#[test]
fn another_builds_or_machines_run_is_refused_and_the_same_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let folder = begun(place.path());
    let whole = std::fs::read_to_string(folder.join("run.json")).unwrap();
    let record = Run::read(&folder).unwrap().record;
    let rows = std::fs::read_to_string(folder.join("cases.csv")).unwrap();
    for ((before, after), why) in changes(&record) {
        let changed = whole.replace(&before, &after);
        assert_ne!(changed, whole, "{before} stands in run.json");
        std::fs::write(folder.join("run.json"), &changed).unwrap();
        let out = resume(&folder, &["--threads", "2", "--device", "cpu"]);
        assert_eq!(code(&out), 1, "{why}: {}", said(&out));
        assert!(said(&out).contains(why), "{why}: {}", said(&out));
        assert!(said(&out).contains("or begin another run with -o"), "{}", said(&out));
        assert_eq!(std::fs::read_to_string(folder.join("cases.csv")).unwrap(), rows, "nothing was measured");
        assert_eq!(std::fs::read_to_string(folder.join("run.json")).unwrap(), changed, "the record stays");
    }
    std::fs::write(folder.join("run.json"), &whole).unwrap();
    for (more, why) in [
        (["--threads", "1"], "threads (--threads): 2 then, 1 now"),
        (["--seed", "7"], "--seed: 42 then, 7 now"),
        (["--device", "cuda:0"], "--device: cpu then, cuda:0 now"),
    ] {
        let mut args = more.to_vec();
        if more[0] != "--threads" {
            args.extend(["--threads", "2"]);
        }
        let out = resume(&folder, &args);
        assert!(code(&out) == 1 && said(&out).contains(why), "{why}: {}", said(&out));
    }
    let out = resume(&folder, &["--threads", "2", "--device", "cpu", "--seed", "42"]);
    assert!([0, 5].contains(&code(&out)), "{}", said(&out));
    assert_eq!(Run::read(&folder).unwrap().cases.len(), rows.lines().count(), "the case that was left is measured");
    assert_eq!(
        code(&resume(&folder, &["--threads", "2", "--as", "aws:g6.xlarge"])),
        2,
        "what a run is of stands in it"
    );
}
