//! The program as a user meets it: exit statuses, what goes to stdout and to stderr, wrong flags, no terminal.

use crate::support::tiny::{profile, sizewell, write};
use std::io::{BufRead, BufReader};
use std::process::{Output, Stdio};

fn run(args: &[&str]) -> Output {
    sizewell().args(args).output().unwrap()
}

fn stdout(out: &Output) -> String {
    String::from_utf8(out.stdout.clone()).unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8(out.stderr.clone()).unwrap()
}

#[test]
fn a_wrong_command_line_is_status_2_with_the_way_out() {
    for (args, part) in [
        (vec![], "Usage"),
        (vec!["frobnicate"], "unrecognized subcommand"),
        (vec!["profile"], "--model is missing"),
        (vec!["profile", "--model", "m", "--quant", "int3"], "the levels are f32"),
        (vec!["profile", "--model", "m", "--device", "gpu"], "cuda:0 or another number"),
        (vec!["profile", "--model", "m", "--workload", "standart"], "did you mean `standard`"),
        (vec!["profile", "--model", "m", "--batch", "0"], "batch holds 0"),
        (vec!["profile", "--model", "m", "--gen-tokens", "1"], "from 2 tokens"),
        (vec!["profile", "--model", "m", "--threads", "0"], "--threads is 0"),
        (vec!["profile", "--model", "m", "--pin", "9999"], "no CPU 9999"),
        (vec!["profile", "--model", "m", "--max-time", "0s"], "max-time"),
        (vec!["profile", "--model", "m", "--as", "m7a"], "provider:type"),
        (vec!["run", "--price-per-hour", "0"], "above 0"),
        (vec!["run", "--as", "aws:nosuch"], "no offer aws:nosuch"),
        (vec!["report", "nowhere", "-o", "x.html", "--price-per-hour=-1"], "above 0"),
        (vec!["profile", "--resume", "src", "--max-time", "1"], "leave out"),
        (vec!["run", "--quick", "--workload", "standard"], "cannot be used with"),
        (vec!["report", "nowhere", "-o", "x.docx"], ".html, .pdf, .xlsx"),
        (vec!["models", "show", "lama"], "presets"),
        (vec!["plan", "nowhere"], "what is asked of the service"),
        (vec!["rank", "results/example", "--rps", "0"], "out of range"),
        (vec!["rank", "results/example", "--rps", "1", "--users", "2"], "cannot be used with"),
        (vec!["rank", "results/example", "--utilisation", "1.5"], "out of range"),
        (vec!["rank", "results/example", "--commit", "spot=3%"], "neither reserved_1y"),
        (vec!["rank", "results/example", "--discount", "120%"], "not a share"),
        (vec!["rank", "results/example", "--gpu", "h1000"], "no accelerator"),
        (vec!["rank", "results/example", "--own", "Cargo.toml"], "Cargo.toml"),
        (vec!["rank", "results/example", "--lengths", "Cargo.toml"], "no column"),
        (vec!["rank", "results/example", "--max-age", "1", "--allow-stale"], "cannot be used with"),
        (vec!["models", "synth", "--model", "smollm2-135m", "-o", "Cargo.toml"], "exists"),
    ] {
        let out = run(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(part), "{args:?}: {}", stderr(&out));
        assert!(stdout(&out).is_empty(), "{args:?}");
    }
}

#[test]
fn a_job_that_fails_is_status_1() {
    for (args, part) in [
        (vec!["profile", "--model", "lama-3.1-8b"], "did you mean `llama-3.1-8b`"),
        (vec!["profile", "--model", "Cargo.toml"], "unknown field"),
        (vec!["rank", "nowhere"], "nowhere/run.json: "),
        (vec!["profile", "--model", "models/nosuch.gguf"], "no such file"),
        (vec!["report", "src", "-o", "x.html"], "src/run.json"),
        (vec!["profile", "--resume", "src"], "no run.json"),
        (vec!["run", "--catalog", "src"], "accelerators.csv"),
    ] {
        let out = run(&args);
        assert_eq!(out.status.code(), Some(1), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(part), "{args:?}: {}", stderr(&out));
    }
}

#[test]
fn results_are_on_stdout_and_talk_on_stderr() {
    let work = tempfile::tempdir().unwrap();
    let out = profile(work.path(), &work.path().join("a")).output().unwrap();
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    assert!(stdout(&out).contains("Cases") && stdout(&out).contains("f16"));
    assert!(stderr(&out).contains("tiny on ") && stderr(&out).contains("f16 b1 p8 g4: decode"), "{}", stderr(&out));
    for text in [stdout(&out), stderr(&out)] {
        assert!(!text.contains('\u{1b}') && !text.contains('\r'), "no control codes without a terminal: {text:?}");
    }
    let out = profile(work.path(), &work.path().join("b")).args(["--quiet", "--json"]).output().unwrap();
    assert_eq!(stderr(&out), "");
    let value: serde_json::Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(value["cases"].as_array().unwrap().len(), 6);
    assert_eq!(value["record"]["model"]["synthetic"], true);
    // The same folder again is refused, and says what to do.
    let out = profile(work.path(), &work.path().join("a")).output().unwrap();
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("--resume"), "{}", stderr(&out));
}

#[test]
fn rank_and_report_read_what_profile_wrote() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("run");
    let (preset, workload) = write(work.path());
    let out = sizewell()
        .args(["run", "--threads", "1", "--as", "aws:m7a.large", "--model"])
        .arg(preset)
        .arg("--workload")
        .arg(workload)
        .arg("-o")
        .arg(&folder)
        .output()
        .unwrap();
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    for file in ["run.json", "cases.csv", "samples.csv", "power.csv", "report.html", "report.md", "plots/roofline.svg"]
    {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let path = folder.to_str().unwrap();
    let out = run(&["rank", path, "--format", "csv"]);
    assert!(out.status.success(), "{}", stderr(&out));
    let csv = stdout(&out);
    assert!(csv.starts_with("status,rank,provider"), "{csv}");
    assert!(csv.lines().any(|line| line.contains("aws,m7a.large") && line.contains("measured")), "{csv}");
    let out = run(&["rank", path, "--json", "--market", "all", "--provider", "aws"]);
    let value: serde_json::Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(value["prompt_tokens"], 8.0);
    let out = run(&["rank", path, "--explain"]);
    assert!(stdout(&out).contains("Not ranked") && stdout(&out).contains("hyperstack:"), "{}", stdout(&out));
    let report = work.path().join("again.md");
    let out = run(&["report", path, "-o", report.to_str().unwrap()]);
    assert!(out.status.success(), "{}", stderr(&out));
    assert!(std::fs::read_to_string(&report).unwrap().starts_with("# What tiny costs"));
    let out = run(&["report", path, "-o", "/proc/nowhere/x.html"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(stderr(&out).contains("/proc/nowhere/x.html"), "{}", stderr(&out));
}

#[test]
fn facts_can_be_looked_up_without_measuring() {
    let out = run(&["models", "list"]);
    assert!(out.status.success() && stdout(&out).contains("llama-3.1-70b"));
    let out = run(&["models", "show", "smollm2-135m"]);
    assert!(stdout(&out).contains("134515008") && stdout(&out).contains("181 x Q4_0"), "{}", stdout(&out));
    let out = run(&["devices", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&stdout(&out)).unwrap();
    assert_eq!(value["devices"][0]["id"], "cpu");
    let out = run(&["catalog", "list", "--provider", "lambda", "--accelerator", "h100"]);
    assert!(stdout(&out).contains("gpu_8x_h100_sxm5") && !stdout(&out).contains("a10-24"), "{}", stdout(&out));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&["completions", shell])).contains("sizewell"));
    }
    assert!(stdout(&run(&["man"])).contains("sizewell"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child =
        sizewell().args(["catalog", "list", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", stderr(&out));
    assert_eq!(stderr(&out), "");
}

#[test]
fn synthetic_files_are_models() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("m.gguf");
    let (_, workload) = write(work.path());
    let out = run(&["models", "synth", "--model", "smollm2-135m", "--quant", "int4", "-o", file.to_str().unwrap()]);
    assert!(out.status.success(), "{}", stderr(&out));
    let size = file.metadata().unwrap().len();
    assert!((70_000_000..90_000_000).contains(&size), "{size}");
    let out = sizewell()
        .args(["profile", "--no-ceilings", "--batch", "1", "-o"])
        .arg(work.path().join("run"))
        .arg("--model")
        .arg(&file)
        .arg("--workload")
        .arg(workload)
        .output()
        .unwrap();
    assert!(matches!(out.status.code(), Some(0 | 5)), "{}", stderr(&out));
    // The workload asks for f16 and int8, which a 4-bit file cannot be: it is run as it is.
    assert!(stdout(&out).contains("int4") && !stdout(&out).contains("int8"), "{}", stdout(&out));
    let record = std::fs::read_to_string(work.path().join("run/run.json")).unwrap();
    assert!(record.contains("\"synthetic\": true"), "a file of random weights says so");
    let out = sizewell()
        .args(["profile", "--no-ceilings", "--batch", "1", "--quant", "int8", "-o"])
        .arg(work.path().join("run2"))
        .arg("--model")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    assert!(stdout(&out).contains("made from lower precision"), "{}", stdout(&out));
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("run");
    let mut child = profile(work.path(), &folder).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both streams close at once: the measuring goes on, and only its screen is lost.
    drop(child.stderr.take());
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 5)), "{status}");
    let rows = std::fs::read_to_string(folder.join("cases.csv")).unwrap().lines().count();
    assert_eq!(rows, 7, "a header and six cases");
}
