//! Encoders and precisions of the cache through the whole program: profile, rank and report of models that embed and
//! classify, and what is said where something does not fit.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sizewell")).args(args).output().unwrap()
}

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// A preset of one's own, small enough for a test.
fn preset(folder: &Path, architecture: &str, more: &str) -> PathBuf {
    let path = folder.join(format!("tiny-{architecture}.toml"));
    let encoder = architecture != "llama";
    let theta = if encoder { "0.0" } else { "10000.0" };
    let text = format!(
        "name = \"tiny-{architecture}\"\nabout = \"a test\"\nsource = \"https://example.org\"\n\n[shape]\n\
         architecture = \"{architecture}\"\nhidden_size = 64\nintermediate_size = 128\nlayers = 2\nheads = 4\nkv_heads = 4\n\
         head_dim = 16\nvocab_size = 97\nmax_context = 64\nnorm_eps = 1e-6\nrope_theta = {theta}\ntied_embeddings = true\n\
         qkv_bias = {encoder}\n{more}"
    );
    std::fs::write(&path, text).unwrap();
    path
}

/// A run of a few short cases; the machine may be too noisy for any of them to be valid.
fn profile(model: &Path, out: &Path, more: &[&str]) -> Vec<std::collections::HashMap<String, String>> {
    let (model, folder) = (model.to_str().unwrap(), out.to_str().unwrap());
    let fixed = ["profile", "--quiet", "--no-ceilings", "--quick", "--max-time", "0.2", "--model", model, "-o", folder];
    let done = run(&[&fixed, more].concat());
    assert!(matches!(done.status.code(), Some(0 | 5)), "{}", stderr(&done));
    let mut rows = csv::Reader::from_path(out.join("cases.csv")).unwrap();
    rows.deserialize().map(|row| row.unwrap()).collect()
}

fn ranking(run_folder: &Path) -> Value {
    let done = run(&["rank", run_folder.to_str().unwrap(), "--price-per-hour", "0.1", "--json"]);
    assert!(done.status.success(), "{}", stderr(&done));
    serde_json::from_slice(&done.stdout).unwrap()
}

/// The first row with a key of this name, wherever it stands.
fn rows(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().flat_map(rows).collect(),
        Value::Object(map) if map.contains_key("usd_per_thousand_requests") => vec![value],
        Value::Object(map) => map.values().flat_map(rows).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn texts_are_embedded_and_priced() {
    let folder = tempfile::tempdir().unwrap();
    let model = preset(folder.path(), "bert", "token_types = 2\n");
    let out = folder.path().join("run");
    let cases = profile(&model, &out, &["--quant", "f32,int8", "--batch", "1,3", "--prompt", "8,64,200"]);
    // No more tokens than the model has positions.
    assert_eq!(cases.len(), 8);
    for case in &cases {
        assert_eq!((case["outcome"].as_str(), case["gen_tokens"].as_str()), ("ok", "0"), "{}", case["message"]);
        let number = |name: &str| case[name].parse::<f64>().unwrap();
        let (batch, tokens, time) = (number("batch"), number("prompt_tokens"), number("ttft_s"));
        assert!((number("requests_per_s") / (batch / time) - 1.0).abs() < 1e-9);
        assert!((number("prefill_tokens_per_s") / (batch * tokens / time) - 1.0).abs() < 1e-9);
        assert!(case["tpot_s"].is_empty() && case["absent"].contains("tpot_s=no tokens are generated"));
        assert!(number("prefill_ops") > 0.0 && number("load_s") > 0.0 && number("peak_device_bytes") > 0.0);
    }
    assert_eq!(cases[0]["case_id"], "sizewell.tiny-bert.cpu.f32.b1.p8");
    let ranked = ranking(&out);
    let measured: Vec<_> = rows(&ranked).into_iter().filter(|row| row["basis"] == "measured").cloned().collect();
    assert!(!measured.is_empty(), "{ranked}");
    let screen = run(&["rank", out.to_str().unwrap(), "--price-per-hour", "0.1"]);
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    assert!(screen.contains("Cost of an embedding of") && screen.contains("per thousand embeddings"), "{screen}");
    let cards = run(&["rank", out.to_str().unwrap(), "--explain"]);
    assert!(String::from_utf8_lossy(&cards.stdout).contains("no encoder was measured on any card"));
    let report = folder.path().join("report.md");
    let done = run(&["report", out.to_str().unwrap(), "--price-per-hour", "0.1", "-o", report.to_str().unwrap()]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(std::fs::read_to_string(report).unwrap().contains("per 1,000 embeddings"));
}

#[test]
fn images_are_classified_and_priced() {
    let folder = tempfile::tempdir().unwrap();
    let image = "\n[shape.image]\npatch = 8\nsize = 32\nchannels = 3\n";
    let model = preset(folder.path(), "vit", image);
    let out = folder.path().join("run");
    let more = ["--quant", "f16", "--batch", "2", "--image-size", "32,48,50"];
    let cases = profile(&model, &out, &more);
    let of = |name: &str| cases.iter().map(|case| case[name].as_str()).collect::<Vec<_>>();
    assert_eq!(of("image_size"), ["32", "48", "50"]);
    assert_eq!(of("prompt_tokens"), ["17", "37", "37"]);
    assert_eq!(of("outcome"), ["ok", "ok", "skipped"]);
    assert!(cases[2]["message"].contains("a multiple of 8 pixels"), "{}", cases[2]["message"]);
    assert_eq!(cases[1]["case_id"], "sizewell.tiny-vit.cpu.f16.b2.i48");
    let screen = run(&["rank", out.to_str().unwrap(), "--price-per-hour", "0.1", "--prompt", "37"]);
    let screen = String::from_utf8_lossy(&screen.stdout).into_owned();
    assert!(screen.contains("Cost of a classified image of 48 x 48 pixels"), "{screen}");
    assert!(screen.contains("per thousand images"), "{screen}");
}

#[test]
fn caches_of_several_precisions_are_cases_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let model = preset(folder.path(), "llama", "");
    let out = folder.path().join("run");
    let more = ["--quant", "f16", "--batch", "1", "--prompt", "16", "--kv-cache", "f32,f16,int8"];
    let cases = profile(&model, &out, &more);
    let bytes: Vec<f64> = cases.iter().map(|case| case["cache_bytes"].parse().unwrap()).collect();
    // Sixteen numbers of a head: 64, 32, and 16 bytes with a scale of 4.
    assert_eq!([bytes[1] / bytes[0], bytes[2] / bytes[0]], [0.5, 20.0 / 64.0]);
    assert!(cases[2]["case_id"].ends_with(".kv-int8"), "{}", cases[2]["case_id"]);
    assert!(cases.iter().all(|case| case["outcome"] == "ok"));
    assert!(!rows(&ranking(&out)).is_empty());
}

#[test]
fn what_does_not_go_together_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let (bert, llama) = (preset(folder.path(), "bert", "token_types = 2\n"), preset(folder.path(), "llama", ""));
    let (bert, llama) = (bert.to_str().unwrap(), llama.to_str().unwrap());
    for (args, part) in [
        (vec!["profile", "--model", bert, "--kv-cache", "f16"], "cache is for models that generate text"),
        (vec!["profile", "--model", bert, "--image-size", "32"], "the model embeds texts"),
        (vec!["profile", "--model", llama, "--image-size", "32"], "the model generates text"),
        (vec!["profile", "--model", llama, "--kv-cache", "int4"], "there are f32, f16 and int8"),
        (vec!["models", "synth", "-m", "all-minilm-l6-v2", "-o", "x.gguf"], "all-minilm-l6-v2 is for embed"),
    ] {
        let out = run(&args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {}", stderr(&out));
        assert!(stderr(&out).contains(part), "{args:?}: {}", stderr(&out));
    }
    let out = run(&["quality", "--model", bert]);
    assert!(!out.status.success() && stderr(&out).contains("is an encoder"), "{}", stderr(&out));
}

#[test]
fn an_unknown_architecture_is_named_with_those_that_are_known() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{\"model_type\": \"mamba\", \"vocab_size\": 4}").unwrap();
    let out = run(&["profile", "--model", folder.path().to_str().unwrap()]);
    let text = stderr(&out);
    assert_eq!(out.status.code(), Some(1), "{text}");
    for part in ["mamba", "llama", "qwen3", "bert", "vit"] {
        assert!(text.contains(part), "{text}");
    }
}

#[cfg(not(feature = "reference"))]
#[test]
fn without_the_second_system_its_name_is_refused_with_how_to_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = preset(folder.path(), "bert", "token_types = 2\n");
    let out = run(&["profile", "--quick", "--model", model.to_str().unwrap(), "--kernels", "candle"]);
    assert!(!out.status.success() && stderr(&out).contains("the feature `reference`"), "{}", stderr(&out));
}
