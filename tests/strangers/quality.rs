//! Data sets as they come: from other systems, with marks and other ends of lines, with columns of tables, with questions
//! that are asked more than once; watches that are given the same day twice; variants that are none; runs that are
//! killed; samples that are equal.

use crate::support::tiny;
use sizewell::engine::EngineError;
use sizewell::engine::candle::source;
use sizewell::engine::language::{LanguageModel, Place, TakeLogits};
use sizewell::quality::data::DataSet;
use sizewell::quality::inputs::Inputs;
use sizewell::quality::text::{self, Against};
use sizewell::quality::windows::Plan;
use sizewell::quality::{Evaluation, tasks};
use sizewell::record::drift::read_history;
use sizewell::record::{QualityRow, Run, RunStatus};
use sizewell::statistics::paired::ratio;
use sizewell::workload::Quant;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/strangers/cases/quality").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(case(name)).unwrap()
}

fn set(name: &str, bytes: impl Into<Vec<u8>>) -> DataSet {
    DataSet::embedded(name, bytes.into().leak()).unwrap()
}

/// A model that is quick: how probable a token is depends on it and on the one before.
struct Quick(usize);

impl Quick {
    fn logit(before: u32, token: usize) -> f32 {
        let mixed =
            (u64::from(before) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (token as u64).wrapping_mul(0xBF58_476D);
        (mixed.wrapping_mul(0x94D0_49BB_1331_11EB) >> 40) as f32 / (1 << 22) as f32
    }
}

impl LanguageModel for Quick {
    fn vocab_size(&self) -> usize {
        self.0
    }

    fn max_context(&self) -> usize {
        256
    }

    fn logits(&mut self, sequences: &[Vec<u32>], places: &[Place], take: TakeLogits<'_>) -> Result<(), EngineError> {
        let row = |place: &Place| {
            let before = sequences[place.sequence][place.position];
            (0..self.0).map(move |token| Self::logit(before, token))
        };
        take(0, &places.iter().flat_map(row).collect::<Vec<f32>>());
        Ok(())
    }

    fn embed(&mut self, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f32>>, EngineError> {
        let of = |ids: &Vec<u32>| {
            vec![ids.len() as f32, ids.iter().sum::<u32>() as f32, ids.iter().max().map_or(0, |m| *m) as f32]
        };
        Ok(sequences.iter().map(of).collect())
    }

    fn generate(&mut self, prompts: &[Vec<u32>], tokens: usize) -> Result<Vec<Vec<u32>>, EngineError> {
        Ok(prompts.iter().map(|prompt| vec![prompt[prompt.len() - 1]; tokens]).collect())
    }
}

fn evaluated(set: &DataSet, context: usize) -> Evaluation {
    let model = source::open("reference", 1, false).unwrap();
    let (tokenizer, vocab) = (model.tokenizer.unwrap(), model.shape.vocab_size);
    let inputs = Inputs::of(vec![1; vocab]);
    let mut model = Quick(vocab);
    match set.kind {
        sizewell::quality::data::Kind::Text => {
            let plan = Plan { context, stride: None, bos: Some(0) };
            text::evaluate(&mut model, &tokenizer, set, plan, &inputs, Against::Alone, &mut |_| true).unwrap()
        }
        _ => tasks::evaluate(&mut model, &tokenizer, set, &inputs, &mut |_| true).unwrap(),
    }
}

/// The same text as other systems write it.
fn elsewhere(text: &str) -> [String; 4] {
    [
        format!("\u{feff}{text}"),
        text.replace('\n', "\r\n"),
        format!("\u{feff}{}", text.replace('\n', "\r\n")),
        format!("\u{feff}\u{feff}{text}"),
    ]
}

#[test]
fn a_mark_and_other_ends_of_lines_change_no_figure_of_any_kind() {
    let text = read("nobom.txt");
    let plain = evaluated(&set("t.txt", text.clone()), 64);
    for other in elsewhere(&text).into_iter().chain([text.replace('\n', "\r")]) {
        let found = evaluated(&set("t.txt", other), 64);
        assert_eq!(found, plain);
    }
    assert!(plain.samples > 2000 && plain.repeats == 0, "{} {}", plain.samples, plain.repeats);
    for lines in [
        read("ok.jsonl"),
        "{\"prompt\":\"On Monday\\nthe baker\",\"answer\":\"sold\"}\n{\"prompt\":\"On Friday\",\"answer\":\"left\"}\n"
            .into(),
        "{\"a\":\"On Monday\",\"b\":\"On Friday\",\"score\":3}\n\n{\"a\":\"tin\",\"b\":\"On Friday\\n\",\"score\":1}\n"
            .into(),
        "{\"text\":\"On Monday\\nit\",\"labels\":[\" is\",\" was\"],\"label\":1}\n".into(),
    ] {
        let plain = evaluated(&set("q.jsonl", lines.clone()), 64);
        // In a string it is written as an escape.
        for other in elsewhere(&lines).into_iter().chain([lines.replace("\\n", "\\r\\n")]) {
            assert_eq!(evaluated(&set("q.jsonl", other), 64), plain);
        }
    }
}

#[test]
fn a_text_put_behind_itself_has_no_further_items() {
    let text = read("nobom.txt");
    let once = evaluated(&set("t.txt", text.clone()), 64);
    let twice = evaluated(&set("t.txt", format!("{text}And so on.\n{text}")), 64);
    let items = once.items.len();
    assert!(twice.samples > 2 * once.samples - 64 && twice.repeats > items - 5, "{} {}", twice.samples, twice.repeats);
    assert!((items..items + 5).contains(&twice.items.len()), "{} of {items}", twice.items.len());
    let perplexity = |found: &Evaluation| ratio(&found.series[0].parts);
    assert!((perplexity(&twice) / perplexity(&once) - 1.0).abs() < 0.01, "the figure is of the whole text");
    let sentence =
        evaluated(&set("t.txt", "On Monday the quiet smith of Corsby sold 2 small spades. ".repeat(200)), 64);
    assert!(sentence.items.len() <= 3 && sentence.repeats > 30, "{} {}", sentence.items.len(), sentence.repeats);
}

fn sizewell(folder: &Path, arguments: &[&str]) -> Output {
    tiny::sizewell().current_dir(folder).args(arguments).output().unwrap()
}

fn said(done: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr))
}

fn quality(folder: &Path, arguments: &[&str]) -> Output {
    sizewell(folder, &[&["quality", "--model", "reference", "--no-speed"], arguments].concat())
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    fs::write(folder.join(name), bytes).unwrap();
}

#[test]
fn the_perplexity_of_the_reference_model_is_that_of_the_words() {
    let folder = tempfile::tempdir().unwrap();
    let text = &read("nobom.txt")[..1500];
    let mut figures = Vec::new();
    for (name, bytes) in [("n.txt", text.to_string()), ("b.txt", elsewhere(text)[2].clone())] {
        write(folder.path(), name, bytes);
        let done = quality(
            folder.path(),
            &["--data", name, "--quant", "f16", "--context", "32", "-o", &format!("{name}.run")],
        );
        assert!(done.status.success(), "{}", said(&done));
        let run = Run::read(&folder.path().join(format!("{name}.run"))).unwrap();
        figures.push(run.quality().unwrap()[0].value);
    }
    // With the mark it was 0.6 % lower; with the other ends of lines 2.7 times as high.
    assert!((1.5..3.0).contains(&figures[0]) && figures[0] == figures[1], "{figures:?}");
}

#[test]
fn questions_that_are_asked_again_are_one_item() {
    let folder = tempfile::tempdir().unwrap();
    let question = |number: usize, answer: usize| {
        let context = format!("A crate of tin pipes number {number} is");
        serde_json::json!({"context": context, "choices": [" red", " blue", " green"], "answer": answer}).to_string()
            + "\n"
    };
    write(folder.path(), "duplicates.jsonl", (0..80).map(|i| question(i % 2, i % 2)).collect::<String>());
    write(folder.path(), "dup-contradict.jsonl", (0..40).map(|i| question(0, i / 20)).collect::<String>());
    for (name, items, notes) in [
        ("duplicates", 2.0, &["80 lines ask 2 different questions"][..]),
        (
            "dup-contradict",
            1.0,
            &["40 lines ask 1 different question", "lines 1 and 21 ask the same and give different answers"],
        ),
    ] {
        let data = format!("{name}.jsonl");
        let done = quality(folder.path(), &["--data", &data, "--quant", "f16,int8", "-o", name]);
        assert!(done.status.success(), "{}", said(&done));
        let shown = String::from_utf8_lossy(&done.stdout);
        assert!(notes.iter().all(|note| shown.contains(note)) && shown.contains("not tested"), "{shown}");
        let run = Run::read(&folder.path().join(name)).unwrap();
        let figures = run.quality().unwrap();
        assert!(figures.iter().all(|row| row.samples == Some(items)), "{figures:?}");
        let accuracy = &figures[0];
        // Wilson's interval of one of two is 0.095 to 0.905, and of one of one 0.207 to 1; of 40 of 80 it is 0.39 to 0.61.
        let lo = if name == "duplicates" { 0.0945 } else { 0.2065 };
        assert!((accuracy.lo.unwrap() - lo).abs() < 1e-3, "{accuracy:?}");
        assert_eq!(run.quality_items().unwrap().len() as f64, 2.0 * items);
        let record = run.record.quality.unwrap();
        assert_eq!(record.data[0].repeats as f64, if name == "duplicates" { 78.0 } else { 39.0 });
        assert!(record.data[0].notes[0].contains("count"), "{:?}", record.data[0].notes);
    }
}

#[test]
fn files_that_are_no_data_are_refused_with_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let (ok, text) = (read("ok.jsonl"), read("nobom.txt"));
    let line =
        |more: &str| format!("{}{more}\n", ok.lines().take(2).map(|line| line.to_string() + "\n").collect::<String>());
    let utf16 = |text: &str, mark: &str| -> Vec<u8> {
        format!("{mark}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect()
    };
    let letters = ok.replace("\"answer\": 0", "\"answer\": \"A\"");
    let from_one = ok.replace("\"answer\": 2", "\"answer\": 3");
    for (name, bytes, why) in [
        ("utf16.txt", utf16(&text, "\u{feff}"), "utf16.txt: is UTF-16"),
        ("utf16-no-mark.txt", utf16(&text, ""), "utf16-no-mark.txt:1: has a NUL byte"),
        (
            "latin1.txt",
            [b"On\nMonday\nGer\xe4t".to_vec(), text.clone().into_bytes()].concat(),
            "latin1.txt:3: is not UTF-8",
        ),
        ("nul.txt", text.replacen("\nOn", "\n\0n", 1).into_bytes(), "nul.txt:2: has a NUL byte"),
        ("utf16.jsonl", utf16(&ok, "\u{feff}"), "utf16.jsonl: is UTF-16"),
        (
            "latin1.jsonl",
            [line("").into_bytes(), b"{\"context\":\"\xe4\"}".to_vec()].concat(),
            "latin1.jsonl:4: the line is not UTF-8",
        ),
        ("nul.jsonl", line("\0\0").into_bytes(), "nul.jsonl:3: the line has a NUL byte"),
        (
            "surrogate.jsonl",
            line(r#"{"context":"a \ud83d b","choices":[" r"," b"],"answer":0}"#).into_bytes(),
            "surrogate.jsonl:3: half of a character",
        ),
        ("letter.jsonl", letters.into_bytes(), "letter.jsonl:1: \"A\" is not the place"),
        (
            "string.jsonl",
            ok.replace("\"answer\": 1", "\"answer\": \"1\"").into_bytes(),
            "string.jsonl:2: \"1\" is not the place",
        ),
        (
            "one-based.jsonl",
            from_one.into_bytes(),
            "one-based.jsonl:3: `answer` is 3, but options are counted from 0 to 2",
        ),
        ("trailing.jsonl", line("{\"context\":").into_bytes(), "trailing.jsonl:3: is no whole object"),
        (
            "near.jsonl",
            line(r#"{"contxt":"a","choices":["b","c"],"answer":0}"#).into_bytes(),
            "near.jsonl:3: missing field `context`; is it what `contxt`",
        ),
        (
            "array.json",
            format!("[{}]", ok.lines().collect::<Vec<_>>().join(",")).into_bytes(),
            "array.json:1: begins an array",
        ),
        ("empty.jsonl", b"\n \r\n".to_vec(), "empty.jsonl: is empty"),
        ("empty.txt", Vec::new(), "0 tokens do not fill a window"),
        ("spaces.txt", b" \n\t\n".to_vec(), "tokens do not fill a window"),
    ] {
        write(folder.path(), name, bytes);
        let done = quality(folder.path(), &["--data", name, "--quant", "f16", "-o", &format!("{name}.run")]);
        assert_eq!(done.status.code(), Some(1), "{name}: {}", said(&done));
        assert!(said(&done).contains(why), "{name}: {}", said(&done));
    }
}

#[test]
fn columns_that_mean_nothing_here_are_passed_over() {
    let more = |index: usize, line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["id"] = index.into();
        value["subject"] = "tin".into();
        value["meta"] = serde_json::json!({"split": "test", "tags": [null, 1.5]});
        value.to_string() + "\n"
    };
    let ok = read("ok.jsonl");
    let exported: String = ok.lines().enumerate().map(|(index, line)| more(index, line)).collect();
    assert_eq!(evaluated(&set("q.jsonl", exported), 64), evaluated(&set("q.jsonl", ok), 64));
}

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

    for (signal, status) in [("-KILL", None), ("-INT", Some(1))] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "t.txt", text);
        let broken = broken_off(folder.path(), signal);
        assert_eq!(broken.status.code(), status, "{signal}: {}", said(&broken));
        if signal == "-INT" {
            let go_on = "variants are finished and kept; go on with: sizewell quality --resume run";
            assert!(said(&broken).contains(go_on), "{}", said(&broken));
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
