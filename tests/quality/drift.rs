//! The watch on quality, from the command to its exit status: the same questions to another model, other questions to the
//! same model, and what cannot be compared.

use sizewell::record::Run;
use sizewell::record::drift::read_history;
use std::path::Path;
use std::process::{Command, Output};

fn sizewell(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sizewell")).current_dir(folder).args(arguments).output().unwrap()
}

fn quality(folder: &Path, arguments: &[&str]) -> Output {
    sizewell(folder, &[&["quality", "--model", "reference", "--no-speed"], arguments].concat())
}

fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

/// Lines of the set of choices that comes with the project.
fn choices(lines: std::ops::Range<usize>, change: fn(&str) -> String) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference/choice.jsonl");
    let all = std::fs::read_to_string(path).unwrap();
    let lines = all.lines().skip(lines.start).take(lines.len()).map(|line| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["context"] = change(value["context"].as_str().unwrap()).into();
        value.to_string() + "\n"
    });
    lines.collect()
}

fn same(context: &str) -> String {
    context.to_string()
}

/// Its last six words only: shorter, of another distribution, and harder.
fn cut(context: &str) -> String {
    let words: Vec<&str> = context.split(' ').collect();
    words[words.len().saturating_sub(6)..].join(" ")
}

#[test]
fn other_inputs_are_an_alarm_after_three_windows_and_inputs_alike_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("c.jsonl", choices(0..120, same));
    let base = quality(folder.path(), &["--data", "c.jsonl", "--quant", "f16", "-o", "base"]);
    assert!(base.status.success(), "{}", said(&base));
    write("alike.jsonl", choices(120..200, same));
    let watch = |data: &str, history: &str, run: &str| {
        quality(folder.path(), &["--data", data, "--baseline", "base", "--watch", history, "-o", run])
    };
    let alike = watch("alike.jsonl", "a.jsonl", "alike");
    assert_eq!(alike.status.code(), Some(0), "{}", said(&alike));
    assert!(said(&alike).contains("no detected change") && said(&alike).contains("on other items"));
    for (window, code) in [(1, 0), (2, 0), (3, 3)] {
        let from = 100 + window * 80;
        write("cut.jsonl", choices(from..from + 80, cut));
        let done = watch("cut.jsonl", "h.jsonl", &format!("w{window}"));
        assert_eq!(done.status.code(), Some(code), "window {window}: {}", said(&done));
    }
    let history = read_history(&folder.path().join("h.jsonl")).unwrap();
    assert_eq!(history.len(), 3);
    assert!(history[1].alarms.is_empty() && history[2].alarms.contains(&"choice: length".to_string()));
    assert!(!history[2].sets[0].paired && history[2].sets[0].tests.len() >= 5, "{:?}", history[2].sets);
    let plot = std::fs::read_to_string(folder.path().join("h-drift-choice.svg")).unwrap();
    assert!(plot.contains("alarm: ") && plot.contains("length"));
    let run = Run::read(&folder.path().join("w3")).unwrap();
    assert_eq!(run.record.quality.unwrap().drift.as_ref(), history.last());
    let report = sizewell(folder.path(), &["report", "w3", "-o", "r.html"]);
    assert!(report.status.success(), "{}", said(&report));
    assert!(std::fs::read_to_string(folder.path().join("r.html")).unwrap().contains("Drift since base"));
}

#[test]
fn a_worse_model_is_told_on_the_same_items_and_one_alike_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference/text.txt")).unwrap();
    let end = text[..60_000].rfind('\n').unwrap();
    std::fs::write(folder.path().join("t.txt"), &text[..end]).unwrap();
    let at = ["--data", "t.txt", "--context", "128"];
    let base = quality(folder.path(), &[&at[..], &["--quant", "f16", "-o", "base"]].concat());
    assert!(base.status.success(), "{}", said(&base));
    let today = |quant: &str| {
        quality(folder.path(), &["--data", "t.txt", "--baseline", "base", "--quant", quant, "-o", quant, "--json"])
    };
    for (quant, verdict) in [("f16", "no detected change"), ("q2_k", "degraded")] {
        let done = today(quant);
        // One window is never an alarm.
        assert_eq!(done.status.code(), Some(0), "{}", said(&done));
        let found: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        let set = &found["drift"]["sets"][0];
        assert_eq!((set["paired"].as_bool(), set["verdict"].as_str()), (Some(true), Some(verdict)), "{set}");
        assert_eq!(found["drift"]["alarms"], serde_json::json!([]));
    }
    let windows = quality(folder.path(), &["--data", "t.txt", "--context", "64", "--baseline", "base", "-o", "x"]);
    assert_eq!(windows.status.code(), Some(2));
    assert!(said(&windows).contains("128 tokens"), "{}", said(&windows));
    assert!(!folder.path().join("x").exists());
}

#[test]
fn what_cannot_be_compared_is_said_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("c.jsonl", choices(0..30, same));
    write("g.jsonl", "{\"prompt\": \"On\", \"answer\": \"Monday\"}\n".into());
    for (data, run) in [("c.jsonl", "base"), ("c.jsonl", "other")] {
        let seed = ["--quant", if run == "base" { "f16" } else { "q2_k" }];
        let done = quality(folder.path(), &[&["--data", data, "-o", run], &seed[..]].concat());
        assert!(done.status.success(), "{}", said(&done));
    }
    let first = quality(folder.path(), &["--data", "c.jsonl", "--baseline", "base", "--watch", "h.jsonl", "-o", "w"]);
    assert!(first.status.success(), "{}", said(&first));
    write("cut.jsonl", std::fs::read_to_string(folder.path().join("h.jsonl")).unwrap().trim_end().to_string());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/example").display().to_string();
    for (arguments, code, why) in [
        (&["--data", "c.jsonl", "--watch", "h.jsonl"][..], 2, "--baseline"),
        (&["--data", "g.jsonl", "--baseline", "base"], 2, "no data of the kind generation: it has choice"),
        (&["--data", "c.jsonl", "--baseline", "other", "--watch", "h.jsonl"], 2, "another baseline (base)"),
        (&["--data", "c.jsonl", "--baseline", "base", "--prune", "wanda:0.5"], 2, "--prune"),
        (&["--data", "c.jsonl", "--baseline", "base", "--watch", "cut.jsonl"], 1, "cut.jsonl:1: is cut off"),
        (&["--data", "c.jsonl", "--baseline", "base", "--watch", "no/such/h.jsonl"], 1, "no/such/h.jsonl"),
        (&["--data", "c.jsonl", "--baseline", "nowhere"], 1, "nowhere"),
        (&["--data", "c.jsonl", "--baseline", &example], 1, "no figures of quality"),
    ] {
        let done = quality(folder.path(), &[arguments, &["-o", "x"]].concat());
        assert_eq!(done.status.code(), Some(code), "{arguments:?}: {}", said(&done));
        assert!(said(&done).contains(why), "{arguments:?}: {}", said(&done));
        assert!(!folder.path().join("x").exists(), "{arguments:?}");
    }
}
