//! What reaches a terminal and a pipe: nothing that a name could do to the one, and no exit status that depends on the other.

use super::{code, edit, example, run, said};
use crate::support::simulated::{self, Act, Server};
use crate::support::tiny::{self, sizewell};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

/// Sets the title of the window, and clears the screen.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m";

fn is_harmless(output: &Output) -> bool {
    let text = said(output);
    !text.chars().any(|c| c.is_control() && !['\n', '\t'].contains(&c))
}

#[test]
fn names_of_files_and_arguments_show_their_control_characters() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_string();
    let json = at("a.json");
    std::fs::write(&json, format!("{{\"{}\": 1}}", HOSTILE.replace('\u{1b}', "\\u001b").replace('\u{7}', "\\u0007")))
        .unwrap();
    let policy = at("p.toml");
    std::fs::write(&policy, "\"a\\u001b]0;x\\u0007\" = 1\n").unwrap();
    let hostile = at(HOSTILE);
    let folder = example(place.path());
    let folder = folder.to_str().unwrap();
    let commands: [&[&str]; 12] = [
        &[HOSTILE],
        &["rank", HOSTILE],
        &["rank", &hostile],
        &["rank", folder, "--quant", HOSTILE],
        &["rank", folder, "--catalog", &hostile],
        &["rank", folder, "--provider", HOSTILE],
        &["gate", folder, "--policy", &policy],
        &["import", HOSTILE, &json, "-o", &hostile],
        &["import", "auto", &json, "-o", &hostile],
        &["profile", "--model", HOSTILE],
        &["load", "--endpoint", HOSTILE, "--rate", "1"],
        &["models", "show", HOSTILE],
    ];
    for args in commands {
        let out = run(args);
        assert!([1, 2].contains(&code(&out)), "{args:?}: {}", said(&out));
        assert!(is_harmless(&out), "{args:?}: {:?}", said(&out));
    }
    let out = run(&["rank", &hostile]);
    assert!(said(&out).contains("\\x1b]0;owned\\x07\\x1b[2J\\x9b31m"), "{}", said(&out));
}

#[test]
fn names_within_records_do_too_in_tables_and_in_json() {
    let place = tempfile::tempdir().unwrap();
    let folder = example(place.path());
    edit(&folder.join("run.json"), |text| {
        text.replacen("\"hostname\": \"vm\"", "\"hostname\": \"v\\u001b[2Jm\\u009b1m\\u202e\"", 1)
    });
    edit(&folder.join("cases.csv"), |text| text.replace(",smollm2-135m,", ",a\u{1b}]0;x\u{7}b,"));
    let folder = folder.to_str().unwrap();
    for args in [
        &["rank", folder, "--only", "measured", "--price-per-hour", "0.1"][..],
        &["rank", folder, "--only", "measured", "--price-per-hour", "0.1", "--json"],
        &["rank", folder, "--only", "measured", "--price-per-hour", "0.1", "--format", "csv"],
        &["diff", folder, folder],
        &["gate", folder, "--baseline", folder, "--json"],
    ] {
        let out = run(args);
        assert!(is_harmless(&out), "{args:?}: {:?}", said(&out));
        if args.contains(&"--json") {
            serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap();
        }
    }
}

fn load(server: &Server, place: &Path) -> std::process::Command {
    let mut command = sizewell();
    command.args(["load", "--endpoint", &server.url, "--rate", "40", "--requests", "120", "--warm-up", "0"]);
    command.args(["--api", "completions", "--gen-tokens", "2", "--slo", "e2e_p90=10ms", "-o"]).arg(place);
    command
}

/// A server whose answers take 30 ms.
fn server() -> Server {
    Server::start(|ask| vec![Act::Until(ask.at + Duration::from_millis(30)), Act::Send(simulated::answer(2))])
}

#[test]
fn what_a_server_calls_its_model_is_harmless_and_its_key_stands_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let out =
        load(&server(), &place.path().join("a")).args(["--served-model", &format!("m{HOSTILE}")]).output().unwrap();
    assert!(is_harmless(&out) && said(&out).contains("m\\x1b]0;owned"), "{:?}", said(&out));

    let key = "local-key-0123456789";
    let folder = place.path().join("b");
    let server = server();
    let mut command = load(&server, &folder);
    command.args(["--api-key-env", "OUR_KEY", "--engine", key, "--served-model", key]).env("OUR_KEY", key);
    let out = command.output().unwrap();
    assert!(said(&out).contains("[key]") && !said(&out).contains(key), "{}", said(&out));
    for entry in std::fs::read_dir(&folder).unwrap().flatten() {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains(key), "{}", entry.path().display());
    }
    assert_eq!(sizewell::record::Run::read(&folder).unwrap().cases[0].key.model, "[key]");
    // In the name of the folder that is chosen for it neither.
    let mut command = sizewell();
    command.args(["load", "--endpoint", &server.url, "--rate", "40", "--requests", "20", "--warm-up", "0"]);
    command.args(["--api-key-env", "OUR_KEY", "--served-model", key]).env("OUR_KEY", key);
    let out = command.current_dir(place.path()).output().unwrap();
    assert!(said(&out).contains("results/") && !said(&out).contains(key), "{}", said(&out));
}

#[test]
fn a_closed_or_full_stdout_makes_no_verdict_better() {
    let place = tempfile::tempdir().unwrap();
    let slow = server();
    let closed = |command: &mut std::process::Command| {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        drop(child.stdout.take());
        child.wait().unwrap().code().unwrap()
    };
    let full = |command: &mut std::process::Command| {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let out = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
        (code(&out), said(&out))
    };
    // 5: the machine was so busy that requests went out late.
    let status = closed(&mut load(&slow, &place.path().join("closed")));
    assert!([3, 5].contains(&status), "{status}");
    let whole = sizewell::record::Run::read(&place.path().join("closed")).unwrap();
    assert_eq!((whole.record.status, whole.cases.len()), (sizewell::record::RunStatus::Complete, 1));
    let (status, words) = full(&mut load(&slow, &place.path().join("full")));
    assert!(status == 1 && words.contains("stdout cannot be written: No space left"), "{words}");
    assert_eq!(sizewell::record::Run::read(&place.path().join("full")).unwrap().cases.len(), 1);

    let folder = example(place.path());
    edit(&folder.join("cases.csv"), |text| text.replace(",true,,", ",false,noisy,"));
    let none = place.path().join("none");
    let mut profile = tiny::profile(place.path(), &none);
    // A case that does not fit: the job fails whoever reads of it.
    profile.args(["--prompt", "1000"]);
    assert_eq!(closed(&mut profile), 1);
    let mut gate = sizewell();
    gate.arg("gate").arg(&folder).arg("--baseline").arg(&folder);
    assert_eq!(closed(&mut gate), code(&gate.output().unwrap()));
    for args in [&["models", "list"][..], &["--help"], &["--version"], &["man"], &["devices"]] {
        assert_eq!(closed(sizewell().args(args)), 0, "{args:?}");
        let (status, words) = full(sizewell().args(args));
        assert!(status == 1 && words.contains("stdout cannot be written"), "{args:?}: {words}");
    }
}

#[test]
fn names_that_are_no_text_and_names_of_two_lines_work_everywhere() {
    let place = tempfile::tempdir().unwrap();
    for (number, name) in [&b"\xff"[..], b"a\nb\x1b[2J"].into_iter().enumerate() {
        let base = place.path().join(number.to_string()).join(OsStr::from_bytes(name));
        std::fs::create_dir_all(&base).unwrap();
        let from = example(place.path());
        let folder = base.join("run");
        std::fs::rename(&from, &folder).unwrap();
        let good = base.join("lb.json");
        std::fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/folders/llama-bench.json"),
            &good,
        )
        .unwrap();
        let policy = base.join("p.toml");
        std::fs::write(&policy, "[[rule]]\nmetric = \"ttft_s\"\nmost = 10.0\n").unwrap();
        let status = |command: &mut std::process::Command, allowed: &[i32]| {
            let out = command.output().unwrap();
            assert!(allowed.contains(&code(&out)), "{command:?}: {}", said(&out));
            assert!(is_harmless(&out), "{command:?}");
        };
        let imported = base.join("imported");
        status(sizewell().args(["import", "auto"]).arg(&good).arg("-o").arg(&imported), &[0]);
        status(sizewell().arg("rank").arg(&imported), &[0, 1, 2]);
        status(sizewell().arg("rank").arg(&folder).args(["--price-per-hour", "1"]), &[0]);
        status(sizewell().arg("plan").arg(&folder).args(["--price-per-hour", "1", "--rps", "1", "--json"]), &[0]);
        status(sizewell().arg("diff").arg(&folder).arg(&folder).arg("--json"), &[0]);
        status(sizewell().arg("gate").arg(&folder).arg("--policy").arg(&policy).arg("--json"), &[0, 2, 3, 4, 5]);
        status(sizewell().arg("validate").arg(&folder), &[0, 1, 2]);
        status(sizewell().arg("catalog").arg("check").arg("--catalog").arg(&base), &[0, 1, 2]);
        for form in ["html", "md", "json", "csv", "xlsx", "pdf"] {
            let out = base.join("r").with_extension(form);
            status(sizewell().arg("report").arg(&folder).arg("-o").arg(&out), &[0]);
            assert!(out.metadata().unwrap().len() > 100);
        }
        let mut profile = tiny::profile(&base, &base.join("p"));
        let out = profile.args(["--quant", "f16", "--batch", "1", "--json"]).output().unwrap();
        let text = name.iter().all(u8::is_ascii);
        // A preset is named by text; a folder by any name.
        assert!(if text { [0, 5].contains(&code(&out)) } else { code(&out) == 2 }, "{}", said(&out));
        let (preset, workload) = tiny::write(place.path());
        let mut profile = sizewell();
        profile.args(["profile", "--no-ceilings", "--threads", "2", "--batch", "1", "--quant", "f16", "--json"]);
        profile.arg("--model").arg(&preset).arg("--workload").arg(base.join("w.toml")).arg("-o").arg(base.join("q"));
        std::fs::copy(&workload, base.join("w.toml")).unwrap();
        status(&mut profile, &[0, 5]);
        let server = server();
        status(load(&server, &base.join("load")).arg("--json"), &[3, 5]);
        let mut cold = sizewell();
        cold.args(["coldstart", "--repeat", "1", "--prompt", "4", "--threads", "2", "--model"]).arg(&preset);
        cold.arg("-o").arg(base.join("cold")).arg("--json");
        let out = cold.output().unwrap();
        let rows = std::fs::read_to_string(base.join("cold/coldstart.csv")).unwrap();
        assert!(rows.contains(",ok,"), "{rows} {}", said(&out));
    }
}
