//! Watches that are given the same day twice, variants that are none, runs that are killed, samples that are equal.

use crate::quality::{Quick, case, quality, read, said, sizewell, write};
use crate::support::tiny;
use sizewell::record::drift::read_history;
use sizewell::record::{QualityRow, Run, RunStatus};
use sizewell::workload::Quant;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Questions as in bad.jsonl, of other things: short, with other answers.
fn short(thing: &str, colours: [&str; 3]) -> String {
    let question = |number: usize, colour: usize| {
        let context = format!("{thing} {number} is painted {}. Its colour is", colours[colour]);
        let choices: Vec<String> = colours.iter().map(|colour| format!(" {colour}")).collect();
        serde_json::json!({"context": context, "choices": choices, "answer": (colour + 1) % 3}).to_string() + "\n"
    };
    (2..10).flat_map(|number| (0..3).map(move |colour| question(number, colour))).collect()
}

#[test]
fn the_same_day_three_times_is_no_alarm_and_three_days_are() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["base.jsonl", "bad.jsonl"] {
        fs::copy(case(name), folder.path().join(name)).unwrap();
    }
    let base = quality(folder.path(), &["--data", "base.jsonl", "--quant", "f16", "-o", "base"]);
    assert!(base.status.success(), "{}", said(&base));
    let bad = read("bad.jsonl");
    let turned: String = bad.lines().rev().map(|line| line.to_string() + "\n").collect();
    write(folder.path(), "turned.jsonl", turned);
    // Half of it, and some that are new.
    let part: String = bad.lines().take(50).map(|line| line.to_string() + "\n").collect();
    write(
        folder.path(),
        "part.jsonl",
        part + &short("Barrel", ["red", "blue", "green"])
            .lines()
            .take(6)
            .map(|l| l.to_string() + "\n")
            .collect::<String>(),
    );
    write(folder.path(), "second.jsonl", short("Wagon", ["red", "blue", "green"]));
    write(folder.path(), "third.jsonl", short("Door", ["white", "black", "grey"]));
    let history = folder.path().join("h.jsonl");
    for (window, (data, code)) in
        [("bad", 0), ("bad", 0), ("bad", 0), ("turned", 0), ("part", 0), ("second", 0), ("third", 3)]
            .into_iter()
            .enumerate()
    {
        let file = format!("{data}.jsonl");
        let run = format!("w{window}");
        let done = quality(folder.path(), &["--data", &file, "--baseline", "base", "--watch", "h.jsonl", "-o", &run]);
        assert_eq!(done.status.code(), Some(code), "{window} {data}: {}", said(&done));
        let windows = read_history(&history).unwrap();
        assert!(windows.last().unwrap().is_flagged(), "{window} {data}: {}", said(&done));
        let repeated = (1..5).contains(&window);
        assert_eq!(said(&done).contains("was in a window before"), repeated, "{window} {data}: {}", said(&done));
        let length = sizewell::record::drift::streaks(&windows)["choice: length"];
        assert_eq!(length, [1, 1, 1, 1, 1, 2, 3][window], "{window} {data}");
    }
    // The hundred lines ask 23 different questions.
    assert_eq!(read_history(&history).unwrap()[0].sets[0].items, 23);
}

/// A model of two layers with random weights and the tokenizer of the reference. Rows are of 48 weights, which blocks of 32
/// do not divide, and those of two matrices of `inner`.
fn undivided(folder: &Path, inner: usize) {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/reference");
    fs::create_dir(folder).unwrap();
    fs::copy(reference.join("tokenizer.json"), folder.join("tokenizer.json")).unwrap();
    let (hidden, vocab) = (48usize, 681usize);
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16, "vocab_size": vocab,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "bos_token_id": 0, "eos_token_id": 1, "torch_dtype": "float32",
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_string(), vec![vocab, hidden]),
        ("model.norm.weight".to_string(), vec![hidden]),
    ];
    for layer in 0..2 {
        let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
        for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            shapes.push((name(&format!("self_attn.{part}")), vec![hidden, hidden]));
        }
        shapes.push((name("mlp.gate_proj"), vec![inner, hidden]));
        shapes.push((name("mlp.up_proj"), vec![inner, hidden]));
        shapes.push((name("mlp.down_proj"), vec![hidden, inner]));
        shapes.push((name("input_layernorm"), vec![hidden]));
        shapes.push((name("post_attention_layernorm"), vec![hidden]));
    }
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .enumerate()
        .map(|(index, (name, shape))| {
            let value = |at: usize| match shape.len() {
                1 => 1f32,
                _ => Quick::logit(index as u32 + 7, at) * 0.02 - 0.02,
            };
            let values = (0..shape.iter().product()).flat_map(|at| value(at).to_le_bytes()).collect();
            (name, shape, values)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (name.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn a_level_that_no_weight_is_stored_at_is_not_tested() {
    let folder = tempfile::tempdir().unwrap();
    undivided(&folder.path().join("odd"), 80);
    undivided(&folder.path().join("partly"), 96);
    write(folder.path(), "t.txt", &read("nobom.txt")[..3000]);
    let arguments = ["quality", "--model", "odd", "--data", "t.txt", "--context", "32", "--no-speed", "-o", "run"];
    let done = sizewell(folder.path(), &[&arguments[..], &["--quant", "f16,int8,int4,q2_k"]].concat());
    assert!(done.status.success(), "{}", said(&done));
    let run = Run::read(&folder.path().join("run")).unwrap();
    let record = run.record.quality.clone().unwrap();
    let shares: Vec<f64> = record.variants.iter().map(|variant| variant.at_level.unwrap()).collect();
    assert_eq!(shares, [1.0, 0.0, 0.0, 0.0]);
    let figures = run.quality().unwrap();
    for row in figures.iter().filter(|row| row.quant != Quant::F16) {
        assert_eq!((row.verdict.as_str(), row.p_value), ("not tested", None), "{row:?}");
    }
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(
        shown.contains("int4: none of its weights are stored at int4") && shown.contains("100 % of the weights as F16"),
        "{shown}"
    );
    assert!(!shown.contains("no detected change ") && shown.contains("nothing was tested"), "{shown}");

    let arguments = ["quality", "--model", "partly", "--data", "t.txt", "--context", "32", "--no-speed", "-o", "part"];
    let done = sizewell(folder.path(), &[&arguments[..], &["--quant", "f16,int8,q2_k"]].concat());
    assert!(done.status.success(), "{}", said(&done));
    let record = Run::read(&folder.path().join("part")).unwrap().record.quality.unwrap();
    let shares: Vec<f64> = record.variants.iter().map(|variant| variant.at_level.unwrap()).collect();
    // Two matrices of 48 rows of 96, of 78,768 weights in all; of q2_k they are in blocks of another kind (Q4_0).
    assert!(shares[0] == 1.0 && (shares[1] - 9216.0 / 78_768.0).abs() < 1e-12 && shares[2] == 0.0, "{shares:?}");
    let shown = String::from_utf8_lossy(&done.stdout);
    assert!(shown.contains("int8: 11.7 % of its weights are stored at int8"), "{shown}");
    assert!(shown.contains("q2_k: none of its weights are stored at q2_k") && shown.contains("Q4_0"), "{shown}");
}

#[test]
fn how_much_of_the_weights_is_at_a_level_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "t.txt", &read("nobom.txt")[..1500]);
    let arguments = [
        "--data",
        "t.txt",
        "--context",
        "32",
        "--quant",
        "f16,int8,q2_k",
        "-o",
        "run",
        "--prune",
        "magnitude:0.5@int8",
    ];
    let done = quality(folder.path(), &arguments);
    assert!(done.status.success(), "{}", said(&done));
    let record = Run::read(&folder.path().join("run")).unwrap().record.quality.unwrap();
    let shares: Vec<f64> = record.variants.iter().map(|variant| variant.at_level.unwrap()).collect();
    // The blocks of q2_k are of 256 weights, which divide every row of this model.
    assert_eq!(shares, [1.0, 1.0, 1.0, 1.0]);
    assert!(!said(&done).contains("of its weights are stored"), "{}", said(&done));
}

const KEPT: [&str; 10] =
    ["--data", "t.txt", "--context", "32", "--quant", "f16,int8,q4_0,q2_k", "--threads", "1", "-o", "run"];

/// Begins the run of [`KEPT`] and sends `signal` when a first variant is finished.
fn broken_off(folder: &Path, signal: &str) -> Output {
    let mut command = tiny::sizewell();
    command.current_dir(folder).args(["quality", "--model", "reference", "--no-speed"]).args(KEPT);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let patience = Instant::now() + Duration::from_secs(300);
    while !folder.join("run/quality-0.finished.json").exists() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(2));
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    child.wait_with_output().unwrap()
}

fn figures(folder: &Path) -> Vec<QualityRow> {
    Run::read(&folder.join("run")).unwrap().quality().unwrap()
}

#[test]
fn a_run_that_is_killed_keeps_what_is_finished_and_goes_on_behind_it() {
    let text = &read("nobom.txt")[..4000];
    let whole = tempfile::tempdir().unwrap();
    write(whole.path(), "t.txt", text);
    let done = quality(whole.path(), &KEPT);
    assert!(done.status.success(), "{}", said(&done));
    assert!(!whole.path().join("run/quality-0.finished.json").exists(), "a run that is whole keeps nothing beside it");
    let complete = sizewell(whole.path(), &["quality", "--resume", "run"]);
    assert!(complete.status.code() == Some(2) && said(&complete).contains("is complete"), "{}", said(&complete));

    for (signal, status) in [("-KILL", None), ("-INT", Some(130))] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "t.txt", text);
        let broken = broken_off(folder.path(), signal);
        assert_eq!(broken.status.code(), status, "{signal}: {}", said(&broken));
        if signal == "-INT" {
            // Between two variants or, where one takes longer than a signal may, in the middle of it.
            let said = said(&broken);
            let kept = said.contains("finished and kept") || said.contains("what was finished before it is kept");
            assert!(kept && said.contains("go on with: sizewell quality --resume run"), "{said}");
        }
        // What is finished can be read as it is.
        let report = sizewell(folder.path(), &["report", "run", "-o", "r.md"]);
        assert!(report.status.success(), "{}", said(&report));
        assert_ne!(Run::read(&folder.path().join("run")).unwrap().record.status, RunStatus::Complete);
        let again = quality(folder.path(), &KEPT);
        assert!(again.status.code() == Some(1) && said(&again).contains("--resume run"), "{}", said(&again));
        let profile = sizewell(folder.path(), &["quality", "--resume", "run", "--quant", "int8"]);
        assert_eq!(profile.status.code(), Some(2), "what it is made of cannot be changed: {}", said(&profile));

        write(folder.path(), "t.txt", format!("{text} And more."));
        let other = sizewell(folder.path(), &["quality", "--resume", "run"]);
        assert!(other.status.code() == Some(1) && said(&other).contains("t.txt was "), "{}", said(&other));
        write(folder.path(), "t.txt", text);
        let resumed = sizewell(folder.path(), &["quality", "--resume", "run"]);
        assert!(resumed.status.success(), "{}", said(&resumed));
        assert!(!said(&resumed).contains("evaluating f16"), "the reference was finished: {}", said(&resumed));
        assert_eq!(figures(folder.path()), figures(whole.path()), "{signal}");
        let items = |folder: &Path| fs::read_to_string(folder.join("run/quality_items.csv")).unwrap();
        assert_eq!(items(folder.path()), items(whole.path()));
        assert_eq!(Run::read(&folder.path().join("run")).unwrap().record.status, RunStatus::Complete);
    }
}

#[test]
fn equal_samples_are_not_certain_and_a_gate_on_imports_judges_what_they_have() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ok", "three-equal", "three-equal-slower", "zero-std", "zero-std-slower"] {
        let file = case(&format!("lb-{name}.json")).display().to_string();
        let done = sizewell(
            folder.path(),
            &["import", "auto", &file, "-o", name, "--quant", "int4", "--model", "tinyllama-1.1b", "--hardware", "L4"],
        );
        assert!(done.status.success(), "{}", said(&done));
    }
    let equal = Run::read(&folder.path().join("three-equal")).unwrap();
    let ttft = equal.cases.iter().find_map(|row| row.metrics.ttft).unwrap();
    let (lo, hi) = (ttft.lo.unwrap().0, ttft.hi.unwrap().0);
    // 4.30 x 0.0005 / sqrt(3): 0.124 % to either side of 64 ms.
    assert!(
        (ttft.median.0 - 0.064).abs() < 1e-12 && (lo - 0.063_921).abs() < 1e-6 && (hi - 0.064_08).abs() < 1e-6,
        "{ttft:?}"
    );
    let once = Run::read(&folder.path().join("zero-std")).unwrap();
    assert!(once.cases.iter().filter_map(|row| row.metrics.ttft).all(|ttft| ttft.lo.is_none()), "one sample has none");
    for (run, baseline, code) in [
        ("ok", "ok", 0),
        ("three-equal", "three-equal", 0),
        ("three-equal-slower", "three-equal", 3),
        ("three-equal", "three-equal-slower", 0),
        ("zero-std", "zero-std", 4),
        ("zero-std-slower", "zero-std", 4),
    ] {
        let done = sizewell(folder.path(), &["gate", run, "--baseline", baseline]);
        assert_eq!(done.status.code(), Some(code), "{run} {baseline}: {}", said(&done));
    }
}
